//! Our sessions against `rml_rtmp`'s, which share none of our misreadings: in memory, handshake included, with the
//! bytes cut in several ways.

use bytes::Bytes;
use proxy_core::{
    session::{
        client::{ClientEvent, ClientOptions, ClientSession},
        server::{PLAY_STREAM, Refusal, ServerOptions, ServerSession},
    },
    url::OriginUrl,
    wire::{
        chunk::{self, ChunkLimits},
        handshake::{ClientHandshake, HandshakeKind, Progress, ServerHandshake},
        message::{Message, type_id},
    },
};
use rml_rtmp::{
    handshake::{Handshake, HandshakeProcessResult, PeerType},
    sessions as rml,
    time::RtmpTimestamp,
};

/// Sizes of the pieces the bytes travel in: whole, a TCP segment, and small odd ones.
const PIECES: [usize; 4] = [usize::MAX, 1448, 61, 7];

/// What either side sends in a handshake, in bytes.
const HANDSHAKE_BYTES: u64 = 1 + 1536 + 1536;

const CHUNK_SIZE: u32 = 60_000;

/// A keyframe longer than any chunk here, an interframe, an audio frame; the timestamps grow past 24 bits.
fn frames() -> [(u8, u32, Bytes); 3] {
    let mut keyframe = vec![0x17, 1, 0, 0, 0];
    keyframe.extend((0..100_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]));
    [
        (type_id::VIDEO, 0xFF_FFF0, keyframe.into()),
        (type_id::AUDIO, 0xFF_FFFF, Bytes::from_static(&[0xAF, 1, 0x21])),
        (type_id::VIDEO, 0x100_0010, Bytes::from_static(&[0x27, 1, 0, 0, 0, 7])),
    ]
}

/// One line for a frame, the same from both libraries.
fn line(kind: &str, timestamp: u32, payload: &[u8]) -> String {
    let sum = payload.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    format!("{kind} at {timestamp}, {} bytes, sum {sum:08x}", payload.len())
}

fn frame_lines() -> Vec<String> {
    frames()
        .iter()
        .map(|(kind, timestamp, payload)| {
            line(if *kind == type_id::AUDIO { "audio" } else { "video" }, *timestamp, payload)
        })
        .collect()
}

/// One end of the wire.
trait End {
    /// Takes bytes, returns the answer.
    fn hear(&mut self, input: &[u8]) -> Vec<u8>;
}

/// Carries bytes until both ends are silent, cut into pieces.
fn carry(piece: usize, here: &mut dyn End, there: &mut dyn End, said_here: Vec<u8>) {
    let mut up = said_here;
    while !up.is_empty() {
        let mut down = Vec::new();
        for bytes in up.chunks(piece) {
            down.extend(there.hear(bytes));
        }
        up = down.chunks(piece).flat_map(|bytes| here.hear(bytes)).collect();
    }
}

enum OurClient {
    Handshaking(Option<ClientHandshake>),
    Talking(Box<ClientSession>, Vec<String>),
}

impl OurClient {
    fn start() -> (Self, Vec<u8>) {
        let mut out = Vec::new();
        let handshake = ClientHandshake::start(HandshakeKind::Digest, &[0x5A; 1528], &mut out);
        (Self::Handshaking(Some(handshake)), out)
    }

    fn act(&mut self, act: impl FnOnce(&mut ClientSession, &mut Vec<u8>)) -> Vec<u8> {
        let Self::Talking(session, _) = self else { panic!("the handshake is not complete") };
        let mut out = Vec::new();
        act(session, &mut out);
        out
    }

    /// Returns what was told since the last time.
    fn told(&mut self) -> Vec<String> {
        let Self::Talking(_, told) = self else { panic!("the handshake is not complete") };
        std::mem::take(told)
    }
}

impl End for OurClient {
    fn hear(&mut self, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Handshaking(handshake) => {
                let handshake = handshake.take().expect("put back below");
                let (used, progress) = handshake.handle_bytes(input, &mut out).expect("a good handshake");
                match progress {
                    Progress::Pending(pending) => *self = Self::Handshaking(Some(pending)),
                    Progress::Done => {
                        let url = OriginUrl::parse("rtmp://h/live/cam?token=1").expect("a good url");
                        let options = ClientOptions {
                            fc_subscribe: true,
                            hops: 1,
                            ids: vec![1],
                            limits: ChunkLimits::ORIGIN,
                        };
                        let session = ClientSession::start(&url, &options, HANDSHAKE_BYTES, &mut out);
                        *self = Self::Talking(Box::new(session), Vec::new());
                        out.extend(self.hear(&input[used..]));
                    }
                }
            }
            Self::Talking(session, told) => {
                session.handle_bytes(input, &mut out).expect("rml_rtmp is a good origin");
                while let Some(event) = session.poll_event() {
                    told.push(match event {
                        ClientEvent::Frame(frame) => line(
                            &format!("{:?}", frame.medium).to_lowercase(),
                            frame.timestamp,
                            &frame.payload,
                        ),
                        other => format!("{other:?}"),
                    });
                }
            }
        }
        out
    }
}

struct OurServer {
    handshake: Option<ServerHandshake>,
    session: ServerSession,
    told: Vec<String>,
}

impl OurServer {
    fn new() -> Self {
        let limits = ChunkLimits::PLAYER;
        let options = ServerOptions { chunk_size: CHUNK_SIZE, streams_max: 8, hops_max: 8, limits };
        Self {
            handshake: Some(ServerHandshake::start(&[0xA5; 1528])),
            session: ServerSession::new(options, HANDSHAKE_BYTES),
            told: Vec::new(),
        }
    }
}

impl End for OurServer {
    fn hear(&mut self, mut input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(handshake) = self.handshake.take() {
            let (used, progress) = handshake.handle_bytes(input, &mut out).expect("a good handshake");
            input = &input[used..];
            if let Progress::Pending(pending) = progress {
                self.handshake = Some(pending);
                return out;
            }
        }
        self.session.handle_bytes(input, &mut out).expect("rml_rtmp is a good player");
        while let Some(event) = self.session.poll_event() {
            self.told.push(format!("{event:?}"));
        }
        out
    }
}

/// Runs their handshake; returns what belongs to the session once it is complete.
fn their_handshake(handshake: &mut Handshake, input: &[u8], out: &mut Vec<u8>) -> Option<Vec<u8>> {
    match handshake.process_bytes(input).expect("our handshake is good") {
        HandshakeProcessResult::InProgress { response_bytes } => {
            out.extend(response_bytes);
            None
        }
        HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
            out.extend(response_bytes);
            Some(remaining_bytes)
        }
    }
}

struct TheirServer {
    handshake: Option<Handshake>,
    session: rml::ServerSession,
    greeting: Vec<u8>,
    told: Vec<String>,
    rejects: bool,
    stream: u32,
}

impl TheirServer {
    fn new(rejects: bool) -> Self {
        let (session, results) =
            rml::ServerSession::new(rml::ServerSessionConfig::new()).expect("a good config");
        let mut greeting = Vec::new();
        for result in results {
            let rml::ServerSessionResult::OutboundResponse(packet) = result else { panic!("{result:?}") };
            greeting.extend(packet.bytes);
        }
        let handshake = Some(Handshake::new(PeerType::Server));
        Self { handshake, session, greeting, told: Vec::new(), rejects, stream: 0 }
    }

    fn on_result(&mut self, result: rml::ServerSessionResult, out: &mut Vec<u8>) {
        use rml::ServerSessionEvent as Event;
        let event = match result {
            rml::ServerSessionResult::OutboundResponse(packet) => return out.extend(packet.bytes),
            rml::ServerSessionResult::RaisedEvent(event) => event,
            rml::ServerSessionResult::UnhandleableMessageReceived(message) => {
                return self.told.push(format!("unhandled type {}", message.type_id));
            }
        };
        let accepted = match event {
            Event::ConnectionRequested { request_id, app_name } => {
                self.told.push(format!("connect {app_name}"));
                self.session.accept_request(request_id)
            }
            Event::PlayStreamRequested { request_id, stream_key, stream_id, .. } => {
                self.told.push(format!("play {stream_key} on {stream_id}"));
                self.stream = stream_id;
                if self.rejects {
                    self.session.reject_request(request_id, "NetStream.Play.StreamNotFound", "none")
                } else {
                    self.session.accept_request(request_id)
                }
            }
            Event::UnhandleableAmf0Command { command_name, .. } => {
                return self.told.push(format!("unhandled {command_name}"));
            }
            other => return self.told.push(format!("{other:?}")),
        };
        for result in accepted.expect("a request of ours") {
            self.on_result(result, out);
        }
    }

    fn send_frames(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, timestamp, payload) in frames() {
            let timestamp = RtmpTimestamp::new(timestamp);
            let packet = match kind {
                type_id::AUDIO => self.session.send_audio_data(self.stream, payload, timestamp, false),
                _ => self.session.send_video_data(self.stream, payload, timestamp, false),
            };
            out.extend(packet.expect("a playing stream").bytes);
        }
        out
    }
}

impl End for TheirServer {
    fn hear(&mut self, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut input = input.to_vec();
        if let Some(handshake) = &mut self.handshake {
            let Some(rest) = their_handshake(handshake, &input, &mut out) else { return out };
            self.handshake = None;
            out.append(&mut self.greeting);
            input = rest;
        }
        for result in self.session.handle_input(&input).expect("our client is good") {
            self.on_result(result, &mut out);
        }
        out
    }
}

struct TheirClient {
    handshake: Option<Handshake>,
    session: rml::ClientSession,
    told: Vec<String>,
}

impl TheirClient {
    fn start() -> (Self, Vec<u8>) {
        let (session, results) =
            rml::ClientSession::new(rml::ClientSessionConfig::new()).expect("a good config");
        assert!(results.is_empty());
        let mut handshake = Handshake::new(PeerType::Client);
        let said = handshake.generate_outbound_p0_and_p1().expect("it has not begun");
        (Self { handshake: Some(handshake), session, told: Vec::new() }, said)
    }

    fn act(
        &mut self,
        act: impl FnOnce(&mut rml::ClientSession) -> Result<rml::ClientSessionResult, rml::ClientSessionError>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let result = act(&mut self.session).expect("they may");
        self.on_result(result, &mut out);
        out
    }

    fn on_result(&mut self, result: rml::ClientSessionResult, out: &mut Vec<u8>) {
        use rml::ClientSessionEvent as Event;
        let event = match result {
            rml::ClientSessionResult::OutboundResponse(packet) => return out.extend(packet.bytes),
            rml::ClientSessionResult::RaisedEvent(event) => event,
            rml::ClientSessionResult::UnhandleableMessageReceived(message) => {
                return self.told.push(format!("unhandled type {}", message.type_id));
            }
        };
        self.told.push(match event {
            Event::VideoDataReceived { timestamp, data } => line("video", timestamp.value, &data),
            Event::AudioDataReceived { timestamp, data } => line("audio", timestamp.value, &data),
            other => format!("{other:?}"),
        });
    }
}

impl End for TheirClient {
    fn hear(&mut self, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut input = input.to_vec();
        if let Some(handshake) = &mut self.handshake {
            let Some(rest) = their_handshake(handshake, &input, &mut out) else { return out };
            self.handshake = None;
            let connect = self.act(|session| session.request_connection("live".into()));
            out.extend(connect);
            input = rest;
        }
        for result in self.session.handle_input(&input).expect("our server is good") {
            self.on_result(result, &mut out);
        }
        out
    }
}

#[test]
fn our_client_plays_from_their_server() {
    for piece in PIECES {
        let (mut ours, said) = OurClient::start();
        let mut theirs = TheirServer::new(false);
        carry(piece, &mut ours, &mut theirs, said);
        assert_eq!(
            theirs.told,
            ["connect live", "unhandled FCSubscribe", "play cam?token=1 on 1"],
            "pieces of {piece}"
        );
        let accepted = |told: &[String]| {
            assert!(told.iter().any(|line| line.contains("NetStream.Play.Start")), "{told:?}");
            assert!(told.iter().any(|line| line == "Playing"), "{told:?}");
        };
        accepted(&ours.told());

        let said = theirs.send_frames();
        carry(piece, &mut theirs, &mut ours, said);
        assert_eq!(ours.told(), frame_lines());

        let said = ours.act(|session, out| session.ping(4711, out));
        carry(piece, &mut ours, &mut theirs, said);
        assert_eq!(ours.told(), ["Pong { timestamp: 4711 }"]);
        theirs.told.clear();
        let (packet, sent) = theirs.session.send_ping_request().expect("they may");
        carry(piece, &mut theirs, &mut ours, packet.bytes);
        assert_eq!(theirs.told, [format!("PingResponseReceived {{ timestamp: {sent:?} }}")]);

        theirs.told.clear();
        let said = ours.act(ClientSession::replay);
        carry(piece, &mut ours, &mut theirs, said);
        assert_eq!(theirs.told.last().map(String::as_str), Some("play cam?token=1 on 2"));
        assert!(theirs.told.iter().any(|line| line.starts_with("PlayStreamFinished")), "{:?}", theirs.told);
        accepted(&ours.told());
        let said = theirs.send_frames();
        carry(piece, &mut theirs, &mut ours, said);
        assert_eq!(ours.told(), frame_lines());

        let packet = theirs.session.finish_playing(theirs.stream).expect("it plays");
        carry(piece, &mut theirs, &mut ours, packet.bytes);
        assert_eq!(ours.told().last().map(String::as_str), Some("Ended(PlayStop)"));
    }
}

#[test]
fn our_client_hears_their_refusal() {
    for piece in PIECES {
        let (mut ours, said) = OurClient::start();
        let mut theirs = TheirServer::new(true);
        carry(piece, &mut ours, &mut theirs, said);
        let told = ours.told();
        assert_eq!(
            told.last().map(String::as_str),
            Some(
                "Refused(Status { level: \"_error\", code: \"NetStream.Play.StreamNotFound\", description: \"none\" })"
            )
        );
    }
}

fn their_client_connected(piece: usize) -> (TheirClient, OurServer) {
    let (mut theirs, said) = TheirClient::start();
    let mut ours = OurServer::new();
    carry(piece, &mut theirs, &mut ours, said);
    assert!(theirs.told.iter().any(|line| line == "ConnectionRequestAccepted"), "{:?}", theirs.told);
    assert_eq!(ours.told, ["Connected { agent: \"WIN 23,0,0,207\", hops: 0, ids: [] }"]);
    ours.told.clear();
    (theirs, ours)
}

fn request(piece: usize, theirs: &mut TheirClient, ours: &mut OurServer) {
    let said = theirs.act(|session| session.request_playback("cam?token=1".into()));
    carry(piece, theirs, ours, said);
    let wish = "Play { app: \"live\", stream: \"cam\", vhost: \"\", params: \"token=1\" }";
    assert_eq!(std::mem::take(&mut ours.told), [wish]);
    theirs.told.clear();
}

#[test]
fn their_client_plays_from_our_server() {
    for piece in PIECES {
        let (mut theirs, mut ours) = their_client_connected(piece);
        // Twice: the second stream gets the number the first one gave back.
        for _ in 0..2 {
            request(piece, &mut theirs, &mut ours);
            assert_eq!(ours.session.play_stream(), Some(PLAY_STREAM));
            let mut said = Vec::new();
            ours.session.accept_play(&mut said);
            carry(piece, &mut ours, &mut theirs, said);
            assert_eq!(
                theirs.told.last().map(String::as_str),
                Some("PlaybackRequestAccepted"),
                "{:?}",
                theirs.told
            );

            theirs.told.clear();
            let mut said = Vec::new();
            for (kind, timestamp, payload) in frames() {
                let message = Message { type_id: kind, timestamp, stream: PLAY_STREAM, payload };
                chunk::encode(6, CHUNK_SIZE, &message, &mut said);
            }
            carry(piece, &mut ours, &mut theirs, said);
            assert_eq!(theirs.told, frame_lines());

            let said = theirs.act(|session| {
                let (packet, _) = session.send_ping_request()?;
                Ok(rml::ClientSessionResult::OutboundResponse(packet))
            });
            carry(piece, &mut theirs, &mut ours, said);
            assert!(theirs.told.last().is_some_and(|line| line.starts_with("PingResponseReceived")));

            let results = theirs.session.stop_playback().expect("it plays");
            let mut said = Vec::new();
            results.into_iter().for_each(|result| theirs.on_result(result, &mut said));
            carry(piece, &mut theirs, &mut ours, said);
            assert_eq!(std::mem::take(&mut ours.told), ["Stopped"]);
        }
    }
}

#[test]
fn their_client_hears_the_end_and_the_refusal() {
    for piece in PIECES {
        let (mut theirs, mut ours) = their_client_connected(piece);
        request(piece, &mut theirs, &mut ours);
        let mut said = Vec::new();
        ours.session.accept_play(&mut said);
        ours.session.end_play(&mut said);
        carry(piece, &mut ours, &mut theirs, said);
        let code = |code| format!("UnhandleableOnStatusCode {{ code: \"NetStream.Play.{code}\" }}");
        assert_eq!(theirs.told.last(), Some(&code("UnpublishNotify")));

        let (mut theirs, mut ours) = their_client_connected(piece);
        request(piece, &mut theirs, &mut ours);
        let mut said = Vec::new();
        ours.session.reject_play(Refusal::StreamNotFound, &mut said);
        carry(piece, &mut ours, &mut theirs, said);
        assert_eq!(theirs.told.last(), Some(&code("StreamNotFound")));
    }
}
