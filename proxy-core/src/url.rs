//! Names of streams: where we pull from and what operators and players ask for.

use alloc::string::String;
use core::fmt;

/// The virtual host a stream belongs to when nobody names one (ZLMediaKit's word).
pub const DEFAULT_VHOST: &str = "__defaultVhost__";

/// The longest url, key part or stream name that is believed, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;

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
    /// The port is no number in 1–65535.
    Port,
    /// No application in the path.
    AppMissing,
    /// No stream name in the path.
    StreamMissing,
    /// A control character or space.
    Character {
        /// The byte position.
        at: usize,
    },
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.vhost, self.app, self.stream)
    }
}
