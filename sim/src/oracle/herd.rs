//! Many streams that lose one origin do not come back in step (I16).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use proxy_core::{
    io::{BackoffLaw, EventKind, PullEventKind, PullState},
    time::Instant,
};

use super::{EVENT, Findings, Kinds, Oracle, STEP, Scene, TIME};
use crate::trace::{ActorId, Inward, Record, What};

pub(super) const NAME: &str = "herd";

/// Streams that fail or wake together before it is looked at whether they spread: of fewer, chance may order all.
const HERD_MIN: usize = 8;

/// Looks at who failed, and who was woken, in one instant.
#[derive(Debug, Default)]
pub(super) struct Herd {
    at: Instant,
    failed: BTreeMap<Failed, Vec<Instant>>,
    woken: BTreeMap<(ActorId, SocketAddr), Vec<u64>>,
}

/// Who waits alike: of one proxy and address, after so many failures, from attempts begun at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Failed {
    proxy: ActorId,
    addr: SocketAddr,
    failures: u32,
    since: Instant,
}

impl Oracle for Herd {
    fn kinds(&self) -> Kinds {
        EVENT | STEP | TIME
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let proxy = record.actor;
        if record.at > self.at {
            self.judge(findings);
            self.at = record.at;
        }
        let What::Event(event) = &record.what else { return };
        let Some(id) = event.stream.map(|stream| stream.0) else { return };
        if let EventKind::PullEntered { state: PullState::BackingOff, failures, next_attempt: Some(next), .. } = &event.kind
            && let Some(stream) = scene.streams.get(&(proxy, id))
            && let Some(addr) = stream.addr
            && stream.policy.law == BackoffLaw::Repull
            // An attempt that took longer than any wait is followed at once: the dial budget spreads those.
            && *next > record.at
        {
            let failed = Failed { proxy, addr, failures: *failures, since: stream.attempt_at };
            self.failed.entry(failed).or_default().push(*next);
        }
        if let EventKind::PullStepped { state: PullState::BackingOff, event: PullEventKind::Wake, next } =
            &event.kind
            && *next != PullState::BackingOff
            && let Some(stream) = scene.streams.get(&(proxy, id))
            && let Some(addr) = stream.addr
            && !scene.inward.is_some_and(|inward| matches!(inward.what, Inward::Request { .. }))
        {
            self.woken.entry((proxy, addr)).or_default().push(id);
        }
    }

    fn on_time(&mut self, _: &Scene, _: Instant, findings: &mut Findings) {
        self.judge(findings);
    }

    fn forget(&mut self, proxy: ActorId) {
        self.failed.retain(|failed, _| failed.proxy != proxy);
        self.woken.retain(|(of, _), _| *of != proxy);
    }
}

impl Herd {
    fn judge(&mut self, findings: &mut Findings) {
        if self.failed.is_empty() && self.woken.is_empty() {
            return;
        }
        for (failed, next) in std::mem::take(&mut self.failed) {
            let different: BTreeSet<&Instant> = next.iter().collect();
            // Of 200 places each, a herd takes more than a quarter of its number, whatever the dice.
            let wanted = next.len().min(100) / 4;
            if next.len() >= HERD_MIN && different.len() < wanted {
                let text = format!(
                    "{} streams lost {} together and try again at {} different moments: at least {wanted} were promised",
                    next.len(),
                    failed.addr,
                    different.len()
                );
                findings.broken(NAME, failed.proxy, text);
            }
        }
        for ((proxy, addr), order) in std::mem::take(&mut self.woken) {
            let rises = order.is_sorted();
            let falls = order.iter().rev().is_sorted();
            if order.len() >= HERD_MIN && (rises || falls) {
                let text = format!(
                    "{addr} serves again and {} streams were woken in the order of their registration: a shuffled order \
                     was promised",
                    order.len()
                );
                findings.broken(NAME, proxy, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{PullEventKind as E, PullState as S};

    use super::*;
    use crate::oracle::story::Story;

    /// Twelve streams fail together; the nth tries again so many ms later.
    fn fails(next: impl Fn(u64) -> u64) -> Vec<String> {
        Story::told::<Herd>(|story| {
            for n in 1..=12 {
                story.register(n, &format!("live/{n}"));
                story.dials(n, 2 * n);
            }
            story.at(10).timeout();
            for n in 1..=12 {
                story.fails_until(n, 1, Instant::from_millis(next(n)));
            }
            story.at(11).timeout();
        })
    }

    #[test]
    fn retries_in_step_are_found() {
        assert_eq!(fails(|n| 80 + n), [""; 0]);
        let texts = fails(|_| 100);
        assert!(
            texts[0]
                .contains("12 streams lost 198.18.0.2:1935 together and try again at 1 different moments")
        );
    }

    /// Twelve streams that wait are woken in this order.
    fn wakes(order: &[u64]) -> Vec<String> {
        Story::told::<Herd>(|story| {
            for n in 1..=12 {
                story.register(n, &format!("live/{n}"));
                story.dials(n, 2 * n);
                story.fails_until(n, 1, Instant::from_millis(90 + n));
            }
            story.at(20).timeout();
            for n in order {
                story.step(*n, S::BackingOff, E::Wake, S::Queued);
            }
            story.at(21).timeout();
        })
    }

    #[test]
    fn waking_in_a_fixed_order_is_found() {
        assert_eq!(wakes(&[3, 1, 2, 5, 9, 4, 8, 7, 6]), [""; 0]);
        assert_eq!(wakes(&[1, 2, 3]), [""; 0]);
        let texts = wakes(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(texts[0].contains("9 streams were woken in the order of their registration"), "{texts:?}");
    }
}
