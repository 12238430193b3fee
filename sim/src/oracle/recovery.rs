//! Everything good happens in time (I1): judged in the calm phase alone, from when nothing is in the way any more.
//!
//! ```text
//!  calm begins, faults lifted ─┬─► origin serves ──► stream streams, within bounds::recovery ──► players see it
//!                              └─► (an origin that boots is waited for)
//! ```
//! A stream is wanted while it is registered. Its origin is judged by the scenario: who serves what the url names, and
//! behaves. Of players those count that sit, wait or dial again at the proxy.

use std::collections::{BTreeMap, BTreeSet};

use proxy_core::{
    io::{Event, EventKind, PullEventKind, PullState},
    time::{Duration, Instant},
};

use super::{
    ARRIVED, EVENT, Findings, Kinds, Oracle, PHASE, PLAYER, PlayerNow, SAW, STEP, Scene, StreamNow, TIME,
    TIMELINE,
    alarms::Alarms,
    bounds::{self, Standing},
    failures_of,
    scene::{key_named, name_of},
    secs,
};
use crate::trace::{ActorId, Moment, Phase, Record, What, words::kebab};

pub(super) const NAME: &str = "recovery";
/// What is measured of streams.
pub(super) const STREAM_AGAIN: &str = "wanted streams stream again";
/// What is measured of players.
pub(super) const FRAMES_AGAIN: &str = "players see frames again";

/// How long all must be well before the calm phase may end: one frame is not yet a stream.
const STABLE: Duration = Duration::from_secs(1);
/// How long a player that dials again may take beside its stream: its own retry, and a dial of its kernel's.
const REDIAL: Duration = Duration::from_secs(15);

/// Waits for streams and players to be well.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    is_calm: bool,
    ended: bool,
    /// Who is not well yet, with since when and within what time.
    waiting: BTreeMap<Whose, (Instant, Duration)>,
    due: Alarms<Whose>,
    /// Origins that are to come back.
    origins: BTreeSet<ActorId>,
    /// When the last of them got well.
    well_at: Instant,
}

/// Who has to recover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Stream(ActorId, u64),
    Seat(u32),
}

impl Oracle for Recovery {
    fn kinds(&self) -> Kinds {
        PHASE | TIMELINE | EVENT | STEP | ARRIVED | SAW | PLAYER | TIME
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        if let What::Phase(phase) = &record.what {
            match phase {
                Phase::Safety => {}
                Phase::Calm => self.begin(scene, record.at),
                Phase::Cleanup | Phase::End => self.end(),
            }
        }
        if !self.is_calm || self.waiting.is_empty() && matches!(record.what, What::Arrived { .. }) {
            return;
        }
        if let What::Arrived { conn, .. } = &record.what {
            // One that never left `Streaming` enters it no more.
            let id = scene.conns.get(&(record.actor, *conn)).and_then(|conn| conn.stream);
            let stream = id.and_then(|id| scene.streams.get(&(record.actor, id)));
            if let Some(id) = id
                && stream.is_some_and(|stream| stream.state == PullState::Streaming)
            {
                self.got_well(Whose::Stream(record.actor, id), STREAM_AGAIN, record.at, findings);
            }
        } else if let What::Moment(moment) = &record.what {
            self.on_moment(record.actor, *moment, scene, record.at);
        } else if let What::Lifted { .. } = &record.what {
            // What was in the way until here does not count against anybody.
            self.begin(scene, record.at);
        } else if let What::Event(Event {
            stream, kind: EventKind::PullStepped { event, next, .. }, ..
        }) = &record.what
        {
            // From outside its word has to do for what arrives.
            if let (true, Some(id), PullEventKind::Frame, PullState::Streaming) =
                (scene.is_outside, stream, event, next)
            {
                let whose = Whose::Stream(record.actor, id.0);
                self.got_well(whose, STREAM_AGAIN, record.at, findings);
            }
            if let (Some(id), PullEventKind::Restart) = (stream, event) {
                self.begin_anew(record.actor, id.0, scene, record.at);
            }
        } else if let What::Event(Event { kind: EventKind::PlayerLeft { .. }, .. }) = &record.what {
            self.are_left_alone(record.actor, scene, record.at);
        } else if let What::Event(event) = &record.what {
            let Some(id) = event.stream.map(|stream| stream.0) else { return };
            self.on_event(record, id, &event.kind, scene, findings);
        } else if let What::Saw { seat, saw } = &record.what
            && saw.frames > 0
        {
            self.got_well(Whose::Seat(seat.0), FRAMES_AGAIN, record.at, findings);
        } else if let What::PlayerJoins { seat, .. } | What::PlayerConnected { seat, .. } = &record.what {
            self.expect_seat(seat.0, scene, record.at);
        } else if let What::PlayerLeaves { seat } | What::PlayerLost { seat, .. } = &record.what {
            let is_back =
                scene.players.get(seat.0 as usize).is_some_and(|player| player.redials && !player.is_gone);
            if is_back {
                self.expect_seat(seat.0, scene, record.at);
            } else {
                self.forget_whose(&Whose::Seat(seat.0));
            }
        }
    }

    fn on_time(&mut self, scene: &Scene, now: Instant, findings: &mut Findings) {
        while let Some((_, whose)) = self.due.poll(now) {
            let Some((since, bound)) = self.waiting.remove(&whose) else { continue };
            let took = secs(now.since(since));
            let text = match whose {
                Whose::Stream(proxy, id) => match scene.streams.get(&(proxy, id)) {
                    Some(stream) => self.late_stream(stream, &took, since, bound),
                    None => continue,
                },
                Whose::Seat(seat) => match scene.players.get(seat as usize) {
                    Some(player) if !is_there(player, scene) => continue,
                    Some(player) => format!(
                        "a player of {} by {:?} has seen no frame for {took} since {since}, when its stream's origin served \
                         and nothing was in the way: {} were promised; the proxy thinks the stream is {}",
                        player.stream,
                        player.output,
                        secs(bound),
                        thinks(scene, player.from, &player.stream)
                    ),
                    None => continue,
                },
            };
            findings.broken(NAME, self.actor_of(whose, scene), text);
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.waiting.retain(|whose, _| !matches!(whose, Whose::Stream(of, _) if *of == proxy));
        self.due.retain(|whose| !matches!(whose, Whose::Stream(of, _) if *of == proxy));
    }

    fn is_well(&self, _: &Scene, now: Instant) -> bool {
        self.waiting.is_empty() && self.origins.is_empty() && now >= self.well_at + STABLE
    }
}

impl Recovery {
    /// The calm phase begins, or one more thing is out of the way.
    fn begin(&mut self, scene: &Scene, at: Instant) {
        self.is_calm = true;
        self.well_at = at;
        let is_to_come = |origin: &super::OriginNow| origin.has_served && !origin.serves && !origin.never;
        let to_come = scene.origins.iter().filter(|(_, origin)| is_to_come(origin));
        self.origins = to_come.map(|(actor, _)| *actor).collect();
        for (proxy, id) in scene.streams.keys() {
            self.expect_stream(*proxy, *id, scene, at);
        }
        for seat in 0..scene.players.len() {
            self.expect_seat(u32::try_from(seat).unwrap_or(u32::MAX), scene, at);
        }
    }

    fn end(&mut self) {
        self.is_calm = false;
        self.ended = true;
        self.waiting.clear();
        self.origins.clear();
        self.due = Alarms::default();
    }

    fn on_moment(&mut self, actor: ActorId, moment: Moment, scene: &Scene, at: Instant) {
        match moment {
            Moment::Serving => {
                self.origins.remove(&actor);
                self.begin(scene, at);
            }
            Moment::Silent => self.begin(scene, at),
            Moment::Listening if scene.settings.contains_key(&actor) => self.begin(scene, at),
            Moment::Listening | Moment::Watching => {}
        }
    }

    fn on_event(
        &mut self,
        record: &Record,
        id: u64,
        kind: &EventKind,
        scene: &Scene,
        findings: &mut Findings,
    ) {
        let (proxy, at) = (record.actor, record.at);
        let whose = Whose::Stream(proxy, id);
        if let EventKind::Registered { .. } = kind {
            self.expect_stream(proxy, id, scene, at);
        } else if let EventKind::Unregistered { key, .. } = kind {
            self.forget_whose(&whose);
            self.forget_seats(&name_of(key), proxy, scene);
        } else if let EventKind::PullEntered { state: PullState::Streaming, .. } = kind {
            self.got_well(whose, STREAM_AGAIN, at, findings);
        } else if let EventKind::PullEntered { .. } = kind
            && !self.waiting.contains_key(&whose)
        {
            self.expect_stream(proxy, id, scene, at);
        }
    }

    /// A stream must stream, if somebody serves it.
    fn expect_stream(&mut self, proxy: ActorId, id: u64, scene: &Scene, at: Instant) {
        let whose = Whose::Stream(proxy, id);
        let Some(stream) = scene.streams.get(&(proxy, id)) else { return };
        if stream.state == PullState::Streaming && is_fresh(stream, at) {
            return self.forget_whose(&whose);
        }
        match self.bound_of(proxy, stream, scene) {
            Some(bound) if scene.is_running(proxy) => self.expect(whose, at, bound),
            Some(_) | None => self.forget_whose(&whose),
        }
    }

    /// An operator has a stream begin anew, perhaps elsewhere: what was waited for is not wanted any more.
    fn begin_anew(&mut self, proxy: ActorId, id: u64, scene: &Scene, at: Instant) {
        let Some(stream) = scene.streams.get(&(proxy, id)) else { return };
        let name = name_of(&stream.key);
        self.expect_stream(proxy, id, scene, at);
        for (seat, player) in scene.players.iter().enumerate() {
            if player.from == proxy && player.stream == name {
                self.expect_seat(u32::try_from(seat).unwrap_or(u32::MAX), scene, at);
            }
        }
    }

    /// A player has left. Streams that nobody watches any more may wait longer from here on.
    fn are_left_alone(&mut self, proxy: ActorId, scene: &Scene, at: Instant) {
        let waiting = self.waiting.iter().filter_map(|(whose, (_, bound))| match whose {
            Whose::Stream(of, id) if *of == proxy => Some((*id, *bound)),
            Whose::Stream(..) | Whose::Seat(_) => None,
        });
        for (id, promised) in waiting.collect::<Vec<_>>() {
            let left = scene.streams.get(&(proxy, id)).filter(|stream| stream.unwatched_since == Some(at));
            let bound = left.and_then(|stream| self.bound_of(proxy, stream, scene));
            if bound.is_some_and(|bound| bound > promised) {
                self.expect_stream(proxy, id, scene, at);
            }
        }
    }

    fn bound_of(&self, proxy: ActorId, stream: &StreamNow, scene: &Scene) -> Option<Duration> {
        let (_, origin) = scene.origin_of_url(&stream.url)?;
        if !origin.serves || !origin.is_sound {
            return None;
        }
        let standing = Standing {
            state: stream.state,
            failures: stream.failures,
            ponged: stream.ponged,
            watched: scene.is_watched(proxy, stream),
            redirected: scene.redirects,
        };
        let config = scene.config(proxy);
        Some(bounds::recovery(config, &stream.policy, &scene.circumstances(proxy), &standing))
    }

    /// A player must see frames, if its stream must stream.
    fn expect_seat(&mut self, seat: u32, scene: &Scene, at: Instant) {
        let whose = Whose::Seat(seat);
        let Some(player) = scene.players.get(seat as usize) else { return };
        let stream = key_named(&player.stream).and_then(|key| scene.keys.get(&(player.from, key)));
        let stream = stream.and_then(|id| scene.streams.get(&(player.from, *id)));
        let bound = stream.and_then(|stream| self.bound_of(player.from, stream, scene));
        match bound {
            Some(bound) if is_there(player, scene) && !player.is_gone && scene.is_running(player.from) => {
                // One whose wire was pulled has its kernel's retransmissions to wait for.
                let is_cut_off = scene.host_of(player.actor).is_some_and(|host| scene.pulls_wire_of(host));
                let redial = if player.redials || is_cut_off { REDIAL } else { Duration::ZERO };
                self.expect(whose, at, bound + scene.gop_max + redial);
            }
            Some(_) | None => self.forget_whose(&whose),
        }
    }

    fn expect(&mut self, whose: Whose, at: Instant, bound: Duration) {
        self.waiting.insert(whose, (at, bound));
        self.due.set(whose, at + bound);
    }

    fn got_well(&mut self, whose: Whose, what: &str, at: Instant, findings: &mut Findings) {
        self.due.clear(&whose);
        if let Some((since, bound)) = self.waiting.remove(&whose) {
            findings.measure(what, at.since(since), bound);
            self.well_at = at;
        }
    }

    fn forget_whose(&mut self, whose: &Whose) {
        self.due.clear(whose);
        self.waiting.remove(whose);
    }

    /// A stream that is gone is not seen.
    fn forget_seats(&mut self, name: &str, proxy: ActorId, scene: &Scene) {
        let is_its = |whose: &Whose| match whose {
            Whose::Seat(seat) => scene
                .players
                .get(*seat as usize)
                .is_some_and(|player| player.from == proxy && player.stream == name),
            Whose::Stream(..) => false,
        };
        let gone: Vec<Whose> = self.waiting.keys().filter(|whose| is_its(whose)).copied().collect();
        gone.iter().for_each(|whose| self.forget_whose(whose));
    }

    fn late_stream(&self, stream: &StreamNow, took: &str, since: Instant, bound: Duration) -> String {
        let last = match stream.arrived_at {
            Some(at) => format!("its last frame arrived at {at}"),
            None => "no frame of it has ever arrived".to_owned(),
        };
        format!(
            "{} is {} after {took} since {since}, when its origin served and nothing was in the way: streaming within {} \
             was promised; {last}, {}",
            name_of(&stream.key),
            kebab(&stream.state),
            secs(bound),
            failures_of(stream)
        )
    }

    fn actor_of(&self, whose: Whose, scene: &Scene) -> ActorId {
        match whose {
            Whose::Stream(proxy, _) => proxy,
            Whose::Seat(seat) => {
                scene.players.get(seat as usize).map_or(ActorId::WORLD, |player| player.actor)
            }
        }
    }
}

/// It sits or will dial again. A connection whose other end is gone leads nowhere, whether that was told or not: who has
/// nothing to send learns it never.
fn is_there(player: &PlayerNow, scene: &Scene) -> bool {
    let life = scene.proxies.get(&player.from).map_or(Instant::ZERO, |proxy| proxy.began_at);
    if player.is_connected { player.connected_at >= life && !player.is_let_go } else { player.redials }
}

/// Its frames do arrive.
fn is_fresh(stream: &StreamNow, at: Instant) -> bool {
    stream.arrived_at.is_some_and(|arrived| at.since(arrived) < STABLE)
}

fn thinks(scene: &Scene, proxy: ActorId, name: &str) -> String {
    match scene.stream_named(proxy, name) {
        Some((_, stream)) => kebab(&stream.state),
        None => "not registered".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{Hangup, PlayerEnd};

    use super::*;
    use crate::{
        oracle::story::{ORIGIN, Story},
        trace::{Inward, Saw},
    };

    /// A stream is down when calm begins at 1 s, and is back at a time; its player sees frames again, or never.
    fn check(back_at: Option<u64>, sees: bool, serves: bool) -> (Vec<String>, bool) {
        let mut is_well = false;
        let texts = Story::told::<Recovery>(|story| {
            story.watched();
            if !serves {
                story.record(ORIGIN, What::Moment(Moment::Silent));
            }
            story.loses(1, 2, 1, Instant::from_millis(90));
            story.at(1_000).calm();
            if let Some(at) = back_at {
                story.at(at).dials(1, 4);
                story.streams(1, 4);
                if sees {
                    story.saw(0, Saw { frames: 1, ..Saw::default() });
                }
                is_well = story.oracles().is_well(Instant::from_millis(at + 1_000));
            }
            story.at(170_000).timeout();
        });
        (texts, is_well)
    }

    #[test]
    fn a_stream_that_comes_back_in_time_is_well() {
        assert_eq!(check(Some(3_000), true, true), (Vec::new(), true));
    }

    #[test]
    fn a_stream_that_does_not_come_back_is_found() {
        let (texts, _) = check(None, false, true);
        assert_eq!(texts.len(), 2);
        assert!(texts[0].contains("live/a is backing-off after"), "{texts:?}");
        assert!(texts[0].contains("streaming within 13.550 s was promised"), "{texts:?}");
    }

    /// Who is left alone in calm waits as long as who was alone from the beginning, from then on, and no longer; others coming and
    /// going change nothing.
    #[test]
    fn a_stream_whose_last_player_leaves_may_wait_longer() {
        let check = |leaves: bool| {
            Story::told::<Recovery>(|story| {
                story.watched();
                story.loses(1, 2, 1, Instant::from_millis(90));
                story.at(1_000).calm();
                if leaves {
                    story.at(2_000).leaves(1, 1, PlayerEnd::Left(Hangup::Eof));
                }
                story.at(9_000).leaves_unseated(7, PlayerEnd::Idle);
                story.at(170_000).timeout();
            })
        };
        let promised = |texts: &[String]| {
            let stream = texts.iter().find(|text| text.contains("live/a is")).cloned().unwrap_or_default();
            stream
                .split("streaming within ")
                .nth(1)
                .map(|rest| rest[..rest.find(' ').unwrap_or(0)].to_owned())
        };
        assert_eq!(promised(&check(false)).as_deref(), Some("13.550"));
        assert_eq!(promised(&check(true)).as_deref(), Some("27.700"));
        assert!(check(true).iter().any(|text| text.contains("since 2.000000s")), "{:?}", check(true));
    }

    #[test]
    fn a_player_that_sees_nothing_of_a_stream_that_is_back_is_found() {
        let (texts, is_well) = check(Some(3_000), false, true);
        assert!(!is_well);
        assert_eq!(texts.len(), 1);
        assert!(texts[0].contains("a player of live/a by Rtmp has seen no frame for"), "{texts:?}");
        assert!(texts[0].contains("the proxy thinks the stream is streaming"), "{texts:?}");
    }

    /// A partition that answers breaks the proxy's end, and the player's is never told.
    #[test]
    fn a_player_whose_other_end_is_gone_is_not_waited_for() {
        let check = |is_let_go: bool| {
            Story::told::<Recovery>(|story| {
                story.watched();
                if is_let_go {
                    story.input(Inward::Closed { conn: 1, hangup: Hangup::Reset });
                }
                story.loses(1, 2, 1, Instant::from_millis(90));
                story.at(1_000).calm();
                story.at(3_000).dials(1, 4);
                story.streams(1, 4);
                story.at(170_000).timeout();
            })
        };
        assert_eq!(check(true), [""; 0]);
        assert_eq!(check(false).len(), 1);
    }

    #[test]
    fn nothing_is_promised_while_nobody_serves_and_calm_waits() {
        let (texts, _) = check(None, false, false);
        assert_eq!(texts, [""; 0]);
        let mut is_well = true;
        Story::told::<Recovery>(|story| {
            story.record(ORIGIN, What::Moment(Moment::Silent));
            story.at(1_000).calm();
            is_well = story.oracles().is_well(Instant::from_millis(9_000));
        });
        assert!(!is_well);
    }

    /// An operator's restart, perhaps with another url, begins the wait anew and does not end it.
    #[test]
    fn a_stream_begun_anew_by_an_operator_is_waited_for_from_then_on() {
        let check = |back_at: Option<u64>| {
            Story::told::<Recovery>(|story| {
                story.watched();
                story.loses(1, 2, 1, Instant::from_millis(90));
                story.at(1_000).calm();
                story.at(13_000).step(1, PullState::BackingOff, PullEventKind::Restart, PullState::Queued);
                if let Some(at) = back_at {
                    story.at(at).dials(1, 4);
                    story.streams(1, 4);
                    story.saw(0, Saw { frames: 1, ..Saw::default() });
                }
                story.at(170_000).timeout();
            })
        };
        assert_eq!(check(Some(20_000)), [""; 0]);
        let texts = check(None);
        assert_eq!(texts.len(), 2);
        assert!(texts.iter().all(|text| text.contains("since 13.000000s")), "{texts:?}");
    }

    #[test]
    fn the_clock_begins_when_the_origin_serves() {
        let texts = Story::told::<Recovery>(|story| {
            story.register(1, "live/a");
            story.record(ORIGIN, What::Moment(Moment::Silent));
            story.at(1_000).calm();
            story.at(50_000).record(ORIGIN, What::Moment(Moment::Serving));
            story.at(52_000).dials(1, 2);
            story.streams(1, 2);
            story.at(170_000).timeout();
        });
        assert_eq!(texts, [""; 0]);
    }
}
