//! Witnesses: filters, deaths, pauses and addresses that move: who hears what, and after how long.

mod net_world;

use net_world::{World, at, ip, pattern};
use proxy_core::time::Duration;
use sim::net::{
    BridgeId, BridgeSpec, Counts, DialError, Direction, HostId, NeighbourPolicy, NetEvent, SockId, Verdict,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

struct Pair {
    world: World,
    bridge: BridgeId,
    a: HostId,
    b: HostId,
    dialled: SockId,
    accepted: SockId,
}

/// A connection from `a` to `b`, watched from here on.
fn connected(seed: u64) -> Pair {
    connected_over(seed, BridgeSpec::DOCKER)
}

fn connected_over(seed: u64, spec: BridgeSpec) -> Pair {
    let mut world = World::new(seed);
    let bridge = world.net.add_bridge("docker0", spec);
    let a = world.net.add_host("a", bridge, ip(2));
    let b = world.net.add_host("b", bridge, ip(3));
    world.listen(b, 1935);
    let (dialled, accepted) = world.connect(a, at(3, 1935));
    world.watch();
    Pair { world, bridge, a, b, dialled, accepted }
}

/// How a dial ends, `None` if well, and after how many milliseconds. The socket is closed.
fn dial(world: &mut World, from: HostId, to: std::net::SocketAddr) -> (Option<DialError>, u64) {
    let start = world.now;
    let sock = world.dial(from, to);
    while world.told(sock).is_empty() && world.now < start + SECOND * 200 {
        world.run_for(MILLI);
    }
    let took = world.told_at(sock).unwrap_or(world.now).since(start).as_millis();
    let outcome = match world.told(sock).first() {
        Some(NetEvent::DialFailed { error, .. }) => Some(*error),
        Some(_) => None,
        None => panic!("the dial never ends"),
    };
    world.net.close(sock, world.now);
    (outcome, u64::try_from(took).expect("a dial is short"))
}

fn is_quiet(world: &World) -> bool {
    !world.packets().iter().any(|line| line.contains("RST") || line.contains("FIN") || line.contains("ICMP"))
}

#[test]
fn a_closed_port_refuses() {
    let mut pair = connected(1);
    let (outcome, took) = dial(&mut pair.world, pair.a, at(3, 99));
    assert_eq!((outcome, took.min(1)), (Some(DialError::Refused), took));
    assert_eq!(pair.world.packets(), ["a> SYN", "b< SYN", "b> RST", "a< RST"]);
}

#[test]
fn a_dial_into_a_partition_tries_for_127_seconds() {
    let mut pair = connected(2);
    pair.world.net.partition(pair.b, None, Direction::Both, Verdict::Drop);
    let start = pair.world.now.as_millis();
    let (outcome, took) = dial(&mut pair.world, pair.a, at(3, 1935));
    assert_eq!((outcome, took), (Some(DialError::TimedOut), 127_000));
    let syns: Vec<u64> = pair.world.times("a> SYN").iter().map(|at| (at - start).div_ceil(1000)).collect();
    assert_eq!(syns, [0, 1, 3, 7, 15, 31, 63]);
    assert!(is_quiet(&pair.world));
}

#[test]
fn a_partition_is_silent_and_the_connection_survives_it() {
    for direction in [Direction::Both, Direction::To, Direction::From] {
        let mut pair = connected(3);
        let cut = pair.world.net.partition(pair.b, Some(pair.a), direction, Verdict::Drop);
        pair.world.send(pair.dialled, b"ping");
        pair.world.send(pair.accepted, b"pong");
        pair.world.run_for(SECOND * 20);
        let there = (pair.world.bytes(pair.accepted), pair.world.bytes(pair.dialled));
        match direction {
            Direction::Both => assert_eq!(there, (&b""[..], &b""[..])),
            Direction::To => assert_eq!(there, (&b""[..], &b"pong"[..])),
            Direction::From => assert_eq!(there, (&b"ping"[..], &b""[..])),
        }
        assert!(is_quiet(&pair.world), "{:?}", pair.world.packets());
        pair.world.net.lift(cut);
        pair.world.run_for(SECOND * 20);
        let there = (pair.world.bytes(pair.accepted), pair.world.bytes(pair.dialled));
        assert_eq!(there, (&b"ping"[..], &b"pong"[..]));
    }
}

#[test]
fn a_partition_from_one_host_leaves_the_others_alone() {
    let mut pair = connected(4);
    let c = pair.world.net.add_host("c", pair.bridge, ip(4));
    pair.world.net.partition(pair.b, Some(c), Direction::Both, Verdict::Reset);
    assert_eq!(dial(&mut pair.world, pair.a, at(3, 1935)).0, None);
    assert_eq!(dial(&mut pair.world, c, at(3, 1935)).0, Some(DialError::Refused));
}

#[test]
fn what_is_under_way_when_a_partition_comes_up_is_lost() {
    let mut pair = connected(5);
    pair.world.send(pair.dialled, b"lost");
    pair.world.run_for(Duration::from_micros(20));
    pair.world.net.partition(pair.b, None, Direction::To, Verdict::Drop);
    pair.world.run_for(MILLI * 5);
    assert_eq!(pair.world.packets(), ["a> DATA", "b! DATA Filtered"]);
}

#[test]
fn a_partition_by_reset_refuses_dials_and_ends_who_talks() {
    let mut pair = connected(6);
    pair.world.net.partition(pair.b, None, Direction::Both, Verdict::Reset);
    let (outcome, took) = dial(&mut pair.world, pair.a, at(3, 1935));
    assert_eq!((outcome, took.min(1)), (Some(DialError::Refused), took));
    assert_eq!(pair.world.told(pair.dialled).len(), 1, "who is silent learns nothing");
    pair.world.send(pair.dialled, b"hello?");
    pair.world.run_for(MILLI * 5);
    let reset = NetEvent::Reset { sock: pair.dialled };
    assert_eq!(pair.world.told(pair.dialled).last(), Some(&reset));
    assert_eq!(pair.world.told(pair.accepted).len(), 1, "the other end learns nothing");
}

#[test]
fn a_partition_by_icmp_fails_dials_and_spares_who_is_connected() {
    let mut pair = connected(7);
    let cut = pair.world.net.partition(pair.b, None, Direction::Both, Verdict::Icmp);
    let (outcome, took) = dial(&mut pair.world, pair.a, at(3, 1935));
    assert_eq!((outcome, took.min(1)), (Some(DialError::Unreachable), took));
    pair.world.send(pair.dialled, b"hello?");
    pair.world.run_for(SECOND * 5);
    assert!(pair.world.packets().contains(&"a< ICMP Host".to_owned()));
    pair.world.net.lift(cut);
    pair.world.run_for(SECOND * 5);
    assert_eq!(pair.world.bytes(pair.accepted), b"hello?");
}

#[test]
fn a_black_hole_for_new_connections_spares_the_old() {
    let mut pair = connected(8);
    let hole = pair.world.net.drop_syn(pair.b, Some(1935));
    let sock = pair.world.dial(pair.a, at(3, 1935));
    assert_eq!(dial(&mut pair.world, pair.a, at(3, 99)).0, Some(DialError::Refused), "another port");
    pair.world.send(pair.dialled, b"old");
    pair.world.run_for(SECOND * 5);
    assert_eq!(pair.world.told(sock), []);
    assert_eq!(pair.world.bytes(pair.accepted), b"old");
    pair.world.net.lift(hole);
    pair.world.run_for(SECOND * 5);
    assert!(matches!(pair.world.told(sock)[..], [NetEvent::Connected { .. }]), "the SYN of 7 s gets through");
}

#[test]
fn refusing_new_connections_spares_the_old() {
    let mut pair = connected(9);
    pair.world.net.refuse(pair.b, None);
    let (outcome, took) = dial(&mut pair.world, pair.a, at(3, 1935));
    assert_eq!((outcome, took.min(1)), (Some(DialError::Refused), took));
    pair.world.send(pair.dialled, b"old");
    pair.world.run_for(SECOND);
    assert_eq!(pair.world.bytes(pair.accepted), b"old");
}

#[test]
fn a_killed_process_closes_everything_and_its_port_refuses() {
    let mut pair = connected(10);
    pair.world.net.kill_process(pair.b, pair.world.now);
    pair.world.run_for(MILLI * 5);
    assert_eq!(pair.world.packets(), ["b> FIN", "a< FIN", "a> FIN", "b< FIN"]);
    assert_eq!(dial(&mut pair.world, pair.a, at(3, 1935)).0, Some(DialError::Refused));
    assert_eq!(pair.world.net.counts(pair.world.now + SECOND * 61), Counts::default());
}

#[test]
fn a_process_killed_with_bytes_unread_resets() {
    let mut pair = connected(11);
    pair.world.reads = false;
    pair.world.send(pair.dialled, b"unread");
    pair.world.run_for(MILLI * 5);
    pair.world.net.kill_process(pair.b, pair.world.now);
    pair.world.run_for(MILLI * 5);
    assert_eq!(pair.world.packets(), ["a> DATA", "b< DATA", "b> RST", "a< RST"]);
    assert_eq!(pair.world.net.counts(pair.world.now), Counts::default());
}

#[test]
fn a_namespace_that_is_gone_is_silent_and_a_dial_finds_nobody_after_three_seconds() {
    let mut pair = connected(12);
    pair.world.net.remove_host(pair.b, pair.world.now);
    pair.world.send(pair.dialled, b"hello?");
    let (outcome, took) = dial(&mut pair.world, pair.a, at(3, 1935));
    assert_eq!(outcome, Some(DialError::Unreachable));
    assert!((2800..=3001).contains(&took), "{took} ms");
    pair.world.run_for(SECOND * 30);
    let packets = pair.world.packets();
    assert!(!packets.iter().any(|line| line.contains("RST") || line.contains("FIN")), "{packets:?}");
    assert_eq!(pair.world.told(pair.dialled).len(), 1, "who is connected learns nothing: half-open");
    pair.world.net.abort(pair.dialled);
    pair.world.run_for(SECOND * 10);
    assert_eq!(pair.world.net.counts(pair.world.now), Counts::default());
}

#[test]
fn who_talks_to_a_namespace_that_came_back_empty_is_reset() {
    let mut pair = connected(13);
    pair.world.net.remove_host(pair.b, pair.world.now);
    pair.world.run_for(SECOND);
    pair.world.net.revive_host(pair.b, pair.bridge, ip(3));
    pair.world.listen(pair.b, 1935);
    pair.world.run_for(SECOND * 10);
    assert_eq!(pair.world.told(pair.dialled).len(), 1, "who is silent stays half-open");
    pair.world.send(pair.dialled, b"hello?");
    pair.world.run_for(MILLI * 5);
    assert_eq!(pair.world.packets(), ["a> DATA", "b< DATA", "b> RST", "a< RST"]);
    assert_eq!(pair.world.told(pair.dialled).last(), Some(&NetEvent::Reset { sock: pair.dialled }));
    assert_eq!(dial(&mut pair.world, pair.a, at(3, 1935)).0, None);
}

#[test]
fn a_paused_process_accepts_in_silence_until_its_queue_is_full() {
    let mut pair = connected(14);
    pair.world.net.listen(pair.b, 8080, 2).expect("the port is free");
    pair.world.net.pause(pair.b);
    let mut socks = Vec::new();
    for _ in 0..4 {
        let sock = pair.world.dial(pair.a, at(3, 8080));
        pair.world.sending.insert(sock, b"hello".to_vec());
        pair.world.run_for(MILLI * 10);
        socks.push(sock);
    }
    pair.world.run_for(SECOND / 2);
    // Linux lets one more in than asked for.
    for &sock in &socks[..3] {
        assert!(matches!(pair.world.told(sock)[..], [NetEvent::Connected { .. }]));
        assert_eq!(pair.world.net.unacknowledged(sock), 0, "its kernel acknowledges");
    }
    assert_eq!(pair.world.told(socks[3]), []);
    assert!(pair.world.packets().contains(&"b! SYN BacklogFull".to_owned()));
    let news = pair.world.events.len();
    pair.world.run_for(SECOND / 4);
    assert_eq!(pair.world.events.len(), news);
    pair.world.net.resume(pair.b);
    pair.world.run_for(SECOND * 2);
    assert!(matches!(pair.world.told(socks[3])[..], [NetEvent::Connected { .. }]));
    let heard = pair.world.read.values().filter(|bytes| bytes.as_slice() == b"hello").count();
    assert_eq!(heard, 4);
}

#[test]
fn a_paused_process_reads_nothing_and_its_window_closes() {
    let mut pair = connected(15);
    pair.world.net.pause(pair.b);
    pair.world.send(pair.dialled, &pattern(300_000));
    pair.world.run_for(SECOND * 20);
    assert_eq!(pair.world.net.unread(pair.accepted), 65_536);
    assert!(is_quiet(&pair.world));
    pair.world.net.resume(pair.b);
    pair.world.run_for(SECOND * 20);
    assert_eq!(pair.world.bytes(pair.accepted), pattern(300_000));
}

#[test]
fn a_listener_whose_software_does_not_accept_fills_up() {
    let mut pair = connected(16);
    let listener = pair.world.net.listen(pair.b, 8080, 0).expect("the port is free");
    pair.world.net.hold_accepts(listener, true);
    let first = pair.world.dial(pair.a, at(3, 8080));
    pair.world.run_for(MILLI * 10);
    let second = pair.world.dial(pair.a, at(3, 8080));
    pair.world.run_for(SECOND / 2);
    assert!(matches!(pair.world.told(first)[..], [NetEvent::Connected { .. }]));
    assert_eq!(pair.world.told(second), []);
    pair.world.net.hold_accepts(listener, false);
    pair.world.run_for(SECOND);
    assert!(matches!(pair.world.told(second)[..], [NetEvent::Connected { .. }]));
    // Closing the listener resets who waits in its queue.
    pair.world.net.hold_accepts(listener, true);
    let third = pair.world.dial(pair.a, at(3, 8080));
    pair.world.run_for(SECOND);
    pair.world.net.unlisten(listener);
    pair.world.run_for(SECOND);
    assert_eq!(pair.world.told(third).last(), Some(&NetEvent::Reset { sock: third }));
}

#[test]
fn an_address_that_moves_with_an_announcement_is_another_server_at_once() {
    let mut pair = connected(17);
    let c = pair.world.net.add_host("c", pair.bridge, ip(4));
    pair.world.listen(c, 1935);
    pair.world.net.remove_host(pair.b, pair.world.now);
    pair.world.net.take_address(c, pair.bridge, ip(3), true, pair.world.now);
    assert_eq!(dial(&mut pair.world, pair.a, at(3, 1935)).0, None);
    pair.world.send(pair.dialled, b"hello?");
    pair.world.run_for(MILLI * 5);
    assert_eq!(pair.world.told(pair.dialled).last(), Some(&NetEvent::Reset { sock: pair.dialled }));
}

#[test]
fn an_address_that_moves_under_stale_neighbours_is_nobody_and_then_another_server() {
    let spec = BridgeSpec { neighbours: NeighbourPolicy::Stale(SECOND * 5), ..BridgeSpec::DOCKER };
    let mut pair = connected_over(18, spec);
    let c = pair.world.net.add_host("c", pair.bridge, ip(4));
    let d = pair.world.net.add_host("d", pair.bridge, ip(5));
    pair.world.listen(c, 1935);
    pair.world.net.remove_host(pair.b, pair.world.now);
    pair.world.net.take_address(c, pair.bridge, ip(3), false, pair.world.now);
    let sock = pair.world.dial(pair.a, at(3, 1935));
    pair.world.send(pair.dialled, b"hello?");
    assert_eq!(dial(&mut pair.world, d, at(3, 1935)).0, None, "who never knew the old owner asks");
    pair.world.run_for(SECOND * 4);
    assert_eq!(pair.world.told(sock), [], "three seconds and more of silence");
    assert!(pair.world.packets().contains(&"a! SYN NoNeighbour".to_owned()));
    pair.world.run_for(SECOND * 4);
    assert!(matches!(pair.world.told(sock)[..], [NetEvent::Connected { .. }]));
    assert_eq!(
        pair.world.told(pair.dialled).last(),
        Some(&NetEvent::Reset { sock: pair.dialled }),
        "an old client that talks is reset by the new owner"
    );
}

#[test]
fn an_address_taken_from_a_host_that_lives_cuts_it_off() {
    let mut pair = connected(19);
    let c = pair.world.net.add_host("c", pair.bridge, ip(4));
    pair.world.net.take_address(c, pair.bridge, ip(3), true, pair.world.now);
    assert_eq!(dial(&mut pair.world, pair.a, at(3, 1935)).0, Some(DialError::Refused));
    pair.world.net.drop_address(c, pair.bridge, ip(3), pair.world.now);
    assert_eq!(dial(&mut pair.world, pair.a, at(3, 1935)).0, None, "the first owner has it still");
}

#[test]
fn a_host_that_moves_to_another_address_answers_there_alone() {
    let mut pair = connected(20);
    pair.world.net.move_address(pair.b, pair.bridge, ip(7), pair.world.now);
    assert_eq!(dial(&mut pair.world, pair.a, at(7, 1935)).0, None);
    assert_eq!(dial(&mut pair.world, pair.a, at(3, 1935)).0, Some(DialError::Unreachable));
    pair.world.send(pair.accepted, b"lost");
    pair.world.run_for(SECOND * 5);
    assert!(pair.world.packets().contains(&"b! DATA NoSource".to_owned()));
    assert_eq!(pair.world.bytes(pair.dialled), b"");
}
