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
//! is found out by looking: FFmpeg and nginx-rtmp do, rtmpdump does not. FFmpeg as server echoes C1 in S2 without
//! one, and as publisher echoes S1 in C2 although both digested: a plain echo is always good.

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

/// Checks the peer's answer to our C1 or S1: signed, or an echo. An echo may differ in its first eight bytes, which
/// hold two times (§5.2.4); FFmpeg as server sets the second to zero.
fn verify(
    answer: &[u8],
    ours: &[u8],
    our_digest: Option<Digest>,
    peer_name: &[u8],
) -> Result<(), HandshakeError> {
    let (signed, signature) = answer.split_at(PACKET_BYTES - DIGEST_BYTES);
    let is_signed = our_digest.is_some_and(|digest| signature == sign(signed, &digest, peer_name));
    let is_echo = answer[PREFIX_BYTES..] == ours[PREFIX_BYTES..];
    if is_signed || is_echo { Ok(()) } else { Err(HandshakeError::Digest) }
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

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;

    const GOLDEN: [(&str, &[u8], &[u8], bool); 4] = [
        (
            "ffmpeg-play-nginx",
            include_bytes!("../../../tests/golden/ffmpeg-play-nginx.client.bin"),
            include_bytes!("../../../tests/golden/ffmpeg-play-nginx.server.bin"),
            true,
        ),
        (
            "ffmpeg-publish-nginx",
            include_bytes!("../../../tests/golden/ffmpeg-publish-nginx.client.bin"),
            include_bytes!("../../../tests/golden/ffmpeg-publish-nginx.server.bin"),
            true,
        ),
        (
            "rtmpdump-play-nginx",
            include_bytes!("../../../tests/golden/rtmpdump-play-nginx.client.bin"),
            include_bytes!("../../../tests/golden/rtmpdump-play-nginx.server.bin"),
            false,
        ),
        (
            "ffmpeg-play-ffmpeg",
            include_bytes!("../../../tests/golden/ffmpeg-play-ffmpeg.client.bin"),
            include_bytes!("../../../tests/golden/ffmpeg-play-ffmpeg.server.bin"),
            false,
        ),
    ];

    fn dice(seed: u8) -> Dice {
        core::array::from_fn(|n| (n as u8).wrapping_mul(31).wrapping_add(seed) ^ (n >> 8) as u8)
    }

    /// What a side appended, how many bytes it used, and whether it ended well (`None`: it waits for more).
    type Outcome = (Vec<u8>, usize, Option<Result<(), HandshakeError>>);

    fn drive<T>(
        mut machine: T,
        pieces: &[&[u8]],
        step: impl Fn(T, &[u8], &mut Vec<u8>) -> Result<(usize, Progress<T>), HandshakeError>,
    ) -> Outcome {
        let mut out = vec![];
        let mut used = 0;
        for piece in pieces {
            machine = match step(machine, piece, &mut out) {
                Ok((count, Progress::Pending(machine))) => {
                    assert_eq!(count, piece.len(), "who waits has used everything");
                    used += count;
                    machine
                }
                Ok((count, Progress::Done)) => return (out, used + count, Some(Ok(()))),
                Err(error) => return (out, used, Some(Err(error))),
            };
        }
        (out, used, None)
    }

    fn client(kind: HandshakeKind, pieces: &[&[u8]]) -> Outcome {
        let machine = ClientHandshake::start(kind, &dice(1), &mut vec![]);
        drive(machine, pieces, ClientHandshake::handle_bytes)
    }

    fn server(pieces: &[&[u8]]) -> Outcome {
        drive(ServerHandshake::start(&dice(2)), pieces, ServerHandshake::handle_bytes)
    }

    fn opening(kind: HandshakeKind) -> Vec<u8> {
        let mut out = vec![];
        ClientHandshake::start(kind, &dice(1), &mut out);
        out
    }

    const TAIL: &[u8] = b"connect follows in the same segment";

    #[test]
    fn both_roles_agree_cut_anywhere() {
        for kind in [HandshakeKind::Digest, HandshakeKind::Simple] {
            let c0_c1 = opening(kind);
            let (answer, _, end) = server(&[&c0_c1]);
            assert_eq!((answer.len(), end), (3073, None));
            let (c2, used, end) = client(kind, &[&answer, TAIL]);
            assert_eq!((c2.len(), used, end), (1536, 3073, Some(Ok(()))));

            let to_server = [&c0_c1[..], &c2, TAIL].concat();
            let to_client = [&answer[..], TAIL].concat();
            for cut in 0..3074 {
                let (front, back) = to_server.split_at(cut);
                assert_eq!(
                    server(&[front, back]),
                    (answer.clone(), 3073, Some(Ok(()))),
                    "server cut at {cut}"
                );
                let (front, back) = to_client.split_at(cut);
                assert_eq!(
                    client(kind, &[front, back]),
                    (c2.clone(), 3073, Some(Ok(()))),
                    "client cut at {cut}"
                );
            }
            let bytes: Vec<&[u8]> = to_server.chunks(1).collect();
            assert_eq!(server(&bytes), (answer.clone(), 3073, Some(Ok(()))));
            let bytes: Vec<&[u8]> = to_client.chunks(1).collect();
            assert_eq!(client(kind, &bytes), (c2.clone(), 3073, Some(Ok(()))));
        }
    }

    #[test]
    fn a_digest_is_answered_by_one_and_a_simple_opening_by_an_echo() {
        let c0_c1 = opening(HandshakeKind::Digest);
        let (answer, ..) = server(&[&c0_c1]);
        let c1_digest = find_digest(&c0_c1[1..], CLIENT_NAME).expect("a digest").1;
        assert_eq!(find_digest(&answer[1..1537], SERVER_NAME).expect("a digest").0, 8);
        assert!(answer[5] >= 3, "FFmpeg looks for digests from version 3 on");
        assert_ne!(answer[1537..], c0_c1[1..]);
        assert_eq!(verify(&answer[1537..], &[0; 1536], Some(c1_digest), SERVER_NAME), Ok(()));

        let c0_c1 = opening(HandshakeKind::Simple);
        let (answer, ..) = server(&[&c0_c1]);
        assert_eq!(find_digest(&answer[1..1537], SERVER_NAME), None);
        assert_eq!(answer[1..9], [0; 8]);
        assert_eq!(answer[1537..], c0_c1[1..]);
    }

    #[test]
    fn the_server_answers_in_the_scheme_of_the_client() {
        for base in OFFSET_BASES {
            let mut c1 = packet(&dice(7));
            c1[4] = 9;
            put_digest(&mut c1, base, CLIENT_NAME);
            let (answer, ..) = server(&[&[3], &c1]);
            assert_eq!(find_digest(&answer[1..1537], SERVER_NAME).map(|(base, _)| base), Some(base));
        }
    }

    #[test]
    fn the_client_finds_the_digest_of_either_scheme() {
        let c0_c1 = opening(HandshakeKind::Digest);
        let c1_digest = find_digest(&c0_c1[1..], CLIENT_NAME).map(|(_, digest)| digest);
        for base in OFFSET_BASES {
            let mut s1 = packet(&dice(9));
            let s1_digest = put_digest(&mut s1, base, SERVER_NAME);
            let s2 = answer(&c0_c1[1..], c1_digest, SERVER_NAME);
            let (c2, _, end) = client(HandshakeKind::Digest, &[&[3], &s1, &s2]);
            assert_eq!(end, Some(Ok(())));
            assert_eq!(verify(&c2, &[0; 1536], Some(s1_digest), CLIENT_NAME), Ok(()));
        }
    }

    #[test]
    fn other_versions_are_refused_at_the_first_byte() {
        for version in [0, 2, 4, 6, 8, 0x47, 0x80] {
            let expected = Some(Err(HandshakeError::Version { version }));
            assert_eq!(server(&[&[], &[version]]).2, expected);
            assert_eq!(client(HandshakeKind::Digest, &[&[version]]).2, expected);
        }
    }

    #[test]
    fn an_answer_that_is_neither_signed_nor_an_echo_is_refused_from_those_who_digest() {
        let c0_c1 = opening(HandshakeKind::Digest);
        let (answer, ..) = server(&[&c0_c1]);
        let (c2, ..) = client(HandshakeKind::Digest, &[&answer]);
        for at in [0, 700, 1503, 1504, 1535] {
            let mut wrong = c2.clone();
            wrong[at] ^= 1;
            assert_eq!(server(&[&c0_c1, &wrong]).2, Some(Err(HandshakeError::Digest)));
            let mut wrong = answer.clone();
            wrong[1537 + at] ^= 1;
            assert_eq!(client(HandshakeKind::Digest, &[&wrong]).2, Some(Err(HandshakeError::Digest)));
        }
        // Clients that digest C1 and then echo S1, servers that do likewise.
        assert_eq!(server(&[&c0_c1, &answer[1..1537]]).2, Some(Ok(())));
        assert_eq!(client(HandshakeKind::Digest, &[&answer[..1537], &c0_c1[1..]]).2, Some(Ok(())));
    }

    #[test]
    fn who_does_not_digest_may_answer_anything() {
        let simple = opening(HandshakeKind::Simple);
        assert_eq!(server(&[&simple, &[7; 1536]]).2, Some(Ok(())));
        assert_eq!(client(HandshakeKind::Simple, &[&[3], &[1; 1536], &[2; 1536]]).2, Some(Ok(())));
        let (c2, used, end) = client(HandshakeKind::Digest, &[&[3], &[1; 1536], &[2; 1536], TAIL]);
        assert_eq!((&c2[..], used, end), (&[1; 1536][..], 3073, Some(Ok(()))));
    }

    #[test]
    fn captured_handshakes_verify() {
        for (name, client, server, is_digested) in GOLDEN {
            let (c1, c2) = (&client[1..1537], &client[1537..3073]);
            let (s1, s2) = (&server[1..1537], &server[1537..3073]);
            let c1_digest = find_digest(c1, CLIENT_NAME).map(|(_, digest)| digest);
            let s1_digest = find_digest(s1, SERVER_NAME).map(|(_, digest)| digest);
            assert_eq!(c1_digest.is_some(), name.starts_with("ffmpeg"), "{name}");
            assert_eq!(s1_digest.is_some(), is_digested, "{name}");
            assert_eq!(verify(s2, c1, c1_digest, SERVER_NAME), Ok(()), "{name}");
            assert_eq!(verify(c2, s1, s1_digest, CLIENT_NAME), Ok(()), "{name}");
            // FFmpeg digests C1 always, but signs C2 only when it plays: as publisher it echoes S1.
            assert_eq!(s2[8..] == c1[8..], !is_digested, "{name}");
            assert_eq!(c2 == s1, name != "ffmpeg-play-nginx", "{name}");
        }
    }

    #[test]
    fn captured_peers_are_taken_by_our_machines() {
        for (name, to_server, to_client, _) in GOLDEN {
            // Their C0 C1 at our server; their C2 answers another S1, so it stops there.
            let (_, used, end) = server(&[&to_server[..1537]]);
            assert_eq!((used, end), (1537, None), "{name}");
            // Their S0 S1 S2 at a client that sent their C1.
            let c1 = to_server[1..1537].to_vec();
            let c1_digest = find_digest(&c1, CLIENT_NAME).map(|(_, digest)| digest);
            let machine = ClientHandshake {
                c1,
                c1_digest,
                state: ClientState::AwaitingS1,
                received: Received::default(),
            };
            let (_, used, end) = drive(machine, &[to_client], ClientHandshake::handle_bytes);
            assert_eq!((used, end), (3073, Some(Ok(()))), "{name}");
            // Their C2 at a server that sent their S1.
            let s1 = to_client[1..1537].to_vec();
            let s1_digest = find_digest(&s1, SERVER_NAME).map(|(_, digest)| digest);
            let state = ServerState::AwaitingC2 { s1, s1_digest };
            let machine = ServerHandshake { state, received: Received { has_version: true, packet: vec![] } };
            let (_, used, end) = drive(machine, &[&to_server[1537..]], ServerHandshake::handle_bytes);
            assert_eq!((used, end), (1536, Some(Ok(()))), "{name}");
        }
    }
}
