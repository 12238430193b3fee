//! The handshake, both roles (RTMP 1.0 §5.2) and the digest variant that FFmpeg, nginx-rtmp and Flash speak.
//!
//! ```text
//!  client            server
//!  C0 C1  ─────────►
//!         ◄─────────  S0 S1 S2
//!  C2     ─────────►
//! ```
//! Dice are handed in; C2 and S2 are verified where the peer digests. Machines are consumed by use, so a
//! finished or failed handshake cannot be fed again.

use alloc::vec::Vec;

/// Random bytes for C1 or S1.
pub type Dice = [u8; 1528];

/// Which handshake the client opens with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum HandshakeKind {
    /// C1 carries an HMAC-SHA256 digest; falls back by itself if the server answers simply.
    Digest,
    /// C1 is time, zero and random bytes.
    Simple,
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum HandshakeError {
    /// C0 or S0 is not 3 (6 and 8 are RTMPE, unsupported).
    Version {
        /// The byte found.
        version: u8,
    },
    /// The peer digests, but its C2 or S2 does not verify.
    Digest,
}

/// What a handshake is after some bytes.
#[derive(Debug)]
pub enum Progress<T> {
    /// It needs more bytes.
    Pending(T),
    /// It is complete; input beyond the used part belongs to the session.
    Done,
}

/// The client's side: C0 C1 → S0 S1 S2 → C2.
#[derive(Debug)]
pub struct ClientHandshake {}

/// The server's side: C0 C1 → S0 S1 S2, C2.
#[derive(Debug)]
pub struct ServerHandshake {}

impl ClientHandshake {
    /// Appends C0 and C1.
    pub fn start(_kind: HandshakeKind, _dice: &Dice, _out: &mut Vec<u8>) -> Self {
        todo!()
    }

    /// Reads server bytes, appends C2 when S1 is complete; returns how much of `input` was used.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub fn handle_bytes(
        self,
        _input: &[u8],
        _out: &mut Vec<u8>,
    ) -> Result<(usize, Progress<Self>), HandshakeError> {
        todo!()
    }
}

impl ServerHandshake {
    /// Waits for C0 and C1. `dice` fills S1.
    pub fn start(_dice: &Dice) -> Self {
        todo!()
    }

    /// Reads client bytes, appends S0 S1 S2 when C1 is complete; returns how much of `input` was used.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub fn handle_bytes(
        self,
        _input: &[u8],
        _out: &mut Vec<u8>,
    ) -> Result<(usize, Progress<Self>), HandshakeError> {
        todo!()
    }
}
