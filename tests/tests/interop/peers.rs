//! Other people's software as child processes: started with their noise kept in files, ended by their ids, and
//! missed visibly where they are not installed.

use std::{
    fs::File,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use proxyd::env::{Env, TokioEnv};

/// nginx-rtmp as Debian installs it.
pub(crate) const NGINX_RTMP: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
/// Set where these tests must not be skipped.
const REQUIRE: &str = "REPULL_REQUIRE_PEERS";

/// Returns whether all of these programs, or files, are there; tells so if not.
///
/// # Panics
/// If they are missing and must not be.
pub(crate) fn are_installed(peers: &[&str]) -> bool {
    let missing: Vec<&str> = peers.iter().copied().filter(|peer| !is_installed(peer)).collect();
    if missing.is_empty() {
        return true;
    }
    #[expect(clippy::disallowed_methods, reason = "it says where these tests run, not how")]
    let is_required = std::env::var_os(REQUIRE).is_some_and(|value| value == "1");
    assert!(!is_required, "no {}, and {REQUIRE}=1", missing.join(", no "));
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Past the test harness, which keeps what passing tests print.
    let _ = writeln!(io::stderr(), "test {test} skipped: no {}", missing.join(", no "));
    false
}

fn is_installed(peer: &str) -> bool {
    if peer.starts_with('/') {
        return Path::new(peer).exists();
    }
    #[expect(clippy::disallowed_methods, reason = "programs are found where a shell finds them")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers are not on everybody's path.
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).any(|folder| folder.join(peer).is_file())
}

/// A folder that goes away with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("repull-interop-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn read(&self, name: &str) -> String {
        std::fs::read(self.file(name))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the machine.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child process; it dies with its owner.
pub(crate) struct Peer {
    child: Child,
    name: String,
}

/// How a child ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Peer {
    /// Starts a program; `name` is that of its noise in `folder`.
    pub(crate) fn start(folder: &Folder, name: &str, program: &str, args: &[&str]) -> io::Result<Self> {
        let child = Command::new(program)
            .args(args)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(folder.file(&format!("{name}.out")))?)
            .stderr(File::create(folder.file(&format!("{name}.err")))?)
            .spawn()?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Kills it as `kill -9` does and waits for the end.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; after `time` it is killed, and that is an error.
    pub(crate) async fn end(mut self, folder: &Folder, time: Duration) -> io::Result<Ended> {
        let limit = tokio::time::Instant::now() + time;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if tokio::time::Instant::now() > limit {
                self.kill();
                let noise = folder.read(&format!("{}.err", self.name));
                return Err(io::Error::other(format!("{} runs after {time:?}: {noise}", self.name)));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let (stdout, stderr) =
            (folder.read(&format!("{}.out", self.name)), folder.read(&format!("{}.err", self.name)));
        Ok(Ended { status, stdout, stderr })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns a port of the loopback interface that was free a moment ago.
pub(crate) async fn free_port() -> io::Result<u16> {
    let env = TokioEnv::new()?;
    let listener = env.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    Ok(env.bound(&listener)?.port())
}

/// nginx-rtmp in one process.
pub(crate) struct Nginx {
    port: u16,
    process: Peer,
}

impl Nginx {
    /// Starts it; `more` are blocks of further applications. Its players get whatever frame comes next: without a
    /// GOP cache and with `wait_key off` that is hardly ever a keyframe.
    pub(crate) async fn start(folder: &Folder, port: u16, more: &str) -> io::Result<Self> {
        let at = folder.path().display();
        let conf = format!(
            "load_module {NGINX_RTMP};
daemon off; master_process off; worker_processes 1; error_log {at}/nginx.log notice; pid {at}/nginx.pid;
events {{ worker_connections 256; }}
rtmp {{ access_log off;
  server {{ listen 127.0.0.1:{port}; chunk_size 4096; application live {{ live on; wait_key off; }} {more} }} }}
"
        );
        std::fs::write(folder.file("nginx.conf"), conf)?;
        let prefix = at.to_string();
        let conf = folder.file("nginx.conf").display().to_string();
        let args = ["-p", &prefix, "-c", &conf, "-e", "nginx.log"];
        let mut process = Peer::start(folder, "nginx", nginx_program(), &args)?;
        let env = TokioEnv::new()?;
        for _ in 0..500 {
            if env.dial(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.is_ok() {
                return Ok(Self { port, process });
            }
            if !process.is_running() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(io::Error::other(format!("nginx: {} {}", folder.read("nginx.err"), folder.read("nginx.log"))))
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{name}", self.port)
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}

fn nginx_program() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}

/// What [`publish`] encodes, in pixels.
pub(crate) const SIZE: &str = "320x180";

/// ffmpeg as a publisher: a test picture and a tone, H.264 and AAC, a keyframe each second. With `-listen 1` among
/// the options it is an origin for one player.
pub(crate) fn publish(folder: &Folder, name: &str, options: &[&str], url: &str) -> io::Result<Peer> {
    let picture = format!("testsrc2=size={SIZE}:rate=25");
    let mut args = vec!["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", &picture];
    args.extend(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"]);
    args.extend(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-threads", "1"]);
    args.extend(["-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac", "-b:a", "64k"]);
    args.extend(options);
    args.extend(["-f", "flv", url]);
    Peer::start(folder, name, "ffmpeg", &args)
}

/// Frames that ffmpeg decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frames {
    pub(crate) video: usize,
    pub(crate) audio: usize,
}

/// ffmpeg decodes a url or file for `seconds`, at least of media, at most 20 s of time; any error it finds is ours.
pub(crate) async fn decode(folder: &Folder, name: &str, url: &str, seconds: &str) -> io::Result<Frames> {
    let mut args = vec!["-nostdin", "-v", "error", "-xerror", "-err_detect", "explode"];
    args.extend(["-threads", "1", "-i", url, "-t", seconds, "-map", "0:v:0", "-map", "0:a:0"]);
    args.extend(["-f", "framecrc", "-"]);
    let ended = Peer::start(folder, name, "ffmpeg", &args)?.end(folder, Duration::from_secs(30)).await?;
    assert!(ended.status.success() && ended.stderr.is_empty(), "{url}: {ended:?}");
    let count = |track: &str| ended.stdout.lines().filter(|line| line.starts_with(track)).count();
    Ok(Frames { video: count("0,"), audio: count("1,") })
}

/// The streams that ffprobe finds, by kind, in order.
pub(crate) async fn probe(folder: &Folder, name: &str, url: &str) -> io::Result<Vec<String>> {
    let args = ["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", url];
    let ended = Peer::start(folder, name, "ffprobe", &args)?.end(folder, Duration::from_secs(30)).await?;
    assert!(ended.status.success() && ended.stderr.is_empty(), "{url}: {ended:?}");
    let mut kinds: Vec<String> =
        ended.stdout.lines().map(|line| line.trim_end_matches(',').to_owned()).collect();
    kinds.sort();
    Ok(kinds)
}
