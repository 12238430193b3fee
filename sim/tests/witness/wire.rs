//! A run's packets, and how they are asked about.

use proxy_core::time::{Duration, Instant};
use sim::{
    net::packet::{self, Header, Parsed, Unreachable},
    trace::{Logged, PacketFate, What},
};

/// A packet where it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    /// The namespace.
    pub(crate) host: String,
    /// It leaves the namespace; otherwise it comes in.
    pub(crate) outgoing: bool,
    /// Why it got no further, if it did not.
    pub(crate) dropped: Option<String>,
    /// Its header; of an ICMP error that of what it is about.
    pub(crate) header: Header,
    /// What an ICMP error says.
    pub(crate) icmp: Option<Unreachable>,
    /// The window it advertises, as it stands.
    pub(crate) window: u16,
    pub(crate) payload: Vec<u8>,
}

/// Packets in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wire(pub(crate) Vec<Seen>);

impl Wire {
    pub(crate) fn of(trace: &Logged) -> Self {
        let packets = trace.records.iter().filter_map(|record| {
            let What::Packet(seen) = &record.what else { return None };
            let (header, icmp) = match packet::parse(&seen.bytes)? {
                Parsed::Tcp(header) => (header, None),
                Parsed::Icmp { reason, src, dst } => {
                    (Header { src, dst, seq: 0, ack: 0, flags: 0, payload: 0 }, Some(reason))
                }
            };
            let payload = usize::try_from(header.payload).ok()?;
            let payload = seen.bytes[seen.bytes.len() - payload..].to_vec();
            let tcp = usize::from(seen.bytes[0] & 0x0F) * 4;
            let window = u16::from_be_bytes([seen.bytes[tcp + 14], seen.bytes[tcp + 15]]);
            Some(Seen {
                at: record.at,
                host: trace.cast.namespaces[usize::from(seen.host)].name.clone(),
                outgoing: seen.outgoing,
                dropped: match &seen.fate {
                    PacketFate::Passed => None,
                    PacketFate::Dropped(why) => Some(why.clone()),
                },
                header,
                icmp,
                window,
                payload,
            })
        });
        Self(packets.collect())
    }

    fn only(&self, keep: impl Fn(&Seen) -> bool) -> Self {
        Self(self.0.iter().filter(|seen| keep(seen)).cloned().collect())
    }

    /// Those seen from a time on and before another, in ms.
    pub(crate) fn between(&self, from: u64, until: u64) -> Self {
        self.only(|seen| seen.at >= Instant::from_millis(from) && seen.at < Instant::from_millis(until))
    }

    /// Those that a host has sent, whatever became of them on their way.
    pub(crate) fn sent_by(&self, host: &str) -> Self {
        self.only(|seen| seen.host == host && seen.outgoing && seen.dropped.is_none())
    }

    /// Those that have come in at a host.
    pub(crate) fn got_by(&self, host: &str) -> Self {
        self.only(|seen| seen.host == host && !seen.outgoing && seen.dropped.is_none())
    }

    /// Those that were lost for this reason.
    pub(crate) fn dropped(&self, why: &str) -> Self {
        self.only(|seen| seen.dropped.as_deref() == Some(why))
    }

    /// Those from or to a port of RTMP, at its origin or before it.
    pub(crate) fn of_origin(&self) -> Self {
        self.only(|seen| seen.header.src.port == 1935)
    }

    /// Those with all these flags, and none of those.
    pub(crate) fn flags(&self, with: u8, without: u8) -> Self {
        self.only(|seen| {
            seen.icmp.is_none() && seen.header.flags & with == with && seen.header.flags & without == 0
        })
    }

    /// Those that carry bytes.
    pub(crate) fn loaded(&self) -> Self {
        self.only(|seen| !seen.payload.is_empty())
    }

    /// Those to this address.
    pub(crate) fn to(&self, ip: &str) -> Self {
        self.only(|seen| seen.header.dst.addr().ip().to_string() == ip)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// All they carry, one after the other.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|seen| seen.payload.clone()).collect()
    }

    /// How often they carry these bytes.
    pub(crate) fn says(&self, what: &[u8]) -> usize {
        self.bytes().windows(what.len()).filter(|bytes| *bytes == what).count()
    }

    /// The longest time between two of them.
    pub(crate) fn longest_gap(&self) -> Duration {
        let gaps = self.0.windows(2).map(|pair| pair[1].at.since(pair[0].at));
        gaps.max().unwrap_or_default()
    }

    /// The most bytes that one of them carries.
    pub(crate) fn largest(&self) -> usize {
        self.0.iter().map(|seen| seen.payload.len()).max().unwrap_or(0)
    }

    /// When the first was seen.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.0.first().map(|seen| seen.at)
    }

    /// How many carry a sequence number that one before had of the same flow.
    pub(crate) fn twice(&self) -> usize {
        let is_again = |(index, seen): &(usize, &Seen)| {
            let same =
                |other: &Seen| (other.header.src, other.header.seq) == (seen.header.src, seen.header.seq);
            self.0[..*index].iter().any(same)
        };
        self.0.iter().enumerate().filter(is_again).count()
    }

    /// How many come after one that was sent later.
    pub(crate) fn overtaken(&self) -> usize {
        let is_late = |pair: &&[Seen]| {
            let (one, other) = (&pair[0].header, &pair[1].header);
            one.src == other.src && one.seq.wrapping_sub(other.seq).wrapping_sub(1) < 1 << 30
        };
        self.0.windows(2).filter(is_late).count()
    }

    /// The least window they advertise.
    pub(crate) fn least_window(&self) -> u16 {
        self.0.iter().map(|seen| seen.window).min().unwrap_or(u16::MAX)
    }
}
