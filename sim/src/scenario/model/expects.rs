//! What a scenario wants beside the promises that always hold.

use proxy_core::{io::PullState, time::Duration};

use super::{HostRef, Line, PullRef, When};

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
