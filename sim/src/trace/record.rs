//! Records: one thing that happened, as plain data.

use std::net::{Ipv4Addr, SocketAddr};

use proxy_core::{
    io::{ConnectError, Event, Hangup, PlayOutput, PullState, ResolveError, Wakeup},
    proxy::Counts,
    time::Instant,
};
use serde::{Deserialize, Serialize};

use crate::raw::media::Track;

/// Somebody who takes part in a run: an index into [`Cast::members`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ActorId(pub u16);

impl ActorId {
    /// The world itself: phases, the network.
    pub const WORLD: Self = Self(u16::MAX);
}

/// One player at one output, numbered in the order in which they were made to play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeatId(pub u32);

/// Who takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cast {
    /// Everybody.
    pub members: Vec<CastMember>,
    /// The network namespaces, by their number in packets.
    pub namespaces: Vec<Namespace>,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Every address it has had.
    pub addresses: Vec<Ipv4Addr>,
}

/// Somebody who takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CastMember {
    /// The name in the scenario, with a number if there are several alike.
    pub name: String,
    /// The host in the scenario, an index into its hosts.
    pub host: u16,
}

impl Cast {
    /// Returns a name for people.
    pub fn name(&self, actor: ActorId) -> &str {
        self.members.get(usize::from(actor.0)).map_or("world", |member| &member.name)
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counts from 1 without gaps. A packet has the number of the record before it.
    pub step: u64,
    /// Virtual time.
    pub at: Instant,
    /// Who it happened to.
    pub actor: ActorId,
    /// The record that caused it; 0 if none did.
    pub cause: u64,
    /// The line of the scenario behind it; 0 if none is.
    pub line: u32,
    /// The hash over everything up to and with this record.
    #[serde(skip)]
    pub hash: u64,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// A phase of the run begins.
    Phase(Phase),
    /// An event of the timeline begins, by index.
    Began {
        /// The event.
        event: u16,
    },
    /// A fault is lifted, by its event's index.
    Lifted {
        /// The event.
        event: u16,
    },
    /// A moment that others wait for.
    Moment(Moment),
    /// Somebody has an address from here on; whoever had it before has not.
    Address {
        /// Which.
        ip: Ipv4Addr,
    },
    /// An operator calls the proxy.
    Asked(Call),
    /// The proxy answers a call.
    Answered {
        /// Which call.
        call: u32,
        /// The body.
        body: String,
    },
    /// Something enters the core.
    In(Inward),
    /// Something leaves the core.
    Out(Outward),
    /// The core tells.
    Event(Event),
    /// What is alive in the core and its driver changed.
    Sample(Sample),
    /// A frame of audio or video has arrived at the proxy's socket.
    Arrived {
        /// The upstream connection.
        conn: u64,
        /// Of which track.
        track: Track,
        /// It is a keyframe of video.
        key: bool,
        /// Its payload, in bytes.
        len: u32,
    },
    /// The end of its stream, told by an origin, has arrived at the proxy's socket.
    EndArrived {
        /// The upstream connection.
        conn: u64,
        /// The word for it.
        told: String,
    },
    /// An origin accepts a connection.
    OriginAccepted,
    /// An origin accepts a play.
    OriginPlays {
        /// `app/stream`.
        stream: String,
    },
    /// An origin saw what a well-behaved client does not do.
    OriginComplains(String),
    /// A player was made to play.
    PlayerJoins {
        /// Which.
        seat: SeatId,
        /// What it takes.
        output: PlayOutput,
        /// `app/stream`.
        stream: String,
        /// From whom: the proxy or an origin.
        from: ActorId,
        /// Dials again when its connection is lost.
        redials: bool,
    },
    /// A player was made to leave.
    PlayerLeaves {
        /// Which.
        seat: SeatId,
    },
    /// A player's dial succeeded.
    PlayerConnected {
        /// Which.
        seat: SeatId,
        /// Its own address.
        local: SocketAddr,
    },
    /// A player saw something.
    Saw {
        /// Which.
        seat: SeatId,
        /// What.
        saw: Saw,
    },
    /// A player was told something: an onStatus code, `StreamEOF`, `HTTP 404`.
    PlayerTold {
        /// Which.
        seat: SeatId,
        /// What.
        status: String,
    },
    /// A player's connection is gone, or its dial failed.
    PlayerLost {
        /// Which.
        seat: SeatId,
        /// How.
        cause: String,
    },
    /// A player saw what no player may see.
    PlayerViolation {
        /// Which.
        seat: SeatId,
        /// What.
        text: String,
    },
    /// A packet on the network, if packets are kept.
    Packet(Packet),
    /// A host's kernel dials, where nothing nearer to the software tells of it.
    Dialled {
        /// Whom.
        addr: SocketAddr,
    },
}

/// A phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Faults happen; nothing bad may.
    Safety,
    /// Every fault is lifted for good; everything good must happen in time.
    Calm,
    /// Every stream is deleted and every player leaves; everything must return to its baseline.
    Cleanup,
    /// Over.
    End,
}

/// A moment that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Moment {
    /// The host of the actor listens.
    Listening,
    /// The origin's first keyframe is there to be had.
    Serving,
    /// The origin serves no more.
    Silent,
    /// Every seat of a player has been given a stream.
    Watching,
}

/// An operator's call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Counts from 0.
    pub call: u32,
    /// The event behind it; `None` if the world itself or a script called.
    pub event: Option<u16>,
    /// The call's name.
    pub name: String,
    /// `app/stream` it is about, if it is about one.
    pub stream: Option<String>,
    /// Its arguments.
    pub args: Vec<(String, String)>,
}

/// What enters the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inward {
    /// The moment of a deadline.
    Timeout,
    /// The listeners.
    Listening,
    /// A lookup is answered.
    Resolved {
        /// Which.
        query: u64,
        /// How many addresses, or why none.
        answer: Result<u16, ResolveError>,
    },
    /// A dial ended.
    Connected {
        /// Which.
        conn: u64,
        /// How.
        failed: Option<ConnectError>,
    },
    /// A player connected.
    Accepted {
        /// Its connection.
        conn: u64,
        /// Its address.
        peer: SocketAddr,
    },
    /// A player asks for HTTP-FLV.
    PlayHttp {
        /// Its connection.
        conn: u64,
        /// Its address.
        peer: SocketAddr,
    },
    /// Bytes came.
    Received {
        /// Where.
        conn: u64,
        /// How many.
        len: u32,
    },
    /// A socket took bytes.
    Sent {
        /// Which.
        conn: u64,
        /// How many.
        len: u32,
    },
    /// A connection is gone.
    Closed {
        /// Which.
        conn: u64,
        /// How.
        hangup: Hangup,
    },
    /// An operator's request.
    Request {
        /// Its number.
        id: u64,
    },
    /// A question is answered.
    Answered {
        /// Which.
        ask: u64,
    },
}

/// What leaves the core, besides events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outward {
    /// A lookup.
    Resolve {
        /// Which.
        query: u64,
    },
    /// A dial.
    Connect {
        /// Which.
        conn: u64,
        /// Where to.
        addr: SocketAddr,
    },
    /// Bytes.
    Transmit {
        /// Where to.
        conn: u64,
        /// How many.
        len: u32,
    },
    /// An orderly hang-up.
    Close {
        /// Of which connection.
        conn: u64,
    },
    /// A hang-up at once.
    Abort {
        /// Of which connection.
        conn: u64,
    },
    /// A reply to a request.
    Reply {
        /// Which.
        id: u64,
    },
    /// A question to the operator's systems.
    Ask {
        /// Which.
        ask: u64,
    },
    /// The answer to an HTTP-FLV player.
    PlayAnswer {
        /// Its connection.
        conn: u64,
        /// It gets the stream.
        streams: bool,
    },
}

/// What is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// In the core.
    pub core: Counts,
    /// Sockets the driver holds.
    pub sockets: u32,
    /// The next deadline of the core.
    pub next: Option<(Instant, Wakeup)>,
}

/// What a player saw since the record before, in one read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saw {
    /// Frames, audio and video.
    pub frames: u32,
    /// Video frames.
    pub video: u32,
    /// Video keyframes.
    pub keys: u32,
    /// Sequence headers.
    pub headers: u32,
    /// Metadata.
    pub metadata: u32,
    /// How often frames of a track are missing between others of one play.
    pub leaps: u32,
    /// Plays of the origin not seen before.
    pub plays: u32,
    /// Lives of the publisher not seen before.
    pub lives: u32,
    /// Openings completed: what comes from a connection's beginning, or behind the last frame of a play, up to a picture.
    pub opened: u32,
    /// The last one's sequence headers.
    pub opening_headers: u32,
    /// The last one's metadata.
    pub opening_metadata: u32,
    /// Play.Start or the FLV header has come.
    pub seated: bool,
}

/// A packet on the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// The network namespace it is seen in, an index into [`Cast::namespaces`].
    pub host: u16,
    /// It leaves the namespace; otherwise it comes in.
    pub outgoing: bool,
    /// What became of it.
    pub fate: PacketFate,
    /// The IP packet, whole.
    pub bytes: Vec<u8>,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PacketFate {
    /// It went on.
    Passed,
    /// It was dropped, and why.
    Dropped(String),
}

/// Every state of a pull.
pub const STATES: [PullState; 10] = [
    PullState::Resolving,
    PullState::Queued,
    PullState::Connecting,
    PullState::Handshaking,
    PullState::Requesting,
    PullState::AwaitingMedia,
    PullState::Streaming,
    PullState::Replaying,
    PullState::BackingOff,
    PullState::Stopped,
];
