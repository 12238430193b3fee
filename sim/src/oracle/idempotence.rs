//! What a player gets before its first picture is the same after re-pull k as at the first play (I2): what an attempt
//! learns must not change what a later one gives out. This is the shape of ZLMediaKit#3810.
//!
//! An *opening* is what a player gets from its connection, or from the first sign of another play, up to the first
//! keyframe (of audio alone: the first frame). Its sequence headers and metadata are compared with those of the first
//! opening of the same stream by the same output; where plays between two of them have brought no picture, each of those
//! may have told its headers as well. Origins that share a stream need not send the same: theirs is not judged.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use proxy_core::io::{EventKind, PlayOutput};

use super::{EVENT, Findings, Kinds, Oracle, PLAYER, SAW, Scene, TIMELINE};
use crate::{
    scenario::model::{Act, Fault},
    trace::{ActorId, Record, What},
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

/// What came before a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Opening {
    headers: u32,
    metadata: u32,
}

impl Opening {
    fn times(self, times: u32) -> Self {
        Self { headers: self.headers.saturating_mul(times), metadata: self.metadata.saturating_mul(times) }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    /// What came since the last frame of before.
    so_far: Opening,
    /// An opening is under way.
    opens: bool,
    /// Video has ever come.
    has_video: bool,
    /// Openings completed.
    openings: u32,
    /// The plays its stream had been given at the last one.
    plays: u64,
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
            let seat = self.seat(seat.0);
            (seat.so_far, seat.opens) = (Opening::default(), true);
        } else if let What::Saw { seat: number, saw } = &record.what {
            let seat = self.seat(number.0);
            seat.so_far.headers += saw.headers;
            seat.so_far.metadata += saw.metadata;
            seat.has_video |= saw.video > 0;
            // Behind a second proxy a play of the origin's begins where nothing does for this one.
            seat.opens |= saw.plays > 0 && scene.settings.len() == 1;
            let is_open = if seat.has_video { saw.keys > 0 } else { saw.frames > 0 };
            if seat.opens && is_open {
                let opening = seat.so_far;
                (seat.so_far, seat.opens) = (Opening::default(), false);
                seat.openings += 1;
                let nth = seat.openings;
                let before = seat.plays;
                let stream = scene.players.get(number.0 as usize);
                let stream = stream.and_then(|player| scene.stream_named(player.from, &player.stream));
                seat.plays = stream.map_or(before, |(_, stream)| stream.plays);
                let plays = seat.plays.saturating_sub(before);
                // Who reads after a long time has several in one read.
                if saw.plays > 1 {
                    return;
                }
                self.judge(number.0, (nth, plays), opening, scene, record, findings);
            } else if !seat.opens && saw.frames > 0 {
                // In the middle of a play, unless the next one begins behind the last frame of this read.
                seat.so_far = Opening { headers: saw.headers, metadata: saw.metadata };
            }
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

    fn judge(
        &mut self,
        seat: u32,
        (nth, plays): (u32, u64),
        opening: Opening,
        scene: &Scene,
        record: &Record,
        findings: &mut Findings,
    ) {
        let Some(player) = scene.players.get(seat as usize) else { return };
        let is_ours = scene.settings.contains_key(&player.from);
        if self.is_changed || scene.audio_comes_late || !is_ours || have_twins(scene) {
            return;
        }
        let whose = (player.from, player.stream.clone(), player.output);
        let first = *match self.first.entry(whose) {
            Entry::Occupied(first) => first.into_mut(),
            Entry::Vacant(_) if plays > 1 => return,
            Entry::Vacant(place) => place.insert(opening),
        };
        let times = u32::try_from(plays).unwrap_or(u32::MAX).max(1);
        let is_alike = (1..=times).any(|times| first.times(times) == opening);
        if !is_alike {
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
                | Fault::Drip { .. }
        ),
        Act::Call(_) | Act::Repair { .. } | Act::Play { .. } | Act::Leave { .. } | Act::Start { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{oracle::story::Story, trace::Saw};

    /// A player sees openings one after the other: headers, metadata, each in reads of its own.
    fn check(openings: &[(u32, u32)]) -> Vec<String> {
        Story::told::<Idempotence>(|story| {
            story.player(0, PlayOutput::HttpFlv, "live/a", 1);
            for (headers, metadata) in openings {
                story.saw(0, Saw { headers: *headers, ..Saw::default() });
                story.saw(0, Saw { metadata: *metadata, frames: 1, plays: 1, ..Saw::default() });
                story.saw(0, Saw { frames: 1, video: 1, keys: 1, ..Saw::default() });
                story.saw(0, Saw { frames: 5, video: 4, ..Saw::default() });
            }
        })
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

    #[test]
    fn who_joins_later_gets_the_same() {
        let texts = Story::told::<Idempotence>(|story| {
            for (seat, headers) in [(0, 2), (1, 1)] {
                story.player(seat, PlayOutput::Rtmp, "live/a", u64::from(seat) * 2 + 1);
                story.saw(seat, Saw { headers, frames: 2, video: 2, keys: 1, plays: 1, ..Saw::default() });
            }
        });
        assert_eq!(texts.len(), 1);
    }
}
