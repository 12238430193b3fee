//! The server session: serves one play per connection to a player (RTMP 1.0 §7.2), publishes nothing.
//!
//! The owner answers [`ServerEvent::Play`] by [`ServerSession::accept_play`] or [`ServerSession::reject_play`],
//! now or later; in between the player is parked and pings are still answered.

use alloc::{string::String, vec::Vec};

use crate::session::SessionError;

/// The message stream id of the first createStream; media encoded once is addressed to it.
pub const PLAY_STREAM: u32 = 1;

/// What the server tells and believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Our outgoing chunk size, announced before the answer to connect.
    pub chunk_size: u32,
    /// Live message streams per connection; one more createStream is answered `_error`.
    pub streams_max: usize,
    /// Longest chain of proxies accepted.
    pub hops_max: u32,
}

/// What the player wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerEvent {
    /// `connect` was answered.
    Connected {
        /// `flashVer`, for session lists; empty if not told.
        agent: String,
        /// The hop count of a proxy (`repullHops`), 0 from anybody else.
        hops: u32,
    },
    /// It asks to play. At most one play is alive: an earlier one has been reported by `Stopped`.
    Play {
        /// The application without query and slashes at its ends.
        app: String,
        /// The stream name without query and `mp4:`/`flv:` prefix.
        stream: String,
        /// The virtual host named by `vhost=` in a query or SRS's `...vhost...`, empty if none.
        vhost: String,
        /// The query of app or stream, for authorisation; may hold secrets.
        params: String,
    },
    /// closeStream or deleteStream ended the running or parked play; the connection goes on.
    Stopped,
}

/// Why a play is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Refusal {
    /// NetStream.Play.StreamNotFound, "No such stream.".
    StreamNotFound,
    /// NetStream.Play.BadAuth.
    BadAuth,
    /// NetStream.Play.InsufficientBW: too many players.
    TooManyPlayers,
}

/// An RTMP server towards one player, from `connect` on.
#[derive(Debug)]
pub struct ServerSession {}

impl ServerSession {
    /// Waits for `connect`. `received` is what the handshake took from the wire.
    pub fn new(_options: ServerOptions, _received: u64) -> Self {
        todo!()
    }

    /// Takes bytes from the player, appends answers: ping responses, acknowledgements, results; unknown calls
    /// get `_result` null; publish gets onStatus `NetStream.Publish.Denied` of level error.
    ///
    /// # Errors
    /// See [`SessionError`]; errors are final.
    pub fn handle_bytes(&mut self, _input: &[u8], _out: &mut Vec<u8>) -> Result<(), SessionError> {
        todo!()
    }

    /// Returns what the player wants, in order.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        todo!()
    }

    /// Appends StreamBegin, NetStream.Play.Reset and NetStream.Play.Start.
    pub fn accept_play(&mut self, _out: &mut Vec<u8>) {
        todo!()
    }

    /// Appends onStatus of level error.
    pub fn reject_play(&mut self, _refusal: Refusal, _out: &mut Vec<u8>) {
        todo!()
    }

    /// Appends NetStream.Play.UnpublishNotify and StreamEOF: the stream has ended for good.
    pub fn end_play(&mut self, _out: &mut Vec<u8>) {
        todo!()
    }

    /// Returns the message stream the running or parked play is on, if there is one.
    pub fn play_stream(&self) -> Option<u32> {
        todo!()
    }
}
