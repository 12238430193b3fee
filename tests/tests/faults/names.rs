//! A name whose address changes, while whoever has the old address …

use proxy_core::{
    config::PullConfig,
    io::{ConnectError, PullFailure, PullState},
    time::Duration,
};
use sim::origin::{Behaviour, Like, Publisher};

use crate::{AWAY, HOME, HOST, NAME, ROUND_TRIPS, streaming, town::Door};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    Refuses,
    IsSilent,
    /// Another RTMP server, without the stream: it accepts `play`, answers pings, and sends nothing.
    IsAStranger,
    /// One that answers pings and holds the play request for a publisher, as ZLMediaKit does for 15 s.
    HoldsTheRequest,
}

#[test]
fn a_name_that_changes_is_followed_whatever_the_old_address_does() {
    let pull = PullConfig::default();
    let detection = pull.ping_interval_silent + pull.ping_timeout;
    for (old, lag, bound) in [
        // The name changes with the fault: what is left is to notice it.
        (Old::Refuses, 0, Duration::ZERO),
        (Old::IsSilent, 0, detection),
        (Old::IsAStranger, 0, Duration::ZERO),
        // It changes five seconds later: what is left is the attempt under way at the old address.
        (Old::Refuses, 5_000, pull.backoff_max),
        (Old::IsSilent, 5_000, pull.dial_timeout),
        (Old::IsAStranger, 5_000, pull.lookup_interval),
        (Old::IsAStranger, 60_000, pull.lookup_interval),
        (Old::HoldsTheRequest, 0, Duration::ZERO),
        (Old::HoldsTheRequest, 5_000, pull.lookup_interval),
    ] {
        let behaviour = match old {
            Old::HoldsTheRequest => Behaviour::like(Like::ZlMediaKit),
            Old::Refuses | Old::IsSilent | Old::IsAStranger => Behaviour::default(),
        };
        let (mut town, mut audience) = streaming(behaviour, Publisher::default());
        town.publish(AWAY, NAME, Publisher::default());
        if lag == 0 {
            town.names.insert(HOST.into(), vec![AWAY.ip()]);
        }
        match old {
            Old::Refuses => {
                town.kill(HOME);
                town.door(HOME, Door::Refuse);
            }
            Old::IsSilent => town.door(HOME, Door::Dark),
            Old::IsAStranger | Old::HoldsTheRequest => town.kill(HOME),
        }
        town.run(lag);
        audience.mark(&town);
        town.names.insert(HOST.into(), vec![AWAY.ip()]);
        let back = town.run_till(bound + ROUND_TRIPS, |town| audience.is_served(town));
        let story = format!("{old:?}, {lag} ms late: {:?}", town.state(NAME));
        assert!(back.is_some(), "{story}");
        println!(
            "measured: the old address {old:?}, the name changed {lag} ms later: media back after {back:?}"
        );
        assert_eq!(town.links_to(AWAY).len(), 1, "{story}");
        // In virtual seconds, what is told must be what happened.
        let told = town.failures();
        let expected = match (old, lag) {
            (Old::Refuses, 1..) => PullFailure::Connect(ConnectError::Refused),
            (Old::IsSilent, 0) => PullFailure::PingTimeout,
            (Old::IsSilent, _) => PullFailure::Timeout(PullState::Connecting),
            (Old::IsAStranger | Old::HoldsTheRequest, 1..) => PullFailure::AddressMoved,
            (Old::Refuses | Old::IsAStranger | Old::HoldsTheRequest, _) => {
                PullFailure::Lost(proxy_core::io::Hangup::Reset)
            }
        };
        assert!(told.contains(&expected), "{story}: {told:?}");
        town.run(10_000);
        audience.is_content(&town, &story);
        for seat in audience.seats {
            assert_eq!(town.report(seat).lives, 2, "{story}");
        }
        assert_eq!(town.complaints(AWAY), Vec::<String>::new(), "{story}");
        assert_eq!(town.complaints(HOME), Vec::<String>::new(), "{story}");
    }
}
