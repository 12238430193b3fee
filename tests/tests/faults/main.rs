//! What goes wrong between origins, names and players, with the viewer's checks of every frame: on virtual time,
//! where a minute costs milliseconds, and once more on loopback where the production driver has a part in it.
//!
//! | room | purpose |
//! |---|---|
//! | [`town`] | the proxy between model origins and model players, in memory |
//! | [`names`] | a name whose address changes |
//! | [`driver`] | the same on real sockets |
//! | [`publishers`] | publishers that come back as somebody else |
//! | [`mute`] | origins that never answer, or answer too little, or hang up |
//! | [`hostile`] | origins and players that say what kills other software |

mod driver;
mod hostile;
mod mute;
mod names;
mod publishers;
mod town;

// The counting allocator must stand at the root of what links it once.
#[path = "../../../fuzz/src/heap.rs"]
mod heap;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proxy_core::{Config, io::PullState, time::Duration};
use sim::origin::{Behaviour, Publisher};

use self::town::{Take, Town};

/// Where [`URL`] leads at first.
const HOME: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)), 1935);
/// Where it leads later.
const AWAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 3)), 1935);
const HOST: &str = "origin.example";
const URL: &str = "rtmp://origin.example/live/one";
const NAME: &str = "live/one";

/// What [`AWAY`] counts from: more lives and plays than [`HOME`] ever has.
const AWAY_NUMBERS: u32 = 1000;

/// Two seats before a stream, and what they saw when something began.
struct Audience {
    seats: [usize; 2],
    keyframes: [u64; 2],
}

impl Audience {
    /// An RTMP and an HTTP-FLV player sit down.
    fn sit(town: &mut Town) -> Self {
        Self { seats: [town.play(Take::Rtmp, NAME), town.play(Take::Flv, NAME)], keyframes: [0; 2] }
    }

    /// Remembers what was seen so far.
    fn mark(&mut self, town: &Town) {
        self.keyframes = self.seats.map(|seat| town.report(seat).keyframes);
    }

    /// Returns whether both have seen a keyframe since the mark.
    fn is_served(&self, town: &Town) -> bool {
        self.seats.iter().zip(self.keyframes).all(|(seat, before)| town.report(*seat).keyframes > before)
    }

    /// Nothing was seen that may not be seen, and nobody was hung up on.
    #[track_caller]
    fn is_content(&self, town: &Town, story: &str) {
        for seat in self.seats {
            let report = town.report(seat);
            assert_eq!(report.violations, Vec::<String>::new(), "{story}, seat {seat}");
            assert_eq!(report.disconnects, Vec::new(), "{story}, seat {seat}");
            assert_eq!(report.connections, 1);
        }
    }
}

/// A town in which [`NAME`] streams from [`HOME`] to an audience, for longer than `stable_after`.
fn streaming(behaviour: Behaviour, publisher: Publisher) -> (Town, Audience) {
    let mut town = Town::new(Config::default());
    town.found(HOME, behaviour);
    town.found(AWAY, Behaviour { numbers_from: AWAY_NUMBERS, ..Behaviour::default() });
    town.publish(HOME, NAME, publisher);
    town.names.insert(HOST.into(), vec![HOME.ip()]);
    town.add(NAME, URL);
    town.run(1_000);
    let audience = Audience::sit(&mut town);
    town.run(6_000);
    assert_eq!(town.state(NAME), PullState::Streaming);
    let mut audience = audience;
    assert!(audience.is_served(&town));
    audience.mark(&town);
    (town, audience)
}

/// What a lookup, a dial, a handshake and three calls cost where everything answers in a millisecond, and the raster
/// of looking.
const ROUND_TRIPS: Duration = Duration::from_millis(50);
