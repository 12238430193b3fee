//! The command line: `repull pull URL` for one stream, `repull --config FILE` for a service.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done, or ended by SIGINT, SIGTERM or, with its terminal, by SIGHUP |
//! | 1 | something failed while running: a port is taken, a file cannot be written |
//! | 2 | the command line or the configuration is not understood |
//! | 128 + n | a second signal n cut the orderly end short |

#![expect(
    clippy::disallowed_methods,
    reason = "the command line reads the environment and looks whether there is IPv6"
)]

use std::{
    env,
    ffi::OsString,
    fmt,
    fs::OpenOptions,
    io::{self, IsTerminal, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use proxy_core::{
    Proxy,
    io::{PullOptions, PullState, Reply, Request, StreamView},
    url::{DEFAULT_VHOST, OriginUrl, StreamKey},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::{Instant, interval, timeout},
};
use tracing::Level;

use crate::{
    api::{ApiConfig, router},
    config::{
        LoadError, Loaded, SECRET_ENV, SECRET_FILE, Secret, SecretSource, Settings, StaticProxy,
        defaults_markdown, defaults_toml, find_secret,
    },
    driver::{Driver, DriverConfig, Handle},
    env::{Env, TokioEnv, runtime},
    http_server::{HttpLimits, serve_http},
    log::{self, EventLog, LOG_ENV, Logger, Outlet, words},
};

/// How long an orderly end may take, all in all.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// After the last byte was handed to HTTP connections, how long they may take to get it out.
const FAREWELL: Duration = Duration::from_millis(100);

/// How long the last log lines may take.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

/// How often `repull pull` says how it goes.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// The exit code for what is not understood.
const EXIT_USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  repull pull rtmp://origin.example/live/cam
      Pulls one stream, serves it, and prints where to play it.

  repull pull rtmp://origin.example/live/cam --app tv --stream one --rtmp-port 1936
      The same under another name and port.

  repull --config repull.toml
      Runs as a service. Streams come from [[proxy]] entries and from the HTTP API:
      curl 'http://127.0.0.1:8080/index/api/addStreamProxy?secret=…&app=live&stream=cam&url=rtmp://…'

  repull check-config repull.toml
      Checks a file, ZLMediaKit's names included, and prints what differs from the defaults.

  repull defaults > repull.toml
      Writes a file with every setting and a comment on each.

Exit codes:
  0  done, or ended by a signal
  1  something failed while running
  2  the command line or the configuration is not understood";

/// An RTMP pull proxy that comes back.
///
/// Repull pulls live streams from origins, serves them to many players by RTMP and HTTP-FLV, and keeps serving through
/// origin restarts and network faults. Its HTTP API and settings are those of ZLMediaKit's pull proxy.
#[derive(Debug, Parser)]
#[command(name = "repull", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    /// Run as a service with this configuration.
    #[arg(long, short, value_name = "FILE", env = "REPULL_CONFIG")]
    config: Option<PathBuf>,

    /// What to log: error, warn, info, debug, trace, or a filter such as `info,proxyd=debug`.
    #[arg(long, value_name = "FILTER", env = LOG_ENV, global = true)]
    log: Option<String>,

    /// As a service, also write every event to this file, a line of JSON each; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pull one stream, without a configuration.
    Pull(Pull),
    /// Check a configuration and print what it changes.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Print every setting with its default, as a configuration file.
    Defaults {
        /// As a Markdown table.
        #[arg(long)]
        markdown: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Pull {
    /// Where to pull from: rtmp://host[:port]/app/stream.
    url: String,
    /// The application to serve it under; the origin's unless given.
    #[arg(long)]
    app: Option<String>,
    /// The stream name to serve it under; the origin's unless given.
    #[arg(long)]
    stream: Option<String>,
    /// The end of the url that is the origin's stream name, where the usual cut is wrong.
    #[arg(long, value_name = "NAME")]
    play_path: Option<String>,
    /// The address to listen on.
    #[arg(long, value_name = "IP", default_value = "::")]
    listen_ip: IpAddr,
    /// The port for RTMP players; 0 for none.
    #[arg(long, value_name = "PORT", default_value_t = 1935)]
    rtmp_port: u16,
    /// The port for HTTP-FLV players and the API; 0 for none.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    http_port: u16,
}

/// Why there is nothing more to do.
#[derive(Debug)]
struct Fault {
    code: u8,
    text: String,
}

impl Fault {
    fn usage(text: impl fmt::Display) -> Self {
        Self { code: EXIT_USAGE, text: format!("repull: {text}") }
    }

    fn running(text: impl fmt::Display) -> Self {
        Self { code: 1, text: format!("repull: {text}") }
    }
}

/// Runs the program: parses the command line, does what it says, tells what went wrong.
pub fn run() -> ExitCode {
    ExitCode::from(run_with(env::args_os(), &mut io::stdout(), &mut io::stderr()))
}

/// Runs the program with these arguments (the first is its name) and returns its exit code. Answers go to `out`,
/// complaints to `err`; a service writes to the process's own.
pub fn run_with(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> u8 {
    // A reader that has left is no failure.
    match answer(arguments) {
        Ok(Answer { text, code }) => {
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            code
        }
        Err(Fault { code, text }) => {
            let _ = writeln!(err, "{}", text.trim_end()).and_then(|()| err.flush());
            code
        }
    }
}

/// What is left to print, and the exit code.
#[derive(Debug, Default)]
struct Answer {
    text: String,
    code: u8,
}

impl Answer {
    fn text(text: String) -> Self {
        Self { text, code: 0 }
    }

    fn code(code: u8) -> Self {
        Self { text: String::new(), code }
    }
}

fn answer(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Answer, Fault> {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // Help and version are answers.
        Err(error) if !error.use_stderr() => return Ok(Answer::text(error.render().to_string())),
        Err(error) => return Err(Fault { code: EXIT_USAGE, text: error.render().to_string() }),
    };
    match (cli.command, cli.config) {
        (Some(Command::Pull(pull)), _) => pull_one(&pull, cli.log.as_deref()),
        (Some(Command::CheckConfig { file }), _) => check_config(&file),
        (Some(Command::Defaults { markdown: true }), _) => Ok(Answer::text(defaults_markdown())),
        (Some(Command::Defaults { markdown: false }), _) => Ok(Answer::text(defaults_toml())),
        (None, Some(file)) => serve_file(&file, cli.log.as_deref(), cli.events.as_deref()),
        (None, None) => Err(Fault::usage(
            "nothing to do: `repull pull URL` pulls one stream, `repull --config FILE` runs as a service; see \
             `repull --help`",
        )),
    }
}

/// Reads a configuration; everything wrong with it is one text.
fn load(file: &Path) -> Result<Loaded, Fault> {
    let name = file.display().to_string();
    Settings::load(file).map_err(|error| match error {
        LoadError::Read(error) => Fault::usage(format!("cannot read {name}: {error}")),
        LoadError::TooLong => Fault::usage(format!("{name} is too long for a configuration")),
        LoadError::Problems { errors, warnings } => {
            let mut lines: Vec<_> = errors
                .iter()
                .map(|problem| (problem.place, problem.line(&name, "error")))
                .chain(warnings.iter().map(|problem| (problem.place, problem.line(&name, "warning"))))
                .collect();
            lines.sort();
            let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
            Fault::usage(format!("{name} is not understood\n{}", lines.join("\n")))
        }
    })
}

fn check_config(file: &Path) -> Result<Answer, Fault> {
    let Loaded { settings, warnings } = load(file)?;
    let name = file.display().to_string();
    let mut out = String::new();
    for warning in &warnings {
        out.push_str(&format!("{}\n", warning.line(&name, "warning")));
    }
    let changed = settings.changed();
    if !changed.is_empty() {
        out.push_str("\nsettings that differ from the defaults:\n");
    }
    for (key, value, default) in &changed {
        out.push_str(&format!(
            "  {key} = {value} (default {})\n",
            if default.is_empty() { "none" } else { default }
        ));
    }
    if !settings.proxies.is_empty() {
        out.push_str("\nstreams:\n");
    }
    for proxy in &settings.proxies {
        out.push_str(&format!("  {} from {}\n", proxy.key, proxy_core::url::redact(&proxy.url)));
    }
    let count = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    out.push_str(&format!(
        "\n{name}: understood, {}, {} changed, {}\n",
        count(warnings.len(), "warning"),
        count(changed.len(), "setting"),
        count(settings.proxies.len(), "stream"),
    ));
    Ok(Answer::text(out.trim_start().to_owned()))
}

fn serve_file(file: &Path, filter: Option<&str>, events: Option<&Path>) -> Result<Answer, Fault> {
    let Loaded { settings, warnings } = load(file)?;
    let events = events.map(open_events).transpose()?;
    let stderr = start_log(filter.unwrap_or(&settings.log.filter))?;
    let name = file.display().to_string();
    for warning in &warnings {
        let place = warning.place.map_or_else(String::new, |at| format!(":{}:{}", at.line, at.column));
        tracing::warn!("{name}{place}: {}", warning.text);
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let service = Service {
        settings,
        secret_file: folder.join(SECRET_FILE),
        port_hint: PortHint::File(name),
        narrator: None,
        events: events.clone(),
    };
    let done = service.run();
    stderr.flush(FLUSH_TIMEOUT);
    if let Some(events) = &events {
        events.flush(FLUSH_TIMEOUT);
    }
    done
}

/// Opens where events go; a file that is there is continued.
fn open_events(file: &Path) -> Result<EventLog, Fault> {
    if file == Path::new("-") {
        return EventLog::new(io::stdout()).map_err(Fault::running);
    }
    let opened = OpenOptions::new().create(true).append(true).open(file);
    let opened = opened.map_err(|error| Fault::usage(format!("--events {}: {error}", file.display())))?;
    EventLog::new(opened).map_err(Fault::running)
}

fn pull_one(pull: &Pull, filter: Option<&str>) -> Result<Answer, Fault> {
    let url = OriginUrl::parse_with(&pull.url, pull.play_path.as_deref())
        .map_err(|error| Fault::usage(format!("{}: {error}", proxy_core::url::redact(&pull.url))))?;
    let without_query = |text: &str| text.split('?').next().unwrap_or_default().to_owned();
    let app = pull.app.clone().unwrap_or_else(|| without_query(&url.app));
    let stream = pull.stream.clone().unwrap_or_else(|| without_query(&url.stream));
    let key = StreamKey::new(DEFAULT_VHOST, &app, &stream)
        .map_err(|error| Fault::usage(format!("--app {app} --stream {stream}: {error}")))?;

    let mut settings = Settings::default();
    settings.general.listen_ip = pull.listen_ip;
    settings.rtmp.port = pull.rtmp_port;
    settings.http.port = pull.http_port;
    if pull.rtmp_port != 0 && pull.rtmp_port == pull.http_port {
        return Err(Fault::usage("--rtmp-port and --http-port are the same"));
    }
    let options = PullOptions { force: true, play_path: pull.play_path.clone(), ..PullOptions::default() };
    settings.proxies.push(StaticProxy { key: key.clone(), url: url.text.clone(), options });

    // What happens is told on stdout in plain words; the log is for those who ask.
    let stderr = start_log(filter.unwrap_or("error"))?;
    let stdout = Outlet::new(io::stdout()).map_err(Fault::running)?;
    let narrator = Narrator { out: stdout.clone(), key, origin: url.redacted() };
    let service = Service {
        settings,
        secret_file: state_folder().join(SECRET_FILE),
        port_hint: PortHint::Flags,
        narrator: Some(narrator),
        events: None,
    };
    let done = service.run();
    stdout.flush(FLUSH_TIMEOUT);
    stderr.flush(FLUSH_TIMEOUT);
    done
}

/// Where a service without a configuration file keeps its secret.
fn state_folder() -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || variable("HOME").map(|home| home.join(".local/state"));
    variable("XDG_STATE_HOME").or_else(home).map_or_else(PathBuf::new, |folder| folder.join("repull"))
}

fn start_log(filter: &str) -> Result<Outlet, Fault> {
    let outlet = Outlet::new(io::stderr()).map_err(Fault::running)?;
    log::init(filter, &outlet, io::stderr().is_terminal())
        .map_err(|error| Fault::usage(format!("log filter \"{filter}\": {error}")))?;
    Ok(outlet)
}

/// What a port that is taken can be changed by.
enum PortHint {
    File(String),
    Flags,
}

impl PortHint {
    fn words(&self, section: &str) -> String {
        match self {
            Self::File(file) => format!("set another `port` in section [{section}] of {file}"),
            Self::Flags => format!("choose another with --{section}-port"),
        }
    }
}

/// A proxy with everything around it, from start to end.
struct Service {
    settings: Settings,
    secret_file: PathBuf,
    port_hint: PortHint,
    narrator: Option<Narrator>,
    events: Option<EventLog>,
}

impl Service {
    fn run(self) -> Result<Answer, Fault> {
        let runtime = runtime().map_err(|error| Fault::running(format!("no runtime: {error}")))?;
        let code = runtime.block_on(self.serve());
        // Name lookups may hang in threads of their own: they are not waited for.
        runtime.shutdown_background();
        code
    }

    async fn serve(mut self) -> Result<Answer, Fault> {
        self.settings.general.listen_ip = reachable(self.settings.general.listen_ip);
        let env = match self.settings.general.seed {
            0 => TokioEnv::new().map_err(|error| Fault::running(format!("no random numbers: {error}")))?,
            seed => TokioEnv::with_seed(seed.into()),
        };
        // A service may be started from a terminal and outlive it; a pull by hand is over with it.
        let is_at_terminal = self.narrator.is_some() && io::stdout().is_terminal();
        let mut signals =
            Signals::new(is_at_terminal).map_err(|error| Fault::running(format!("no signals: {error}")))?;

        let mut logger = Logger::new(self.settings.log.lines_per_minute);
        let mut narrator = self.narrator.as_ref().map(Narrator::listener);
        let events = self.events.clone();
        let config = DriverConfig {
            core: self.settings.core.clone(),
            rtmp_listen: self.settings.rtmp_listen().into_iter().collect(),
        };
        let on_event = move |event: &_, now| {
            logger.on_event(event, now);
            if let Some(narrate) = &mut narrator {
                narrate(event, now);
            }
            if let Some(events) = &events {
                events.on_event(event, now);
            }
        };
        let (driver, handle) = Driver::bind(env.clone(), config, on_event)
            .await
            .map_err(|error| self.cannot_listen("rtmp", self.settings.rtmp_listen(), &error))?;
        let rtmp = driver.rtmp_addrs().first().copied();
        let http = self.serve_http(&env, &handle).await?;
        if let Some(events) = &self.events {
            events.begin(handle.started_at(), rtmp, http);
        }

        let mut driver = tokio::spawn(driver.run());
        match &self.narrator {
            Some(narrator) => narrator.introduce(rtmp, http),
            None => {
                for (what, at) in [("RTMP", rtmp), ("HTTP", http)] {
                    if let Some(at) = at {
                        tracing::info!("{what} on {at}");
                    }
                }
            }
        }
        self.add_streams(&handle);
        let status =
            self.narrator.as_ref().map(|narrator| tokio::spawn(narrator.clone().watch(handle.clone())));

        let ended = tokio::select! {
            biased;
            name = signals.next() => {
                tracing::info!("{name}: shutting down");
                Ok(())
            }
            ended = &mut driver => Err(ended),
        };
        if let Some(status) = status {
            status.abort();
        }
        match ended {
            Ok(()) => Ok(Answer::code(shut_down(&handle, driver, &mut signals).await)),
            Err(Ok(())) => Err(Fault::running("the driver ended by itself")),
            Err(Err(error)) => Err(Fault::running(format!("the driver broke down: {error}"))),
        }
    }

    /// Starts API and HTTP-FLV; returns where.
    async fn serve_http(&self, env: &TokioEnv, handle: &Handle) -> Result<Option<SocketAddr>, Fault> {
        let Some(at) = self.settings.http_listen() else { return Ok(None) };
        let listener = env.listen(at).await.map_err(|error| self.cannot_listen("http", Some(at), &error))?;
        let bound = env.bound(&listener).map_err(|error| Fault::running(format!("{at}: {error}")))?;
        let secret = self.secret()?;
        let limits = HttpLimits {
            connections_max: self.settings.http.connections_max,
            header_timeout: self.settings.http.keep_alive,
            write_timeout: self.settings.http.keep_alive,
            ..HttpLimits::default()
        };
        let config = ApiConfig { settings: self.settings.clone(), secret };
        tokio::spawn(serve_http(env.clone(), listener, router(handle.clone(), config), limits));
        Ok(Some(bound))
    }

    fn secret(&self) -> Result<Secret, Fault> {
        let environment = env::var(SECRET_ENV).ok();
        let file = &self.secret_file;
        let found = find_secret(environment.as_deref(), &self.settings.api.secret.0, file);
        let (secret, source) = found.map_err(|error| {
            Fault::running(format!(
                "no secret for the API: {}: {error}; set {SECRET_ENV} or `secret` in section [api]",
                file.display()
            ))
        })?;
        match source {
            SecretSource::Environment => tracing::info!("API secret from {SECRET_ENV}"),
            SecretSource::Config => {}
            SecretSource::File { path, exposed } => {
                tracing::info!("API secret from {}", path.display());
                if exposed {
                    tracing::warn!("{} can be read by others; chmod 600 it", path.display());
                }
            }
            SecretSource::Made { path } => tracing::info!("API secret made and kept in {}", path.display()),
        }
        Ok(Secret(secret))
    }

    fn cannot_listen(&self, section: &str, at: Option<SocketAddr>, error: &io::Error) -> Fault {
        let at = at.map_or_else(String::new, |at| at.to_string());
        let port = at.rsplit(':').next().unwrap_or_default();
        let hint = self.port_hint.words(section);
        Fault::running(match error.kind() {
            io::ErrorKind::AddrInUse => format!("port {port} is taken: {hint}"),
            io::ErrorKind::PermissionDenied => format!("port {port} is not allowed to us: {hint}"),
            _ => format!("cannot listen on {at}: {error}"),
        })
    }

    /// Adds the streams of the configuration, all at once: the core paces the dials.
    fn add_streams(&self, handle: &Handle) {
        for proxy in &self.settings.proxies {
            let StaticProxy { key, url, options } = proxy.clone();
            let (handle, quiet) = (handle.clone(), self.narrator.is_some());
            tokio::spawn(async move {
                let request = Request::Add { key: key.clone(), url, options };
                let problem = match handle.request(request).await {
                    Some(Reply::Full) => "limits.streams_max is reached",
                    Some(Reply::OwnUrl) => "it would pull from itself",
                    // Everything else is told by the stream's own events.
                    Some(_) | None => return,
                };
                if quiet {
                    let _ = writeln!(io::stderr(), "repull: {key}: {problem}");
                } else {
                    tracing::error!("{key} not added: {problem}");
                }
            });
        }
    }
}

/// Ends in order: players are told, pulls stopped. A second signal ends at once.
async fn shut_down(handle: &Handle, driver: JoinHandle<()>, signals: &mut Signals) -> u8 {
    let goodbye = async {
        let _ = handle.request(Request::Shutdown).await;
        let _ = driver.await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
            biased;
        _ = timeout(SHUTDOWN_TIMEOUT, goodbye) => 0,
        name = signals.next() => {
            tracing::warn!("{name} again: ending at once");
            128 + signals.last
        }
    }
}

/// The signals that end us, and SIGHUP: it ends what runs at a terminal that is gone, and nothing else. Operators of
/// ZLMediaKit send it to have settings read anew.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    is_at_terminal: bool,
    /// The number of the last one.
    last: u8,
}

impl Signals {
    fn new(is_at_terminal: bool) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            is_at_terminal,
            last: 0,
        })
    }

    /// Returns the name of the next signal that ends us.
    async fn next(&mut self) -> &'static str {
        loop {
            let (name, number) = tokio::select! {
                biased;
                _ = self.interrupt.recv() => ("SIGINT", 2),
                _ = self.terminate.recv() => ("SIGTERM", 15),
                _ = self.hangup.recv() => ("SIGHUP", 1),
            };
            if name == "SIGHUP" && !self.is_at_terminal {
                tracing::warn!("SIGHUP: settings are read at start; restart to change them");
                continue;
            }
            self.last = number;
            return name;
        }
    }
}

/// Turns "every address" into IPv4's where the machine has no IPv6.
fn reachable(ip: IpAddr) -> IpAddr {
    let is_any = ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if is_any && TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_err() {
        return Ipv4Addr::UNSPECIFIED.into();
    }
    ip
}

/// Tells a person at a terminal how one stream is doing.
#[derive(Clone, Debug)]
struct Narrator {
    out: Outlet,
    key: StreamKey,
    /// The origin's url as it may be printed.
    origin: String,
}

impl Narrator {
    /// Says where to play.
    fn introduce(&self, rtmp: Option<SocketAddr>, http: Option<SocketAddr>) {
        let name = format!("{}/{}", self.key.app, self.key.stream);
        self.out.say(&format!("pulling {}, served at", self.origin));
        if let Some(at) = rtmp {
            let url = format!("rtmp://{}/{name}", near(at));
            self.out.say(&format!("  {url}\n  play with: ffplay -fflags nobuffer {url}"));
        }
        if let Some(at) = http {
            self.out.say(&format!("  http://{}/{name}.live.flv", near(at)));
        }
    }

    /// Returns a listener that tells the stream's events as they come.
    fn listener(&self) -> impl FnMut(&proxy_core::io::Event, proxy_core::Instant) + Send + 'static {
        let out = self.out.clone();
        // A line a second: who watches a terminal reads along.
        let mut logger = Logger::new(60);
        move |event, now| {
            for (key, line) in logger.lines(event, now, |level| level <= Level::INFO) {
                if key.is_some() {
                    out.say(&format!(
                        "{:>8}  {}",
                        log::seconds(now.since(proxy_core::Instant::ZERO)),
                        line.text
                    ));
                }
            }
        }
    }

    /// Says every now and then how it goes.
    async fn watch(self, handle: Handle) {
        let started = Instant::now();
        let mut ticks = interval(STATUS_INTERVAL);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let key = self.key.clone();
            let look = move |proxy: &Proxy, now| proxy.stream(&key, now);
            let Some(view) = handle.query(look).await else { return };
            if let Some(view) = view {
                self.out.say(&format!("{:>8}  {}", log::seconds(started.elapsed()), status(&view)));
            }
        }
    }
}

fn status(view: &StreamView) -> String {
    let players = match view.players + view.parked {
        1 => "1 player".to_owned(),
        players => format!("{players} players"),
    };
    match view.state {
        PullState::Streaming => {
            let kilobits = view.bytes_per_second.saturating_mul(8) / 1000;
            format!("streaming {kilobits} kbit/s, {players}")
        }
        state => {
            let cause = view.last_failure.as_ref().map(|failure| format!(": {}", words::failure(failure)));
            format!("{}{}, {players}", words::state(state).replace('_', " "), cause.unwrap_or_default())
        }
    }
}

/// Where a player on this machine finds a server that listens at `at`.
fn near(at: SocketAddr) -> SocketAddr {
    match at.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), at.port()),
        ip => SocketAddr::new(ip, at.port()),
    }
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    fn send(signal: &str) {
        let sent = process::Command::new("kill").arg(signal).arg(process::id().to_string()).status();
        assert!(sent.expect("a program named kill").success(), "{signal}");
    }

    /// Returns what ends us when these signals come one after the other.
    fn ending(is_at_terminal: bool, sent: &[&str]) -> (&'static str, u8) {
        runtime().expect("a runtime").block_on(async {
            let mut signals = Signals::new(is_at_terminal).expect("signals");
            for signal in sent {
                send(signal);
                // Signals of different kinds have no order among themselves.
                let ended = timeout(Duration::from_millis(300), signals.next()).await;
                if let Ok(name) = ended {
                    return (name, signals.last);
                }
            }
            ("nothing", signals.last)
        })
    }

    // One test: a signal reaches every listener of the process.
    #[test]
    fn a_hangup_ends_only_what_runs_at_a_terminal() {
        assert_eq!(ending(false, &["-HUP", "-HUP"]), ("nothing", 0));
        assert_eq!(ending(false, &["-HUP", "-TERM"]), ("SIGTERM", 15));
        assert_eq!(ending(false, &["-HUP", "-INT"]), ("SIGINT", 2));
        assert_eq!(ending(true, &["-HUP"]), ("SIGHUP", 1));
    }
}
