//! Links: what one direction of a wire does to a packet.
//!
//! A link rolls a die of its own for each of its wrongs. Packets sent at one moment to one place share one latency:
//! a burst stays a burst, as it does under a kernel that hands over several segments at once.

use proxy_core::time::{Duration, Instant};

use super::dice::{Dice, Purpose};

/// How a wire behaves, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// A packet takes at least this long.
    pub latency_min: Duration,
    /// A packet takes at most this long.
    pub latency_max: Duration,
    /// Packets lost, per million.
    pub loss: u32,
    /// Packets that arrive twice, per million.
    pub duplicate: u32,
    /// Packets held back so that later ones overtake them, per million.
    pub reorder: u32,
    /// How long a reordered packet is held back.
    pub reorder_by: Duration,
    /// How much goes through, unlimited if `None`.
    pub bandwidth: Option<Bandwidth>,
    /// The largest packet in bytes, IP header included.
    pub mtu: u16,
    /// Too large a packet is answered by ICMP; otherwise it vanishes (a path-MTU black hole).
    pub mtu_answered: bool,
}

/// How much goes through a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bits per second.
    pub bits_per_second: u64,
    /// Bytes that may wait; what comes on top is dropped.
    pub queue_bytes: u64,
}

impl LinkSpec {
    /// A wire that does nothing to packets: the base for faults of one host's link.
    pub const CLEAR: Self = Self {
        latency_min: Duration::ZERO,
        latency_max: Duration::ZERO,
        loss: 0,
        duplicate: 0,
        reorder: 0,
        reorder_by: Duration::ZERO,
        bandwidth: None,
        mtu: u16::MAX,
        mtu_answered: true,
    };

    /// The bridge of one machine: 40 to 400 µs, 1,500 bytes.
    pub const BRIDGE: Self = Self {
        latency_min: Duration::from_micros(40),
        latency_max: Duration::from_micros(400),
        mtu: 1500,
        ..Self::CLEAR
    };
}

/// A packet's way through a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    /// When it comes out.
    pub(crate) at: Instant,
    /// It also comes out at this moment.
    pub(crate) again: Option<Instant>,
    /// Later packets may overtake it.
    pub(crate) held_back: bool,
}

/// Why a link swallowed a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swallowed {
    /// Lost.
    Lost,
    /// The queue is full.
    QueueFull,
}

/// One direction of a wire.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    spec: LinkSpec,
    latency: Dice,
    loss: Dice,
    duplicate: Dice,
    reorder: Dice,
    /// The wire is busy with earlier packets until then.
    busy_until: Instant,
    burst: Option<Burst>,
}

/// Packets entered at this moment for this place take this long.
#[derive(Clone, Copy, Debug)]
struct Burst {
    entered: Instant,
    place: u64,
    latency: Duration,
}

impl Link {
    pub(crate) fn new(spec: LinkSpec, seed: u64, place: u64) -> Self {
        Self {
            spec,
            latency: Dice::new(seed, Purpose::Latency, place),
            loss: Dice::new(seed, Purpose::Loss, place),
            duplicate: Dice::new(seed, Purpose::Duplicate, place),
            reorder: Dice::new(seed, Purpose::Reorder, place),
            busy_until: Instant::ZERO,
            burst: None,
        }
    }

    pub(crate) const fn spec(&self) -> &LinkSpec {
        &self.spec
    }

    /// Sends `len` bytes into the wire at `at`, towards `place`.
    pub(crate) fn pass(&mut self, at: Instant, len: usize, place: u64) -> Result<Passage, Swallowed> {
        if self.loss.chance(self.spec.loss) {
            return Err(Swallowed::Lost);
        }
        let mut out = self.queue(at, len)? + self.latency_of(at, place);
        let held_back = self.reorder.chance(self.spec.reorder);
        if held_back {
            out += self.spec.reorder_by;
        }
        let again = if self.duplicate.chance(self.spec.duplicate) {
            Some(out + self.latency.between(self.spec.latency_min, self.spec.latency_max))
        } else {
            None
        };
        Ok(Passage { at: out, again, held_back })
    }

    /// When the last bit is on the wire.
    fn queue(&mut self, at: Instant, len: usize) -> Result<Instant, Swallowed> {
        let Some(bandwidth) = self.spec.bandwidth else { return Ok(at) };
        let rate = u128::from(bandwidth.bits_per_second.max(1));
        let waiting = u128::from(self.busy_until.as_nanos().saturating_sub(at.as_nanos()));
        let len = u128::try_from(len).unwrap_or(u128::MAX);
        // A packet that finds the wire idle is never refused: a queue shorter than one packet would cut the wire.
        if waiting > 0 && waiting * rate / 8_000_000_000 + len > u128::from(bandwidth.queue_bytes) {
            return Err(Swallowed::QueueFull);
        }
        let nanos = u64::try_from(len * 8_000_000_000 / rate).unwrap_or(u64::MAX);
        self.busy_until = self.busy_until.max(at) + Duration::from_nanos(nanos);
        Ok(self.busy_until)
    }

    fn latency_of(&mut self, at: Instant, place: u64) -> Duration {
        if self.spec.latency_max <= self.spec.latency_min {
            return self.spec.latency_min;
        }
        match self.burst {
            Some(burst) if burst.entered == at && burst.place == place => burst.latency,
            Some(_) | None => {
                let latency = self.latency.between(self.spec.latency_min, self.spec.latency_max);
                self.burst = Some(Burst { entered: at, place, latency });
                latency
            }
        }
    }
}
