//! Packets as bytes: what routers and kernels read and write in IPv4, IPv6, TCP and ICMP headers.
//!
//! A host of a network with both families has its IPv4 address in the last 32 bits of its IPv6 address too, behind one
//! prefix for all networks (as RFC 6052 embeds addresses, with a unique local prefix of RFC 4193). Who has an address is
//! then one question for both, and nothing but packets tells them apart.
//!
//! Nothing here knows how packets come about, so a fabric that carries real packets can use it as it is.
//! Checksums are kept right where they are in use (`fix`), and left alone where nobody computes them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The shortest IPv4 header.
pub const IP_HEADER: usize = 20;
/// The IPv6 header; extensions are not read.
pub const IP6_HEADER: usize = 40;
/// The shortest TCP header.
pub const TCP_HEADER: usize = 20;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_ICMP6: u8 = 58;

/// The first 96 bits of every IPv6 address.
const PREFIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0);

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

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Returns the family of an address.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Returns what a host of this address is called by packets of the family.
    pub const fn address(self, ip: Ipv4Addr) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(ip),
            Self::V6 => IpAddr::V6(Ipv6Addr::from_bits(PREFIX.to_bits() | ip.to_bits() as u128)),
        }
    }
}

/// Returns whose address this is, by its IPv4 address; `None` for one that no host can have.
pub const fn host_address(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(ip) => {
            let low = ip.to_bits() as u32;
            if ip.to_bits() ^ low as u128 == PREFIX.to_bits() { Some(Ipv4Addr::from_bits(low)) } else { None }
        }
    }
}

/// One end of a TCP connection, as it stands in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The host's IPv4 address.
    pub ip: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// Which of the host's addresses it is.
    pub family: Family,
}

impl Endpoint {
    /// Makes an endpoint of IPv4.
    pub const fn new(ip: Ipv4Addr, port: u16) -> Self {
        Self { ip, port, family: Family::V4 }
    }

    /// Returns the address as packets have it.
    pub const fn addr(self) -> SocketAddr {
        SocketAddr::new(self.family.address(self.ip), self.port)
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
        self.addr().fmt(f)
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
    let (family, (src, dst), protocol, body) = match packet.first()? >> 4 {
        4 => parse_ip(packet)?,
        6 => parse_ip6(packet)?,
        _ => return None,
    };
    match (family, protocol) {
        (_, PROTOCOL_TCP) => parse_tcp(family, (src, dst), body).map(Parsed::Tcp),
        (Family::V4, PROTOCOL_ICMP) => parse_icmp(body),
        (Family::V6, PROTOCOL_ICMP6) => parse_icmp6(body),
        _ => None,
    }
}

/// The family, from whom to whom, the protocol, and what the packet carries.
type Ip<'p> = (Family, (Ipv4Addr, Ipv4Addr), u8, &'p [u8]);

fn parse_ip6(packet: &[u8]) -> Option<Ip<'_>> {
    let header: &[u8; IP6_HEADER] = packet.first_chunk()?;
    let carried = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let ends = (embedded(&header[8..24])?, embedded(&header[24..40])?);
    Some((Family::V6, ends, header[6], packet.get(IP6_HEADER..(IP6_HEADER + carried).min(packet.len()))?))
}

/// Reads an IPv6 address that a host can have.
fn embedded(octets: &[u8]) -> Option<Ipv4Addr> {
    host_address(IpAddr::V6(Ipv6Addr::from_octets(*octets.first_chunk()?)))
}

fn parse_ip(packet: &[u8]) -> Option<Ip<'_>> {
    let header: &[u8; IP_HEADER] = packet.first_chunk()?;
    let header_len = usize::from(header[0] & 0x0F) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let src = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let dst = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    let body = packet.get(header_len..total.max(header_len).min(packet.len()))?;
    Some((Family::V4, (src, dst), header[9], body))
}

fn parse_tcp(family: Family, (src, dst): (Ipv4Addr, Ipv4Addr), body: &[u8]) -> Option<Header> {
    let tcp: &[u8; TCP_HEADER] = body.first_chunk()?;
    let offset = usize::from(tcp[12] >> 4) * 4;
    Some(Header {
        src: Endpoint { ip: src, port: u16::from_be_bytes([tcp[0], tcp[1]]), family },
        dst: Endpoint { ip: dst, port: u16::from_be_bytes([tcp[2], tcp[3]]), family },
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

fn parse_icmp6(body: &[u8]) -> Option<Parsed> {
    let head: &[u8; 8] = body.first_chunk()?;
    let mtu = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    // RFC 4443: destination unreachable, packet too big.
    let reason = match (head[0], head[1]) {
        (1, 0) => Unreachable::Network,
        (1, _) => Unreachable::Host,
        (2, _) => Unreachable::TooBig(u16::try_from(mtu).unwrap_or(u16::MAX)),
        _ => return None,
    };
    let (family, (src, dst), protocol, ports) = parse_ip6(body.get(8..)?)?;
    let ports: &[u8; 4] = ports.first_chunk()?;
    if protocol != PROTOCOL_TCP {
        return None;
    }
    Some(Parsed::Icmp {
        reason,
        src: Endpoint { ip: src, port: u16::from_be_bytes([ports[0], ports[1]]), family },
        dst: Endpoint { ip: dst, port: u16::from_be_bytes([ports[2], ports[3]]), family },
    })
}

/// Puts other endpoints into an IPv4 TCP packet without options in its IP header, as NAT does.
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
    if head[0] >> 4 == 6 {
        head[7] = head[7].saturating_sub(1);
        return head[7] > 0;
    }
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
    write_ip(out, src, dst, PROTOCOL_TCP, TCP_HEADER, fix);
    let body = out.len();
    out.extend_from_slice(&src.port.to_be_bytes());
    out.extend_from_slice(&dst.port.to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&ack.to_be_bytes());
    out.extend_from_slice(&[0x50, flags, 0, 0, 0, 0, 0, 0]);
    if fix {
        let checksum = !fold(pseudo(out, body, PROTOCOL_TCP) + sum(&out[body..]));
        out[body + 16..body + 18].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Writes the ICMP error with which `from` answers a packet that was sent with this header.
pub fn write_unreachable(out: &mut Vec<u8>, from: Ipv4Addr, about: &Header, reason: Unreachable, fix: bool) {
    let family = about.src.family;
    let (protocol, header) = match family {
        Family::V4 => (PROTOCOL_ICMP, IP_HEADER),
        Family::V6 => (PROTOCOL_ICMP6, IP6_HEADER),
    };
    let from = Endpoint { ip: from, port: 0, family };
    write_ip(out, from, about.src, protocol, 8 + header + 8, fix);
    let body = out.len();
    let (kind, code, mtu) = match (family, reason) {
        (Family::V4, Unreachable::Network) => (3, 0, 0),
        (Family::V4, Unreachable::Host) => (3, 1, 0),
        (Family::V4, Unreachable::TooBig(mtu)) => (3, 4, mtu),
        (Family::V6, Unreachable::Network) => (1, 0, 0),
        (Family::V6, Unreachable::Host) => (1, 3, 0),
        (Family::V6, Unreachable::TooBig(mtu)) => (2, 0, mtu),
    };
    out.extend_from_slice(&[kind, code, 0, 0, 0, 0]);
    out.extend_from_slice(&mtu.to_be_bytes());
    let mut inner = Vec::with_capacity(header + 8);
    write_ip(&mut inner, about.src, about.dst, PROTOCOL_TCP, TCP_HEADER, fix);
    out.extend_from_slice(&inner);
    out.extend_from_slice(&about.src.port.to_be_bytes());
    out.extend_from_slice(&about.dst.port.to_be_bytes());
    out.extend_from_slice(&about.seq.to_be_bytes());
    if fix {
        let pseudo = match family {
            Family::V4 => 0,
            Family::V6 => pseudo(out, body, protocol),
        };
        let checksum = !fold(pseudo + sum(&out[body..]));
        out[body + 2..body + 4].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// The sum of the pseudo header of a packet whose body begins there.
fn pseudo(packet: &[u8], body: usize, protocol: u8) -> u32 {
    let addresses = if body == IP6_HEADER { 8..IP6_HEADER } else { 12..IP_HEADER };
    let carried = u32::try_from(packet.len() - body).expect("our own packets are short");
    sum(&packet[addresses]) + u32::from(protocol) + carried
}

fn write_ip(out: &mut Vec<u8>, src: Endpoint, dst: Endpoint, protocol: u8, body: usize, fix: bool) {
    out.clear();
    if let (IpAddr::V6(src), IpAddr::V6(dst)) = (src.addr().ip(), dst.addr().ip()) {
        let carried = u16::try_from(body).expect("our own packets are short");
        out.extend_from_slice(&[0x60, 0, 0, 0]);
        out.extend_from_slice(&carried.to_be_bytes());
        out.extend_from_slice(&[protocol, 64]);
        out.extend_from_slice(&src.octets());
        out.extend_from_slice(&dst.octets());
        return;
    }
    let (src, dst) = (src.ip, dst.ip);
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
