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
//!
//! A digest is HMAC-SHA256 over the rest of C1 or S1, hidden at an offset that four bytes at 8 or at 772 name;
//! C2 and S2 end with one over their first part, keyed by the digest they answer. Who digests and who does not
//! is found out by looking: FFmpeg and nginx-rtmp do, rtmpdump does not, FFmpeg as server echoes C1 in S2 without
//! one. A plain echo is always good, for there are clients that digest C1 and then echo S1.

use alloc::vec::Vec;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

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

/// The only version of RTMP in C0 and S0.
const VERSION: u8 = 3;

/// Bytes of C1, S1, C2 and S2 each.
const PACKET_BYTES: usize = 1536;

/// Bytes in front of the random part of C1 and S1: time and zero, or version.
const PREFIX_BYTES: usize = 8;

const DIGEST_BYTES: usize = 32;

/// Where the four bytes stand whose sum names the offset of the digest: FFmpeg as client and librtmp write the
/// first, Flash 10.1 and nginx-rtmp know both.
const OFFSET_BASES: [usize; 2] = [8, 772];

/// The digest keeps clear of the next block: 764 - 4 - 32 offsets.
const OFFSETS: usize = 728;

const CLIENT_NAME: &[u8] = b"Genuine Adobe Flash Player 001";
const SERVER_NAME: &[u8] = b"Genuine Adobe Flash Media Server 001";

/// What follows either name in the keys of C2 and S2.
const KEY_TAIL: &[u8] = &[
    0xF0, 0xEE, 0xC2, 0x4A, 0x80, 0x68, 0xBE, 0xE8, 0x2E, 0x00, 0xD0, 0xD1, 0x02, 0x9E, 0x7E, 0x57, 0x6E,
    0xEC, 0x5D, 0x2D, 0x29, 0x80, 0x6F, 0xAB, 0x93, 0xB8, 0xE6, 0x36, 0xCF, 0xEB, 0x31, 0xAE,
];

/// A version that says "I digest": peers look for a digest only where it is not zero. librtmp's.
const CLIENT_DIGEST_VERSION: [u8; 4] = [0x80, 0, 7, 2];

/// Likewise; FFmpeg verifies S1 and S2 where the first byte is at least 3.
const SERVER_DIGEST_VERSION: [u8; 4] = [4, 0, 0, 1];

type Digest = [u8; DIGEST_BYTES];

/// The client's side: C0 C1 → S0 S1 S2 → C2.
#[derive(Debug)]
pub struct ClientHandshake {
    c1: Vec<u8>,
    /// The digest in C1, if it carries one.
    c1_digest: Option<Digest>,
    state: ClientState,
    received: Received,
}

#[derive(Clone, Copy, Debug)]
enum ClientState {
    /// S0 and S1 are awaited; C2 answers them.
    AwaitingS1,
    AwaitingS2 {
        /// S1 carried a digest, so S2 must.
        is_digested: bool,
    },
}

/// The server's side: C0 C1 → S0 S1 S2, C2.
#[derive(Debug)]
pub struct ServerHandshake {
    state: ServerState,
    received: Received,
}

#[derive(Debug)]
enum ServerState {
    /// C0 and C1 are awaited; S0 S1 S2 answer them.
    AwaitingC1 {
        /// S1 as it would be without version and digest.
        s1: Vec<u8>,
    },
    AwaitingC2 {
        s1: Vec<u8>,
        /// The digest in S1, if C1 carried one.
        s1_digest: Option<Digest>,
    },
}

impl ClientHandshake {
    /// Appends C0 and C1.
    pub fn start(kind: HandshakeKind, dice: &Dice, out: &mut Vec<u8>) -> Self {
        let mut c1 = packet(dice);
        let c1_digest = match kind {
            HandshakeKind::Digest => {
                c1[4..PREFIX_BYTES].copy_from_slice(&CLIENT_DIGEST_VERSION);
                Some(put_digest(&mut c1, OFFSET_BASES[0], CLIENT_NAME))
            }
            HandshakeKind::Simple => None,
        };
        out.push(VERSION);
        out.extend_from_slice(&c1);
        Self { c1, c1_digest, state: ClientState::AwaitingS1, received: Received::default() }
    }

    /// Reads server bytes, appends C2 when S1 is complete; returns how much of `input` was used.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub fn handle_bytes(
        mut self,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Progress<Self>), HandshakeError> {
        let mut rest = input;
        if let ClientState::AwaitingS1 = self.state {
            let Some(s1) = self.received.take_first(&mut rest)? else {
                return Ok((input.len(), Progress::Pending(self)));
            };
            // Whoever opens without a digest is answered without one; a digest by chance means nothing.
            let s1_digest =
                self.c1_digest.and_then(|_| find_digest(&s1, SERVER_NAME)).map(|(_, digest)| digest);
            out.extend_from_slice(&answer(&s1, s1_digest, CLIENT_NAME));
            self.state = ClientState::AwaitingS2 { is_digested: s1_digest.is_some() };
        }
        let Some(s2) = self.received.take_packet(&mut rest) else {
            return Ok((input.len(), Progress::Pending(self)));
        };
        if let ClientState::AwaitingS2 { is_digested: true } = self.state {
            verify(&s2, &self.c1, self.c1_digest, SERVER_NAME)?;
        }
        Ok((input.len() - rest.len(), Progress::Done))
    }
}

impl ServerHandshake {
    /// Waits for C0 and C1. `dice` fills S1.
    pub fn start(dice: &Dice) -> Self {
        Self { state: ServerState::AwaitingC1 { s1: packet(dice) }, received: Received::default() }
    }

    /// Reads client bytes, appends S0 S1 S2 when C1 is complete; returns how much of `input` was used.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub fn handle_bytes(
        mut self,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Progress<Self>), HandshakeError> {
        let mut rest = input;
        let (s1, s1_digest) = match self.state {
            ServerState::AwaitingC1 { mut s1 } => {
                let Some(c1) = self.received.take_first(&mut rest)? else {
                    self.state = ServerState::AwaitingC1 { s1 };
                    return Ok((input.len(), Progress::Pending(self)));
                };
                let found = find_digest(&c1, CLIENT_NAME);
                let s1_digest = found.map(|(base, _)| {
                    s1[4..PREFIX_BYTES].copy_from_slice(&SERVER_DIGEST_VERSION);
                    put_digest(&mut s1, base, SERVER_NAME)
                });
                out.push(VERSION);
                out.extend_from_slice(&s1);
                out.extend_from_slice(&answer(&c1, found.map(|(_, digest)| digest), SERVER_NAME));
                (s1, s1_digest)
            }
            ServerState::AwaitingC2 { s1, s1_digest } => (s1, s1_digest),
        };
        let Some(c2) = self.received.take_packet(&mut rest) else {
            self.state = ServerState::AwaitingC2 { s1, s1_digest };
            return Ok((input.len(), Progress::Pending(self)));
        };
        if s1_digest.is_some() {
            verify(&c2, &s1, s1_digest, CLIENT_NAME)?;
        }
        Ok((input.len() - rest.len(), Progress::Done))
    }
}

/// Collects what the peer sends, packet by packet.
#[derive(Debug, Default)]
struct Received {
    has_version: bool,
    packet: Vec<u8>,
}

impl Received {
    /// Takes the version and the first packet behind it; `None` if they are not complete.
    fn take_first(&mut self, rest: &mut &[u8]) -> Result<Option<Vec<u8>>, HandshakeError> {
        if !self.has_version {
            let Some((&version, behind)) = rest.split_first() else { return Ok(None) };
            if version != VERSION {
                return Err(HandshakeError::Version { version });
            }
            self.has_version = true;
            *rest = behind;
        }
        Ok(self.take_packet(rest))
    }

    /// Takes one packet; `None`, and all of the input, if it is not complete.
    fn take_packet(&mut self, rest: &mut &[u8]) -> Option<Vec<u8>> {
        let (bytes, behind) = rest.split_at(rest.len().min(PACKET_BYTES - self.packet.len()));
        if self.packet.is_empty() {
            self.packet.reserve_exact(PACKET_BYTES);
        }
        self.packet.extend_from_slice(bytes);
        *rest = behind;
        (self.packet.len() == PACKET_BYTES).then(|| core::mem::take(&mut self.packet))
    }
}

/// Makes C1 or S1 of a simple handshake: time 0, zero, random bytes. Nobody is known to need the time.
fn packet(dice: &Dice) -> Vec<u8> {
    let mut packet = Vec::with_capacity(PACKET_BYTES);
    packet.extend_from_slice(&[0; PREFIX_BYTES]);
    packet.extend_from_slice(dice);
    packet
}

/// Makes the answer to C1 or S1: its echo, the end of which is a digest if it carries one itself.
fn answer(packet: &[u8], digest: Option<Digest>, our_name: &[u8]) -> Vec<u8> {
    let mut answer = packet.to_vec();
    if let Some(digest) = digest {
        let (signed, signature) = answer.split_at_mut(PACKET_BYTES - DIGEST_BYTES);
        signature.copy_from_slice(&sign(signed, &digest, our_name));
    }
    answer
}

/// Checks the peer's answer to our C1 or S1.
fn verify(
    answer: &[u8],
    ours: &[u8],
    our_digest: Option<Digest>,
    peer_name: &[u8],
) -> Result<(), HandshakeError> {
    let (signed, signature) = answer.split_at(PACKET_BYTES - DIGEST_BYTES);
    let is_signed = our_digest.is_some_and(|digest| signature == sign(signed, &digest, peer_name));
    if is_signed || answer == ours { Ok(()) } else { Err(HandshakeError::Digest) }
}

/// Returns the digest at the end of C2 or S2, keyed by the digest it answers.
fn sign(signed: &[u8], answered: &Digest, signer_name: &[u8]) -> Digest {
    let mut key = Vec::with_capacity(signer_name.len() + KEY_TAIL.len());
    key.extend_from_slice(signer_name);
    key.extend_from_slice(KEY_TAIL);
    hmac(&hmac(&key, &[answered]), &[signed])
}

/// Writes the digest of C1 or S1 into it.
fn put_digest(packet: &mut [u8], base: usize, name: &[u8]) -> Digest {
    let at = digest_at(packet, base);
    let digest = packet_digest(packet, at, name);
    packet[at..at + DIGEST_BYTES].copy_from_slice(&digest);
    digest
}

/// Finds the digest in C1 or S1 and the base it was hidden by.
fn find_digest(packet: &[u8], name: &[u8]) -> Option<(usize, Digest)> {
    OFFSET_BASES.into_iter().find_map(|base| {
        let at = digest_at(packet, base);
        let digest = packet_digest(packet, at, name);
        (packet[at..at + DIGEST_BYTES] == digest).then_some((base, digest))
    })
}

fn digest_at(packet: &[u8], base: usize) -> usize {
    let sum: usize = packet[base..base + 4].iter().map(|&byte| usize::from(byte)).sum();
    base + 4 + sum % OFFSETS
}

fn packet_digest(packet: &[u8], at: usize, name: &[u8]) -> Digest {
    hmac(name, &[&packet[..at], &packet[at + DIGEST_BYTES..]])
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        hmac.update(part);
    }
    hmac.finalize().into_bytes().into()
}
