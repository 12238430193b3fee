//! Every table and queue within its limit, what the events say, and back at its baseline in the end (I7).

use std::collections::BTreeMap;

use proxy_core::{
    config::Config,
    io::{EventKind, PlayerEnd, PullState},
    proxy::Counts,
    time::{Duration, Instant},
};

use super::{
    BYTES, EVENT, Findings, IN, Kinds, LeftOver, OUT, Oracle, SAMPLE, SAW, STEP, Scene,
    scene::has_connection, secs,
};
use crate::trace::{ActorId, Inward, Outward, Record, Sample, Saw, What};

pub(super) const NAME: &str = "limits";

/// Re-pulls after which a relay holds what it holds; before, it is still filling up.
const WARM: u32 = 2;
/// What a relay may hold beyond twice what it held when warm, in bytes.
const RELAY_SLACK: usize = 256 * 1024;

/// What a joiner gets within this time of its seat was kept for it, but for a few frames that come live.
const BURST: Duration = Duration::from_millis(20);
/// So many of them.
const LIVE_FRAMES: u64 = 2;

/// Counts on its own what the core says it counts.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Frames that players got at once, by seat and when they got it.
    bursts: BTreeMap<(u32, Instant), u64>,
    proxies: BTreeMap<ActorId, Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// Streams with an upstream connection, dialled or open.
    origins: usize,
    players: usize,
    /// Requests without a reply.
    requests: usize,
    closing: std::collections::BTreeSet<u64>,
    /// The streams that are not `Streaming`.
    down: std::collections::BTreeSet<u64>,
    repulls: u32,
    relay: Relays,
    flights: BTreeMap<u64, Flight>,
    /// Bytes in flight to players, all together.
    in_flight: usize,
}

/// Bytes on their way to a player.
#[derive(Debug, Default)]
struct Flight {
    bytes: usize,
    /// Of these, what was handed over while `send_bytes_max` were in flight already: answers may be, media may not.
    beyond: usize,
    /// It is a player: bytes of one that has left are nobody's.
    counts: bool,
}

/// Bytes in relays at quiet moments.
#[derive(Debug, Default)]
struct Relays {
    /// The most while warming up.
    warm_max: usize,
    /// The least since the last re-pull.
    least: Option<usize>,
    /// What may have come since they last let go: a relay does so when it has seen some frames, and no play need have
    /// brought as many while they warmed up.
    unsettled: usize,
}

impl Oracle for Limits {
    fn kinds(&self) -> Kinds {
        SAMPLE | EVENT | STEP | IN | OUT | BYTES | SAW
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        if let What::Saw { seat, saw } = &record.what {
            if let Some(text) = self.burst(seat.0, saw, record.at, scene) {
                findings.broken(NAME, record.actor, text);
            }
            return;
        }
        let proxy = record.actor;
        let books = self.proxies.entry(proxy).or_default();
        if let What::Out(Outward::Transmit { conn, len }) = &record.what {
            if let Some(text) = books.on_transmit(*conn, *len as usize, proxy, scene) {
                findings.broken(NAME, proxy, text);
            }
        } else if let What::In(Inward::Sent { conn, len }) = &record.what {
            books.on_sent(*conn, *len as usize, proxy, scene);
        } else if let What::In(Inward::Accepted { conn, .. } | Inward::PlayHttp { conn, .. }) = &record.what {
            books.flights.insert(*conn, Flight { counts: true, ..Flight::default() });
        } else if let What::In(Inward::Closed { conn, .. }) | What::Out(Outward::Abort { conn }) =
            &record.what
        {
            books.closing.remove(conn);
            books.land(*conn);
        } else if let What::Out(Outward::Close { conn }) = &record.what {
            books.closing.insert(*conn);
        } else if let What::In(Inward::Request { .. }) = &record.what {
            books.requests += 1;
        } else if let What::Out(Outward::Reply { .. }) = &record.what {
            books.requests = books.requests.saturating_sub(1);
        } else if let What::Event(event) = &record.what {
            books.on_event(event, findings, proxy);
        } else if let What::Sample(sample) = &record.what {
            for text in books.judge(proxy, sample, scene) {
                findings.broken(NAME, proxy, text);
            }
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.bursts.clear();
        self.proxies.remove(&proxy);
    }

    fn on_end(&mut self, scene: &Scene, left: &LeftOver, findings: &mut Findings) {
        for (what, count) in &left.things {
            let text = format!("everything was deleted, and {count} {what} are left: 0 were promised");
            findings.broken(NAME, ActorId::WORLD, text);
        }
        for (proxy, sample) in &scene.samples {
            if !scene.is_running(*proxy) {
                continue;
            }
            for (what, count) in list(&sample.core).into_iter().chain([("sockets", sample.sockets as usize)])
            {
                if count > 0 {
                    let text = format!(
                        "everything was deleted, and the core counts {count} {what}: 0 were promised"
                    );
                    findings.broken(NAME, *proxy, text);
                }
            }
        }
    }
}

impl Limits {
    /// What a joiner gets at once is a group of pictures that was kept for it.
    fn burst(&mut self, seat: u32, saw: &Saw, at: Instant, scene: &Scene) -> Option<String> {
        let player = scene.players.get(seat as usize)?;
        if !scene.settings.contains_key(&player.from) || at.since(player.seated_at) > BURST {
            return None;
        }
        let frames = self.bursts.entry((seat, player.seated_at)).or_default();
        let frames_max = scene.config(player.from).relay.gop_frames_max as u64;
        let was_well = *frames <= frames_max + LIVE_FRAMES;
        *frames += u64::from(saw.frames);
        (was_well && *frames > frames_max + LIVE_FRAMES).then(|| {
            format!(
                "a player of {} got {frames} frames within {} of its seat: a group of {frames_max} at most is kept for \
                 joiners (relay.gop_frames_max)",
                player.stream,
                secs(BURST)
            )
        })
    }
}

impl Books {
    /// A packet is handed over: media only while fewer than `send_bytes_max` are in flight, answers a bit beyond.
    fn on_transmit(&mut self, conn: u64, len: usize, proxy: ActorId, scene: &Scene) -> Option<String> {
        let play = &scene.config(proxy).play;
        let flight = self.flights.get_mut(&conn)?;
        let was_well = flight.beyond <= play.control_bytes_max;
        if flight.bytes >= play.send_bytes_max {
            flight.beyond += len;
        }
        flight.bytes += len;
        if flight.counts {
            self.in_flight += len;
        }
        // Told once, where it begins.
        (was_well && flight.beyond > play.control_bytes_max).then(|| {
            format!(
                "{} bytes are in flight to player {conn}, {} of them handed over while {} were: none but answers, \
                 {} at most, were promised (play.send_bytes_max, play.control_bytes_max)",
                flight.bytes, flight.beyond, play.send_bytes_max, play.control_bytes_max
            )
        })
    }

    fn on_sent(&mut self, conn: u64, len: usize, proxy: ActorId, scene: &Scene) {
        let Some(flight) = self.flights.get_mut(&conn) else { return };
        flight.bytes = flight.bytes.saturating_sub(len);
        if flight.bytes < scene.config(proxy).play.send_bytes_max {
            flight.beyond = 0;
        }
        if flight.counts {
            self.in_flight = self.in_flight.saturating_sub(len);
        }
    }

    /// A player has left: what is in flight to it counts no longer.
    fn leave(&mut self, conn: u64) {
        if let Some(flight) = self.flights.get_mut(&conn).filter(|flight| flight.counts) {
            flight.counts = false;
            self.in_flight = self.in_flight.saturating_sub(flight.bytes);
        }
    }

    fn land(&mut self, conn: u64) {
        self.leave(conn);
        self.flights.remove(&conn);
    }

    fn on_event(&mut self, event: &proxy_core::io::Event, findings: &mut Findings, proxy: ActorId) {
        if let EventKind::PlayerConnected { .. } = &event.kind {
            self.players += 1;
        }
        if let EventKind::PlayerLeft { conn, reason } = &event.kind
            // It stays connected.
            && *reason != PlayerEnd::Stopped
        {
            self.players = self.players.saturating_sub(1);
            self.leave(conn.0);
        }
        let Some(id) = event.stream.map(|stream| stream.0) else { return };
        if let EventKind::PullStepped { state, next, .. } = &event.kind {
            let held = |state: &PullState| usize::from(has_connection(*state));
            self.origins = (self.origins + held(next)).saturating_sub(held(state));
            if *next == PullState::Streaming {
                self.down.remove(&id);
            } else if *state == PullState::Streaming {
                self.down.insert(id);
                self.repulls += 1;
                if let Some(text) = self.relay.next_round(self.repulls) {
                    findings.broken(NAME, proxy, text);
                }
            }
        }
        if let EventKind::Registered { .. } = &event.kind {
            self.down.insert(id);
        }
        if let EventKind::Unregistered { .. } = &event.kind {
            self.down.remove(&id);
            // What the others hold is no measure of what it held.
            self.relay = Relays::default();
            self.repulls = 0;
        }
    }

    fn judge(&mut self, proxy: ActorId, sample: &Sample, scene: &Scene) -> Vec<String> {
        let Some(settings) = scene.settings.get(&proxy) else { return Vec::new() };
        let (core, config) = (&sample.core, &settings.core);
        let mut texts = Vec::new();
        for (what, counted, known) in [
            ("upstream connections", core.origins, self.origins),
            ("player connections", core.players, self.players),
            ("connections whose end is awaited", core.closing, self.closing.len()),
            ("requests without a reply", core.requests, self.requests),
            ("bytes in flight", core.in_flight_bytes, self.in_flight),
        ] {
            if counted != known {
                texts.push(format!(
                    "the core counts {counted} {what}, its inputs and outputs make it {known}"
                ));
            }
        }
        let timers = 2 * core.streams + core.players + core.closing + core.requests + core.asks + 2;
        for (what, name, counted, limit) in [
            ("streams", "limits.streams_max", core.streams, config.limits.streams_max),
            ("players", "limits.players_max", core.players, config.limits.players_max),
            (
                "requests",
                "limits.waiters_max per stream",
                core.requests,
                (core.streams + 1) * config.limits.waiters_max,
            ),
            ("timers", "two per stream, one for everything else that waits", core.timers, timers),
            (
                "bytes in relays",
                "relay.gop_bytes_max, play.queue_bytes_max, relay.log_bytes_max",
                core.relay_bytes,
                core.streams * self.relay_max(config, scene.burst_max),
            ),
        ] {
            if counted > limit {
                texts.push(format!("{counted} {what}, at most {limit} were promised ({name})"));
            }
        }
        let is_quiet = self.down.is_empty() && core.streams > 0 && core.closing == 0 && core.requests == 0;
        if is_quiet {
            self.relay.note(core.relay_bytes, self.repulls);
            self.relay.unsettled = self.relay.unsettled.max(2 * core.streams * scene.burst_max);
        }
        texts
    }

    /// Returns the bytes one stream's relay may hold: the GOP or the backlog of its slowest player, whichever is longer,
    /// as RTMP and as FLV, and what has come since it last let go; never more than its log, and the FLV of what was
    /// read since the last frame.
    fn relay_max(&self, config: &Config, burst: usize) -> usize {
        let (gop, log) = (config.relay.gop_bytes_max, config.relay.log_bytes_max);
        let backlog = if self.players > 0 { config.play.queue_bytes_max } else { 0 };
        let needed = 2 * (gop.max(backlog) + burst);
        needed.min(log + gop.max(backlog).min(log) + burst)
    }
}

impl Relays {
    fn note(&mut self, bytes: usize, repulls: u32) {
        if repulls <= WARM {
            self.warm_max = self.warm_max.max(bytes);
        }
        self.least = Some(self.least.map_or(bytes, |least| least.min(bytes)));
    }

    /// Media was lost once more: what was held since the last time must not have grown.
    fn next_round(&mut self, repulls: u32) -> Option<String> {
        let least = self.least.take()?;
        let limit = 2 * self.warm_max + RELAY_SLACK + self.unsettled;
        (repulls > WARM + 1 && least > limit).then(|| {
            format!(
                "after {} re-pulls relays never hold less than {least} bytes, when warm they held {} at most: at most \
                 {limit} were promised",
                repulls - 1,
                self.warm_max
            )
        })
    }
}

fn list(core: &Counts) -> [(&'static str, usize); 9] {
    [
        ("streams", core.streams),
        ("upstream connections", core.origins),
        ("player connections", core.players),
        ("connections whose end is awaited", core.closing),
        ("timers", core.timers),
        ("bytes in relays", core.relay_bytes),
        ("bytes in flight", core.in_flight_bytes),
        ("requests without a reply", core.requests),
        ("questions without an answer", core.asks),
    ]
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{Hangup, PlayOutput};

    use super::*;
    use crate::oracle::story::{PROXY, Story, dial};

    const WELL: Counts = Counts {
        streams: 1,
        origins: 1,
        players: 1,
        closing: 0,
        timers: 3,
        relay_bytes: 1000,
        in_flight_bytes: 0,
        requests: 0,
        asks: 0,
    };

    fn sample(story: &mut Story, core: Counts) {
        story.record(PROXY, What::Sample(Sample { core, sockets: 2, next: None }));
    }

    /// One stream streams to one player.
    fn check(core: Counts) -> Vec<String> {
        Story::told::<Limits>(|story| {
            story.register(1, "live/a");
            story.replies();
            story.dials(1, 2);
            story.streams(1, 2);
            story.player(0, PlayOutput::Rtmp, "live/a", 1);
            story.seats(1, 1);
            sample(story, core);
        })
    }

    #[test]
    fn counts_that_are_so_are_fine() {
        assert_eq!(check(WELL), [""; 0]);
    }

    #[test]
    fn every_count_that_is_not_so_is_found() {
        for core in [
            Counts { origins: 2, ..WELL },
            Counts { players: 2, ..WELL },
            Counts { closing: 1, ..WELL },
            Counts { requests: 1, ..WELL },
            Counts { timers: 6, ..WELL },
            Counts { relay_bytes: 1_000_000_000, ..WELL },
            Counts { in_flight_bytes: 1_000_000_000, ..WELL },
        ] {
            assert_eq!(check(core).len(), 1, "{core:?}");
        }
        let texts = check(Counts { origins: 2, ..WELL });
        assert_eq!(
            texts,
            ["limits: the core counts 2 upstream connections, its inputs and outputs make it 1"]
        );
    }

    /// Packets of these lengths are handed to a player; after some of them it has taken so many bytes.
    fn hands(packets: &[(u32, u32)]) -> Vec<String> {
        Story::told::<Limits>(|story| {
            story.player(0, PlayOutput::Rtmp, "live/a", 1);
            for (len, taken) in packets {
                story.out(Outward::Transmit { conn: 1, len: *len });
                story.input(Inward::Sent { conn: 1, len: *taken });
            }
        })
    }

    #[test]
    fn media_beyond_what_may_be_in_flight_is_found_and_answers_are_not() {
        assert_eq!(hands(&[(200_000, 0), (900_000, 0), (40, 0), (60_000, 0)]), [""; 0]);
        assert_eq!(hands(&[(270_000, 0), (60_000, 100_000), (60_000, 0), (60_000, 0)]), [""; 0]);
        let texts = hands(&[(270_000, 0), (40_000, 0), (30_000, 0), (30_000, 0)]);
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("340000 bytes are in flight to player 1, 70000 of them"), "{texts:?}");
    }

    #[test]
    fn bytes_in_flight_are_those_handed_over_and_not_taken() {
        let texts = |in_flight_bytes| {
            Story::told::<Limits>(|story| {
                story.player(0, PlayOutput::Rtmp, "live/a", 1);
                story.out(Outward::Transmit { conn: 1, len: 5_000 });
                story.input(Inward::Sent { conn: 1, len: 2_000 });
                let counts = Counts { players: 1, timers: 1, in_flight_bytes, ..Counts::default() };
                sample(story, counts);
            })
        };
        assert_eq!(texts(3_000), [""; 0]);
        assert_eq!(
            texts(5_000),
            ["limits: the core counts 5000 bytes in flight, its inputs and outputs make it 3000"]
        );
    }

    #[test]
    fn a_relay_holds_a_gop_or_a_backlog_twice_and_no_more() {
        // 32 MiB of GOP, as RTMP and as FLV, and a few frames.
        assert_eq!(check(Counts { relay_bytes: 67_000_000, ..WELL }), [""; 0]);
        assert_eq!(check(Counts { relay_bytes: 69_000_000, ..WELL }).len(), 1);
    }

    #[test]
    fn a_closing_connection_counts_until_it_is_over() {
        let texts = Story::told::<Limits>(|story| {
            story.player(0, PlayOutput::Rtmp, "live/a", 1);
            story.out(dial::close(1));
            story.leaves_unseated(1, PlayerEnd::Idle);
            sample(story, Counts { closing: 1, timers: 1, ..Counts::default() });
            story.input(Inward::Closed { conn: 1, hangup: Hangup::Eof });
            sample(story, Counts::default());
        });
        assert_eq!(texts, [""; 0]);
    }

    /// A stream is lost and streams again so often; its relay holds a bit more each time.
    fn grows(by: usize) -> Vec<String> {
        Story::told::<Limits>(|story| {
            story.register(1, "live/a");
            story.replies();
            for round in 0..10 {
                let conn = 2 + 2 * round;
                story.dials(1, conn);
                story.streams(1, conn);
                let relay_bytes = 100_000 + by * round as usize;
                sample(story, Counts { players: 0, relay_bytes, ..WELL });
                story.loses(1, conn, 1, story.now());
            }
        })
    }

    #[test]
    fn a_relay_that_grows_with_every_re_pull_is_found() {
        assert_eq!(grows(0), [""; 0]);
        let texts = grows(200_000);
        assert!(texts[0].contains("never hold less than"), "{texts:?}");
    }

    #[test]
    fn what_is_left_in_the_end_is_found() {
        let texts = Story::told::<Limits>(|story| {
            sample(story, Counts { timers: 1, ..Counts::default() });
            story.oracles().on_end(&LeftOver { things: vec![("sockets in TIME_WAIT".to_owned(), 3)] });
        });
        assert_eq!(
            texts,
            [
                "limits: everything was deleted, and 3 sockets in TIME_WAIT are left: 0 were promised",
                "limits: everything was deleted, and the core counts 1 timers: 0 were promised",
                "limits: everything was deleted, and the core counts 2 sockets: 0 were promised",
            ]
        );
    }
}
