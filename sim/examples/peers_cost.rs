//! What model peers cost: nanoseconds per frame, for one origin and as many streams and players as asked for.
//!
//! `cargo run --release -p sim --example peers_cost [stub|default [STREAMS]]`. Told, never judged: machines differ, and
//! others may be at work on them.

#![expect(clippy::disallowed_methods, reason = "it measures, on a real clock, what happens on a made one")]

use std::time::Instant as Wall;

use proxy_core::time::{Duration, Instant};
use sim::{
    origin::{Behaviour, ModelOrigin, OriginOutput, PeerConn, Publisher},
    player::{ModelPlayer, PlayerConfig},
    viewer::ViewerConfig,
};

/// Origin and players with a perfect wire between them.
struct Crowd {
    origin: ModelOrigin,
    players: Vec<ModelPlayer>,
    now: Instant,
    /// Bytes for players are thrown away.
    deaf: bool,
    frames: u64,
}

impl Crowd {
    fn new(count: u64, publisher: &Publisher) -> Self {
        let mut crowd = Self {
            origin: ModelOrigin::new(Behaviour::default()),
            players: Vec::new(),
            now: Instant::from_millis(1000),
            deaf: false,
            frames: 0,
        };
        for at in 0..count {
            let name = format!("live/{at}");
            crowd.origin.publish(&name, publisher.clone(), crowd.now);
            let viewer = ViewerConfig::stamped(&name);
            let (config, _) =
                PlayerConfig::from_url(&format!("rtmp://origin/{name}"), viewer).expect("a plain url");
            let mut player = ModelPlayer::new(config, crowd.now);
            assert!(player.poll_dial(crowd.now));
            player.on_connected(crowd.now);
            crowd.players.push(player);
            crowd.origin.on_accepted(PeerConn(at), crowd.now);
            crowd.settle();
            crowd.talk(at);
            // Publishers are in no step with each other: every frame is an event of its own.
            crowd.now += Duration::from_micros(37);
        }
        crowd
    }

    fn talk(&mut self, at: u64) {
        while let Some(bytes) = self.players[at as usize].poll_transmit() {
            self.origin.handle_bytes(PeerConn(at), &bytes, self.now);
            self.settle();
        }
    }

    fn settle(&mut self) {
        while let Some(output) = self.origin.poll_output() {
            if let OriginOutput::Transmit { conn, bytes } = output
                && !self.deaf
            {
                self.players[conn.0 as usize].handle_bytes(&bytes, self.now);
            }
        }
    }

    fn run(&mut self, time: Duration) -> u128 {
        let (end, began) = (self.now + time, Wall::now());
        while let Some(next) = self.origin.deadline().filter(|next| *next <= end) {
            self.now = next;
            self.origin.handle_timeout(next);
            self.settle();
        }
        self.now = end;
        self.frames = self.origin.ledger().plays.iter().map(|play| play.frames).sum();
        began.elapsed().as_nanos()
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let (only, streams) = (words.next(), words.next().and_then(|word| word.parse().ok()));
    for (what, publisher) in [("default", Publisher::default()), ("stub", Publisher::stub())] {
        if only.as_deref().is_some_and(|only| only != what) {
            continue;
        }
        for count in streams.map_or_else(|| vec![1, 10, 100, 1000], |count| vec![count]) {
            let time = Duration::from_millis(20_000 / count.clamp(1, 20));
            let mut crowd = Crowd::new(count, &publisher);
            let before = crowd.frames;
            let both = crowd.run(time);
            let frames = u128::from(crowd.frames - before);
            crowd.deaf = true;
            let before = crowd.frames;
            let origin = crowd.run(time);
            let alone = u128::from(crowd.frames - before);
            println!(
                "{what:8} {count:5} streams: {:6} ns per frame for both, {:6} ns for the origin ({frames} frames)",
                both / frames.max(1),
                origin / alone.max(1),
            );
            assert!(crowd.players.iter().all(|player| player.report().violations.is_empty()));
        }
    }
}
