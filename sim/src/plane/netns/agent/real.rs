//! The real thing in place of a model: nginx-rtmp as origin, ffmpeg as its publishers, and ffmpeg as a player.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
};

use proxy_core::time::Instant;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Duration,
};

use super::{Orders, origin_of, tell};
use crate::{
    origin::Publisher,
    plane::netns::{
        tools::{find, nginx_rtmp},
        wire::{News, Order},
    },
    real::Clock,
    scenario::model::{Act, Fault, OriginModel, Scenario},
};

/// How long a clip plays before it begins again.
const CLIP_SECONDS: u32 = 60;
/// How often somebody looks whether a port is open.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// How long nginx may take to end when it is told to.
const END_WITHIN: Duration = Duration::from_secs(2);

/// nginx-rtmp with its publishers.
struct Process<'a> {
    scenario: &'a Scenario,
    spec: OriginModel,
    clock: Clock,
    folder: PathBuf,
    clip: PathBuf,
    nginx: Option<Child>,
    /// Publishers by stream.
    ffmpeg: BTreeMap<String, Child>,
    /// Streams of which a frame has gone out.
    published: std::collections::BTreeSet<String>,
    publishes: bool,
    away: u32,
    sender: UnboundedSender<String>,
}

/// Runs a real origin: a process group of nginx and ffmpeg that lives and dies with this process.
pub(super) async fn run_origin(
    scenario: &Scenario,
    host: u16,
    folder: &Path,
    mut orders: Orders,
) -> Result<(), String> {
    let spec = origin_of(scenario, host).cloned().ok_or("no origin")?;
    let clip = clip(&spec.publisher).await?;
    tell(&News::Ready);
    let Some(clock) = orders.begin().await else { return Ok(()) };
    let (sender, mut sent) = unbounded_channel();
    let mut process = Process {
        scenario,
        spec,
        clock,
        folder: folder.to_owned(),
        clip,
        nginx: None,
        ffmpeg: BTreeMap::new(),
        published: std::collections::BTreeSet::new(),
        publishes: false,
        away: 0,
        sender,
    };
    let (mut listen_at, mut publish_at) = (None, None);
    loop {
        let due = [listen_at, publish_at].into_iter().flatten().min();
        let nap = tokio::time::sleep_until(due.map_or_else(tokio::time::Instant::now, |at| clock.at(at)));
        tokio::select! {
            biased;
            () = nap, if due.is_some() => {
                let now = clock.now();
                if listen_at.is_some_and(|at| at <= now) {
                    listen_at = None;
                    process.listen().await?;
                }
                if publish_at.is_some_and(|at| at <= now) {
                    publish_at = None;
                    process.publishes = true;
                    process.let_publish()?;
                }
            }
            order = orders.next() => match order {
                None => return Ok(()),
                Some(Order::Boot { listen_at: listen, publish_at: publish }) => {
                    listen_at = Some(Instant::from_nanos(listen));
                    publish_at = publish.map(Instant::from_nanos);
                }
                Some(Order::Inflict { event }) if process.is_away(event) => process.leave().await,
                Some(Order::Relieve { event }) if process.is_away(event) => {
                    process.away = process.away.saturating_sub(1);
                    process.let_publish()?;
                }
                Some(Order::ShutDown) => return process.shut_down().await,
                Some(_) => {}
            },
            Some(stream) = sent.recv() => process.on_published(stream),
        }
    }
}

impl Process<'_> {
    fn is_away(&self, event: usize) -> bool {
        matches!(
            self.scenario.events.get(event).map(|event| &event.act),
            Some(Act::Fault(fault)) if matches!(fault.fault, Fault::PublisherAway { .. })
        )
    }

    /// Starts nginx and waits until it listens.
    async fn listen(&mut self) -> Result<(), String> {
        let nginx = find("nginx").ok_or("no nginx")?;
        let module = nginx_rtmp().ok_or("no nginx-rtmp")?;
        let config = self.folder.join(format!("nginx-{}.conf", self.spec.port));
        std::fs::write(&config, nginx_config(&self.spec, &module, &self.folder))
            .map_err(|error| format!("{}: {error}", config.display()))?;
        let mut command = ours(&nginx);
        command
            .arg("-c")
            .arg(&config)
            .arg("-p")
            .arg(&self.folder)
            .arg("-e")
            .arg(self.folder.join("nginx.err"));
        self.nginx = Some(command.spawn().map_err(|error| format!("nginx: {error}"))?);
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, self.spec.port));
        while connect(at).await.is_err() {
            if let Some(nginx) = &mut self.nginx
                && let Ok(Some(status)) = nginx.try_wait()
            {
                return Err(format!("nginx has ended ({status}); see nginx.err"));
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
        tell(&News::Listening { at: self.clock.now().as_nanos() });
        Ok(())
    }

    fn let_publish(&mut self) -> Result<(), String> {
        if !self.publishes || self.away > 0 {
            return Ok(());
        }
        let ffmpeg = find("ffmpeg").ok_or("no ffmpeg")?;
        for stream in &self.spec.streams {
            let url = format!("rtmp://127.0.0.1:{}/{stream}", self.spec.port);
            let mut command = ours(&ffmpeg);
            command
                .args(["-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i"])
                .arg(&self.clip);
            command.args(["-c", "copy", "-f", "flv", "-progress", "pipe:1", "-stats_period", "0.05", &url]);
            let mut child =
                command.stdout(Stdio::piped()).spawn().map_err(|error| format!("ffmpeg: {error}"))?;
            let frames = frames_of(&mut child);
            tokio::spawn(first_frame(frames, stream.clone(), self.sender.clone()));
            self.ffmpeg.insert(stream.clone(), child);
        }
        Ok(())
    }

    fn on_published(&mut self, stream: String) {
        if !self.ffmpeg.contains_key(&stream) {
            return;
        }
        self.published.insert(stream);
        if self.published.len() == self.spec.streams.len() {
            tell(&News::Publishes { at: self.clock.now().as_nanos(), all: true });
        }
    }

    /// Every publisher leaves without a word.
    async fn leave(&mut self) {
        self.away += 1;
        for mut child in std::mem::take(&mut self.ffmpeg).into_values() {
            let _ = child.kill().await;
        }
        self.published.clear();
        tell(&News::Publishes { at: self.clock.now().as_nanos(), all: false });
    }

    async fn shut_down(mut self) -> Result<(), String> {
        if let Some(mut nginx) = self.nginx.take() {
            if let Some(pid) = nginx.id() {
                let _ = Command::new("kill").arg(pid.to_string()).status().await;
            }
            let _ = tokio::time::timeout(END_WITHIN, nginx.wait()).await;
        }
        Ok(())
    }
}

/// A program that does not outlive us.
fn ours(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command
}

#[expect(clippy::disallowed_methods, reason = "a process of a world made of real sockets")]
async fn connect(at: SocketAddr) -> std::io::Result<TcpStream> {
    TcpStream::connect(at).await
}

fn nginx_config(spec: &OriginModel, module: &Path, folder: &Path) -> String {
    let apps: std::collections::BTreeSet<&str> =
        spec.streams.iter().filter_map(|stream| stream.rsplit_once('/').map(|(app, _)| app)).collect();
    let mut out = format!(
        "load_module {};\ndaemon off;\nmaster_process off;\npid {}/nginx-{}.pid;\nevents {{ worker_connections 1024; }}\n\
         rtmp {{\n access_log off;\n server {{\n  listen {};\n  chunk_size 4096;\n",
        module.display(),
        folder.display(),
        spec.port,
        spec.port
    );
    for app in apps {
        let _ = writeln!(out, "  application {app} {{ live on; }}");
    }
    out.push_str(" }\n}\n");
    out
}

/// Returns a clip such as a publisher's model sends, made once per machine.
async fn clip(publisher: &Publisher) -> Result<PathBuf, String> {
    let video = publisher.video.as_ref().ok_or("a real publisher sends video")?;
    let (fps, gop) = (video.fps.max(1), video.gop.max(1));
    let has_audio = publisher.audio.is_some();
    let folder = std::env::temp_dir().join(format!("{}clips", crate::plane::netns::tools::PREFIX));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let file = folder.join(format!("{fps}-{gop}-{has_audio}.flv"));
    if file.exists() {
        return Ok(file);
    }
    let ffmpeg = find("ffmpeg").ok_or("no ffmpeg")?;
    let seconds = CLIP_SECONDS.to_string();
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-loglevel", "error", "-y", "-f", "lavfi", "-i"]);
    command.arg(format!("testsrc=size=160x120:rate={fps}"));
    if has_audio {
        command.args([
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440:sample_rate=44100",
            "-c:a",
            "aac",
            "-b:a",
            "64k",
        ]);
    }
    command.args(["-t", &seconds, "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"]);
    command.args(["-pix_fmt", "yuv420p", "-sc_threshold", "0", "-g", &gop.to_string(), "-f", "flv"]);
    // Others may make the same one at the same time.
    let draft = folder.join(format!("draft-{}.flv", std::process::id()));
    let output = command.arg(&draft).output().await.map_err(|error| format!("ffmpeg: {error}"))?;
    if !output.status.success() {
        return Err(format!("ffmpeg makes no clip: {}", String::from_utf8_lossy(&output.stderr)));
    }
    std::fs::rename(&draft, &file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}

/// Returns how many frames a running ffmpeg has passed on, whenever it tells.
fn frames_of(child: &mut Child) -> UnboundedReceiver<u64> {
    let (sender, frames) = unbounded_channel();
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let frames = line.strip_prefix("frame=").and_then(|frames| frames.trim().parse().ok());
                if let Some(frames) = frames
                    && sender.send(frames).is_err()
                {
                    return;
                }
            }
        });
    }
    frames
}

async fn first_frame(mut frames: UnboundedReceiver<u64>, stream: String, sender: UnboundedSender<String>) {
    while let Some(frames) = frames.recv().await {
        if frames > 0 {
            // Nobody waits any more if the process is ending.
            let _ = sender.send(stream);
            return;
        }
    }
}

/// ffmpeg as a player. Dropping it ends it.
pub(super) struct Ffplayer {
    child: Child,
    frames: UnboundedReceiver<u64>,
    /// Frames told so far.
    pub(super) seen: u64,
}

impl Ffplayer {
    /// Plays a url.
    pub(super) fn start(url: &str) -> Result<Self, String> {
        let ffmpeg = find("ffmpeg").ok_or("no ffmpeg")?;
        let mut command = ours(&ffmpeg);
        // As little patience with the beginning as it can do with: it is to be seen when frames come.
        command.args(["-nostdin", "-loglevel", "error", "-fflags", "nobuffer", "-analyzeduration", "200000"]);
        command.args(["-probesize", "8192", "-i", url, "-map", "0:v", "-c", "copy", "-f", "null"]);
        command.args(["-progress", "pipe:1", "-stats_period", "0.05", "-"]);
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("ffmpeg: {error}"))?;
        let frames = frames_of(&mut child);
        Ok(Self { child, frames, seen: 0 })
    }

    /// Returns how many frames have come since the last look, and whether it goes on.
    pub(super) fn look(&mut self) -> (u64, bool) {
        let before = self.seen;
        while let Ok(frames) = self.frames.try_recv() {
            self.seen = self.seen.max(frames);
        }
        (self.seen - before, matches!(self.child.try_wait(), Ok(None)))
    }
}
