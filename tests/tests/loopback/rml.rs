//! rml_rtmp's sessions on sockets: an origin and a player that nobody here wrote.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rml_rtmp::{
    handshake::{Handshake, HandshakeProcessResult, PeerType},
    sessions::{
        ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, ServerSession,
        ServerSessionConfig, ServerSessionEvent, ServerSessionResult, StreamMetadata,
    },
    time::RtmpTimestamp,
};
use sim::raw::media::{self, AudioCodec, Stamp, StampKind, VideoCodec};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const FRAME_TIME: Duration = Duration::from_millis(20);
const FRAME_MILLIS: u32 = 20;
const GOP: u32 = 10;
const SIZE: (u32, u32) = (64, 48);

/// An origin of rml_rtmp's server sessions: one stream, a fresh life for every play.
pub(crate) struct RmlOrigin {
    addr: SocketAddr,
    kill: tokio::sync::watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl RmlOrigin {
    #[expect(clippy::disallowed_methods, reason = "an outside peer owns its sockets")]
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let kill = tokio::sync::watch::Sender::new(0);
        let killed = kill.clone();
        let plays = Arc::new(AtomicU32::new(0));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut killed = killed.subscribe();
                let plays = Arc::clone(&plays);
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        // The proxy hung up, or is deleted.
                        _ = serve(stream, &plays) => {}
                        _ = killed.changed() => {}
                    }
                });
            }
        });
        Ok(Self { addr, kill, task })
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("rtmp://{}/{name}", self.addr)
    }

    /// Hangs up on everybody.
    pub(crate) fn hang_up(&self) {
        self.kill.send_modify(|count| *count += 1);
    }
}

impl Drop for RmlOrigin {
    fn drop(&mut self) {
        self.task.abort();
        self.hang_up();
    }
}

/// What an rml_rtmp client session told.
#[derive(Clone, Debug, Default)]
pub(crate) struct RmlSeen {
    pub(crate) metadata: Vec<StreamMetadata>,
    pub(crate) video: Vec<(u32, Bytes)>,
    pub(crate) audio: Vec<(u32, Bytes)>,
    pub(crate) codes: Vec<String>,
    pub(crate) ended: Option<String>,
}

/// A player of rml_rtmp's client session.
pub(crate) struct RmlPlayer {
    seen: Arc<Mutex<RmlSeen>>,
    task: JoinHandle<()>,
}

impl RmlPlayer {
    pub(crate) fn start(addr: SocketAddr, app: &str, stream: &str) -> Self {
        let seen = Arc::new(Mutex::new(RmlSeen::default()));
        let (heard, app, stream) = (Arc::clone(&seen), app.to_owned(), stream.to_owned());
        let task = tokio::spawn(async move {
            let end = watch(addr, &app, &stream, &heard).await;
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.ended = Some(end.map_or_else(|error| error.to_string(), |()| "EOF".to_owned()));
        });
        Self { seen, task }
    }

    pub(crate) fn seen(&self) -> RmlSeen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn wait_for(&self, time: Duration, condition: impl Fn(&RmlSeen) -> bool) -> bool {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            if condition(&self.seen()) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

impl Drop for RmlPlayer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn other(error: impl std::fmt::Debug) -> io::Error {
    io::Error::other(format!("{error:?}"))
}

/// Shakes hands; returns what came after.
async fn shake(stream: &mut TcpStream, peer: PeerType) -> io::Result<Vec<u8>> {
    let is_client = peer == PeerType::Client;
    let mut handshake = Handshake::new(peer);
    if is_client {
        stream.write_all(&handshake.generate_outbound_p0_and_p1().map_err(other)?).await?;
    }
    let mut buffer = vec![0; 4096];
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match handshake.process_bytes(&buffer[..len]).map_err(other)? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                stream.write_all(&response_bytes).await?;
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                stream.write_all(&response_bytes).await?;
                return Ok(remaining_bytes);
            }
        }
    }
}

async fn serve(mut stream: TcpStream, plays: &AtomicU32) -> io::Result<()> {
    let mut input = shake(&mut stream, PeerType::Server).await?;
    let (mut session, results) = ServerSession::new(ServerSessionConfig::new()).map_err(other)?;
    let mut results = VecDeque::from(results);
    let mut publisher: Option<RmlPublisher> = None;
    let mut tick = tokio::time::interval(FRAME_TIME);
    let mut buffer = vec![0; 4096];
    loop {
        results.extend(session.handle_input(&input).map_err(other)?);
        input.clear();
        while let Some(result) = results.pop_front() {
            match result {
                ServerSessionResult::OutboundResponse(packet) => stream.write_all(&packet.bytes).await?,
                ServerSessionResult::RaisedEvent(ServerSessionEvent::ConnectionRequested {
                    request_id,
                    ..
                }) => {
                    results.extend(session.accept_request(request_id).map_err(other)?);
                }
                ServerSessionResult::RaisedEvent(ServerSessionEvent::PlayStreamRequested {
                    request_id,
                    app_name,
                    stream_key,
                    stream_id,
                    ..
                }) => {
                    results.extend(session.accept_request(request_id).map_err(other)?);
                    let life = plays.fetch_add(1, Ordering::Relaxed) + 1;
                    publisher = Some(RmlPublisher::new(&format!("{app_name}/{stream_key}"), stream_id, life));
                }
                ServerSessionResult::RaisedEvent(ServerSessionEvent::PlayStreamFinished { .. }) => {
                    publisher = None
                }
                ServerSessionResult::RaisedEvent(_) | ServerSessionResult::UnhandleableMessageReceived(_) => {
                }
            }
        }
        tokio::select! {
            biased;
            read = stream.read(&mut buffer) => match read? {
                0 => return Ok(()),
                len => input.extend_from_slice(&buffer[..len]),
            },
            _ = tick.tick(), if publisher.is_some() => {
                if let Some(publisher) = &mut publisher {
                    stream.write_all(&publisher.next(&mut session)?).await?;
                }
            }
        }
    }
}

/// Stamped frames by way of rml_rtmp's serializer.
struct RmlPublisher {
    name: String,
    message_stream: u32,
    life: u32,
    number: u32,
}

impl RmlPublisher {
    fn new(name: &str, message_stream: u32, life: u32) -> Self {
        Self { name: name.to_owned(), message_stream, life, number: 0 }
    }

    fn next(&mut self, session: &mut ServerSession) -> io::Result<Vec<u8>> {
        let (number, stream) = (self.number, self.message_stream);
        self.number += 1;
        let time = number * FRAME_MILLIS;
        let (video_header, audio_header) = (
            media::video_header(VideoCodec::Avc, SIZE.0, SIZE.1),
            media::audio_header(AudioCodec::AacStereo),
        );
        let mut out = Vec::new();
        let at = RtmpTimestamp::new(time);
        if number == 0 {
            let metadata = StreamMetadata {
                video_width: Some(SIZE.0),
                video_height: Some(SIZE.1),
                ..StreamMetadata::new()
            };
            out.extend(session.send_metadata(stream, &metadata).map_err(other)?.bytes);
            out.extend(
                session.send_video_data(stream, video_header.clone(), at, false).map_err(other)?.bytes,
            );
            out.extend(
                session.send_audio_data(stream, audio_header.clone(), at, false).map_err(other)?.bytes,
            );
        }
        let stamp = |kind, header: &Bytes| Stamp {
            stream: media::stream_hash(&self.name),
            play: self.life,
            epoch: self.life,
            number,
            gop: number / GOP,
            time,
            header: media::header_hash(header),
            kind,
        };
        let kind = if number.is_multiple_of(GOP) { StampKind::Key } else { StampKind::Inter };
        let video = media::video_frame(VideoCodec::Avc, SIZE, number % GOP, 0, &stamp(kind, &video_header));
        let audio = media::audio_frame(AudioCodec::AacStereo, &stamp(StampKind::Audio, &audio_header));
        out.extend(session.send_video_data(stream, video, at, false).map_err(other)?.bytes);
        out.extend(session.send_audio_data(stream, audio, at, false).map_err(other)?.bytes);
        Ok(out)
    }
}

#[expect(clippy::disallowed_methods, reason = "an outside peer owns its sockets")]
async fn watch(addr: SocketAddr, app: &str, name: &str, seen: &Mutex<RmlSeen>) -> io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    let mut input = shake(&mut stream, PeerType::Client).await?;
    let config =
        ClientSessionConfig { tc_url: Some(format!("rtmp://{addr}/{app}")), ..ClientSessionConfig::new() };
    let (mut session, results) = ClientSession::new(config).map_err(other)?;
    let mut results = VecDeque::from(results);
    results.push_back(session.request_connection(app.to_owned()).map_err(other)?);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        results.extend(session.handle_input(&input).map_err(other)?);
        input.clear();
        while let Some(result) = results.pop_front() {
            match result {
                ClientSessionResult::OutboundResponse(packet) => stream.write_all(&packet.bytes).await?,
                ClientSessionResult::RaisedEvent(ClientSessionEvent::ConnectionRequestAccepted) => {
                    results.push_back(session.request_playback(name.to_owned()).map_err(other)?);
                }
                ClientSessionResult::RaisedEvent(event) => {
                    note(&mut seen.lock().unwrap_or_else(PoisonError::into_inner), event);
                }
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            len => input.extend_from_slice(&buffer[..len]),
        }
    }
}

fn note(seen: &mut RmlSeen, event: ClientSessionEvent) {
    match event {
        ClientSessionEvent::StreamMetadataReceived { metadata } => seen.metadata.push(metadata),
        ClientSessionEvent::VideoDataReceived { timestamp, data } => seen.video.push((timestamp.value, data)),
        ClientSessionEvent::AudioDataReceived { timestamp, data } => seen.audio.push((timestamp.value, data)),
        ClientSessionEvent::UnhandleableOnStatusCode { code } => seen.codes.push(code),
        ClientSessionEvent::ConnectionRequestRejected { description } => seen.codes.push(description),
        ClientSessionEvent::PlaybackRequestAccepted => seen.codes.push("accepted".to_owned()),
        ClientSessionEvent::ConnectionRequestAccepted
        | ClientSessionEvent::PublishRequestAccepted
        | ClientSessionEvent::UnhandleableAmf0Command { .. }
        | ClientSessionEvent::UnknownTransactionResultReceived { .. }
        | ClientSessionEvent::AcknowledgementReceived { .. }
        | ClientSessionEvent::PingResponseReceived { .. } => {}
    }
}
