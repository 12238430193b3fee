//! How often origins are dialled: token buckets per address and in all, each holding a tenth of a second. Who first: what
//! somebody watches before what nobody does, but for one dial in four. And who without waiting: whoever dials where plays are
//! accepted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use proxy_core::{
    io::{EventKind, PullEventKind, PullState},
    time::{Duration, Instant},
};

use super::{
    Findings, Kinds, OUT, Oracle, STEP, Scene, TIME,
    alarms::Alarms,
    bounds,
    scene::{StreamNow, has_connection, name_of},
    secs,
};
use crate::trace::{ActorId, Outward, Record, What};

pub(super) const NAME: &str = "dial-budget";

/// By how much dials may come closer than their tokens: a lookup that has grown old in the queue is made again between
/// the two.
const LOOKUP: Duration = Duration::from_millis(25);

/// How long a dial may take to begin where the address has no budget.
const AT_ONCE: Duration = Duration::from_millis(500);

/// The buckets of each proxy.
#[derive(Debug, Default)]
pub(super) struct DialBudget {
    proxies: BTreeMap<ActorId, Buckets>,
    /// Where streams wait to dial, in their url, and since when: who begins anew there keeps its place.
    asked: BTreeMap<(ActorId, u64), (SocketAddr, Instant)>,
    /// Streams that wait to dial an address in their url, if that has no budget.
    due: Alarms<(ActorId, u64)>,
}

#[derive(Debug, Default)]
struct Buckets {
    total: Bucket,
    addresses: BTreeMap<SocketAddr, Bucket>,
    /// Where a play was accepted and nothing has failed since: the total alone counts.
    open: BTreeSet<SocketAddr>,
    /// Dials in a row that have passed over who has waited longest.
    passed_over: BTreeMap<SocketAddr, u32>,
    /// The address dialled last: where a name has led whoever was granted that.
    dialled: Option<SocketAddr>,
    /// Since when those of them are open where not one attempt has ended since, whatever the reason.
    serving: BTreeMap<SocketAddr, Instant>,
}

/// Dials that have not been forgotten yet: as many as the bucket lacks, up to a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Tokens missing, in units of time: so long until it is full.
    missing: Duration,
    at: Instant,
}

impl Bucket {
    /// Takes a token at a rate per second; returns whether there was one.
    fn take(&mut self, rate: u32, now: Instant) -> bool {
        let every = Duration::from_secs(1) / rate.max(1);
        let depth = Duration::from_millis(100).max(every);
        self.missing = self.missing.saturating_sub(now.since(self.at)) + every;
        self.at = now;
        self.missing <= depth + LOOKUP
    }
}

impl Oracle for DialBudget {
    fn kinds(&self) -> Kinds {
        OUT | STEP | TIME
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let proxy = record.actor;
        if let What::Out(Outward::Connect { addr, .. }) = &record.what {
            let config = &scene.config(proxy).dial;
            let buckets = self.proxies.entry(proxy).or_default();
            buckets.dialled = Some(*addr);
            if !buckets.total.take(config.total, record.at) {
                findings.broken(NAME, proxy, too_often("all addresses", config.total, buckets.total));
            }
            if !buckets.open.contains(addr) {
                let bucket = buckets.addresses.entry(*addr).or_default();
                if !bucket.take(config.per_address, record.at) {
                    findings.broken(NAME, proxy, too_often(&addr.to_string(), config.per_address, *bucket));
                }
            }
        }
        if let What::Event(event) = &record.what
            && let EventKind::PullStepped { event: PullEventKind::Granted, .. } = &event.kind
            && let Some(id) = event.stream.map(|id| id.0)
            && let Some(stream) = scene.streams.get(&(proxy, id))
            && let buckets = self.proxies.entry(proxy).or_default()
            && let Some(addr) = stream.literal.or(buckets.dialled)
        {
            let count = buckets.passed_over.entry(addr).or_default();
            let since = self.asked.get(&(proxy, id)).map_or(record.at, |(_, since)| *since);
            let waiting = Waiting { proxy, addr, asked: &self.asked, scene };
            // Since when a stream waits whose name led there is not known.
            if stream.literal.is_some()
                && let Some(text) = waiting.jumped(stream, since, *count, record.at)
            {
                findings.broken(NAME, proxy, text);
            }
            let mut others = waiting.all().filter(|(other, _)| other.key != stream.key);
            // Who waits by a name may have waited longer, and may be gone before that is asked.
            let are_named = scene.counts.get(&(proxy, None)).is_some_and(|named| *named > 0);
            *count = if !are_named && others.all(|(_, asked)| asked > since) { 0 } else { *count + 1 };
        }
        if let What::Event(event) = &record.what
            && let EventKind::PullStepped { state, event: stimulus, next } = &event.kind
            && let Some(id) = event.stream.map(|id| id.0)
            && let Some(stream) = scene.streams.get(&(proxy, id))
        {
            let buckets = self.proxies.entry(proxy).or_default();
            if let Some(addr) = stream.addr {
                if *stimulus == PullEventKind::Playing && *next == PullState::AwaitingMedia {
                    buckets.open.insert(addr);
                    if buckets.serving.insert(addr, record.at).is_none() {
                        self.expect_dials(proxy, addr, record.at, scene);
                    }
                } else if is_refusal(*state, *stimulus) {
                    buckets.open.remove(&addr);
                    buckets.serving.remove(&addr);
                } else if has_connection(*state) && !has_connection(*next) {
                    buckets.serving.remove(&addr);
                }
            }
            match stream.literal.filter(|_| *next == PullState::Queued) {
                Some(addr) if self.asked.get(&(proxy, id)).is_some_and(|(at, _)| *at == addr) => {}
                Some(addr) => {
                    self.asked.insert((proxy, id), (addr, record.at));
                }
                None => {
                    self.asked.remove(&(proxy, id));
                }
            }
            if *next != PullState::Queued {
                self.due.clear(&(proxy, id));
            } else if *state != PullState::Queued && stream.literal.is_some() {
                self.due.set((proxy, id), record.at + at_once(proxy, scene));
            }
        }
    }

    fn on_time(&mut self, scene: &Scene, now: Instant, findings: &mut Findings) {
        while let Some((_, (proxy, id))) = self.due.poll(now) {
            let Some(stream) = scene.streams.get(&(proxy, id)) else { continue };
            let serving = self.proxies.get(&proxy).zip(stream.literal);
            // Where none has been accepted there is a budget; who waits there is told when that changes.
            let Some(since) = serving.and_then(|(buckets, addr)| buckets.serving.get(&addr)) else {
                continue;
            };
            let due = scene.due(proxy, stream.entered_at.max(*since)) + at_once(proxy, scene);
            if stream.state != PullState::Queued || scene.redirects {
                continue;
            } else if !scene.is_running(proxy) || due >= now {
                self.due.set((proxy, id), due.max(now));
                continue;
            }
            let text = format!(
                "{} has waited to dial since {}, where plays have been accepted since {since} and none has ended: a dial within \
                 {} was promised",
                name_of(&stream.key),
                stream.entered_at,
                secs(at_once(proxy, scene))
            );
            findings.broken(NAME, proxy, text);
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.proxies.remove(&proxy);
        self.asked.retain(|(of, _), _| *of != proxy);
        self.due.retain(|(of, _)| *of != proxy);
    }
}

impl DialBudget {
    /// An address has no budget from here on: who waits for one there has no reason to.
    fn expect_dials(&mut self, proxy: ActorId, addr: SocketAddr, now: Instant, scene: &Scene) {
        for ((_, id), stream) in scene.streams.range((proxy, 0)..=(proxy, u64::MAX)) {
            if stream.state == PullState::Queued && stream.literal == Some(addr) {
                self.due.set((proxy, *id), now + at_once(proxy, scene));
            }
        }
    }
}

/// Returns how long a dial may take to begin that waits for the total budget alone.
fn at_once(proxy: ActorId, scene: &Scene) -> Duration {
    let total = scene.config(proxy).dial.total.max(1);
    Duration::from_secs(1) * (scene.rivals(proxy, None) + 1) / total + AT_ONCE
}

/// Who waits to dial an address in their url, and since when.
struct Waiting<'s> {
    proxy: ActorId,
    addr: SocketAddr,
    asked: &'s BTreeMap<(ActorId, u64), (SocketAddr, Instant)>,
    scene: &'s Scene,
}

impl<'s> Waiting<'s> {
    fn all(&self) -> impl Iterator<Item = (&'s StreamNow, Instant)> {
        let (proxy, addr, scene) = (self.proxy, self.addr, self.scene);
        let mine = self.asked.range((proxy, 0)..=(proxy, u64::MAX)).filter(move |(_, (at, _))| *at == addr);
        mine.filter_map(move |(whose, (_, since))| Some((scene.streams.get(whose)?, *since)))
    }

    /// Tells of a stream that somebody watches and that has to wait while one that nobody watches dials the same address, unless
    /// that has waited longer and so many dials have passed it over. Names may have to be looked up again first, and who has
    /// an operator waiting goes before all: such are not compared.
    fn jumped(&self, granted: &StreamNow, since: Instant, passed_over: u32, now: Instant) -> Option<String> {
        let (proxy, scene) = (self.proxy, self.scene);
        let is_asked = scene.requests.keys().any(|(of, _)| *of == proxy);
        if scene.is_watched(proxy, granted) || is_asked || scene.redirects || scene.is_outside {
            return None;
        }
        let is_watched = |(stream, since): &(&StreamNow, Instant)| {
            *since < now && scene.watched_since(proxy, stream).is_some_and(|since| since < now)
        };
        let (longest, longest_since) = self.all().filter(is_watched).min_by_key(|(_, since)| *since)?;
        // Of those who wait by a name it is not known where, nor who of them was passed over.
        let is_named = scene.counts.get(&(proxy, None)).is_some_and(|named| *named > 0);
        if (is_named || passed_over >= bounds::PASSED_OVER) && since <= longest_since {
            return None;
        }
        let (waiting, dials) = (name_of(&longest.key), name_of(&granted.key));
        Some(format!(
            "{waiting} is watched and waits to dial {} since {longest_since}, and {dials}, which nobody watches and which waits \
             since {since}, dials: the watched first was promised, but for who has waited longest and was passed over {} \
             times, not {passed_over}",
            self.addr,
            bounds::PASSED_OVER
        ))
    }
}

/// A dial or a request failed.
fn is_refusal(state: PullState, stimulus: PullEventKind) -> bool {
    use PullEventKind as E;
    use PullState as S;

    let ends = matches!(stimulus, E::Closed | E::ProtocolFailed);
    match state {
        S::Connecting => ends || matches!(stimulus, E::ConnectFailed | E::Deadline),
        S::Handshaking => ends || stimulus == E::Deadline,
        S::Requesting => ends || stimulus == E::Refused,
        S::AwaitingMedia => stimulus == E::Refused,
        S::Resolving | S::Queued | S::Streaming | S::Replaying | S::BackingOff | S::Stopped => false,
    }
}

fn too_often(whom: &str, rate: u32, bucket: Bucket) -> String {
    format!(
        "a dial too many to {whom}: the dials so far are worth {} at {rate} per second, a tenth of a second was promised \
         at most",
        secs(bucket.missing)
    )
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{PlayOutput, PullState as S};

    use super::*;
    use crate::oracle::{
        scene::key_named,
        story::{Story, dial},
    };

    /// So many dials, so many ms apart; to an address that has accepted a play, or not.
    fn check(dials: u64, every_ms: u64, is_open: bool) -> usize {
        let texts = Story::told::<DialBudget>(|story| {
            story.register(1, "live/a");
            if is_open {
                story.dials(1, 2);
                story.streams(1, 2);
                story.at(1000);
            }
            for n in 0..dials {
                story.at(1000 + n * every_ms).out(dial::connect(4 + 2 * n));
            }
        });
        texts.len()
    }

    #[test]
    fn dials_within_the_budget_are_fine() {
        assert_eq!(check(2, 0, false), 0);
        assert_eq!(check(40, 50, false), 0);
        assert_eq!(check(20, 0, true), 0);
        assert_eq!(check(100, 5, true), 0);
    }

    #[test]
    fn dials_beyond_it_are_found() {
        assert_eq!(check(3, 0, false), 1);
        assert!(check(100, 49, false) > 0);
        assert_eq!(check(26, 0, true), 1);
        assert!(check(200, 4, true) > 0);
    }

    #[test]
    fn who_is_watched_dials_first() {
        let check = |watched: bool, granted: u64| {
            let texts = Story::told::<DialBudget>(|story| {
                for (stream, name) in [(1, "live/a"), (2, "live/b")] {
                    let url = format!("rtmp://198.18.0.2/{name}");
                    story.asks("addStreamProxy", Some(name), &[("url", &url)], true);
                    story.event(stream, EventKind::Registered { key: key_named(name).expect("a name") });
                    story.replies();
                    story.step(stream, S::Resolving, PullEventKind::Resolved, S::Queued);
                }
                if watched {
                    story.player(0, PlayOutput::Rtmp, "live/b", 9);
                    story.parks(Some(2), "live/b", 9);
                }
                story.at(500).step(granted, S::Queued, PullEventKind::Granted, S::Connecting);
            });
            texts.join("\n")
        };
        assert_eq!([check(false, 1), check(true, 2)], ["", ""]);
        assert!(check(true, 1).contains("live/b is watched and waits to dial"));
    }

    /// Stream 1, which nobody watches, asks at 100 ms and dials after stream 2, which is watched, has dialled so often. Stream 3,
    /// watched too, has another host; or it has waited even longer.
    #[test]
    fn one_dial_in_four_is_for_who_has_waited_longest() {
        let check = |passed_over: u64, host: &str, third_waits: bool| {
            let texts = Story::told::<DialBudget>(|story| {
                for (stream, name, seat) in
                    [(1, "live/a", None), (2, "live/b", Some(0)), (3, "live/c", Some(1))]
                {
                    let host = if stream == 3 { host } else { "198.18.0.2" };
                    let url = format!("rtmp://{host}/{name}");
                    story.asks("addStreamProxy", Some(name), &[("url", &url)], true);
                    story.event(stream, EventKind::Registered { key: key_named(name).expect("a name") });
                    story.replies();
                    if let Some(seat) = seat {
                        story.player(seat, PlayOutput::Rtmp, name, 2 * stream + 1);
                        story.parks(Some(stream), name, 2 * stream + 1);
                    }
                }
                if third_waits {
                    story.at(50).step(3, S::Resolving, PullEventKind::Resolved, S::Queued);
                }
                story.at(100).step(1, S::Resolving, PullEventKind::Resolved, S::Queued);
                for n in 0..passed_over {
                    story.at(200 + n * 100).step(2, S::Resolving, PullEventKind::Resolved, S::Queued);
                    story.step(2, S::Queued, PullEventKind::Granted, S::Connecting);
                }
                story.at(800).step(2, S::Connecting, PullEventKind::ConnectFailed, S::Queued);
                story.at(900).step(1, S::Queued, PullEventKind::Granted, S::Connecting);
            });
            texts.join("\n")
        };
        assert_eq!(check(3, "198.18.0.5", false), "");
        assert!(check(2, "198.18.0.5", false).contains("passed over 3 times, not 2"));
        assert!(
            check(3, "198.18.0.2", true)
                .contains("live/c is watched and waits to dial 198.18.0.2:1935 since 0.05")
        );
        assert_eq!(check(2, "srs", false), "", "another may have been passed over, whose name leads there");
    }

    /// Of the three dials that passed stream 1 over one was by a name that led there, and that stream is gone.
    #[test]
    fn who_passed_it_over_may_have_come_by_a_name() {
        let check = |dialled: Option<u64>| {
            let texts = Story::told::<DialBudget>(|story| {
                for (stream, name, host) in
                    [(1, "live/a", "198.18.0.2"), (2, "live/b", "198.18.0.2"), (3, "live/c", "srs")]
                {
                    let url = format!("rtmp://{host}/{name}");
                    story.asks("addStreamProxy", Some(name), &[("url", &url)], true);
                    story.event(stream, EventKind::Registered { key: key_named(name).expect("a name") });
                    story.replies();
                }
                story.player(0, PlayOutput::Rtmp, "live/b", 5);
                story.parks(Some(2), "live/b", 5);
                story.at(100).step(1, S::Resolving, PullEventKind::Resolved, S::Queued);
                for n in 0..2 {
                    story.at(200 + n * 100).step(2, S::Resolving, PullEventKind::Resolved, S::Queued);
                    story.step(2, S::Queued, PullEventKind::Granted, S::Connecting);
                }
                story.at(600).step(2, S::Connecting, PullEventKind::ConnectFailed, S::Queued);
                if let Some(conn) = dialled {
                    story.at(700).step(3, S::Resolving, PullEventKind::Resolved, S::Queued);
                    story.out(dial::connect(conn));
                    story.step(3, S::Queued, PullEventKind::Granted, S::Connecting);
                }
                story.removes(3, "live/c", proxy_core::io::StreamEnd::Deleted);
                story.at(900).step(1, S::Queued, PullEventKind::Granted, S::Connecting);
            });
            texts.join("\n")
        };
        assert!(check(None).contains("passed over 3 times, not 2"));
        assert_eq!(check(Some(8)), "", "nor did stream 3, which nobody watches, go before stream 2");
    }

    #[test]
    fn where_plays_are_accepted_nobody_waits() {
        let check = |host: &str, ends: bool, granted_at: Option<u64>| {
            let texts = Story::told::<DialBudget>(|story| {
                for (stream, name) in [(1, "live/a"), (2, "live/b")] {
                    let url = format!("rtmp://{host}/{name}");
                    story.asks("addStreamProxy", Some(name), &[("url", &url)], true);
                    story.event(stream, EventKind::Registered { key: key_named(name).expect("a name") });
                    story.replies();
                }
                story.dials(1, 2);
                story.timeout();
                story.step(2, S::BackingOff, PullEventKind::Wake, S::Queued);
                story.at(2_000).streams(1, 2);
                if ends {
                    story.step(1, S::Streaming, PullEventKind::Closed, S::Replaying);
                    story.step(1, S::Replaying, PullEventKind::Closed, S::Queued);
                }
                if let Some(at) = granted_at {
                    story.at(at).step(2, S::Queued, PullEventKind::Granted, S::Connecting);
                }
                story.at(9_000).timeout();
            });
            texts.join("\n")
        };
        assert_eq!(check("198.18.0.2", false, Some(2_400)), "");
        assert_eq!(check("198.18.0.2", true, None), "", "an attempt there has ended");
        assert_eq!(check("198.18.0.5", false, None), "", "another address");
        assert_eq!(check("srs", false, None), "", "a name may lead anywhere");
        let text = check("198.18.0.2", false, None);
        assert!(text.contains("live/b has waited to dial since 0.000000s, where plays have been"), "{text}");
    }

    #[test]
    fn a_refusal_closes_the_address() {
        let texts = Story::told::<DialBudget>(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            story.at(500).step(1, S::Handshaking, PullEventKind::Deadline, S::BackingOff);
            (0..3).for_each(|n| story.at(1000).out(dial::connect(4 + 2 * n)));
        });
        assert_eq!(texts.len(), 1);
        assert!(texts[0].contains("worth 0.150 s at 20 per second"), "{texts:?}");
    }
}
