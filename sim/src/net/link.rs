//! Links: what one direction of a wire does to a packet.
//!
//! Two namespaces have dice of their own for each direction and each wrong, so that what happens to one pair does not
//! depend on what others send. Packets sent at one moment to one place share one latency: a burst stays a burst, as it
//! does under a kernel that hands over several segments at once.

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
    /// The wire is busy with earlier packets until then.
    busy_until: Instant,
}

/// What one namespace's packets to another have behind them.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// When the last one arrives: wires keep the order.
    pub(crate) last: Instant,
    /// Rolled on the bridge.
    pub(crate) bridge: Rolls,
    /// Rolled where either end's wire has faults, made when first needed.
    faults: Option<Box<(Rolls, Rolls)>>,
}

impl Pair {
    pub(crate) fn new(seed: u64, place: u64) -> Self {
        Self { last: Instant::ZERO, bridge: Rolls::new(seed, place), faults: None }
    }

    /// Rolls the dice of another seed from here on; packets overtake each other no more than before.
    pub(crate) fn roll_anew(&mut self, seed: u64, place: u64) {
        self.bridge = Rolls::new(seed, place);
        self.faults = None;
    }

    /// The dice for faults of the sender's wire, and of the receiver's.
    pub(crate) fn faults(&mut self, seed: u64, place: u64) -> &mut (Rolls, Rolls) {
        self.faults.get_or_insert_with(|| {
            Box::new((Rolls::new(seed, 1 << 32 | place), Rolls::new(seed, 2 << 32 | place)))
        })
    }
}

/// Dice for one crossing of a link.
#[derive(Clone, Debug)]
pub(crate) struct Rolls {
    latency: Dice,
    loss: Dice,
    duplicate: Dice,
    reorder: Dice,
    /// Packets that enter at this moment take this long.
    burst: Option<(Instant, Duration)>,
}

impl Rolls {
    pub(crate) fn new(seed: u64, place: u64) -> Self {
        Self {
            latency: Dice::new(seed, Purpose::Latency, place),
            loss: Dice::new(seed, Purpose::Loss, place),
            duplicate: Dice::new(seed, Purpose::Duplicate, place),
            reorder: Dice::new(seed, Purpose::Reorder, place),
            burst: None,
        }
    }

    fn latency(&mut self, spec: &LinkSpec, at: Instant) -> Duration {
        if spec.latency_max <= spec.latency_min {
            return spec.latency_min;
        }
        match self.burst {
            Some((entered, latency)) if entered == at => latency,
            Some(_) | None => {
                let latency = self.latency.between(spec.latency_min, spec.latency_max);
                self.burst = Some((at, latency));
                latency
            }
        }
    }
}

impl Link {
    pub(crate) const fn new(spec: LinkSpec) -> Self {
        Self { spec, busy_until: Instant::ZERO }
    }

    pub(crate) const fn spec(&self) -> &LinkSpec {
        &self.spec
    }

    /// Sends `len` bytes into the wire at `at`.
    pub(crate) fn pass(&mut self, at: Instant, len: usize, rolls: &mut Rolls) -> Result<Passage, Swallowed> {
        let spec = self.spec;
        if rolls.loss.chance(spec.loss) {
            return Err(Swallowed::Lost);
        }
        let mut out = self.queue(at, len)? + rolls.latency(&spec, at);
        let held_back = rolls.reorder.chance(spec.reorder);
        if held_back {
            out += spec.reorder_by;
        }
        let again = if rolls.duplicate.chance(spec.duplicate) {
            Some(out + rolls.latency.between(spec.latency_min, spec.latency_max))
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
}
