//! Witnesses: networks that have IPv6 beside IPv4. Who has an address in which family, what a family's filter takes, and
//! what ICMPv6 says.

mod net_world;

use std::net::{Ipv4Addr, SocketAddr};

use net_world::{World, at, ip, pattern};
use proxy_core::time::Duration;
use sim::net::{
    BridgeSpec, DialError, Direction, FilterSpec, HostId, LinkSpec, NetEvent, Traffic, Verdict,
    packet::Family,
};

const SECOND: Duration = Duration::from_secs(1);
const DUAL: BridgeSpec = BridgeSpec { ipv6: true, ..BridgeSpec::DOCKER };

/// Where a host of IPv6 is.
fn at6(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(Family::V6.address(ip(last)), port)
}

fn pair(spec: BridgeSpec) -> (World, HostId, HostId) {
    let mut world = World::new(1);
    let bridge = world.net.add_bridge("docker0", spec);
    let a = world.net.add_host("a", bridge, ip(2));
    let b = world.net.add_host("b", bridge, ip(3));
    world.listen(b, 1935);
    (world, a, b)
}

/// How a dial ends within five seconds.
fn outcome(world: &mut World, from: HostId, to: SocketAddr) -> Option<Result<(), DialError>> {
    let sock = world.dial(from, to);
    world.run_for(SECOND * 5);
    world.told(sock).iter().find_map(|event| match event {
        NetEvent::Connected { .. } => Some(Ok(())),
        NetEvent::DialFailed { error, .. } => Some(Err(*error)),
        _ => None,
    })
}

#[test]
fn a_listener_takes_both_families_and_sees_each_as_it_is() {
    let (mut world, a, _) = pair(DUAL);
    let (dialled, accepted) = world.connect(a, at6(3, 1935));
    world.send(dialled, &pattern(5_000));
    world.run_for(SECOND);
    assert_eq!(world.bytes(accepted), pattern(5_000));
    let told = world.told(accepted);
    let Some(NetEvent::Accepted { peer, local, .. }) = told.first() else { panic!("{told:?}") };
    assert_eq!((peer.ip(), *local), (at6(2, 0).ip(), at6(3, 1935)));
    assert_eq!(outcome(&mut world, a, at(3, 1935)), Some(Ok(())));
}

#[test]
fn a_network_without_ipv6_has_no_such_address_not_even_ones_own() {
    let (mut world, a, b) = pair(BridgeSpec::DOCKER);
    assert_eq!(outcome(&mut world, a, at6(3, 1935)), Some(Err(DialError::Unreachable)));
    assert_eq!(outcome(&mut world, b, at6(3, 1935)), Some(Err(DialError::Unreachable)));
    assert_eq!(outcome(&mut world, b, at(3, 1935)), Some(Ok(())));
}

#[test]
fn a_nobody_of_ipv6_is_unreachable_after_three_seconds_by_icmp() {
    let (mut world, a, _) = pair(DUAL);
    world.watch();
    assert_eq!(outcome(&mut world, a, at6(77, 1935)), Some(Err(DialError::Unreachable)));
    assert!(world.packets().iter().any(|line| line == "a< ICMP Host"), "{:?}", world.packets());
}

#[test]
fn a_family_that_is_filtered_leaves_the_other_alone() {
    for (family, v4, v6) in
        [(Some(Family::V6), Some(Ok(())), None), (Some(Family::V4), None, Some(Ok(()))), (None, None, None)]
    {
        let (mut world, a, b) = pair(DUAL);
        let (direction, traffic, verdict) = (Direction::Both, Traffic::All, Verdict::Drop);
        let filter = world.net.filter(b, FilterSpec { peer: None, direction, family, traffic, verdict });
        assert_eq!(outcome(&mut world, a, at(3, 1935)), v4, "{family:?}");
        assert_eq!(outcome(&mut world, a, at6(3, 1935)), v6, "{family:?}");
        world.net.lift(filter);
        assert_eq!(outcome(&mut world, a, at6(3, 1935)), Some(Ok(())), "{family:?}");
    }
}

#[test]
fn a_smaller_path_mtu_is_found_out_down_to_what_every_link_has() {
    for (mtu, is_through) in [(1_300, true), (1_000, false)] {
        let (mut world, a, b) = pair(DUAL);
        let (dialled, accepted) = world.connect(a, at6(3, 1935));
        world.net.set_link(b, Some(LinkSpec { mtu, mtu_answered: true, ..LinkSpec::CLEAR }), None);
        world.send(dialled, &pattern(5_000));
        world.run_for(SECOND * 2);
        assert_eq!(world.bytes(accepted) == pattern(5_000), is_through, "{mtu}");
    }
}

#[test]
fn networks_of_both_families_are_routed_and_nobody_is_masqueraded() {
    let (mut world, a, _) = pair(DUAL);
    let other = BridgeSpec {
        subnet: Ipv4Addr::new(10, 0, 0, 0),
        prefix: 24,
        gateway: Ipv4Addr::new(10, 0, 0, 1),
        ..DUAL
    };
    let lan = world.net.add_bridge("lan", other.clone());
    let far = Ipv4Addr::new(10, 0, 0, 2);
    let c = world.net.add_host("c", lan, far);
    world.listen(c, 1935);
    let to = SocketAddr::new(Family::V6.address(far), 1935);
    let (_, accepted) = world.connect(a, to);
    let told = world.told(accepted);
    let Some(NetEvent::Accepted { peer, .. }) = told.first() else { panic!("{told:?}") };
    assert_eq!(peer.ip(), at6(2, 0).ip());
    // One that has no IPv6 is not reached over one that has.
    let plain = world.net.add_bridge(
        "plain",
        BridgeSpec {
            subnet: Ipv4Addr::new(10, 1, 0, 0),
            gateway: Ipv4Addr::new(10, 1, 0, 1),
            ipv6: false,
            ..other
        },
    );
    let lost = Ipv4Addr::new(10, 1, 0, 2);
    let d = world.net.add_host("d", plain, lost);
    world.listen(d, 1935);
    let to = SocketAddr::new(Family::V6.address(lost), 1935);
    assert_eq!(outcome(&mut world, a, to), Some(Err(DialError::Unreachable)));
}
