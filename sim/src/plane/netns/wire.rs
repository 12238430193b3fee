//! What a world and its processes say to each other: a line of JSON each, orders on their standard input, news on their
//! standard output.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use proxy_core::io::PlayOutput;
use serde::{Deserialize, Serialize};

use crate::trace::What;

/// What a process of a world is to do. Times are nanoseconds of the world, events indices of the timeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// The world's zero, in nanoseconds since 1970.
    Begin {
        /// Nanoseconds.
        zero: u64,
    },
    /// An origin listens and has publishers from these moments on.
    Boot {
        /// From when it listens.
        listen_at: u64,
        /// From when it has publishers, if it has.
        publish_at: Option<u64>,
    },
    /// A fault of an event begins.
    Inflict {
        /// The event.
        event: usize,
    },
    /// A fault of an event is over.
    Relieve {
        /// The event.
        event: usize,
    },
    /// Publishers come, or come with something else, as an event says.
    Publish {
        /// The event.
        event: usize,
    },
    /// From here on publishers send what an event said in an earlier life.
    Content {
        /// The event.
        event: usize,
    },
    /// An origin says what its software says at its end, and ends.
    ShutDown,
    /// Players begin to play.
    Join {
        /// Each at one output.
        seats: Vec<SeatOrder>,
    },
    /// Every player leaves for good.
    Leave {
        /// By a reset.
        reset: bool,
        /// With a word before, where the protocol has one.
        politely: bool,
    },
    /// Whom players dial has another address.
    Moved {
        /// The seats that dial there.
        seats: Vec<u32>,
        /// The address.
        to: SocketAddr,
    },
    /// An operator calls the API.
    Call {
        /// Names the answer.
        call: u32,
        /// Where the API is, on this very host.
        at: SocketAddr,
        /// It may wait for its answer: it does not take part in the queue of those that do not.
        waits: bool,
        /// The path with its query.
        target: String,
    },
    /// How names are answered.
    Names {
        /// By name.
        names: BTreeMap<String, NameAnswer>,
    },
    /// A cable lies between a host and its bridge, from here on.
    Cable {
        /// The host's place.
        port: usize,
        /// The host.
        host: u16,
    },
    /// A userland proxy forwards a port of the machine.
    Forward {
        /// Where it listens.
        listen: SocketAddr,
        /// Where it dials.
        to: SocketAddr,
    },
}

/// One player at one output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SeatOrder {
    pub(super) seat: u32,
    pub(super) actor: u16,
    pub(super) from: Ipv4Addr,
    pub(super) to: SocketAddr,
    pub(super) output: PlayOutput,
    /// What it asks for, with the host's name.
    pub(super) url: String,
    /// The model origin's stream it expects; `None`: of any software.
    pub(super) source: Option<String>,
    /// The stream comes from a second proxy.
    pub(super) is_chained: bool,
    /// Who dials again gets no older play.
    pub(super) plays_rise: bool,
    /// No more than one origin serves it.
    pub(super) has_one_origin: bool,
    /// How long its clock may stand still, in nanoseconds.
    pub(super) hold_max: u64,
    /// How far it may step forward, in nanoseconds.
    pub(super) forward_max: u64,
    /// It is ffmpeg, not a model.
    pub(super) is_real: bool,
}

/// How a name is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NameAnswer {
    pub(super) reply: NameReply,
    /// After so many nanoseconds.
    pub(super) delay: u64,
    /// How old it may become, in seconds.
    pub(super) ttl: u32,
}

/// What a name server says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum NameReply {
    Addresses(Vec<IpAddr>),
    NotFound,
    ServFail,
    Silent,
}

/// What a process of a world tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::plane) enum News {
    /// It is there and waits for orders.
    Ready,
    /// Something happened to somebody, in nanoseconds of the world.
    Told {
        /// When.
        at: u64,
        /// Whom.
        actor: u16,
        /// What.
        what: What,
    },
    /// An origin's port is open.
    Listening {
        /// Since when.
        at: u64,
    },
    /// Every stream of an origin is published, or not any more.
    Publishes {
        /// Since when.
        at: u64,
        /// It is so.
        all: bool,
    },
    /// An operator's call is answered, or its connection is gone without an answer.
    Answered {
        /// When.
        at: u64,
        /// Which.
        call: u32,
        /// The body.
        body: Option<String>,
    },
    /// It was not let run for so long, in nanoseconds.
    Late {
        /// Nanoseconds.
        by: u64,
    },
    /// It cannot do its work.
    Failed {
        /// Why.
        why: String,
    },
}
