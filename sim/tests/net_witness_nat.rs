//! Witnesses: published ports, masquerading, connection tracking and routes of the machine in the middle.

mod net_world;

use std::net::{Ipv4Addr, SocketAddr};

use net_world::{World, at, ip, pattern};
use proxy_core::time::Duration;
use sim::net::{
    Bandwidth, BridgeId, BridgeKind, BridgeSpec, ConntrackPolicy, ConntrackSpec, Counts, DialError, HangUp,
    HostId, LinkSpec, MACHINE, NetEvent, Publish, SockId,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// A Docker bridge 172.17 with `a` and `b`, and a plain network 10.0.0 with `out`; the machine between them.
struct Lan {
    world: World,
    docker: BridgeId,
    a: HostId,
    b: HostId,
    out: HostId,
}

fn lan(seed: u64) -> Lan {
    lan_with(seed, ConntrackPolicy::Kept)
}

fn lan_with(seed: u64, conntrack: ConntrackPolicy) -> Lan {
    let mut world = World::new(seed);
    let docker = world.net.add_bridge("docker0", BridgeSpec { conntrack, ..BridgeSpec::DOCKER });
    let plain = world.net.add_bridge(
        "lan",
        BridgeSpec {
            subnet: Ipv4Addr::new(10, 0, 0, 0),
            prefix: 24,
            gateway: Ipv4Addr::new(10, 0, 0, 1),
            ipv6: false,
            kind: BridgeKind::Plain,
            ..BridgeSpec::DOCKER
        },
    );
    let a = world.net.add_host("a", docker, ip(2));
    let b = world.net.add_host("b", docker, ip(3));
    let out = world.net.add_host("out", plain, Ipv4Addr::new(10, 0, 0, 2));
    Lan { world, docker, a, b, out }
}

fn lan_at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), port))
}

fn outcome(world: &World, sock: SockId) -> Option<Result<(), DialError>> {
    match world.told(sock).first()? {
        NetEvent::Connected { .. } => Some(Ok(())),
        NetEvent::DialFailed { error, .. } => Some(Err(*error)),
        NetEvent::Accepted { .. }
        | NetEvent::Readable { .. }
        | NetEvent::Writable { .. }
        | NetEvent::Eof { .. }
        | NetEvent::Reset { .. } => None,
    }
}

/// Dials, sends four bytes each way, and returns whether they arrived.
fn works(world: &mut World, from: HostId, to: SocketAddr) -> bool {
    let sock = world.dial(from, to);
    world.run_for(MILLI * 20);
    let Some(accepted) = world.accepted() else { return false };
    world.send(sock, b"ping");
    world.send(accepted, b"pong");
    world.run_for(MILLI * 20);
    world.bytes(accepted) == b"ping" && world.bytes(sock) == b"pong"
}

#[test]
fn a_port_published_by_dnat_reaches_the_container_from_everywhere() {
    let mut lan = lan(1);
    lan.world.listen(lan.b, 1935);
    assert!(lan.world.net.publish(8035, lan.b, 1935, Publish::Dnat));
    lan.world.watch();
    assert!(works(&mut lan.world, lan.out, lan_at(1, 8035)));
    let seen = lan.world.peer_at(lan.b, "SYN").expect("it came");
    assert_eq!(seen.ip(), Ipv4Addr::new(10, 0, 0, 2), "the container sees who dials");
    let first: Vec<String> = lan.world.packets().into_iter().take(6).collect();
    assert_eq!(first[..3], ["out> SYN", "machine= SYN", "b< SYN"], "{first:?}");
    assert!(works(&mut lan.world, lan.out, at(1, 8035)), "by the other gateway address");
    assert!(works(&mut lan.world, MACHINE, at(1, 8035)), "from the machine itself");
    lan.world.seen.clear();
    assert!(works(&mut lan.world, lan.a, at(1, 8035)), "from the same bridge");
    let seen = lan.world.peer_at(lan.b, "SYN").expect("it came");
    assert_eq!(seen.ip(), ip(1), "masqueraded, or the answer would go past the machine");
}

#[test]
fn a_published_port_of_a_container_that_does_not_listen_refuses() {
    let mut lan = lan(2);
    lan.world.net.publish(8035, lan.b, 1935, Publish::Dnat);
    let sock = lan.world.dial(lan.out, lan_at(1, 8035));
    lan.world.run_for(MILLI * 5);
    assert_eq!(outcome(&lan.world, sock), Some(Err(DialError::Refused)));
}

#[test]
fn a_published_port_of_a_container_that_is_gone_is_unreachable_after_three_seconds() {
    let mut lan = lan(3);
    lan.world.net.publish(8035, lan.b, 1935, Publish::Dnat);
    lan.world.net.remove_host(lan.b, lan.world.now);
    let sock = lan.world.dial(lan.out, lan_at(1, 8035));
    lan.world.run_for(MILLI * 2790);
    assert_eq!(outcome(&lan.world, sock), None);
    lan.world.run_for(MILLI * 220);
    assert_eq!(outcome(&lan.world, sock), Some(Err(DialError::Unreachable)));
}

#[test]
fn a_port_of_the_machine_that_is_not_published_refuses() {
    let mut lan = lan(4);
    let sock = lan.world.dial(lan.out, lan_at(1, 8035));
    lan.world.run_for(MILLI * 5);
    assert_eq!(outcome(&lan.world, sock), Some(Err(DialError::Refused)));
}

#[test]
fn an_address_outside_every_network_is_unreachable_at_once() {
    let mut lan = lan(5);
    for from in [lan.a, MACHINE] {
        let sock = lan.world.dial(from, SocketAddr::from(([192, 0, 2, 1], 80)));
        lan.world.run_for(MILLI * 5);
        assert_eq!(outcome(&lan.world, sock), Some(Err(DialError::Unreachable)));
    }
}

#[test]
fn networks_are_routed_and_what_leaves_docker_is_masqueraded() {
    let mut lan = lan(6);
    lan.world.listen(lan.b, 1935);
    lan.world.listen(lan.out, 1935);
    lan.world.watch();
    assert!(works(&mut lan.world, lan.out, at(3, 1935)));
    assert_eq!(
        lan.world.peer_at(lan.b, "SYN").map(|peer| peer.ip()),
        Some(Ipv4Addr::new(10, 0, 0, 2).into())
    );
    assert!(works(&mut lan.world, lan.a, lan_at(2, 1935)));
    assert_eq!(
        lan.world.peer_at(lan.out, "SYN").map(|peer| peer.ip()),
        Some(Ipv4Addr::new(10, 0, 0, 1).into())
    );
}

#[test]
fn masquerading_keeps_flows_apart_that_have_the_same_port() {
    let mut lan = lan(7);
    lan.world.listen(lan.out, 1935);
    let one_port =
        sim::net::SocketSpec { port_min: 40_000, port_max: 40_000, ..sim::net::SocketSpec::DEFAULT };
    lan.world.net.set_sockets(lan.a, one_port);
    lan.world.net.set_sockets(lan.b, one_port);
    let (first, at_first) = lan.world.connect(lan.a, lan_at(2, 1935));
    let (second, at_second) = lan.world.connect(lan.b, lan_at(2, 1935));
    lan.world.send(first, b"first");
    lan.world.send(second, b"second");
    lan.world.run_for(MILLI * 20);
    assert_eq!((lan.world.bytes(at_first), lan.world.bytes(at_second)), (&b"first"[..], &b"second"[..]));
}

/// A connection through a published port.
fn published(seed: u64) -> (Lan, SockId, SockId) {
    let mut lan = lan(seed);
    lan.world.listen(lan.a, 1935);
    lan.world.listen(lan.b, 1935);
    lan.world.net.publish(8035, lan.b, 1935, Publish::Dnat);
    let (dialled, accepted) = lan.world.connect(lan.out, lan_at(1, 8035));
    lan.world.watch();
    (lan, dialled, accepted)
}

/// Lets twenty seconds of bytes queue in front of what `b` sends.
fn queue_up(lan: &mut Lan, accepted: SockId) {
    let narrow = Bandwidth { bits_per_second: 24_000, queue_bytes: 200_000 };
    lan.world.net.set_link(lan.b, None, Some(LinkSpec { bandwidth: Some(narrow), ..LinkSpec::CLEAR }));
    lan.world.send(accepted, &pattern(60_000));
    lan.world.run_for(SECOND);
}

#[test]
fn a_queue_that_is_lifted_keeps_nobody_waiting_behind_the_machine_either() {
    let (mut lan, _, accepted) = published(30);
    queue_up(&mut lan, accepted);
    assert!(!works(&mut lan.world, lan.out, lan_at(1, 8035)), "what answers queues behind the bytes");
    lan.world.net.set_link(lan.b, None, None);
    assert!(works(&mut lan.world, lan.out, lan_at(1, 8035)));
}

#[test]
fn a_queue_goes_with_the_cable_it_was_in_front_of() {
    let mut lan = lan(31);
    lan.world.listen(lan.b, 1935);
    let (_, accepted) = lan.world.connect(lan.a, at(3, 1935));
    queue_up(&mut lan, accepted);
    lan.world.net.disconnect(lan.b, lan.docker, lan.world.now);
    lan.world.net.connect(lan.b, lan.docker, ip(3));
    assert!(works(&mut lan.world, lan.a, at(3, 1935)));
}

#[test]
fn a_flushed_flow_is_silent_on_both_sides_and_new_flows_work() {
    let (mut lan, dialled, accepted) = published(8);
    lan.world.net.flush_conntrack();
    lan.world.send(dialled, b"to the container");
    lan.world.send(accepted, b"to the client");
    lan.world.run_for(SECOND * 20);
    let packets = lan.world.packets();
    assert!(!packets.iter().any(|line| line.contains("RST") || line.contains("ICMP")), "{packets:?}");
    assert!(packets.iter().filter(|line| *line == "machine! DATA NoConntrack").count() >= 4, "{packets:?}");
    assert_eq!((lan.world.bytes(dialled), lan.world.bytes(accepted)), (&b""[..], &b""[..]));
    assert!(works(&mut lan.world, lan.out, lan_at(1, 8035)));
}

#[test]
fn a_flushed_flow_without_nat_goes_on() {
    let mut lan = lan(9);
    lan.world.listen(lan.b, 1935);
    let (dialled, accepted) = lan.world.connect(lan.out, at(3, 1935));
    lan.world.net.flush_conntrack();
    lan.world.send(dialled, b"hello");
    lan.world.run_for(MILLI * 20);
    assert_eq!(lan.world.bytes(accepted), b"hello");
}

#[test]
fn a_flow_that_is_idle_for_too_long_is_forgotten() {
    let (mut lan, dialled, accepted) = published(10);
    let short = ConntrackSpec { established: SECOND * 5, ..ConntrackSpec::LINUX };
    lan.world.net.set_conntrack(short);
    for _ in 0..5 {
        lan.world.send(dialled, b"x");
        lan.world.run_for(SECOND * 4);
    }
    assert_eq!(lan.world.bytes(accepted), b"xxxxx", "who talks is remembered");
    lan.world.run_for(SECOND * 6);
    lan.world.send(dialled, b"y");
    lan.world.run_for(SECOND * 20);
    assert_eq!(lan.world.bytes(accepted), b"xxxxx");
    assert!(!lan.world.packets().iter().any(|line| line.contains("RST")));
}

#[test]
fn a_published_port_pointed_elsewhere_takes_new_flows_there_and_keeps_the_old() {
    let (mut lan, dialled, accepted) = published(11);
    lan.world.net.publish(8035, lan.a, 1935, Publish::Dnat);
    lan.world.send(dialled, b"old");
    lan.world.run_for(MILLI * 20);
    assert_eq!(lan.world.bytes(accepted), b"old");
    lan.world.seen.clear();
    assert!(works(&mut lan.world, lan.out, lan_at(1, 8035)));
    assert!(lan.world.packets().contains(&"a< SYN".to_owned()));
    lan.world.net.flush_conntrack();
    lan.world.send(dialled, b"lost");
    lan.world.run_for(SECOND * 5);
    assert_eq!(lan.world.bytes(accepted), b"old");
}

#[test]
fn the_policy_decides_whether_a_containers_flows_outlive_it() {
    for (policy, left) in [(ConntrackPolicy::Kept, 1), (ConntrackPolicy::Flushed, 0)] {
        let mut lan = lan_with(12, policy);
        lan.world.listen(lan.b, 1935);
        lan.world.net.publish(8035, lan.b, 1935, Publish::Dnat);
        lan.world.connect(lan.out, lan_at(1, 8035));
        lan.world.net.remove_host(lan.b, lan.world.now);
        assert_eq!(lan.world.net.counts(lan.world.now).conntrack, left);
    }
}

#[test]
fn tracked_flows_expire_after_their_end() {
    let (mut lan, dialled, _) = published(13);
    lan.world.net.close(dialled, lan.world.now);
    lan.world.run_for(SECOND);
    assert_eq!(lan.world.net.counts(lan.world.now).conntrack, 1);
    let counts = lan.world.net.counts(lan.world.now + SECOND * 121);
    assert_eq!(counts, Counts { listeners: 2, ..Counts::default() });
}

#[test]
fn a_userland_proxy_carries_bytes_both_ways() {
    let mut lan = lan(14);
    lan.world.listen(lan.b, 1935);
    assert!(lan.world.net.publish(8035, lan.b, 1935, Publish::Userland(HangUp::Close)));
    assert!(!lan.world.net.publish(8035, lan.a, 1935, Publish::Userland(HangUp::Close)), "the port is taken");
    lan.world.watch();
    let (dialled, accepted) = lan.world.connect(lan.out, lan_at(1, 8035));
    assert_eq!(
        lan.world.peer_at(lan.b, "SYN").map(|peer| peer.ip()),
        Some(ip(1).into()),
        "the machine dials"
    );
    lan.world.send(dialled, &pattern(500_000));
    lan.world.send(accepted, &pattern(300_000));
    lan.world.run_for(SECOND * 5);
    assert_eq!(lan.world.bytes(accepted), pattern(500_000));
    assert_eq!(lan.world.bytes(dialled), pattern(300_000));
    lan.world.net.close(dialled, lan.world.now);
    lan.world.run_for(SECOND);
    assert_eq!(lan.world.told(accepted).last(), Some(&NetEvent::Eof { sock: accepted }));
    let counts = lan.world.net.counts(lan.world.now + SECOND * 121);
    assert_eq!(counts, Counts { listeners: 2, ..Counts::default() });
}

/// Dials a userland proxy whose container does not listen, perhaps sends, and returns what the dialler learns.
fn hangs_up(on_failure: HangUp, says: &[u8]) -> (Vec<NetEvent>, bool) {
    let mut lan = lan(15);
    lan.world.net.publish(8035, lan.b, 1935, Publish::Userland(on_failure));
    lan.world.watch();
    let sock = lan.world.dial(lan.out, lan_at(1, 8035));
    lan.world.sending.insert(sock, says.to_vec());
    lan.world.run_for(SECOND);
    assert_eq!(lan.world.net.counts(lan.world.now).relayed, 0);
    (lan.world.told(sock), lan.world.packets().contains(&"out< RST".to_owned()))
}

#[test]
fn a_userland_proxy_accepts_before_the_container_listens_and_then_hangs_up() {
    let (told, reset) = hangs_up(HangUp::Close, b"");
    assert!(matches!(told[..], [NetEvent::Connected { .. }, NetEvent::Eof { .. }]) && !reset, "{told:?}");
    // What the dialler sent in the meantime may be unread: then it is an RST.
    let (told, _) = hangs_up(HangUp::Close, b"C0 C1");
    assert!(matches!(told[0], NetEvent::Connected { .. }) && told.len() == 2, "{told:?}");
    let (told, reset) = hangs_up(HangUp::Reset, b"C0 C1");
    assert!(matches!(told[..], [NetEvent::Connected { .. }, NetEvent::Reset { .. }]) && reset, "{told:?}");
}

#[test]
fn a_userland_proxy_in_front_of_a_container_that_is_gone_holds_its_dialler_for_three_seconds() {
    let mut lan = lan(16);
    lan.world.net.publish(8035, lan.b, 1935, Publish::Userland(HangUp::Close));
    lan.world.net.remove_host(lan.b, lan.world.now);
    let sock = lan.world.dial(lan.out, lan_at(1, 8035));
    lan.world.sending.insert(sock, b"C0 C1".to_vec());
    lan.world.run_for(MILLI * 2790);
    assert!(matches!(lan.world.told(sock)[..], [NetEvent::Connected { .. }]));
    lan.world.run_for(MILLI * 220);
    assert_eq!(lan.world.told(sock).last(), Some(&NetEvent::Reset { sock }), "C0 and C1 are unread");
}

#[test]
fn a_userland_proxy_makes_a_full_close_of_a_half_close() {
    let mut lan = lan(17);
    lan.world.closes = false;
    lan.world.listen(lan.b, 1935);
    lan.world.net.publish(8035, lan.b, 1935, Publish::Userland(HangUp::Close));
    let (dialled, accepted) = lan.world.connect(lan.out, lan_at(1, 8035));
    lan.world.send(dialled, b"question");
    lan.world.net.shutdown(dialled);
    lan.world.run_for(MILLI * 20);
    assert_eq!(lan.world.bytes(accepted), b"question");
    assert_eq!(lan.world.told(dialled).last(), Some(&NetEvent::Eof { sock: dialled }));
    lan.world.send(accepted, b"answer");
    lan.world.run_for(MILLI * 20);
    assert_eq!(lan.world.bytes(dialled), b"", "nobody is there to carry the answer");
}

#[test]
fn a_userland_proxy_taken_away_resets_what_it_carries() {
    let mut lan = lan(18);
    lan.world.listen(lan.b, 1935);
    lan.world.net.publish(8035, lan.b, 1935, Publish::Userland(HangUp::Close));
    let (dialled, accepted) = lan.world.connect(lan.out, lan_at(1, 8035));
    lan.world.net.unpublish(8035, lan.world.now);
    lan.world.run_for(MILLI * 20);
    assert_eq!(lan.world.told(dialled).last(), Some(&NetEvent::Reset { sock: dialled }));
    assert_eq!(lan.world.told(accepted).last(), Some(&NetEvent::Reset { sock: accepted }));
}

#[test]
fn a_host_dials_itself() {
    let mut lan = lan(19);
    lan.world.listen(lan.a, 1935);
    assert!(works(&mut lan.world, lan.a, at(2, 1935)));
    lan.world.net.disconnect(lan.a, lan.docker, lan.world.now);
    let sock = lan.world.dial(lan.a, at(2, 1935));
    lan.world.run_for(MILLI * 5);
    assert_eq!(outcome(&lan.world, sock), Some(Err(DialError::Unreachable)));
}
