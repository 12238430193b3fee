//! The view of names: what a client's resolver answers, and when.
//!
//! A name has one truth, set by [`Dns::set`]. What a client gets may be older: the resolver hears of a change only
//! after the name's `lag`, and the client's own cache keeps an answer for its `ttl`. Plain data; nothing here sends packets.

use std::{collections::BTreeMap, net::IpAddr};

use proxy_core::time::{Duration, Instant};

use super::{
    dice::{Dice, Purpose},
    router::HostId,
};

/// What the resolver says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsReply {
    /// These addresses, none of them if the name has none of the wanted kind.
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN: no such name.
    NotFound,
    /// SERVFAIL: the resolver could not find out.
    ServFail,
    /// Nothing at all.
    Silent,
}

/// Why a lookup failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DnsError {
    /// No such name.
    NotFound,
    /// The resolver failed.
    ServFail,
    /// The resolver said nothing, twice.
    TimedOut,
}

/// The order of several addresses in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOrder {
    /// As they were set.
    Fixed,
    /// The first one moves to the end at every answer.
    Rotated,
    /// By dice.
    Shuffled,
}

/// How answers for a name behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameSpec {
    /// How long a client keeps an answer, NXDOMAIN included; zero for not at all, as Docker's resolver is used.
    pub ttl: Duration,
    /// How much later than everybody else the resolver hears of a change.
    pub lag: Duration,
    /// An answer takes at least this long.
    pub delay_min: Duration,
    /// An answer takes at most this long.
    pub delay_max: Duration,
    /// The order of several addresses.
    pub order: AddressOrder,
}

impl NameSpec {
    /// No cache, no lag, 0.1 to 1 ms, addresses in their order.
    pub const DEFAULT: Self = Self {
        ttl: Duration::ZERO,
        lag: Duration::ZERO,
        delay_min: Duration::from_micros(100),
        delay_max: Duration::from_millis(1),
        order: AddressOrder::Fixed,
    };
}

/// What a lookup leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// When the client learns it.
    pub at: Instant,
    /// What it learns.
    pub answer: Result<Vec<IpAddr>, DnsError>,
}

/// A client hears nothing for this long before it gives up (glibc: two tries of 5 s).
pub const GIVES_UP: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Name {
    spec: NameSpec,
    /// What was true from when on, in order of time.
    history: Vec<(Instant, DnsReply)>,
    answers: usize,
}

#[derive(Debug)]
struct Cached {
    until: Instant,
    reply: DnsReply,
}

/// The names of a world, and every client's cache.
#[derive(Debug)]
pub struct Dns {
    names: BTreeMap<String, Name>,
    caches: BTreeMap<HostId, BTreeMap<String, Cached>>,
    seed: u64,
}

impl Dns {
    /// Makes a view without names.
    pub fn new(seed: u64) -> Self {
        Self { names: BTreeMap::new(), caches: BTreeMap::new(), seed }
    }

    /// Changes what is true about a name.
    pub fn set(&mut self, name: &str, reply: DnsReply, now: Instant) {
        let entry = self.entry(name);
        // Two changes at one moment: the first was never true.
        entry.history.retain(|&(since, _)| since < now);
        entry.history.push((now, reply));
    }

    /// Changes how answers for a name behave. Answers that clients keep stay as they are.
    pub fn set_spec(&mut self, name: &str, spec: NameSpec) {
        self.entry(name).spec = spec;
    }

    /// Empties a client's cache.
    pub fn flush(&mut self, client: HostId) {
        self.caches.remove(&client);
    }

    /// Asks for a name.
    pub fn lookup(&mut self, client: HostId, name: &str, now: Instant) -> Lookup {
        let kept = self.caches.get(&client).and_then(|cache| cache.get(name));
        if let Some(kept) = kept.filter(|kept| kept.until > now) {
            let reply = kept.reply.clone();
            let mut dice = self.dice(client, name, now);
            return Lookup { at: now, answer: self.answer(name, reply, &mut dice) };
        }
        let Some(entry) = self.names.get(name) else {
            return Lookup { at: now + NameSpec::DEFAULT.delay_max, answer: Err(DnsError::NotFound) };
        };
        let spec = entry.spec;
        let mut dice = self.dice(client, name, now);
        let heard = now - spec.lag;
        let old = entry.history.iter().rev().find(|&&(since, _)| since <= heard);
        // The first thing ever said about a name is no change: there is nothing older to be late with.
        let reply = old.or(entry.history.first()).map_or(DnsReply::NotFound, |(_, reply)| reply.clone());
        let at = match reply {
            DnsReply::Silent => now + GIVES_UP,
            DnsReply::Addresses(_) | DnsReply::NotFound | DnsReply::ServFail => {
                now + dice.between(spec.delay_min, spec.delay_max)
            }
        };
        let keeps = match reply {
            DnsReply::Addresses(_) | DnsReply::NotFound => spec.ttl > Duration::ZERO,
            DnsReply::ServFail | DnsReply::Silent => false,
        };
        if keeps {
            let kept = Cached { until: at + spec.ttl, reply: reply.clone() };
            self.caches.entry(client).or_default().insert(name.to_owned(), kept);
        }
        Lookup { at, answer: self.answer(name, reply, &mut dice) }
    }

    fn entry(&mut self, name: &str) -> &mut Name {
        self.names.entry(name.to_owned()).or_insert(Name {
            spec: NameSpec::DEFAULT,
            history: Vec::new(),
            answers: 0,
        })
    }

    /// Rolls the dice of another seed from here on.
    pub(crate) fn roll_anew(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// The dice of one lookup: what others ask does not shift them.
    fn dice(&self, client: HostId, name: &str, now: Instant) -> Dice {
        let name = name.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let place = now.as_nanos() ^ u64::from(client.0) << 48 ^ name << 16;
        Dice::new(self.seed, Purpose::Resolver, place)
    }

    fn answer(&mut self, name: &str, reply: DnsReply, dice: &mut Dice) -> Result<Vec<IpAddr>, DnsError> {
        let mut addresses = match reply {
            DnsReply::Addresses(addresses) => addresses,
            DnsReply::NotFound => return Err(DnsError::NotFound),
            DnsReply::ServFail => return Err(DnsError::ServFail),
            DnsReply::Silent => return Err(DnsError::TimedOut),
        };
        let Some(entry) = self.names.get_mut(name).filter(|_| addresses.len() > 1) else {
            return Ok(addresses);
        };
        match entry.spec.order {
            AddressOrder::Fixed => {}
            AddressOrder::Rotated => {
                let first = entry.answers % addresses.len();
                addresses.rotate_left(first);
                entry.answers += 1;
            }
            AddressOrder::Shuffled => {
                for last in (1..addresses.len()).rev() {
                    let end = u64::try_from(last + 1).unwrap_or(u64::MAX);
                    addresses.swap(last, usize::try_from(dice.below(end)).unwrap_or(0));
                }
            }
        }
        Ok(addresses)
    }
}
