//! What decides a run, as a value: a file, a generator and a shrinker all make the same thing.

use std::net::Ipv4Addr;

use proxy_core::{
    io::{PlayOutput, PullState},
    time::Duration,
};
use proxyd::config::Settings;

use crate::origin::{Behaviour, Like, Publisher};

/// A line of the file, from 1; 0 for what no line says.
pub type Line = u32;

/// A scenario, every name resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Names it; the file's stem.
    pub id: String,
    /// What must hold, in a sentence.
    pub title: String,
    /// The reports it comes from.
    pub refs: Vec<String>,
    /// The planted defects that must make it fail.
    pub defects: Vec<String>,
    /// How it is run.
    pub run: Run,
    /// The networks, each a bridge on one machine.
    pub nets: Vec<Network>,
    /// The hosts; an index into this is a [`HostRef`].
    pub hosts: Vec<Host>,
    /// Names in the DNS beside the hosts' own.
    pub names: Vec<Name>,
    /// Arguments of `addStreamProxy` that events share; an index into this is a [`PullRef`].
    pub pulls: Vec<PullSpec>,
    /// What happens, in the order of the file.
    pub events: Vec<Event>,
    /// What must hold beside the promises.
    pub expects: Vec<Expect>,
    /// What a search adds to it.
    pub swarm: Option<Swarm>,
}

/// What a search adds to a scenario, another choice for each seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swarm {
    /// Its line.
    pub line: Line,
    /// The kinds of faults, by name; empty: every kind that fits a host.
    pub faults: Vec<&'static str>,
    /// The hosts they happen to; empty: all.
    pub on: Vec<HostRef>,
    /// What operators do beside the story.
    pub calls: Vec<Meddling>,
    /// Faults in a run, at least.
    pub at_least: u16,
    /// Faults in a run, at most.
    pub at_most: u16,
    /// When they begin; `None`: at any time of the run.
    pub between: Option<(Duration, Duration)>,
    /// How long they last.
    pub lasts: (Duration, Duration),
    /// What of the world varies.
    pub knobs: Vec<Knob>,
}

/// What operators do beside the story of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meddling {
    /// addStreamProxy of what may be there.
    Add,
    /// delStreamProxy.
    Del,
    /// close_streams.
    Close,
    /// updateStreamProxy.
    Update,
    /// Calls that look.
    Look,
}

/// What of a world varies in a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Knob {
    /// What software origins are, and how they behave.
    Software,
    /// What their publishers send.
    Content,
    /// What links are like.
    Link,
    /// The proxies' timeouts and limits.
    Config,
    /// Options of pulls.
    Options,
}

/// Which host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostRef(pub u16);

/// Which pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PullRef(pub u16);

/// How a scenario is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Virtual time of the safety phase. What is still broken then is lifted for good, and liveness is judged.
    pub time: Duration,
    /// The seeds run without `--seed`.
    pub seeds: Vec<u64>,
    /// The planes that can express it.
    pub planes: Vec<Plane>,
    /// Why other planes cannot, for readers.
    pub why_not: Option<String>,
}

/// Where a scenario can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plane {
    /// The core on our own network.
    Core,
    /// The driver on turmoil.
    Turmoil,
    /// The binary in Linux network namespaces.
    Netns,
    /// The binary in containers.
    Container,
}

/// A network: a bridge on the one machine all hosts live on.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its line.
    pub line: Line,
    /// Its name.
    pub name: String,
    /// A Docker bridge masquerades what leaves it and publishes ports; a plain one routes.
    pub is_docker: bool,
    /// Its first address and prefix length.
    pub subnet: (Ipv4Addr, u8),
    /// The machine's address on it.
    pub gateway: Ipv4Addr,
    /// What each host's link to it is like.
    pub link: LinkQuality,
    /// What is left behind when a host goes.
    pub on_stop: LeftBehind,
    /// How long an idle established flow stays in the machine's connection tracking.
    pub conntrack_timeout: Option<Duration>,
}

/// What a link is like, in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkQuality {
    /// The least latency.
    pub latency_min: Duration,
    /// The most; each packet rolls.
    pub latency_max: Duration,
    /// Packets lost, per million.
    pub loss_ppm: u32,
    /// Packets that come twice, per million.
    pub duplicate_ppm: u32,
    /// Packets that are overtaken, per million.
    pub reorder_ppm: u32,
    /// Bits per second; `None` is as fast as can be.
    pub bandwidth: Option<u64>,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

/// What is left behind when a host goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// Neighbour entries point to the old interface until they are probed.
    pub neighbours_stale: bool,
    /// Connection tracking keeps its flows.
    pub conntrack_kept: bool,
    /// A host that comes back with `ip = "new"` leaves its address free for the next that wants one.
    pub reassign_ip: bool,
}

/// A host, or several alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its line.
    pub line: Line,
    /// Its name, also in the DNS; of several alike the name they share.
    pub name: String,
    /// Its network, an index into [`Scenario::nets`].
    pub net: u16,
    /// Its address; of several alike the first one's.
    pub ip: Option<Ipv4Addr>,
    /// The port published on the machine's addresses, and how.
    pub publish: Option<Publish>,
    /// What it runs.
    pub role: Role,
}

/// A published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// On the machine and in the container.
    pub port: u16,
    /// How.
    pub via: PublishVia,
}

/// How a port is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishVia {
    /// Destination NAT.
    Dnat,
    /// Docker's userland proxy: accepts before the container listens.
    DockerProxy,
}

/// What a host runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// An RTMP origin with publishers.
    Origin(Box<OriginModel>),
    /// The proxy under test.
    Proxy(Box<Settings>),
    /// Players, each with a network namespace of its own.
    Player(PlayerModel),
}

/// An origin's model.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginModel {
    /// The software.
    pub like: Like,
    /// How it behaves; begins as `like` does.
    pub behaviour: Behaviour,
    /// The port it listens on.
    pub port: u16,
    /// `app/stream` of every stream published, ranges such as `live/cam{1..500}` expanded.
    pub streams: Vec<String>,
    /// What the publishers send.
    pub publisher: Publisher,
    /// From start of the process to listening, at each restart; it is up at 0 s.
    pub boot: Duration,
    /// From start of the process to the first frame of its publishers, at each restart.
    pub first_frame: Duration,
    /// Its publishers are there at 0 s.
    pub published: bool,
    /// It is up at 0 s; otherwise it begins as if killed, until a `start` event.
    pub up: bool,
}

/// A player's model.
#[derive(Clone, Debug, PartialEq)]
pub struct PlayerModel {
    /// How many alike.
    pub count: u16,
    /// Dials again so long after a connection was lost; `None`: never.
    pub retry: Option<Duration>,
    /// Reads at most so many bytes a second.
    pub read_rate: Option<u64>,
}

/// A name in the DNS.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// Its line.
    pub line: Line,
    /// The name.
    pub name: String,
    /// The hosts whose addresses it has, in this order; follows them when they move.
    pub hosts: Vec<HostRef>,
    /// Further addresses.
    pub ips: Vec<Ipv4Addr>,
    /// How old an answer may be.
    pub ttl: Duration,
}

/// Arguments of `addStreamProxy` that events share.
#[derive(Clone, Debug, PartialEq)]
pub struct PullSpec {
    /// Its line.
    pub line: Line,
    /// Its name.
    pub name: String,
    /// The application.
    pub app: String,
    /// The stream; of several alike with `{n}` in it.
    pub stream: String,
    /// The url; of several alike with `{n}` in it.
    pub url: String,
    /// How many alike; `{n}` counts from 1.
    pub count: u16,
    /// Other arguments, as text.
    pub args: Vec<(String, String)>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its line.
    pub line: Line,
    /// When.
    pub at: When,
    /// The name others refer to it by.
    pub name: Option<String>,
    /// Again after this long, until the safety phase ends.
    pub every: Option<Duration>,
    /// What.
    pub act: Act,
}

/// A moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    /// From where it counts.
    pub anchor: Anchor,
    /// How long after, in nanoseconds; negative only for named anchors of fixed time.
    pub offset: i64,
}

/// From where a moment counts. A host's, pull's or player's moment is its first after the events listed above have begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The beginning of the run.
    Zero,
    /// The beginning of an event, by index.
    Start(usize),
    /// The moment a fault is lifted, by its event's index.
    Cleared(usize),
    /// A request of an event is answered, by index.
    Replied(usize),
    /// A host listens.
    Listening(HostRef),
    /// An origin's first keyframe after a restart or a publisher's return is there to be had.
    Serving(HostRef),
    /// A pull enters a state.
    Entered(PullRef, PullState),
    /// A player group has a seat: `Play.Start` or the FLV header has come to each.
    Watching(HostRef),
    /// The safety phase ends.
    End,
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// An operator calls the API of a proxy.
    Call(Call),
    /// A script that repairs: looks each `every` whether the stream is online, and if it is not, adds or closes and adds.
    Repair {
        /// At this proxy.
        proxy: HostRef,
        /// What it wants.
        pull: PullRef,
        /// close_streams before it adds.
        closes: bool,
    },
    /// Players begin to play.
    Play {
        /// Which players.
        players: HostRef,
        /// At this proxy or origin.
        at: HostRef,
        /// `app/stream`; `{n}` in it is the player's number in its group, from 1.
        stream: String,
        /// By these outputs; of several, each player of the group plays all.
        via: Vec<PlayOutput>,
    },
    /// Players leave.
    Leave {
        /// Which players.
        players: HostRef,
        /// How.
        by: LeaveBy,
    },
    /// A publisher comes, or comes with something else.
    Publish {
        /// To this origin.
        origin: HostRef,
        /// `app/stream`; `None`: all streams of the origin.
        stream: Option<String>,
        /// What it sends from here on; `None`: what the origin's model says.
        publisher: Option<Box<Publisher>>,
        /// Without the old publisher's leaving being told.
        silently: bool,
    },
    /// An origin process starts that was not up.
    Start {
        /// Which.
        origin: HostRef,
    },
    /// Something goes wrong.
    Fault(FaultEvent),
}

/// How a player leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveBy {
    /// deleteStream, then FIN.
    Stop,
    /// FIN.
    Close,
    /// RST.
    Reset,
    /// Its host vanishes.
    Vanish,
}

/// An operator's call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// At this proxy.
    pub proxy: HostRef,
    /// The call's name.
    pub call: String,
    /// The pull whose arguments it takes, if it is about one; of several alike, a call each.
    pub pull: Option<PullRef>,
    /// Arguments beside or instead of the pull's.
    pub args: Vec<(String, String)>,
    /// What the reply must be.
    pub reply: ReplyWanted,
}

/// What a reply must be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplyWanted {
    /// `code`.
    pub code: Option<i64>,
    /// Part of `msg`.
    pub msg: Option<String>,
    /// "Already exists" is allowed only if players could get frames at that moment.
    pub refusal_only_if_true: bool,
    /// It must come within this time.
    pub within: Option<Duration>,
    /// `app/stream` of every stream a list holds, no more and no less.
    pub streams: Option<Vec<String>>,
    /// Values at paths of the JSON such as `data.state`, compared as text.
    pub fields: Vec<(String, String)>,
}

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
            Self::WallClock { .. } => Realm::Clock,
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

/// How a stream of bytes is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutBy {
    /// FIN.
    Fin,
    /// RST.
    Reset,
    /// Silence.
    Silence,
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
    Addresses(Vec<Ipv4Addr>),
}

/// What must hold beside the promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// Its line.
    pub line: Line,
    /// What.
    pub what: Wanted,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Players get frames, on each output they asked for.
    FramesAt {
        /// Which players.
        players: Vec<HostRef>,
        /// From when on.
        after: When,
        /// The first one within this time.
        at_most: Option<Duration>,
        /// From the first one on no longer silence than this, until `until`.
        max_gap: Option<Duration>,
        /// Until when; `None`: the end of the safety phase.
        until: Option<When>,
    },
    /// Something does not happen.
    Never {
        /// What.
        what: Never,
        /// To which players; empty: all.
        players: Vec<HostRef>,
        /// Of which pulls; empty: all.
        pulls: Vec<PullRef>,
        /// From when on.
        from: When,
        /// Until when.
        until: When,
    },
    /// Players are told something: an onStatus code, `StreamEOF`, `HTTP 404`.
    Told {
        /// Which players.
        players: Vec<HostRef>,
        /// What.
        status: String,
        /// From when on.
        after: When,
        /// Within this time.
        at_most: Option<Duration>,
    },
    /// A proxy dials a host, or anything, so often.
    Dials {
        /// The host dialled; `None`: any.
        to: Option<HostRef>,
        /// From when on.
        from: When,
        /// Until when.
        until: When,
        /// At least.
        at_least: Option<u64>,
        /// At most.
        at_most: Option<u64>,
    },
    /// A pull enters a state.
    Entered {
        /// Which pull.
        pull: PullRef,
        /// The state.
        state: PullState,
        /// From when on.
        after: When,
        /// Within this time.
        within: Option<Duration>,
    },
    /// A pull is no longer registered.
    Removed {
        /// Which pull.
        pull: PullRef,
        /// From when on.
        after: When,
        /// Within this time.
        within: Option<Duration>,
    },
    /// The pull's loss is noticed by this layer and no other, between two moments.
    NoticedBy {
        /// Which pull.
        pull: PullRef,
        /// The layer.
        layer: Layer,
        /// From when on.
        after: When,
        /// Within this time.
        within: Option<Duration>,
    },
    /// The pull recovers by this level and no higher one.
    RecoveredBy {
        /// Which pull.
        pull: PullRef,
        /// The level.
        level: Level,
        /// From when on.
        after: When,
    },
    /// The run reaches these marks.
    Marks {
        /// Which.
        marks: Vec<String>,
    },
}

/// What must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Never {
    /// A player loses its connection.
    PlayerDisconnected,
    /// A player gets a frame.
    Frames,
    /// A pull leaves `Streaming`.
    Interrupted,
    /// A pull dials.
    Dialled,
    /// A pull replays on its connection.
    Replayed,
    /// A stream's context is made anew.
    Rebuilt,
    /// A pull is registered.
    Registered,
    /// A pull is removed.
    Unregistered,
    /// A player skips frames.
    Shed,
}

/// A layer of detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// FIN, RST, dial error.
    Transport,
    /// Pings, and what is told by RTMP.
    Rtmp,
    /// Frames.
    Media,
}

/// A level of recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A new play on the same connection.
    Replay,
    /// A new connection, the same stream context.
    Redial,
    /// A new stream context.
    Rebuild,
}
