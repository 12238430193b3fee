//! How often we dial, and who first: token buckets per origin address and in all, holding a tenth of a second.
//!
//! Storms are bounded here and nowhere else: however many pulls lose one origin, it sees at most
//! [`DialConfig::per_address`] dials a second until one of them is accepted; then the address is *open* and the
//! bucket of all dials alone counts, until a dial or a request to it fails or a pull loses it.

use alloc::collections::{BTreeMap, BTreeSet};
use core::net::SocketAddr;

use crate::{
    config::DialConfig,
    io::StreamId,
    time::{Duration, Instant},
};

/// Open addresses remembered; beyond it the least is forgotten, which costs its pulls the address budget only.
const OPEN_MAX: usize = 4096;

/// Who dials first when tokens are short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// An operator waits for the reply.
    Operator,
    /// Players are seated or parked.
    Watched,
    /// Nobody watches.
    Unwatched,
}

/// Grants dials. A pull that wants to dial asks, and is told when.
#[derive(Debug)]
pub struct DialBudget {
    per_address: Duration,
    total: Bucket,
    addresses: BTreeMap<SocketAddr, Address>,
    open: BTreeSet<SocketAddr>,
    /// Where a play was accepted and no dial has failed since; requests may have.
    alive: BTreeSet<SocketAddr>,
    waiting: BTreeMap<StreamId, (SocketAddr, Place)>,
    asked: u64,
}

type Place = (Urgency, u64);

#[derive(Debug)]
struct Address {
    bucket: Bucket,
    queue: BTreeMap<Place, StreamId>,
}

/// A token bucket as a single time (the generic cell rate algorithm): when it would be full again.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    every: Duration,
    full_at: Instant,
}

impl DialBudget {
    /// Makes full buckets.
    pub fn new(config: &DialConfig) -> Self {
        Self {
            per_address: every(config.per_address),
            total: Bucket { every: every(config.total), full_at: Instant::ZERO },
            addresses: BTreeMap::new(),
            open: BTreeSet::new(),
            alive: BTreeSet::new(),
            waiting: BTreeMap::new(),
            asked: 0,
        }
    }

    /// Puts a pull into the queue for `addr`; it leaves any other.
    pub fn ask(&mut self, stream: StreamId, addr: SocketAddr, urgency: Urgency) {
        self.forget(stream);
        self.asked += 1;
        let place = (urgency, self.asked);
        let bucket = Bucket { every: self.per_address, full_at: Instant::ZERO };
        let address =
            self.addresses.entry(addr).or_insert_with(|| Address { bucket, queue: BTreeMap::new() });
        address.queue.insert(place, stream);
        self.waiting.insert(stream, (addr, place));
    }

    /// Takes a pull out of its queue.
    pub fn forget(&mut self, stream: StreamId) {
        let Some((addr, place)) = self.waiting.remove(&stream) else { return };
        if let Some(address) = self.addresses.get_mut(&addr) {
            address.queue.remove(&place);
        }
    }

    /// An origin at `addr` accepted a play: until a dial or a request fails, the address budget does not count.
    /// Returns whether it is news that somebody is there; after a mere refusal it is not, else streams that are
    /// accepted and refused by turns would wake each other for ever.
    pub fn opened(&mut self, addr: SocketAddr) -> bool {
        let news = self.alive.insert(addr);
        self.open.insert(addr);
        for remembered in [&mut self.open, &mut self.alive] {
            if remembered.len() > OPEN_MAX {
                remembered.pop_first();
            }
        }
        news
    }

    /// Nobody answered at `addr`.
    pub fn failed(&mut self, addr: SocketAddr) {
        self.open.remove(&addr);
        self.alive.remove(&addr);
    }

    /// Somebody answered at `addr` and did not serve, or serves no more.
    pub fn not_served(&mut self, addr: SocketAddr) {
        self.open.remove(&addr);
    }

    /// Returns the pull that may dial now and pays for it, if there is one.
    pub fn poll_grant(&mut self, now: Instant) -> Option<StreamId> {
        if self.waiting.is_empty() || self.total.ready_at() > now {
            return None;
        }
        let open = &self.open;
        let (addr, place) = self
            .addresses
            .iter()
            .filter(|(addr, address)| open.contains(addr) || address.bucket.ready_at() <= now)
            .filter_map(|(addr, address)| Some((*addr, *address.queue.first_key_value()?.0)))
            .min_by_key(|(_, place)| *place)?;
        let address = self.addresses.get_mut(&addr)?;
        let stream = address.queue.remove(&place)?;
        if !self.open.contains(&addr) {
            address.bucket.take(now);
        }
        self.total.take(now);
        self.waiting.remove(&stream);
        self.addresses.retain(|_, address| !address.queue.is_empty() || address.bucket.full_at > now);
        Some(stream)
    }

    /// Returns whether any pull wants to dial.
    pub fn is_wanted(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns when [`Self::poll_grant`] may have something.
    pub fn deadline(&self) -> Option<Instant> {
        // Asked after every input: thousands of addresses that wait for the total alone are not looked through.
        let total = self.total.ready_at();
        let mut soonest = None;
        for (addr, address) in self.addresses.iter().filter(|(_, address)| !address.queue.is_empty()) {
            let ready = if self.open.contains(addr) { Instant::ZERO } else { address.bucket.ready_at() };
            if ready <= total {
                return Some(total);
            }
            soonest = Some(soonest.map_or(ready, |soonest: Instant| soonest.min(ready)));
        }
        soonest
    }
}

impl Bucket {
    /// Tokens it holds: a tenth of a second's worth, at least one.
    fn depth(self) -> Duration {
        Duration::from_millis(100).max(self.every)
    }

    fn ready_at(self) -> Instant {
        self.full_at + self.every - self.depth()
    }

    fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.every;
    }
}

fn every(rate: u32) -> Duration {
    Duration::from_secs(1) / rate.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([198, 18, 0, 2], port))
    }

    /// Runs the budget for `millis` and returns how many dials it granted.
    fn granted(budget: &mut DialBudget, from: Instant, millis: u64) -> usize {
        (0..millis)
            .map(|ms| {
                let now = from + Duration::from_millis(ms);
                core::iter::from_fn(|| budget.poll_grant(now)).count()
            })
            .sum()
    }

    #[test]
    fn one_address_sees_at_most_its_rate() {
        let mut budget = DialBudget::new(&DialConfig::default());
        (0..500).for_each(|n| budget.ask(StreamId(n), addr(1), Urgency::Unwatched));
        let n = granted(&mut budget, Instant::from_millis(1), 5_000);
        assert!((100..=102).contains(&n), "{n}");
    }

    #[test]
    fn an_open_address_is_bound_by_the_total_alone() {
        let mut budget = DialBudget::new(&DialConfig::default());
        (0..500).for_each(|n| budget.ask(StreamId(n), addr(1), Urgency::Unwatched));
        budget.opened(addr(1));
        let n = granted(&mut budget, Instant::from_millis(1), 1_000);
        assert!((200..=220).contains(&n), "{n}");
    }

    #[test]
    fn dials_to_an_open_address_leave_no_debt_for_when_it_is_closed() {
        let mut budget = DialBudget::new(&DialConfig::default());
        (0..200).for_each(|n| budget.ask(StreamId(n), addr(1), Urgency::Unwatched));
        budget.opened(addr(1));
        assert_eq!(granted(&mut budget, Instant::from_millis(1), 1_000), 200);
        budget.failed(addr(1));
        (0..200).for_each(|n| budget.ask(StreamId(n), addr(1), Urgency::Watched));
        let n = granted(&mut budget, Instant::from_millis(1_101), 1_000);
        assert!((20..=22).contains(&n), "{n}");
    }

    #[test]
    fn operators_go_first_then_the_watched() {
        let mut budget = DialBudget::new(&DialConfig::default());
        budget.ask(StreamId(1), addr(1), Urgency::Unwatched);
        budget.ask(StreamId(2), addr(1), Urgency::Watched);
        budget.ask(StreamId(3), addr(1), Urgency::Operator);
        let mut order = alloc::vec::Vec::new();
        for ms in 0..200 {
            order.extend(budget.poll_grant(Instant::from_millis(ms)));
        }
        assert_eq!(order, [StreamId(3), StreamId(2), StreamId(1)]);
    }

    #[test]
    fn what_left_the_queue_is_not_granted_and_nothing_is_kept() {
        let mut budget = DialBudget::new(&DialConfig::default());
        budget.ask(StreamId(1), addr(1), Urgency::Unwatched);
        budget.forget(StreamId(1));
        assert_eq!(budget.poll_grant(Instant::ZERO), None);
        assert_eq!(budget.deadline(), None);
        budget.ask(StreamId(2), addr(2), Urgency::Unwatched);
        assert_eq!(budget.poll_grant(Instant::from_millis(1)), Some(StreamId(2)));
        assert!(budget.waiting.is_empty());
    }

    #[test]
    fn after_a_drain_the_deadline_lies_in_the_future() {
        let mut budget = DialBudget::new(&DialConfig::default());
        (0..50).for_each(|n| budget.ask(StreamId(n), addr(1), Urgency::Unwatched));
        let mut now = Instant::from_millis(1);
        while let Some(deadline) = budget.deadline() {
            now = now.max(deadline);
            assert!(budget.poll_grant(now).is_some());
            while budget.poll_grant(now).is_some() {}
            assert!(budget.deadline().is_none_or(|deadline| deadline > now));
        }
    }
}
