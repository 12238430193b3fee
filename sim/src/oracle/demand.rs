//! A pull runs exactly while it is wanted (I14).

use std::{collections::BTreeMap, net::SocketAddr};

use proxy_core::{
    io::{EventKind, PullState, StreamEnd},
    time::{Duration, Instant},
};

use super::{
    EVENT, Findings, IN, Kinds, Oracle, STEP, Scene, TIME,
    alarms::Alarms,
    bounds,
    scene::{StreamNow, literal, name_of},
    secs,
};
use crate::trace::{ActorId, Inward, Record, What};

pub(super) const NAME: &str = "demand";

/// Sees that pulls are wanted, and that wanted pulls do something.
#[derive(Debug, Default)]
pub(super) struct Demand {
    due: Alarms<(ActorId, u64, Due)>,
    /// Upstream connections by stream, to find those that outlive it.
    conns: BTreeMap<(ActorId, u64), u64>,
    /// Since when nobody watches, of streams of which it has been told.
    told: BTreeMap<(ActorId, u64), Instant>,
    /// By the address asked for, as far as it is known: until when those may have every token for whom an operator has
    /// asked. Who waits for an answer goes first, also if nothing is left of the stream by now.
    asked: BTreeMap<(ActorId, Option<SocketAddr>), Instant>,
    /// Streams that were removed while others waited for a dial: they may have dialled before them.
    removed: BTreeMap<ActorId, Vec<Removed>>,
}

/// A stream that is gone.
#[derive(Clone, Copy, Debug)]
struct Removed {
    at: Instant,
    /// The address in its url.
    literal: Option<SocketAddr>,
    /// Since when nobody had watched it.
    unwatched_since: Option<Instant>,
}

/// What must have come of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The attempt its wait is for.
    Attempt,
    /// A dial token.
    Token,
    /// That nobody watches must be told, or the stream be gone.
    NoneReader,
}

impl Oracle for Demand {
    fn kinds(&self) -> Kinds {
        EVENT | STEP | IN | TIME
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let proxy = record.actor;
        if let What::In(inward) = &record.what {
            if let Inward::Request { id } = inward {
                let addr = addr_of_request(proxy, *id, scene);
                // The stream that is asked for is not registered yet.
                let until = record.at + token_within(proxy, addr, scene, 1, false);
                let asked = self.asked.entry((proxy, addr)).or_insert(until);
                *asked = until.max(*asked);
            }
            for (_, conn) in scene.unassigned().iter().filter(|(of, _)| *of == proxy) {
                let text = format!("connection {conn} was dialled for no stream that is registered");
                findings.broken(NAME, proxy, text);
            }
            return;
        }
        let What::Event(event) = &record.what else { return };
        if let EventKind::PlayerParked { key, .. } = &event.kind
            && let Some(id) = scene.keys.get(&(proxy, key.clone()))
        {
            self.look_at_watchers(proxy, *id, scene);
        }
        let Some(id) = event.stream.map(|stream| stream.0) else { return };
        if let EventKind::Unregistered { key, reason } = &event.kind {
            self.told.remove(&(proxy, id));
            self.note_removed(proxy, record.at, scene);
            for due in [Due::Attempt, Due::Token, Due::NoneReader] {
                self.due.clear(&(proxy, id, due));
            }
            if let Some(conn) = self.conns.remove(&(proxy, id))
                && scene.conns.get(&(proxy, conn)).is_some_and(|conn| !conn.is_closing)
            {
                let text = format!("{} was removed and its connection {conn} goes on", name_of(key));
                findings.broken(NAME, proxy, text);
            }
            debug_assert_ne!(*reason, StreamEnd::Shutdown, "a proxy that ends is not followed");
            return;
        }
        let Some(stream) = scene.streams.get(&(proxy, id)) else { return };
        if let Some(conn) = stream.upstream {
            self.conns.insert((proxy, id), conn);
        }
        if let EventKind::PullStepped { next, .. } = &event.kind {
            let wait = (*next == PullState::BackingOff).then_some(stream.next_attempt).flatten();
            self.expect(proxy, id, Due::Attempt, wait);
            if *next == PullState::Queued {
                if stream.state != PullState::Queued {
                    let within = token_within(proxy, stream.literal, scene, 0, false);
                    self.expect(proxy, id, Due::Token, Some(record.at + within));
                }
            } else {
                self.due.clear(&(proxy, id, Due::Token));
            }
            return;
        }
        if let EventKind::PullEntered { state: PullState::BackingOff, next_attempt, .. } = &event.kind {
            self.expect(proxy, id, Due::Attempt, *next_attempt);
        }
        if let EventKind::NoneReader = &event.kind {
            self.judge_none_reader(record, id, scene, findings);
        } else if !matches!(event.kind, EventKind::PullEntered { .. }) {
            self.look_at_watchers(proxy, id, scene);
        }
    }

    fn on_time(&mut self, scene: &Scene, now: Instant, findings: &mut Findings) {
        while let Some((at, (proxy, id, what))) = self.due.poll(now) {
            let Some(stream) = scene.streams.get(&(proxy, id)) else { continue };
            let due = match what {
                // Whoever slept goes by the same queue as everybody when it wakes, who is watched by the queue of those, whose
                // name leads elsewhere by the queue there, and all behind operators, and behind those whose names are not
                // answered. Who is not watched has a share in what others are watched for.
                Due::Token => {
                    let awake = scene.due(proxy, Instant::ZERO);
                    let watched = scene.watched_since(proxy, stream).unwrap_or(awake);
                    let asked = self.asked_until(proxy, stream.literal).unwrap_or(awake);
                    let named = scene
                        .names_were_slow(now)
                        .map_or(awake, |slow| slow + scene.config(proxy).pull.resolve_timeout);
                    let moved = scene.names_are_old_until(proxy).filter(|_| stream.literal.is_none());
                    let turn =
                        awake.max(watched).max(named).max(moved.unwrap_or(awake)).max(stream.entered_at);
                    let (gone, was_watched) = self.removed_since(proxy, stream, scene);
                    let is_passed_over = !scene.is_watched(proxy, stream)
                        && (was_watched || is_passed_over(proxy, stream, scene));
                    let within = token_within(proxy, stream.literal, scene, gone, is_passed_over);
                    scene.due(proxy, at).max(turn + within).max(asked)
                }
                Due::Attempt | Due::NoneReader => scene.due(proxy, at),
            };
            if !scene.is_running(proxy) || due >= now {
                self.due.set((proxy, id, what), due.max(now));
                continue;
            }
            let name = name_of(&stream.key);
            let text = match what {
                Due::Attempt if stream.state == PullState::BackingOff => {
                    format!(
                        "{name} waits for an attempt at {at}, which has not begun: a wanted stream has one or a timer"
                    )
                }
                Due::Token if stream.state == PullState::Queued => format!(
                    "{name} has waited for a dial token since {}: one was promised by {at}, behind {} streams that may dial \
                     the same address",
                    stream.entered_at,
                    scene.rivals(proxy, stream.literal)
                ),
                Due::Attempt | Due::Token => continue,
                Due::NoneReader => match stream.unwatched_since {
                    Some(since) => format!(
                        "nobody has watched {name} since {since}, and after {} that is not told, auto_close is {}",
                        secs(scene.config(proxy).play.none_reader_delay),
                        stream.policy.auto_close
                    ),
                    None => continue,
                },
            };
            findings.broken(NAME, proxy, text);
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.due.retain(|(of, _, _)| *of != proxy);
        self.conns.retain(|(of, _), _| *of != proxy);
        self.told.retain(|(of, _), _| *of != proxy);
        self.asked.retain(|(of, _), _| *of != proxy);
        self.removed.remove(&proxy);
    }
}

impl Demand {
    fn note_removed(&mut self, proxy: ActorId, at: Instant, scene: &Scene) {
        let all = scene.streams.range((proxy, 0)..=(proxy, u64::MAX));
        let waiting = all.filter(|(_, stream)| stream.state == PullState::Queued);
        let removed = self.removed.entry(proxy).or_default();
        match waiting.map(|(_, stream)| stream.entered_at).min() {
            Some(since) => {
                removed.retain(|gone| gone.at >= since);
                let gone = scene.removed.as_ref();
                removed.extend(gone.map(|gone| Removed {
                    at,
                    literal: gone.literal,
                    unwatched_since: gone.unwatched_since,
                }));
            }
            None => removed.clear(),
        }
    }

    /// Returns how many streams that might have dialled the same address have been removed while one has waited, and whether
    /// any of them was watched in that time.
    fn removed_since(&self, proxy: ActorId, stream: &StreamNow, scene: &Scene) -> (u32, bool) {
        let may_have_dialled = |gone: &&Removed| {
            gone.at >= stream.entered_at && (scene.redirects || may_be_one(gone.literal, stream.literal))
        };
        let was_watched = |gone: &Removed| gone.unwatched_since.is_none_or(|since| since > stream.entered_at);
        let removed: Vec<Removed> =
            self.removed.get(&proxy).into_iter().flatten().filter(may_have_dialled).copied().collect();
        (u32::try_from(removed.len()).unwrap_or(u32::MAX), removed.iter().any(was_watched))
    }

    /// Returns until when operators may go first who have asked for an address, or for one that is not known.
    fn asked_until(&self, proxy: ActorId, addr: Option<SocketAddr>) -> Option<Instant> {
        let mine = self.asked.range((proxy, None)..).take_while(|((of, _), _)| *of == proxy);
        mine.filter(|((_, asked), _)| may_be_one(*asked, addr)).map(|(_, until)| *until).max()
    }

    fn expect(&mut self, proxy: ActorId, id: u64, due: Due, at: Option<Instant>) {
        match at {
            Some(at) => self.due.set((proxy, id, due), at),
            None => {
                self.due.clear(&(proxy, id, due));
            }
        }
    }

    /// Somebody came, went, or nobody ever was.
    fn look_at_watchers(&mut self, proxy: ActorId, id: u64, scene: &Scene) {
        let Some(stream) = scene.streams.get(&(proxy, id)) else { return };
        let delay = scene.config(proxy).play.none_reader_delay;
        let told = self.told.get(&(proxy, id));
        let untold = stream.unwatched_since.filter(|since| told != Some(since));
        self.expect(proxy, id, Due::NoneReader, untold.map(|since| since + delay));
    }

    fn judge_none_reader(&mut self, record: &Record, id: u64, scene: &Scene, findings: &mut Findings) {
        let proxy = record.actor;
        self.due.clear(&(proxy, id, Due::NoneReader));
        let Some(stream) = scene.streams.get(&(proxy, id)) else { return };
        let delay = scene.config(proxy).play.none_reader_delay;
        let since = stream.unwatched_since;
        let is_news = since != self.told.get(&(proxy, id)).copied();
        self.told.extend(since.map(|since| ((proxy, id), since)));
        if !is_news {
            let text =
                format!("that nobody watches {} was told twice: once was promised", name_of(&stream.key));
            findings.broken(NAME, proxy, text);
        }
        let is_true = since.is_some_and(|since| since + delay <= record.at);
        if !is_true {
            let watched = match since {
                Some(since) => format!("nobody has watched it for {}", secs(record.at.since(since))),
                None => format!(
                    "{} players watch it and {} wait",
                    stream.seats.len(),
                    waiting(scene, proxy, &stream.key)
                ),
            };
            let text = format!(
                "that nobody watches {} was told, and {watched}: {} without anybody were promised",
                name_of(&stream.key),
                secs(delay)
            );
            findings.broken(NAME, proxy, text);
        }
    }
}

fn waiting(scene: &Scene, proxy: ActorId, key: &proxy_core::url::StreamKey) -> usize {
    scene.parked.get(&(proxy, key.clone())).map_or(0, std::collections::BTreeSet::len)
}

/// Returns whether others that may dial the same address are watched, or were while a stream has waited.
fn is_passed_over(proxy: ActorId, stream: &StreamNow, scene: &Scene) -> bool {
    let all = scene.streams.range((proxy, 0)..=(proxy, u64::MAX));
    let mut others = all
        .filter(|(_, other)| other.key != stream.key)
        .filter(|(_, other)| scene.redirects || may_be_one(other.literal, stream.literal));
    let was_watched = |other: &StreamNow| {
        scene.is_watched(proxy, other) || other.unwatched_since.is_some_and(|since| since > stream.entered_at)
    };
    others.any(|(_, other)| was_watched(other))
}

/// Returns how long the last of a proxy's streams that may dial an address, and of so many more, may wait for a token: one
/// of them may go to somebody else while its name is looked up again. Those who dial others take from the total alone.
fn token_within(
    proxy: ActorId,
    addr: Option<SocketAddr>,
    scene: &Scene,
    more: u32,
    is_passed_over: bool,
) -> Duration {
    let dial = &scene.config(proxy).dial;
    let addr = addr.filter(|_| !scene.redirects);
    let (rivals, all) = (scene.rivals(proxy, addr), scene.rivals(proxy, None));
    let others = Duration::from_secs(1) * (all - rivals) / dial.total.max(1);
    bounds::queue(dial, rivals + more + 1, is_passed_over) + others + bounds::SLACK
}

/// Returns whether two may be the same address: one that a name leads to is not known.
fn may_be_one(one: Option<SocketAddr>, other: Option<SocketAddr>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// Returns the address that a request leads to, if that needs no lookup: its url's, or that of the stream it is about.
fn addr_of_request(proxy: ActorId, id: u64, scene: &Scene) -> Option<SocketAddr> {
    let call = &scene.calls.get(&scene.requests.get(&(proxy, id))?.call?)?.call;
    match call.args.iter().find(|(name, _)| name == "url") {
        Some((_, url)) => literal(url),
        None => scene.streams.get(&(proxy, *scene.keys.get(&(proxy, scene.key_of_call(call)?))?))?.literal,
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{Hangup, PlayOutput, PlayerEnd, PullEventKind as E, PullState as S};

    use super::*;
    use crate::{
        oracle::story::{ORIGIN_HOST, Story, dial, expecting, fault},
        scenario::model::{DnsAnswer, Fault},
    };

    fn check(tell: impl FnOnce(&mut Story)) -> Vec<String> {
        Story::told::<Demand>(tell)
    }

    #[test]
    fn an_attempt_that_begins_in_time_is_fine() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.fails_until(1, 1, Instant::from_millis(100));
            story.at(100).dials(1, 4);
            story.at(900).timeout();
        });
        assert_eq!(texts, [""; 0]);
    }

    #[test]
    fn an_attempt_that_never_begins_is_found() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.fails_until(1, 1, Instant::from_millis(100));
            story.at(101).timeout();
        });
        assert!(texts[0].contains("waits for an attempt at 0.100000s, which has not begun"), "{texts:?}");
    }

    #[test]
    fn a_token_that_never_comes_is_found() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.step(1, S::BackingOff, E::Wake, S::Queued);
            story.at(1_700).timeout();
        });
        assert!(texts[0].contains("has waited for a dial token since 0.000000s"), "{texts:?}");
    }

    /// Of two tokens at 20 a second the second would be nobody else's; three more may be others' for each.
    #[test]
    fn whom_nobody_watches_is_passed_over_three_times_and_no_more() {
        let check = |other_is_watched: bool, until: u64| {
            check(|story| {
                story.register(1, "live/a");
                story.register(2, "live/b");
                story.step(1, S::BackingOff, E::Wake, S::Queued);
                if other_is_watched {
                    story.player(0, PlayOutput::Rtmp, "live/b", 9);
                    story.parks(Some(2), "live/b", 9);
                }
                story.at(until).timeout();
            })
        };
        assert_eq!([check(false, 1_650).len(), check(false, 1_651).len()], [0, 1]);
        assert_eq!([check(true, 2_100).len(), check(true, 2_101).len()], [0, 1]);
    }

    /// Of three dials at 20 a second, one of them that of a stream that is gone by now, three each may have passed it over if that
    /// was watched.
    #[test]
    fn who_passed_it_over_may_be_gone() {
        let check = |watched: bool, until: u64| {
            check(|story| {
                story.register(1, "live/a");
                story.register(2, "live/b");
                story.step(1, S::BackingOff, E::Wake, S::Queued);
                if watched {
                    story.player(0, PlayOutput::Rtmp, "live/b", 9);
                    story.seats(2, 9);
                    story.at(100).leaves(2, 9, PlayerEnd::Left(Hangup::Eof));
                }
                story.at(100).removes(2, "live/b", StreamEnd::Deleted);
                story.at(until).timeout();
            })
        };
        assert_eq!([check(true, 2_100).len(), check(true, 2_101).len()], [0, 1]);
        assert_eq!([check(false, 1_650).len(), check(false, 1_651).len()], [0, 1]);
    }

    /// An answer that is still good leads to the old address, and the turn taken there is lost.
    #[test]
    fn a_name_that_moves_costs_the_place_in_the_queue() {
        let answer = DnsAnswer::Addresses(vec![[198, 18, 0, 5].into()]);
        let moves = fault(9, ORIGIN_HOST, Fault::Dns { name: "srs".to_owned(), answer });
        let scenario = expecting(vec![moves], Vec::new());
        let check = |moved: bool, until: u64| {
            Story::told_to(&scenario, Box::<Demand>::default(), |story| {
                story.register(1, "live/a");
                story.step(1, S::BackingOff, E::Wake, S::Queued);
                if moved {
                    story.at(1_000).begins(0);
                }
                story.at(until).timeout();
            })
        };
        assert_eq!(check(false, 3_000).len(), 1);
        assert_eq!(check(true, 3_000), [""; 0]);
        assert_eq!(check(true, 10_000).len(), 1);
    }

    #[test]
    fn a_connection_that_outlives_its_stream_is_found() {
        let ends = |output: Option<_>| {
            check(|story| {
                story.register(1, "live/a");
                story.dials(1, 2);
                story.streams(1, 2);
                output.into_iter().for_each(|output| story.out(output));
                story.step(1, S::Streaming, E::Stop, S::Stopped);
                story.removes(1, "live/a", StreamEnd::Deleted);
                story.timeout();
            })
        };
        assert_eq!(ends(Some(dial::close(2))), [""; 0]);
        assert_eq!(ends(Some(dial::abort(2))), [""; 0]);
        assert_eq!(ends(None), ["demand: live/a was removed and its connection 2 goes on"]);
    }

    #[test]
    fn a_dial_for_nobody_is_found() {
        let texts = check(|story| {
            story.out(dial::connect(2));
            story.timeout();
        });
        assert_eq!(texts, ["demand: connection 2 was dialled for no stream that is registered"]);
    }

    /// A player watches from 1 s to 2 s; then it is told at a time, or never.
    fn none_reader(told: Option<u64>) -> Vec<String> {
        check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            story.at(1_000).player(0, PlayOutput::Rtmp, "live/a", 1);
            story.seats(1, 1);
            story.at(2_000).leaves(1, 1, PlayerEnd::Left(Hangup::Eof));
            if let Some(told) = told {
                story.at(told).event(1, EventKind::NoneReader);
            }
            story.at(30_000).timeout();
        })
    }

    #[test]
    fn that_nobody_watches_is_told_once() {
        let check = |twice: bool| {
            check(|story| {
                story.register(1, "live/a");
                story.dials(1, 2);
                story.streams(1, 2);
                story.at(20_000).event(1, EventKind::NoneReader);
                story.at(21_000).event(1, EventKind::Rebuilt);
                if twice {
                    story.event(1, EventKind::NoneReader);
                }
                story.at(50_000).timeout();
            })
        };
        assert_eq!(check(false), [""; 0]);
        assert_eq!(check(true), ["demand: that nobody watches live/a was told twice: once was promised"]);
    }

    #[test]
    fn that_nobody_watches_is_told_exactly_when_it_is_so() {
        assert_eq!(none_reader(Some(22_000)), [""; 0]);
        assert!(
            none_reader(Some(21_999))[0].contains("nobody has watched it for 19.999 s: 20.000 s without")
        );
        assert!(none_reader(Some(1_500)).len() == 1);
        assert!(none_reader(None)[0].contains("since 2.000000s, and after 20.000 s that is not told"));
    }
}
