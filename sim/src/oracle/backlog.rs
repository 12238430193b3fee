//! Who reads too slowly is led to a later keyframe, and told so: what waits for a player is bounded.
//!
//! ```text
//!  arrived for its stream since a keyframe ─┬─ handed over to it since ─┬─ waits
//!                                           └── play.queue_bytes_max ───┴─ and SLACK: it must have skipped frames
//! ```
//! What waits is not told; it is at least what has arrived less what was handed over. Counting begins at the first keyframe
//! that comes while a player sits there: what leans on one before may be left out, and waits for nobody. Who is in the group
//! of pictures under way has nothing newer to skip to. Where frames are written together, players are looked at that late.

use std::collections::{BTreeMap, BTreeSet};

use proxy_core::{
    io::{EventKind, PullState},
    time::Instant,
};

use super::{ARRIVED, BYTES, EVENT, Findings, Kinds, Oracle, SAMPLE, Scene, StreamNow, scene::name_of};
use crate::trace::{ActorId, Outward, Record, What};

pub(super) const NAME: &str = "backlog";

/// What one read may bring and what is written together, in bytes.
const SLACK: u64 = 128 * 1024;

/// Counts what arrives for players and what is handed over to them.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    streams: BTreeMap<(ActorId, u64), Flow>,
    /// By stream and connection.
    seats: BTreeMap<(ActorId, u64, u64), Seat>,
    /// The stream each connection plays.
    watched: BTreeMap<(ActorId, u64), u64>,
    /// Streams to be judged.
    fresh: BTreeSet<(ActorId, u64)>,
}

/// What has arrived for a stream, in bytes.
#[derive(Debug, Default)]
struct Flow {
    bytes: u64,
    /// Of these, what came before the last keyframe.
    bytes_before_key: u64,
}

/// A player with a seat.
#[derive(Debug, Default)]
struct Seat {
    /// What had arrived when its count began; `None` until a keyframe comes.
    since: Option<u64>,
    handed: u64,
    /// When too much began to wait.
    over_since: Option<Instant>,
    /// That was told.
    is_told: bool,
}

impl Oracle for Backlog {
    fn kinds(&self) -> Kinds {
        BYTES | EVENT | ARRIVED | SAMPLE
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let proxy = record.actor;
        if let What::Arrived { conn, key, len, .. } = &record.what {
            let Some(stream) = scene.conns.get(&(proxy, *conn)).and_then(|conn| conn.stream) else { return };
            // What comes when a play has been given up goes to nobody.
            let takes = |now: &StreamNow| now.state == PullState::Streaming && now.upstream == Some(*conn);
            if !scene.streams.get(&(proxy, stream)).is_some_and(takes) {
                return;
            }
            let flow = self.streams.entry((proxy, stream)).or_default();
            if *key {
                flow.bytes_before_key = flow.bytes;
                for (_, seat) in
                    seats_of(&mut self.seats, proxy, stream).filter(|(_, seat)| seat.since.is_none())
                {
                    (seat.since, seat.handed) = (Some(flow.bytes), 0);
                }
            }
            flow.bytes += u64::from(*len);
            self.fresh.insert((proxy, stream));
        } else if let What::Out(Outward::Transmit { conn, len }) = &record.what {
            if let Some(stream) = self.watched.get(&(proxy, *conn))
                && let Some(seat) = self.seats.get_mut(&(proxy, *stream, *conn))
            {
                seat.handed += u64::from(*len);
            }
        } else if let What::Event(event) = &record.what {
            self.on_event(proxy, event.stream.map(|stream| stream.0), &event.kind);
        } else if let What::Sample(_) = &record.what {
            while let Some((of, stream)) = self.fresh.pop_first() {
                self.judge(of, stream, record.at, scene, findings);
            }
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.streams.retain(|(of, _), _| *of != proxy);
        self.seats.retain(|(of, _, _), _| *of != proxy);
        self.watched.retain(|(of, _), _| *of != proxy);
        self.fresh.retain(|(of, _)| *of != proxy);
    }
}

impl Backlog {
    fn on_event(&mut self, proxy: ActorId, stream: Option<u64>, kind: &EventKind) {
        let Some(stream) = stream else { return };
        if let EventKind::Epoch { .. } = kind {
            seats_of(&mut self.seats, proxy, stream).for_each(|(_, seat)| *seat = Seat::default());
        } else if let EventKind::PlayerSeated { conn } = kind {
            self.watched.insert((proxy, conn.0), stream);
            self.seats.insert((proxy, stream, conn.0), Seat::default());
        } else if let EventKind::PlayerShed { conn, .. } = kind {
            self.seats.insert((proxy, stream, conn.0), Seat::default());
        } else if let EventKind::PlayerLeft { conn, .. } = kind {
            self.watched.remove(&(proxy, conn.0));
            self.seats.remove(&(proxy, stream, conn.0));
        } else if let EventKind::Unregistered { .. } = kind {
            self.streams.remove(&(proxy, stream));
        }
    }

    fn judge(&mut self, proxy: ActorId, stream: u64, at: Instant, scene: &Scene, findings: &mut Findings) {
        let Some(flow) = self.streams.get(&(proxy, stream)) else { return };
        let Some(key) = scene.streams.get(&(proxy, stream)).map(|stream| &stream.key) else { return };
        let play = &scene.config(proxy).play;
        let limit = (play.queue_bytes_max as u64).max(flow.bytes - flow.bytes_before_key);
        for ((_, _, conn), seat) in seats_of(&mut self.seats, proxy, stream) {
            let Some(since) = seat.since else { continue };
            let waits = (flow.bytes - since).saturating_sub(seat.handed);
            if waits <= limit + SLACK {
                seat.over_since = None;
                continue;
            }
            let over_since = *seat.over_since.get_or_insert(at);
            let is_looked_at = play.merge_write.is_zero() || at > over_since + play.merge_write;
            if !is_looked_at || std::mem::replace(&mut seat.is_told, true) {
                continue;
            }
            let text = format!(
                "{waits} bytes wait for player {conn} of {}, and it has skipped no frames: {limit} were promised at most \
                 (play.queue_bytes_max, or what has come since the last keyframe), and {SLACK} on their way",
                name_of(key)
            );
            findings.broken(NAME, proxy, text);
        }
    }
}

fn seats_of(
    seats: &mut BTreeMap<(ActorId, u64, u64), Seat>,
    proxy: ActorId,
    stream: u64,
) -> impl Iterator<Item = (&(ActorId, u64, u64), &mut Seat)> {
    seats.range_mut((proxy, stream, 0)..=(proxy, stream, u64::MAX))
}

#[cfg(test)]
mod tests {
    use proxy_core::{
        io::{ConnId, EventKind, PlayerEnd},
        proxy::Counts,
        relay::EpochCause,
    };

    use super::*;
    use crate::{
        oracle::story::{PROXY, Story},
        raw::media::Track,
        trace::Sample,
    };

    /// A player sits there. Each 10 ms 64 KiB arrive, a keyframe where `is_key` says so, and some bytes are handed over.
    fn check(is_key: impl Fn(u64) -> bool, handed: u32, happens: impl Fn(&mut Story, u64)) -> Vec<String> {
        Story::told::<Backlog>(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            story.seats(1, 9);
            for step in 1..=1_000 {
                let key = is_key(step);
                let arrives = What::Arrived { conn: 2, track: Track::Video, key, len: 65_536 };
                story.at(step * 10).record(PROXY, arrives);
                story.out(Outward::Transmit { conn: 9, len: handed });
                happens(story, step);
                story.record(PROXY, What::Sample(Sample { core: Counts::default(), sockets: 0, next: None }));
            }
        })
    }

    const NOTHING: fn(&mut Story, u64) = |_, _| ();

    fn each(_: u64) -> bool {
        true
    }

    #[test]
    fn what_waits_for_a_player_that_skips_nothing_is_bounded() {
        assert_eq!(check(each, 65_536, NOTHING), [""; 0]);
        let texts = check(each, 1_024, NOTHING);
        assert_eq!(texts.len(), 1, "told once: {texts:?}");
        assert!(texts[0].contains("wait for player 9 of live/a, and it has skipped no frames"), "{texts:?}");
    }

    #[test]
    fn who_is_in_the_group_under_way_has_nothing_to_skip_to() {
        assert_eq!(check(|step| step == 1, 1_024, NOTHING), [""; 0]);
        assert_eq!(check(|step| step == 1 || step == 500, 1_024, NOTHING).len(), 1);
        assert_eq!(check(|_| false, 1_024, NOTHING), [""; 0], "what leans on no keyframe waits for nobody");
    }

    #[test]
    fn who_skips_or_begins_anew_is_counted_anew() {
        let sheds = |story: &mut Story, step: u64| {
            if step.is_multiple_of(200) {
                story.event(1, EventKind::PlayerShed { conn: ConnId(9), frames: 3 });
            }
        };
        let begins = |story: &mut Story, step: u64| {
            if step.is_multiple_of(200) {
                story.event(1, EventKind::Epoch { number: step, cause: EpochCause::Play });
            }
        };
        let leaves = |story: &mut Story, step: u64| {
            if step == 200 {
                story.leaves(1, 9, PlayerEnd::Stopped);
            }
        };
        assert_eq!(check(each, 1_024, sheds), [""; 0]);
        assert_eq!(check(each, 1_024, begins), [""; 0]);
        assert_eq!(check(each, 1_024, leaves), [""; 0]);
    }
}
