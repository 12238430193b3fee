//! What each state of a pull knows, and nothing else.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::net::SocketAddr;

use bytes::Bytes;

use crate::{
    config::PullConfig,
    io::{ConnId, Output, PullState, QueryId},
    session::client::ClientSession,
    stream::{
        flow::{Flow, Pinger},
        routes::PullCx,
    },
    time::Instant,
    url::OriginUrl,
    wire::handshake::{ClientHandshake, HandshakeKind, Progress},
};

/// One try to get media, from the lookup on: dies with its state.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) started: Instant,
    pub(super) url: OriginUrl,
    /// Redirects that led here since media was stable.
    pub(super) redirects: u32,
    /// Another origin has sent us here, however long ago: the pull's own url is another place to look.
    pub(super) is_sent: bool,
    /// The same for every address of the attempt, so that each address meets both kinds in turn.
    pub(super) handshake_kind: HandshakeKind,
    /// The name has other addresses: none of them is waited on for ever.
    pub(super) has_others: bool,
    /// Addresses dialled: each has one chance, however often the name is looked up.
    pub(super) tried: Vec<SocketAddr>,
}

/// What the dial queue needs to know of a lookup's answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// From then on the name is looked up again before an address of it is dialled.
    pub(super) fresh_until: Instant,
    /// That lookup, and how long it may take.
    pub(super) lookup: Option<(QueryId, Instant)>,
}

/// An upstream connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) conn: ConnId,
    pub(super) addr: SocketAddr,
    pub(super) local: SocketAddr,
    /// Addresses of the same answer that have not been tried.
    pub(super) rest: VecDeque<SocketAddr>,
    pub(super) in_flight: usize,
}

/// An accepted play, or one that is asked anew.
#[derive(Debug)]
pub(super) struct Play {
    pub(super) attempt: Attempt,
    pub(super) link: Link,
    pub(super) session: Box<ClientSession>,
    pub(super) pinger: Pinger,
}

/// What is known while connect, createStream and play are under way.
#[derive(Debug)]
pub(super) struct Request {
    /// Pings begin when `play` has been sent: from there on some origins wait for a publisher before they answer.
    pub(super) asked_at: Option<Instant>,
    pub(super) pinger: Pinger,
    pub(super) until: Instant,
    /// A lookup that asks whether the name still leads here, while the request is held.
    pub(super) lookup: Option<QueryId>,
    pub(super) looked_up_at: Instant,
}

impl Request {
    /// Returns when the name is looked up again: somebody else may have the address by now and hold what is not his.
    pub(super) fn lookup_at(&self, config: &PullConfig) -> Option<Instant> {
        let is_held = self.asked_at.is_some() && self.pinger.is_answered();
        is_held.then(|| self.looked_up_at + config.lookup_interval)
    }
}

/// What is known while no frame has come.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) since: Instant,
    /// The play was asked anew on the same connection.
    pub(super) replayed: bool,
    /// The origin has said that the play is over: some go on with it when the publisher is back, others never do.
    pub(super) is_ended: bool,
    /// A lookup that asks whether the name still leads here.
    pub(super) lookup: Option<QueryId>,
    pub(super) looked_up_at: Instant,
}

/// What is known while frames flow.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) flow: Flow,
    /// The play was asked anew on the same connection.
    pub(super) replayed: bool,
    /// Media has flowed for `stable_after`.
    pub(super) stable: bool,
}

#[derive(Debug)]
pub(super) enum State {
    Resolving {
        attempt: Attempt,
        query: QueryId,
        until: Instant,
    },
    Queued {
        attempt: Attempt,
        addr: SocketAddr,
        rest: VecDeque<SocketAddr>,
        answer: Answer,
    },
    Connecting {
        attempt: Attempt,
        conn: ConnId,
        addr: SocketAddr,
        rest: VecDeque<SocketAddr>,
        until: Instant,
    },
    Handshaking {
        attempt: Attempt,
        link: Link,
        handshake: Box<Progress<ClientHandshake>>,
        taken: u64,
        until: Instant,
    },
    Requesting {
        attempt: Attempt,
        link: Link,
        session: Box<ClientSession>,
        request: Request,
    },
    AwaitingMedia {
        play: Play,
        wait: Wait,
    },
    Streaming {
        play: Play,
        live: Live,
    },
    Replaying {
        play: Play,
        stable: bool,
        until: Instant,
    },
    BackingOff {
        started: Instant,
        addr: Option<SocketAddr>,
        until: Instant,
    },
    Stopped,
}

impl State {
    pub(super) const fn kind(&self) -> PullState {
        match self {
            Self::Resolving { .. } => PullState::Resolving,
            Self::Queued { .. } => PullState::Queued,
            Self::Connecting { .. } => PullState::Connecting,
            Self::Handshaking { .. } => PullState::Handshaking,
            Self::Requesting { .. } => PullState::Requesting,
            Self::AwaitingMedia { .. } => PullState::AwaitingMedia,
            Self::Streaming { .. } => PullState::Streaming,
            Self::Replaying { .. } => PullState::Replaying,
            Self::BackingOff { .. } => PullState::BackingOff,
            Self::Stopped => PullState::Stopped,
        }
    }

    pub(super) const fn link(&self) -> Option<&Link> {
        match self {
            Self::Handshaking { link, .. } | Self::Requesting { link, .. } => Some(link),
            Self::AwaitingMedia { play, .. }
            | Self::Streaming { play, .. }
            | Self::Replaying { play, .. } => Some(&play.link),
            Self::Resolving { .. }
            | Self::Queued { .. }
            | Self::Connecting { .. }
            | Self::BackingOff { .. }
            | Self::Stopped => None,
        }
    }

    pub(super) const fn link_mut(&mut self) -> Option<&mut Link> {
        match self {
            Self::Handshaking { link, .. } | Self::Requesting { link, .. } => Some(link),
            Self::AwaitingMedia { play, .. }
            | Self::Streaming { play, .. }
            | Self::Replaying { play, .. } => Some(&mut play.link),
            Self::Resolving { .. }
            | Self::Queued { .. }
            | Self::Connecting { .. }
            | Self::BackingOff { .. }
            | Self::Stopped => None,
        }
    }

    pub(super) const fn conn(&self) -> Option<ConnId> {
        match self {
            Self::Connecting { conn, .. } => Some(*conn),
            Self::Handshaking { link, .. } | Self::Requesting { link, .. } => Some(link.conn),
            Self::AwaitingMedia { play, .. }
            | Self::Streaming { play, .. }
            | Self::Replaying { play, .. } => Some(play.link.conn),
            Self::Resolving { .. } | Self::Queued { .. } | Self::BackingOff { .. } | Self::Stopped => None,
        }
    }

    pub(super) const fn query(&self) -> Option<QueryId> {
        match self {
            Self::Resolving { query, .. }
            | Self::Queued { answer: Answer { lookup: Some((query, _)), .. }, .. } => Some(*query),
            Self::Requesting { request, .. } => request.lookup,
            Self::AwaitingMedia { wait, .. } => wait.lookup,
            Self::Queued { .. }
            | Self::Connecting { .. }
            | Self::Handshaking { .. }
            | Self::Streaming { .. }
            | Self::Replaying { .. }
            | Self::BackingOff { .. }
            | Self::Stopped => None,
        }
    }

    pub(super) fn session_mut(&mut self) -> Option<&mut ClientSession> {
        self.talk_mut().map(|(session, _)| session)
    }

    pub(super) fn pinger_mut(&mut self) -> Option<&mut Pinger> {
        self.talk_mut().map(|(_, pinger)| pinger)
    }

    /// Returns what talks to an origin whose handshake is done.
    const fn talk_mut(&mut self) -> Option<(&mut ClientSession, &mut Pinger)> {
        match self {
            Self::Requesting { session, request, .. } => Some((session, &mut request.pinger)),
            Self::AwaitingMedia { play, .. }
            | Self::Streaming { play, .. }
            | Self::Replaying { play, .. } => Some((&mut play.session, &mut play.pinger)),
            Self::Resolving { .. }
            | Self::Queued { .. }
            | Self::Connecting { .. }
            | Self::Handshaking { .. }
            | Self::BackingOff { .. }
            | Self::Stopped => None,
        }
    }

    pub(super) fn transmit(&mut self, out: Vec<u8>, cx: &mut PullCx<'_>) {
        if out.is_empty() {
            return;
        }
        let Some(link) = self.link_mut() else { return };
        link.in_flight += out.len();
        cx.outputs.push_back(Output::Transmit { conn: link.conn, bytes: Bytes::from(out) });
    }

    /// Sends a ping, where a play is asked for or accepted.
    pub(super) fn ping(&mut self, cx: &mut PullCx<'_>, now: Instant) {
        let mut out = Vec::new();
        let Some((session, pinger)) = self.talk_mut() else { return };
        session.ping(now.as_millis() as u32, &mut out);
        pinger.sent(now);
        self.transmit(out, cx);
    }
}
