//! Packets as bytes: what the fabric writes is right for a real kernel too, checksums included.

use std::net::Ipv4Addr;

use proxy_core::time::Instant;
use sim::net::{
    BridgeSpec,
    packet::{self, ACK, Endpoint, Family, Parsed, SYN, Unreachable},
    router::{Fate, Router},
};
use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet, IpAddress, Ipv4Packet, Ipv6Packet, TcpPacket};

const A: Endpoint = Endpoint::new(Ipv4Addr::new(172, 17, 0, 2), 40_000);
const B: Endpoint = Endpoint::new(Ipv4Addr::new(172, 17, 0, 3), 1935);
const C: Endpoint = Endpoint::new(Ipv4Addr::new(10, 200, 255, 1), 65_535);

/// The same end, as packets of IPv6 have it.
fn v6(end: Endpoint) -> Endpoint {
    Endpoint { family: Family::V6, ..end }
}

/// Whether every checksum in a packet is right.
fn check(bytes: &[u8]) -> bool {
    if bytes[0] >> 4 == 6 {
        let ip = Ipv6Packet::new_checked(bytes).expect("a whole packet");
        return checks(bytes, ip.src_addr().into(), ip.dst_addr().into(), ip.payload());
    }
    let ip = Ipv4Packet::new_checked(bytes).expect("a whole packet");
    ip.verify_checksum() && checks(bytes, ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
}

fn checks(bytes: &[u8], src: IpAddress, dst: IpAddress, body: &[u8]) -> bool {
    match (packet::parse(bytes), src, dst) {
        (Some(Parsed::Tcp(_)), ..) => TcpPacket::new_checked(body).expect("TCP").verify_checksum(&src, &dst),
        (Some(Parsed::Icmp { .. }), IpAddress::Ipv6(src), IpAddress::Ipv6(dst)) => {
            Icmpv6Packet::new_checked(body).expect("ICMP").verify_checksum(&src, &dst)
        }
        (Some(Parsed::Icmp { .. }), ..) => Icmpv4Packet::new_checked(body).expect("ICMP").verify_checksum(),
        (None, ..) => panic!("neither TCP nor ICMP"),
    }
}

fn tcp(src: Endpoint, dst: Endpoint, seq: u32, flags: u8) -> Vec<u8> {
    let mut out = Vec::new();
    packet::write_tcp(&mut out, src, dst, seq, 0xFFFF_0001, flags, true);
    out
}

#[test]
fn what_is_written_can_be_read() {
    for (src, dst) in [(A, B), (v6(A), v6(B))] {
        let bytes = tcp(src, dst, 0xDEAD_BEEF, SYN | ACK);
        assert!(check(&bytes));
        let Some(Parsed::Tcp(header)) = packet::parse(&bytes) else { panic!("not TCP") };
        assert_eq!((header.src, header.dst, header.seq, header.ack), (src, dst, 0xDEAD_BEEF, 0xFFFF_0001));
        assert_eq!((header.flags, header.payload, header.seq_end()), (SYN | ACK, 0, 0xDEAD_BEF0));
    }
}

#[test]
fn an_address_of_ipv6_ends_with_the_hosts_other_one() {
    assert_eq!(v6(A).to_string(), "[fd00::ac11:2]:40000");
    assert_eq!(packet::host_address(v6(A).addr().ip()), Some(A.ip));
    assert_eq!(packet::host_address("2001:db8::ac11:2".parse().expect("an address")), None);
    let mut bytes = tcp(v6(A), v6(B), 1, ACK);
    for _ in 0..63 {
        assert!(packet::hop(&mut bytes, true) && check(&bytes));
    }
    assert!(!packet::hop(&mut bytes, true));
    // Behind another prefix nobody of this world is.
    bytes[8] = 0x20;
    assert_eq!(packet::parse(&bytes), None);
}

#[test]
fn checksums_stay_right_when_addresses_ports_and_hops_change() {
    for seq in 0..2000_u32 {
        let mut bytes = tcp(A, B, seq.wrapping_mul(0x9E37_79B9), ACK);
        packet::rewrite(&mut bytes, C, A, true);
        assert!(packet::hop(&mut bytes, true));
        assert!(check(&bytes), "{seq}");
    }
}

#[test]
fn a_reset_answers_what_it_should_and_never_a_reset() {
    let header = |flags| match packet::parse(&tcp(A, B, 100, flags)) {
        Some(Parsed::Tcp(header)) => header,
        Some(Parsed::Icmp { .. }) | None => panic!("not TCP"),
    };
    let mut out = Vec::new();
    assert!(packet::reset_for(&header(SYN), &mut out, true) && check(&out));
    let Some(Parsed::Tcp(reset)) = packet::parse(&out) else { panic!("not TCP") };
    assert_eq!((reset.src, reset.dst, reset.seq, reset.ack), (B, A, 0, 101));
    assert!(packet::reset_for(&header(ACK), &mut out, true) && check(&out));
    let Some(Parsed::Tcp(reset)) = packet::parse(&out) else { panic!("not TCP") };
    assert_eq!((reset.seq, reset.is_rst()), (0xFFFF_0001, true));
    assert!(!packet::reset_for(&reset, &mut out, true));
}

#[test]
fn an_icmp_error_names_the_packet_it_is_about() {
    for (src, dst) in [(A, B), (v6(A), v6(B))] {
        let Some(Parsed::Tcp(about)) = packet::parse(&tcp(src, dst, 7, ACK)) else { panic!("not TCP") };
        for reason in [Unreachable::Network, Unreachable::Host, Unreachable::TooBig(576)] {
            let mut out = Vec::new();
            packet::write_unreachable(&mut out, C.ip, &about, reason, true);
            assert!(check(&out));
            assert_eq!(packet::parse(&out), Some(Parsed::Icmp { reason, src, dst }));
        }
    }
}

#[test]
fn bytes_that_are_no_packet_are_no_packet() {
    for whole in [tcp(A, B, 1, SYN), tcp(v6(A), v6(B), 1, SYN)] {
        for len in 0..whole.len() {
            assert_eq!(packet::parse(&whole[..len]), None, "{len}");
        }
    }
    assert_eq!(packet::parse(&[0xFF; 60]), None);
}

#[test]
fn a_router_for_real_kernels_keeps_checksums_right() {
    let mut router = Router::new(1, true);
    let bridge = router.add_bridge("docker0", BridgeSpec::DOCKER);
    let lan = BridgeSpec {
        subnet: Ipv4Addr::new(10, 0, 0, 0),
        gateway: Ipv4Addr::new(10, 0, 0, 1),
        ipv6: false,
        ..BridgeSpec::DOCKER
    };
    let other = router.add_bridge("lan", lan);
    let a = router.add_host("a", bridge, A.ip);
    let target = Endpoint::new(Ipv4Addr::new(10, 0, 0, 2), 1935);
    let c = router.add_host("c", other, target.ip);
    router.publish(8035, target);
    let mut fates = Vec::new();
    let published = Endpoint::new(Ipv4Addr::new(172, 17, 0, 1), 8035);
    router.send(a, tcp(A, published, 1, SYN), Instant::ZERO, &mut fates);
    let Some(Fate::Deliver { ticket, packet, .. }) = fates.pop() else { panic!("it was not delivered") };
    assert_eq!(ticket.to, c);
    assert!(check(&packet));
    let Some(Parsed::Tcp(header)) = packet::parse(&packet) else { panic!("not TCP") };
    assert_eq!(
        (header.src.ip, header.dst),
        (Ipv4Addr::new(10, 0, 0, 1), target),
        "masqueraded and redirected"
    );
    assert_eq!(packet[8], 63, "one hop");
}
