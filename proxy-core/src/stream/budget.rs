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

/// One dial in so many goes to who has waited longest, whoever is more urgent: streams whose players wait at a dead address
/// are back in its queue every second, and who stands behind them would never find out that it is dead.
const SHARE: u32 = 4;

/// A token waits as long for the answer to a name, which comes sooner unless the name server is ill; then it goes to who can
/// dial without.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);

/// Who dials first when tokens are short, three times in four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// An operator waits for the reply.
    Operator,
    /// Players are seated or parked.
    Watched,
    /// Nobody watches.
    Unwatched,
}

/// What a pull in the queue may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Dial: it is paid for.
    Dial(StreamId),
    /// Look the name up again: its turn has come and its answer is old. It keeps its place, asks again when it knows,
    /// and pays only then: a token kept over a lookup might be spent in one instant with many others.
    LookUp(StreamId),
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
    /// Waiters whose name is looked up, at all addresses.
    looking: usize,
    asked: u64,
    /// Among the addresses, each of which is as urgent as the first in its queue.
    share: Share,
}

/// How urgent a waiter is, and when it asked.
type Place = (Urgency, u64);

#[derive(Debug)]
struct Address {
    bucket: Bucket,
    queue: BTreeMap<Place, Waiter>,
    /// Waiters whose name is looked up.
    looking: usize,
    /// When the last of them began to be.
    looked_up_at: Instant,
    share: Share,
}

/// How many dials in a row have passed over who has waited longest.
#[derive(Clone, Copy, Debug, Default)]
struct Share(u32);

#[derive(Debug)]
struct Waiter {
    stream: StreamId,
    /// From then on its address is looked up again before it is dialled.
    fresh_until: Instant,
    /// It has been looked up in its turn.
    has_looked: bool,
    is_looking: bool,
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
            looking: 0,
            asked: 0,
            share: Share::default(),
        }
    }

    /// Puts a pull into the queue for `addr`, which its name is known to lead to until `fresh_until`; it leaves any
    /// other queue. Who waits there already keeps his place among his equals, and so does who was looked up in its turn,
    /// wherever its name leads by now; that answer is good for its next turn, whenever that is: where tokens are rarer than
    /// answers last, it would be overtaken for ever.
    pub fn ask(&mut self, stream: StreamId, addr: SocketAddr, urgency: Urgency, fresh_until: Instant) {
        let (is_looking, has_looked) = self
            .waiter(stream)
            .map_or((false, false), |waiter| (waiter.is_looking, waiter.is_looking || waiter.has_looked));
        let before = self.waiting.get(&stream).filter(|(at, _)| *at == addr || is_looking);
        let before = before.map(|(at, (_, asked))| (*at == addr, *asked));
        self.forget(stream);
        self.asked += 1;
        let place = (urgency, before.map_or(self.asked, |(_, asked)| asked));
        let bucket = Bucket { every: self.per_address, full_at: Instant::ZERO };
        let address = self.addresses.entry(addr).or_insert_with(|| Address {
            bucket,
            queue: BTreeMap::new(),
            looking: 0,
            looked_up_at: Instant::ZERO,
            share: Share::default(),
        });
        let has_looked = has_looked && (is_looking || before.is_some_and(|(is_here, _)| is_here));
        address.queue.insert(place, Waiter { stream, fresh_until, has_looked, is_looking: false });
        self.waiting.insert(stream, (addr, place));
    }

    /// A pull that may be waiting is as urgent as this from now on. It keeps its place among its equals.
    pub fn rank(&mut self, stream: StreamId, urgency: Urgency) {
        let Some((addr, (before, asked))) = self.waiting.get(&stream).copied() else { return };
        let Some(address) = self.addresses.get_mut(&addr) else { return };
        if let Some(waiter) = address.queue.remove(&(before, asked)) {
            let place = (urgency, asked);
            address.queue.insert(place, waiter);
            self.waiting.insert(stream, (addr, place));
        }
    }

    /// Takes a pull out of its queue.
    pub fn forget(&mut self, stream: StreamId) {
        let Some((addr, place)) = self.waiting.remove(&stream) else { return };
        let Some(address) = self.addresses.get_mut(&addr) else { return };
        if address.queue.remove(&place).is_some_and(|waiter| waiter.is_looking) {
            address.looking -= 1;
            self.looking -= 1;
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

    /// Returns the pull whose turn it is, if there is one; a dial is paid for.
    pub fn poll_turn(&mut self, now: Instant) -> Option<Turn> {
        if self.waiting.is_empty() || self.total.ready_at() > now {
            return None;
        }
        let ready = self
            .addresses
            .iter()
            .filter(|(addr, address)| self.is_open(addr) || address.bucket.ready_at() <= now);
        let longest = ready.clone().filter_map(|(addr, address)| Some((address.longest()?.1, *addr))).min();
        let next = |(addr, address): (&SocketAddr, &Address)| {
            Some((address.next(now, self.looks_at_once(addr, address))?, *addr))
        };
        // An address is as urgent as the first there that is ready, whoever of those there dials.
        let by_urgency = |(place, addr): (Place, SocketAddr)| {
            Some((self.addresses.get(&addr)?.first().unwrap_or(place), place, addr))
        };
        let (_, mut place, mut addr) = ready.clone().filter_map(next).filter_map(by_urgency).min()?;
        if let Some((_, longest)) = longest.filter(|_| self.share.is_due())
            && let Some(turn) = ready.clone().find(|(addr, _)| **addr == longest).and_then(next)
        {
            (place, addr) = turn;
        }
        let is_open = self.is_open(&addr);
        let address = self.addresses.get_mut(&addr)?;
        let waiter = address.queue.get_mut(&place)?;
        let stream = waiter.stream;
        if waiter.is_stale(now) {
            waiter.is_looking = true;
            address.looking += 1;
            address.looked_up_at = now;
            self.looking += 1;
            return Some(Turn::LookUp(stream));
        }
        address.share.spend(address.longest() == Some(place));
        address.queue.remove(&place);
        if !is_open {
            address.bucket.take(now);
        }
        self.share.spend(longest.is_none_or(|(_, longest)| addr == longest));
        self.total.take(now);
        self.waiting.remove(&stream);
        self.addresses.retain(|_, address| !address.queue.is_empty() || address.bucket.full_at > now);
        Some(Turn::Dial(stream))
    }

    fn waiter(&self, stream: StreamId) -> Option<&Waiter> {
        let (addr, place) = self.waiting.get(&stream)?;
        self.addresses.get(addr)?.queue.get(place)
    }

    /// Returns how many names may be looked up at once for an address now, those under way with them: as many as its bucket
    /// has tokens when full, and of all addresses together likewise.
    fn looks_at_once(&self, addr: &SocketAddr, address: &Address) -> usize {
        if self.looking < self.total.tokens() { self.bucket(addr, address).tokens() } else { 0 }
    }

    fn is_open(&self, addr: &SocketAddr) -> bool {
        self.open.contains(addr)
    }

    /// Returns the bucket that bounds dials to an address.
    fn bucket(&self, addr: &SocketAddr, address: &Address) -> Bucket {
        if self.is_open(addr) { self.total } else { address.bucket }
    }

    /// Returns whether any pull wants to dial.
    pub fn is_wanted(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns when [`Self::poll_turn`] may have something; whose lookup is answered asks again.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        // Asked after every input: thousands of addresses that wait for the total alone are not looked through.
        let total = self.total.ready_at().max(now);
        let mut soonest = None;
        for (addr, address) in &self.addresses {
            let bucket = self.bucket(addr, address);
            let looks_at_once = self.looks_at_once(addr, address);
            let is_ready = |at: &Instant| address.next(*at, looks_at_once).is_some();
            let ready = total.max(bucket.ready_at());
            let Some(ready) = [ready, ready.max(address.answered_at())].into_iter().find(is_ready) else {
                continue;
            };
            if ready == total {
                return Some(total);
            }
            soonest = Some(soonest.map_or(ready, |soonest: Instant| soonest.min(ready)));
        }
        soonest
    }
}

impl Address {
    /// Returns the place of who is next at a moment, if so many names at once may be looked up. Whose name is looked up is
    /// passed over; for whose has to be, and may not now, the answers are waited for a while.
    fn next(&self, now: Instant, looks_at_once: usize) -> Option<Place> {
        let may_look = self.looking < looks_at_once;
        let is_able = |waiter: &Waiter| !waiter.is_looking && (may_look || !waiter.is_stale(now));
        let longest = self.longest().filter(|place| self.share.is_due() && !self.queue[place].is_looking);
        let place = longest.or_else(|| self.first())?;
        if is_able(self.queue.get(&place)?) {
            return Some(place);
        }
        let able = self.queue.iter().find(|(_, waiter)| is_able(waiter)).map(|(place, _)| *place);
        able.filter(|_| self.answered_at() <= now)
    }

    /// Returns when the answers to names that are looked up should be there.
    fn answered_at(&self) -> Instant {
        self.looked_up_at + ANSWER_WITHIN
    }

    /// Returns the place of the most urgent waiter whose name is not looked up.
    fn first(&self) -> Option<Place> {
        self.queue.iter().find(|(_, waiter)| !waiter.is_looking).map(|(place, _)| *place)
    }

    /// Returns the place of who asked first. While its name is looked up, in its turn, it is passed over.
    fn longest(&self) -> Option<Place> {
        let oldest = |urgency| self.queue.range((urgency, 0)..=(urgency, u64::MAX)).next();
        let all = [Urgency::Operator, Urgency::Watched, Urgency::Unwatched];
        let oldest = all.into_iter().filter_map(oldest).map(|(place, _)| *place);
        oldest.min_by_key(|(_, asked)| *asked)
    }
}

impl Waiter {
    /// Returns whether its name has to be looked up again before it dials.
    fn is_stale(&self, now: Instant) -> bool {
        !self.has_looked && self.fresh_until <= now
    }
}

impl Share {
    /// Returns whether the next dial is for who has waited longest.
    const fn is_due(self) -> bool {
        self.0 + 1 >= SHARE
    }

    /// A dial was for who has waited longest, or passed it over.
    fn spend(&mut self, is_for_longest: bool) {
        self.0 = if is_for_longest { 0 } else { SHARE.min(self.0 + 1) };
    }
}

impl Bucket {
    /// Tokens it holds: a tenth of a second's worth, at least one.
    fn depth(self) -> Duration {
        Duration::from_millis(100).max(self.every)
    }

    /// Dials a full bucket holds.
    fn tokens(self) -> usize {
        usize::try_from(self.depth().as_nanos() / self.every.as_nanos().max(1)).unwrap_or(usize::MAX)
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

    /// An address that is no name's.
    const FOR_EVER: Instant = Instant::from_nanos(u64::MAX);

    fn ask(budget: &mut DialBudget, stream: u64, port: u16, urgency: Urgency) {
        budget.ask(StreamId(stream), addr(port), urgency, FOR_EVER);
    }

    /// Runs the budget for `millis` and returns how many dials it granted.
    fn granted(budget: &mut DialBudget, from: Instant, millis: u64) -> usize {
        (0..millis)
            .map(|ms| {
                let now = from + Duration::from_millis(ms);
                core::iter::from_fn(|| budget.poll_turn(now)).count()
            })
            .sum()
    }

    #[test]
    fn one_address_sees_at_most_its_rate() {
        let mut budget = DialBudget::new(&DialConfig::default());
        (0..500).for_each(|n| ask(&mut budget, n, 1, Urgency::Unwatched));
        let n = granted(&mut budget, Instant::from_millis(1), 5_000);
        assert!((100..=102).contains(&n), "{n}");
    }

    #[test]
    fn an_open_address_is_bound_by_the_total_alone() {
        let mut budget = DialBudget::new(&DialConfig::default());
        (0..500).for_each(|n| ask(&mut budget, n, 1, Urgency::Unwatched));
        budget.opened(addr(1));
        let n = granted(&mut budget, Instant::from_millis(1), 1_000);
        assert!((200..=220).contains(&n), "{n}");
    }

    #[test]
    fn dials_to_an_open_address_leave_no_debt_for_when_it_is_closed() {
        let mut budget = DialBudget::new(&DialConfig::default());
        (0..200).for_each(|n| ask(&mut budget, n, 1, Urgency::Unwatched));
        budget.opened(addr(1));
        assert_eq!(granted(&mut budget, Instant::from_millis(1), 1_000), 200);
        budget.failed(addr(1));
        (0..200).for_each(|n| ask(&mut budget, n, 1, Urgency::Watched));
        let n = granted(&mut budget, Instant::from_millis(1_101), 1_000);
        assert!((20..=22).contains(&n), "{n}");
    }

    #[test]
    fn operators_go_first_then_the_watched() {
        let mut budget = DialBudget::new(&DialConfig::default());
        ask(&mut budget, 1, 1, Urgency::Unwatched);
        ask(&mut budget, 2, 1, Urgency::Watched);
        ask(&mut budget, 3, 1, Urgency::Operator);
        let mut order = alloc::vec::Vec::new();
        for ms in 0..200 {
            order.extend(budget.poll_turn(Instant::from_millis(ms)));
        }
        assert_eq!(order, [3, 2, 1].map(|n| Turn::Dial(StreamId(n))));
    }

    /// Returns who dials in so many seconds, at one dial per second, to an address that is dead: whoever has dialled is back
    /// in the queue by the next one, its name's answer older than the dial.
    fn dials(urgencies: &[Urgency], seconds: u64) -> alloc::vec::Vec<u64> {
        let mut budget = DialBudget::new(&DialConfig { per_address: 1, total: 100 });
        let at = Instant::from_millis;
        let ask = |budget: &mut DialBudget, stream: u64, now: u64| {
            budget.ask(StreamId(stream), addr(1), urgencies[stream as usize], at(now + 100));
        };
        (0..urgencies.len() as u64).for_each(|stream| ask(&mut budget, stream, 0));
        let mut dials = alloc::vec::Vec::new();
        for now in (0..seconds).map(|second| second * 1_000) {
            while let Some(turn) = budget.poll_turn(at(now)) {
                let (Turn::Dial(stream) | Turn::LookUp(stream)) = turn;
                if turn == Turn::Dial(stream) {
                    dials.push(stream.0);
                }
                ask(&mut budget, stream.0, now + 1);
            }
        }
        dials
    }

    #[test]
    fn who_has_waited_longest_is_passed_over_three_times() {
        use Urgency::{Unwatched, Watched};
        assert_eq!(dials(&[Watched, Watched, Unwatched], 12), [0, 1, 0, 1, 0, 2, 1, 0, 1, 0, 1, 2]);
    }

    #[test]
    fn an_address_without_players_has_its_share_of_the_total() {
        let mut budget = DialBudget::new(&DialConfig { per_address: 100, total: 1 });
        ask(&mut budget, 1, 1, Urgency::Unwatched);
        let mut dials = alloc::vec::Vec::new();
        for second in 0..6 {
            (10..13).for_each(|stream| ask(&mut budget, stream, 2, Urgency::Watched));
            dials.extend(budget.poll_turn(Instant::from_millis(second * 1_000)));
        }
        assert_eq!(dials.iter().position(|turn| *turn == Turn::Dial(StreamId(1))), Some(3));
    }

    #[test]
    fn who_looks_up_in_its_turn_dials_in_the_next_one() {
        let mut budget = DialBudget::new(&DialConfig { per_address: 1, total: 100 });
        let at = Instant::from_millis;
        // An answer lasts a tenth of what a token takes to come.
        let ask = |budget: &mut DialBudget, stream: u64, now: u64| {
            budget.ask(StreamId(stream), addr(1), Urgency::Unwatched, at(now + 100));
        };
        ask(&mut budget, 1, 0);
        assert_eq!(budget.poll_turn(at(0)), Some(Turn::Dial(StreamId(1))));
        ask(&mut budget, 2, 50);
        // Another one comes with a fresh answer just in time, again and again.
        ask(&mut budget, 3, 990);
        assert_eq!(budget.poll_turn(at(1_000)), Some(Turn::LookUp(StreamId(2))));
        assert_eq!(budget.poll_turn(at(1_000)), Some(Turn::Dial(StreamId(3))));
        ask(&mut budget, 2, 1_001);
        ask(&mut budget, 3, 1_990);
        assert_eq!(budget.poll_turn(at(2_000)), Some(Turn::Dial(StreamId(2))));
    }

    #[test]
    fn who_is_left_alone_goes_behind_the_watched() {
        let mut budget = DialBudget::new(&DialConfig { per_address: 1, total: 100 });
        ask(&mut budget, 1, 1, Urgency::Watched);
        ask(&mut budget, 2, 1, Urgency::Watched);
        ask(&mut budget, 3, 1, Urgency::Unwatched);
        budget.rank(StreamId(1), Urgency::Unwatched);
        budget.rank(StreamId(9), Urgency::Watched);
        let granted = [0, 1, 2].map(|second| budget.poll_turn(Instant::from_millis(second * 1_000)));
        assert_eq!(granted, [2, 1, 3].map(|stream| Some(Turn::Dial(StreamId(stream)))));
    }

    #[test]
    fn what_left_the_queue_is_not_granted_and_nothing_is_kept() {
        let mut budget = DialBudget::new(&DialConfig::default());
        ask(&mut budget, 1, 1, Urgency::Unwatched);
        budget.forget(StreamId(1));
        assert_eq!(budget.poll_turn(Instant::ZERO), None);
        assert_eq!(budget.deadline(Instant::ZERO), None);
        ask(&mut budget, 2, 2, Urgency::Unwatched);
        assert_eq!(budget.poll_turn(Instant::from_millis(1)), Some(Turn::Dial(StreamId(2))));
        assert!(budget.waiting.is_empty());
    }

    #[test]
    fn after_a_drain_the_deadline_lies_in_the_future() {
        let mut budget = DialBudget::new(&DialConfig::default());
        (0..50).for_each(|n| ask(&mut budget, n, 1, Urgency::Unwatched));
        let mut now = Instant::from_millis(1);
        while let Some(deadline) = budget.deadline(now) {
            now = now.max(deadline);
            assert!(budget.poll_turn(now).is_some());
            while budget.poll_turn(now).is_some() {}
            assert!(budget.deadline(now).is_none_or(|deadline| deadline > now));
        }
    }

    #[test]
    fn old_answers_are_looked_up_again_by_twos_before_a_token_is_spent() {
        let (mut budget, old) = (DialBudget::new(&DialConfig::default()), Instant::from_millis(500));
        (0..9).for_each(|n| budget.ask(StreamId(n), addr(1), Urgency::Unwatched, old));
        let now = Instant::from_millis(1_000);
        let turns: alloc::vec::Vec<_> = core::iter::from_fn(|| budget.poll_turn(now)).collect();
        assert_eq!(turns, [0, 1].map(|n| Turn::LookUp(StreamId(n))));
        assert_eq!(budget.deadline(now), None, "the answers are waited for");

        let later = Instant::from_millis(3_000);
        budget.ask(StreamId(1), addr(1), Urgency::Unwatched, FOR_EVER);
        assert_eq!(budget.poll_turn(later), Some(Turn::Dial(StreamId(1))));
        assert_eq!(budget.poll_turn(later), Some(Turn::LookUp(StreamId(2))));
        budget.forget(StreamId(0));
        assert_eq!(
            budget.poll_turn(later),
            Some(Turn::LookUp(StreamId(3))),
            "a name that is gone makes room"
        );
        assert_eq!(budget.poll_turn(later), None);
    }

    #[test]
    fn names_that_are_not_answered_keep_nobody_from_dialling() {
        let (mut budget, old) = (DialBudget::new(&DialConfig::default()), Instant::from_millis(500));
        (0..9).for_each(|n| budget.ask(StreamId(n), addr(1), Urgency::Watched, old));
        ask(&mut budget, 9, 1, Urgency::Unwatched);
        let at = Instant::from_millis;
        let turns: alloc::vec::Vec<_> = core::iter::from_fn(|| budget.poll_turn(at(1_000))).collect();
        assert_eq!(turns, [0, 1].map(|n| Turn::LookUp(StreamId(n))));
        assert_eq!(budget.deadline(at(1_000)), Some(at(1_100)));
        assert_eq!(budget.poll_turn(at(1_099)), None, "the answers are waited for");
        assert_eq!(budget.poll_turn(at(1_100)), Some(Turn::Dial(StreamId(9))));
        assert_eq!(budget.deadline(at(1_100)), None);
    }

    #[test]
    fn of_all_addresses_as_many_names_are_looked_up_as_there_are_tokens() {
        let mut budget = DialBudget::new(&DialConfig { per_address: 20, total: 50 });
        for n in 0..9 {
            budget.ask(StreamId(n), addr(n as u16), Urgency::Watched, Instant::from_millis(500));
        }
        let turns = core::iter::from_fn(|| budget.poll_turn(Instant::from_millis(1_000)));
        assert_eq!(turns.count(), 5, "a tenth of a second's worth");
        budget.forget(StreamId(0));
        assert_eq!(budget.poll_turn(Instant::from_millis(1_000)), Some(Turn::LookUp(StreamId(5))));
    }

    /// A name of two addresses is answered with another one each time its turn comes.
    #[test]
    fn who_is_looked_up_keeps_its_place_wherever_its_name_leads() {
        let mut budget = DialBudget::new(&DialConfig { per_address: 1, total: 1 });
        let at = Instant::from_millis;
        budget.ask(StreamId(1), addr(1), Urgency::Watched, at(0));
        ask(&mut budget, 2, 3, Urgency::Watched);
        assert_eq!(budget.poll_turn(at(1_000)), Some(Turn::LookUp(StreamId(1))));
        assert_eq!(budget.poll_turn(at(1_000)), Some(Turn::Dial(StreamId(2))));
        ask(&mut budget, 2, 3, Urgency::Watched);
        budget.ask(StreamId(1), addr(2), Urgency::Watched, at(1_100));
        assert_eq!(budget.poll_turn(at(2_000)), Some(Turn::Dial(StreamId(1))));
    }

    #[test]
    fn answers_that_come_together_are_dialled_within_the_budget() {
        let (mut budget, old) = (DialBudget::new(&DialConfig::default()), Instant::from_millis(500));
        (0..50).for_each(|n| budget.ask(StreamId(n), addr(1), Urgency::Unwatched, old));
        budget.opened(addr(1));
        let now = Instant::from_millis(1_000);
        assert_eq!(core::iter::from_fn(|| budget.poll_turn(now)).count(), 20);
        budget.not_served(addr(1));
        (0..20).for_each(|n| budget.ask(StreamId(n), addr(1), Urgency::Unwatched, FOR_EVER));
        let n = granted(&mut budget, now, 400);
        assert!((9..=10).contains(&n), "{n}");
    }
}
