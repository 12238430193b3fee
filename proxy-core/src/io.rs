//! The boundary: everything that enters and leaves the core, as plain data.
//!
//! The contract with a driver: hand over one [`Input`] with the time at which it happened, take [`Output`]s until
//! there is none, then wait for the earlier of the world and [`crate::Proxy::poll_timeout`]. Time never goes back.
//! Extra `Timeout`s are harmless. Late news for an id the core has dropped is normal and ignored.
//!
//! | the core asks | the driver answers |
//! |---|---|
//! | `Resolve` | `Resolved`, once; late or never is survived |
//! | `Connect` | `Connected`, once; then, if it succeeded, `Received`…, `Sent`…, `Closed` |
//! | `Transmit` | `Sent`, one per write, any grouping |
//! | `Close` | writes what was transmitted, hangs up, `Closed` |
//! | `Abort` | hangs up at once (a dial in flight too), nothing to answer |
//! | `PlayAnswer` | nothing: the HTTP response begins, or a status ends it |
//! | `Ask` | `Answered`; late or never means the default |

use alloc::{string::String, vec::Vec};
use core::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::{
    relay::{EpochCause, TrackView},
    session::{SessionError, client::Ending, server::Refusal},
    time::{Duration, Instant},
    url::{StreamKey, UrlError},
    wire::{command::Status, flv::Medium, handshake::HandshakeError},
};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name(pub u64);
    };
}

id!(
    /// One connection. Even numbers are dialled by the core, odd ones accepted by the driver; never reused.
    ConnId
);
id!(
    /// One name lookup; never reused.
    QueryId
);
id!(
    /// One operator's request, numbered by the driver; never reused.
    RequestId
);
id!(
    /// One question to the operator's systems; never reused.
    AskId
);
id!(
    /// One registration of a stream; the key added again gets another one.
    StreamId
);

impl ConnId {
    /// Makes the id of the `n`th connection a driver accepts.
    pub const fn accepted(n: u64) -> Self {
        Self(n * 2 + 1)
    }

    /// Makes the id of the `n`th connection the core dials.
    pub(crate) const fn dialled(n: u64) -> Self {
        Self(n * 2)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Input<'a> {
    /// The moment of [`crate::Proxy::poll_timeout`] has come, or any other.
    Timeout,
    /// The driver listens here for RTMP players; urls that lead back to it with the same key are refused.
    Listening {
        /// The addresses as bound; unspecified ones stand for every local address.
        addrs: Vec<SocketAddr>,
    },
    /// The answer to `Resolve`: addresses in the resolver's order.
    Resolved {
        /// Which lookup.
        query: QueryId,
        /// Addresses, or why there are none.
        answer: Result<Vec<IpAddr>, ResolveError>,
    },
    /// The answer to `Connect`: our local address, or why not.
    Connected {
        /// Which dial.
        conn: ConnId,
        /// The local address.
        outcome: Result<SocketAddr, ConnectError>,
    },
    /// An RTMP player connected.
    Accepted {
        /// Numbered by the driver, [`ConnId::accepted`].
        conn: ConnId,
        /// The player's address.
        peer: SocketAddr,
        /// The address it connected to.
        local: SocketAddr,
    },
    /// An HTTP-FLV player asks for a stream on the driver's HTTP server; answered by `PlayAnswer`.
    PlayHttp {
        /// Numbered by the driver, [`ConnId::accepted`].
        conn: ConnId,
        /// What it asks for.
        key: StreamKey,
        /// The query, for authorisation; may hold secrets.
        params: String,
        /// The player's address.
        peer: SocketAddr,
        /// The address it connected to.
        local: SocketAddr,
    },
    /// Bytes came in.
    Received {
        /// From where.
        conn: ConnId,
        /// What.
        #[cfg_attr(feature = "serde", serde(borrow))]
        bytes: &'a [u8],
    },
    /// The socket took bytes: credit comes back.
    Sent {
        /// Which connection.
        conn: ConnId,
        /// How many bytes, of as many `Transmit`s as were written together.
        len: usize,
    },
    /// The connection is gone.
    Closed {
        /// Which connection.
        conn: ConnId,
        /// How it ended.
        hangup: Hangup,
    },
    /// An operator wants something; answered by exactly one `Reply`.
    Request {
        /// Numbered by the driver.
        id: RequestId,
        /// What.
        request: Request,
    },
    /// The operator's systems answer an `Ask`.
    Answered {
        /// Which question.
        ask: AskId,
        /// The answer.
        answer: Answer,
    },
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Output {
    /// Look a name up, freshly.
    Resolve {
        /// Names the answer.
        query: QueryId,
        /// The host name; never an address literal.
        host: String,
    },
    /// Dial.
    Connect {
        /// Names the connection.
        conn: ConnId,
        /// Where to.
        addr: SocketAddr,
    },
    /// Write these bytes after those handed over before.
    Transmit {
        /// Where to.
        conn: ConnId,
        /// What.
        bytes: Bytes,
    },
    /// Hang up in order, after all bytes are out.
    Close {
        /// Which connection.
        conn: ConnId,
    },
    /// Hang up at once, or give up the dial.
    Abort {
        /// Which connection.
        conn: ConnId,
    },
    /// The answer to a request.
    Reply {
        /// Which request.
        id: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// A question to the operator's systems. A driver without any answers with the question's default.
    Ask {
        /// Names the answer.
        ask: AskId,
        /// The question.
        question: Question,
    },
    /// The answer to an HTTP-FLV player; after `Stream`, `Transmit` carries the body.
    PlayAnswer {
        /// Which player.
        conn: ConnId,
        /// The answer.
        answer: PlayAnswer,
    },
    /// Told, not asked: for logs, metrics and oracles.
    Event(Event),
}

/// What an operator can ask for. Lists are getters of [`crate::Proxy`], not requests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Request {
    /// `addStreamProxy`.
    Add {
        /// The key to register.
        key: StreamKey,
        /// The origin's url as written; parsed here, so that a bad one leaves the old wish alone.
        url: String,
        /// The other arguments.
        options: PullOptions,
    },
    /// `updateStreamProxy`: url and options from the next attempt on.
    Update {
        /// The key registered.
        key: StreamKey,
        /// Another url.
        url: Option<String>,
        /// Other options.
        options: Option<PullOptions>,
        /// Redial at once.
        now: bool,
    },
    /// `delStreamProxy`: stop in any state and forget.
    Del {
        /// The key registered.
        key: StreamKey,
    },
    /// `close_stream`, `close_streams`: stop whatever matches, in any state, and forget.
    Close {
        /// What to match.
        filter: StreamFilter,
        /// Also streams with readers.
        force: bool,
    },
    /// `kick_session`: hang up on a player.
    Kick {
        /// Its connection.
        conn: ConnId,
    },
    /// The process ends: every player is told and closed, every pull stopped. Answered when all is quiet, or
    /// after `linger_timeout`.
    Shutdown,
}

/// Matches streams; an absent part matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StreamFilter {
    /// The virtual host.
    pub vhost: Option<String>,
    /// The application.
    pub app: Option<String>,
    /// The stream name.
    pub stream: Option<String>,
}

/// What an operator asks of a pull beyond its url. Absent values follow [`crate::config::PullConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PullOptions {
    /// Consecutive failures survived; negative means for ever, 0 means a drop removes the stream.
    pub retry_count: i32,
    /// Register even if the first attempt fails.
    pub force: bool,
    /// How long the reply to `Add` may take.
    pub reply_timeout: Option<Duration>,
    /// The retry law; if absent the configured one, and without one ZLMediaKit's for a finite `retry_count`.
    pub law: Option<BackoffLaw>,
    /// Silence of all tracks that counts as a stall.
    pub stall_timeout: Option<Duration>,
    /// Silence of one track that counts as a stall.
    pub track_stall_timeout: Option<Duration>,
    /// Patience with an origin that answers no pings and sends no media.
    pub first_media_timeout: Option<Duration>,
    /// Remove the stream when nobody has watched for `none_reader_delay`.
    pub auto_close: Option<bool>,
    /// Rebuild the stream context at every re-pull.
    pub reset_when_replay: Option<bool>,
    /// Send FCSubscribe before play.
    pub fc_subscribe: Option<bool>,
    /// The end of the url that is the stream name, where [`crate::url::OriginUrl::parse`] would cut elsewhere. May
    /// hold secrets.
    pub play_path: Option<String>,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            retry_count: -1,
            force: false,
            reply_timeout: None,
            law: None,
            stall_timeout: None,
            track_stall_timeout: None,
            first_media_timeout: None,
            auto_close: None,
            reset_when_replay: None,
            fc_subscribe: None,
            play_path: None,
        }
    }
}

/// How long to wait before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum BackoffLaw {
    /// 0.1 s doubling to 1 s from start to start, jitter 0.8–1.0, forgiven after stable media.
    Repull,
    /// `max(2, min(3n, 60))` s from the failure, no jitter, forgiven at the first frame.
    ZlMediaKit,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Reply {
    /// `Add`: the stream is registered; media flows if the state is `Streaming`, else `force` let it stay.
    Added {
        /// The state at the reply.
        state: PullState,
    },
    /// `Add`: it is playing already, nothing was touched.
    Exists {
        /// The state at the reply.
        state: PullState,
    },
    /// `Add`: the attempt failed.
    AddFailed {
        /// Why.
        failure: PullFailure,
        /// The state at the reply; `None` if the stream was removed again.
        state: Option<PullState>,
    },
    /// `Add`: no result within the reply timeout.
    AddTimedOut {
        /// The state at the reply; `None` if the stream was removed again.
        state: Option<PullState>,
    },
    /// `Add`: another add with other arguments took its place.
    Superseded,
    /// `Add`: a del, close or shutdown overtook it.
    Cancelled,
    /// `Add`, `Update`: not a url we pull; what was registered is untouched.
    BadUrl(UrlError),
    /// `Add`, `Update`: the url leads to our own listener with its own key.
    OwnUrl,
    /// `Add`: `streams_max` or `waiters_max` reached.
    Full,
    /// `Add`: the process is ending.
    ShuttingDown,
    /// `Update`: done.
    Updated {
        /// The state at the reply.
        state: PullState,
    },
    /// `Del`: done.
    Deleted,
    /// `Close`: done.
    Closed {
        /// Streams that matched.
        hit: u32,
        /// Streams closed; the others have readers and `force` was not given.
        closed: u32,
    },
    /// `Kick`: done.
    Kicked,
    /// `Update`, `Del`, `Kick`: there is none.
    NotFound,
    /// `Shutdown`: all is quiet.
    Down,
}

/// A question to the operator's systems.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Question {
    /// May this player play? Default: yes.
    Play {
        /// The player.
        conn: ConnId,
        /// The stream it asks for.
        key: StreamKey,
        /// Its query; may hold secrets.
        params: String,
    },
    /// A player waits for a stream that is not registered. Default: let it wait.
    StreamNotFound {
        /// The player.
        conn: ConnId,
        /// The stream it asks for.
        key: StreamKey,
    },
    /// Nobody has watched for `none_reader_delay`. Default: keep. Not asked with `auto_close`, which closes.
    NoneReader {
        /// The stream.
        stream: StreamId,
        /// Its key.
        key: StreamKey,
    },
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Answer {
    /// The question's default.
    Default,
    /// Let it: play, wait, keep.
    Allow,
    /// Don't: refuse the player, close the stream.
    Deny,
}

/// The answer to an HTTP-FLV player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PlayAnswer {
    /// 200; the body follows as `Transmit`s, the FLV file header first.
    Stream,
    /// The request ends with a status: 404, 403 or 503.
    Refused(Refusal),
}

/// Why a name has no address. Policy does not depend on which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ResolveError {
    /// No such name.
    NotFound,
    /// The resolver failed.
    Failed,
    /// The name has no usable address.
    Empty,
}

/// Why a dial failed. Policy does not depend on which: kernels and simulators differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ConnectError {
    /// The port is closed.
    Refused,
    /// No route, or no neighbour.
    Unreachable,
    /// The kernel gave up before the core did.
    TimedOut,
    /// Reset while connecting.
    Reset,
    /// Something else: out of ports or descriptors, not permitted, …
    Other,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Hangup {
    /// The peer closed in order, or our own `Close` is done.
    Eof,
    /// The peer reset it.
    Reset,
    /// Something else: keepalive or user timeout, unreachable, …
    Error,
}

/// The states of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PullState {
    /// A name is looked up.
    Resolving,
    /// Waits for a dial token.
    Queued,
    /// A dial is in flight.
    Connecting,
    /// S0 S1 S2 are awaited.
    Handshaking,
    /// connect, createStream and play are under way.
    Requesting,
    /// Play is accepted, no frame has come.
    AwaitingMedia,
    /// Frames flow.
    Streaming,
    /// A new play is under way on the same connection.
    Replaying,
    /// Waits for the next attempt.
    BackingOff,
    /// Over; the stream is about to be removed.
    Stopped,
}

/// Why an attempt, or a life, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PullFailure {
    /// The lookup failed.
    Resolve(ResolveError),
    /// Every address failed; the last one like this.
    Connect(ConnectError),
    /// The handshake failed.
    Handshake(HandshakeError),
    /// The origin's bytes or commands are not what we accept.
    Session(SessionError),
    /// The origin refused connect, createStream or play.
    Refused(Status),
    /// A state's own deadline passed.
    Timeout(PullState),
    /// A ping was not answered in time.
    PingTimeout,
    /// No frame of any track for `stall_timeout`, and a replay did not help or was not possible.
    Stalled,
    /// One track stayed silent for `track_stall_timeout`, and a replay did not help.
    TrackStalled(Medium),
    /// The stream ended on a living connection that cannot be asked anew.
    Ended(Ending),
    /// The connection is gone.
    Lost(Hangup),
    /// The name leads elsewhere.
    AddressMoved,
    /// More redirects in a row than allowed.
    TooManyRedirects,
    /// A redirect to something we cannot pull.
    RedirectUrl(UrlError),
    /// The dialled address is our own listener, with the stream's own key.
    OwnUrl,
    /// The operator asked for another attempt (`updateStreamProxy now=1`, a re-add with other arguments).
    Asked,
}

/// The kinds of stimuli of the pull machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PullEventKind {
    /// Begin an attempt now: added, re-added, or something makes success likelier.
    Wake,
    /// Somebody wants to watch: a delay grown beyond the usual cap no longer counts.
    Watched,
    /// The lookup has addresses.
    Resolved,
    /// The lookup failed.
    ResolveFailed,
    /// The dial budget grants a dial.
    Granted,
    /// The dial succeeded.
    Connected,
    /// The dial failed.
    ConnectFailed,
    /// The handshake is complete.
    HandshakeDone,
    /// The handshake or session failed by the origin's bytes.
    ProtocolFailed,
    /// `play` has been sent.
    Asked,
    /// Play is accepted.
    Playing,
    /// A frame came.
    Frame,
    /// A ping was answered.
    Pong,
    /// The stream ended, the connection lives.
    Ended,
    /// The origin refused.
    Refused,
    /// The origin sends us elsewhere.
    Redirected,
    /// The connection is gone.
    Closed,
    /// The state's deadline passed.
    Deadline,
    /// Redial with what the operator asked for.
    Restart,
    /// del, close, or nobody wants it.
    Stop,
}

/// Told, not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Event {
    /// The stream it is about.
    pub stream: Option<StreamId>,
    /// Counts the events of this stream from 1 without gaps; 0 without a stream.
    pub number: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum EventKind {
    /// The pull machine took a step, ignored ones too.
    PullStepped {
        /// The state before.
        state: PullState,
        /// The stimulus.
        event: PullEventKind,
        /// The state after.
        next: PullState,
    },
    /// The pull entered another state.
    PullEntered {
        /// The state entered.
        state: PullState,
        /// Why, if by failure.
        failure: Option<PullFailure>,
        /// Consecutive failures so far.
        failures: u32,
        /// When the next attempt begins, while `BackingOff`.
        next_attempt: Option<Instant>,
    },
    /// A stream was registered.
    Registered {
        /// Under this key.
        key: StreamKey,
    },
    /// A stream was removed.
    Unregistered {
        /// From this key.
        key: StreamKey,
        /// Why.
        reason: StreamEnd,
    },
    /// The origin sent an onStatus.
    OriginStatus(Status),
    /// An epoch began on the stream's clock.
    Epoch {
        /// Its number.
        number: u64,
        /// Why.
        cause: EpochCause,
    },
    /// The stream context was made anew.
    Rebuilt,
    /// A track is accepted as gone.
    TrackGone(Medium),
    /// A player connected.
    PlayerConnected {
        /// Its connection.
        conn: ConnId,
        /// Its address.
        peer: SocketAddr,
    },
    /// A player waits for a stream that is not there.
    PlayerParked {
        /// Its connection.
        conn: ConnId,
        /// The stream.
        key: StreamKey,
    },
    /// A player got a seat.
    PlayerSeated {
        /// Its connection.
        conn: ConnId,
    },
    /// A player was too slow and skipped frames.
    PlayerShed {
        /// Its connection.
        conn: ConnId,
        /// Frames left out.
        frames: u64,
    },
    /// A player lost its seat or its place in waiting.
    PlayerLeft {
        /// Its connection.
        conn: ConnId,
        /// Why.
        reason: PlayerEnd,
    },
    /// Nobody has watched for `none_reader_delay`.
    NoneReader,
}

/// Why a stream was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum StreamEnd {
    /// `Del`.
    Deleted,
    /// `Close`.
    Closed,
    /// The first attempt failed, without `force`.
    FirstAttemptFailed,
    /// A finite `retry_count` is used up.
    RetriesUsedUp,
    /// Nobody watched, `auto_close` or an answer said so.
    NoneReader,
    /// It would pull from itself.
    Loop,
    /// `Shutdown`.
    Shutdown,
}

/// Why a player left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PlayerEnd {
    /// It stopped playing or hung up.
    Left(Hangup),
    /// It sent closeStream or deleteStream.
    Stopped,
    /// Its bytes are not what we accept.
    Session(SessionError),
    /// Its handshake failed.
    Handshake(HandshakeError),
    /// No play request within `handshakeSecond`.
    Idle,
    /// The stream it waited for did not come.
    NotFound,
    /// The operator's systems refused it.
    Denied,
    /// It is a proxy that is fed by the stream it asks for: a ring.
    Ring,
    /// `players_max` reached.
    Full,
    /// It took no bytes for `keepAliveSecond` while some were waiting.
    Stuck,
    /// The outage outlasted `player_hold`.
    HoldExpired,
    /// The stream was removed.
    StreamEnded(StreamEnd),
    /// `Kick`.
    Kicked,
}

/// What a player is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PlayerState {
    /// C0 C1, C2 are awaited.
    Handshaking,
    /// Connected, no play request yet.
    Idle,
    /// Its play request is being authorised.
    Asking,
    /// Waits for a stream.
    Parked,
    /// Has a seat.
    Seated,
}

/// What a player takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PlayOutput {
    /// RTMP.
    Rtmp,
    /// HTTP-FLV.
    HttpFlv,
}

/// A stream as lists tell it, read off the machines.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StreamView {
    /// This registration.
    pub id: StreamId,
    /// Its key.
    pub key: StreamKey,
    /// The url as the operator wrote it; may hold secrets.
    pub url: String,
    /// The options as the operator gave them.
    pub options: PullOptions,
    /// The pull's state.
    pub state: PullState,
    /// Consecutive failures so far; the attempt under way or to come is this plus one.
    pub failures: u32,
    /// When the next attempt begins, while `BackingOff`.
    pub next_attempt: Option<Instant>,
    /// The last failure, kept until media has been stable.
    pub last_failure: Option<PullFailure>,
    /// How often media was lost and pulled again.
    pub repulls: u64,
    /// When it was registered.
    pub registered_at: Instant,
    /// When the present stretch of media began, while `Streaming`.
    pub streaming_since: Option<Instant>,
    /// Time spent `Streaming` in all, this stretch included.
    pub live: Duration,
    /// Bytes from origins in all.
    pub bytes: u64,
    /// Bytes per second from the origin, over the last whole second.
    pub bytes_per_second: u64,
    /// Seated players.
    pub players: u32,
    /// Parked players.
    pub parked: u32,
    /// Local and remote address of the upstream connection, once connected.
    pub origin: Option<(SocketAddr, SocketAddr)>,
    /// The tracks, while frames flow.
    pub tracks: Vec<TrackView>,
}

/// A player's connection as lists tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PlayerView {
    /// Its connection.
    pub conn: ConnId,
    /// What it takes.
    pub output: PlayOutput,
    /// What it is doing.
    pub state: PlayerState,
    /// What it asked for.
    pub key: Option<StreamKey>,
    /// Its address.
    pub peer: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
    /// `flashVer`, empty if not told.
    pub agent: String,
    /// When it connected.
    pub since: Instant,
}

/// Why [`crate::Proxy::poll_timeout`] names its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Wakeup {
    /// A pull's state ends, or it pings or looks a name up.
    Pull(StreamId),
    /// A stream's own timers: merged writes, hold, none reader.
    Stream(StreamId),
    /// A player's handshake, parking, progress or linger.
    Conn(ConnId),
    /// The dial budget has a token again.
    Dial,
    /// A request's reply is due.
    Request(RequestId),
    /// A question is answered by its default.
    Ask(AskId),
    /// Shutdown has lasted long enough.
    Shutdown,
}
