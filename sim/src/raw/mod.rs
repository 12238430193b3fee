//! RTMP and FLV as the model peers speak it: small, literal, and sharing no line with the proxy's codec.
//!
//! If proxy and peers had one codec, a misreading of the specification would cancel out and every test would
//! pass. So this room is written from the specification alone (Adobe RTMP 1.0, FLV 10.1, AMF0, E-RTMP v2). It is
//! strict where the core is tolerant: what a model peer cannot read is a finding.
//!
//! | room | purpose |
//! |---|---|
//! | [`handshake`] | the simple handshake, both sides |
//! | [`chunk`] | chunks ↔ messages, with the writer's liberties as knobs |
//! | [`amf0`] | values of commands and metadata |
//! | [`flv`] | FLV tags for HTTP-FLV |
//! | [`http`] | just enough of an HTTP response to reach the FLV body |
//! | [`media`] | sequence headers and stamped frames: what they look like, and telling them apart |

pub mod amf0;
pub mod chunk;
pub mod flv;
pub mod handshake;
pub mod http;
pub mod media;

use std::fmt;

/// What a peer sent that the raw wire cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawError {
    /// C0 or S0 is not 3 (§5.2.2).
    HandshakeVersion {
        /// The version found.
        version: u8,
    },
    /// C2 or S2 does not echo what was sent (§5.2.4).
    HandshakeEcho {
        /// The first byte that differs.
        at: usize,
    },
    /// A compressed chunk header on a chunk stream that has had none in full.
    ChunkOrphan {
        /// The chunk stream.
        csid: u32,
        /// The header format, 1–3.
        fmt: u8,
    },
    /// A header of format 0–2 inside an unfinished message.
    ChunkMidMessage {
        /// The chunk stream.
        csid: u32,
        /// The header format, 0–2.
        fmt: u8,
    },
    /// A message longer than [`chunk::MESSAGE_BYTES_MAX`].
    MessageTooLong {
        /// The length declared, in bytes.
        len: usize,
    },
    /// SetChunkSize of zero, or without four bytes.
    ChunkSize,
    /// An AMF0 marker this reader does not know.
    AmfMarker {
        /// The marker found.
        marker: u8,
    },
    /// An AMF0 value that ends early.
    AmfShort,
    /// AMF0 nested deeper than [`amf0::DEPTH_MAX`].
    AmfDeep,
    /// No FLV signature, or another version than 1.
    FlvSignature,
    /// An FLV tag type other than 8, 9 and 18.
    FlvType {
        /// The type found.
        kind: u8,
    },
    /// A PreviousTagSize that is not the size of the tag before.
    FlvBackPointer {
        /// The size told, in bytes.
        found: u32,
        /// The size of the tag before, in bytes.
        expected: u32,
    },
    /// An aggregate whose parts do not fill it.
    Aggregate,
    /// An HTTP response this reader cannot follow.
    Http,
}

impl fmt::Display for RawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandshakeVersion { version } => write!(f, "handshake version {version}, not 3"),
            Self::HandshakeEcho { at } => write!(f, "handshake echo differs at byte {at}"),
            Self::ChunkOrphan { csid, fmt } => {
                write!(f, "chunk header of format {fmt} begins chunk stream {csid}")
            }
            Self::ChunkMidMessage { csid, fmt } => {
                write!(f, "chunk header of format {fmt} inside a message of chunk stream {csid}")
            }
            Self::MessageTooLong { len } => write!(f, "message of {len} bytes"),
            Self::ChunkSize => write!(f, "unusable chunk size"),
            Self::AmfMarker { marker } => write!(f, "AMF0 marker {marker:#04x}"),
            Self::AmfShort => write!(f, "AMF0 value ends early"),
            Self::AmfDeep => write!(f, "AMF0 nested too deeply"),
            Self::FlvSignature => write!(f, "no FLV signature"),
            Self::FlvType { kind } => write!(f, "FLV tag type {kind}"),
            Self::FlvBackPointer { found, expected } => {
                write!(f, "FLV tag says the one before had {found} bytes, it had {expected}")
            }
            Self::Aggregate => write!(f, "aggregate with ragged parts"),
            Self::Http => write!(f, "unreadable HTTP response"),
        }
    }
}

impl std::error::Error for RawError {}
