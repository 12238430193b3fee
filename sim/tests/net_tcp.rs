//! TCP over the simulated network: bytes arrive whole and in order, and connections end as they do under Linux.

mod net_world;

use net_world::{World, at, pattern};
use proptest::prelude::*;
use proxy_core::time::{Duration, Instant};
use sim::net::{Counts, DialError, LinkSpec, NetEvent, SockId, SocketSpec};

const SECOND: Duration = Duration::from_secs(1);

/// Sends `len` bytes one way over a wire with these faults, and returns whether they arrived as they were, and when.
fn transfer(seed: u64, len: usize, faults: LinkSpec) -> (bool, Instant) {
    let (mut world, _, a, b) = World::pair(seed);
    world.listen(b, 1935);
    world.net.set_link(b, Some(faults), Some(faults));
    let sock = world.dial(a, at(3, 1935));
    world.sending.insert(sock, pattern(len));
    while world.accepted().is_none_or(|accepted| world.bytes(accepted).len() < len) {
        world.run_for(Duration::from_millis(100));
        assert!(world.now < Instant::ZERO + SECOND * 600, "it never ends");
    }
    (world.accepted().is_some_and(|accepted| world.bytes(accepted) == pattern(len)), world.now)
}

/// Losses, duplicates and overtaking, each per million.
fn faults(loss: u32, duplicate: u32, reorder: u32) -> LinkSpec {
    LinkSpec { loss, duplicate, reorder, reorder_by: Duration::from_millis(2), ..LinkSpec::CLEAR }
}

#[test]
fn bytes_go_both_ways_and_a_close_is_seen() {
    let (mut world, _, a, b) = World::pair(1);
    world.listen(b, 1935);
    let (dialled, accepted) = world.connect(a, at(3, 1935));
    world.send(dialled, b"hello");
    world.run_for(Duration::from_millis(5));
    assert_eq!(world.bytes(accepted), b"hello");
    world.send(accepted, &pattern(300_000));
    world.run_for(SECOND);
    assert_eq!(world.bytes(dialled), pattern(300_000));
    world.net.close(dialled, world.now);
    world.run_for(Duration::from_millis(5));
    assert_eq!(world.told(accepted).last(), Some(&NetEvent::Eof { sock: accepted }));
    let counts = world.net.counts(world.now);
    assert_eq!((counts.sockets, counts.orphans, counts.time_wait), (0, 0, 1), "{counts:?}");
}

/// Ends that close at the same moment both keep the connection in mind: neither may answer the other's answers.
#[test]
fn who_closes_at_the_same_moment_comes_to_rest() {
    let (mut world, _, a, b) = World::pair(1);
    world.listen(b, 1935);
    let (dialled, accepted) = world.connect(a, at(3, 1935));
    // Each packet comes twice: the second acknowledgement meets an end that is over.
    let twice = faults(0, 1_000_000, 0);
    world.net.set_link(b, Some(twice), Some(twice));
    world.net.close(dialled, world.now);
    world.net.close(accepted, world.now);
    world.watch();
    world.run_for(Duration::from_millis(20));
    assert_eq!(world.net.counts(world.now).time_wait, 2);
    let packets = world.packets().len();
    assert!(packets <= 40, "{packets} packets");
}

#[test]
fn bulk_arrives_whole_and_in_order_over_a_clean_wire() {
    let (whole, took) = transfer(1, 4 << 20, faults(0, 0, 0));
    assert!(whole && took < Instant::ZERO + SECOND, "{took}");
}

#[test]
fn bulk_arrives_whole_and_in_order_over_a_bad_wire() {
    let (whole, took) = transfer(2, 1 << 20, faults(10_000, 20_000, 20_000));
    assert!(whole, "{took}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_wire_does_the_bytes_are_the_bytes(
        seed: u64,
        len in 1_usize..100_000,
        loss in 0_u32..100_000,
        duplicate in 0_u32..200_000,
        reorder in 0_u32..200_000,
    ) {
        prop_assert!(transfer(seed, len, faults(loss, duplicate, reorder)).0);
    }
}

#[test]
fn a_reader_that_stops_stops_the_sender_and_loses_nothing() {
    let (mut world, _, a, b) = World::pair(3);
    world.listen(b, 1935);
    let (dialled, accepted) = world.connect(a, at(3, 1935));
    world.reads = false;
    world.send(dialled, &pattern(500_000));
    world.run_for(SECOND * 30);
    let taken = 500_000 - world.sending[&dialled].len();
    // A window is with the reader, a buffer with the sender, whose software waits for a third of it to be free.
    assert!((65_536 + 65_536 * 2 / 3..=65_536 * 2).contains(&taken), "{taken}");
    assert_eq!(world.net.unread(accepted), 65_536);
    world.reads = true;
    let mut read = Vec::new();
    world.net.recv(accepted, usize::MAX, &mut read);
    world.read.insert(accepted, read);
    world.run_for(SECOND * 30);
    assert_eq!(world.bytes(accepted), pattern(500_000));
}

#[test]
fn a_small_window_is_kept_to() {
    let (mut world, _, a, b) = World::pair(4);
    world.net.set_sockets(b, SocketSpec { rx_bytes: 4096, ..SocketSpec::DEFAULT });
    world.listen(b, 1935);
    let (dialled, accepted) = world.connect(a, at(3, 1935));
    world.reads = false;
    world.send(dialled, &pattern(50_000));
    world.run_for(SECOND);
    assert_eq!(world.net.unread(accepted), 4096);
}

#[test]
fn after_a_half_close_the_other_half_goes_on() {
    let (mut world, _, a, b) = World::pair(5);
    world.closes = false;
    world.listen(b, 1935);
    let (dialled, accepted) = world.connect(a, at(3, 1935));
    world.send(dialled, b"question");
    world.net.shutdown(dialled);
    world.run_for(SECOND);
    assert_eq!(world.told(accepted).last(), Some(&NetEvent::Eof { sock: accepted }));
    world.send(accepted, &pattern(100_000));
    world.run_for(SECOND);
    world.net.close(accepted, world.now);
    world.run_for(SECOND);
    assert_eq!(world.bytes(dialled), pattern(100_000));
    assert_eq!(world.told(dialled).last(), Some(&NetEvent::Eof { sock: dialled }));
}

#[test]
fn the_end_of_the_stream_is_told_after_its_last_byte() {
    let (mut world, _, a, b) = World::pair(6);
    world.reads = false;
    world.closes = false;
    world.listen(b, 1935);
    let (dialled, accepted) = world.connect(a, at(3, 1935));
    world.send(dialled, b"last words");
    world.net.close(dialled, world.now);
    world.run_for(SECOND);
    assert!(!world.told(accepted).contains(&NetEvent::Eof { sock: accepted }));
    let mut read = Vec::new();
    world.net.recv(accepted, 4, &mut read);
    world.run_for(SECOND);
    assert!(!world.told(accepted).contains(&NetEvent::Eof { sock: accepted }));
    world.net.recv(accepted, 100, &mut read);
    world.run_for(SECOND);
    assert_eq!(read, b"last words");
    assert_eq!(world.told(accepted).last(), Some(&NetEvent::Eof { sock: accepted }));
}

/// Runs a connection to the moment before it ends, ends it, and returns the packets after that and what the other end learnt last.
fn ending(end: impl FnOnce(&mut World, SockId, SockId)) -> (Vec<String>, Option<NetEvent>, Counts) {
    let (mut world, _, a, b) = World::pair(7);
    world.listen(b, 1935);
    let (dialled, accepted) = world.connect(a, at(3, 1935));
    world.reads = false;
    world.watch();
    end(&mut world, dialled, accepted);
    world.run_for(SECOND);
    let last = world.told(accepted).last().copied();
    (world.packets(), last, world.net.counts(world.now + SECOND * 61))
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

#[test]
fn a_close_is_a_fin_from_both_sides() {
    let (packets, last, counts) = ending(|world, dialled, _| world.net.close(dialled, world.now));
    assert_eq!(packets, lines(&["a> FIN", "b< FIN", "b> FIN", "a< FIN"]));
    assert!(matches!(last, Some(NetEvent::Eof { .. })), "{last:?}");
    assert_eq!(counts, Counts { listeners: 1, ..Counts::default() });
}

#[test]
fn a_close_with_bytes_unread_is_a_reset() {
    let (packets, last, counts) = ending(|world, dialled, accepted| {
        world.send(accepted, b"unread");
        world.run_for(Duration::from_millis(5));
        world.net.close(dialled, world.now);
    });
    assert_eq!(packets, lines(&["b> DATA", "a< DATA", "a> RST", "b< RST"]));
    assert!(matches!(last, Some(NetEvent::Reset { .. })), "{last:?}");
    assert_eq!(counts, Counts { listeners: 1, ..Counts::default() });
}

#[test]
fn bytes_for_a_socket_that_is_closed_draw_a_reset() {
    let (packets, last, counts) = ending(|world, dialled, accepted| {
        world.closes = false;
        world.net.close(dialled, world.now);
        world.run_for(Duration::from_millis(5));
        world.send(accepted, b"too late");
        world.run_for(Duration::from_millis(5));
        world.net.close(accepted, world.now);
    });
    assert_eq!(packets, lines(&["a> FIN", "b< FIN", "b> DATA", "a< DATA", "a> RST", "b< RST"]));
    assert!(matches!(last, Some(NetEvent::Reset { .. })), "{last:?}");
    assert_eq!(counts, Counts { listeners: 1, ..Counts::default() });
}

#[test]
fn an_abort_is_a_reset_in_the_middle_of_a_message() {
    let (packets, last, counts) = ending(|world, dialled, _| {
        world.send(dialled, b"half a mess");
        world.run_for(Duration::from_millis(5));
        world.net.abort(dialled);
    });
    assert_eq!(packets, lines(&["a> DATA", "b< DATA", "a> RST", "b< RST"]));
    assert!(matches!(last, Some(NetEvent::Reset { .. })), "{last:?}");
    assert_eq!(counts, Counts { listeners: 1, ..Counts::default() });
}

#[test]
fn what_was_written_before_an_abort_leaves_if_it_is_pushed() {
    let check = |is_pushed: bool| {
        let (packets, ..) = ending(|world, dialled, _| {
            world.send(dialled, b"half a mess");
            if is_pushed {
                world.net.push(dialled, world.now);
            }
            world.net.abort(dialled);
        });
        packets
    };
    assert_eq!(check(true), lines(&["a> DATA", "a> RST", "b< DATA", "b< RST"]));
    assert_eq!(check(false), lines(&["a> RST", "b< RST"]));
}

#[test]
fn a_broken_socket_is_a_reset_to_both_ends() {
    let (packets, last, counts) = ending(|world, dialled, _| {
        world.net.break_socket(dialled, world.now);
        world.run_for(Duration::from_millis(1));
        assert!(world.told(dialled).contains(&NetEvent::Reset { sock: dialled }));
    });
    assert_eq!(packets, lines(&["a> RST", "b< RST"]));
    assert!(matches!(last, Some(NetEvent::Reset { .. })), "{last:?}");
    assert_eq!(counts, Counts { listeners: 1, ..Counts::default() });
}

#[test]
fn bytes_that_came_before_a_reset_can_still_be_read() {
    let (mut world, _, a, b) = World::pair(8);
    world.listen(b, 1935);
    let (dialled, accepted) = world.connect(a, at(3, 1935));
    world.reads = false;
    world.closes = false;
    world.send(dialled, b"the last words");
    world.run_for(Duration::from_millis(5));
    world.net.abort(dialled);
    world.run_for(Duration::from_millis(5));
    let mut read = Vec::new();
    world.net.recv(accepted, 100, &mut read);
    assert_eq!(read, b"the last words");
    assert_eq!(world.net.send(accepted, b"answer"), 0);
    world.net.close(accepted, world.now);
    assert_eq!(world.net.counts(world.now).sockets, 0);
}

#[test]
fn a_dial_that_is_given_up_leaves_nothing_behind() {
    let (mut world, _, a, b) = World::pair(9);
    world.listen(b, 1935);
    let early = world.dial(a, at(3, 1935));
    world.net.close(early, world.now);
    let later = world.dial(a, at(3, 1935));
    world.run_for(Duration::from_nanos(1));
    world.net.close(later, world.now);
    world.watch();
    world.run_for(SECOND * 70);
    // The SYN is under way: its answer finds nobody.
    assert_eq!(world.packets(), lines(&["b< SYN", "b> SYN ACK", "a< SYN ACK", "a> RST", "b< RST"]));
    assert_eq!(world.told(later), []);
    assert_eq!(world.net.counts(world.now), Counts { listeners: 1, ..Counts::default() });
}

#[test]
fn the_ports_towards_one_address_run_out_and_come_back() {
    let (mut world, _, a, b) = World::pair(10);
    world.net.set_sockets(a, SocketSpec { port_min: 40_000, port_max: 40_002, ..SocketSpec::DEFAULT });
    world.listen(b, 1935);
    let socks: Vec<SockId> = (0..4).map(|_| world.dial(a, at(3, 1935))).collect();
    world.run_for(SECOND);
    let no_port = NetEvent::DialFailed { sock: socks[3], error: DialError::NoPort };
    assert_eq!(world.told(socks[3]), [no_port]);
    for &sock in &socks[..3] {
        world.net.close(sock, world.now);
    }
    world.run_for(SECOND);
    let held = world.dial(a, at(3, 1935));
    world.run_for(SECOND);
    assert_eq!(world.told(held).len(), 1, "TIME_WAIT holds the ports");
    assert!(matches!(world.told(held)[0], NetEvent::DialFailed { error: DialError::NoPort, .. }));
    world.run_for(SECOND * 60);
    let (dialled, _) = world.connect(a, at(3, 1935));
    assert!(matches!(world.told(dialled)[0], NetEvent::Connected { .. }));
}

#[test]
fn an_idle_connection_lives_for_ever() {
    let (mut world, _, a, b) = World::pair(11);
    world.listen(b, 1935);
    let (dialled, accepted) = world.connect(a, at(3, 1935));
    world.send(dialled, b"one");
    world.run_for(SECOND * 100_000);
    world.send(dialled, b"two");
    world.run_for(SECOND);
    assert_eq!(world.bytes(accepted), b"onetwo");
}

/// The timers of `hosts` hosts with a connection each to one server, and some messages.
fn steps(hosts: u16) -> u64 {
    let mut world = World::new(12);
    let bridge = world.net.add_bridge("docker0", sim::net::BridgeSpec::DOCKER);
    let server = world.net.add_host("server", bridge, net_world::ip(2));
    world.net.listen(server, 1935, 5000);
    let clients: Vec<_> = (0..hosts)
        .map(|n| {
            let [high, low] = (n + 256).to_be_bytes();
            world.net.add_host("client", bridge, std::net::Ipv4Addr::new(172, 17, high, low))
        })
        .collect();
    let socks: Vec<SockId> = clients.iter().map(|&client| world.dial(client, at(2, 1935))).collect();
    world.run_for(SECOND);
    for _ in 0..5 {
        for &sock in &socks {
            world.send(sock, &[7; 400]);
        }
        world.run_for(SECOND);
    }
    let read: usize = world.read.values().map(Vec::len).sum();
    assert_eq!(read, usize::from(hosts) * 5 * 400);
    world.steps
}

#[test]
fn a_thousand_connections_take_ten_times_the_steps_of_a_hundred() {
    let (few, many) = (steps(100), steps(1000));
    assert!(many <= few * 11, "{few} and {many}");
}

/// The hash of every packet of a busy hour: dials, losses, resets.
fn busy(seed: u64) -> u64 {
    let (mut world, _, a, b) = World::pair(seed);
    world.watch();
    world.listen(b, 1935);
    world.net.set_link(b, Some(faults(20_000, 10_000, 10_000)), None);
    for round in 0..10 {
        let sock = world.dial(a, at(3, 1935));
        world.sending.insert(sock, pattern(20_000));
        world.run_for(SECOND * 5);
        match round % 2 {
            0 => world.net.close(sock, world.now),
            _ => world.net.abort(sock),
        }
    }
    world.run_for(SECOND * 60);
    world.packet_hash()
}

#[test]
fn one_seed_gives_one_story_and_another_another() {
    assert_eq!(busy(13), busy(13));
    assert_ne!(busy(13), busy(14));
}

#[test]
fn a_fault_at_one_host_does_not_shift_what_happens_at_another() {
    let arrivals = |faulty: bool| {
        let (mut world, bridge, a, b) = World::pair(15);
        let c = world.net.add_host("c", bridge, net_world::ip(4));
        world.listen(b, 1935);
        if faulty {
            world.net.set_link(c, Some(faults(300_000, 0, 0)), Some(faults(300_000, 0, 0)));
        }
        let other = world.dial(c, at(3, 1935));
        world.sending.insert(other, pattern(50_000));
        let sock = world.dial(a, at(3, 1935));
        world.sending.insert(sock, pattern(50_000));
        world.watch();
        world.run_for(SECOND);
        world.seen.iter().filter(|record| record.host == a).map(|record| record.at).collect::<Vec<_>>()
    };
    assert_eq!(arrivals(false), arrivals(true));
}
