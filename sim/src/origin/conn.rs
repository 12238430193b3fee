//! One connection of an origin: handshake, commands, and the words it says.

use std::collections::VecDeque;

use proxy_core::time::Instant;

use super::{
    Ending, OriginOutput, PeerConn, Streams, Then,
    config::{Behaviour, Handshake, Missing, OnCall, OnConnect, SecondPlay, Shutdown},
    ending::Words,
    ledger::Ledger,
    outlet::{CutBy, Outlet},
    play::{Had, Play},
};
use crate::raw::{
    RawError,
    amf0::{self, Amf},
    chunk::{ChunkReader, ChunkStyle, ChunkWriter, Continuations, RawMessage, RawMessageRef, kind},
    handshake::{ServerHandshake, Shaken},
};

const CSID_CONTROL: u32 = 2;
const CSID_COMMAND: u32 = 3;
const CSID_STATUS: u32 = 5;

/// What a connection needs to know of the house.
pub(super) struct House<'a> {
    pub(super) streams: &'a mut Streams,
    pub(super) ledger: &'a mut Ledger,
    pub(super) behaviour: &'a Behaviour,
    pub(super) scratch: &'a mut Vec<u8>,
    pub(super) now: Instant,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Closes,
    Resets,
}

#[derive(Debug)]
pub(super) struct Conn {
    id: PeerConn,
    stage: Stage,
    reader: ChunkReader,
    pub(super) writer: ChunkWriter,
    /// The chunk size has been told.
    announced: bool,
    pub(super) outlet: Outlet,
    /// Whether the socket takes bytes.
    pub(super) writable: bool,
    /// How it ends once all is out.
    pub(super) end: Option<Fate>,
    app: String,
    commands: VecDeque<(Instant, RawMessage)>,
    message_stream_next: u32,
    plays: u32,
    pub(super) play: Option<Play>,
    /// The sequence headers of plays that are over.
    had: Option<Had>,
    ping_at: Option<Instant>,
    acknowledged: Option<u64>,
    /// The deadline under which the origin finds it.
    pub(super) noted: Option<Instant>,
}

#[derive(Debug)]
enum Stage {
    /// Says nothing any more.
    Mute,
    /// Resets at the first bytes.
    Trap,
    Handshaking(ServerHandshake),
    Talking,
    /// Cut: neither says nor hears anything, and stays.
    Cut,
}

impl Conn {
    pub(super) fn new(id: PeerConn, behaviour: &Behaviour) -> Self {
        let mut conn = Self {
            id,
            stage: Stage::Handshaking(ServerHandshake::new(id.0)),
            reader: ChunkReader::new(Continuations::Extended),
            writer: ChunkWriter::new(behaviour.wire.clone()),
            announced: false,
            outlet: Outlet::new(behaviour.flow, behaviour.cut),
            writable: true,
            end: None,
            app: String::new(),
            commands: VecDeque::new(),
            message_stream_next: behaviour.message_stream,
            plays: 0,
            play: None,
            had: None,
            ping_at: None,
            acknowledged: None,
            noted: None,
        };
        match behaviour.handshake {
            Handshake::Silent => conn.stage = Stage::Mute,
            Handshake::Close => conn.end = Some(Fate::Closes),
            Handshake::Reset => conn.stage = Stage::Trap,
            Handshake::Simple
            | Handshake::Strict
            | Handshake::Slow { .. }
            | Handshake::Version(_)
            | Handshake::Http => {}
        }
        conn
    }

    /// Returns the place of the stream it plays.
    pub(super) fn playing(&self) -> Option<usize> {
        self.play.as_ref().map(|play| play.place)
    }

    /// Takes bytes; what they ask for is done by [`Self::advance`].
    pub(super) fn receive(&mut self, bytes: &[u8], behaviour: &Behaviour, ledger: &mut Ledger, now: Instant) {
        if let Err(error) = self.read(bytes, behaviour, ledger, now) {
            ledger.complain(self.id, &error.to_string());
            self.end = Some(Fate::Closes);
        }
    }

    /// Does what is due and lets out what may leave.
    pub(super) fn advance(&mut self, house: &mut House<'_>, outputs: &mut VecDeque<OriginOutput>) -> Fate {
        if matches!(self.stage, Stage::Cut) {
            self.outlet.bytes.clear();
            return Fate::Stays;
        }
        while self.end.is_none() && self.commands.front().is_some_and(|(at, _)| *at <= house.now) {
            let Some((_, message)) = self.commands.pop_front() else { break };
            if let Err(error) = self.on_message(&message, house) {
                house.ledger.complain(self.id, &error.to_string());
                self.end = Some(Fate::Closes);
            }
        }
        if self.end.is_none() {
            self.on_timers(house);
            self.feed(house);
        }
        match (self.outlet.drain(self.id, house.now, outputs), self.end) {
            (Some(CutBy::Fin), _) => Fate::Closes,
            (Some(CutBy::Reset), _) => Fate::Resets,
            (Some(CutBy::Silence), _) => {
                self.stage = Stage::Cut;
                Fate::Stays
            }
            (None, Some(fate)) if self.outlet.is_empty() => fate,
            (None, _) => Fate::Stays,
        }
    }

    /// Returns when it has something to do.
    pub(super) fn deadline(&self, streams: &Streams, behaviour: &Behaviour) -> Option<Instant> {
        if matches!(self.stage, Stage::Cut) {
            return None;
        }
        let outlet = self.outlet.deadline();
        if self.end.is_some() {
            return outlet;
        }
        let command = self.commands.front().map(|(at, _)| *at);
        let play = self.play.as_ref().and_then(|play| play.deadline(streams, self.may_send(behaviour)));
        [outlet, command, play, self.ping_at].into_iter().flatten().min()
    }

    /// Tells something about the play under way; returns whether there is one.
    pub(super) fn tell(&mut self, ending: Ending, then: Then) -> bool {
        let Some(play) = self.play.as_mut().filter(|_| !matches!(self.stage, Stage::Cut)) else {
            return false;
        };
        let stream = play.message_stream;
        match then {
            Then::GoOn if ending == Ending::PublishNotify => play.wake(),
            Then::GoOn => {}
            Then::Quiet => play.hush(),
            Then::Fin => self.end = Some(Fate::Closes),
            Then::Reset => self.end = Some(Fate::Resets),
        }
        self.say(ending, stream);
        true
    }

    /// Writes chunks in another style; before the size is told it is simply another one.
    pub(super) fn set_wire(&mut self, style: &ChunkStyle) {
        if self.announced {
            self.writer.set_style(style.clone(), &mut self.outlet.bytes);
        } else {
            self.writer = ChunkWriter::new(style.clone());
        }
    }

    /// Returns whether it has come so far that sizes can change.
    pub(super) fn resize_chunks_inside(&mut self, chunk_size: usize) -> bool {
        if self.announced {
            self.writer.resize_inside(chunk_size);
        }
        self.announced
    }

    /// Says what its process says when it is told to end, and ends.
    pub(super) fn shut_down(&mut self, shutdown: Shutdown) {
        match (shutdown, &self.play) {
            (Shutdown::Told(ending), Some(_)) => {
                self.tell(ending, Then::Fin);
            }
            (Shutdown::AsPublisher, Some(play)) => {
                let (stream, place) = (f64::from(play.message_stream), Amf::Null);
                let none = Amf::Number(0.0);
                self.command(0, &[Amf::text("FCUnpublish"), none.clone(), place.clone(), Amf::text("")]);
                self.command(0, &[Amf::text("deleteStream"), none, place, Amf::Number(stream)]);
            }
            (Shutdown::Hangup | Shutdown::Told(_) | Shutdown::AsPublisher, _) => {}
        }
        self.end = Some(Fate::Closes);
    }

    pub(super) fn may_send(&self, behaviour: &Behaviour) -> bool {
        let unacknowledged = self.outlet.left.saturating_sub(self.acknowledged.unwrap_or(0));
        let stops = behaviour.stops_unacknowledged && unacknowledged > 2 * u64::from(behaviour.window);
        self.writable && !stops && !self.outlet.is_full()
    }

    fn read(
        &mut self,
        bytes: &[u8],
        behaviour: &Behaviour,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<(), RawError> {
        match &mut self.stage {
            Stage::Mute | Stage::Cut => Ok(()),
            Stage::Trap => {
                self.end = Some(Fate::Resets);
                Ok(())
            }
            Stage::Handshaking(handshake) => {
                let mut answer = Vec::new();
                let shaken = handshake.handle_bytes(bytes, &mut answer)?;
                if !answer.is_empty() {
                    self.answer_handshake(answer, behaviour);
                }
                let Some(Shaken { rest, echo }) = shaken else { return Ok(()) };
                if behaviour.handshake == Handshake::Strict {
                    echo.clone()?;
                }
                if let Err(error) = echo {
                    ledger.complain(self.id, &error.to_string());
                }
                self.stage = Stage::Talking;
                self.ping_at = behaviour.ping_every.map(|every| now + every);
                self.read(&rest, behaviour, ledger, now)
            }
            Stage::Talking => {
                self.reader.push(bytes);
                while let Some(message) = self.reader.poll_message()? {
                    self.commands.push_back((now + behaviour.command_delay, message));
                }
                Ok(())
            }
        }
    }

    fn answer_handshake(&mut self, mut answer: Vec<u8>, behaviour: &Behaviour) {
        match behaviour.handshake {
            Handshake::Slow { len, every } => self.outlet.go_slowly(len.max(1), every),
            Handshake::Version(version) => answer[0] = version,
            Handshake::Http => {
                answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec();
                self.stage = Stage::Mute;
                self.end = Some(Fate::Closes);
            }
            Handshake::Simple
            | Handshake::Strict
            | Handshake::Silent
            | Handshake::Close
            | Handshake::Reset => {}
        }
        self.outlet.bytes.extend_from_slice(&answer);
    }

    fn on_timers(&mut self, house: &mut House<'_>) {
        if self.ping_at.is_some_and(|at| at <= house.now) {
            self.ping_at = house.behaviour.ping_every.map(|every| house.now + every);
            let mut ping = vec![0, 6];
            ping.extend_from_slice(&(house.now.as_millis() as u32).to_be_bytes());
            self.control(kind::USER_CONTROL, &ping);
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= house.now);
        let Some(play) = &mut self.play else { return };
        let (stream, is_missing) = (play.message_stream, due(play.missing_at));
        if due(play.reconnect_at) {
            play.reconnect_at = None;
            let request = house.behaviour.reconnect_request.as_ref();
            let tc_url = request.and_then(|request| request.tc_url.clone());
            self.say_reconnect(tc_url);
        }
        if is_missing {
            self.drop_play(house.streams);
            self.say(Ending::StreamNotFound, stream);
            if let Missing::NotFound { close: true, .. } = house.behaviour.missing {
                self.end = Some(Fate::Closes);
            }
        }
    }

    /// Returns whether somebody watches on it.
    pub(super) fn plays(&self) -> bool {
        self.play.is_some()
    }

    /// Asks the client to connect elsewhere.
    pub(super) fn say_reconnect(&mut self, tc_url: Option<String>) {
        let more = tc_url.map(|tc_url| ("tcUrl".to_owned(), Amf::Text(tc_url))).into_iter().collect();
        let info = info("status", "NetConnection.Connect.ReconnectRequest", "Please reconnect.", more);
        self.command(0, &[Amf::text("onStatus"), Amf::Number(0.0), Amf::Null, info]);
    }

    fn drop_play(&mut self, streams: &mut Streams) -> Option<Play> {
        let play = self.play.take()?;
        streams.list[play.place].players.remove(&self.id);
        self.had = play.headers().or(self.had);
        Some(play)
    }

    fn on_message(&mut self, message: &RawMessage, call: &mut House<'_>) -> Result<(), RawError> {
        match message.kind {
            kind::COMMAND => self.on_command(message, call),
            kind::USER_CONTROL => {
                self.on_user_control(&message.payload, call);
                Ok(())
            }
            kind::ACKNOWLEDGEMENT => {
                self.on_acknowledgement(&message.payload, call);
                Ok(())
            }
            kind::AUDIO | kind::VIDEO | kind::AGGREGATE => {
                call.ledger.complain(self.id, "a player sent media");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_user_control(&mut self, payload: &[u8], call: &mut House<'_>) {
        match (payload.get(..2), payload.get(2..6)) {
            (Some([0, 6]), Some(time)) => {
                call.ledger.pings += u64::from(call.behaviour.pings_answered);
                if call.behaviour.pings_answered {
                    let mut pong = vec![0, 7];
                    pong.extend_from_slice(time);
                    self.control(kind::USER_CONTROL, &pong);
                }
            }
            (Some([0, 6]), None) => call.ledger.complain(self.id, "a ping without its four bytes"),
            _ => {}
        }
    }

    /// An acknowledgement carries the bytes received in all (§5.4.3), not since the last one.
    fn on_acknowledgement(&mut self, payload: &[u8], call: &mut House<'_>) {
        let Some(field) = payload.get(..4) else {
            return call.ledger.complain(self.id, "an acknowledgement without its four bytes");
        };
        let total = u64::from(u32::from_be_bytes([field[0], field[1], field[2], field[3]]));
        if self.outlet.left < u64::from(u32::MAX) {
            if total > self.outlet.left {
                call.ledger
                    .complain(self.id, &format!("{total} bytes acknowledged, {} sent", self.outlet.left));
            }
            if self.acknowledged.is_some_and(|last| total <= last) {
                call.ledger.complain(self.id, &format!("{total} bytes acknowledged, more before"));
            }
        }
        self.acknowledged = Some(total);
    }

    fn on_command(&mut self, message: &RawMessage, call: &mut House<'_>) -> Result<(), RawError> {
        let values = amf0::read_all(&message.payload)?;
        let name = values.first().and_then(Amf::as_text).unwrap_or("").to_owned();
        let transaction = values.get(1).and_then(Amf::as_number).unwrap_or(0.0);
        if name != "connect" && self.app.is_empty() {
            call.ledger.complain(self.id, &format!("{name} before connect"));
        }
        match name.as_str() {
            "connect" => self.on_connect(transaction, values.get(2), call),
            "createStream" => self.on_create_stream(transaction, call),
            "play" => {
                let stream = values.get(3).and_then(Amf::as_text).unwrap_or("").to_owned();
                self.on_play(message.stream, &stream, call);
            }
            "closeStream" | "deleteStream" => {
                if let Some(play) = self.drop_play(call.streams) {
                    let stream = play.message_stream;
                    self.status(stream, "status", "NetStream.Play.Stop", "Stopped by the player.");
                }
            }
            "_result" | "_error" | "onStatus" | "releaseStream" | "FCUnpublish" => {}
            // SRS answers every other call so, and clients wait for it (FCSubscribe, getStreamLength, _checkbw).
            _ if transaction != 0.0 => {
                self.command(0, &[Amf::text("_result"), Amf::Number(transaction), Amf::Null, Amf::Null])
            }
            _ => {}
        }
        Ok(())
    }

    fn on_connect(&mut self, transaction: f64, object: Option<&Amf>, call: &mut House<'_>) {
        let property =
            |name| object.and_then(|object| object.property(name)).and_then(Amf::as_text).unwrap_or("");
        let (app, tc_url) = (property("app").to_owned(), property("tcUrl"));
        if app.is_empty() {
            call.ledger.complain(self.id, "connect without app");
        }
        if !tc_url.starts_with("rtmp://") || !tc_url.ends_with(&app) {
            call.ledger.complain(self.id, &format!("tcUrl {tc_url:?} does not lead to app {app:?}"));
        }
        self.app = if app.is_empty() { "?".to_owned() } else { app };
        match &call.behaviour.connect {
            OnConnect::Accept => {
                self.control(kind::WINDOW, &call.behaviour.window.to_be_bytes());
                let mut bandwidth = call.behaviour.window.to_be_bytes().to_vec();
                bandwidth.push(2);
                self.control(kind::PEER_BANDWIDTH, &bandwidth);
                self.writer.announce(&mut self.outlet.bytes);
                self.announced = true;
                let server = Amf::Object(vec![
                    ("fmsVer".into(), Amf::text("FMS/3,0,1,123")),
                    ("capabilities".into(), Amf::Number(31.0)),
                ]);
                let info =
                    info("status", "NetConnection.Connect.Success", "Connection succeeded.", Vec::new());
                self.command(0, &[Amf::text("_result"), Amf::Number(transaction), server, info]);
                self.command(0, &[Amf::text("onBWDone"), Amf::Number(0.0), Amf::Null]);
            }
            OnConnect::Never => {}
            OnConnect::Refuse { description } => {
                let info = info("error", "NetConnection.Connect.Rejected", description, Vec::new());
                self.command(0, &[Amf::text("_error"), Amf::Number(transaction), Amf::Null, info]);
            }
            OnConnect::Redirect { tc_url, url } => {
                let ex = Amf::Object(vec![
                    ("code".into(), Amf::Number(302.0)),
                    ("redirect".into(), Amf::text(tc_url)),
                    ("redirect2".into(), Amf::text(url)),
                ]);
                let more = vec![("ex".to_owned(), ex)];
                let info = info("error", "NetConnection.Connect.Rejected", "RTMP 302 Redirect", more);
                self.command(0, &[Amf::text("_error"), Amf::Number(transaction), Amf::Null, info]);
            }
            OnConnect::Close => self.end = Some(Fate::Closes),
        }
    }

    fn on_create_stream(&mut self, transaction: f64, call: &House<'_>) {
        match call.behaviour.create_stream {
            OnCall::Answer => {
                let id = self.message_stream_next;
                self.message_stream_next += 1;
                self.command(
                    0,
                    &[Amf::text("_result"), Amf::Number(transaction), Amf::Null, Amf::Number(f64::from(id))],
                );
            }
            OnCall::Never => {}
            OnCall::Error => {
                let info = info("error", "NetConnection.Call.Failed", "No stream for you.", Vec::new());
                self.command(0, &[Amf::text("_error"), Amf::Number(transaction), Amf::Null, info]);
            }
            OnCall::Close => self.end = Some(Fate::Closes),
        }
    }

    fn on_play(&mut self, message_stream: u32, stream: &str, call: &mut House<'_>) {
        let path = |text: &str| text.split('?').next().unwrap_or("").to_owned();
        let name = format!("{}/{}", path(&self.app), path(stream));
        if stream.is_empty() {
            call.ledger.complain(self.id, "play without a stream name");
        }
        if message_stream == 0 || message_stream >= self.message_stream_next {
            call.ledger.complain(self.id, &format!("play on message stream {message_stream}"));
        }
        self.plays += 1;
        if self.plays > 1 {
            match call.behaviour.second_play {
                SecondPlay::Serve => self.look_at_play(call),
                SecondPlay::Bare => self.look_at_play(call),
                SecondPlay::Ignore => return,
                SecondPlay::AlreadyJoined => {
                    return self.status(message_stream, "error", "NetStream.Play.Failed", "Already joined.");
                }
                SecondPlay::Close => {
                    self.end = Some(Fate::Closes);
                    return;
                }
            }
        }
        match call.behaviour.play {
            OnCall::Answer => {}
            OnCall::Never => return,
            OnCall::Error => {
                return self.status(message_stream, "error", "NetStream.Play.Failed", "Not for you.");
            }
            OnCall::Close => {
                self.end = Some(Fate::Closes);
                return;
            }
        }
        let place = call.streams.place(&name);
        let mut missing_at = None;
        if call.streams.list[place].life.is_none() {
            match call.behaviour.missing {
                Missing::Wait => {}
                Missing::NotFound { after, close: _ } => missing_at = Some(call.now + after),
                Missing::Never => return,
                Missing::Close => {
                    self.end = Some(Fate::Closes);
                    return;
                }
            }
        }
        self.drop_play(call.streams);
        let (number, turn) = call.ledger.note_play(call.behaviour.numbers_from, self.id, &name, call.now);
        let players = &mut call.streams.list[place].players;
        players.insert(self.id);
        call.ledger.plays_at_once_max = call.ledger.plays_at_once_max.max(players.len());
        let mut play = Play::new(place, message_stream, number, turn, call.now);
        play.missing_at = missing_at;
        play.had = self.had.filter(|_| call.behaviour.second_play == SecondPlay::Bare);
        play.reconnect_at = call.behaviour.reconnect_request.as_ref().map(|request| call.now + request.after);
        self.play = Some(play);
        if missing_at.is_none() && !call.behaviour.media_before_start {
            self.start_play(call.behaviour, &name);
        }
    }

    /// Who wants another play closes the one that is under way.
    fn look_at_play(&self, call: &mut House<'_>) {
        if self.play.is_some() {
            call.ledger.complain(self.id, "play while a play is under way");
        }
    }

    /// Says how a play ends.
    pub(super) fn say(&mut self, ending: Ending, stream: u32) {
        match ending.words() {
            Words::Event(event) => self.stream_event(event, stream),
            Words::Stream(level, code, description) => self.status(stream, level, code, description),
            Words::Connection(level, code, description) => self.status(0, level, code, description),
            Words::PlayStatus(code) => {
                let info = info("status", code, "", Vec::new());
                self.data(5, stream, 0, &[Amf::text("onPlayStatus"), info]);
            }
        }
    }

    pub(super) fn status(&mut self, stream: u32, level: &str, code: &str, description: &str) {
        let info = info(level, code, description, Vec::new());
        self.command(stream, &[Amf::text("onStatus"), Amf::Number(0.0), Amf::Null, info]);
    }

    pub(super) fn stream_event(&mut self, event: u8, stream: u32) {
        let mut payload = vec![0, event];
        payload.extend_from_slice(&stream.to_be_bytes());
        self.control(kind::USER_CONTROL, &payload);
    }

    fn command(&mut self, stream: u32, values: &[Amf]) {
        let csid = if stream == 0 { CSID_COMMAND } else { CSID_STATUS };
        let payload = amf0::write_all(values).into();
        self.writer.write(
            csid,
            &RawMessage { kind: kind::COMMAND, stream, timestamp: 0, payload },
            &mut self.outlet.bytes,
        );
    }

    pub(super) fn data(&mut self, csid: u32, stream: u32, timestamp: u32, values: &[Amf]) {
        let payload = amf0::write_all(values);
        let message = RawMessageRef { kind: kind::DATA, stream, timestamp, payload: &payload };
        self.writer.write_ref(csid, message, &mut self.outlet.bytes);
    }

    fn control(&mut self, kind: u8, payload: &[u8]) {
        let message = RawMessageRef { kind, stream: 0, timestamp: 0, payload };
        self.writer.write_ref(CSID_CONTROL, message, &mut self.outlet.bytes);
    }
}

fn info(level: &str, code: &str, description: &str, more: Vec<(String, Amf)>) -> Amf {
    let mut entries = vec![
        ("level".to_owned(), Amf::text(level)),
        ("code".to_owned(), Amf::text(code)),
        ("description".to_owned(), Amf::text(description)),
    ];
    entries.extend(more);
    Amf::Object(entries)
}
