//! Witnesses: what each fault of a wire does, packet by packet.

mod net_world;

use net_world::{World, at, ip, pattern};
use proxy_core::time::{Duration, Instant};
use sim::net::{
    Bandwidth, BridgeId, BridgeSpec, DialError, HostId, LinkSpec, NeighbourPolicy, NetEvent, Seen, SockId,
    packet::{self, Parsed},
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// A connection from `a` to `b`, watched from here on.
fn connected(seed: u64) -> (World, BridgeId, HostId, HostId, SockId, SockId) {
    connected_over(seed, BridgeSpec::DOCKER)
}

fn connected_over(seed: u64, spec: BridgeSpec) -> (World, BridgeId, HostId, HostId, SockId, SockId) {
    let mut world = World::new(seed);
    let bridge = world.net.add_bridge("docker0", spec);
    let a = world.net.add_host("a", bridge, ip(2));
    let b = world.net.add_host("b", bridge, ip(3));
    world.listen(b, 1935);
    let (dialled, accepted) = world.connect(a, at(3, 1935));
    world.watch();
    (world, bridge, a, b, dialled, accepted)
}

/// How a dial from `a` to `b` ends, and after how many milliseconds.
fn dial(world: &mut World, from: HostId) -> (Option<DialError>, u64) {
    let start = world.now;
    let sock = world.dial(from, at(3, 1935));
    while world.told(sock).is_empty() && world.now < start + SECOND * 200 {
        world.run_for(MILLI);
    }
    let took = world.told_at(sock).unwrap_or(world.now).since(start).as_millis();
    let outcome = match world.told(sock).first() {
        Some(NetEvent::DialFailed { error, .. }) => Some(*error),
        Some(_) | None => None,
    };
    (outcome, u64::try_from(took).expect("a dial is short"))
}

#[test]
fn a_crossing_takes_what_the_bridge_says() {
    let (mut world, _, _, _, dialled, _) = connected(1);
    let mut took = Vec::new();
    for _ in 0..200 {
        world.seen.clear();
        let start = world.now;
        world.send(dialled, b"x");
        world.run_for(MILLI * 10);
        let there = world.seen.iter().find(|record| record.seen == Seen::Delivered);
        took.push(there.expect("it arrives").at.since(start).as_micros());
    }
    let (shortest, longest) = (took.iter().min().copied(), took.iter().max().copied());
    assert!(shortest >= Some(40) && shortest < Some(60), "{shortest:?}");
    assert!(longest <= Some(400) && longest > Some(380), "{longest:?}");
}

/// When bytes from `a` arrived, and which: their sequence numbers count from the first one seen.
fn arrivals(world: &World, a: HostId) -> Vec<(Instant, u32)> {
    let mut arrived = Vec::new();
    for record in &world.seen {
        if record.host != a
            && record.seen == Seen::Delivered
            && let Some(Parsed::Tcp(header)) = packet::parse(&record.packet)
        {
            arrived.push((record.at, header.seq));
        }
    }
    let first = arrived.iter().map(|&(_, seq)| seq).min().unwrap_or(0);
    arrived.into_iter().map(|(at, seq)| (at, seq.wrapping_sub(first))).collect()
}

#[test]
fn packets_of_one_wire_stay_in_order() {
    let (mut world, _, a, _, dialled, _) = connected(2);
    world.send(dialled, &pattern(200_000));
    world.run_for(SECOND);
    world.seen.clear();
    for _ in 0..100 {
        world.send(dialled, &pattern(100));
        world.run_for(Duration::from_micros(20));
    }
    world.run_for(SECOND);
    let order: Vec<u32> = arrivals(&world, a).iter().map(|&(_, seq)| seq).collect();
    assert_eq!(order, (0..100).map(|n| n * 100).collect::<Vec<u32>>());
}

#[test]
fn a_burst_stays_together() {
    let (mut world, _, a, b, dialled, _) = connected(2);
    world.send(dialled, &pattern(200_000));
    world.run_for(SECOND);
    world.seen.clear();
    world.send(dialled, &pattern(20_000));
    world.run_for(SECOND);
    let arrived = arrivals(&world, a);
    assert_eq!(arrived.len(), 14);
    assert_eq!(arrived[0].0, arrived[13].0);
    let acknowledged =
        world.seen.iter().filter(|record| record.host == b && record.seen == Seen::Sent).count();
    assert_eq!(acknowledged, 1);
}

#[test]
fn lost_packets_come_again_and_nothing_is_missing() {
    let (mut world, _, _, b, dialled, accepted) = connected(3);
    let lossy = LinkSpec { loss: 300_000, ..LinkSpec::CLEAR };
    world.net.set_link(b, Some(lossy), None);
    for _ in 0..20 {
        world.send(dialled, &pattern(1000));
        world.run_for(SECOND / 5);
    }
    // A timeout that was doubled stays so until new bytes are acknowledged: three losses in ten take their time.
    world.run_for(SECOND * 600);
    let lost = world.packets().iter().filter(|line| line.ends_with("DATA Lost")).count();
    assert!((3..40).contains(&lost), "{lost}");
    assert_eq!(world.bytes(accepted).len(), 20_000);
}

#[test]
fn a_duplicate_arrives_twice_and_is_read_once() {
    let (mut world, _, _, b, dialled, accepted) = connected(4);
    let doubling = LinkSpec { duplicate: 1_000_000, ..LinkSpec::CLEAR };
    world.net.set_link(b, Some(doubling), None);
    world.send(dialled, b"once");
    world.run_for(SECOND);
    assert_eq!(world.packets(), ["a> DATA", "b< DATA", "b< DATA"]);
    assert_eq!(world.bytes(accepted), b"once");
}

#[test]
fn a_packet_held_back_is_overtaken_and_read_in_its_place() {
    let (mut world, _, _, b, dialled, accepted) = connected(5);
    let late = LinkSpec { reorder: 1_000_000, reorder_by: MILLI * 20, ..LinkSpec::CLEAR };
    world.net.set_link(b, Some(late), None);
    world.send(dialled, b"first ");
    world.run_for(MILLI);
    world.net.set_link(b, None, None);
    world.send(dialled, b"second");
    world.run_for(MILLI * 10);
    assert_eq!(world.bytes(accepted), b"", "the second is there and waits for the first");
    assert_eq!(world.times("b< DATA").len(), 1);
    world.run_for(MILLI * 20);
    assert_eq!(world.bytes(accepted), b"first second");
}

#[test]
fn a_bandwidth_cap_paces_packets_and_its_queue_is_bounded() {
    let (mut world, _, _, b, dialled, accepted) = connected(6);
    let narrow = Bandwidth { bits_per_second: 1_000_000, queue_bytes: 200_000 };
    world.net.set_link(b, Some(LinkSpec { bandwidth: Some(narrow), ..LinkSpec::CLEAR }), None);
    let start = world.now;
    world.send(dialled, &pattern(125_000));
    while world.bytes(accepted).len() < 125_000 {
        world.run_for(MILLI * 10);
    }
    let took = world.now.since(start).as_millis();
    assert!((1000..1200).contains(&took), "a megabit in {took} ms");
    assert!(!world.packets().iter().any(|line| line.ends_with("QueueFull")));

    let short = Bandwidth { bits_per_second: 1_000_000, queue_bytes: 5_000 };
    world.net.set_link(b, Some(LinkSpec { bandwidth: Some(short), ..LinkSpec::CLEAR }), None);
    world.send(dialled, &pattern(125_000));
    world.run_for(SECOND * 120);
    assert!(world.packets().iter().any(|line| line.ends_with("QueueFull")));
    assert_eq!(world.bytes(accepted).len(), 250_000);
}

#[test]
fn a_path_mtu_black_hole_lets_small_packets_through_and_swallows_large_ones() {
    let (mut world, _, _, b, dialled, accepted) = connected(7);
    world.net.set_link(b, Some(LinkSpec { mtu: 576, mtu_answered: false, ..LinkSpec::CLEAR }), None);
    world.send(dialled, b"small");
    world.run_for(SECOND);
    assert_eq!(world.bytes(accepted), b"small");
    world.send(dialled, &pattern(5000));
    world.run_for(SECOND * 60);
    assert_eq!(world.bytes(accepted), b"small");
    assert!(world.packets().iter().any(|line| line.ends_with("DATA TooBig")));
    assert!(!world.packets().iter().any(|line| line.contains("ICMP")));
}

#[test]
fn a_smaller_path_mtu_that_is_told_of_is_found_out() {
    let (mut world, _, _, b, dialled, accepted) = connected(8);
    world.net.set_link(b, Some(LinkSpec { mtu: 576, mtu_answered: true, ..LinkSpec::CLEAR }), None);
    world.send(dialled, &pattern(5000));
    world.run_for(SECOND * 2);
    assert_eq!(world.bytes(accepted), pattern(5000));
    assert!(world.packets().iter().any(|line| line == "a< ICMP TooBig(576)"));
}

#[test]
fn an_unplugged_wire_loses_what_is_under_way_and_is_silent() {
    let (mut world, _, _, b, dialled, accepted) = connected(9);
    world.send(dialled, b"lost");
    world.run_for(Duration::from_micros(20));
    world.net.set_up(b, false);
    world.run_for(SECOND * 10);
    assert_eq!(world.bytes(accepted), b"");
    let packets = world.packets();
    assert_eq!(packets[..2], ["a> DATA", "b! DATA LinkDown"]);
    assert!(!packets.iter().any(|line| line.contains("RST") || line.contains("FIN")), "{packets:?}");
    assert_eq!(world.told(dialled).len(), 1, "nothing but Connected");
    world.net.set_up(b, true);
    world.run_for(SECOND * 10);
    assert_eq!(world.bytes(accepted), b"lost");
}

#[test]
fn a_dial_towards_an_unplugged_wire_finds_no_neighbour_after_three_seconds() {
    let (mut world, _, a, b, _, _) = connected(10);
    world.net.set_up(b, false);
    let (outcome, took) = dial(&mut world, a);
    assert_eq!(outcome, Some(DialError::Unreachable));
    assert!((2800..=3001).contains(&took), "{took} ms");
    let packets = world.packets();
    assert_eq!(packets.last().map(String::as_str), Some("a< ICMP Host"), "{packets:?}");
}

#[test]
fn a_dial_from_an_unplugged_wire_finds_no_neighbour_after_three_seconds() {
    let (mut world, _, a, _, _, _) = connected(11);
    world.net.set_up(a, false);
    let (outcome, took) = dial(&mut world, a);
    assert_eq!(outcome, Some(DialError::Unreachable));
    assert!((2800..=3001).contains(&took), "{took} ms");
}

#[test]
fn a_dial_that_waits_for_a_neighbour_goes_through_when_it_comes() {
    let (mut world, _, a, b, _, _) = connected(12);
    world.net.set_up(b, false);
    let sock = world.dial(a, at(3, 1935));
    world.run_for(MILLI * 500);
    world.net.set_up(b, true);
    world.run_for(MILLI * 600);
    assert!(matches!(world.told(sock)[..], [NetEvent::Connected { .. }]), "at the next probe");
}

#[test]
fn a_host_taken_off_its_network_cannot_dial_at_all_and_nobody_is_told() {
    let (mut world, bridge, a, b, dialled, accepted) = connected(13);
    world.net.disconnect(b, bridge, world.now);
    let (outcome, took) = dial(&mut world, b);
    assert_eq!((outcome, took), (Some(DialError::Unreachable), 0));
    world.send(dialled, b"anyone?");
    world.send(accepted, b"hello?");
    world.run_for(SECOND * 10);
    assert!(!world.packets().iter().any(|line| line.contains("RST") || line.contains("FIN")));
    let (outcome, took) = dial(&mut world, a);
    assert_eq!(outcome, Some(DialError::Unreachable));
    assert!((1..=3001).contains(&took), "{took} ms");
    // Back at the same address before anybody gave up, the connection goes on.
    world.net.connect(b, bridge, ip(3));
    world.run_for(SECOND * 20);
    assert_eq!((world.bytes(accepted), world.bytes(dialled)), (&b"anyone?"[..], &b"hello?"[..]));
}

#[test]
fn a_host_back_at_another_address_has_lost_its_connections() {
    let (mut world, bridge, a, b, dialled, accepted) = connected(14);
    world.net.disconnect(b, bridge, world.now);
    world.net.connect(b, bridge, ip(9));
    world.send(accepted, b"from an address that is not mine");
    world.send(dialled, b"to an address that is nobody's");
    world.run_for(SECOND * 10);
    let packets = world.packets();
    assert!(packets.contains(&"b! DATA NoSource".to_owned()), "{packets:?}");
    assert!(packets.contains(&"a! DATA Unresolved".to_owned()), "{packets:?}");
    assert_eq!((world.bytes(accepted), world.bytes(dialled)), (&b""[..], &b""[..]));
    let sock = world.dial(a, at(9, 1935));
    world.run_for(SECOND);
    assert!(matches!(world.told(sock)[..], [NetEvent::Connected { .. }]));
}

#[test]
fn a_veth_made_again_works_at_once() {
    let (mut world, _, a, b, dialled, accepted) = connected(15);
    world.net.recreate_veths(b, world.now);
    assert_eq!(dial(&mut world, a), (None, dial_time(&world)));
    world.send(dialled, b"still here");
    world.run_for(SECOND);
    assert_eq!(world.bytes(accepted), b"still here");
}

/// The last dial succeeded: only that it took less than a millisecond or two matters.
fn dial_time(world: &World) -> u64 {
    let start = world.seen.iter().rev().find(|record| net_world::kind(&record.packet) == "SYN");
    start.map_or(0, |record| u64::try_from(world.now.since(record.at).as_millis()).unwrap_or(0)).min(1)
}

#[test]
fn a_veth_made_again_under_stale_neighbours_is_found_when_its_host_sends() {
    let spec = BridgeSpec { neighbours: NeighbourPolicy::Stale(SECOND * 30), ..BridgeSpec::DOCKER };
    let (mut world, _, a, b, dialled, accepted) = connected_over(16, spec);
    world.net.recreate_veths(b, world.now);
    world.send(dialled, b"lost on the way to the old card");
    world.run_for(MILLI * 500);
    assert_eq!(world.bytes(accepted), b"");
    world.send(accepted, b"it asks for its neighbour first");
    world.run_for(SECOND);
    assert_eq!(world.bytes(dialled), b"it asks for its neighbour first");
    assert_eq!(dial(&mut world, a), (None, dial_time(&world)));
}

#[test]
fn a_veth_made_again_under_stale_neighbours_is_dead_until_they_lapse() {
    let spec = BridgeSpec { neighbours: NeighbourPolicy::Stale(SECOND * 5), ..BridgeSpec::DOCKER };
    let (mut world, _, a, b, _, _) = connected_over(16, spec);
    world.net.recreate_veths(b, world.now);
    let sock = world.dial(a, at(3, 1935));
    world.run_for(MILLI * 4900);
    assert_eq!(world.told(sock), []);
    assert_eq!(world.packets(), ["a> SYN", "a! SYN NoNeighbour"].repeat(3), "at 0, 1 and 3 s");
    world.run_for(SECOND * 3);
    assert!(matches!(world.told(sock)[..], [NetEvent::Connected { .. }]), "the SYN of 7 s gets through");
}
