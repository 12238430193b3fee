//! Packets as bytes: what routers and kernels read and write in IPv4, TCP and ICMP headers.
//!
//! Nothing here knows how packets come about, so a fabric that carries real packets can use it as it is.
//! Checksums are kept right where they are in use (`fix`), and left alone where nobody computes them.

use std::{fmt, net::Ipv4Addr};

/// The shortest IPv4 header.
pub const IP_HEADER: usize = 20;
/// The shortest TCP header.
pub const TCP_HEADER: usize = 20;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;

/// The TCP flag FIN.
pub const FIN: u8 = 0x01;
/// The TCP flag SYN.
pub const SYN: u8 = 0x02;
/// The TCP flag RST.
pub const RST: u8 = 0x04;
/// The TCP flag PSH.
pub const PSH: u8 = 0x08;
/// The TCP flag ACK.
pub const ACK: u8 = 0x10;

/// One end of a TCP connection, as it stands in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub ip: Ipv4Addr,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// Makes an endpoint.
    pub const fn new(ip: Ipv4Addr, port: u16) -> Self {
        Self { ip, port }
    }
}

/// What is read off a TCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who sent it.
    pub src: Endpoint,
    /// Whom it is for.
    pub dst: Endpoint,
    /// The sequence number of its first byte.
    pub seq: u32,
    /// The acknowledgement number; it counts if [`ACK`] is set.
    pub ack: u32,
    /// [`FIN`], [`SYN`], [`RST`], [`PSH`] and [`ACK`].
    pub flags: u8,
    /// Bytes of payload.
    pub payload: u32,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ip, self.port)
    }
}

impl Header {
    /// Returns whether this opens a connection: SYN without ACK.
    pub const fn is_syn(&self) -> bool {
        self.flags & (SYN | ACK | RST) == SYN
    }

    /// Returns whether [`RST`] is set.
    pub const fn is_rst(&self) -> bool {
        self.flags & RST != 0
    }

    /// Returns the sequence number after this packet.
    pub const fn seq_end(&self) -> u32 {
        let control = (self.flags & SYN != 0) as u32 + (self.flags & FIN != 0) as u32;
        self.seq.wrapping_add(self.payload).wrapping_add(control)
    }
}

/// Why an ICMP message says a destination cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No route to the network.
    Network,
    /// The host does not answer, or a firewall says so.
    Host,
    /// The packet is larger than the next link takes, and must not be cut: this many bytes fit.
    TooBig(u16),
}

/// A packet that a host takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// TCP.
    Tcp(Header),
    /// An ICMP error about a packet that was sent from the first to the second endpoint.
    Icmp {
        /// Why.
        reason: Unreachable,
        /// Who sent the packet the error is about.
        src: Endpoint,
        /// Whom it was for.
        dst: Endpoint,
    },
}

/// Reads a packet, `None` if it is neither TCP nor an ICMP error, or is cut short.
pub fn parse(packet: &[u8]) -> Option<Parsed> {
    let (src, dst, protocol, body) = parse_ip(packet)?;
    match protocol {
        PROTOCOL_TCP => parse_tcp(src, dst, body).map(Parsed::Tcp),
        PROTOCOL_ICMP => parse_icmp(body),
        _ => None,
    }
}

fn parse_ip(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, u8, &[u8])> {
    let header: &[u8; IP_HEADER] = packet.first_chunk()?;
    if header[0] >> 4 != 4 {
        return None;
    }
    let header_len = usize::from(header[0] & 0x0F) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let src = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let dst = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    Some((src, dst, header[9], packet.get(header_len..total.max(header_len).min(packet.len()))?))
}

fn parse_tcp(src: Ipv4Addr, dst: Ipv4Addr, body: &[u8]) -> Option<Header> {
    let tcp: &[u8; TCP_HEADER] = body.first_chunk()?;
    let offset = usize::from(tcp[12] >> 4) * 4;
    Some(Header {
        src: Endpoint::new(src, u16::from_be_bytes([tcp[0], tcp[1]])),
        dst: Endpoint::new(dst, u16::from_be_bytes([tcp[2], tcp[3]])),
        seq: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
        ack: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
        flags: tcp[13] & 0x1F,
        payload: u32::try_from(body.len().checked_sub(offset)?).ok()?,
    })
}

fn parse_icmp(body: &[u8]) -> Option<Parsed> {
    let head: &[u8; 8] = body.first_chunk()?;
    let reason = match (head[0], head[1]) {
        (3, 0) => Unreachable::Network,
        (3, 4) => Unreachable::TooBig(u16::from_be_bytes([head[6], head[7]])),
        (3, _) => Unreachable::Host,
        _ => return None,
    };
    // The packet the error is about comes cut to its header and eight bytes: enough for the ports.
    let inner: &[u8; IP_HEADER + 4] = body.get(8..)?.first_chunk()?;
    if inner[0] != 0x45 || inner[9] != PROTOCOL_TCP {
        return None;
    }
    Some(Parsed::Icmp {
        reason,
        src: Endpoint::new(
            Ipv4Addr::new(inner[12], inner[13], inner[14], inner[15]),
            u16::from_be_bytes([inner[20], inner[21]]),
        ),
        dst: Endpoint::new(
            Ipv4Addr::new(inner[16], inner[17], inner[18], inner[19]),
            u16::from_be_bytes([inner[22], inner[23]]),
        ),
    })
}

/// Puts other endpoints into a TCP packet without options in its IP header, as NAT does.
pub fn rewrite(packet: &mut [u8], src: Endpoint, dst: Endpoint, fix: bool) {
    let Some(head) = packet.first_chunk_mut::<{ IP_HEADER + TCP_HEADER }>() else { return };
    let before = sum(&head[12..24]);
    head[12..16].copy_from_slice(&src.ip.octets());
    head[16..20].copy_from_slice(&dst.ip.octets());
    head[20..22].copy_from_slice(&src.port.to_be_bytes());
    head[22..24].copy_from_slice(&dst.port.to_be_bytes());
    if fix {
        let after = sum(&head[12..24]);
        fill_ip_checksum(head);
        // RFC 1624: the pseudo header's addresses and the ports stand in the sum as they are.
        let old = u32::from(!u16::from_be_bytes([head[36], head[37]]));
        let new = !fold(old + u32::from(!fold(before)) + u32::from(fold(after)));
        head[36..38].copy_from_slice(&new.to_be_bytes());
    }
}

/// Takes one hop off the packet's life, and returns whether any is left.
pub fn hop(packet: &mut [u8], fix: bool) -> bool {
    let Some(head) = packet.first_chunk_mut::<IP_HEADER>() else { return false };
    head[8] = head[8].saturating_sub(1);
    if fix {
        fill_ip_checksum(head);
    }
    head[8] > 0
}

/// Makes the RST that answers a packet no socket wants (RFC 9293, 3.10.7.1); `None` for an RST.
pub fn reset_for(header: &Header, out: &mut Vec<u8>, fix: bool) -> bool {
    if header.is_rst() {
        return false;
    }
    let (seq, ack, flags) = match header.flags & ACK {
        0 => (0, header.seq_end(), RST | ACK),
        _ => (header.ack, 0, RST),
    };
    write_tcp(out, header.dst, header.src, seq, ack, flags, fix);
    true
}

/// Writes a TCP packet without options and payload.
pub fn write_tcp(out: &mut Vec<u8>, src: Endpoint, dst: Endpoint, seq: u32, ack: u32, flags: u8, fix: bool) {
    write_ip(out, src.ip, dst.ip, PROTOCOL_TCP, TCP_HEADER, fix);
    out.extend_from_slice(&src.port.to_be_bytes());
    out.extend_from_slice(&dst.port.to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&ack.to_be_bytes());
    out.extend_from_slice(&[0x50, flags, 0, 0, 0, 0, 0, 0]);
    if fix {
        let pseudo = sum(&out[12..20]) + u32::from(PROTOCOL_TCP) + 20;
        let checksum = !fold(pseudo + sum(&out[IP_HEADER..]));
        out[IP_HEADER + 16..IP_HEADER + 18].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Writes the ICMP error with which `from` answers a packet that was sent with this header.
pub fn write_unreachable(out: &mut Vec<u8>, from: Ipv4Addr, about: &Header, reason: Unreachable, fix: bool) {
    write_ip(out, from, about.src.ip, PROTOCOL_ICMP, 8 + IP_HEADER + 8, fix);
    let (code, mtu) = match reason {
        Unreachable::Network => (0, 0),
        Unreachable::Host => (1, 0),
        Unreachable::TooBig(mtu) => (4, mtu),
    };
    out.extend_from_slice(&[3, code, 0, 0, 0, 0]);
    out.extend_from_slice(&mtu.to_be_bytes());
    let mut inner = Vec::with_capacity(IP_HEADER + 8);
    write_ip(&mut inner, about.src.ip, about.dst.ip, PROTOCOL_TCP, TCP_HEADER, fix);
    out.extend_from_slice(&inner);
    out.extend_from_slice(&about.src.port.to_be_bytes());
    out.extend_from_slice(&about.dst.port.to_be_bytes());
    out.extend_from_slice(&about.seq.to_be_bytes());
    if fix {
        let checksum = !fold(sum(&out[IP_HEADER..]));
        out[IP_HEADER + 2..IP_HEADER + 4].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn write_ip(out: &mut Vec<u8>, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, body: usize, fix: bool) {
    out.clear();
    let total = u16::try_from(IP_HEADER + body).expect("our own packets are short");
    out.extend_from_slice(&[0x45, 0]);
    out.extend_from_slice(&total.to_be_bytes());
    // No fragment: the flag DF, as every TCP sets it.
    out.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
    out.extend_from_slice(&src.octets());
    out.extend_from_slice(&dst.octets());
    if fix {
        fill_ip_checksum(out);
    }
}

fn fill_ip_checksum(head: &mut [u8]) {
    head[10..12].fill(0);
    let checksum = !fold(sum(&head[..IP_HEADER]));
    head[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low))).sum()
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xFFFF) + (sum >> 16);
    let twice = (once & 0xFFFF) + (once >> 16);
    u16::try_from(twice).unwrap_or(u16::MAX)
}
