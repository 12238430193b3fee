//! The server session: serves one play per connection to a player (RTMP 1.0 §7.2), publishes nothing.
//!
//! ```text
//! AwaitingConnect ── connect ──► Connected: no play ── play ──► parked ── accept_play ──► running
//!                                    ▲                            │                          │
//!                                    └── closeStream, deleteStream, another play, reject_play, end_play
//! ```
//!
//! The owner answers [`ServerEvent::Play`] by [`ServerSession::accept_play`] or [`ServerSession::reject_play`],
//! now or later; in between the player is parked and pings are still answered.

use alloc::{
    collections::{BTreeSet, VecDeque},
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use crate::{
    session::{
        LOOP_IDS_MAX, SessionError,
        link::{self, CHUNK_STREAM_COMMAND, CHUNK_STREAM_STATUS, Link, call},
    },
    wire::{
        amf0::Value,
        chunk::ChunkLimits,
        command::{Command, Status},
        message::{Control, Message, type_id},
    },
};

/// The message stream id of the first createStream; media encoded once is addressed to it.
pub const PLAY_STREAM: u32 = 1;

/// Plays one connection may ask for. Each may be a question to the operator's systems; who wants more dials anew.
pub const PLAYS_MAX: u32 = 1000;

/// The acknowledgement window and bandwidth we tell players, in bytes; ZLMediaKit's number.
const WINDOW_ANNOUNCED: u32 = 5_000_000;

/// What the server tells and believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Our outgoing chunk size in bytes, 1–16777215, announced before the answer to connect.
    pub chunk_size: u32,
    /// Live message streams per connection; one more createStream is answered `_error`.
    pub streams_max: usize,
    /// Longest chain of proxies accepted.
    pub hops_max: u32,
    /// What is believed of the player's chunks.
    pub limits: ChunkLimits,
}

/// What the player wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerEvent {
    /// `connect` was answered.
    Connected {
        /// `flashVer`, for session lists; empty if not told. Cut at 512 bytes, control characters are blanks.
        agent: String,
        /// The hop count of a proxy (`repullHops`), 0 from anybody else.
        hops: u32,
        /// The ids of the proxies it speaks for (`repullIds`), empty from anybody else; the first
        /// [`LOOP_IDS_MAX`] that are texts of 16 hexadecimal digits, in the order told.
        ids: Vec<u64>,
    },
    /// It asks to play. At most one play is alive: an earlier one has been reported by `Stopped`. Names are as told,
    /// empty ones too: whether they make a key is for the owner to find.
    Play {
        /// The application without query, `_definst_` and slashes at its ends.
        app: String,
        /// The stream name without query and `mp4:`/`flv:` prefix.
        stream: String,
        /// The virtual host named by `vhost=` in a query or SRS's `...vhost...`, empty if none.
        vhost: String,
        /// The query of stream and app, joined by `&`, for authorisation; may hold secrets.
        params: String,
    },
    /// closeStream, deleteStream or another play ended the running or parked one; the connection goes on. Not told
    /// of a play that was not yet told either.
    Stopped,
}

/// Why a play is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Refusal {
    /// NetStream.Play.StreamNotFound, "No such stream.".
    StreamNotFound,
    /// NetStream.Play.BadAuth.
    BadAuth,
    /// NetStream.Play.InsufficientBW: too many players.
    TooManyPlayers,
}

/// An RTMP server towards one player, from `connect` on.
#[derive(Debug)]
pub struct ServerSession {
    options: ServerOptions,
    link: Link,
    state: State,
    /// Plays asked for so far.
    plays: u32,
    /// What the player acknowledged last.
    acknowledged: u32,
    events: VecDeque<ServerEvent>,
}

/// Where the conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Nothing but `connect` is answered.
    AwaitingConnect,
    /// `connect` was answered; no play was asked for, or it is over.
    Connected,
    /// The owner has not decided on a play.
    Parked,
    /// A play is accepted.
    Running,
}

/// Where the conversation is, with what that state knows.
#[derive(Debug)]
enum State {
    /// Nothing but `connect` is answered.
    AwaitingConnect,
    /// `connect` was answered.
    Connected {
        /// What it named.
        place: Place,
        /// Live message streams; never more than `streams_max`.
        streams: BTreeSet<u32>,
        /// The play.
        play: Play,
    },
}

#[derive(Clone, Copy, Debug)]
enum Play {
    /// None was asked for, or it is over.
    Idle,
    /// The owner has not decided.
    Parked { stream: u32 },
    /// Accepted.
    Running { stream: u32 },
}

/// What moves the machine, or is judged by where it is. Everything else means the same at any time.
#[derive(Clone, Copy, Debug)]
enum Stimulus<'a> {
    /// The player calls.
    Call {
        call: Call,
        command: &'a Command,
        /// The message stream it came on.
        said_on: u32,
    },
    /// The owner lets it play.
    Accept,
    /// The owner does not.
    Reject(Refusal),
    /// The stream is over.
    End,
}

/// The calls players make, by what they are answered.
#[derive(Clone, Copy, Debug)]
enum Call {
    Connect,
    CreateStream,
    DeleteStream,
    CloseStream,
    Play,
    GetStreamLength,
    FcSubscribe,
    Publish,
    /// SRS answers every unknown call with `_result` null; clients wait for some of them (`_checkbw`, releaseStream,
    /// FCPublish). Live streams ignore pause, seek, receiveAudio and receiveVideo.
    Other,
    /// Answers to nothing we asked.
    Stray,
}

/// The application a connection belongs to.
#[derive(Debug)]
struct Place {
    app: String,
    vhost: String,
    params: String,
}

impl ServerSession {
    /// Waits for `connect`. `received` is what the handshake took from the wire.
    pub fn new(options: ServerOptions, received: u64) -> Self {
        Self {
            link: Link::new(options.limits, received),
            options,
            state: State::AwaitingConnect,
            plays: 0,
            acknowledged: 0,
            events: VecDeque::new(),
        }
    }

    /// Takes bytes from the player, appends answers: ping responses, acknowledgements, results; unknown calls
    /// get `_result` null; publish gets onStatus `NetStream.Publish.Denied` of level error.
    ///
    /// # Errors
    /// See [`SessionError`]; errors are final. What was appended before one, such as the refusal of a chain too
    /// long, is still meant for the player.
    pub fn handle_bytes(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        while let Some(message) = self.link.read(&mut input, out)? {
            self.on_message(&message, out)?;
        }
        Ok(())
    }

    /// Returns what the player wants, in order. The queue holds what one call to
    /// [`handle_bytes`](Self::handle_bytes) brought, if the owner drains it in between.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    /// Appends StreamBegin, NetStream.Play.Reset and NetStream.Play.Start. Nothing if no play is parked: the
    /// player may have taken its wish back.
    pub fn accept_play(&mut self, out: &mut Vec<u8>) {
        self.decide(Stimulus::Accept, out);
    }

    /// Appends onStatus of level error; nothing if there is no play.
    pub fn reject_play(&mut self, refusal: Refusal, out: &mut Vec<u8>) {
        self.decide(Stimulus::Reject(refusal), out);
    }

    /// Appends NetStream.Play.UnpublishNotify and StreamEOF: the stream has ended for good. FFmpeg and librtmp
    /// leave at the first, GStreamer at the second. Nothing if there is no play.
    pub fn end_play(&mut self, out: &mut Vec<u8>) {
        self.decide(Stimulus::End, out);
    }

    /// Returns where the conversation is.
    pub const fn state(&self) -> ServerState {
        match &self.state {
            State::AwaitingConnect => ServerState::AwaitingConnect,
            State::Connected { play: Play::Idle, .. } => ServerState::Connected,
            State::Connected { play: Play::Parked { .. }, .. } => ServerState::Parked,
            State::Connected { play: Play::Running { .. }, .. } => ServerState::Running,
        }
    }

    /// Returns the message stream the running or parked play is on, if there is one.
    pub fn play_stream(&self) -> Option<u32> {
        match &self.state {
            State::AwaitingConnect => None,
            State::Connected { play, .. } => play.stream(),
        }
    }

    /// Takes the news that the player's socket took bytes while media flows. The player lives at the pace of the
    /// stream, so what it says in between is no flood, whether it acknowledges or not.
    pub fn progressed(&mut self) {
        self.link.refund(link::FLOOD_MESSAGES_MAX);
    }

    fn decide(&mut self, stimulus: Stimulus<'_>, out: &mut Vec<u8>) {
        self.react(stimulus, out).expect("what the owner decides is no fault of the player");
    }

    /// The table: every state, every stimulus.
    fn react(&mut self, stimulus: Stimulus<'_>, out: &mut Vec<u8>) -> Result<(), SessionError> {
        use Call as C;
        use State as S;
        use Stimulus as E;

        match (&mut self.state, stimulus) {
            (S::AwaitingConnect | S::Connected { .. }, E::Call { call: C::Stray, .. }) => Ok(()),

            // connect is awaited.
            (S::AwaitingConnect, E::Call { call: C::Connect, command, .. }) => self.on_connect(command, out),
            (
                S::AwaitingConnect,
                E::Call {
                    call:
                        C::CreateStream
                        | C::DeleteStream
                        | C::CloseStream
                        | C::Play
                        | C::GetStreamLength
                        | C::FcSubscribe
                        | C::Publish
                        | C::Other,
                    command,
                    ..
                },
            ) => Err(unexpected(&command.name)),
            (S::AwaitingConnect, E::Accept | E::Reject(_) | E::End) => Ok(()),

            // connect was answered: what is answered alike whether there is a play or not.
            (S::Connected { .. }, E::Call { call: C::Connect, command, .. }) => {
                Err(unexpected(&command.name))
            }
            (S::Connected { streams, .. }, E::Call { call: C::CreateStream, command, .. }) => {
                match free_stream(streams, self.options.streams_max) {
                    Some(created) => {
                        streams.insert(created);
                        self.result(command, f64::from(created).into(), out);
                    }
                    None => self.refuse_stream(command, out),
                }
                Ok(())
            }
            (S::Connected { .. }, E::Call { call: C::GetStreamLength, command, .. }) => {
                // FFmpeg asks; a live stream has none.
                self.result(command, 0.0.into(), out);
                Ok(())
            }
            (S::Connected { .. }, E::Call { call: C::FcSubscribe, .. }) => {
                let status = Status::new("status", "NetStream.Play.Start", "Subscribed.");
                let call = call("onFCSubscribe", 0.0, vec![Value::Object(link::info(&status))]);
                self.link.command(CHUNK_STREAM_COMMAND, 0, &call, out);
                Ok(())
            }
            (S::Connected { .. }, E::Call { call: C::Publish, said_on, .. }) => {
                // OBS and FFmpeg hang up; others may still play on this connection.
                let code = "NetStream.Publish.Denied";
                self.tell(said_on, "error", code, "Publishing is not served here.", out);
                Ok(())
            }
            (S::Connected { .. }, E::Call { call: C::Other, command, .. }) => {
                self.result(command, Value::Null, out);
                Ok(())
            }

            // What begins a play, and ends an earlier one. Any transaction id and any `start` will do: FFmpeg and
            // librtmp number their calls, every stream is live.
            (S::Connected { streams, .. }, E::Call { call: C::Play, said_on, .. })
                if !streams.contains(&played_on(said_on)) && streams.len() >= self.options.streams_max =>
            {
                let code = "NetStream.Play.Failed";
                self.tell(played_on(said_on), "error", code, "Too many streams on one connection.", out);
                Ok(())
            }
            (S::Connected { .. }, E::Call { call: C::Play, .. }) if self.plays >= PLAYS_MAX => {
                Err(SessionError::Flood)
            }
            (S::Connected { place, streams, play }, E::Call { call: C::Play, command, said_on }) => {
                let stream = played_on(said_on);
                streams.insert(stream);
                let wish = wish(place, command);
                let earlier = core::mem::replace(play, Play::Parked { stream });
                self.plays += 1;
                if earlier.stream().is_some() {
                    self.stopped();
                }
                self.events.push_back(wish);
                Ok(())
            }

            // What ends one.
            (S::Connected { streams, play, .. }, E::Call { call: C::DeleteStream, command, .. }) => {
                let deleted = deleted_stream(command);
                streams.remove(&deleted);
                if play.is_on(deleted) {
                    *play = Play::Idle;
                    self.stopped();
                }
                Ok(())
            }
            (S::Connected { play, .. }, E::Call { call: C::CloseStream, said_on, .. }) => {
                if play.is_on(said_on) {
                    *play = Play::Idle;
                    self.stopped();
                }
                Ok(())
            }

            // What the owner decides; the player may have taken its wish back.
            (S::Connected { play, .. }, E::Accept) => match *play {
                Play::Idle => Ok(()),
                Play::Parked { stream } => {
                    *play = Play::Running { stream };
                    self.on_accepted(stream, out)
                }
                Play::Running { .. } => Ok(()),
            },
            (S::Connected { play, .. }, E::Reject(refusal)) => match core::mem::replace(play, Play::Idle) {
                Play::Idle => Ok(()),
                Play::Parked { stream } => self.on_rejected(stream, refusal, out),
                Play::Running { stream } => self.on_rejected(stream, refusal, out),
            },
            (S::Connected { play, .. }, E::End) => match core::mem::replace(play, Play::Idle) {
                Play::Idle => Ok(()),
                Play::Parked { stream } => self.on_end(stream, out),
                Play::Running { stream } => self.on_end(stream, out),
            },
        }
    }

    fn on_message(&mut self, message: &Message, out: &mut Vec<u8>) -> Result<(), SessionError> {
        if let Some(control) = message.control() {
            return self.on_control(control, out);
        }
        self.link.charge()?;
        match message.type_id {
            type_id::COMMAND_AMF0 | type_id::COMMAND_AMF3 => {
                let command = Command::parse(message).map_err(SessionError::Amf0)?;
                let call = Call::of(&command.name);
                self.react(Stimulus::Call { call, command: &command, said_on: message.stream }, out)
            }
            // Data, shared objects, media within the limits: nobody listens.
            _ => Ok(()),
        }
    }

    fn on_control(&mut self, control: Control, out: &mut Vec<u8>) -> Result<(), SessionError> {
        match control {
            // Media has reached the player: the only sign of time passing that the session sees by itself. Some players tell
            // the bytes since the last time (rml_rtmp), so any other number counts and the same one is no offence.
            Control::Acknowledgement(total) => {
                if total != self.acknowledged {
                    self.acknowledged = total;
                    self.link.refund(link::FLOOD_MESSAGES_MAX);
                }
            }
            Control::SetChunkSize(_)
            | Control::Abort(_)
            | Control::WindowAckSize(_)
            | Control::SetPeerBandwidth(_)
            | Control::StreamBegin(_)
            | Control::StreamEof(_)
            | Control::StreamDry(_)
            | Control::SetBufferLength { .. }
            | Control::StreamIsRecorded(_)
            | Control::PingRequest(_)
            | Control::PingResponse(_)
            | Control::Ignored => {
                self.link.charge()?;
                self.link.on_control(control, out);
            }
        }
        Ok(())
    }

    fn on_accepted(&mut self, stream: u32, out: &mut Vec<u8>) -> Result<(), SessionError> {
        self.link.control(Control::StreamBegin(stream), out);
        // NetStream.Data.Start, which Adobe's server adds, makes FFmpeg see streams that are not there.
        self.tell(stream, "status", "NetStream.Play.Reset", "Playing and resetting.", out);
        self.tell(stream, "status", "NetStream.Play.Start", "Started playing.", out);
        Ok(())
    }

    fn on_rejected(&mut self, stream: u32, refusal: Refusal, out: &mut Vec<u8>) -> Result<(), SessionError> {
        let (code, description) = match refusal {
            Refusal::StreamNotFound => ("NetStream.Play.StreamNotFound", "No such stream."),
            Refusal::BadAuth => ("NetStream.Play.BadAuth", "Not allowed."),
            Refusal::TooManyPlayers => ("NetStream.Play.InsufficientBW", "Too many players."),
        };
        self.tell(stream, "error", code, description, out);
        Ok(())
    }

    fn on_end(&mut self, stream: u32, out: &mut Vec<u8>) -> Result<(), SessionError> {
        self.tell(stream, "status", "NetStream.Play.UnpublishNotify", "The stream has ended.", out);
        self.link.control(Control::StreamEof(stream), out);
        Ok(())
    }

    fn on_connect(&mut self, command: &Command, out: &mut Vec<u8>) -> Result<(), SessionError> {
        let text = |name| command.object.member(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name| command.object.member(name).and_then(Value::as_number).unwrap_or_default();
        // The cast saturates; no number and a negative one are 0.
        let hops = number("repullHops") as u32;
        if hops > self.options.hops_max {
            let status = Status::new(
                "error",
                "NetConnection.Connect.Rejected",
                "A chain of proxies longer than allowed, probably a ring.",
            );
            self.error(command, &status, out);
            return Err(SessionError::TooManyHops { hops });
        }

        let place = Place::new(text("app"), text("tcUrl"));
        self.link.announce_window(WINDOW_ANNOUNCED, out);
        self.link.control(Control::SetPeerBandwidth(WINDOW_ANNOUNCED), out);
        self.link.announce_chunk_size(self.options.chunk_size, out);
        let status = Status::new("status", "NetConnection.Connect.Success", "Connection succeeded.");
        let mut info = link::info(&status);
        info.push(("objectEncoding".into(), number("objectEncoding").into()));
        let answer = Command {
            name: "_result".into(),
            transaction: command.transaction,
            object: Value::Object(vec![
                ("fmsVer".into(), "FMS/3,0,1,123".into()),
                ("capabilities".into(), 31.0.into()),
            ]),
            arguments: vec![Value::Object(info)],
        };
        // No onBWDone after it: nobody needs it, and FFmpeg and librtmp would only ask `_checkbw` in return.
        self.link.command(CHUNK_STREAM_COMMAND, 0, &answer, out);

        let ids = loop_ids(&command.object);
        self.events.push_back(ServerEvent::Connected { agent: link::printable(text("flashVer")), hops, ids });
        self.state = State::Connected { place, streams: BTreeSet::new(), play: Play::Idle };
        Ok(())
    }

    /// Tells that a play is over; one the owner has not heard of is taken back, else its answer would hit the next.
    fn stopped(&mut self) {
        match self.events.back() {
            Some(ServerEvent::Play { .. }) => {
                self.events.pop_back();
            }
            Some(ServerEvent::Connected { .. } | ServerEvent::Stopped) | None => {
                self.events.push_back(ServerEvent::Stopped);
            }
        }
    }

    /// Appends `_result`, unless the call expects none (transaction id 0, §7.2.1).
    fn result(&self, command: &Command, value: Value, out: &mut Vec<u8>) {
        if command.transaction != 0.0 {
            let answer = call("_result", command.transaction, vec![value]);
            self.link.command(CHUNK_STREAM_COMMAND, 0, &answer, out);
        }
    }

    fn error(&self, command: &Command, status: &Status, out: &mut Vec<u8>) {
        let info = Value::Object(link::info(status));
        let answer = call("_error", command.transaction, vec![info]);
        self.link.command(CHUNK_STREAM_COMMAND, 0, &answer, out);
    }

    fn refuse_stream(&self, command: &Command, out: &mut Vec<u8>) {
        let text = format!("At most {} streams on one connection.", self.options.streams_max);
        self.error(command, &Status::new("error", "NetConnection.Call.Failed", &text), out);
    }

    fn tell(&self, stream: u32, level: &str, code: &str, description: &str, out: &mut Vec<u8>) {
        let info = Value::Object(link::info(&Status::new(level, code, description)));
        self.link.command(CHUNK_STREAM_STATUS, stream, &call("onStatus", 0.0, vec![info]), out);
    }
}

impl Call {
    fn of(name: &str) -> Self {
        match name {
            "connect" => Self::Connect,
            "createStream" => Self::CreateStream,
            "deleteStream" => Self::DeleteStream,
            "closeStream" => Self::CloseStream,
            "play" => Self::Play,
            "getStreamLength" => Self::GetStreamLength,
            "FCSubscribe" => Self::FcSubscribe,
            "publish" => Self::Publish,
            "" | "_result" | "_error" | "onStatus" => Self::Stray,
            _ => Self::Other,
        }
    }
}

impl Play {
    /// Tells whether there is a play and `stream` means it; 0 means whatever plays.
    fn is_on(self, stream: u32) -> bool {
        self.stream().is_some_and(|playing| stream == 0 || stream == playing)
    }

    fn stream(self) -> Option<u32> {
        match self {
            Self::Idle => None,
            Self::Parked { stream } => Some(stream),
            Self::Running { stream } => Some(stream),
        }
    }
}

impl Place {
    fn new(app: &str, tc_url: &str) -> Self {
        let (app, params) = split_name(app);
        let app = app.trim_matches('/');
        // The default instance of Adobe's server, which Wowza and its players spell out.
        let app = app.strip_suffix("/_definst_").unwrap_or(app).trim_end_matches('/');
        let vhost = vhost_of(&params).or_else(|| vhost_of(&split_name(tc_url).1)).unwrap_or_default();
        Self { app: app.to_string(), vhost, params }
    }
}

fn unexpected(name: &str) -> SessionError {
    SessionError::Unexpected { command: link::printable(name) }
}

/// Returns the message stream a play said on `said_on` is on: sloppy players ask on the NetConnection.
fn played_on(said_on: u32) -> u32 {
    if said_on == 0 { PLAY_STREAM } else { said_on }
}

/// Returns the message stream deleteStream names. Without a number it can only mean the play: 0.
fn deleted_stream(command: &Command) -> u32 {
    // The cast saturates.
    command.arguments.iter().find_map(Value::as_number).map_or(0, |number| number as u32)
}

/// Reads the ids of the proxies a player speaks for; what is no such id is skipped.
fn loop_ids(object: &Value) -> Vec<u64> {
    let Some(Value::StrictArray(told)) = object.member("repullIds") else {
        return Vec::new();
    };
    told.iter().filter_map(Value::as_str).filter_map(loop_id).take(LOOP_IDS_MAX).collect()
}

fn loop_id(text: &str) -> Option<u64> {
    let is_id = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_id { u64::from_str_radix(text, 16).ok() } else { None }
}

/// Returns the lowest free message stream id; §7.2.1.3 leaves the choice to the server, and media encoded once for
/// all players is addressed to [`PLAY_STREAM`].
fn free_stream(streams: &BTreeSet<u32>, streams_max: usize) -> Option<u32> {
    if streams.len() >= streams_max {
        return None;
    }
    (PLAY_STREAM..=u32::MAX).find(|id| !streams.contains(id))
}

/// Reads what a play command asks for.
fn wish(place: &Place, command: &Command) -> ServerEvent {
    let name = command.arguments.iter().find_map(Value::as_str).unwrap_or_default();
    let (stream, query) = split_name(name);
    let stream = stream.trim_start_matches('/');
    let stream = ["mp4:", "flv:"].iter().find_map(|prefix| stream.strip_prefix(prefix)).unwrap_or(stream);
    let params = match (query.is_empty(), place.params.is_empty()) {
        (false, false) => format!("{query}&{}", place.params),
        (false, true) => query.clone(),
        (true, _) => place.params.clone(),
    };
    ServerEvent::Play {
        app: place.app.clone(),
        stream: stream.to_string(),
        vhost: vhost_of(&query).unwrap_or_else(|| place.vhost.clone()),
        params,
    }
}

/// Splits a name from its query. SRS writes queries with dots for players that eat question marks:
/// `live...vhost...example.com` is `live?vhost=example.com`.
fn split_name(text: &str) -> (&str, String) {
    if let Some((name, query)) = text.split_once('?') {
        return (name, query.to_string());
    }
    let Some(at) = text.find("...vhost...") else {
        return (text, String::new());
    };
    let mut query = String::new();
    let mut words = text[at + 3..].split("...");
    while let Some(name) = words.next() {
        let separator = if query.is_empty() { "" } else { "&" };
        query.push_str(&format!("{separator}{name}={}", words.next().unwrap_or_default()));
    }
    (&text[..at], query)
}

fn vhost_of(query: &str) -> Option<String> {
    let vhost = query.split('&').find_map(|pair| pair.strip_prefix("vhost="))?;
    // In a tcUrl the stream may follow.
    let vhost = vhost.split('/').next().unwrap_or(vhost);
    (!vhost.is_empty()).then(|| vhost.to_string())
}

#[cfg(test)]
mod tests;
