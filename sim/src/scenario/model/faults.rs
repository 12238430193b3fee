//! What goes wrong.

use std::net::{IpAddr, Ipv4Addr};

use proxy_core::time::Duration;

use super::HostRef;
use crate::origin::{Behaviour, Publisher};
pub use crate::{net::packet::Family, origin::CutBy};

/// Something goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultEvent {
    /// Where.
    pub on: HostRef,
    /// What.
    pub fault: Fault,
    /// Lifted after this time; `None`: when the safety phase ends.
    pub time: Option<Duration>,
}

/// Everything that can go wrong. `for` is the fault's own time, see [`FaultEvent::time`].
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    // ---- processes and containers ----
    /// The process is told to end, says what its software says, and is back after `for` and its boot time.
    Term(Comeback),
    /// The process is killed: its kernel hangs up.
    Kill(Comeback),
    /// The container is gone without a packet.
    Vanish(Comeback),
    /// SIGSTOP: the kernel goes on, the process does not.
    Freeze,
    /// The container's freezer: the same, of every process in it.
    Pause,
    // ---- dialling ----
    /// The port is closed: dials are refused; what is connected stays.
    Refuse,
    /// Dials are swallowed; what is connected stays.
    Blackhole,
    /// Dials are accepted by something that closes at once.
    AcceptClose,
    /// Dials are accepted by something that resets at the first bytes.
    AcceptReset,
    /// Dials are accepted by something that says nothing.
    AcceptSilence,
    // ---- the network ----
    /// Packets between the host and others do not pass.
    Partition {
        /// The others; empty: all.
        with: Vec<HostRef>,
        /// Which packets, seen from the host.
        direction: Direction,
        /// Of which family; `None`: of both.
        family: Option<Family>,
        /// What happens to them.
        how: PartitionHow,
    },
    /// Packets are lost on the host's link, per million, in both directions.
    Loss {
        /// Per million.
        ppm: u32,
    },
    /// Packets come twice.
    Duplicate {
        /// Per million.
        ppm: u32,
    },
    /// Packets are overtaken.
    Reorder {
        /// Per million.
        ppm: u32,
    },
    /// Packets take longer, on top of the link's latency.
    Latency {
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
    },
    /// The host's link carries no more than this.
    Bandwidth {
        /// Bits per second.
        bits: u64,
    },
    /// Packets beyond this size are dropped on the host's link.
    Mtu {
        /// Bytes.
        bytes: u32,
        /// The sender is told by ICMP.
        icmp: bool,
    },
    /// The host's link is down.
    LinkDown,
    /// The host's interface is removed; a new one with the same address comes after `for`.
    VethRecreate,
    /// `docker network disconnect`, and `connect` after `for`.
    Disconnect {
        /// The address after it.
        ip: NextIp,
    },
    /// The machine forgets all flows it tracks: what goes through NAT is lost in silence.
    ConntrackFlush,
    /// The host's address moves to another one, at once and for good; names follow.
    MoveAddress {
        /// The new address.
        ip: NextIp,
        /// Who else has the old one from then on.
        taken: AddressTaken,
    },
    // ---- bytes the host's software sends ----
    /// The outgoing stream of each connection ends at this byte, counted from the fault's beginning.
    Cut {
        /// The byte.
        at: u64,
        /// How.
        by: CutBy,
    },
    /// What is sent goes out in pieces.
    Split {
        /// Bytes in a piece.
        bytes: u32,
    },
    /// What is sent is held and goes out together.
    Coalesce {
        /// For so long.
        hold: Duration,
    },
    /// What is sent trickles.
    Trickle {
        /// Bytes in a piece.
        bytes: u32,
        /// Time between pieces.
        every: Duration,
    },
    // ---- an origin's RTMP ----
    /// Behaves differently towards new connections and new requests: handshake, connect, createStream, play,
    /// missing streams, withheld media.
    Behave(Box<Behaving>),
    /// Live plays are ended.
    End {
        /// What is said.
        ending: Ending,
        /// What follows.
        then: Then,
    },
    /// The origin sends players elsewhere.
    ReconnectRequest {
        /// The tcUrl told.
        tc_url: Option<String>,
    },
    // ---- an origin's publishers ----
    /// The publisher leaves; one comes back after `for`.
    PublisherAway {
        /// Which stream; `None`: all.
        stream: Option<String>,
        /// What it sends when it is back; `None`: the same.
        back: Option<Box<Publisher>>,
    },
    /// Frames of these tracks stop, all else goes on.
    NoMedia {
        /// Audio stops.
        audio: bool,
        /// Video stops.
        video: bool,
    },
    /// One frame each so often, all else goes on.
    Drip {
        /// Time between frames.
        every: Duration,
    },
    /// Keyframes are left out.
    NoKeyframes,
    /// The publisher's timestamps move, for good.
    TimestampJump {
        /// Milliseconds.
        by: i64,
    },
    // ---- names ----
    /// A name is answered differently, to everybody.
    Dns {
        /// Which name; it may be a host's.
        name: String,
        /// How.
        answer: DnsAnswer,
    },
    // ---- the proxy's own host ----
    /// The wall clock jumps, for good.
    WallClock {
        /// Milliseconds.
        by: i64,
    },
    /// Timers fire late.
    LateTimers {
        /// By so much.
        by: Duration,
    },
    /// Every ephemeral port is in use: nothing can be dialled.
    NoPorts,
    // ---- players ----
    /// Reads slowly.
    SlowReader {
        /// Bytes per second.
        rate: u64,
    },
    /// Reads nothing.
    Stuck,
}

/// Where a fault acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// A process with all that is around it, or its place in the network.
    Container,
    /// The machine between the hosts: what passes, and what it remembers.
    Machine,
    /// What a host's cable is like.
    Cable,
    /// What an origin's software does.
    Software,
    /// An origin's publishers.
    Publishers,
    /// Names.
    Names,
    /// The clock of a host.
    Clock,
    /// What the kernel of a host has left.
    Kernel,
    /// How players read.
    Players,
}

impl Fault {
    /// Returns where it acts.
    pub const fn realm(&self) -> Realm {
        match self {
            Self::Term(_)
            | Self::Kill(_)
            | Self::Vanish(_)
            | Self::Freeze
            | Self::Pause
            | Self::VethRecreate
            | Self::Disconnect { .. }
            | Self::MoveAddress { .. } => Realm::Container,
            Self::Refuse
            | Self::Blackhole
            | Self::Partition { .. }
            | Self::LinkDown
            | Self::ConntrackFlush => Realm::Machine,
            Self::Loss { .. }
            | Self::Duplicate { .. }
            | Self::Reorder { .. }
            | Self::Latency { .. }
            | Self::Bandwidth { .. }
            | Self::Mtu { .. } => Realm::Cable,
            Self::AcceptClose
            | Self::AcceptReset
            | Self::AcceptSilence
            | Self::Cut { .. }
            | Self::Split { .. }
            | Self::Coalesce { .. }
            | Self::Trickle { .. }
            | Self::Behave(_)
            | Self::End { .. }
            | Self::ReconnectRequest { .. }
            | Self::NoMedia { .. }
            | Self::Drip { .. }
            | Self::NoKeyframes
            | Self::TimestampJump { .. } => Realm::Software,
            Self::PublisherAway { .. } => Realm::Publishers,
            Self::Dns { .. } => Realm::Names,
            Self::WallClock { .. } | Self::LateTimers { .. } => Realm::Clock,
            Self::NoPorts => Realm::Kernel,
            Self::SlowReader { .. } | Self::Stuck => Realm::Players,
        }
    }
}

/// How something comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comeback {
    /// With which address.
    pub ip: NextIp,
    /// Boot time, instead of the model's.
    pub boot: Option<Duration>,
    /// Time to the first frame, instead of the model's.
    pub first_frame: Option<Duration>,
    /// Who has its old address meanwhile, and after it if it comes back with another.
    pub taken: AddressTaken,
    /// It never comes back, not even when the safety phase ends.
    pub never: bool,
}

/// The next address of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextIp {
    /// The same.
    Same,
    /// A free one.
    New,
    /// This one.
    Ip(Ipv4Addr),
}

/// Who has an address that was another host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressTaken {
    /// Nobody.
    Nobody,
    /// A host where nothing listens.
    Refusing,
    /// A host that swallows everything.
    Silent,
    /// An RTMP server without the stream.
    OtherServer,
}

/// Which packets, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// All.
    Both,
    /// Those to it.
    To,
    /// Those from it.
    From,
}

/// What happens to packets that do not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionHow {
    /// They are lost.
    Drop,
    /// They are answered: a reset, or host unreachable.
    Reject,
}

/// What changes in a behaviour, by what a file says; see [`Behaviour`].
#[derive(Clone, Debug, PartialEq)]
pub struct Behaving {
    /// The fault's name in the file.
    pub name: &'static str,
    /// The whole behaviour while it lasts.
    pub behaviour: Behaviour,
}

/// What a live play is told at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Nothing.
    Silent,
    /// User control StreamEOF.
    StreamEof,
    /// User control StreamDry.
    StreamDry,
    /// NetStream.Play.UnpublishNotify.
    UnpublishNotify,
    /// NetStream.Play.Stop.
    PlayStop,
    /// NetStream.Play.Complete.
    PlayComplete,
    /// NetStream.Play.StreamNotFound.
    StreamNotFound,
    /// NetStream.Play.Failed.
    PlayFailed,
    /// NetStream.Play.InsufficientBW.
    InsufficientBw,
    /// NetConnection.Connect.Closed.
    ConnectClosed,
    /// NetConnection.Connect.Rejected.
    ConnectRejected,
    /// NetConnection.Connect.AppShutdown.
    AppShutdown,
}

/// What follows an ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Silence on a living connection; with `for` media comes back after it.
    Silence,
    /// FIN.
    Close,
    /// RST.
    Reset,
    /// Media goes on, as if nothing had been said.
    GoesOn,
}

/// How a name is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsAnswer {
    /// There is no such name.
    NxDomain,
    /// The server failed.
    ServFail,
    /// There is no answer.
    Silent,
    /// The answer comes late.
    Slow(Duration),
    /// The answer of the fault's beginning.
    Stale,
    /// These addresses.
    Addresses(Vec<IpAddr>),
}
