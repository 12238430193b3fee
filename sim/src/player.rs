//! A model player, RTMP or HTTP-FLV, without clock or sockets.
//!
//! ```text
//!            poll_dial        on_connected            S2 / 200                Play.Start
//!  Waiting ───────────► Dialling ──────────► Greeting ───────► Requesting ──────────────► Watching
//!     ▲                                                                                      │
//!     └────────── redial, if it is to ─────────────── on_closed ◄────────────────────────────┘
//! ```
//! What it sees it hands to its [`Viewer`], which judges it.

use std::collections::VecDeque;

use bytes::Bytes;
use proxy_core::time::{Duration, Instant};

use crate::{
    raw::{
        RawError,
        amf0::{self, Amf},
        chunk::{
            ChunkReader, ChunkStyle, ChunkWriter, Continuations, RawMessage, RawMessageRef, disaggregate,
            kind,
        },
        flv::FlvReader,
        handshake::ClientHandshake,
        http::HttpReader,
    },
    viewer::{Report, Viewer, ViewerConfig},
};

/// How far a limited reader may run ahead of its rate, in bytes.
pub const READ_BURST_MAX: u64 = 16 * 1024;

/// What a player asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// RTMP.
    Rtmp {
        /// The `tcUrl`, `rtmp://host:port/app`.
        tc_url: String,
        /// The application.
        app: String,
        /// The stream name, with its query if it has one.
        stream: String,
    },
    /// HTTP-FLV.
    HttpFlv {
        /// The `Host` header.
        host: String,
        /// Path and query.
        path: String,
    },
}

/// How a player reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All there is.
    Full,
    /// So many bytes per second.
    Rate {
        /// Bytes per second.
        bytes_per_second: u64,
    },
    /// All there is up to so many bytes of a connection, then nothing more: with 0 it is stuck.
    Until {
        /// Bytes.
        bytes: u64,
    },
}

/// How a player leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// RTMP: `closeStream` and `deleteStream`, then FIN; HTTP: FIN.
    InOrder,
    /// FIN.
    Fin,
    /// RST.
    Reset,
}

/// A player's wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayerConfig {
    /// What it asks for.
    pub target: Target,
    /// What it expects.
    pub viewer: ViewerConfig,
    /// How it reads.
    pub reading: Reading,
    /// Dials again so long after a connection was lost; `None` means never.
    pub redial: Option<Duration>,
    /// Sets the filler of its handshake apart from that of others.
    pub salt: u64,
}

impl PlayerConfig {
    /// Makes a config from `rtmp://host:port/app/stream` or `http://host:port/path`; returns it with `host:port`,
    /// which is where to dial. The last path element of an RTMP url is the stream.
    pub fn from_url(url: &str, viewer: ViewerConfig) -> Option<(Self, String)> {
        let (scheme, rest) = url.split_once("://")?;
        let (host, path) = rest.split_once('/')?;
        let (target, port) = match scheme {
            "rtmp" => {
                let (before_query, query) = path.split_once('?').unwrap_or((path, ""));
                let (app, stream) = before_query.rsplit_once('/')?;
                let stream = if query.is_empty() { stream.to_owned() } else { format!("{stream}?{query}") };
                let tc_url = format!("rtmp://{host}/{app}");
                (Target::Rtmp { tc_url, app: app.to_owned(), stream }, 1935)
            }
            "http" => (Target::HttpFlv { host: host.to_owned(), path: format!("/{path}") }, 80),
            _ => return None,
        };
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { host.to_owned() } else { format!("{host}:{port}") };
        let config = Self { target, viewer, reading: Reading::Full, redial: None, salt: 1 };
        Some((config, address))
    }
}

/// What a player is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlayerState {
    /// Has no connection; dials at its time, or never.
    Waiting,
    /// Dials.
    Dialling,
    /// Shakes hands, or waits for the HTTP status.
    Greeting,
    /// Has asked to play.
    Requesting,
    /// Play.Start or the FLV header has come.
    Watching,
    /// Was refused; waits to be hung up on.
    Refused,
}

#[derive(Debug)]
enum Stage {
    Waiting { dial_at: Option<Instant> },
    Dialling,
    Handshaking(ClientHandshake),
    Talking(Box<Talk>),
    Flv { http: HttpReader, flv: FlvReader, body: Vec<u8> },
}

#[derive(Debug)]
struct Talk {
    reader: ChunkReader,
    writer: ChunkWriter,
    state: PlayerState,
    message_stream: u32,
    window: u64,
    acknowledged: u64,
}

/// A model player.
#[derive(Debug)]
pub struct ModelPlayer {
    config: PlayerConfig,
    viewer: Viewer,
    stage: Stage,
    out: VecDeque<Bytes>,
    /// Bytes read on this connection.
    read: u64,
    /// Since when, and beyond how many bytes of the connection, a rate counts.
    rated: (Instant, u64),
    hang_up: bool,
    /// It goes, and how; it does not dial again by itself.
    leaving: Option<Leave>,
}

const CONNECT: f64 = 1.0;
const CREATE_STREAM: f64 = 2.0;

impl ModelPlayer {
    /// Makes a player that dials at once.
    pub fn new(config: PlayerConfig, now: Instant) -> Self {
        Self {
            viewer: Viewer::new(config.viewer.clone()),
            config,
            stage: Stage::Waiting { dial_at: Some(now) },
            out: VecDeque::new(),
            read: 0,
            rated: (now, 0),
            hang_up: false,
            leaving: None,
        }
    }

    /// Returns what it has seen.
    pub fn report(&self) -> &Report {
        self.viewer.report()
    }

    /// Returns what it is doing.
    pub fn state(&self) -> PlayerState {
        match &self.stage {
            Stage::Waiting { .. } => PlayerState::Waiting,
            Stage::Dialling => PlayerState::Dialling,
            Stage::Handshaking(_) => PlayerState::Greeting,
            Stage::Talking(talk) => talk.state,
            Stage::Flv { http, flv, .. } => match (http.status(), flv.flags()) {
                (None, _) => PlayerState::Greeting,
                (Some(200), Some(_)) => PlayerState::Watching,
                (Some(200), None) => PlayerState::Requesting,
                (Some(_), _) => PlayerState::Refused,
            },
        }
    }

    /// Returns true once when it is time to dial.
    pub fn poll_dial(&mut self, now: Instant) -> bool {
        match self.stage {
            Stage::Waiting { dial_at: Some(at) } if at <= now => {
                self.stage = Stage::Dialling;
                true
            }
            _ => false,
        }
    }

    /// The dial succeeded.
    pub fn on_connected(&mut self, now: Instant) {
        self.viewer.on_connected();
        self.out.clear();
        (self.read, self.rated, self.hang_up) = (0, (now, 0), self.leaving.is_some());
        match &self.config.target {
            Target::Rtmp { .. } => {
                let mut out = Vec::new();
                self.stage = Stage::Handshaking(ClientHandshake::new(self.config.salt, &mut out));
                self.out.push_back(out.into());
            }
            Target::HttpFlv { host, path } => {
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nUser-Agent: repull-sim\r\n\r\n"
                );
                self.out.push_back(request.into());
                self.stage = Stage::Flv { http: HttpReader::new(), flv: FlvReader::new(), body: Vec::new() };
            }
        }
    }

    /// The connection is gone, or the dial failed; `cause` goes into the report.
    pub fn on_closed(&mut self, cause: &str, now: Instant) {
        if matches!(self.stage, Stage::Waiting { .. }) {
            return;
        }
        self.out.clear();
        self.hang_up = false;
        let dial_at = match self.leaving.take() {
            // Its own will is no disconnect.
            Some(_) => None,
            None => {
                self.viewer.on_disconnected(cause, now);
                self.config.redial.map(|delay| now + delay)
            }
        };
        self.stage = Stage::Waiting { dial_at };
    }

    /// Leaves: what there is to say comes out of [`Self::poll_transmit`], then [`Self::wants_close`] and
    /// [`Self::wants_reset`] tell how to hang up. A dial in flight is given up. It comes back by [`Self::join`] alone.
    pub fn leave(&mut self, how: Leave) {
        match &mut self.stage {
            Stage::Waiting { dial_at } => {
                *dial_at = None;
                return;
            }
            Stage::Talking(talk) if how == Leave::InOrder => {
                let mut out = Vec::new();
                talk.leave(&mut out);
                self.push(out);
            }
            Stage::Dialling | Stage::Handshaking(_) | Stage::Talking(_) | Stage::Flv { .. } => {}
        }
        self.leaving = Some(how);
        self.hang_up = true;
    }

    /// Dials at this moment if it has no connection.
    pub fn join(&mut self, now: Instant) {
        if let Stage::Waiting { dial_at } = &mut self.stage {
            *dial_at = Some(now);
        }
    }

    /// Reads otherwise from here on.
    pub fn set_reading(&mut self, reading: Reading, now: Instant) {
        self.config.reading = reading;
        self.rated = (now, self.read);
    }

    /// Stops for good: an orderly end that is no disconnect.
    pub fn stop(&mut self) {
        self.stage = Stage::Waiting { dial_at: None };
        self.out.clear();
    }

    /// Bytes came in.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        self.read += bytes.len() as u64;
        if let Err(error) = self.receive(bytes, now) {
            self.viewer.violation(&error.to_string(), now);
            self.hang_up = true;
        }
    }

    /// Returns bytes to send.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// Returns whether the carrier must hang up once all bytes are out, then tell [`Self::on_closed`].
    pub fn wants_close(&self) -> bool {
        self.hang_up
    }

    /// Returns whether hanging up means RST.
    pub fn wants_reset(&self) -> bool {
        self.leaving == Some(Leave::Reset)
    }

    /// Returns how many bytes it takes at the moment.
    pub fn read_budget(&self, now: Instant) -> usize {
        let budget = match self.config.reading {
            Reading::Full => u64::MAX,
            Reading::Rate { bytes_per_second } => {
                self.allowed(bytes_per_second, now).saturating_sub(self.read)
            }
            Reading::Until { bytes } => bytes.saturating_sub(self.read),
        };
        usize::try_from(budget).unwrap_or(usize::MAX)
    }

    /// Returns when something is due: a dial, or more reading.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if let Stage::Waiting { dial_at } = self.stage {
            return dial_at;
        }
        match self.config.reading {
            Reading::Rate { .. } if self.read_budget(now) == 0 => Some(now + Duration::from_millis(20)),
            Reading::Rate { .. } | Reading::Full | Reading::Until { .. } => None,
        }
    }

    fn allowed(&self, bytes_per_second: u64, now: Instant) -> u64 {
        let (since, read) = self.rated;
        let allowed = u128::from(bytes_per_second) * now.since(since).as_nanos() / 1_000_000_000;
        u64::try_from(allowed).unwrap_or(u64::MAX).saturating_add(READ_BURST_MAX).saturating_add(read)
    }

    fn receive(&mut self, bytes: &[u8], now: Instant) -> Result<(), RawError> {
        match &mut self.stage {
            Stage::Waiting { .. } | Stage::Dialling => Ok(()),
            Stage::Handshaking(handshake) => {
                let mut out = Vec::new();
                let rest = handshake.handle_bytes(bytes, &mut out)?;
                if let Some(rest) = rest {
                    self.connect(&mut out);
                    self.push(out);
                    return self.receive(&rest, now);
                }
                self.push(out);
                Ok(())
            }
            Stage::Talking(talk) => {
                talk.reader.push(bytes);
                while let Stage::Talking(talk) = &mut self.stage {
                    let talk = &mut **talk;
                    let Some(message) = talk.reader.poll_ref()? else { break };
                    match message.kind {
                        kind::AUDIO | kind::VIDEO | kind::DATA => {
                            see(&mut self.viewer, &self.config, talk.message_stream, message, now);
                        }
                        _ => {
                            let message = message.to_message();
                            self.on_message(&message, now)?;
                        }
                    }
                }
                self.acknowledge();
                Ok(())
            }
            Stage::Flv { .. } => self.receive_flv(bytes, now),
        }
    }

    fn receive_flv(&mut self, bytes: &[u8], now: Instant) -> Result<(), RawError> {
        let Stage::Flv { http, flv, body } = &mut self.stage else { return Ok(()) };
        let known = http.status();
        body.clear();
        http.handle_bytes(bytes, body)?;
        if let (None, Some(status)) = (known, http.status()) {
            self.viewer.on_status(&format!("HTTP {status}"), now);
        }
        if http.status() != Some(200) {
            return Ok(());
        }
        flv.push(body);
        self.hang_up |= http.is_done();
        while let Some(tag) = flv.poll_tag()? {
            self.viewer.on_tag(tag.kind, tag.timestamp, tag.payload, now);
        }
        Ok(())
    }

    /// Appends `connect` as FFmpeg sends it.
    fn connect(&mut self, out: &mut Vec<u8>) {
        let Target::Rtmp { tc_url, app, .. } = &self.config.target else { return };
        let mut talk = Talk {
            reader: ChunkReader::new(Continuations::Extended),
            writer: ChunkWriter::new(ChunkStyle { chunk_size: 128, ..ChunkStyle::default() }),
            state: PlayerState::Greeting,
            message_stream: 0,
            window: u64::MAX,
            acknowledged: 0,
        };
        let object = Amf::Object(vec![
            ("app".into(), Amf::text(app)),
            ("flashVer".into(), Amf::text("LNX 9,0,124,2")),
            ("tcUrl".into(), Amf::text(tc_url)),
            ("fpad".into(), Amf::Bool(false)),
            ("capabilities".into(), Amf::Number(15.0)),
            ("audioCodecs".into(), Amf::Number(4071.0)),
            ("videoCodecs".into(), Amf::Number(252.0)),
            ("videoFunction".into(), Amf::Number(1.0)),
        ]);
        talk.command(0, &[Amf::text("connect"), Amf::Number(CONNECT), object], out);
        self.stage = Stage::Talking(Box::new(talk));
    }

    fn on_message(&mut self, message: &RawMessage, now: Instant) -> Result<(), RawError> {
        match message.kind {
            kind::AGGREGATE => {
                let Stage::Talking(talk) = &self.stage else { return Ok(()) };
                for RawMessage { kind, stream, timestamp, payload } in disaggregate(message)? {
                    let part = RawMessageRef { kind, stream, timestamp, payload: &payload };
                    see(&mut self.viewer, &self.config, talk.message_stream, part, now);
                }
            }
            kind::COMMAND => self.on_command(&amf0::read_all(&message.payload)?, now),
            kind::USER_CONTROL => self.on_user_control(&message.payload, now),
            kind::WINDOW => {
                if let (Stage::Talking(talk), Some(field)) = (&mut self.stage, message.payload.get(..4)) {
                    talk.window = u64::from(u32::from_be_bytes([field[0], field[1], field[2], field[3]]));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_command(&mut self, values: &[Amf], now: Instant) {
        let name = values.first().and_then(Amf::as_text).unwrap_or("");
        let transaction = values.get(1).and_then(Amf::as_number).unwrap_or(0.0);
        let mut out = Vec::new();
        let Stage::Talking(talk) = &mut self.stage else { return };
        let Target::Rtmp { stream, .. } = &self.config.target else { return };
        if name == "_result" && transaction == CONNECT {
            talk.state = PlayerState::Requesting;
            talk.command(0, &[Amf::text("createStream"), Amf::Number(CREATE_STREAM), Amf::Null], &mut out);
        } else if name == "_result" && transaction == CREATE_STREAM {
            let id = values.get(3).and_then(Amf::as_number).unwrap_or(0.0);
            talk.message_stream = id as u32;
            let play =
                [Amf::text("play"), Amf::Number(4.0), Amf::Null, Amf::text(stream), Amf::Number(-2000.0)];
            talk.command(talk.message_stream, &play, &mut out);
            talk.set_buffer_length(3000, &mut out);
        } else if name == "_error" && (transaction == CONNECT || transaction == CREATE_STREAM) {
            talk.state = PlayerState::Refused;
            let code =
                values.iter().find_map(|value| value.property("code")).and_then(Amf::as_text).unwrap_or("");
            self.viewer.on_status(&format!("_error {code}"), now);
        } else if name == "onStatus" {
            let property = |name| values.iter().find_map(|value| value.property(name)).and_then(Amf::as_text);
            let code = property("code").unwrap_or("");
            if code == "NetStream.Play.Start" {
                talk.state = PlayerState::Watching;
            }
            if property("level") == Some("error") {
                talk.state = PlayerState::Refused;
            }
            self.viewer.on_status(code, now);
        }
        self.push(out);
    }

    fn on_user_control(&mut self, payload: &[u8], now: Instant) {
        match (payload.get(..2), payload.get(2..6)) {
            (Some([0, 1]), _) => self.viewer.on_status("StreamEOF", now),
            (Some([0, 2]), _) => self.viewer.on_status("StreamDry", now),
            (Some([0, 6]), Some(time)) => {
                let mut pong = vec![0, 7];
                pong.extend_from_slice(time);
                let mut out = Vec::new();
                if let Stage::Talking(talk) = &mut self.stage {
                    talk.control(kind::USER_CONTROL, pong, &mut out);
                }
                self.push(out);
            }
            _ => {}
        }
    }

    /// Tells the bytes received in all, each half window (§5.4.3, and as SRS and FFmpeg time it).
    fn acknowledge(&mut self) {
        let read = self.read;
        let Stage::Talking(talk) = &mut self.stage else { return };
        if read - talk.acknowledged < talk.window / 2 {
            return;
        }
        talk.acknowledged = read;
        let mut out = Vec::new();
        talk.control(kind::ACKNOWLEDGEMENT, (read as u32).to_be_bytes().to_vec(), &mut out);
        self.push(out);
    }

    fn push(&mut self, out: Vec<u8>) {
        if !out.is_empty() {
            self.out.push_back(out.into());
        }
    }
}

/// Shows a viewer what came; media belongs on the message stream it was asked for on.
fn see(viewer: &mut Viewer, config: &PlayerConfig, expected: u32, message: RawMessageRef<'_>, now: Instant) {
    if config.viewer.stream.is_some() && message.kind != kind::DATA && message.stream != expected {
        let what = format!("media on message stream {}, not {expected}", message.stream);
        viewer.violation(&what, now);
    }
    viewer.on_tag(message.kind, message.timestamp, message.payload, now);
}

impl Talk {
    /// Says what a player says that goes.
    fn leave(&mut self, out: &mut Vec<u8>) {
        if self.message_stream == 0 {
            return;
        }
        let number = Amf::Number(f64::from(self.message_stream));
        let (zero, null) = (Amf::Number(0.0), Amf::Null);
        self.command(self.message_stream, &[Amf::text("closeStream"), zero.clone(), null.clone()], out);
        self.command(0, &[Amf::text("deleteStream"), zero, null, number], out);
    }

    fn command(&mut self, stream: u32, values: &[Amf], out: &mut Vec<u8>) {
        let payload = amf0::write_all(values).into();
        let csid = if stream == 0 { 3 } else { 8 };
        self.writer.write(csid, &RawMessage { kind: kind::COMMAND, stream, timestamp: 0, payload }, out);
    }

    fn control(&mut self, kind: u8, payload: Vec<u8>, out: &mut Vec<u8>) {
        self.writer.write(2, &RawMessage { kind, stream: 0, timestamp: 0, payload: payload.into() }, out);
    }

    fn set_buffer_length(&mut self, millis: u32, out: &mut Vec<u8>) {
        let mut payload = vec![0, 3];
        payload.extend_from_slice(&self.message_stream.to_be_bytes());
        payload.extend_from_slice(&millis.to_be_bytes());
        self.control(kind::USER_CONTROL, payload, out);
    }
}
