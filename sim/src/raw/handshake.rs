//! The simple handshake (§5.2): version, time, zero, 1,528 bytes of filler, and the echo of it.
//!
//! Neither side makes a digest, so a proxy that opens with a digest (most do) must cope with an answer without.

use super::RawError;

/// Length of C1, C2, S1 and S2, in bytes.
pub const PACKET_BYTES: usize = 1536;

/// The side that dialled.
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    c1: Vec<u8>,
    input: Vec<u8>,
    c2_sent: bool,
}

/// The side that accepted.
#[derive(Clone, Debug)]
pub struct ServerHandshake {
    s1: Vec<u8>,
    input: Vec<u8>,
    answered: bool,
}

/// A server's handshake that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shaken {
    /// What followed C2.
    pub rest: Vec<u8>,
    /// Whether C2 was an echo of S1.
    pub echo: Result<(), RawError>,
}

impl ClientHandshake {
    /// Begins: appends C0 and C1 to `out`. The filler is made from `salt`.
    pub fn new(salt: u64, out: &mut Vec<u8>) -> Self {
        let c1 = packet(salt);
        out.push(3);
        out.extend_from_slice(&c1);
        Self { c1, input: Vec::new(), c2_sent: false }
    }

    /// Takes bytes, appends C2 to `out` when it is due. Returns what follows S2 once S2 is complete.
    pub fn handle_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<Vec<u8>>, RawError> {
        self.input.extend_from_slice(bytes);
        check_version(&self.input)?;
        if !self.c2_sent && self.input.len() > PACKET_BYTES {
            out.extend_from_slice(&self.input[1..=PACKET_BYTES]);
            self.c2_sent = true;
        }
        if self.input.len() < 1 + 2 * PACKET_BYTES {
            return Ok(None);
        }
        check_echo(&self.c1, &self.input[1 + PACKET_BYTES..1 + 2 * PACKET_BYTES])?;
        Ok(Some(self.input.split_off(1 + 2 * PACKET_BYTES)))
    }
}

impl ServerHandshake {
    /// Begins. The filler is made from `salt`.
    pub fn new(salt: u64) -> Self {
        Self { s1: packet(salt), input: Vec::new(), answered: false }
    }

    /// Takes bytes, appends S0, S1 and S2 to `out` once C1 is complete. Returns what follows C2 once C2 is
    /// complete. A C2 that echoes nothing is for the caller to judge: nginx-rtmp sends noise to servers without a
    /// digest.
    pub fn handle_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<Shaken>, RawError> {
        self.input.extend_from_slice(bytes);
        check_version(&self.input)?;
        if !self.answered && self.input.len() > PACKET_BYTES {
            out.push(3);
            out.extend_from_slice(&self.s1);
            out.extend_from_slice(&self.input[1..=PACKET_BYTES]);
            self.answered = true;
        }
        if self.input.len() < 1 + 2 * PACKET_BYTES {
            return Ok(None);
        }
        let echo = check_echo(&self.s1, &self.input[1 + PACKET_BYTES..1 + 2 * PACKET_BYTES]);
        Ok(Some(Shaken { rest: self.input.split_off(1 + 2 * PACKET_BYTES), echo }))
    }
}

fn packet(salt: u64) -> Vec<u8> {
    let mut packet = vec![0; 8];
    let mut state = salt | 1;
    while packet.len() < PACKET_BYTES {
        // xorshift64: filler needs to differ between connections, nothing more.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        packet.extend_from_slice(&state.to_be_bytes());
    }
    packet.truncate(PACKET_BYTES);
    packet
}

fn check_version(input: &[u8]) -> Result<(), RawError> {
    match input.first() {
        None | Some(3) => Ok(()),
        Some(&version) => Err(RawError::HandshakeVersion { version }),
    }
}

/// Compares an echo; its bytes 4–7 are the echoing side's own clock (§5.2.4).
fn check_echo(sent: &[u8], echo: &[u8]) -> Result<(), RawError> {
    match (0..PACKET_BYTES).find(|&at| !(4..8).contains(&at) && sent[at] != echo[at]) {
        None => Ok(()),
        Some(at) => Err(RawError::HandshakeEcho { at }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_meet_however_the_bytes_are_cut() {
        for step in [1, 7, 1535, 1536, 1537, 4000] {
            let mut to_server = Vec::new();
            let mut client = ClientHandshake::new(1, &mut to_server);
            let mut server = ServerHandshake::new(2);
            let (mut to_client, mut rest) = (Vec::new(), None);
            for piece in to_server.chunks(step) {
                assert_eq!(server.handle_bytes(piece, &mut to_client), Ok(None));
            }
            let mut reply = Vec::new();
            to_client.extend_from_slice(b"early");
            for piece in to_client.chunks(step) {
                if let Some(bytes) = client.handle_bytes(piece, &mut reply).expect("S0 S1 S2 are ours") {
                    rest = Some(bytes);
                    break;
                }
            }
            assert!(rest.is_some());
            let shaken = Shaken { rest: Vec::new(), echo: Ok(()) };
            assert_eq!(server.handle_bytes(&reply, &mut Vec::new()), Ok(Some(shaken)));
        }
    }

    #[test]
    fn a_wrong_echo_is_told() {
        let mut out = Vec::new();
        let mut client = ClientHandshake::new(1, &mut out);
        let mut answer = vec![3; 1 + 2 * PACKET_BYTES];
        answer[1..].fill(9);
        assert_eq!(client.handle_bytes(&answer, &mut out), Err(RawError::HandshakeEcho { at: 0 }));
    }

    #[test]
    fn another_version_is_told() {
        let mut server = ServerHandshake::new(1);
        assert_eq!(
            server.handle_bytes(&[6], &mut Vec::new()),
            Err(RawError::HandshakeVersion { version: 6 })
        );
    }
}
