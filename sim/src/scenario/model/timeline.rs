//! What happens, and when.

use proxy_core::{
    io::{PlayOutput, PullState},
    time::Duration,
};

use super::{FaultEvent, HostRef, Line, PullRef};
use crate::origin::Publisher;

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
