//! One RTMP conversation after the handshake: the [`client`] that pulls, the [`server`] that serves players.
//!
//! A session swallows all its input and keeps its own remainder; an error ends it.

pub mod client;
mod link;
pub mod server;
#[cfg(test)]
mod talk;

use alloc::string::String;

use crate::wire::{amf0::Amf0Error, chunk::ChunkError};

/// Ids of proxies told and believed in `connect` (`repullIds`). A chain that long has been cut by its hop count in
/// any sane setting; who sends more wastes our memory.
pub const LOOP_IDS_MAX: usize = 32;

/// Why a conversation ended by the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum SessionError {
    /// Its bytes are not chunks we accept.
    Chunk(ChunkError),
    /// Its commands are not AMF0 we accept.
    Amf0(Amf0Error),
    /// It asks for credentials in a scheme we do not speak: `authmod=adobe`, `authmod=llnw`, `secureToken`.
    AuthRequired {
        /// The scheme named.
        scheme: String,
    },
    /// The stream id in its answer to createStream is no number.
    StreamId,
    /// More unanswered or useless control traffic than a sane peer sends.
    Flood,
    /// A command out of order that cannot be answered: `play` before `connect`, …
    Unexpected {
        /// The command.
        command: String,
    },
    /// A chain of proxies longer than allowed, probably a ring.
    TooManyHops {
        /// The hop count found in `connect`.
        hops: u32,
    },
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec, vec::Vec};

    use super::{
        client::{ClientEvent, ClientOptions, ClientSession},
        server::{ServerEvent, ServerOptions, ServerSession},
        talk::{self, Listener},
    };
    use crate::{url::OriginUrl, wire::chunk::ChunkLimits};

    /// A client and a server with two wires between them, each cut into pieces of `piece` bytes.
    struct Pair {
        client: ClientSession,
        server: ServerSession,
        up: Vec<u8>,
        down: Vec<u8>,
        piece: usize,
        story: Vec<String>,
    }

    impl Pair {
        fn new(piece: usize) -> Self {
            let url = OriginUrl::parse("rtmp://h/live?vhost=v.example/cam?t=1").expect("a good url");
            let options = ClientOptions {
                fc_subscribe: true,
                hops: 3,
                ids: vec![7, u64::MAX],
                limits: ChunkLimits::ORIGIN,
            };
            let mut up = Vec::new();
            let client = ClientSession::start(&url, &options, 3073, &mut up);
            let limits = ChunkLimits::PLAYER;
            let options = ServerOptions { chunk_size: 60_000, streams_max: 8, hops_max: 8, limits };
            let server = ServerSession::new(options, 3073);
            Self { client, server, up, down: Vec::new(), piece, story: Vec::new() }
        }

        /// Carries bytes until both sides are silent; the server accepts every play and sends a frame.
        fn carry(&mut self) {
            while !(self.up.is_empty() && self.down.is_empty()) {
                for piece in core::mem::take(&mut self.up).chunks(self.piece) {
                    self.server.handle_bytes(piece, &mut self.down).expect("our own client");
                    while let Some(event) = self.server.poll_event() {
                        self.on_server(event);
                    }
                }
                for piece in core::mem::take(&mut self.down).chunks(self.piece) {
                    self.client.handle_bytes(piece, &mut self.up).expect("our own server");
                    while let Some(event) = self.client.poll_event() {
                        match event {
                            ClientEvent::Status(status) => {
                                self.story.push(format!("client: {}", status.code))
                            }
                            ClientEvent::Frame(frame) => {
                                self.story.push(format!("client: frame {}", frame.timestamp))
                            }
                            other => self.story.push(format!("client: {other:?}")),
                        }
                    }
                }
            }
        }

        fn on_server(&mut self, event: ServerEvent) {
            self.story.push(format!("server: {event:?}"));
            if let ServerEvent::Play { .. } = event {
                self.server.accept_play(&mut self.down);
                self.send(self.server.play_stream().expect("it plays"), 40);
            }
        }

        fn send(&mut self, stream: u32, timestamp: u32) {
            self.down.extend_from_slice(&talk::message(9, stream, timestamp, &[0x17, 1, 0, 0, 0]));
        }
    }

    #[test]
    fn our_client_plays_from_our_server_however_the_bytes_are_cut() {
        for piece in (1..200).chain([100_000]) {
            let mut pair = Pair::new(piece);
            pair.carry();
            pair.client.ping(77, &mut pair.up);
            pair.carry();
            pair.client.replay(&mut pair.up);
            pair.send(1, 41);
            pair.carry();
            pair.server.end_play(&mut pair.down);
            pair.carry();
            let agent = concat!("LNX 9,0,124,2 (Repull/", env!("CARGO_PKG_VERSION"), ")");
            let play = "server: Play { app: \"live\", stream: \"cam\", vhost: \"v.example\", params: \"t=1&vhost=v.example\" }";
            assert_eq!(
                pair.story,
                [
                    format!(
                        "server: Connected {{ agent: \"{agent}\", hops: 3, ids: [7, 18446744073709551615] }}"
                    )
                    .as_str(),
                    "client: Asked",
                    play,
                    "client: NetStream.Play.Reset",
                    "client: NetStream.Play.Start",
                    "client: Playing",
                    "client: frame 40",
                    "client: Pong { timestamp: 77 }",
                    // The frame at 41 was under way when the replay began: it is not told.
                    "server: Stopped",
                    "client: Asked",
                    play,
                    "client: NetStream.Play.Reset",
                    "client: NetStream.Play.Start",
                    "client: Playing",
                    "client: frame 40",
                    "client: NetStream.Play.UnpublishNotify",
                    "client: Ended(UnpublishNotify)",
                    "client: Ended(StreamEof)",
                ],
                "pieces of {piece}"
            );
        }
    }

    #[test]
    fn a_listener_hears_what_was_said() {
        let said = [talk::command(0, "_checkbw", 2.0, &[]), talk::status(1, "status", "x")].concat();
        let heard = vec![
            "0 _checkbw 2 null",
            "1 onStatus 0 null {level: \"status\", code: \"x\", description: \"\"}",
        ];
        assert_eq!(Listener::new().hear(&said), heard);
    }
}
