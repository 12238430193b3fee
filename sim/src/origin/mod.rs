//! A model origin: an RTMP server with publishers behind it, without clock or sockets.
//!
//! ```text
//!  on_accepted ─► Handshaking ─► Talking ──play──► media ◄── publish / unpublish
//!  handle_bytes        │            │                │
//!  handle_timeout      └────────────┴── Behaviour ───┴──► poll_output: Transmit, Close, Reset
//! ```
//! Its carrier brings connections, bytes and time, takes outputs, and calls [`ModelOrigin::handle_timeout`] at
//! [`ModelOrigin::deadline`]. The origin keeps a [`Ledger`] of what its clients did, and complains there about
//! what a well-behaved client does not do.

mod config;
mod publisher;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use proxy_core::time::{Duration, Instant};

pub use self::config::{
    Audio, Behaviour, Defect, EndBy, Handshake, Like, MetadataStyle, Missing, OnCall, OnConnect, PlayEnd,
    Publisher, PublisherClock, Reconnect, SecondPlay, StartStyle, Unpublish, Video, Withhold,
};
use self::publisher::{DueFrame, Life, Position};
use crate::raw::{
    RawError,
    amf0::{self, Amf},
    chunk::{ChunkReader, ChunkWriter, RawMessage, kind},
    handshake::{ServerHandshake, Shaken},
    media::{self, Track},
};

/// Frames older than this are not caught up with: the play goes on at the GOP under way, as after a long freeze
/// or a peer that did not read.
pub const BACKLOG_MAX: Duration = Duration::from_secs(5);

/// Complaints kept.
pub const COMPLAINTS_MAX: usize = 64;

/// Plays kept in the ledger.
pub const PLAYS_MAX: usize = 4096;

/// The frame of a play that a [`Defect`] strikes at the earliest.
pub const DEFECT_FRAME: u64 = 30;

const CSID_CONTROL: u32 = 2;
const CSID_COMMAND: u32 = 3;
const CSID_DATA: u32 = 4;
const CSID_STATUS: u32 = 5;
const CSID_AUDIO: u32 = 6;
const CSID_VIDEO: u32 = 7;

/// One connection, named by the carrier; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerConn(pub u64);

/// What the carrier must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginOutput {
    /// Write these bytes.
    Transmit {
        /// Where to.
        conn: PeerConn,
        /// What.
        bytes: Bytes,
    },
    /// Hang up after all bytes are out.
    Close {
        /// Which connection.
        conn: PeerConn,
    },
    /// Reset.
    Reset {
        /// Which connection.
        conn: PeerConn,
    },
}

/// An accepted play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayRecord {
    /// Counts from 1 over the origin's life, behind [`Behaviour::numbers_from`], as in [`media::Stamp::play`].
    pub number: u32,
    /// On which connection.
    pub conn: PeerConn,
    /// `app/stream`.
    pub name: String,
    /// When.
    pub at: Instant,
    /// Frames sent so far.
    pub frames: u64,
}

/// What clients did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open.
    pub open: usize,
    /// The most that were open at a time.
    pub open_max: usize,
    /// Plays accepted in all.
    pub plays_total: u32,
    /// The last [`PLAYS_MAX`] plays accepted, in order.
    pub plays: VecDeque<PlayRecord>,
    /// The most plays of one stream that were under way at a time.
    pub plays_at_once_max: usize,
    /// Pings answered.
    pub pings: u64,
    /// What a well-behaved client does not do; the first [`COMPLAINTS_MAX`].
    pub complaints: Vec<String>,
}

/// A model origin.
#[derive(Debug)]
pub struct ModelOrigin {
    behaviour: Behaviour,
    lives: BTreeMap<String, Life>,
    /// The last epoch of every name there ever was; kept over restarts, so that viewers can tell lives apart.
    epochs: BTreeMap<String, u32>,
    conns: BTreeMap<PeerConn, Conn>,
    outputs: VecDeque<OriginOutput>,
    ledger: Ledger,
}

#[derive(Debug)]
struct Conn {
    id: PeerConn,
    stage: Stage,
    reader: ChunkReader,
    writer: ChunkWriter,
    out: Vec<u8>,
    /// Bytes that leave in pieces: the piece's length, the time between, and when the next one goes.
    drip: Option<(usize, Duration, Instant)>,
    /// Whether the socket takes bytes.
    writable: bool,
    closing: bool,
    app: String,
    commands: VecDeque<(Instant, RawMessage)>,
    message_stream_next: u32,
    plays: u32,
    play: Option<Play>,
    ping_at: Option<Instant>,
    sent: u64,
    acknowledged: Option<u64>,
}

#[derive(Debug)]
enum Stage {
    /// Says nothing any more.
    Mute,
    /// Resets at the first bytes.
    Trap,
    Handshaking(ServerHandshake),
    Talking,
}

#[derive(Debug)]
struct Play {
    name: String,
    message_stream: u32,
    number: u32,
    at: Instant,
    /// Play.Start has been sent.
    started: bool,
    /// StreamNotFound is due.
    missing_at: Option<Instant>,
    reconnect_at: Option<Instant>,
    feed: Feed,
    sent: u64,
    defect_done: bool,
    /// Held back by [`Defect::Swapped`].
    held: Option<DueFrame>,
}

/// What of a publisher's life a play has had.
#[derive(Debug)]
enum Feed {
    /// Nobody publishes.
    Waiting,
    /// Frames flow.
    Live { epoch: u32, position: Position, video_header: Option<Bytes>, audio_header: Option<Bytes> },
    /// Over by [`EndBy::Silence`].
    Over,
}

impl ModelOrigin {
    /// Makes an origin without publishers.
    pub fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            lives: BTreeMap::new(),
            epochs: BTreeMap::new(),
            conns: BTreeMap::new(),
            outputs: VecDeque::new(),
            ledger: Ledger::default(),
        }
    }

    /// Returns what clients did so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns how it behaves.
    pub fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// Behaves differently from here on. Chunk style and defects reach only connections to come.
    pub fn set_behaviour(&mut self, behaviour: Behaviour) {
        self.behaviour = behaviour;
    }

    /// Begins a publisher's life under `app/stream`; one that is on the air is replaced.
    pub fn publish(&mut self, name: &str, publisher: Publisher, now: Instant) {
        self.unpublish(name, now);
        let epoch = self.epochs.entry(name.to_owned()).or_insert(self.behaviour.numbers_from);
        *epoch += 1;
        self.lives.insert(name.to_owned(), Life::new(name, publisher, *epoch, now));
        for (_, conn) in self.conns.iter_mut().filter(|(_, conn)| conn.plays_name(name)) {
            conn.on_published(&self.behaviour);
        }
        self.handle_timeout(now);
    }

    /// Ends a publisher's life; players learn of it as the behaviour says.
    pub fn unpublish(&mut self, name: &str, now: Instant) {
        self.handle_timeout(now);
        if self.lives.remove(name).is_none() {
            return;
        }
        for (_, conn) in self.conns.iter_mut().filter(|(_, conn)| conn.plays_name(name)) {
            conn.on_unpublished(&self.behaviour);
        }
        self.flush(now);
    }

    /// Returns the epoch under which a name is published, if it is.
    pub fn epoch(&self, name: &str) -> Option<u32> {
        self.lives.get(name).map(|life| life.epoch)
    }

    /// Forgets connections and publishers, as a process does that is started anew. Numbers of lives and plays go on.
    pub fn restart(&mut self) {
        self.conns.clear();
        self.lives.clear();
        self.outputs.clear();
        self.ledger.open = 0;
    }

    /// A client connected.
    pub fn on_accepted(&mut self, conn: PeerConn, now: Instant) {
        self.ledger.accepted += 1;
        let mut fresh = Conn::new(conn, &self.behaviour);
        fresh.on_accepted(&self.behaviour);
        self.conns.insert(conn, fresh);
        self.ledger.open = self.conns.len();
        self.ledger.open_max = self.ledger.open_max.max(self.ledger.open);
        self.flush(now);
    }

    /// A connection is gone.
    pub fn on_closed(&mut self, conn: PeerConn) {
        self.conns.remove(&conn);
        self.ledger.open = self.conns.len();
    }

    /// Bytes came in.
    pub fn handle_bytes(&mut self, id: PeerConn, bytes: &[u8], now: Instant) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if matches!(conn.stage, Stage::Trap) {
            self.conns.remove(&id);
            self.ledger.open = self.conns.len();
            self.outputs.push_back(OriginOutput::Reset { conn: id });
            return;
        }
        if let Err(error) = conn.receive(bytes, &self.behaviour, &mut self.ledger, now) {
            complain(&mut self.ledger, id, &error.to_string());
            conn.closing = true;
        }
        self.handle_timeout(now);
    }

    /// Tells whether a connection's socket takes bytes; frames due meanwhile wait, up to [`BACKLOG_MAX`].
    pub fn set_writable(&mut self, conn: PeerConn, writable: bool, now: Instant) {
        let Some(conn) = self.conns.get_mut(&conn) else { return };
        if conn.writable != writable {
            conn.writable = writable;
            self.handle_timeout(now);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let ids: Vec<PeerConn> = self.conns.keys().copied().collect();
        for id in ids {
            self.advance(id, now);
        }
        self.flush(now);
    }

    /// Returns when something is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.conns.values().filter_map(|conn| conn.deadline(&self.lives, &self.behaviour)).min()
    }

    /// Returns what the carrier must do next.
    pub fn poll_output(&mut self) -> Option<OriginOutput> {
        self.outputs.pop_front()
    }

    fn advance(&mut self, id: PeerConn, now: Instant) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        while !conn.closing && conn.commands.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, message)) = conn.commands.pop_front() else { break };
            let mut call =
                Call { id, lives: &self.lives, ledger: &mut self.ledger, behaviour: &self.behaviour, now };
            if let Err(error) = conn.on_message(&message, &mut call) {
                complain(&mut self.ledger, id, &error.to_string());
                conn.closing = true;
            }
        }
        conn.on_timers(&self.behaviour, now);
        if conn.feed(&self.lives, &self.behaviour, now) == Fed::Reset {
            self.conns.remove(&id);
            self.outputs.push_back(OriginOutput::Reset { conn: id });
        }
        self.keep_ledger(id);
    }

    fn keep_ledger(&mut self, id: PeerConn) {
        self.ledger.open = self.conns.len();
        let Some(play) = self.conns.get(&id).and_then(|conn| conn.play.as_ref()) else { return };
        if let Some(record) = self.ledger.plays.iter_mut().rev().find(|record| record.number == play.number) {
            record.frames = play.sent;
        }
        let at_once = self.conns.values().filter(|conn| conn.plays_name(&play.name)).count();
        self.ledger.plays_at_once_max = self.ledger.plays_at_once_max.max(at_once);
    }

    /// Moves what connections want to say into outputs.
    fn flush(&mut self, now: Instant) {
        let mut gone = Vec::new();
        for (&id, conn) in &mut self.conns {
            let bytes = conn.take_out(now);
            if !bytes.is_empty() {
                conn.sent += bytes.len() as u64;
                self.outputs.push_back(OriginOutput::Transmit { conn: id, bytes: bytes.into() });
            }
            if conn.closing && conn.out.is_empty() {
                self.outputs.push_back(OriginOutput::Close { conn: id });
                gone.push(id);
            }
        }
        for id in gone {
            self.conns.remove(&id);
        }
        self.ledger.open = self.conns.len();
    }
}

/// What a command needs to know of the house.
struct Call<'a> {
    id: PeerConn,
    lives: &'a BTreeMap<String, Life>,
    ledger: &'a mut Ledger,
    behaviour: &'a Behaviour,
    now: Instant,
}

/// How feeding a play ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fed {
    Well,
    Reset,
}

impl Conn {
    fn new(id: PeerConn, behaviour: &Behaviour) -> Self {
        Self {
            id,
            stage: Stage::Handshaking(ServerHandshake::new(id.0)),
            reader: ChunkReader::new(true),
            writer: ChunkWriter::new(behaviour.wire.clone()),
            out: Vec::new(),
            drip: None,
            writable: true,
            closing: false,
            app: String::new(),
            commands: VecDeque::new(),
            message_stream_next: behaviour.message_stream,
            plays: 0,
            play: None,
            ping_at: None,
            sent: 0,
            acknowledged: None,
        }
    }

    fn plays_name(&self, name: &str) -> bool {
        self.play.as_ref().is_some_and(|play| play.name == name)
    }

    fn on_accepted(&mut self, behaviour: &Behaviour) {
        match behaviour.handshake {
            Handshake::Silent => self.stage = Stage::Mute,
            Handshake::Close => self.closing = true,
            Handshake::Reset => self.stage = Stage::Trap,
            Handshake::Simple
            | Handshake::Strict
            | Handshake::Truncated { .. }
            | Handshake::Slow { .. }
            | Handshake::Version(_)
            | Handshake::Http => {}
        }
    }

    fn receive(
        &mut self,
        bytes: &[u8],
        behaviour: &Behaviour,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<(), RawError> {
        match &mut self.stage {
            Stage::Mute | Stage::Trap => Ok(()),
            Stage::Handshaking(handshake) => {
                let mut answer = Vec::new();
                let shaken = handshake.handle_bytes(bytes, &mut answer)?;
                if !answer.is_empty() {
                    self.answer_handshake(answer, behaviour, now);
                }
                let Some(Shaken { rest, echo }) = shaken else { return Ok(()) };
                if behaviour.handshake == Handshake::Strict {
                    echo.clone()?;
                }
                if let Err(error) = echo {
                    complain(ledger, self.id, &error.to_string());
                }
                self.stage = Stage::Talking;
                self.ping_at = behaviour.ping_every.map(|every| now + every);
                self.receive(&rest, behaviour, ledger, now)
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

    fn answer_handshake(&mut self, mut answer: Vec<u8>, behaviour: &Behaviour, now: Instant) {
        match behaviour.handshake {
            Handshake::Truncated { len } => {
                answer.truncate(len);
                self.stage = Stage::Mute;
            }
            Handshake::Slow { len, every } => self.drip = Some((len.max(1), every, now)),
            Handshake::Version(version) => answer[0] = version,
            Handshake::Http => {
                answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec();
                self.stage = Stage::Mute;
                self.closing = true;
            }
            Handshake::Simple
            | Handshake::Strict
            | Handshake::Silent
            | Handshake::Close
            | Handshake::Reset => {}
        }
        self.out.extend_from_slice(&answer);
    }

    fn on_message(&mut self, message: &RawMessage, call: &mut Call<'_>) -> Result<(), RawError> {
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
                complain(call.ledger, call.id, "a player sent media");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_user_control(&mut self, payload: &[u8], call: &mut Call<'_>) {
        match (payload.get(..2), payload.get(2..6)) {
            (Some([0, 6]), Some(time)) => {
                call.ledger.pings += u64::from(call.behaviour.pings_answered);
                if call.behaviour.pings_answered {
                    let mut pong = vec![0, 7];
                    pong.extend_from_slice(time);
                    self.control(kind::USER_CONTROL, pong);
                }
            }
            (Some([0, 6]), None) => complain(call.ledger, call.id, "a ping without its four bytes"),
            _ => {}
        }
    }

    /// An acknowledgement carries the bytes received in all (§5.4.3), not since the last one.
    fn on_acknowledgement(&mut self, payload: &[u8], call: &mut Call<'_>) {
        let Some(field) = payload.get(..4) else {
            return complain(call.ledger, call.id, "an acknowledgement without its four bytes");
        };
        let total = u64::from(u32::from_be_bytes([field[0], field[1], field[2], field[3]]));
        if self.sent < u64::from(u32::MAX) {
            if total > self.sent {
                complain(call.ledger, call.id, &format!("{total} bytes acknowledged, {} sent", self.sent));
            }
            if self.acknowledged.is_some_and(|last| total <= last) {
                complain(call.ledger, call.id, &format!("{total} bytes acknowledged, more before"));
            }
        }
        self.acknowledged = Some(total);
    }

    fn on_command(&mut self, message: &RawMessage, call: &mut Call<'_>) -> Result<(), RawError> {
        let values = amf0::read_all(&message.payload)?;
        let name = values.first().and_then(Amf::as_text).unwrap_or("").to_owned();
        let transaction = values.get(1).and_then(Amf::as_number).unwrap_or(0.0);
        if name != "connect" && self.app.is_empty() {
            complain(call.ledger, call.id, &format!("{name} before connect"));
        }
        match name.as_str() {
            "connect" => self.on_connect(transaction, values.get(2), call),
            "createStream" => self.on_create_stream(transaction, call),
            "play" => {
                let stream = values.get(3).and_then(Amf::as_text).unwrap_or("").to_owned();
                self.on_play(message.stream, &stream, call);
            }
            "closeStream" | "deleteStream" => {
                if let Some(play) = self.play.take() {
                    self.status(
                        play.message_stream,
                        "status",
                        "NetStream.Play.Stop",
                        "Stopped by the player.",
                    );
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

    fn on_connect(&mut self, transaction: f64, object: Option<&Amf>, call: &mut Call<'_>) {
        let property =
            |name| object.and_then(|object| object.property(name)).and_then(Amf::as_text).unwrap_or("");
        let (app, tc_url) = (property("app").to_owned(), property("tcUrl"));
        if app.is_empty() {
            complain(call.ledger, call.id, "connect without app");
        }
        if !tc_url.starts_with("rtmp://") || !tc_url.ends_with(&app) {
            complain(call.ledger, call.id, &format!("tcUrl {tc_url:?} does not lead to app {app:?}"));
        }
        self.app = if app.is_empty() { "?".to_owned() } else { app };
        match &call.behaviour.connect {
            OnConnect::Accept => {
                self.control(kind::WINDOW, call.behaviour.window.to_be_bytes().to_vec());
                let mut bandwidth = call.behaviour.window.to_be_bytes().to_vec();
                bandwidth.push(2);
                self.control(kind::PEER_BANDWIDTH, bandwidth);
                self.writer.announce(&mut self.out);
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
            OnConnect::Close => self.closing = true,
        }
    }

    fn on_create_stream(&mut self, transaction: f64, call: &Call<'_>) {
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
            OnCall::Close => self.closing = true,
        }
    }

    fn on_play(&mut self, message_stream: u32, stream: &str, call: &mut Call<'_>) {
        let path = |text: &str| text.split('?').next().unwrap_or("").to_owned();
        let name = format!("{}/{}", path(&self.app), path(stream));
        if stream.is_empty() {
            complain(call.ledger, call.id, "play without a stream name");
        }
        if message_stream == 0 || message_stream >= self.message_stream_next {
            complain(call.ledger, call.id, &format!("play on message stream {message_stream}"));
        }
        self.plays += 1;
        if self.plays > 1 {
            match call.behaviour.second_play {
                SecondPlay::Serve if self.play.is_some() => {
                    complain(call.ledger, call.id, "play while a play is under way");
                }
                SecondPlay::Serve => {}
                SecondPlay::Ignore => return,
                SecondPlay::AlreadyJoined => {
                    return self.status(message_stream, "error", "NetStream.Play.Failed", "Already joined.");
                }
                SecondPlay::Close => {
                    self.closing = true;
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
                self.closing = true;
                return;
            }
        }
        let mut missing_at = None;
        if !call.lives.contains_key(&name) {
            match call.behaviour.missing {
                Missing::Wait => {}
                Missing::NotFound { after, close: _ } => missing_at = Some(call.now + after),
                Missing::Never => return,
                Missing::Close => {
                    self.closing = true;
                    return;
                }
            }
        }
        call.ledger.plays_total += 1;
        let number = call.behaviour.numbers_from + call.ledger.plays_total;
        if call.ledger.plays.len() >= PLAYS_MAX {
            call.ledger.plays.pop_front();
        }
        let record = PlayRecord { number, conn: call.id, name: name.clone(), at: call.now, frames: 0 };
        call.ledger.plays.push_back(record);
        self.play = Some(Play {
            name,
            message_stream,
            number,
            at: call.now,
            started: false,
            missing_at,
            reconnect_at: call.behaviour.reconnect_request.as_ref().map(|request| call.now + request.after),
            feed: Feed::Waiting,
            sent: 0,
            defect_done: false,
            held: None,
        });
        if missing_at.is_none() && !call.behaviour.media_before_start {
            self.start_play(call.behaviour);
        }
    }

    fn start_play(&mut self, behaviour: &Behaviour) {
        let Some(play) = &mut self.play else { return };
        if std::mem::replace(&mut play.started, true) {
            return;
        }
        play.missing_at = None;
        let (stream, name) = (play.message_stream, play.name.clone());
        let style = behaviour.start;
        if style.begin {
            self.stream_event(0, stream);
        }
        if style.reset {
            self.status(stream, "status", "NetStream.Play.Reset", &name);
        }
        self.status(stream, "status", "NetStream.Play.Start", &name);
        if style.sample_access {
            let access = [Amf::text("|RtmpSampleAccess"), Amf::Bool(true), Amf::Bool(true)];
            self.data(stream, 0, &access);
        }
    }

    /// The publisher waited for is there, or another one has taken over.
    fn on_published(&mut self, behaviour: &Behaviour) {
        let Some(play) = &mut self.play else { return };
        let (stream, started) = (play.message_stream, play.started);
        play.missing_at = None;
        if started && behaviour.unpublish == Unpublish::Notify {
            self.status(stream, "status", "NetStream.Play.PublishNotify", "Published.");
        }
    }

    fn on_unpublished(&mut self, behaviour: &Behaviour) {
        let Some(play) = &mut self.play else { return };
        let stream = play.message_stream;
        if !matches!(play.feed, Feed::Over) {
            play.feed = Feed::Waiting;
        }
        match behaviour.unpublish {
            Unpublish::Silent => {}
            Unpublish::StreamEof => self.stream_event(1, stream),
            Unpublish::StreamDry => self.stream_event(2, stream),
            Unpublish::Notify => {
                self.status(stream, "status", "NetStream.Play.UnpublishNotify", "Unpublished.")
            }
            Unpublish::Stop => self.status(stream, "status", "NetStream.Play.Stop", "Stopped."),
            Unpublish::Close => self.closing = true,
            Unpublish::EofAndClose => {
                self.stream_event(1, stream);
                self.closing = true;
            }
        }
    }

    fn on_timers(&mut self, behaviour: &Behaviour, now: Instant) {
        if self.ping_at.is_some_and(|at| at <= now) {
            self.ping_at = behaviour.ping_every.map(|every| now + every);
            let mut ping = vec![0, 6];
            ping.extend_from_slice(&(now.as_millis() as u32).to_be_bytes());
            self.control(kind::USER_CONTROL, ping);
        }
        let Some(play) = &mut self.play else { return };
        let stream = play.message_stream;
        if play.reconnect_at.is_some_and(|at| at <= now) {
            play.reconnect_at = None;
            let tc_url = behaviour.reconnect_request.as_ref().and_then(|request| request.tc_url.clone());
            let more = tc_url.map(|tc_url| ("tcUrl".to_owned(), Amf::Text(tc_url))).into_iter().collect();
            let info = info("status", "NetConnection.Connect.ReconnectRequest", "Please reconnect.", more);
            self.command(0, &[Amf::text("onStatus"), Amf::Number(0.0), Amf::Null, info]);
        }
        let Some(play) = &self.play else { return };
        if play.missing_at.is_some_and(|at| at <= now) {
            self.play = None;
            self.status(stream, "error", "NetStream.Play.StreamNotFound", "No such stream.");
            if let Missing::NotFound { close: true, .. } = behaviour.missing {
                self.closing = true;
            }
        }
    }

    /// Sends what is due of the stream played.
    fn feed(&mut self, lives: &BTreeMap<String, Life>, behaviour: &Behaviour, now: Instant) -> Fed {
        let Some(play) = &mut self.play else { return Fed::Well };
        let Some(life) = lives.get(&play.name) else { return Fed::Well };
        if self.closing || !self.may_send(behaviour) {
            return Fed::Well;
        }
        if !behaviour.media_before_start {
            self.start_play(behaviour);
        }
        if self.begin_life(life, behaviour, now) {
            self.send_preface(life, behaviour);
        }
        self.start_play(behaviour);
        self.catch_up(life, now);
        self.send_frames(life, behaviour, now)
    }

    fn may_send(&self, behaviour: &Behaviour) -> bool {
        let acknowledged = self.acknowledged.unwrap_or(0);
        let unacknowledged = self.sent.saturating_sub(acknowledged);
        self.writable && !(behaviour.stops_unacknowledged && unacknowledged > 2 * u64::from(behaviour.window))
    }

    /// Joins the publisher's life if it is another one than before.
    fn begin_life(&mut self, life: &Life, behaviour: &Behaviour, now: Instant) -> bool {
        let Some(play) = &mut self.play else { return false };
        let waited = match &play.feed {
            Feed::Over => return false,
            Feed::Live { epoch, .. } if *epoch == life.epoch => return false,
            Feed::Live { .. } => true,
            Feed::Waiting => play.at <= life.start(),
        };
        let position = if waited { life.beginning() } else { life.join(behaviour.gop_cache, now) };
        play.feed = Feed::Live { epoch: life.epoch, position, video_header: None, audio_header: None };
        true
    }

    /// Metadata, and the sequence headers of the tracks that are running.
    fn send_preface(&mut self, life: &Life, behaviour: &Behaviour) {
        let Some(Play { feed: Feed::Live { position, .. }, message_stream, .. }) = &self.play else { return };
        let (position, stream) = (*position, *message_stream);
        if behaviour.withhold < Withhold::Everything {
            self.metadata(life, position, stream, behaviour.metadata);
        }
        if behaviour.withhold > Withhold::Frames {
            return;
        }
        for track in [Track::Video, Track::Audio] {
            if let Some(header) = life.header(track, position).filter(|_| life.is_running(track, position)) {
                let mut batch = Vec::new();
                self.header(track, header, life.timestamp_at(position), behaviour, &mut batch);
                self.writer.write_together(&batch, &mut self.out);
            }
        }
    }

    fn metadata(&mut self, life: &Life, position: Position, stream: u32, style: MetadataStyle) {
        let (width, height) = life.size(position);
        let mut entries = vec![("server".to_owned(), Amf::text("repull-sim"))];
        if let Some(video) = &life.publisher.video {
            entries.push(("width".into(), Amf::Number(f64::from(width))));
            entries.push(("height".into(), Amf::Number(f64::from(height))));
            entries.push(("framerate".into(), Amf::Number(f64::from(video.fps))));
        }
        entries.push(("hasAudio".into(), Amf::Bool(life.publisher.audio.is_some())));
        let time = life.timestamp_at(position);
        match style {
            MetadataStyle::Absent => {}
            MetadataStyle::Ecma => self.data(stream, time, &[Amf::text("onMetaData"), Amf::Ecma(entries)]),
            MetadataStyle::Object => {
                self.data(stream, time, &[Amf::text("onMetaData"), Amf::Object(entries)])
            }
            MetadataStyle::SetDataFrame => {
                self.data(
                    stream,
                    time,
                    &[Amf::text("@setDataFrame"), Amf::text("onMetaData"), Amf::Ecma(entries)],
                );
            }
        }
    }

    /// Skips to the GOP under way when far behind.
    fn catch_up(&mut self, life: &Life, now: Instant) {
        let Some(Play { feed: Feed::Live { position, .. }, .. }) = &mut self.play else { return };
        if life.due(*position).is_some_and(|at| at + BACKLOG_MAX < now) {
            let current = life.join(true, now);
            position.video = position.video.max(current.video);
            position.audio = position.audio.max(current.audio);
        }
    }

    fn send_frames(&mut self, life: &Life, behaviour: &Behaviour, now: Instant) -> Fed {
        let mut batch = Vec::new();
        while let Some(play) = &mut self.play {
            let Feed::Live { position, .. } = &mut play.feed else { break };
            let Some(frame) = life.take(position, play.number, now) else { break };
            if behaviour.withhold > Withhold::Nothing {
                continue;
            }
            self.frame(life, frame, behaviour, &mut batch);
            let Some(play) = &mut self.play else { break };
            if let Some(end) = behaviour.end.filter(|end| play.sent >= end.frames) {
                play.feed = Feed::Over;
                self.writer.write_together(&batch, &mut self.out);
                return self.end_play(end.by);
            }
        }
        self.writer.write_together(&batch, &mut self.out);
        Fed::Well
    }

    fn end_play(&mut self, by: EndBy) -> Fed {
        match by {
            EndBy::Close => self.closing = true,
            EndBy::Reset => return Fed::Reset,
            EndBy::Cut => {
                let keep = self.out.len().saturating_sub(20);
                self.out.truncate(keep);
                self.closing = true;
            }
            EndBy::Silence => {}
        }
        Fed::Well
    }

    /// Adds a frame to what is sent together, its sequence header first if that is another one than before.
    fn frame(
        &mut self,
        life: &Life,
        frame: DueFrame,
        behaviour: &Behaviour,
        batch: &mut Vec<(u32, RawMessage)>,
    ) {
        self.header(frame.track, frame.header.clone(), frame.timestamp, behaviour, batch);
        let Some(play) = &mut self.play else { return };
        play.sent += 1;
        let strike = play.sent > DEFECT_FRAME && !play.defect_done;
        let Some(defect) = behaviour.defect.filter(|_| strike) else {
            return self.media(frame.track, frame.timestamp, life.payload(&frame), behaviour, batch);
        };
        self.spoil(defect, life, frame, behaviour, batch);
    }

    fn spoil(
        &mut self,
        defect: Defect,
        life: &Life,
        mut frame: DueFrame,
        behaviour: &Behaviour,
        batch: &mut Vec<(u32, RawMessage)>,
    ) {
        let Some(play) = &mut self.play else { return };
        play.defect_done = true;
        let is_inter = frame.track == Track::Video && frame.stamp.kind == media::StampKind::Inter;
        match defect {
            // Done where headers are sent.
            Defect::NoHeaders | Defect::WrongHeader => {}
            Defect::Swapped => match play.held.take() {
                None if frame.track == Track::Audio => {
                    play.held = Some(frame);
                    play.defect_done = false;
                    return;
                }
                Some(held) if frame.track == Track::Audio => {
                    let time = held.timestamp;
                    self.media(frame.track, time, life.payload(&frame), behaviour, batch);
                    return self.media(held.track, time, life.payload(&held), behaviour, batch);
                }
                held => {
                    play.held = held;
                    play.defect_done = false;
                }
            },
            Defect::Repeated => {
                self.media(frame.track, frame.timestamp, life.payload(&frame), behaviour, batch)
            }
            Defect::Foreign => frame.stamp.stream ^= 1,
            Defect::OldLife => frame.stamp.epoch = frame.stamp.epoch.wrapping_sub(1),
            Defect::Corrupt => {
                let mut payload = life.payload(&frame).to_vec();
                if let Some(last) = payload.last_mut() {
                    *last ^= 1;
                }
                return self.media(frame.track, frame.timestamp, payload.into(), behaviour, batch);
            }
            Defect::TimeBack => frame.timestamp = frame.timestamp.wrapping_sub(500),
            Defect::TimeForward => frame.timestamp = frame.timestamp.wrapping_add(3_600_000),
            Defect::Lost if is_inter => return,
            Defect::Lost => play.defect_done = false,
        }
        self.media(frame.track, frame.timestamp, life.payload(&frame), behaviour, batch);
    }

    fn header(
        &mut self,
        track: Track,
        header: Bytes,
        time: u32,
        behaviour: &Behaviour,
        batch: &mut Vec<(u32, RawMessage)>,
    ) {
        let Some(Play { feed: Feed::Live { video_header, audio_header, .. }, .. }) = &mut self.play else {
            return;
        };
        let sent = match track {
            Track::Video => video_header,
            Track::Audio => audio_header,
        };
        if sent.as_ref() == Some(&header) {
            return;
        }
        *sent = Some(header.clone());
        match behaviour.defect {
            Some(Defect::NoHeaders) => {}
            Some(Defect::WrongHeader) => {
                let mut wrong = header.to_vec();
                wrong.push(0);
                self.media(track, time, wrong.into(), behaviour, batch);
            }
            _ => self.media(track, time, header, behaviour, batch),
        }
    }

    fn media(
        &mut self,
        track: Track,
        timestamp: u32,
        payload: Bytes,
        behaviour: &Behaviour,
        batch: &mut Vec<(u32, RawMessage)>,
    ) {
        let Some(play) = &self.play else { return };
        let stream = behaviour.media_stream.unwrap_or(play.message_stream);
        let (csid, kind) = match track {
            Track::Video => (CSID_VIDEO, kind::VIDEO),
            Track::Audio => (CSID_AUDIO, kind::AUDIO),
        };
        batch.push((csid, RawMessage { kind, stream, timestamp, payload }));
    }

    fn status(&mut self, stream: u32, level: &str, code: &str, description: &str) {
        let info = info(level, code, description, Vec::new());
        self.command(stream, &[Amf::text("onStatus"), Amf::Number(0.0), Amf::Null, info]);
    }

    fn stream_event(&mut self, event: u8, stream: u32) {
        let mut payload = vec![0, event];
        payload.extend_from_slice(&stream.to_be_bytes());
        self.control(kind::USER_CONTROL, payload);
    }

    fn command(&mut self, stream: u32, values: &[Amf]) {
        let csid = if stream == 0 { CSID_COMMAND } else { CSID_STATUS };
        let payload = amf0::write_all(values).into();
        self.writer.write(
            csid,
            &RawMessage { kind: kind::COMMAND, stream, timestamp: 0, payload },
            &mut self.out,
        );
    }

    fn data(&mut self, stream: u32, timestamp: u32, values: &[Amf]) {
        let payload = amf0::write_all(values).into();
        self.writer.write(
            CSID_DATA,
            &RawMessage { kind: kind::DATA, stream, timestamp, payload },
            &mut self.out,
        );
    }

    fn control(&mut self, kind: u8, payload: Vec<u8>) {
        let message = RawMessage { kind, stream: 0, timestamp: 0, payload: payload.into() };
        self.writer.write(CSID_CONTROL, &message, &mut self.out);
    }

    fn take_out(&mut self, now: Instant) -> Vec<u8> {
        let Some((len, every, at)) = &mut self.drip else { return std::mem::take(&mut self.out) };
        let mut taken = Vec::new();
        while *at <= now && !self.out.is_empty() {
            let piece = (*len).min(self.out.len());
            taken.extend(self.out.drain(..piece));
            *at += *every;
        }
        if self.out.is_empty() {
            self.drip = None;
        }
        taken
    }

    fn deadline(&self, lives: &BTreeMap<String, Life>, behaviour: &Behaviour) -> Option<Instant> {
        let drip = self.drip.map(|(_, _, at)| at);
        if self.closing {
            return drip;
        }
        let command = self.commands.front().map(|(at, _)| *at);
        let mut frame = None;
        let (mut missing, mut reconnect) = (None, None);
        if let Some(play) = &self.play {
            (missing, reconnect) = (play.missing_at, play.reconnect_at);
            if let (Feed::Live { position, .. }, true, Some(life)) =
                (&play.feed, self.may_send(behaviour), lives.get(&play.name))
            {
                frame = life.due(*position);
            }
        }
        [drip, command, frame, missing, reconnect, self.ping_at].into_iter().flatten().min()
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

fn complain(ledger: &mut Ledger, conn: PeerConn, what: &str) {
    if ledger.complaints.len() < COMPLAINTS_MAX {
        ledger.complaints.push(format!("connection {}: {what}", conn.0));
    }
}
