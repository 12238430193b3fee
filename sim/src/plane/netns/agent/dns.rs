//! A name server small enough to misbehave exactly as a fault says.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::net::UdpSocket;

use crate::plane::netns::wire::{NameAnswer, NameReply};

/// Where resolvers look for it; see `/etc/netns/NAME/resolv.conf`.
const AT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);
/// The longest question over UDP.
const QUESTION_BYTES_MAX: usize = 512;
/// The types of IPv4 and IPv6 addresses.
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NAME_ERROR: u8 = 3;

/// Answers questions about names.
pub(super) struct NameServer {
    answers: Arc<Mutex<BTreeMap<String, NameAnswer>>>,
}

impl NameServer {
    pub(super) async fn start() -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind(SocketAddr::from(AT)).await?);
        let answers = Arc::new(Mutex::new(BTreeMap::new()));
        tokio::spawn(serve(socket, Arc::clone(&answers)));
        Ok(Self { answers })
    }

    pub(super) fn set(&self, answers: BTreeMap<String, NameAnswer>) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = answers;
    }
}

async fn serve(socket: Arc<UdpSocket>, answers: Arc<Mutex<BTreeMap<String, NameAnswer>>>) {
    let mut buffer = [0; QUESTION_BYTES_MAX];
    loop {
        // An unreachable port of somebody who has gone is told here; the next question counts.
        let Ok((len, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(question) = Question::read(&buffer[..len]) else { continue };
        let answer = answers.lock().unwrap_or_else(PoisonError::into_inner).get(&question.name).cloned();
        let missing = NameAnswer { reply: NameReply::NotFound, delay: 0, ttl: 0 };
        let NameAnswer { reply, delay, ttl } = answer.unwrap_or(missing);
        let Some(bytes) = question.answer(&reply, ttl) else { continue };
        let socket = Arc::clone(&socket);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_nanos(delay)).await;
            // Whoever asked may have lost patience.
            let _ = socket.send_to(&bytes, peer).await;
        });
    }
}

/// A question: its bytes, and what they say.
struct Question {
    id: [u8; 2],
    name: String,
    kind: u16,
    bytes: Vec<u8>,
}

impl Question {
    fn read(packet: &[u8]) -> Option<Self> {
        let id = *packet.first_chunk::<2>()?;
        let mut rest = packet.get(12..)?;
        let mut labels = Vec::new();
        let mut len = 0;
        loop {
            let (size, after) = rest.split_first()?;
            len += 1;
            if *size == 0 {
                rest = after;
                break;
            }
            let (label, after) = after.split_at_checked(usize::from(*size))?;
            labels.push(String::from_utf8_lossy(label).to_lowercase());
            len += label.len();
            rest = after;
        }
        let kind = u16::from_be_bytes(*rest.first_chunk::<2>()?);
        let bytes = packet.get(12..12 + len + 4)?.to_vec();
        Some(Self { id, name: labels.join("."), kind, bytes })
    }

    /// Returns the answer's bytes; `None` where there is to be none.
    fn answer(&self, reply: &NameReply, ttl: u32) -> Option<Vec<u8>> {
        let (code, ips) = match reply {
            NameReply::Addresses(ips) => (NO_ERROR, ips.as_slice()),
            NameReply::NotFound => (NAME_ERROR, [].as_slice()),
            NameReply::ServFail => (SERVER_FAILURE, [].as_slice()),
            NameReply::Silent => return None,
        };
        let kind = |ip: &&IpAddr| if ip.is_ipv4() { TYPE_A } else { TYPE_AAAA };
        let ips: Vec<&IpAddr> = ips.iter().filter(|ip| kind(ip) == self.kind).collect();
        let count = u16::try_from(ips.len()).ok()?.to_be_bytes();
        let mut out = self.id.to_vec();
        // An answer, recursion desired and available.
        out.extend([0x81, 0x80 | code, 0, 1, count[0], count[1], 0, 0, 0, 0]);
        out.extend(&self.bytes);
        for ip in ips {
            // The name of the question, its type, class IN.
            out.extend([0xC0, 12]);
            out.extend(self.kind.to_be_bytes());
            out.extend([0, 1]);
            out.extend(ttl.to_be_bytes());
            match ip {
                IpAddr::V4(ip) => out.extend([0, 4].iter().chain(&ip.octets())),
                IpAddr::V6(ip) => out.extend([0, 16].iter().chain(&ip.octets())),
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `srs.lan`, of a type, with the id 0x1234.
    fn question(kind: u8) -> Vec<u8> {
        let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend(b"\x03SRS\x03lan\x00");
        packet.extend([0, kind, 0, 1]);
        packet
    }

    #[test]
    fn a_question_is_read_whatever_its_case() {
        let read = Question::read(&question(1)).expect("a question");
        assert_eq!((read.name.as_str(), read.kind), ("srs.lan", 1));
        for cut in 0..question(1).len() {
            assert!(Question::read(&question(1)[..cut]).is_none(), "{cut}");
        }
    }

    fn check(kind: u8, reply: &NameReply) -> Option<(u8, u8, usize)> {
        let read = Question::read(&question(kind)).expect("a question");
        let bytes = read.answer(reply, 5)?;
        assert_eq!(bytes[..2], [0x12, 0x34]);
        Some((bytes[3] & 0x0F, bytes[7], bytes.len() - question(kind).len()))
    }

    #[test]
    fn answers_say_what_they_are_to_say() {
        let two = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().expect("an address"));
        let two = NameReply::Addresses(two.to_vec());
        assert_eq!(check(1, &two), Some((0, 2, 32)));
        // There is the name, and no address of IPv6.
        assert_eq!(check(28, &two), Some((0, 0, 0)));
        let both = ["fd00::a00:1", "10.0.0.1"].map(|ip| ip.parse().expect("an address"));
        let both = NameReply::Addresses(both.to_vec());
        assert_eq!((check(1, &both), check(28, &both)), (Some((0, 1, 16)), Some((0, 1, 28))));
        assert_eq!(check(1, &NameReply::NotFound), Some((3, 0, 0)));
        assert_eq!(check(1, &NameReply::ServFail), Some((2, 0, 0)));
        assert_eq!(check(1, &NameReply::Silent), None);
    }
}
