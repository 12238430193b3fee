//! One player's connection, from handshake to seat to goodbye.
//!
//! ```text
//!  Accepted ──► Handshaking ── HandshakeDone ──► Idle ── Asked ──► Asking ── Park ──► Parked
//!                                                 ▲                  │ Seat              │ Seat
//!                      PlayHttp ──────────────────┼──────► Asking ───┴────► Seated ◄─────┘
//!                                                 └──────── Stopped ───────────┘
//!  every state ── failure, deadline, kick, end of stream ──► Left
//! ```
//! An RTMP player has a session; an HTTP-FLV player has none, its driver speaks HTTP.

use alloc::{boxed::Box, collections::VecDeque, string::String, vec::Vec};
use core::{mem, net::SocketAddr};

use bytes::Bytes;

use crate::{
    config::PlayConfig,
    io::{
        AskId, ConnId, Hangup, Output, PlayAnswer, PlayOutput, PlayerEnd, PlayerState, PlayerView, StreamEnd,
        StreamId,
    },
    relay::{Cursor, Format, Relay},
    session::{
        SessionError,
        server::{Refusal, ServerEvent, ServerOptions, ServerSession},
    },
    time::Instant,
    url::{DEFAULT_VHOST, StreamKey},
    wire::{
        flv,
        handshake::{Progress, ServerHandshake},
    },
};

/// Packets a connection may have in flight, however small: each costs the core and its driver more than a tiny frame
/// has bytes.
const PACKETS_MAX: usize = 1024;

/// What a player tells its owner, in order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// It asks to play; to be answered by `Seat`, `Park` or `Refuse`.
    Asks {
        /// The question's id.
        ask: AskId,
        /// The stream.
        key: StreamKey,
        /// The query.
        params: String,
    },
    /// It gave up its seat or its place in waiting; the connection goes on.
    GaveUp,
    /// It is gone, or will be when its bytes are out.
    Ended {
        /// Why.
        end: PlayerEnd,
        /// `Closed` is still to come.
        closing: bool,
    },
}

/// A stimulus.
#[derive(Clone, Debug)]
pub enum PlayerEvent {
    /// The handshake is complete; bytes it took.
    HandshakeDone(u64),
    /// Its bytes are not what we accept.
    ProtocolFailed(PlayerEnd),
    /// It told who it is.
    Introduced {
        /// `flashVer`.
        agent: String,
        /// The hop count.
        hops: u32,
        /// The streams fed by it.
        ids: Vec<u64>,
    },
    /// It asks to play.
    Asked {
        /// The question's id.
        ask: AskId,
        /// The stream; `None` if the names are not names.
        key: Option<StreamKey>,
        /// The query.
        params: String,
    },
    /// It may wait for the stream until then.
    Park(Instant),
    /// It gets a seat.
    Seat {
        /// The stream.
        stream: StreamId,
        /// Where it begins.
        cursor: Box<Cursor>,
    },
    /// Its request is refused.
    Refuse(Refusal, PlayerEnd),
    /// It does not want to play any more.
    Stopped,
    /// Its stream has ended for good.
    StreamEnded(StreamEnd),
    /// The outage outlasted its patience, as the policy sees it.
    HoldExpired,
    /// An operator wants it gone.
    Kick,
    /// The connection is gone.
    HungUp(Hangup),
    /// The state's deadline passed.
    Deadline,
}

/// What a player reaches while it handles one stimulus.
#[derive(Debug)]
pub struct PlayerCx<'a> {
    /// The proxy's numbers for players.
    pub config: &'a PlayConfig,
    /// Where outputs go.
    pub outputs: &'a mut VecDeque<Output>,
    /// Where effects go.
    pub effects: &'a mut VecDeque<Effect>,
    /// Ids for questions.
    pub last_ask: &'a mut u64,
}

/// What it hears from us.
#[derive(Debug)]
enum Voice {
    Rtmp(Box<ServerSession>),
    HttpFlv,
}

#[derive(Debug)]
enum State {
    Handshaking { handshake: Box<Progress<ServerHandshake>>, taken: u64, until: Instant },
    Idle { voice: Voice, until: Instant },
    Asking { voice: Voice, key: StreamKey, ask: AskId },
    Parked { voice: Voice, key: StreamKey, until: Instant },
    Seated { voice: Voice, key: StreamKey, stream: StreamId, cursor: Box<Cursor>, since: Instant },
    Left,
}

/// Bytes handed over and not yet taken by the socket, in how many packets, and how many of them are control.
#[derive(Debug, Default)]
struct InFlight {
    handed: u64,
    taken: u64,
    batches: VecDeque<Batch>,
    packets: usize,
    control_bytes: usize,
    progress_at: Instant,
}

/// What was handed over at once.
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// All that had been handed over with it.
    end: u64,
    packets: usize,
    control_bytes: usize,
}

/// Where a player is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere.
    None,
    /// Waiting for a stream.
    Parked(StreamKey),
    /// At a stream.
    Seated(StreamId),
}

/// One player.
#[derive(Debug)]
pub struct Player {
    conn: ConnId,
    peer: SocketAddr,
    local: SocketAddr,
    since: Instant,
    output: PlayOutput,
    agent: String,
    hops: u32,
    ids: Vec<u64>,
    in_flight: InFlight,
    state: State,
}

impl Player {
    /// Makes an RTMP player that has just connected; `dice` fill S1.
    pub fn accept(
        conn: ConnId,
        peer: SocketAddr,
        local: SocketAddr,
        dice: &crate::wire::handshake::Dice,
        config: &PlayConfig,
        now: Instant,
    ) -> Self {
        let handshake = Box::new(Progress::Pending(ServerHandshake::start(dice)));
        let state = State::Handshaking { handshake, taken: 0, until: now + config.handshake_timeout };
        Self::new(conn, peer, local, PlayOutput::Rtmp, state, now)
    }

    /// Makes an HTTP-FLV player; it must be stepped by `Asked` next.
    pub fn http(
        conn: ConnId,
        peer: SocketAddr,
        local: SocketAddr,
        config: &PlayConfig,
        now: Instant,
    ) -> Self {
        let state = State::Idle { voice: Voice::HttpFlv, until: now + config.handshake_timeout };
        Self::new(conn, peer, local, PlayOutput::HttpFlv, state, now)
    }

    fn new(
        conn: ConnId,
        peer: SocketAddr,
        local: SocketAddr,
        output: PlayOutput,
        state: State,
        now: Instant,
    ) -> Self {
        let in_flight = InFlight { progress_at: now, ..InFlight::default() };
        Self {
            conn,
            peer,
            local,
            since: now,
            output,
            agent: String::new(),
            hops: 0,
            ids: Vec::new(),
            in_flight,
            state,
        }
    }

    /// Returns the hop count it told.
    pub const fn hops(&self) -> u32 {
        self.hops
    }

    /// Returns the streams fed by it, as it told.
    pub fn ids(&self) -> &[u64] {
        &self.ids
    }

    /// Returns bytes handed over and not yet taken.
    pub const fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Returns the state's name; `None` once it has left.
    pub const fn state(&self) -> Option<PlayerState> {
        match &self.state {
            State::Handshaking { .. } => Some(PlayerState::Handshaking),
            State::Idle { .. } => Some(PlayerState::Idle),
            State::Asking { .. } => Some(PlayerState::Asking),
            State::Parked { .. } => Some(PlayerState::Parked),
            State::Seated { .. } => Some(PlayerState::Seated),
            State::Left => None,
        }
    }

    /// Returns where it is counted.
    pub fn place(&self) -> Place {
        match &self.state {
            State::Parked { key, .. } => Place::Parked(key.clone()),
            State::Seated { stream, .. } => Place::Seated(*stream),
            State::Handshaking { .. } | State::Idle { .. } | State::Asking { .. } | State::Left => {
                Place::None
            }
        }
    }

    /// Returns when it got its seat.
    pub const fn seated_at(&self) -> Option<Instant> {
        match &self.state {
            State::Seated { since, .. } => Some(*since),
            State::Handshaking { .. }
            | State::Idle { .. }
            | State::Asking { .. }
            | State::Parked { .. }
            | State::Left => None,
        }
    }

    /// Returns the question it waits on.
    pub const fn ask(&self) -> Option<AskId> {
        match &self.state {
            State::Asking { ask, .. } => Some(*ask),
            State::Handshaking { .. }
            | State::Idle { .. }
            | State::Parked { .. }
            | State::Seated { .. }
            | State::Left => None,
        }
    }

    /// Returns the place in the log of the next entry it wants.
    pub fn position(&self) -> Option<u64> {
        match &self.state {
            State::Seated { cursor, .. } => Some(cursor.position()),
            State::Handshaking { .. }
            | State::Idle { .. }
            | State::Asking { .. }
            | State::Parked { .. }
            | State::Left => None,
        }
    }

    /// Returns what lists tell of it.
    pub fn view(&self) -> Option<PlayerView> {
        let key = match &self.state {
            State::Asking { key, .. } | State::Parked { key, .. } | State::Seated { key, .. } => {
                Some(key.clone())
            }
            State::Handshaking { .. } | State::Idle { .. } | State::Left => None,
        };
        Some(PlayerView {
            conn: self.conn,
            output: self.output,
            state: self.state()?,
            key,
            peer: self.peer,
            local: self.local,
            agent: self.agent.clone(),
            since: self.since,
        })
    }

    /// Returns when this state wants `Deadline`. `Asking` waits for the question, which has a deadline of its own.
    pub fn deadline(&self, config: &PlayConfig) -> Option<Instant> {
        let stuck = (self.in_flight() > 0).then(|| self.in_flight.progress_at + config.stall_timeout);
        match &self.state {
            State::Handshaking { until, .. } | State::Idle { until, .. } | State::Parked { until, .. } => {
                Some(*until)
            }
            State::Seated { .. } => stuck,
            State::Asking { .. } | State::Left => None,
        }
    }

    /// Takes bytes from the player, cut anywhere.
    pub fn handle_bytes(&mut self, mut input: &[u8], cx: &mut PlayerCx<'_>, now: Instant) {
        if let State::Handshaking { handshake, taken, .. } = &mut self.state {
            let Progress::Pending(pending) = mem::replace(&mut **handshake, Progress::Done) else { return };
            let mut out = Vec::new();
            let (used, event) = match pending.handle_bytes(input, &mut out) {
                Ok((used, Progress::Pending(pending))) => {
                    **handshake = Progress::Pending(pending);
                    (used, None)
                }
                Ok((used, Progress::Done)) => (used, Some(PlayerEvent::HandshakeDone(*taken + used as u64))),
                Err(error) => (input.len(), Some(PlayerEvent::ProtocolFailed(PlayerEnd::Handshake(error)))),
            };
            *taken += used as u64;
            self.transmit_control(out, cx, now);
            if let Some(event) = event {
                self.step(event, cx, now);
            }
            input = &input[used..];
        }
        let mut out = Vec::new();
        let Some(session) = self.state.session_mut() else { return };
        let outcome = session.handle_bytes(input, &mut out);
        self.transmit_control(out, cx, now);
        while let Some(event) = self.state.session_mut().and_then(|session| session.poll_event()) {
            let event = match event {
                ServerEvent::Connected { agent, hops, ids } => PlayerEvent::Introduced { agent, hops, ids },
                ServerEvent::Play { app, stream, vhost, params } => {
                    let vhost = if cx.config.vhosts { vhost.as_str() } else { DEFAULT_VHOST };
                    *cx.last_ask += 1;
                    let key = StreamKey::new(vhost, &app, &stream).ok();
                    PlayerEvent::Asked { ask: AskId(*cx.last_ask), key, params }
                }
                ServerEvent::Stopped => PlayerEvent::Stopped,
            };
            self.step(event, cx, now);
        }
        if let Err(error) = outcome {
            self.step(PlayerEvent::ProtocolFailed(PlayerEnd::Session(error)), cx, now);
        } else if self.in_flight.control_bytes > cx.config.control_bytes_max {
            self.step(PlayerEvent::ProtocolFailed(PlayerEnd::Session(SessionError::Flood)), cx, now);
        }
    }

    /// The socket took bytes.
    pub fn handle_sent(&mut self, len: usize, now: Instant) {
        let took_media = self.in_flight.take(len, now);
        // Answers taken are no such sign: who floods may well read them.
        if took_media && let State::Seated { voice: Voice::Rtmp(session), .. } = &mut self.state {
            session.progressed();
        }
    }

    /// Hands over media while there is credit, up to the log position `released`; returns the frames it had to
    /// leave out because it is too slow.
    pub fn pump(&mut self, relay: &mut Relay, released: u64, cx: &mut PlayerCx<'_>, now: Instant) -> u64 {
        let State::Seated { voice, cursor, .. } = &mut self.state else { return 0 };
        let format = voice.format();
        let mut shed = 0;
        if relay.backlog(cursor) > cx.config.queue_bytes_max {
            shed = relay.shed(cursor);
        }
        let room = PACKETS_MAX.saturating_sub(self.in_flight.packets);
        let mut packets = 0;
        while packets < room
            && self.in_flight.len() < cx.config.send_bytes_max
            && cursor.position() < released
            && let Some(bytes) = relay.next(cursor, format)
        {
            self.in_flight.hand(bytes.len(), now);
            packets += 1;
            cx.outputs.push_back(Output::Transmit { conn: self.conn, bytes });
        }
        self.in_flight.batch(packets, 0);
        shed + cursor.take_shed()
    }

    /// Takes a stimulus: the one place where the machine moves.
    pub fn step(&mut self, event: PlayerEvent, cx: &mut PlayerCx<'_>, now: Instant) {
        let state = mem::replace(&mut self.state, State::Left);
        self.state = self.react(state, event, cx, now);
    }

    /// The table: every state, every stimulus.
    fn react(&mut self, state: State, event: PlayerEvent, cx: &mut PlayerCx<'_>, now: Instant) -> State {
        use PlayerEvent as E;
        use State as S;

        match (state, event) {
            // C0 C1, C2 are awaited.
            (S::Handshaking { until, .. }, E::HandshakeDone(taken)) => {
                let options = ServerOptions {
                    chunk_size: cx.config.chunk_size,
                    streams_max: cx.config.streams_max,
                    hops_max: cx.config.hops_max,
                    limits: cx.config.chunk_limits,
                };
                S::Idle { voice: Voice::Rtmp(Box::new(ServerSession::new(options, taken))), until }
            }
            (S::Handshaking { .. }, E::ProtocolFailed(end)) => self.abort(end, cx),
            (S::Handshaking { .. }, E::HungUp(hangup)) => self.gone(hangup, cx),
            (S::Handshaking { .. }, E::Kick) => self.abort(PlayerEnd::Kicked, cx),
            (S::Handshaking { .. }, E::StreamEnded(end)) => self.abort(PlayerEnd::StreamEnded(end), cx),
            (S::Handshaking { .. }, E::Deadline) => self.abort(PlayerEnd::Idle, cx),
            (
                state @ S::Handshaking { .. },
                E::Introduced { .. }
                | E::Asked { .. }
                | E::Park(_)
                | E::Seat { .. }
                | E::Refuse(..)
                | E::Stopped
                | E::HoldExpired,
            ) => state,

            // Connected, no play request yet. From here on a session may have told its peer what is wrong: hanging up
            // in order lets that arrive.
            (S::Idle { voice, until }, E::Introduced { agent, hops, ids }) => {
                self.agent = agent;
                self.hops = hops;
                self.ids = ids;
                S::Idle { voice, until }
            }
            (S::Idle { voice, .. }, E::Asked { ask, key: Some(key), params }) => {
                cx.effects.push_back(Effect::Asks { ask, key: key.clone(), params });
                S::Asking { voice, key, ask }
            }
            (S::Idle { voice, .. }, E::Asked { key: None, .. }) => {
                self.refuse(voice, Refusal::StreamNotFound, PlayerEnd::NotFound, cx, now)
            }
            (S::Idle { .. }, E::ProtocolFailed(end)) => self.close(end, cx),
            (S::Idle { .. }, E::HungUp(hangup)) => self.gone(hangup, cx),
            (S::Idle { .. }, E::Kick) => self.abort(PlayerEnd::Kicked, cx),
            (S::Idle { .. }, E::StreamEnded(end)) => self.close(PlayerEnd::StreamEnded(end), cx),
            (S::Idle { .. }, E::Deadline) => self.close(PlayerEnd::Idle, cx),
            (
                state @ S::Idle { .. },
                E::HandshakeDone(_)
                | E::Park(_)
                | E::Seat { .. }
                | E::Refuse(..)
                | E::Stopped
                | E::HoldExpired,
            ) => state,

            // Its play request is being authorised.
            (S::Asking { voice, key, .. }, E::Park(until)) => S::Parked { voice, key, until },
            (S::Asking { voice, key, .. }, E::Seat { stream, cursor }) => {
                self.seat(voice, key, stream, cursor, cx, now)
            }
            (S::Asking { voice, .. }, E::Refuse(refusal, end)) => self.refuse(voice, refusal, end, cx, now),
            (S::Asking { voice, .. }, E::Stopped) => self.idle(voice, cx, now),
            (S::Asking { .. }, E::ProtocolFailed(end)) => self.close(end, cx),
            (S::Asking { .. }, E::HungUp(hangup)) => self.gone(hangup, cx),
            (S::Asking { voice, .. }, E::Kick) => {
                self.refuse(voice, Refusal::StreamNotFound, PlayerEnd::Kicked, cx, now)
            }
            (S::Asking { voice, .. }, E::StreamEnded(end)) => {
                self.refuse(voice, Refusal::StreamNotFound, PlayerEnd::StreamEnded(end), cx, now)
            }
            (
                state @ S::Asking { .. },
                E::HandshakeDone(_) | E::Introduced { .. } | E::Asked { .. } | E::HoldExpired | E::Deadline,
            ) => state,

            // Waits for a stream.
            (S::Parked { voice, key, .. }, E::Seat { stream, cursor }) => {
                self.seat(voice, key, stream, cursor, cx, now)
            }
            (S::Parked { voice, .. }, E::Refuse(refusal, end)) => self.refuse(voice, refusal, end, cx, now),
            (S::Parked { voice, .. }, E::Deadline) => {
                self.refuse(voice, Refusal::StreamNotFound, PlayerEnd::NotFound, cx, now)
            }
            (S::Parked { voice, .. }, E::StreamEnded(end)) => {
                self.refuse(voice, Refusal::StreamNotFound, PlayerEnd::StreamEnded(end), cx, now)
            }
            (S::Parked { voice, .. }, E::Stopped) => self.idle(voice, cx, now),
            (S::Parked { .. }, E::ProtocolFailed(end)) => self.close(end, cx),
            (S::Parked { .. }, E::HungUp(hangup)) => self.gone(hangup, cx),
            (S::Parked { voice, .. }, E::Kick) => {
                self.refuse(voice, Refusal::StreamNotFound, PlayerEnd::Kicked, cx, now)
            }
            (
                state @ S::Parked { .. },
                E::HandshakeDone(_) | E::Introduced { .. } | E::Asked { .. } | E::Park(_) | E::HoldExpired,
            ) => state,

            // Has a seat.
            (S::Seated { voice, .. }, E::Stopped) => self.idle(voice, cx, now),
            (S::Seated { voice, .. }, E::StreamEnded(end)) => {
                self.end(voice, PlayerEnd::StreamEnded(end), cx, now)
            }
            (S::Seated { voice, .. }, E::HoldExpired) => self.end(voice, PlayerEnd::HoldExpired, cx, now),
            (S::Seated { voice, .. }, E::Kick) => self.end(voice, PlayerEnd::Kicked, cx, now),
            (S::Seated { .. }, E::ProtocolFailed(end)) => self.close(end, cx),
            (S::Seated { .. }, E::HungUp(hangup)) => self.gone(hangup, cx),
            (S::Seated { .. }, E::Deadline) => self.abort(PlayerEnd::Stuck, cx),
            (
                state @ S::Seated { .. },
                E::HandshakeDone(_)
                | E::Introduced { .. }
                | E::Asked { .. }
                | E::Park(_)
                | E::Seat { .. }
                | E::Refuse(..),
            ) => state,

            // Left.
            (
                S::Left,
                E::HandshakeDone(_)
                | E::ProtocolFailed(_)
                | E::Introduced { .. }
                | E::Asked { .. }
                | E::Park(_)
                | E::Seat { .. }
                | E::Refuse(..)
                | E::Stopped
                | E::StreamEnded(_)
                | E::HoldExpired
                | E::Kick
                | E::HungUp(_)
                | E::Deadline,
            ) => S::Left,
        }
    }

    fn seat(
        &mut self,
        mut voice: Voice,
        key: StreamKey,
        stream: StreamId,
        cursor: Box<Cursor>,
        cx: &mut PlayerCx<'_>,
        now: Instant,
    ) -> State {
        match &mut voice {
            Voice::Rtmp(session) => {
                let mut out = Vec::new();
                session.accept_play(&mut out);
                self.transmit_control(out, cx, now);
            }
            Voice::HttpFlv => {
                cx.outputs.push_back(Output::PlayAnswer { conn: self.conn, answer: PlayAnswer::Stream });
                self.transmit_control(flv::FILE_HEADER.to_vec(), cx, now);
            }
        }
        State::Seated { voice, key, stream, cursor, since: now }
    }

    /// A refused RTMP player may ask again on the same connection; most hang up. One that has nothing else to do
    /// here is hung up in order, so that it cannot hold a place for ever.
    fn refuse(
        &mut self,
        mut voice: Voice,
        refusal: Refusal,
        end: PlayerEnd,
        cx: &mut PlayerCx<'_>,
        now: Instant,
    ) -> State {
        match &mut voice {
            Voice::Rtmp(session) => {
                let mut out = Vec::new();
                session.reject_play(refusal, &mut out);
                self.transmit_control(out, cx, now);
                self.close(end, cx)
            }
            Voice::HttpFlv => {
                cx.outputs
                    .push_back(Output::PlayAnswer { conn: self.conn, answer: PlayAnswer::Refused(refusal) });
                cx.effects.push_back(Effect::Ended { end, closing: false });
                State::Left
            }
        }
    }

    /// Tells a player that it is over, and hangs up in order.
    fn end(&mut self, mut voice: Voice, end: PlayerEnd, cx: &mut PlayerCx<'_>, now: Instant) -> State {
        if let Voice::Rtmp(session) = &mut voice {
            let mut out = Vec::new();
            session.end_play(&mut out);
            self.transmit_control(out, cx, now);
        }
        self.close(end, cx)
    }

    fn idle(&mut self, voice: Voice, cx: &mut PlayerCx<'_>, now: Instant) -> State {
        cx.effects.push_back(Effect::GaveUp);
        State::Idle { voice, until: now + cx.config.handshake_timeout }
    }

    fn close(&mut self, end: PlayerEnd, cx: &mut PlayerCx<'_>) -> State {
        cx.outputs.push_back(Output::Close { conn: self.conn });
        cx.effects.push_back(Effect::Ended { end, closing: true });
        State::Left
    }

    fn abort(&mut self, end: PlayerEnd, cx: &mut PlayerCx<'_>) -> State {
        cx.outputs.push_back(Output::Abort { conn: self.conn });
        cx.effects.push_back(Effect::Ended { end, closing: false });
        State::Left
    }

    fn gone(&mut self, hangup: Hangup, cx: &mut PlayerCx<'_>) -> State {
        cx.effects.push_back(Effect::Ended { end: PlayerEnd::Left(hangup), closing: false });
        State::Left
    }

    fn transmit_control(&mut self, out: Vec<u8>, cx: &mut PlayerCx<'_>, now: Instant) {
        if out.is_empty() {
            return;
        }
        self.in_flight.hand(out.len(), now);
        self.in_flight.batch(1, out.len());
        cx.outputs.push_back(Output::Transmit { conn: self.conn, bytes: Bytes::from(out) });
    }
}

impl InFlight {
    /// Takes the news that the socket took `len` bytes; returns whether a batch of media is out with them.
    fn take(&mut self, len: usize, now: Instant) -> bool {
        self.taken = self.handed.min(self.taken + len as u64);
        self.progress_at = now;
        let mut took_media = false;
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.end <= self.taken) {
            self.packets -= batch.packets;
            self.control_bytes -= batch.control_bytes;
            took_media |= batch.control_bytes == 0;
        }
        took_media
    }

    const fn len(&self) -> usize {
        (self.handed - self.taken) as usize
    }

    const fn hand(&mut self, len: usize, now: Instant) {
        if self.len() == 0 {
            self.progress_at = now;
        }
        self.handed += len as u64;
    }

    /// Notes what was handed over since the last batch.
    fn batch(&mut self, packets: usize, control_bytes: usize) {
        if packets > 0 {
            self.batches.push_back(Batch { end: self.handed, packets, control_bytes });
            self.packets += packets;
            self.control_bytes += control_bytes;
        }
    }
}

impl State {
    fn session_mut(&mut self) -> Option<&mut ServerSession> {
        match self {
            Self::Idle { voice, .. }
            | Self::Asking { voice, .. }
            | Self::Parked { voice, .. }
            | Self::Seated { voice, .. } => match voice {
                Voice::Rtmp(session) => Some(session),
                Voice::HttpFlv => None,
            },
            Self::Handshaking { .. } | Self::Left => None,
        }
    }
}

impl Voice {
    fn format(&self) -> Format {
        match self {
            Self::Rtmp(session) => {
                Format::Rtmp { stream: session.play_stream().unwrap_or(crate::session::server::PLAY_STREAM) }
            }
            Self::HttpFlv => Format::Flv,
        }
    }
}
