//! Attempts begin by the law and not otherwise (I6): both laws written down once more, from their text.
//!
//! ```text
//!  failure n ──► wait by the law (bounds::backoff) ──► attempt
//!                  └── sooner only if: an operator asks, an address serves again (law repull), somebody comes to watch
//! ```
//! An origin that hangs up on our own end of a play, as ZLMediaKit does, has not failed.

use std::{collections::BTreeMap, net::SocketAddr};

use proxy_core::{
    io::{BackoffLaw, EventKind, PullEventKind, PullFailure, PullState, StreamEnd},
    time::Instant,
};

use super::{
    EVENT, Findings, IN, Kinds, Oracle, STEP, Scene, StreamNow, bounds,
    scene::{begins_attempt, name_of},
};
use crate::trace::{ActorId, Record, What};

pub(super) const NAME: &str = "retry-law";

/// Counts failures and waits on its own.
#[derive(Debug, Default)]
pub(super) struct RetryLaw {
    streams: BTreeMap<(ActorId, u64), Count>,
    /// Waits that ended because of a sibling, they say: the accepted play is told after it.
    woken: Vec<Woken>,
}

#[derive(Debug, Default)]
struct Count {
    /// Consecutive failures at an url: another one has none.
    failures: u32,
    url: String,
    /// What was asked for leads to the proxy itself: what was before is asked for again, which has none either.
    is_own: bool,
    /// When the present stretch of media began, and by what law.
    streaming_since: Option<(Instant, BackoffLaw)>,
    /// When the next attempt is due.
    next: Option<Instant>,
    /// The play was ended by us, to ask for it anew, after media that forgives.
    is_ended_by_us: bool,
}

#[derive(Debug)]
struct Woken {
    proxy: ActorId,
    stream: u64,
    addr: Option<SocketAddr>,
    next: Instant,
    law: BackoffLaw,
}

impl Oracle for RetryLaw {
    fn kinds(&self) -> Kinds {
        EVENT | STEP | IN
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let proxy = record.actor;
        if let What::In(_) = &record.what {
            self.judge_woken(scene, findings);
        }
        let What::Event(event) = &record.what else { return };
        let Some(id) = event.stream.map(|stream| stream.0) else { return };
        if let EventKind::Unregistered { reason, .. } = &event.kind {
            let count = self.streams.remove(&(proxy, id)).unwrap_or_default();
            self.woken.retain(|woken| (woken.proxy, woken.stream) != (proxy, id));
            if *reason == StreamEnd::RetriesUsedUp && count.next.is_some() {
                findings.broken(NAME, proxy, format!("stream {id} gave up while a retry was pending"));
            }
            return;
        }
        let Some(stream) = scene.streams.get(&(proxy, id)) else { return };
        let count = self.streams.entry((proxy, id)).or_default();
        if let EventKind::PullStepped { state, event: stimulus, next } = &event.kind {
            let step = (*state, *stimulus, *next);
            if let Some(text) = count.on_step(step, stream, scene, record) {
                findings.broken(NAME, proxy, format!("{}: {text}", name_of(&stream.key)));
            }
            if *stimulus == PullEventKind::Playing && *next == PullState::AwaitingMedia {
                // The address serves again: who waited for it may try.
                self.woken.retain(|woken| woken.proxy != proxy || woken.addr != stream.addr);
            } else if *state == PullState::BackingOff && begins_attempt(*state, *stimulus, *next) {
                self.on_attempt(record, id, *stimulus, stream, scene, findings);
            }
        } else if let EventKind::PullEntered { state, failure, failures, next_attempt } = &event.kind {
            let entered = (*state, failure.as_ref(), *failures);
            if let Some(text) = count.on_entered(entered, *next_attempt, stream, scene, record) {
                findings.broken(NAME, proxy, format!("{}: {text}", name_of(&stream.key)));
            }
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.streams.retain(|(of, _), _| *of != proxy);
        self.woken.retain(|woken| woken.proxy != proxy);
    }
}

impl Count {
    fn on_step(
        &mut self,
        (state, stimulus, next): (PullState, PullEventKind, PullState),
        stream: &StreamNow,
        scene: &Scene,
        record: &Record,
    ) -> Option<String> {
        let at = record.at;
        let stable_after = scene.config(record.actor).pull.stable_after;
        if begins_attempt(state, stimulus, next) && self.url != stream.url {
            self.failures = 0;
            self.url.clone_from(&stream.url);
        }
        if next == PullState::Replaying && state != next {
            let lasted =
                |since: Instant| since + stable_after < at && !was_frozen(scene, record.actor, since);
            self.is_ended_by_us = self.streaming_since.is_some_and(|(since, _)| lasted(since));
        }
        let is_blamed = self.is_ended_by_us
            && (state, stimulus, next)
                == (PullState::Replaying, PullEventKind::Closed, PullState::BackingOff);
        if stimulus == PullEventKind::Watched {
            self.next = stream.next_attempt;
        }
        if next == PullState::Streaming && state != PullState::Streaming {
            self.streaming_since = Some((at, stream.policy.law));
            if stream.policy.law == BackoffLaw::ZlMediaKit {
                self.failures = 0;
            }
        }
        is_blamed.then(|| {
            "we ended a play that had lasted, the origin answered that by hanging up, and it is counted as a failure".to_owned()
        })
    }

    /// Failures the core may count: two where media lasted exactly as long as forgives.
    fn forgiven(&self, stream: &StreamNow, scene: &Scene, record: &Record) -> (bool, bool) {
        let Some((since, law)) = self.streaming_since else { return (false, false) };
        if stream.policy.law != law {
            // An operator has changed it meanwhile: each has its own moment to forgive.
            return (true, true);
        }
        if law != BackoffLaw::Repull {
            return (false, false);
        }
        let stable = since + scene.config(record.actor).pull.stable_after;
        let lost = stream.outage_since.unwrap_or(record.at);
        let is_vague = stable == lost || was_frozen(scene, record.actor, since);
        (stable <= lost, is_vague && stable <= lost)
    }

    fn on_entered(
        &mut self,
        (state, failure, failures): (PullState, Option<&PullFailure>, u32),
        next_attempt: Option<Instant>,
        stream: &StreamNow,
        scene: &Scene,
        record: &Record,
    ) -> Option<String> {
        // A replay interrupts nothing that forgives: media that lasted has been forgiven for before.
        let (is_forgiven, is_vague) = self.forgiven(stream, scene, record);
        if state != PullState::Streaming && is_forgiven && !is_vague {
            self.failures = 0;
        }
        if state == PullState::Stopped
            && stream.policy.retries.is_some_and(|retries| self.failures >= retries)
        {
            // The retries are used up, or it is removed: no wait follows.
            self.next = None;
        }
        if state != PullState::Streaming && stream.outage_since == Some(record.at) && !is_vague {
            self.streaming_since = None;
        }
        if state != PullState::BackingOff {
            return None;
        }
        let before = self.failures;
        let allowed = if is_vague || self.is_own { [before + 1, 1] } else { [before + 1; 2] };
        self.is_own = failure == Some(&PullFailure::OwnUrl);
        self.streaming_since = None;
        self.failures = failures;
        self.next = next_attempt;
        if !allowed.contains(&failures) {
            return Some(format!(
                "it counts {failures} consecutive failures, {} was promised: {before} before this one, forgiven by the law \
                 {:?}",
                before + 1,
                stream.policy.law
            ));
        }
        if scene.may_be_asked(record.actor) {
            // An operator may have changed law and count in this very step.
            return None;
        }
        if let Some(retries) = stream.policy.retries
            && failures > retries
        {
            return Some(format!("retry {failures} is to come, and retry_count is {retries}"));
        }
        let next = next_attempt?;
        let config = &scene.config(record.actor).pull;
        let is_watched = scene.is_watched(record.actor, stream);
        let outage = record.at.since(stream.outage_since.unwrap_or(record.at));
        let is_idle = !is_watched && outage >= config.backoff_idle_after;
        let (least, most) = bounds::backoff(&stream.policy, config, failures, is_idle);
        let (from, what) = match stream.policy.law {
            BackoffLaw::Repull => (stream.attempt_at, "the attempt's start"),
            BackoffLaw::ZlMediaKit => (record.at, "the failure"),
        };
        // Thousandths of the longest wait, cut to whole ones.
        let rounding = proxy_core::time::Duration::from_micros(1);
        let (soonest, latest) = ((from + least).max(record.at) - rounding, (from + most).max(record.at));
        (next < soonest || next > latest).then(|| {
            format!(
                "after failure {failures} the next attempt is told for {next}; law {:?} promised {soonest} to {latest}, \
                 counted from {what} at {from}",
                stream.policy.law
            )
        })
    }
}

/// Returns whether a process has been frozen since: it has not looked.
fn was_frozen(scene: &Scene, proxy: ActorId, since: Instant) -> bool {
    scene.proxies.get(&proxy).is_some_and(|now| now.ran_at >= since || !now.frozen.is_empty())
}

impl RetryLaw {
    /// A wait has ended: because its time has come, or because something made success likelier.
    fn on_attempt(
        &mut self,
        record: &Record,
        id: u64,
        stimulus: PullEventKind,
        stream: &StreamNow,
        scene: &Scene,
        findings: &mut Findings,
    ) {
        let proxy = record.actor;
        let Some(count) = self.streams.get_mut(&(proxy, id)) else { return };
        // The first attempt, that of the add, waits for nothing.
        let Some(next) = count.next.take() else { return };
        let is_asked = scene.may_be_asked(proxy);
        let is_due = next <= record.at;
        if is_due || is_asked {
            return;
        }
        if stimulus == PullEventKind::Wake {
            if scene.is_outside {
                // Which address it dialled, and which began to serve, is not seen.
                return;
            }
            let (addr, law) = (stream.addr, stream.policy.law);
            self.woken.push(Woken { proxy, stream: id, addr, next, law });
            return;
        }
        let text = format!(
            "{}: an attempt began by {stimulus:?} at {}, and {next} was told and promised",
            name_of(&stream.key),
            record.at
        );
        findings.broken(NAME, proxy, text);
    }

    /// Who was woken before its time, and no address of it was served in the same breath.
    fn judge_woken(&mut self, scene: &Scene, findings: &mut Findings) {
        for woken in self.woken.drain(..) {
            let name = scene.name_of_stream(woken.proxy, woken.stream);
            let text = format!(
                "{name}: an attempt began before {} was due by law {:?}, though no operator asked and its address {} \
                 has not begun to serve",
                woken.next,
                woken.law,
                woken.addr.map_or("(none yet)".to_owned(), |addr| addr.to_string())
            );
            findings.broken(NAME, woken.proxy, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{PullEventKind as E, PullState as S};

    use super::*;
    use crate::{
        oracle::story::{PROXY_HOST, Story, fault},
        scenario::model::{Fault, Scenario},
    };

    /// A stream with options fails at each time given and tells this next attempt, in ms.
    fn check(options: &[(&str, &str)], failures: &[(u64, u64, u32)]) -> Vec<String> {
        Story::told::<RetryLaw>(|story| {
            story.register_with(1, "live/a", options);
            for (index, (at, next, count)) in failures.iter().enumerate() {
                story.dials(1, 2 + 2 * index as u64);
                story.at(*at).fails_until(1, *count, Instant::from_millis(*next));
                story.at(*next);
            }
        })
    }

    #[test]
    fn our_law_counts_from_the_start_with_jitter() {
        assert_eq!(check(&[], &[(10, 100, 1), (110, 260, 2), (300, 660, 3)]), [""; 0]);
        // A long attempt is followed at once.
        assert_eq!(check(&[], &[(2_000, 2_000, 1)]), [""; 0]);
        let texts = check(&[], &[(10, 79, 1)]);
        assert!(
            texts[0].contains("told for 0.079000s; law Repull promised 0.079999s to 0.100000s"),
            "{texts:?}"
        );
        assert_eq!(check(&[], &[(10, 101, 1)]).len(), 1);
        assert_eq!(check(&[], &[(10, 100, 1), (110, 310, 2)]).len(), 1);
    }

    #[test]
    fn zlmediakits_law_counts_from_the_failure_exactly() {
        let options = [("retry_count", "3")];
        assert_eq!(check(&options, &[(10, 2_010, 1), (2_020, 5_020, 2), (5_030, 11_030, 3)]), [""; 0]);
        assert_eq!(check(&options, &[(10, 2_000, 1)]).len(), 1);
        assert_eq!(check(&options, &[(10, 2_011, 1)]).len(), 1);
    }

    #[test]
    fn failures_are_counted_one_by_one_and_end_with_the_retry_count() {
        let texts = check(&[], &[(10, 200, 2)]);
        assert!(texts[0].contains("it counts 2 consecutive failures, 1 was promised: 0 before"), "{texts:?}");
        let texts = check(&[("retry_count", "1")], &[(10, 2_010, 1), (2_020, 5_020, 2)]);
        assert_eq!(texts, ["retry-law: live/a: retry 2 is to come, and retry_count is 1"]);
    }

    /// A stream fails once, streams for so long, is lost, and counts this.
    fn forgives(options: &[(&str, &str)], streams_ms: u64, counts: u32, next: u64) -> Vec<String> {
        forgives_where(&crate::oracle::story::scenario(), options, streams_ms, counts, next)
    }

    /// Likewise, in a scenario whose first event, if it has one, begins in the middle.
    fn forgives_where(
        scenario: &Scenario,
        options: &[(&str, &str)],
        streams_ms: u64,
        counts: u32,
        next: u64,
    ) -> Vec<String> {
        Story::told_to(scenario, Box::<RetryLaw>::default(), |story| {
            let first = if options.is_empty() { 100 } else { 2_010 };
            story.register_with(1, "live/a", options);
            story.dials(1, 2);
            story.at(10).fails_until(1, 1, Instant::from_millis(first));
            story.at(first).timeout();
            story.step(1, S::BackingOff, E::Deadline, S::Queued);
            story.out(crate::oracle::story::dial::connect(4));
            story.step(1, S::Queued, E::Granted, S::Connecting);
            story.streams(1, 4);
            if !scenario.events.is_empty() {
                story.at(first + streams_ms / 2).begins(0);
            }
            let lost = first + streams_ms;
            story.at(lost).loses(1, 4, counts, Instant::from_millis(lost + next));
        })
    }

    #[test]
    fn our_law_forgives_after_stable_media() {
        assert_eq!(forgives(&[], 5_001, 1, 0), [""; 0]);
        assert_eq!(forgives(&[], 4_999, 2, 0), [""; 0]);
        assert_eq!(forgives(&[], 5_001, 2, 0).len(), 1);
        assert_eq!(forgives(&[], 4_999, 1, 0).len(), 1);
        // Exactly as long: either may have come first.
        assert_eq!(forgives(&[], 5_000, 1, 0), [""; 0]);
        assert_eq!(forgives(&[], 5_000, 2, 0), [""; 0]);
        // Who was frozen meanwhile may find both at once, ahead of what tells that it runs again.
        let freeze = fault(9, PROXY_HOST, Fault::Freeze);
        let frozen = Scenario { events: vec![freeze], ..crate::oracle::story::scenario() };
        assert_eq!(forgives_where(&frozen, &[], 9_000, 1, 0), [""; 0]);
        assert_eq!(forgives_where(&frozen, &[], 9_000, 2, 0), [""; 0]);
    }

    #[test]
    fn an_origin_that_hangs_up_on_our_own_end_of_a_play_has_not_failed() {
        let replays = |streams_ms: u64, next: S| {
            Story::told::<RetryLaw>(|story| {
                story.register(1, "live/a");
                story.dials(1, 2);
                story.at(10).streams(1, 2);
                story.at(10 + streams_ms).step(1, S::Streaming, E::Deadline, S::Replaying);
                story.step(1, S::Replaying, E::Closed, next);
            })
        };
        let texts = replays(5_001, S::BackingOff);
        assert!(texts[0].contains("hanging up, and it is counted as a failure"), "{texts:?}");
        assert_eq!(replays(5_001, S::Resolving), [""; 0]);
        // Media that did not last forgives nothing.
        assert_eq!(replays(4_999, S::BackingOff), [""; 0]);
    }

    #[test]
    fn zlmediakits_law_forgives_at_the_first_frame() {
        let options = [("retry_count", "3")];
        assert_eq!(forgives(&options, 1, 1, 2_000), [""; 0]);
        assert_eq!(forgives(&options, 1, 2, 3_000).len(), 1);
    }

    /// Two streams; the first waits until 1 s and is woken at 500 ms, in the same breath as the second is accepted.
    fn wakes(accepted: bool, requested: bool) -> Vec<String> {
        Story::told::<RetryLaw>(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.at(10).fails_until(1, 1, Instant::from_millis(95));
            story.register(2, "live/b");
            story.dials(2, 4);
            story.at(50).timeout();
            if requested {
                story.asks("addStreamProxy", Some("live/a"), &[], true);
            }
            story.step(1, S::BackingOff, E::Wake, S::Queued);
            if accepted {
                story.step(2, S::Requesting, E::Playing, S::AwaitingMedia);
            }
            story.timeout();
        })
    }

    #[test]
    fn only_an_operator_or_an_address_that_serves_ends_a_wait() {
        assert_eq!(wakes(true, false), [""; 0]);
        assert_eq!(wakes(false, true), [""; 0]);
        let texts = wakes(false, false);
        assert_eq!(texts.len(), 1);
        assert!(texts[0].contains("before 0.095000s was due by law Repull"), "{texts:?}");
    }

    #[test]
    fn an_attempt_before_its_time_is_found() {
        let texts = Story::told::<RetryLaw>(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.at(10).fails_until(1, 1, Instant::from_millis(95));
            story.at(94).timeout();
            story.step(1, S::BackingOff, E::Deadline, S::Queued);
        });
        assert_eq!(
            texts,
            [
                "retry-law: live/a: an attempt began by Deadline at 0.094000s, and 0.095000s was told and promised"
            ]
        );
    }
}
