//! What a player gets before its first picture is the same after re-pull k as at the first play (I2): what an attempt
//! learns must not change what a later one gives out. This is the shape of ZLMediaKit#3810.
//!
//! An *opening* is what a player gets from its connection, or from behind the last frame of another play, up to the
//! first keyframe (of audio alone: the first frame). Its sequence headers and metadata are compared with those of the first
//! opening of the same stream by the same output; where plays between two of them have brought no picture, each of those
//! may have told its headers as well, or some of them. Origins that share a stream need not send the same: theirs is not judged.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use proxy_core::io::{EventKind, PlayOutput};

use super::{EVENT, Findings, Kinds, Oracle, PLAYER, SAW, Scene, TIMELINE};
use crate::{
    scenario::model::{Act, Fault},
    trace::{ActorId, Record, What},
    viewer::Opening,
};

pub(super) const NAME: &str = "idempotence";

/// Compares openings.
#[derive(Debug, Default)]
pub(super) struct Idempotence {
    seats: Vec<Seat>,
    first: BTreeMap<(ActorId, String, PlayOutput), Opening>,
    /// What publishers send has changed: what is given out may, too.
    is_changed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    /// Openings completed.
    openings: u32,
    /// The least the play of the last one can be the nth of its stream: who reads slowly may have been behind.
    play: u64,
    /// None yet on this connection.
    is_fresh: bool,
}

impl Oracle for Idempotence {
    fn kinds(&self) -> Kinds {
        EVENT | SAW | PLAYER | TIMELINE
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        if let What::Began { event } = &record.what {
            self.is_changed |= scene.events.get(usize::from(*event)).is_some_and(|event| changes(&event.act));
        } else if let What::Event(event) = &record.what {
            self.is_changed |= matches!(event.kind, EventKind::TrackGone(_));
        } else if let What::PlayerConnected { seat, .. } = &record.what {
            let player = scene.players.get(seat.0 as usize);
            let stream = player.and_then(|player| scene.stream_named(player.from, &player.stream));
            let seat = self.seat(seat.0);
            seat.is_fresh = true;
            // From here on it gets nothing of an earlier play.
            seat.play = stream.map_or(0, |(_, stream)| stream.plays.saturating_sub(1));
        } else if let What::Saw { seat, saw } = &record.what
            && saw.opened > 0
        {
            let opening = Opening { headers: saw.opening_headers, metadata: saw.opening_metadata };
            self.on_opening(seat.0, saw.opened, opening, scene, record, findings);
        }
    }
}

impl Idempotence {
    fn seat(&mut self, seat: u32) -> &mut Seat {
        let seat = seat as usize;
        if self.seats.len() <= seat {
            self.seats.resize(seat + 1, Seat::default());
        }
        &mut self.seats[seat]
    }

    /// Openings have been completed; of several in one read the last one is judged.
    fn on_opening(
        &mut self,
        number: u32,
        opened: u32,
        opening: Opening,
        scene: &Scene,
        record: &Record,
        findings: &mut Findings,
    ) {
        let Some(player) = scene.players.get(number as usize) else { return };
        let stream = scene.stream_named(player.from, &player.stream);
        let seat = self.seat(number);
        seat.openings += opened;
        let nth = seat.openings;
        let is_fresh = std::mem::take(&mut seat.is_fresh);
        // Of a stream that has gone since nobody knows any more how many plays it had been given.
        let Some((_, stream)) = stream else { return };
        let plays = stream.plays.saturating_sub(seat.play);
        seat.play = stream.plays.min(seat.play + u64::from(opened));
        // Behind a second proxy a play of the origin's begins where nothing does for this one; in one read with what a connection
        // begins with, too.
        let is_first_hand = scene.settings.len() == 1;
        let is_ours = scene.settings.contains_key(&player.from) && (is_first_hand || is_fresh && opened == 1);
        if self.is_changed || scene.tracks_come_and_go || !is_ours || have_twins(scene) {
            return;
        }
        let whose = (player.from, player.stream.clone(), player.output);
        let first = *match self.first.entry(whose) {
            Entry::Occupied(first) => first.into_mut(),
            Entry::Vacant(_) if plays > 1 => return,
            Entry::Vacant(place) => place.insert(opening),
        };
        let times = u32::try_from(plays).unwrap_or(u32::MAX).max(1);
        // A play that brought no picture may have told some of it, or all.
        let fits = |told: u32, first: u32| (first..=first.saturating_mul(times)).contains(&told);
        if !fits(opening.headers, first.headers) || !fits(opening.metadata, first.metadata) {
            let text = format!(
                "before its opening {nth} a player of {} by {:?} got {} sequence headers and {} metadata, the first one of \
                 this stream and output {} and {}: the same was promised after every re-pull",
                player.stream,
                player.output,
                opening.headers,
                opening.metadata,
                first.headers,
                first.metadata
            );
            findings.broken(NAME, record.actor, text);
        }
    }
}

/// Two origins serve the same stream, each its own.
fn have_twins(scene: &Scene) -> bool {
    let mut known = BTreeSet::new();
    scene.origins.values().flat_map(|origin| &origin.streams).any(|stream| !known.insert(stream))
}

/// What publishers send changes with it.
fn changes(act: &Act) -> bool {
    match act {
        Act::Publish { .. } => true,
        Act::Fault(fault) => matches!(
            fault.fault,
            Fault::PublisherAway { .. }
                | Fault::Behave(_)
                | Fault::NoMedia { .. }
                | Fault::NoKeyframes
                | Fault::TimestampJump { .. }
                | Fault::Drip { .. }
        ),
        Act::Call(_) | Act::Repair { .. } | Act::Play { .. } | Act::Leave { .. } | Act::Start { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        oracle::story::Story,
        scenario::model::{Host, Role},
        trace::Saw,
    };

    /// A player completes openings one after the other.
    fn check(openings: &[(u32, u32)]) -> Vec<String> {
        Story::told::<Idempotence>(|story| {
            story.register(1, "live/a");
            story.player(0, PlayOutput::HttpFlv, "live/a", 1);
            for opening in openings {
                story.saw(0, opened(*opening));
                story.saw(0, Saw { frames: 5, video: 4, ..Saw::default() });
            }
        })
    }

    fn opened((opening_headers, opening_metadata): (u32, u32)) -> Saw {
        Saw { frames: 2, video: 1, keys: 1, opened: 1, opening_headers, opening_metadata, ..Saw::default() }
    }

    #[test]
    fn openings_alike_are_fine() {
        assert_eq!(check(&[(2, 1), (2, 1), (2, 1)]), [""; 0]);
    }

    #[test]
    fn an_opening_that_lacks_something_is_found() {
        assert_eq!(check(&[(2, 1), (1, 1)]).len(), 1);
        assert_eq!(
            check(&[(2, 1), (2, 1), (2, 0)]),
            [
                "idempotence: before its opening 3 a player of live/a by HttpFlv got 2 sequence headers and 0 metadata, the \
              first one of this stream and output 2 and 1: the same was promised after every re-pull"
            ]
        );
    }

    /// The stream is lost and pulled again, by another connection.
    fn plays_anew(story: &mut Story, conn: u64) {
        story.loses(1, conn - 2, 1, story.now());
        story.dials(1, conn);
        story.streams(1, conn);
    }

    /// The second play of three brings no picture.
    #[test]
    fn a_play_without_a_picture_may_have_told_some_of_its_headers() {
        let check = |between: (u32, u32)| {
            Story::told::<Idempotence>(|story| {
                story.register(1, "live/a");
                story.player(0, PlayOutput::HttpFlv, "live/a", 1);
                story.dials(1, 2);
                story.streams(1, 2);
                story.saw(0, opened((2, 1)));
                for conn in [4, 6] {
                    plays_anew(story, conn);
                }
                story.saw(0, opened((2 + between.0, 1 + between.1)));
            })
        };
        for between in [(0, 0), (0, 1), (1, 1), (2, 1)] {
            assert_eq!(check(between), [""; 0], "{between:?}");
        }
        assert_eq!(check((3, 1)).len(), 1);
        assert_eq!(check((0, 2)).len(), 1);
    }

    /// Who reads slowly sees the first of three plays while the second one goes by; the second brings no picture.
    #[test]
    fn who_reads_slowly_is_behind() {
        let check = |headers: u32, is_new: bool| {
            Story::told::<Idempotence>(|story| {
                story.register(1, "live/a");
                story.player(0, PlayOutput::HttpFlv, "live/a", 1);
                story.dials(1, 2);
                story.streams(1, 2);
                story.saw(0, opened((2, 1)));
                for conn in [4, 6, 8] {
                    plays_anew(story, conn);
                    if conn == 6 {
                        story.saw(0, opened((2, 1)));
                    }
                }
                if is_new {
                    story.player(0, PlayOutput::HttpFlv, "live/a", 1);
                }
                story.saw(0, opened((headers, 1)));
            })
        };
        assert_eq!([check(4, false).len(), check(5, false).len()], [0, 1]);
        assert_eq!([check(2, true).len(), check(3, true).len()], [0, 1]);
    }

    #[test]
    fn who_joins_later_gets_the_same() {
        let texts = Story::told::<Idempotence>(|story| {
            story.register(1, "live/a");
            for (seat, headers) in [(0, 2), (1, 1)] {
                story.player(seat, PlayOutput::Rtmp, "live/a", u64::from(seat) * 2 + 1);
                story.saw(seat, opened((headers, 0)));
            }
        });
        assert_eq!(texts.len(), 1);
    }

    /// Behind a second proxy, what a connection begins with comes in one read with another play of the origin's, or not.
    #[test]
    fn another_play_behind_a_second_proxy_is_no_opening() {
        let check = |openings: u32| {
            let mut scenario = crate::oracle::story::scenario();
            let edge = Host {
                name: "edge".to_owned(),
                role: Role::Proxy(Box::default()),
                ..scenario.hosts[0].clone()
            };
            scenario.hosts.push(edge);
            Story::told_to(&scenario, Box::<Idempotence>::default(), |story| {
                story.register(1, "live/a");
                for (seat, headers) in [(0, 2), (1, 0)] {
                    story.player(seat, PlayOutput::Rtmp, "live/a", u64::from(seat) * 2 + 1);
                    story.saw(
                        seat,
                        Saw { opened: if seat == 0 { 1 } else { openings }, ..opened((headers, 0)) },
                    );
                }
            })
        };
        assert_eq!(check(2), [""; 0]);
        assert_eq!(check(1).len(), 1);
    }
}
