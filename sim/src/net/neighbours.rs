//! Neighbours: which namespace takes the packets for an address on a bridge.
//!
//! The bridge knows who owns what; this room keeps what differs from that. A *stale* entry sends packets to who owned
//! the address before, until it lapses or the rightful owner speaks up. A *search* holds packets for an address
//! nobody answers for: three probes, then host unreachable (2.81 s measured on Linux 6.18).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use proxy_core::time::{Duration, Instant};

use super::{
    dice::{Dice, Purpose},
    router::{BridgeId, HostId, Mac},
    trip::Trip,
};

/// Packets that wait for one address; on top of that the oldest is dropped (Linux: `unres_qlen`).
pub(crate) const PARKED_MAX: usize = 64;
/// Probes are sent this far apart (`retrans_time_ms`).
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Probes sent before giving up (`mcast_solicit`).
const PROBES: u32 = 3;
/// A search fails between these two times after its start.
const GIVES_UP: (Duration, Duration) = (Duration::from_millis(2800), Duration::from_millis(3000));

/// What namespaces do with the old entry when an address changes its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourPolicy {
    /// The new owner announces itself, or the MAC stays: everybody follows at once.
    Refreshed,
    /// Who had talked to the old owner goes on sending to it for this long (Linux: up to 30 s reachable, 5 s
    /// delay, 3 s of probes).
    Stale(Duration),
}

/// A search for a neighbour, named in a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SearchId(pub(crate) u64);

#[derive(Debug)]
struct Stale {
    holder: Mac,
    until: Instant,
    believed_by: BTreeSet<HostId>,
}

/// Packets that wait for an address to be answered for.
#[derive(Debug)]
pub(crate) struct Search {
    /// Who searches.
    pub(crate) namespace: HostId,
    /// On which bridge.
    pub(crate) bridge: BridgeId,
    /// For whom.
    pub(crate) ip: Ipv4Addr,
    /// What waits.
    pub(crate) parked: Vec<Trip>,
    started: Instant,
    probes: u32,
    gives_up: Instant,
}

impl Search {
    /// Takes note of an unanswered probe, and returns when the next look is due, `None` when it has failed.
    pub(crate) fn on_probe(&mut self, now: Instant) -> Option<Instant> {
        if now >= self.gives_up {
            return None;
        }
        self.probes += 1;
        Some(self.next())
    }

    fn next(&self) -> Instant {
        match self.probes {
            PROBES.. => self.gives_up,
            sent => self.started + PROBE_EVERY * sent,
        }
    }
}

/// What namespaces believe that is not so, and what they are trying to find out.
#[derive(Debug)]
pub(crate) struct Neighbours {
    stale: BTreeMap<(BridgeId, Ipv4Addr), Stale>,
    searches: BTreeMap<SearchId, Search>,
    by_target: BTreeMap<(HostId, BridgeId, Ipv4Addr), SearchId>,
    /// Addresses whose network card is new and has sent nothing yet.
    mute: BTreeSet<(BridgeId, Ipv4Addr)>,
    next: u64,
    seed: u64,
}

impl Neighbours {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            stale: BTreeMap::new(),
            searches: BTreeMap::new(),
            by_target: BTreeMap::new(),
            mute: BTreeSet::new(),
            next: 0,
            seed,
        }
    }

    /// Rolls the dice of another seed from here on.
    pub(crate) fn roll_anew(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Returns whom `namespace` still takes for the owner of `ip`, if it is mistaken.
    pub(crate) fn stale(
        &mut self,
        namespace: HostId,
        bridge: BridgeId,
        ip: Ipv4Addr,
        now: Instant,
    ) -> Option<Mac> {
        if self.stale.is_empty() {
            return None;
        }
        let entry = self.stale.get(&(bridge, ip))?;
        if entry.until <= now {
            self.stale.remove(&(bridge, ip));
            return None;
        }
        entry.believed_by.contains(&namespace).then_some(entry.holder)
    }

    /// Nobody is mistaken about anybody.
    pub(crate) fn is_right(&self) -> bool {
        self.stale.is_empty()
    }

    /// Lets those who had talked to `holder` go on sending to it.
    pub(crate) fn mislead(
        &mut self,
        bridge: BridgeId,
        ip: Ipv4Addr,
        holder: Mac,
        believed_by: BTreeSet<HostId>,
        until: Instant,
    ) {
        self.stale.insert((bridge, ip), Stale { holder, until, believed_by });
    }

    /// The owner of `ip` has another network card, and its own neighbour table went with the old one. It matters where
    /// somebody still believes in the old card.
    pub(crate) fn renew(&mut self, bridge: BridgeId, ip: Ipv4Addr) {
        if self.stale.contains_key(&(bridge, ip)) {
            self.mute.insert((bridge, ip));
        }
    }

    /// The owner of `ip` sends something; returns whether its card is new and it must ask whom it sends to, so that
    /// everybody hears who asks.
    pub(crate) fn breaks_silence(&mut self, bridge: BridgeId, ip: Ipv4Addr) -> bool {
        self.mute.remove(&(bridge, ip))
    }

    /// Everybody on the bridge hears who owns `ip`: a gratuitous ARP, or the owner's own first question.
    pub(crate) fn announce(&mut self, bridge: BridgeId, ip: Ipv4Addr) {
        self.stale.remove(&(bridge, ip));
    }

    /// Lets a packet wait for an answer. Returns the search and when it looks next, if this began it, and the
    /// packet that had to go because too many wait.
    pub(crate) fn park(
        &mut self,
        (namespace, bridge, ip): (HostId, BridgeId, Ipv4Addr),
        trip: Trip,
        now: Instant,
    ) -> (Option<(SearchId, Instant)>, Option<Trip>) {
        if let Some(search) =
            self.by_target.get(&(namespace, bridge, ip)).and_then(|id| self.searches.get_mut(id))
        {
            search.parked.push(trip);
            let pushed_out = (search.parked.len() > PARKED_MAX).then(|| search.parked.remove(0));
            return (None, pushed_out);
        }
        let id = SearchId(self.next);
        self.next += 1;
        let place = now.as_nanos() ^ u64::from(namespace.0) << 48 ^ u64::from(ip.to_bits());
        let gives_up = now + Dice::new(self.seed, Purpose::Neighbour, place).between(GIVES_UP.0, GIVES_UP.1);
        let search = Search { namespace, bridge, ip, parked: vec![trip], started: now, probes: 1, gives_up };
        let at = search.next();
        self.by_target.insert((namespace, bridge, ip), id);
        self.searches.insert(id, search);
        (Some((id, at)), None)
    }

    /// Takes a search out, to go on with it or to end it.
    pub(crate) fn take(&mut self, id: SearchId) -> Option<Search> {
        let search = self.searches.remove(&id)?;
        self.by_target.remove(&(search.namespace, search.bridge, search.ip));
        Some(search)
    }

    /// Puts a search back that goes on.
    pub(crate) fn put_back(&mut self, id: SearchId, search: Search) {
        self.by_target.insert((search.namespace, search.bridge, search.ip), id);
        self.searches.insert(id, search);
    }

    /// Forgets what a namespace that is gone was looking for.
    pub(crate) fn forget(&mut self, namespace: HostId) {
        self.searches.retain(|_, search| search.namespace != namespace);
        self.by_target.retain(|&(who, _, _), _| who != namespace);
    }

    /// Returns how many packets wait.
    pub(crate) fn parked(&self) -> usize {
        self.searches.values().map(|search| search.parked.len()).sum()
    }
}
