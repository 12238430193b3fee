//! NAT of the machine that owns the bridges' gateways: published ports, masquerading, connection tracking.
//!
//! A packet is looked up by its addresses and ports. A known flow is translated as its entry says; a SYN makes an
//! entry; anything else that would need an entry is dropped in silence, as after `conntrack -F` under a
//! published port (measured: no RST, the old flow is half-open, new flows work).

use std::collections::BTreeMap;

use proxy_core::time::{Duration, Instant};

use super::{
    dice::{Dice, Purpose},
    packet::{Endpoint, FIN, Header, RST},
};

/// How long entries live without traffic. The defaults are Linux's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConntrackSpec {
    /// Until the handshake is complete (`nf_conntrack_tcp_timeout_syn_sent`).
    pub opening: Duration,
    /// While the connection is open (`nf_conntrack_tcp_timeout_established`).
    pub established: Duration,
    /// After a FIN (`nf_conntrack_tcp_timeout_time_wait`).
    pub closing: Duration,
    /// After an RST (`nf_conntrack_tcp_timeout_close`).
    pub reset: Duration,
}

impl ConntrackSpec {
    /// Linux's defaults.
    pub const LINUX: Self = Self {
        opening: Duration::from_secs(120),
        established: Duration::from_secs(432_000),
        closing: Duration::from_secs(120),
        reset: Duration::from_secs(10),
    };
}

/// A flow as it is told apart: from, to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tuple {
    pub(crate) src: Endpoint,
    pub(crate) dst: Endpoint,
}

impl Tuple {
    pub(crate) const fn of(header: &Header) -> Self {
        Self { src: header.src, dst: header.dst }
    }

    const fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Original,
    Reply,
}

#[derive(Clone, Debug)]
struct Entry {
    /// As the dialling side sends it, before NAT.
    original: Tuple,
    /// The same, after NAT.
    translated: Tuple,
    progress: Progress,
    expires: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Opening,
    Established,
    Closing,
    Reset,
}

/// The table of flows.
#[derive(Debug)]
pub(crate) struct Conntrack {
    spec: ConntrackSpec,
    entries: BTreeMap<u64, Entry>,
    flows: BTreeMap<Tuple, (u64, Direction)>,
    next: u64,
    sweep_at: usize,
    ports: Dice,
}

impl Conntrack {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            spec: ConntrackSpec::LINUX,
            entries: BTreeMap::new(),
            flows: BTreeMap::new(),
            next: 0,
            sweep_at: 64,
            ports: Dice::new(seed, Purpose::Masquerade, 0),
        }
    }

    /// Rolls the dice of another seed from here on.
    pub(crate) fn roll_anew(&mut self, seed: u64) {
        self.ports = Dice::new(seed, Purpose::Masquerade, 0);
    }

    pub(crate) const fn set_spec(&mut self, spec: ConntrackSpec) {
        self.spec = spec;
    }

    /// Returns where a packet of a known flow goes, and takes note of it.
    pub(crate) fn translate(&mut self, header: &Header, now: Instant) -> Option<Tuple> {
        let &(id, direction) = self.flows.get(&Tuple::of(header))?;
        let entry = self.entries.get_mut(&id)?;
        let over = matches!(entry.progress, Progress::Closing | Progress::Reset);
        if entry.expires <= now || (over && header.is_syn()) {
            self.remove(id);
            return None;
        }
        entry.progress = match (entry.progress, direction) {
            (Progress::Reset, _) => Progress::Reset,
            _ if header.flags & RST != 0 => Progress::Reset,
            (Progress::Closing, _) => Progress::Closing,
            _ if header.flags & FIN != 0 => Progress::Closing,
            (Progress::Opening, Direction::Original) => Progress::Opening,
            (Progress::Opening, Direction::Reply) | (Progress::Established, _) => Progress::Established,
        };
        entry.expires = now
            + match entry.progress {
                Progress::Opening => self.spec.opening,
                Progress::Established => self.spec.established,
                Progress::Closing => self.spec.closing,
                Progress::Reset => self.spec.reset,
            };
        Some(match direction {
            Direction::Original => entry.translated,
            Direction::Reply => entry.original.reversed(),
        })
    }

    /// Takes up a flow. Where its reply would look like another flow's, the source port is changed.
    pub(crate) fn insert(&mut self, original: Tuple, wanted: Tuple, opening: bool, now: Instant) -> Tuple {
        if self.entries.len() >= self.sweep_at {
            self.sweep(now);
            self.sweep_at = self.entries.len() * 2 + 64;
        }
        let mut translated = wanted;
        while self.flows.contains_key(&translated.reversed()) {
            let port = 1024 + self.ports.below(64_512);
            translated.src.port = u16::try_from(port).unwrap_or(u16::MAX);
        }
        let id = self.next;
        self.next += 1;
        let (progress, lives) = match opening {
            true => (Progress::Opening, self.spec.opening),
            false => (Progress::Established, self.spec.established),
        };
        self.entries.insert(id, Entry { original, translated, progress, expires: now + lives });
        self.flows.insert(original, (id, Direction::Original));
        self.flows.insert(translated.reversed(), (id, Direction::Reply));
        translated
    }

    /// Forgets every flow.
    pub(crate) fn flush(&mut self) {
        self.entries.clear();
        self.flows.clear();
    }

    /// Forgets the flows from or to this address.
    pub(crate) fn forget(&mut self, ip: std::net::Ipv4Addr) {
        let ids: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                [entry.original.src.ip, entry.original.dst.ip, entry.translated.dst.ip].contains(&ip)
            })
            .map(|(&id, _)| id)
            .collect();
        for id in ids {
            self.remove(id);
        }
    }

    /// Drops what has expired, and returns how many are left.
    pub(crate) fn sweep(&mut self, now: Instant) -> usize {
        let ids: Vec<u64> =
            self.entries.iter().filter(|(_, entry)| entry.expires <= now).map(|(&id, _)| id).collect();
        for id in ids {
            self.remove(id);
        }
        self.entries.len()
    }

    fn remove(&mut self, id: u64) {
        if let Some(entry) = self.entries.remove(&id) {
            self.flows.remove(&entry.original);
            self.flows.remove(&entry.translated.reversed());
        }
    }
}
