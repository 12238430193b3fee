//! Names of streams: where we pull from and what operators and players ask for.
//!
//! ```text
//! rtmp://user:password@host:1935/app/instance/stream?query
//!        └──── hidden ───┘ │    │ └─── app ──┘└── stream ─┘      app and stream as sent on the wire
//!                          └────┴── tcUrl: rtmp://host:1935/app/instance
//! ```
//!
//! Credentials and queries hold secrets. Whatever is printed goes through [`redact`] first; the [`fmt::Debug`] of
//! an [`OriginUrl`] does so itself.

use alloc::{borrow::ToOwned, format, string::String};
use core::{fmt, net::Ipv6Addr};

/// The virtual host a stream belongs to when nobody names one (ZLMediaKit's word).
pub const DEFAULT_VHOST: &str = "__defaultVhost__";

/// The longest url, key part or stream name that is believed, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;

/// The TCP port of a url that names none (RTMP 1.0 §4).
pub const DEFAULT_PORT: u16 = 1935;

/// What stands where a secret was.
const HIDDEN: &str = "***";

/// What a stream is registered under: `vhost/app/stream`, as in ZLMediaKit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StreamKey {
    /// The virtual host, [`DEFAULT_VHOST`] unless named.
    pub vhost: String,
    /// The application; may hold one `/` (`live/instance`).
    pub app: String,
    /// The stream name, without query.
    pub stream: String,
}

/// Where a stream is pulled from: a parsed `rtmp://` url.
///
/// Forms that occur in the field are kept: `host[:port]/app[/instance]/stream?query`, IPv6 literals,
/// `user:password@`, `mp4:`/`flv:` prefixes in the stream name, a query on app or stream.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OriginUrl {
    /// The url as the operator wrote it.
    pub text: String,
    /// The host name or address literal, IPv6 without brackets.
    pub host: String,
    /// The TCP port, 1935 unless named.
    pub port: u16,
    /// The application as sent in `connect`, with its query if it has one.
    pub app: String,
    /// The stream name as sent in `play`, with its query if it has one.
    pub stream: String,
    /// The `tcUrl` as sent in `connect`: the url without the stream name and without credentials.
    pub tc_url: String,
}

/// Why a url or key is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum UrlError {
    /// Longer than [`NAME_BYTES_MAX`].
    TooLong {
        /// The length found, in bytes.
        len: usize,
    },
    /// A scheme we do not pull; `rtmps` is named because people will try it.
    Scheme {
        /// The scheme found, empty if there is none.
        scheme: String,
    },
    /// No host between `//` and the path.
    HostMissing,
    /// The host is neither a name nor an address: a bad IPv6 literal, or one without brackets.
    Host,
    /// The port is no number in 1–65535.
    Port,
    /// No application in the path.
    AppMissing,
    /// No stream name in the path.
    StreamMissing,
    /// The path does not end with the stream name the operator gives, behind an application.
    PlayPath,
    /// A control character or space; in a key also `?`, and `/` in its virtual host.
    Character {
        /// The byte position.
        at: usize,
    },
}

impl StreamKey {
    /// Makes a key. An empty `vhost` means [`DEFAULT_VHOST`].
    ///
    /// However a caller cuts `app/instance/stream` in two, the key is the same: the application takes a second
    /// element when there are three or more, as in [`OriginUrl::parse`] and ZLMediaKit. So an operator who adds
    /// app `live`, stream `cam/1` is found by a player of `rtmp://host/live/cam/1`.
    ///
    /// # Errors
    /// A part is too long, holds a character it must not, or an element of app or stream is empty.
    pub fn new(vhost: &str, app: &str, stream: &str) -> Result<Self, UrlError> {
        for part in [vhost, app, stream] {
            check_text(part)?;
            if let Some(at) = part.find('?') {
                return Err(UrlError::Character { at });
            }
        }
        if let Some(at) = vhost.find('/') {
            return Err(UrlError::Character { at });
        }
        if app.split('/').any(str::is_empty) {
            return Err(UrlError::AppMissing);
        }
        if stream.split('/').any(str::is_empty) {
            return Err(UrlError::StreamMissing);
        }

        let path = format!("{app}/{stream}");
        let slash = path.match_indices('/').map(|(at, _)| at).take(2).last().unwrap_or(path.len());
        Ok(Self {
            vhost: if vhost.is_empty() { DEFAULT_VHOST.to_owned() } else { vhost.to_owned() },
            app: path[..slash].to_owned(),
            stream: path[slash..].trim_start_matches('/').to_owned(),
        })
    }

    /// Parses `vhost/app/stream`, the form [`fmt::Display`] prints.
    ///
    /// # Errors
    /// As [`StreamKey::new`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (vhost, path) = text.split_once('/').ok_or(UrlError::AppMissing)?;
        let (app, stream) = path.split_once('/').ok_or(UrlError::StreamMissing)?;
        Self::new(vhost, app, stream)
    }
}

impl OriginUrl {
    /// Parses a url.
    ///
    /// The first path element is the application; it takes a second one when what follows still has a `/` before
    /// its query (`app/instance/stream`), unless that element is a play path of its own (`mp4:dir/file`, as FFmpeg
    /// decides) or the application has a query. The query at the end belongs to the stream name. Repeated slashes
    /// count once.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        Self::parse_with(text, None)
    }

    /// Parses a url of which the operator says where the stream name begins: servers cut paths in more ways than
    /// [`Self::parse`] knows. `play_path` is the end of the url as sent in `play`, query included; what is left of the
    /// path is the application. `None` leaves it to [`Self::parse`].
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse_with(text: &str, play_path: Option<&str>) -> Result<Self, UrlError> {
        check_text(text)?;
        let (authority, path) = split_url(text)?;
        let path = path.trim_start_matches('/');
        let (app, stream) = match play_path {
            Some(stream) => (split_play_path(path, stream)?, stream),
            None => split_path(path)?,
        };
        Self::assemble(text, authority, app, stream)
    }

    /// Returns the url a server names by a `tcUrl`: the `ReconnectRequest` of Enhanced RTMP (absolute,
    /// `//host/app`, `/app`) and SRS's `ex.redirect`. The stream name stays ours; so does the application if
    /// the server names none. Credentials are never carried to another place.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn redirect(&self, tc_url: &str) -> Result<Self, UrlError> {
        check_text(tc_url)?;
        let absolute = match tc_url {
            path if path.starts_with("//") => format!("rtmp:{path}"),
            path if path.starts_with('/') => {
                let (authority, _) = split_url(&self.tc_url)?;
                format!("rtmp://{authority}{path}")
            }
            url => url.to_owned(),
        };
        let (authority, path) = split_url(&absolute)?;
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        let path = path.trim_matches('/');
        let app = if path.is_empty() { self.app.as_str() } else { path };
        let text = format!("rtmp://{authority}/{app}/{}", self.stream);
        check_text(&text)?;
        Self::assemble(&text, authority, app, &self.stream)
    }

    /// Returns the key of the stream the url asks for, in a virtual host, whatever its query says.
    pub fn key_in(&self, vhost: &str) -> Option<StreamKey> {
        let bare = |name: &str| String::from(name.split('?').next().unwrap_or(name));
        StreamKey::new(vhost, &bare(&self.app), &bare(&self.stream)).ok()
    }

    /// Returns the url as it may be printed, see [`redact`].
    pub fn redacted(&self) -> String {
        redact(&self.text)
    }

    fn assemble(text: &str, authority: &str, app: &str, stream: &str) -> Result<Self, UrlError> {
        // A password may hold '@'; a host cannot.
        let host_port = authority.rsplit('@').next().unwrap_or(authority);
        let (host, port) = split_host(host_port)?;
        Ok(Self {
            text: text.to_owned(),
            host: host.to_owned(),
            port,
            app: app.to_owned(),
            stream: stream.to_owned(),
            tc_url: format!("rtmp://{host_port}/{app}"),
        })
    }
}

/// Returns `url` as it may be printed: scheme, host and path are kept, user, password and all that follows `?` or
/// `&` are hidden except the parameters' names. Works on any text, since bad urls are printed too; when in doubt it
/// hides.
pub fn redact(url: &str) -> String {
    let (scheme, rest) = match url.find("://") {
        Some(at) => url.split_at(at + 3),
        None => ("", url),
    };
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    let credentials = match authority.rfind('@') {
        Some(at) => at + 1,
        // A password with a slash in it: the authority ends too early, but looks like no host and port.
        None if split_host(authority).is_err() => rest.rfind('@').map_or(0, |at| at + 1),
        None => 0,
    };

    let mut shown = String::from(scheme);
    if credentials > 0 {
        shown.push_str(HIDDEN);
        shown.push('@');
    }
    let rest = &rest[credentials..];
    let query = rest.find(['?', '&']).unwrap_or(rest.len());
    shown.push_str(&rest[..query]);
    for piece in rest[query..].split_inclusive(['?', '&', ';']) {
        // Each piece ends with the separator of the next one; the first is that separator alone.
        let (body, separator) = match piece.strip_suffix(['?', '&', ';']) {
            Some(body) => (body, &piece[body.len()..]),
            None => (piece, ""),
        };
        if let Some((name, _)) = body.split_once('=') {
            shown.push_str(name);
            shown.push('=');
        }
        if !body.is_empty() {
            shown.push_str(HIDDEN);
        }
        shown.push_str(separator);
    }
    shown
}

fn check_text(text: &str) -> Result<(), UrlError> {
    if text.len() > NAME_BYTES_MAX {
        return Err(UrlError::TooLong { len: text.len() });
    }
    match text.char_indices().find(|(_, c)| c.is_control() || c.is_whitespace()) {
        Some((at, _)) => Err(UrlError::Character { at }),
        None => Ok(()),
    }
}

/// Splits `rtmp://authority/path`.
fn split_url(text: &str) -> Result<(&str, &str), UrlError> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(UrlError::Scheme { scheme: String::new() });
    };
    if !scheme.eq_ignore_ascii_case("rtmp") {
        // Only what can be a scheme is told: a url without one may hold a password in front of a later "://".
        let is_scheme = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let scheme = if is_scheme { scheme.to_ascii_lowercase() } else { String::new() };
        return Err(UrlError::Scheme { scheme });
    }
    Ok(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

/// Splits `app[/instance]/stream[?query]`.
fn split_path(path: &str) -> Result<(&str, &str), UrlError> {
    let app_end = path.find('/').unwrap_or(path.len());
    let app = &path[..app_end];
    if app.is_empty() || app.starts_with('?') {
        return Err(UrlError::AppMissing);
    }
    let stream = path[app_end..].trim_start_matches('/');
    let name_end = stream.find('?').unwrap_or(stream.len());
    if name_end == 0 {
        return Err(UrlError::StreamMissing);
    }
    let Some(instance_end) = stream[..name_end].find('/') else {
        return Ok((app, stream));
    };
    if app.contains('?') || stream[..instance_end].contains(':') {
        return Ok((app, stream));
    }
    let app = &path[..path.len() - stream.len() + instance_end];
    let stream = stream[instance_end..].trim_start_matches('/');
    if stream.is_empty() || stream.starts_with('?') {
        return Err(UrlError::StreamMissing);
    }
    Ok((app, stream))
}

/// Returns the application in front of a stream name that is known.
fn split_play_path<'a>(path: &'a str, stream: &str) -> Result<&'a str, UrlError> {
    let app = path.strip_suffix(stream).and_then(|path| path.strip_suffix('/')).ok_or(UrlError::PlayPath)?;
    let app = app.trim_end_matches('/');
    if stream.is_empty() || app.is_empty() || app.starts_with('?') {
        return Err(UrlError::PlayPath);
    }
    Ok(app)
}

/// Splits `host[:port]`, IPv6 literals in brackets.
fn split_host(text: &str) -> Result<(&str, u16), UrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(UrlError::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| UrlError::Host)?;
            let port = match port.strip_prefix(':') {
                Some(port) => Some(port),
                None if port.is_empty() => None,
                None => return Err(UrlError::Port),
            };
            (host, port)
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err(UrlError::HostMissing);
    }
    if !text.starts_with('[') && host.contains([':', '[', ']', '?', '#', '@']) {
        return Err(UrlError::Host);
    }
    let Some(port) = port else {
        return Ok((host, DEFAULT_PORT));
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UrlError::Port);
    }
    match port.parse() {
        Ok(0) => Err(UrlError::Port),
        Ok(port) => Ok((host, port)),
        Err(_) => Err(UrlError::Port),
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.vhost, self.app, self.stream)
    }
}

impl fmt::Debug for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OriginUrl").field(&self.redacted()).finish()
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => write!(f, "{len} bytes long, at most {NAME_BYTES_MAX} are accepted"),
            Self::Scheme { scheme } if scheme.is_empty() => write!(f, "no scheme, expected rtmp://"),
            Self::Scheme { scheme } => write!(f, "scheme {scheme}:// is not supported, expected rtmp://"),
            Self::HostMissing => write!(f, "no host after rtmp://"),
            Self::Host => write!(f, "the host is no name or address; IPv6 addresses need brackets: [::1]"),
            Self::Port => write!(f, "the port is no number from 1 to 65535"),
            Self::AppMissing => write!(f, "no application, expected rtmp://host/app/stream"),
            Self::StreamMissing => write!(f, "no stream name, expected rtmp://host/app/stream"),
            Self::PlayPath => write!(f, "the url does not end with an application and the play path given"),
            Self::Character { at } => write!(f, "a character that is not allowed at byte {at}"),
        }
    }
}

impl core::error::Error for UrlError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[track_caller]
    fn check(text: &str, host: &str, port: u16, app: &str, stream: &str, tc_url: &str) {
        let url = OriginUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            (url.host.as_str(), url.port, url.app.as_str(), url.stream.as_str(), url.tc_url.as_str()),
            (host, port, app, stream, tc_url),
            "{text}"
        );
        assert_eq!(url.text, text);
    }

    #[test]
    fn urls_of_the_field_are_taken_apart() {
        check("rtmp://h/live/s", "h", 1935, "live", "s", "rtmp://h/live");
        check("RTMP://h:1936/live/s", "h", 1936, "live", "s", "rtmp://h:1936/live");
        check("rtmp://h/live/s?token=a/b&c=d", "h", 1935, "live", "s?token=a/b&c=d", "rtmp://h/live");
        check("rtmp://h/live/inst/s?t=1", "h", 1935, "live/inst", "s?t=1", "rtmp://h/live/inst");
        check("rtmp://h/a/b/c/d", "h", 1935, "a/b", "c/d", "rtmp://h/a/b");
        check("rtmp://h/live?vhost=x/s", "h", 1935, "live?vhost=x", "s", "rtmp://h/live?vhost=x");
        check("rtmp://h/live?vhost=x/i/s", "h", 1935, "live?vhost=x", "i/s", "rtmp://h/live?vhost=x");
        check("rtmp://h/vod/mp4:dir/file.mp4", "h", 1935, "vod", "mp4:dir/file.mp4", "rtmp://h/vod");
        check("rtmp://h/vod/flv:file", "h", 1935, "vod", "flv:file", "rtmp://h/vod");
        check("rtmp://[2001:db8::1]/live/s", "2001:db8::1", 1935, "live", "s", "rtmp://[2001:db8::1]/live");
        check("rtmp://[::1]:19350/live/s", "::1", 19350, "live", "s", "rtmp://[::1]:19350/live");
        check("rtmp://u:p@h:1/live/s", "h", 1, "live", "s", "rtmp://h:1/live");
        check("rtmp://u:p@ss@h/live/s", "h", 1935, "live", "s", "rtmp://h/live");
        check("rtmp://h//live//s", "h", 1935, "live", "s", "rtmp://h/live");
        check("rtmp://h/live/s&k=v", "h", 1935, "live", "s&k=v", "rtmp://h/live");
        check(
            "rtmp://10.0.0.1/live...vhost...x/s",
            "10.0.0.1",
            1935,
            "live...vhost...x",
            "s",
            "rtmp://10.0.0.1/live...vhost...x",
        );
    }

    #[track_caller]
    fn check_play_path(text: &str, play_path: &str, cut: Result<(&str, &str, &str), UrlError>) {
        let url = OriginUrl::parse_with(text, Some(play_path));
        let url = url.as_ref().map(|url| (url.app.as_str(), url.stream.as_str(), url.tc_url.as_str()));
        assert_eq!(url, cut.as_ref().map(|cut| *cut), "{text} {play_path}");
    }

    #[test]
    fn an_operator_may_say_where_the_stream_name_begins() {
        check_play_path("rtmp://h/a/b/c/d", "d", Ok(("a/b/c", "d", "rtmp://h/a/b/c")));
        check_play_path("rtmp://h/a/b/c?t=1", "b/c?t=1", Ok(("a", "b/c?t=1", "rtmp://h/a")));
        check_play_path("rtmp://h/a?t=1/b/c", "c", Ok(("a?t=1/b", "c", "rtmp://h/a?t=1/b")));
        check_play_path("rtmp://h/a//c", "c", Ok(("a", "c", "rtmp://h/a")));
        for (text, play_path) in [
            ("rtmp://h/a/b", "c"),
            ("rtmp://h/a/b?t=1", "b"),
            ("rtmp://h/ab", "b"),
            ("rtmp://h/b", "b"),
            ("rtmp://h//b", "b"),
            ("rtmp://h/?x/b", "b"),
            ("rtmp://h/a/", ""),
        ] {
            check_play_path(text, play_path, Err(UrlError::PlayPath));
        }
    }

    #[track_caller]
    fn check_refused(text: &str, error: &UrlError) {
        assert_eq!(OriginUrl::parse(text).as_ref(), Err(error), "{text}");
    }

    #[test]
    fn bad_urls_are_refused_by_name() {
        let scheme = |scheme: &str| UrlError::Scheme { scheme: scheme.into() };
        check_refused("", &scheme(""));
        check_refused("h/live/s", &scheme(""));
        check_refused("rtmps://h/live/s", &scheme("rtmps"));
        check_refused("RTSP://h/live/s", &scheme("rtsp"));
        check_refused("u:secret@h/x?y=://", &scheme(""));
        check_refused("rtmp:///live/s", &UrlError::HostMissing);
        check_refused("rtmp://u:p@/live/s", &UrlError::HostMissing);
        check_refused("rtmp://:1935/live/s", &UrlError::HostMissing);
        check_refused("rtmp://::1/live/s", &UrlError::Host);
        check_refused("rtmp://[::1/live/s", &UrlError::Host);
        check_refused("rtmp://[h]/live/s", &UrlError::Host);
        check_refused("rtmp://h?x/live/s", &UrlError::Host);
        check_refused("rtmp://h:/live/s", &UrlError::Port);
        check_refused("rtmp://h:0/live/s", &UrlError::Port);
        check_refused("rtmp://h:+1/live/s", &UrlError::Port);
        check_refused("rtmp://h:65536/live/s", &UrlError::Port);
        check_refused("rtmp://[::1]1935/live/s", &UrlError::Port);
        check_refused("rtmp://h", &UrlError::AppMissing);
        check_refused("rtmp://h/", &UrlError::AppMissing);
        check_refused("rtmp://h/?x=1/s", &UrlError::AppMissing);
        check_refused("rtmp://h/live", &UrlError::StreamMissing);
        check_refused("rtmp://h/live/", &UrlError::StreamMissing);
        check_refused("rtmp://h/live/?t=1", &UrlError::StreamMissing);
        check_refused("rtmp://h/live/inst/", &UrlError::StreamMissing);
        check_refused("rtmp://h/live/inst/?t=1", &UrlError::StreamMissing);
        check_refused("rtmp://h/live/s s", &UrlError::Character { at: 15 });
        check_refused("rtmp://h/live/s\n", &UrlError::Character { at: 15 });
        check_refused("rtmp://h/live/s\u{85}", &UrlError::Character { at: 15 });
        let long = format!("rtmp://h/live/{}", "s".repeat(NAME_BYTES_MAX));
        check_refused(&long, &UrlError::TooLong { len: long.len() });
    }

    #[test]
    fn secrets_are_never_shown() {
        for (url, shown) in [
            ("rtmp://h/live/s", "rtmp://h/live/s"),
            ("rtmp://user:pw@h:1/live/s?token=abc&x=y", "rtmp://***@h:1/live/s?token=***&x=***"),
            ("rtmp://h/live?key=a/s", "rtmp://h/live?key=***"),
            ("rtmp://h/live/s&key=a", "rtmp://h/live/s&key=***"),
            ("rtmp://h/live/s?bare&&k", "rtmp://h/live/s?***&&***"),
            ("rtmp://h/live/s?a=b=c;d=e", "rtmp://h/live/s?a=***;d=***"),
            ("rtmp://user:p/w@h/live/s", "rtmp://***@h/live/s"),
            ("user:pw@h/live", "***@h/live"),
            ("rtmp://h/live/a@b", "rtmp://h/live/a@b"),
            ("rtmp://user:p?w@h/live/s", "rtmp://***@h/live/s"),
            ("", ""),
        ] {
            assert_eq!(redact(url), shown, "{url}");
        }
        let url = OriginUrl::parse("rtmp://user:secret@h/live/s?token=secret").expect("a good url");
        assert!(!format!("{url:?}").contains("secret"));
        assert!(format!("{url:?}").contains("rtmp://***@h/live/s?token=***"));
    }

    #[track_caller]
    fn check_redirect(tc_url: &str, text: &str) {
        let url = OriginUrl::parse("rtmp://u:p@a:1936/live/s?t=1").expect("a good url");
        let target = url.redirect(tc_url).unwrap_or_else(|error| panic!("{tc_url}: {error}"));
        assert_eq!(target.text, text);
        assert_eq!(OriginUrl::parse(text), Ok(target), "the text says the same");
    }

    #[test]
    fn redirects_keep_the_stream_and_drop_credentials() {
        check_redirect("rtmp://b/live", "rtmp://b/live/s?t=1");
        check_redirect("rtmp://x:y@b:2/live/", "rtmp://b:2/live/s?t=1");
        check_redirect("rtmp://[::1]:2/other/inst", "rtmp://[::1]:2/other/inst/s?t=1");
        check_redirect("rtmp://b", "rtmp://b/live/s?t=1");
        check_redirect("//b/other", "rtmp://b/other/s?t=1");
        check_redirect("/other", "rtmp://a:1936/other/s?t=1");
        check_redirect("/other?q=1", "rtmp://a:1936/other?q=1/s?t=1");

        let url = OriginUrl::parse("rtmp://a/live/s").expect("a good url");
        assert_eq!(url.redirect("rtmps://b/live"), Err(UrlError::Scheme { scheme: "rtmps".into() }));
        assert_eq!(url.redirect(""), Err(UrlError::Scheme { scheme: "".into() }));
        assert_eq!(url.redirect("//"), Err(UrlError::HostMissing));
        assert!(url.redirect(&format!("/{}", "a".repeat(NAME_BYTES_MAX - 1))).is_err());
    }

    #[track_caller]
    fn check_key(vhost: &str, app: &str, stream: &str, text: &str) {
        let key = StreamKey::new(vhost, app, stream).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(key.to_string(), text);
        assert_eq!(StreamKey::parse(text), Ok(key));
    }

    #[test]
    fn keys_print_and_parse() {
        check_key("", "live", "s", "__defaultVhost__/live/s");
        check_key("v", "live/inst", "s", "v/live/inst/s");
        check_key("v", "a", "b/c/d", "v/a/b/c/d");
        assert_eq!(StreamKey::new("v", "live", "cam/1"), StreamKey::new("v", "live/cam", "1"));
        assert_eq!(StreamKey::new("v", "a/b/c", "d"), StreamKey::new("v", "a/b", "c/d"));
        let key = StreamKey::new("v", "a", "b/c/d").expect("a good key");
        assert_eq!((key.app.as_str(), key.stream.as_str()), ("a/b", "c/d"));
    }

    #[test]
    fn bad_keys_are_refused() {
        for (vhost, app, stream, error) in [
            ("v", "", "s", UrlError::AppMissing),
            ("v", "/live", "s", UrlError::AppMissing),
            ("v", "live/", "s", UrlError::AppMissing),
            ("v", "live", "", UrlError::StreamMissing),
            ("v", "live", "a//b", UrlError::StreamMissing),
            ("v", "live", "s?t=1", UrlError::Character { at: 1 }),
            ("v/w", "live", "s", UrlError::Character { at: 1 }),
            ("v", "li ve", "s", UrlError::Character { at: 2 }),
            ("v", "live", "s\0", UrlError::Character { at: 1 }),
        ] {
            assert_eq!(StreamKey::new(vhost, app, stream), Err(error), "{vhost}/{app}/{stream}");
        }
        assert_eq!(StreamKey::parse("live"), Err(UrlError::AppMissing));
        assert_eq!(StreamKey::parse("v/live"), Err(UrlError::StreamMissing));
        let long = "s".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(StreamKey::new("v", "live", &long), Err(UrlError::TooLong { len: NAME_BYTES_MAX + 1 }));
    }
}
