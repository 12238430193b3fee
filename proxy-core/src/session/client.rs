//! The client session: connect, createStream, play, and what an origin says afterwards (RTMP 1.0 §7.2.1, §7.2.2).
//!
//! ```text
//! connect ──► Connecting ── _result ──► CreatingStream ── _result ──► RequestingPlay ── Play.Start ──► Playing
//!                                            ▲                              │            or media         │
//!                                            └── replay (closeStream, ──────┴─────────────────────────────┘
//!                                                deleteStream, createStream)
//! ```
//!
//! Origins differ in what they say, when, and on which message stream; what counts is listed at each reaction.
//! Unknown calls, stray results and statuses without an information object never hurt.

use alloc::{
    collections::VecDeque,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use crate::{
    session::{
        LOOP_IDS_MAX, SessionError,
        link::{self, CHUNK_STREAM_COMMAND, CHUNK_STREAM_PLAY, Link, call},
    },
    url::OriginUrl,
    wire::{
        amf0::Value,
        chunk::ChunkLimits,
        command::{Command, Status},
        flv::{self, Frame},
        message::{Control, Message, split_aggregate, type_id},
    },
};

/// The window we ask origins to acknowledge, in bytes; FFmpeg's number.
const WINDOW_ANNOUNCED: u32 = 2_500_000;

/// The buffer we tell an origin, in milliseconds; FFmpeg's number.
const BUFFER_MILLIS: u32 = 3000;

/// `start` of play: live or recorded, in milliseconds as FFmpeg, ZLMediaKit and nginx-rtmp write it.
const START_LIVE: f64 = -2000.0;

/// What we call ourselves. The beginning is FFmpeg's, for servers that look at it; nginx-rtmp keeps 31 characters.
const FLASH_VERSION: &str = concat!("LNX 9,0,124,2 (Repull/", env!("CARGO_PKG_VERSION"), ")");

/// `capsEx` of E-RTMP v2: Reconnect 1, Multitrack 2, ModEx 4, TimestampNanoOffset 8.
const CAPS_EX: f64 = 15.0;

/// `FourCcInfoMask` of E-RTMP v2: we forward every codec and decode none.
const CAN_FORWARD: f64 = 4.0;

/// The transaction id of connect (§7.2.1.1 wants 1).
const TRANSACTION_CONNECT: u32 = 1;

/// Control messages a silent origin may send for every ping of ours, which is at most one a second.
const MESSAGES_PER_PING: u32 = 256;

/// What the operator's wish adds to a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// Send FCSubscribe before play, which some CDNs want.
    pub fc_subscribe: bool,
    /// The hop count told in `connect` (`repullHops`); a chain of proxies is cut by it.
    pub hops: u32,
    /// The ids of the proxies the stream would pass through, told in `connect` (`repullIds`), so that one of them
    /// finds a ring. The first [`LOOP_IDS_MAX`] are told; none, and nothing is told.
    pub ids: Vec<u64>,
    /// What is believed of the origin's chunks.
    pub limits: ChunkLimits,
}

/// What the origin did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// It gave us a message stream and `play` is sent: from here on the answer is at its pleasure, and some hold it
    /// until a publisher comes. Told once per `play`, also for that of a replay; not told of one given up before
    /// the owner heard of it.
    Asked,
    /// It accepted `play` (NetStream.Play.Start, or media before it).
    Playing,
    /// A frame. Frames that belong to the play before a replay are not told.
    Frame(Frame),
    /// It answered a ping of ours.
    Pong {
        /// The number we sent.
        timestamp: u32,
    },
    /// The stream ended or paused, the connection did not: StreamEOF, StreamDry, UnpublishNotify, Play.Stop,
    /// Play.Complete. Not told between a replay and its Play.Start, where they speak of the old play.
    Ended(Ending),
    /// Every onStatus, also those told as another event. Texts are cut at 512 bytes, control characters are
    /// blanks, and the query of our stream name is hidden.
    Status(Status),
    /// `_error`, StreamNotFound, Play.Failed, Connect.Rejected, Connect.Closed and every other onStatus of level
    /// error, createStream refused, or a server's `close`.
    Refused(Status),
    /// Go elsewhere: `ex.redirect`/`ex.redirect2` of an `_error` to connect (code 302), or
    /// `NetConnection.Connect.ReconnectRequest`. The url is complete: app and stream are filled in. It is not
    /// checked: a redirect to something we cannot pull is for the owner to refuse.
    Redirect {
        /// Where to.
        url: String,
    },
}

/// How a stream ended on a living connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Ending {
    /// User control StreamEOF.
    StreamEof,
    /// User control StreamDry.
    StreamDry,
    /// NetStream.Play.UnpublishNotify.
    UnpublishNotify,
    /// NetStream.Play.Stop or Play.Complete, or the CDNs' onFCUnsubscribe.
    PlayStop,
}

/// An RTMP client that plays one stream, from `connect` on.
#[derive(Debug)]
pub struct ClientSession {
    url: OriginUrl,
    fc_subscribe: bool,
    link: Link,
    state: State,
    /// The transaction id of our last call.
    transaction: u32,
    /// Pings sent and not answered.
    pings_open: u32,
    events: VecDeque<ClientEvent>,
}

/// Where the conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// connect is sent.
    Connecting,
    /// createStream is sent.
    CreatingStream,
    /// play is sent.
    RequestingPlay,
    /// play is accepted.
    Playing,
}

/// Where the conversation is, with what that state knows.
#[derive(Clone, Copy, Debug)]
enum State {
    /// connect is sent.
    Connecting,
    /// createStream is sent. Media and endings speak of an old play, if of any.
    CreatingStream {
        /// Of createStream.
        transaction: u32,
        /// The stream a replay has given up.
        left: Option<u32>,
    },
    /// play is sent.
    RequestingPlay {
        /// Of play.
        transaction: u32,
        /// The message stream.
        stream: u32,
        /// The stream a replay has given up.
        left: Option<u32>,
    },
    /// play is accepted.
    Playing {
        /// Of play; a late `_error` names it.
        transaction: u32,
        /// The message stream.
        stream: u32,
        /// The stream a replay has given up.
        left: Option<u32>,
    },
}

/// What moves the machine, or is judged by where it is. Everything else means the same at any time.
#[derive(Clone, Debug)]
enum Stimulus<'a> {
    /// `_result`.
    Result(&'a Command),
    /// `_error`.
    Error {
        command: &'a Command,
        /// The message stream it came on.
        said_on: u32,
    },
    /// NetStream.Play.Start.
    PlayStart,
    /// The stream is said to be over.
    Ended {
        ending: Ending,
        /// The message stream it names; servers that always say 0 or 1 are believed.
        said_on: Option<u32>,
    },
    /// Media.
    Frame {
        frame: Frame,
        /// The message stream it came on.
        said_on: u32,
    },
    /// The owner wants the play anew.
    Replay,
}

impl ClientSession {
    /// Appends `connect`, and nothing else: FFmpeg as server takes no Window Acknowledgement Size before it, so
    /// that follows the answer. Our chunk size stays 128. `received` is what the handshake took from the wire:
    /// acknowledgements count it (§5.4.3).
    pub fn start(url: &OriginUrl, options: &ClientOptions, received: u64, out: &mut Vec<u8>) -> Self {
        let session = Self {
            url: url.clone(),
            fc_subscribe: options.fc_subscribe,
            link: Link::new(options.limits, received),
            state: State::Connecting,
            transaction: TRANSACTION_CONNECT,
            pings_open: 0,
            events: VecDeque::new(),
        };
        let connect = Command {
            name: "connect".into(),
            transaction: f64::from(TRANSACTION_CONNECT),
            object: connect_object(url, options),
            arguments: Vec::new(),
        };
        session.link.command(CHUNK_STREAM_COMMAND, 0, &connect, out);
        session
    }

    /// Takes bytes from the origin, appends answers.
    ///
    /// # Errors
    /// See [`SessionError`]; errors are final.
    pub fn handle_bytes(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        while let Some(message) = self.link.read(&mut input, out)? {
            self.on_message(&message, out)?;
        }
        Ok(())
    }

    /// Returns what the origin did, in order. The queue holds what one call to
    /// [`handle_bytes`](Self::handle_bytes) brought, if the owner drains it in between.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Returns where the conversation is.
    pub const fn state(&self) -> ClientState {
        match self.state {
            State::Connecting => ClientState::Connecting,
            State::CreatingStream { .. } => ClientState::CreatingStream,
            State::RequestingPlay { .. } => ClientState::RequestingPlay,
            State::Playing { .. } => ClientState::Playing,
        }
    }

    /// Appends a PingRequest carrying `timestamp` in milliseconds.
    pub fn ping(&mut self, timestamp: u32, out: &mut Vec<u8>) {
        self.pings_open = self.pings_open.saturating_add(1);
        self.link.refund(MESSAGES_PER_PING);
        self.link.control(Control::PingRequest(timestamp), out);
    }

    /// Appends closeStream and deleteStream for the running play and asks anew: createStream, then play. Never
    /// two subscriptions at once. SRS ignores a second `play`, nginx-rtmp answers "already joined", ZLMediaKit
    /// ends the session: this order is what all of them take or answer by hanging up. Without a play that has
    /// been asked for there is nothing to repeat, and nothing is sent.
    pub fn replay(&mut self, out: &mut Vec<u8>) {
        self.react(Stimulus::Replay, out).expect("what the owner wants is no fault of the peer");
    }

    /// The table: every state, every stimulus.
    fn react(&mut self, stimulus: Stimulus<'_>, out: &mut Vec<u8>) -> Result<(), SessionError> {
        use State as S;
        use Stimulus as E;

        match (self.state, stimulus) {
            // connect is sent. An error is believed whatever its transaction id: nothing else has been asked.
            (S::Connecting, E::Result(command)) if answers_connect(command) => {
                self.on_connected(command, out)
            }
            (S::Connecting, E::Result(_)) => Ok(()),
            (S::Connecting, E::Error { command, .. }) => self.on_refused(command),
            (S::Connecting, E::PlayStart) => Ok(()),
            (S::Connecting, E::Ended { .. }) => Ok(()),
            (S::Connecting, E::Frame { .. }) => self.link.charge(),
            (S::Connecting, E::Replay) => Ok(()),

            // createStream is sent. Results and errors of other calls (FCSubscribe, a play given up) do not matter;
            // what speaks of a play speaks of the one a replay has left.
            (S::CreatingStream { transaction, left }, E::Result(command))
                if is_transaction(command, transaction) =>
            {
                self.on_stream_created(command, left, out)
            }
            (S::CreatingStream { .. }, E::Result(_)) => Ok(()),
            (S::CreatingStream { transaction, .. }, E::Error { command, .. })
                if is_transaction(command, transaction) =>
            {
                self.on_refused(command)
            }
            (S::CreatingStream { .. }, E::Error { .. }) => Ok(()),
            (S::CreatingStream { .. }, E::PlayStart) => Ok(()),
            (S::CreatingStream { .. }, E::Ended { .. }) => Ok(()),
            (S::CreatingStream { .. }, E::Frame { .. }) => self.link.charge(),
            (S::CreatingStream { .. }, E::Replay) => Ok(()),

            // play is sent. The result of play says nothing.
            (S::RequestingPlay { .. }, E::Result(_)) => Ok(()),
            (S::RequestingPlay { transaction, stream, .. }, E::Error { command, said_on })
                if is_of_play(command, said_on, transaction, stream) =>
            {
                self.on_refused(command)
            }
            (S::RequestingPlay { .. }, E::Error { .. }) => Ok(()),
            (S::RequestingPlay { transaction, stream, left }, E::PlayStart) => {
                self.on_play_accepted(transaction, stream, left);
                Ok(())
            }
            (S::RequestingPlay { left: None, .. }, E::Ended { ending, .. }) => self.on_ended(ending),
            (S::RequestingPlay { left: Some(_), .. }, E::Ended { .. }) => Ok(()),
            (S::RequestingPlay { stream, left: Some(left), .. }, E::Frame { said_on, .. })
                if said_on == left && left != stream =>
            {
                self.link.charge()
            }
            (S::RequestingPlay { transaction, stream, left }, E::Frame { frame, .. }) => {
                self.on_play_accepted(transaction, stream, left);
                self.on_frame(frame)
            }
            (S::RequestingPlay { stream, .. }, E::Replay) => self.ask_anew(stream, out),

            // play is accepted.
            (S::Playing { .. }, E::Result(_)) => Ok(()),
            (S::Playing { transaction, stream, .. }, E::Error { command, said_on })
                if is_of_play(command, said_on, transaction, stream) =>
            {
                self.on_refused(command)
            }
            (S::Playing { .. }, E::Error { .. }) => Ok(()),
            (S::Playing { .. }, E::PlayStart) => Ok(()),
            // A server may give a replay the stream id of the play before it.
            (S::Playing { stream, left, .. }, E::Ended { ending, said_on })
                if left.is_none() || left == Some(stream) || said_on != left =>
            {
                self.on_ended(ending)
            }
            (S::Playing { .. }, E::Ended { .. }) => Ok(()),
            (S::Playing { .. }, E::Frame { frame, .. }) => self.on_frame(frame),
            (S::Playing { stream, .. }, E::Replay) => self.ask_anew(stream, out),
        }
    }

    fn ask_anew(&mut self, stream: u32, out: &mut Vec<u8>) -> Result<(), SessionError> {
        // What the owner has not heard yet of the play it gives up is no news any more.
        self.events.retain(|event| match event {
            ClientEvent::Asked => false,
            ClientEvent::Playing => false,
            ClientEvent::Frame(_) => false,
            ClientEvent::Ended(_) => false,
            ClientEvent::Pong { .. } => true,
            ClientEvent::Status(_) => true,
            ClientEvent::Refused(_) => true,
            ClientEvent::Redirect { .. } => true,
        });
        // SRS takes any command after closeStream for the next stream's; deleteStream frees nginx-rtmp's context.
        self.link.command(CHUNK_STREAM_PLAY, stream, &call("closeStream", 0.0, vec![]), out);
        let delete = call("deleteStream", 0.0, vec![f64::from(stream).into()]);
        self.link.command(CHUNK_STREAM_COMMAND, 0, &delete, out);
        self.create_stream(Some(stream), out);
        Ok(())
    }

    fn create_stream(&mut self, left: Option<u32>, out: &mut Vec<u8>) {
        let transaction = self.send(CHUNK_STREAM_COMMAND, 0, "createStream", vec![], out);
        self.state = State::CreatingStream { transaction, left };
    }

    /// Appends a call that wants an answer, returns its transaction id.
    fn send(
        &mut self,
        chunk_stream: u32,
        stream: u32,
        name: &str,
        arguments: Vec<Value>,
        out: &mut Vec<u8>,
    ) -> u32 {
        self.transaction = self.transaction.wrapping_add(1);
        let command = call(name, f64::from(self.transaction), arguments);
        self.link.command(chunk_stream, stream, &command, out);
        self.transaction
    }

    fn on_message(&mut self, message: &Message, out: &mut Vec<u8>) -> Result<(), SessionError> {
        if let Some(control) = message.control() {
            return self.on_control(control, out);
        }
        match message.type_id {
            type_id::AUDIO | type_id::VIDEO | type_id::DATA_AMF0 | type_id::DATA_AMF3 => {
                self.on_media(message, out)
            }
            type_id::AGGREGATE => {
                // Paid for even if it is empty; frames in it give that back.
                self.link.charge()?;
                split_aggregate(message).try_for_each(|part| self.on_media(&part, out))
            }
            type_id::COMMAND_AMF0 | type_id::COMMAND_AMF3 => self.on_command(message, out),
            // Shared objects, and what nobody has defined.
            _ => self.link.charge(),
        }
    }

    fn on_control(&mut self, control: Control, out: &mut Vec<u8>) -> Result<(), SessionError> {
        match control {
            Control::PingResponse(timestamp) => {
                match self.pings_open.checked_sub(1) {
                    Some(open) => self.pings_open = open,
                    None => self.link.charge()?,
                }
                self.events.push_back(ClientEvent::Pong { timestamp });
                Ok(())
            }
            Control::StreamEof(stream) => {
                self.link.charge()?;
                self.react(Stimulus::Ended { ending: Ending::StreamEof, said_on: Some(stream) }, out)
            }
            Control::StreamDry(stream) => {
                self.link.charge()?;
                self.react(Stimulus::Ended { ending: Ending::StreamDry, said_on: Some(stream) }, out)
            }
            Control::SetChunkSize(_)
            | Control::Abort(_)
            | Control::Acknowledgement(_)
            | Control::WindowAckSize(_)
            | Control::SetPeerBandwidth(_)
            | Control::StreamBegin(_)
            | Control::SetBufferLength { .. }
            | Control::StreamIsRecorded(_)
            | Control::PingRequest(_)
            | Control::Ignored => {
                self.link.charge()?;
                self.link.on_control(control, out);
                Ok(())
            }
        }
    }

    /// Media is taken on any message stream while one play is active: some servers send it on 0, or always on 1.
    fn on_media(&mut self, message: &Message, out: &mut Vec<u8>) -> Result<(), SessionError> {
        let Some(frame) = flv::classify(message) else {
            self.link.charge()?;
            return self.on_data(message, out);
        };
        self.react(Stimulus::Frame { frame, said_on: message.stream }, out)
    }

    fn on_frame(&mut self, frame: Frame) -> Result<(), SessionError> {
        self.link.refund(link::FLOOD_MESSAGES_MAX);
        self.events.push_back(ClientEvent::Frame(frame));
        Ok(())
    }

    /// Adobe's servers say Play.Complete and Data.Start in data messages (`onPlayStatus`, `onStatus`).
    fn on_data(&mut self, message: &Message, out: &mut Vec<u8>) -> Result<(), SessionError> {
        if !matches!(message.type_id, type_id::DATA_AMF0 | type_id::DATA_AMF3) {
            return Ok(());
        }
        // As a command of AMF3 it loses the same leading 0. Data that is no AMF0 occurs and is no reason to leave.
        let Ok(command) = Command::parse(&Message { type_id: type_id::COMMAND_AMF3, ..message.clone() })
        else {
            return Ok(());
        };
        match command.name.as_str() {
            "onStatus" | "onPlayStatus" => self.on_status(&command, message.stream, out),
            _ => Ok(()),
        }
    }

    fn on_command(&mut self, message: &Message, out: &mut Vec<u8>) -> Result<(), SessionError> {
        self.link.charge()?;
        let command = Command::parse(message).map_err(SessionError::Amf0)?;
        match command.name.as_str() {
            "_result" => self.react(Stimulus::Result(&command), out),
            // To FCSubscribe and to calls that were never made it is a warning, as in FFmpeg.
            "_error" => self.react(Stimulus::Error { command: &command, said_on: message.stream }, out),
            "onStatus" => self.on_status(&command, message.stream, out),
            "close" => {
                let closed = Status::new("error", "NetConnection.Connect.Closed", "the server called close");
                self.events.push_back(ClientEvent::Refused(closed));
                Ok(())
            }
            "onFCUnsubscribe" => self.react(Stimulus::Ended { ending: Ending::PlayStop, said_on: None }, out),
            // onBWDone wants no answer, whatever its transaction id; FFmpeg's `_checkbw` has no use here.
            "onBWDone" | "onFCSubscribe" | "" => Ok(()),
            _ => {
                // A call that waits for an answer, such as bandwidth checks: servers stop when there is none.
                if command.transaction > 0.0 {
                    let answer = call("_result", command.transaction, vec![Value::Null]);
                    self.link.command(CHUNK_STREAM_COMMAND, 0, &answer, out);
                }
                Ok(())
            }
        }
    }

    fn on_connected(&mut self, command: &Command, out: &mut Vec<u8>) -> Result<(), SessionError> {
        if values(command).any(|value| value.member("secureToken").is_some()) {
            return Err(SessionError::AuthRequired { scheme: "secureToken".into() });
        }
        self.link.announce_window(WINDOW_ANNOUNCED, out);
        self.create_stream(None, out);
        if self.fc_subscribe {
            let name = vec![self.url.stream.as_str().into()];
            self.send(CHUNK_STREAM_COMMAND, 0, "FCSubscribe", name, out);
        }
        Ok(())
    }

    fn on_stream_created(
        &mut self,
        command: &Command,
        left: Option<u32>,
        out: &mut Vec<u8>,
    ) -> Result<(), SessionError> {
        let stream =
            values(command).find_map(Value::as_number).and_then(exact_u32).ok_or(SessionError::StreamId)?;
        let arguments = vec![self.url.stream.as_str().into(), START_LIVE.into()];
        let transaction = self.send(CHUNK_STREAM_PLAY, stream, "play", arguments, out);
        self.link.control(Control::SetBufferLength { stream, millis: BUFFER_MILLIS }, out);
        self.state = State::RequestingPlay { transaction, stream, left };
        self.events.push_back(ClientEvent::Asked);
        Ok(())
    }

    fn on_refused(&mut self, command: &Command) -> Result<(), SessionError> {
        if let Some(scheme) = auth_scheme(&command.status()) {
            return Err(SessionError::AuthRequired { scheme });
        }
        match self.redirect(command) {
            Some(url) => self.events.push_back(ClientEvent::Redirect { url }),
            None => self.events.push_back(ClientEvent::Refused(self.told(command.status()))),
        }
        Ok(())
    }

    fn on_status(&mut self, command: &Command, stream: u32, out: &mut Vec<u8>) -> Result<(), SessionError> {
        let status = command.status();
        if let Some(scheme) = auth_scheme(&status) {
            return Err(SessionError::AuthRequired { scheme });
        }
        let told = self.told(status.clone());
        self.events.push_back(ClientEvent::Status(told.clone()));
        if let Some(url) = self.redirect(command) {
            self.events.push_back(ClientEvent::Redirect { url });
            return Ok(());
        }
        match status.code.as_str() {
            "NetStream.Play.Start" => return self.react(Stimulus::PlayStart, out),
            "NetStream.Play.UnpublishNotify" => {
                let said_on = Some(stream);
                return self.react(Stimulus::Ended { ending: Ending::UnpublishNotify, said_on }, out);
            }
            "NetStream.Play.Stop" | "NetStream.Play.Complete" => {
                return self.react(Stimulus::Ended { ending: Ending::PlayStop, said_on: Some(stream) }, out);
            }
            "NetStream.Play.StreamNotFound"
            | "NetStream.Play.Failed"
            | "NetConnection.Connect.Rejected"
            | "NetConnection.Connect.Closed" => self.events.push_back(ClientEvent::Refused(told)),
            _ if status.level == "error" => self.events.push_back(ClientEvent::Refused(told)),
            _ => {}
        }
        Ok(())
    }

    fn on_play_accepted(&mut self, transaction: u32, stream: u32, left: Option<u32>) {
        self.state = State::Playing { transaction, stream, left };
        self.events.push_back(ClientEvent::Playing);
    }

    fn on_ended(&mut self, ending: Ending) -> Result<(), SessionError> {
        self.events.push_back(ClientEvent::Ended(ending));
        Ok(())
    }

    /// Finds where a server sends us: SRS, after Adobe's server, names a `tcUrl` in `ex.redirect` and the whole url
    /// in `ex.redirect2`; Enhanced RTMP names a `tcUrl` or leaves it out, meaning the same place.
    fn redirect(&self, command: &Command) -> Option<String> {
        let from_tc_url = |tc_url: &str| match self.url.redirect(tc_url) {
            Ok(url) => url.text,
            Err(_) => tc_url.to_string(),
        };
        if command.status().code == "NetConnection.Connect.ReconnectRequest" {
            let tc_url = values(command).find_map(|value| value.member("tcUrl")?.as_str());
            return Some(tc_url.map_or_else(|| self.url.text.clone(), from_tc_url));
        }
        let ex = values(command).find_map(|value| value.member("ex"))?;
        if ex.member("code").and_then(Value::as_number) != Some(302.0) {
            return None;
        }
        let text = |name| ex.member(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        match text("redirect2") {
            Some(url) => Some(url.to_string()),
            None => text("redirect").map(from_tc_url),
        }
    }

    /// Returns a status as it may be told: servers like to repeat the stream name, and its query holds secrets.
    fn told(&self, status: Status) -> Status {
        let query = self.url.stream.split_once('?').map_or("", |(_, query)| query);
        let description = match query {
            "" => status.description,
            query => status.description.replace(query, "***"),
        };
        Status::new(
            &link::printable(&status.level),
            &link::printable(&status.code),
            &link::printable(&description),
        )
    }
}

/// Builds the command object of connect: what FFmpeg sends, Enhanced RTMP's words for "we forward all", and our hop
/// count and ids. Servers skip what they do not know.
fn connect_object(url: &OriginUrl, options: &ClientOptions) -> Value {
    let forward_all = || Value::Object(vec![("*".into(), CAN_FORWARD.into())]);
    let mut members = vec![
        ("app", url.app.as_str().into()),
        ("flashVer", FLASH_VERSION.into()),
        ("tcUrl", url.tc_url.as_str().into()),
        ("fpad", false.into()),
        ("capabilities", 15.0.into()),
        ("audioCodecs", 4071.0.into()),
        ("videoCodecs", 252.0.into()),
        ("videoFunction", 1.0.into()),
        ("fourCcList", Value::StrictArray(vec!["*".into()])),
        ("videoFourCcInfoMap", forward_all()),
        ("audioFourCcInfoMap", forward_all()),
        ("capsEx", CAPS_EX.into()),
        ("repullHops", f64::from(options.hops).into()),
    ];
    if !options.ids.is_empty() {
        let ids = options.ids.iter().take(LOOP_IDS_MAX);
        // As texts: the numbers of AMF0 hold 53 bits.
        members.push((
            "repullIds",
            Value::StrictArray(ids.map(|id| Value::String(format!("{id:016x}"))).collect()),
        ));
    }
    Value::Object(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn values(command: &Command) -> impl Iterator<Item = &Value> {
    core::iter::once(&command.object).chain(&command.arguments)
}

fn answers_connect(command: &Command) -> bool {
    is_transaction(command, TRANSACTION_CONNECT) || command.status().code == "NetConnection.Connect.Success"
}

/// Tells whether an `_error` refuses the play: rml_rtmp refuses one with transaction 0, on the play's own message
/// stream.
fn is_of_play(command: &Command, said_on: u32, transaction: u32, stream: u32) -> bool {
    is_transaction(command, transaction) || (said_on == stream && stream != 0)
}

fn is_transaction(command: &Command, transaction: u32) -> bool {
    command.transaction == f64::from(transaction)
}

/// Returns the whole number in 0–4294967295 that `number` is.
fn exact_u32(number: f64) -> Option<u32> {
    // The cast saturates and cuts; what it changed was no such number.
    let whole = number as u32;
    (f64::from(whole) == number).then_some(whole)
}

/// Finds the wish for credentials in a refusal: `[ code=403 need auth; authmod=adobe ]`, `?reason=needauth&…`.
fn auth_scheme(status: &Status) -> Option<String> {
    let description = &status.description;
    if let Some((_, rest)) = description.split_once("authmod=") {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        return Some(format!("authmod={}", link::printable(&rest[..end])));
    }
    (description.contains("needauth") || description.contains("need auth")).then(|| "needauth".to_string())
}

#[cfg(test)]
mod tests;
