//! The client session: connect, createStream, play, and what an origin says afterwards (RTMP 1.0 §7.2.1, §7.2.2).
//!
//! ```text
//! connect ──► Connecting ── _result ──► CreatingStream ── _result ──► RequestingPlay ── Play.Start ──► Playing
//!                                            ▲                                                          │
//!                                            └──────────────── replay (closeStream, createStream) ──────┘
//! ```

use alloc::{string::String, vec::Vec};

use crate::{
    session::SessionError,
    url::OriginUrl,
    wire::{command::Status, flv::Frame},
};

/// What the operator's wish adds to a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClientOptions {
    /// Send FCSubscribe before play, which some CDNs want.
    pub fc_subscribe: bool,
    /// The hop count told in `connect` (`repullHops`); a chain of proxies is cut by it.
    pub hops: u32,
}

/// What the origin did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// It accepted `play` (NetStream.Play.Start, or media before it).
    Playing,
    /// A frame. Frames that belong to the play before a replay are not told.
    Frame(Frame),
    /// It answered a ping of ours.
    Pong {
        /// The number we sent.
        timestamp: u32,
    },
    /// The stream ended or paused, the connection did not: StreamEOF, StreamDry, UnpublishNotify, Play.Stop,
    /// Play.Complete. Not told between a replay and its Play.Start, where they speak of the old play.
    Ended(Ending),
    /// Every onStatus, also those told as another event.
    Status(Status),
    /// `_error`, StreamNotFound, Play.Failed, Connect.Rejected, Connect.Closed and every other onStatus of level
    /// error, or createStream refused.
    Refused(Status),
    /// Go elsewhere: `ex.redirect`/`ex.redirect2` of an `_error` to connect (code 302), or
    /// `NetConnection.Connect.ReconnectRequest`. The url is complete: app and stream are filled in.
    Redirect {
        /// Where to.
        url: String,
    },
}

/// How a stream ended on a living connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Ending {
    /// User control StreamEOF.
    StreamEof,
    /// User control StreamDry.
    StreamDry,
    /// NetStream.Play.UnpublishNotify.
    UnpublishNotify,
    /// NetStream.Play.Stop or Play.Complete.
    PlayStop,
}

/// An RTMP client that plays one stream, from `connect` on.
#[derive(Debug)]
pub struct ClientSession {}

impl ClientSession {
    /// Appends Window Acknowledgement Size, Set Chunk Size and `connect`. `received` is what the handshake took
    /// from the wire: acknowledgements count it (§5.4.3).
    pub fn start(_url: &OriginUrl, _options: &ClientOptions, _received: u64, _out: &mut Vec<u8>) -> Self {
        todo!()
    }

    /// Takes bytes from the origin, appends answers.
    ///
    /// # Errors
    /// See [`SessionError`]; errors are final.
    pub fn handle_bytes(&mut self, _input: &[u8], _out: &mut Vec<u8>) -> Result<(), SessionError> {
        todo!()
    }

    /// Returns what the origin did, in order.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        todo!()
    }

    /// Appends a PingRequest carrying `timestamp` in milliseconds.
    pub fn ping(&mut self, _timestamp: u32, _out: &mut Vec<u8>) {
        todo!()
    }

    /// Appends closeStream (and deleteStream) for the running play and asks anew: createStream, play. Never two
    /// subscriptions at once. SRS ignores a second `play`, nginx-rtmp answers "already joined", ZLMediaKit ends
    /// the session: this order is what all of them take or answer by hanging up.
    pub fn replay(&mut self, _out: &mut Vec<u8>) {
        todo!()
    }
}
