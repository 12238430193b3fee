//! The configuration file: TOML with ZLMediaKit's names for what we share, and our own beside them.
//!
//! ```text
//! text ──► read ──► Settings ──► core Config, listen addresses, API, log
//!            │  one table of keys: parsing, `check-config`, `getServerConfig`, the README's defaults
//!            └──► problems: file:line:column, the offending word, the likely one or the allowed range
//! ```
//! Keys fall into three classes: ours (set), ZLMediaKit's that do not apply here (a warning that names the nearest
//! one of ours), and unknown ones (an error). Nothing is guessed silently.

mod check;
mod foreign;
mod options;
mod ranges;
mod read;
mod secret;
mod table;

use std::{
    fmt, io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use proxy_core::{io::PullOptions, url::StreamKey};
use toml_edit::TableLike;

pub use self::{
    options::{OPTIONS, OptionKey, has_option, set_option},
    ranges::IpRanges,
    read::likely,
    secret::{SECRET_ENV, SECRET_FILE, SecretSource, WELL_KNOWN_SECRET, find_secret},
    table::{Field, KEYS, Key, defaults_markdown, defaults_toml},
};

/// The longest configuration file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Everything a configuration file can say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The numbers the core decides by.
    pub core: proxy_core::Config,
    /// `[general]` beyond what the core takes.
    pub general: General,
    /// `[rtmp]` beyond what the core takes.
    pub rtmp: Rtmp,
    /// `[http]`.
    pub http: Http,
    /// `[api]`.
    pub api: Api,
    /// `[log]`.
    pub log: Log,
    /// `[[proxy]]`: streams added at start with `force`.
    pub proxies: Vec<StaticProxy>,
}

/// What all servers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct General {
    /// The address all servers listen on.
    pub listen_ip: IpAddr,
    /// The name told in `getServerConfig`; controllers match on it.
    pub media_server_id: String,
    /// The seed of the core's dice; 0 for one from the operating system.
    pub seed: u32,
}

impl Default for General {
    fn default() -> Self {
        Self { listen_ip: IpAddr::V6(Ipv6Addr::UNSPECIFIED), media_server_id: "repull".to_owned(), seed: 0 }
    }
}

/// Where RTMP players connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtmp {
    /// The TCP port; 0 for none.
    pub port: u16,
}

impl Default for Rtmp {
    fn default() -> Self {
        Self { port: 1935 }
    }
}

/// How HTTP is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The TCP port of API and HTTP-FLV; 0 for none.
    pub port: u16,
    /// Who may call the API.
    pub allow_ip_range: IpRanges,
    /// Answer browsers of other origins.
    pub allow_cross_domains: bool,
    /// An idle connection, and one that takes no bytes while some wait, is hung up after this.
    pub keep_alive: Duration,
    /// Connections at a time, players included.
    pub connections_max: usize,
    /// Longest request body, in bytes.
    pub request_bytes_max: usize,
    /// How long reading a request and answering it may take, without the wait for an origin.
    pub request_timeout: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            port: 8080,
            allow_ip_range: IpRanges::private(),
            allow_cross_domains: true,
            keep_alive: Duration::from_secs(15),
            connections_max: 20_000,
            request_bytes_max: 40_960,
            request_timeout: Duration::from_secs(15),
        }
    }
}

/// How the API is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// The secret, empty if the file gives none.
    pub secret: Secret,
    /// Log every call and its outcome.
    pub debug: bool,
    /// Calls worked on at the same time; one more is told to come back.
    pub requests_max: usize,
    /// `addStreamProxy` calls waiting for an origin at the same time.
    pub adds_max: usize,
}

impl Default for Api {
    fn default() -> Self {
        Self { secret: Secret::default(), debug: false, requests_max: 64, adds_max: 1024 }
    }
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `tracing` filter; `--log` and `REPULL_LOG` win.
    pub filter: String,
    /// Lines per stream and minute.
    pub lines_per_minute: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), lines_per_minute: 30 }
    }
}

/// Text that must not reach a log: `Debug` hides it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(empty)" } else { "Secret(…)" })
    }
}

/// A `[[proxy]]` entry.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticProxy {
    /// The key to register.
    pub key: StreamKey,
    /// The origin's url as written; may hold secrets.
    pub url: String,
    /// Options; `force` unless the file says otherwise.
    pub options: PullOptions,
}

impl fmt::Debug for StaticProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticProxy")
            .field("key", &self.key)
            .field("url", &proxy_core::url::redact(&self.url))
            .field("options", &self.options)
            .finish()
    }
}

/// A place in a file, counted from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Something wrong, or suspicious, at a place of the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where; `None` for the file as a whole.
    pub place: Option<Place>,
    /// What, and what to do about it.
    pub text: String,
}

/// A file understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What it says without effect or against good sense, in the file's order.
    pub warnings: Vec<Problem>,
}

/// Why there are no settings.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read.
    Read(io::Error),
    /// Longer than [`FILE_BYTES_MAX`].
    TooLong,
    /// It is not understood; errors and warnings in the file's order.
    Problems {
        /// What must be mended.
        errors: Vec<Problem>,
        /// What should be looked at.
        warnings: Vec<Problem>,
    },
}

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// See [`LoadError`]; all errors of the file are told at once.
    pub fn load(path: &Path) -> Result<Loaded, LoadError> {
        let len = std::fs::metadata(path).map_err(LoadError::Read)?.len();
        if len > FILE_BYTES_MAX {
            return Err(LoadError::TooLong);
        }
        let text = std::fs::read_to_string(path).map_err(LoadError::Read)?;
        Self::parse(&text)
    }

    /// Understands the text of a configuration file.
    ///
    /// # Errors
    /// [`LoadError::Problems`].
    pub fn parse(text: &str) -> Result<Loaded, LoadError> {
        read::read(text)
    }

    /// Understands a table of a larger TOML document, whose text tells the places. The table says what a whole
    /// configuration file would; of the warnings only keys without effect are told.
    ///
    /// # Errors
    /// [`LoadError::Problems`].
    pub fn parse_table(text: &str, table: &dyn TableLike) -> Result<Loaded, LoadError> {
        read::read_table(text, table)
    }

    /// Returns where RTMP players connect: nowhere, or one address.
    pub fn rtmp_listen(&self) -> Option<SocketAddr> {
        (self.rtmp.port != 0).then(|| SocketAddr::new(self.general.listen_ip, self.rtmp.port))
    }

    /// Returns where HTTP is served: nowhere, or one address.
    pub fn http_listen(&self) -> Option<SocketAddr> {
        (self.http.port != 0).then(|| SocketAddr::new(self.general.listen_ip, self.http.port))
    }

    /// Returns the settings that differ from the defaults: name, value, default.
    pub fn changed(&self) -> Vec<(String, String, String)> {
        let defaults = Self::default();
        KEYS.iter()
            .filter_map(|key| {
                let (value, default) = (key.field.show(self), key.field.show(&defaults));
                let counts = value != default && !(key.hidden && value == WELL_KNOWN_SECRET);
                counts.then(|| {
                    let value = if key.hidden { "(set)".to_owned() } else { value };
                    (key.path(), value, default)
                })
            })
            .collect()
    }
}

impl Place {
    /// Returns the place of a byte of a text; `None` beyond its end.
    pub fn of(text: &str, at: usize) -> Option<Self> {
        let before = text.get(..at)?;
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Some(Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        })
    }
}

impl Problem {
    /// Tells it as compilers do: `file:line:column: kind: text`.
    pub fn line(&self, file: &str, kind: &str) -> String {
        match self.place {
            Some(Place { line, column }) => format!("{file}:{line}:{column}: {kind}: {}", self.text),
            None => format!("{file}: {kind}: {}", self.text),
        }
    }
}
