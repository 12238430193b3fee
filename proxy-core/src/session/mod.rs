//! One RTMP conversation after the handshake: the [`client`] that pulls, the [`server`] that serves players.
//!
//! A session swallows all its input and keeps its own remainder; an error ends it.

pub mod client;
mod link;
pub mod server;

use alloc::string::String;

use crate::wire::{amf0::Amf0Error, chunk::ChunkError};

/// Why a conversation ended by the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum SessionError {
    /// Its bytes are not chunks we accept.
    Chunk(ChunkError),
    /// Its commands are not AMF0 we accept.
    Amf0(Amf0Error),
    /// It asks for credentials in a scheme we do not speak: `authmod=adobe`, `authmod=llnw`, `secureToken`.
    AuthRequired {
        /// The scheme named.
        scheme: String,
    },
    /// The stream id in its answer to createStream is no number.
    StreamId,
    /// More unanswered or useless control traffic than a sane peer sends.
    Flood,
    /// A command out of order that cannot be answered: `play` before `connect`, …
    Unexpected {
        /// The command.
        command: String,
    },
    /// A chain of proxies longer than allowed, probably a ring.
    TooManyHops {
        /// The hop count found in `connect`.
        hops: u32,
    },
}
