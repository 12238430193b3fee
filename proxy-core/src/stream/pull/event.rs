//! What a pull is told and what it tells.

use alloc::{string::String, vec::Vec};
use core::net::{IpAddr, SocketAddr};

use crate::{
    io::{ConnectError, Hangup, PullEventKind, PullFailure, PullState, ResolveError},
    session::client::Ending,
    time::Instant,
    wire::{
        command::Status,
        flv::{Frame, Medium},
    },
};

/// A stimulus.
#[derive(Clone, Debug)]
pub enum PullEvent {
    /// Begin an attempt now.
    Wake,
    /// Somebody wants to watch: the grown cap no longer counts.
    Watched,
    /// The lookup has addresses.
    Resolved(Vec<IpAddr>),
    /// The lookup failed.
    ResolveFailed(ResolveError),
    /// The dial budget grants a dial.
    Granted,
    /// The dial succeeded; our local address.
    Connected(SocketAddr),
    /// The dial failed.
    ConnectFailed(ConnectError),
    /// The handshake is complete; bytes it took.
    HandshakeDone(u64),
    /// The origin's bytes are not what we accept.
    ProtocolFailed(PullFailure),
    /// `play` has been sent.
    Asked,
    /// Play is accepted.
    Playing,
    /// A frame came.
    Frame(Frame),
    /// A ping was answered.
    Pong,
    /// The stream ended, the connection lives.
    Ended(Ending),
    /// The origin refused.
    Refused(Status),
    /// The origin sends us elsewhere.
    Redirected(String),
    /// The connection is gone.
    Closed(Hangup),
    /// The state's deadline passed.
    Deadline,
    /// Redial with what the operator asked for.
    Restart,
    /// Stop for good.
    Stop,
}

impl PullEvent {
    pub(super) const fn kind(&self) -> PullEventKind {
        match self {
            Self::Wake => PullEventKind::Wake,
            Self::Watched => PullEventKind::Watched,
            Self::Resolved(_) => PullEventKind::Resolved,
            Self::ResolveFailed(_) => PullEventKind::ResolveFailed,
            Self::Granted => PullEventKind::Granted,
            Self::Connected(_) => PullEventKind::Connected,
            Self::ConnectFailed(_) => PullEventKind::ConnectFailed,
            Self::HandshakeDone(_) => PullEventKind::HandshakeDone,
            Self::ProtocolFailed(_) => PullEventKind::ProtocolFailed,
            Self::Asked => PullEventKind::Asked,
            Self::Playing => PullEventKind::Playing,
            Self::Frame(_) => PullEventKind::Frame,
            Self::Pong => PullEventKind::Pong,
            Self::Ended(_) => PullEventKind::Ended,
            Self::Refused(_) => PullEventKind::Refused,
            Self::Redirected(_) => PullEventKind::Redirected,
            Self::Closed(_) => PullEventKind::Closed,
            Self::Deadline => PullEventKind::Deadline,
            Self::Restart => PullEventKind::Restart,
            Self::Stop => PullEventKind::Stop,
        }
    }
}

/// What a pull tells its stream, in order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A step was taken.
    Stepped {
        /// The state before.
        state: PullState,
        /// The stimulus.
        event: PullEventKind,
        /// The state after.
        next: PullState,
    },
    /// Another state was entered.
    Entered {
        /// The state entered.
        state: PullState,
        /// Why, if by failure.
        failure: Option<PullFailure>,
        /// Failures in a row.
        failures: u32,
    },
    /// It wants to dial an address that is known to be the right one until a moment; `Granted` is awaited, or
    /// `Deadline`, if its turn comes later than that. Whatever other state it enters takes it out of the queue.
    AskDial(SocketAddr, Instant),
    /// Nobody answered there: a dial or handshake failed.
    DialFailed(SocketAddr),
    /// Somebody answered there and did not serve, or serves no more.
    NotServed(SocketAddr),
    /// An origin accepted a play.
    PlayAccepted(SocketAddr),
    /// A frame for the relay.
    Frame(Frame),
    /// Media was lost.
    Interrupted,
    /// The stream context must be made anew.
    Rebuild,
    /// A track is accepted as gone.
    TrackGone(Medium),
    /// The origin said something.
    Status(Status),
    /// The attempt under way failed.
    AttemptFailed(PullFailure),
    /// The retries are used up.
    GaveUp,
    /// It would pull from itself.
    Loop,
    /// What an operator asks for by now leads to ourselves.
    LeadsBack,
}
