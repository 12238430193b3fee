//! Model origin and model player face to face, on a clock of numbers: a good origin breaks no promise, and each
//! deliberate wrong breaks the one it is about.

mod basics;
mod changes;
mod faults;
mod people;

use proxy_core::time::{Duration, Instant};
use sim::{
    origin::{Behaviour, ModelOrigin, OriginOutput, PeerConn, Publisher, Video},
    player::{ModelPlayer, PlayerConfig},
    raw::{
        amf0::{self, Amf},
        chunk::{ChunkStyle, ChunkWriter, RawMessage},
        handshake::ClientHandshake,
    },
    viewer::{Report, ViewerConfig},
};

const NAME: &str = "live/one";

/// Origin and player with a perfect wire between them.
struct Pair {
    origin: ModelOrigin,
    player: ModelPlayer,
    conn: u64,
    now: Instant,
    /// Bytes that reach the player at a time.
    piece: usize,
    /// What the origin wrote: when, and how many bytes at once.
    writes: Vec<(Instant, usize)>,
    /// All of it.
    said: Vec<u8>,
}

impl Pair {
    fn new(behaviour: Behaviour) -> Self {
        Self::with(behaviour, ViewerConfig { seen_max: 100_000, ..ViewerConfig::stamped(NAME) })
    }

    fn with(behaviour: Behaviour, viewer: ViewerConfig) -> Self {
        let (config, _) = PlayerConfig::from_url("rtmp://origin/live/one", viewer).expect("a plain url");
        let now = Instant::from_millis(1000);
        Self {
            origin: ModelOrigin::new(behaviour),
            player: ModelPlayer::new(
                PlayerConfig { redial: Some(Duration::from_millis(100)), ..config },
                now,
            ),
            conn: 0,
            now,
            piece: usize::MAX,
            writes: Vec::new(),
            said: Vec::new(),
        }
    }

    fn publish(&mut self, publisher: Publisher) {
        self.origin.publish(NAME, publisher, self.now);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let next = [self.origin.deadline(), self.player.deadline(self.now)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = next.max(self.now);
            self.origin.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn settle(&mut self) {
        loop {
            if self.player.poll_dial(self.now) {
                self.conn += 1;
                self.player.on_connected(self.now);
                self.origin.on_accepted(PeerConn(self.conn), self.now);
            }
            if let Some(bytes) = self.player.poll_transmit() {
                self.origin.handle_bytes(PeerConn(self.conn), &bytes, self.now);
                continue;
            }
            if self.player.wants_close() {
                let how = if self.player.wants_reset() { "RST" } else { "gave up" };
                self.player.on_closed(how, self.now);
                self.origin.on_closed(PeerConn(self.conn));
            }
            match self.origin.poll_output() {
                Some(OriginOutput::Transmit { conn, bytes }) if conn.0 == self.conn => {
                    self.writes.push((self.now, bytes.len()));
                    self.said.extend_from_slice(&bytes);
                    for piece in bytes.chunks(self.piece) {
                        self.player.handle_bytes(piece, self.now);
                    }
                }
                Some(OriginOutput::Transmit { .. }) => {}
                Some(OriginOutput::Close { conn }) if conn.0 == self.conn => {
                    self.player.on_closed("EOF", self.now)
                }
                Some(OriginOutput::Reset { conn }) if conn.0 == self.conn => {
                    self.player.on_closed("RST", self.now)
                }
                Some(OriginOutput::Close { .. } | OriginOutput::Reset { .. }) => {}
                None => return,
            }
        }
    }

    fn report(&self) -> &Report {
        self.player.report()
    }
}

fn small(video: Video) -> Publisher {
    Publisher { video: Some(video), ..Publisher::default() }
}

fn is_clean(pair: &Pair) {
    assert_eq!(pair.report().violations, Vec::<String>::new());
    assert_eq!(pair.origin.ledger().complaints, Vec::<String>::new());
}

/// Speaks to an origin message by message, after handshake, connect and createStream.
struct Hand {
    origin: ModelOrigin,
    conn: PeerConn,
    writer: ChunkWriter,
    said: Vec<u8>,
    closed: bool,
}

impl Hand {
    const NOW: Instant = Instant::ZERO;

    fn new(behaviour: Behaviour) -> Self {
        Self::on(ModelOrigin::new(behaviour), PeerConn(1))
    }

    fn on(mut origin: ModelOrigin, conn: PeerConn) -> Self {
        let writer = ChunkWriter::new(ChunkStyle { chunk_size: 128, ..ChunkStyle::default() });
        origin.on_accepted(conn, Self::NOW);
        let mut hand = Self { origin, conn, writer, said: Vec::new(), closed: false };
        let mut out = Vec::new();
        let mut handshake = ClientHandshake::new(1, &mut out);
        hand.bytes(&out);
        let mut c2 = Vec::new();
        let said = std::mem::take(&mut hand.said);
        assert_eq!(handshake.handle_bytes(&said, &mut c2), Ok(Some(Vec::new())));
        hand.bytes(&c2);
        let object = Amf::Object(vec![
            ("app".into(), Amf::text("live")),
            ("tcUrl".into(), Amf::text("rtmp://origin/live")),
        ]);
        hand.command(0, &[Amf::text("connect"), Amf::Number(1.0), object]);
        hand.command(0, &[Amf::text("createStream"), Amf::Number(2.0)]);
        hand
    }

    fn play(&mut self, stream: u32) {
        self.call(stream, &["play", "one"]);
    }

    fn call(&mut self, stream: u32, words: &[&str]) {
        let mut values = vec![Amf::text(words[0]), Amf::Number(0.0), Amf::Null];
        values.extend(words[1..].iter().map(|word| Amf::text(word)));
        self.command(stream, &values);
    }

    fn command(&mut self, stream: u32, values: &[Amf]) {
        self.message(20, stream, amf0::write_all(values));
    }

    fn control(&mut self, kind: u8, payload: &[u8]) {
        self.message(kind, 0, payload.to_vec());
    }

    fn message(&mut self, kind: u8, stream: u32, payload: Vec<u8>) {
        let mut out = Vec::new();
        let message = RawMessage { kind, stream, timestamp: 0, payload: payload.into() };
        self.writer.write(3, &message, &mut out);
        self.bytes(&out);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.origin.handle_bytes(self.conn, bytes, Self::NOW);
        while let Some(output) = self.origin.poll_output() {
            match output {
                OriginOutput::Transmit { bytes, .. } => self.said.extend_from_slice(&bytes),
                OriginOutput::Close { .. } | OriginOutput::Reset { .. } => self.closed = true,
            }
        }
    }
}
