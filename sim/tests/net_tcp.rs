//! TCP over the simulated network: bytes arrive whole and in order, and connections end as they do under Linux.

mod net_world;

use net_world::{World, at, pattern};
use proxy_core::time::Duration;
use sim::net::NetEvent;

#[test]
fn bytes_go_both_ways_and_a_close_is_seen() {
    let (mut world, _, a, b) = World::pair(1);
    world.listen(b, 1935);
    let (dialled, accepted) = world.connect(a, at(3, 1935));
    world.send(dialled, b"hello");
    world.run_for(Duration::from_millis(5));
    assert_eq!(world.bytes(accepted), b"hello");
    world.send(accepted, &pattern(300_000));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.bytes(dialled), pattern(300_000));
    world.net.close(dialled, world.now);
    world.run_for(Duration::from_millis(5));
    assert_eq!(world.told(accepted).last(), Some(&NetEvent::Eof { sock: accepted }));
    let counts = world.net.counts(world.now);
    assert_eq!((counts.sockets, counts.orphans, counts.time_wait), (0, 0, 1), "{counts:?}");
}
