//! The whole proxy on loopback, with nothing installed: its production driver between model peers, and between
//! rml_rtmp's sessions, which nobody here wrote.

mod env;
mod rml;

use std::{future::Future, io, time::Duration};

use proxy_core::{
    Config,
    io::{PullFailure, PullOptions, PullState, Reply, Request, StreamFilter, StreamView},
    proxy::Counts,
};
use proxyd::env::TokioEnv;
use sim::{
    origin::{Behaviour, Handshake, Like, OnConnect, Publisher, SecondPlay, Unpublish, Video},
    raw::media::{self, Stamped, Track},
    real::{Clock, RealOrigin, RealPlayer, RealProxy, key},
    viewer::{Report, Seen, ViewerConfig},
};

use self::{
    env::{HELD_HOST, HELD_PORT, HoldingEnv},
    rml::{RmlOrigin, RmlPlayer},
};

const NAME: &str = "live/one";
/// Far above what anything here takes, since machines that test are busy.
const SOON: Duration = Duration::from_secs(20);

fn run(test: impl Future<Output = io::Result<()>>) {
    let runtime = proxyd::env::runtime().expect("a runtime");
    runtime.block_on(test).expect("loopback sockets");
}

fn viewer() -> ViewerConfig {
    ViewerConfig { seen_max: 4096, ..ViewerConfig::stamped(NAME) }
}

fn quick_gop() -> Publisher {
    Publisher { video: Some(Video { gop: 10, ..Video::default() }), ..Publisher::default() }
}

/// Origin, proxy and clock; the stream is published and pulled.
struct House {
    clock: Clock,
    origin: RealOrigin,
    proxy: RealProxy,
}

impl House {
    async fn new(behaviour: Behaviour, config: Config) -> io::Result<Self> {
        let clock = Clock::start();
        let origin = RealOrigin::start(behaviour, clock).await?;
        let proxy = RealProxy::start_on(HoldingEnv(TokioEnv::new()?), config).await?;
        Ok(Self { clock, origin, proxy })
    }

    async fn streaming(behaviour: Behaviour) -> io::Result<Self> {
        let house = Self::new(behaviour, Config::default()).await?;
        house.origin.publish(NAME, quick_gop()).await;
        let reply = house.proxy.add(NAME, &house.origin.url(NAME)).await;
        assert_eq!(reply, Some(Reply::Added { state: PullState::Streaming }));
        Ok(house)
    }

    fn rtmp(&self) -> io::Result<RealPlayer> {
        RealPlayer::start(&self.proxy.rtmp_url(NAME), viewer(), self.clock)
    }

    fn flv(&self) -> io::Result<RealPlayer> {
        RealPlayer::start(&self.proxy.flv_url(NAME), viewer(), self.clock)
    }

    async fn is(&self, state: PullState) -> bool {
        self.proxy.wait_for(NAME, SOON, |view| view.is_some_and(|view| view.state == state)).await
    }

    async fn counts(&self) -> Counts {
        self.proxy.handle.query(|proxy, _| proxy.counts()).await.expect("the proxy runs")
    }

    /// Everything is given back, here and at the origin.
    async fn is_empty(&self) -> bool {
        let end = tokio::time::Instant::now() + SOON;
        while tokio::time::Instant::now() < end {
            let counts = self.counts().await;
            let empty = Counts { players: counts.players, ..Counts::default() };
            if counts == empty && self.origin.status().await.ledger.open == 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    async fn close(&self) -> Option<Reply> {
        let filter = StreamFilter { vhost: None, app: Some("live".into()), stream: Some("one".into()) };
        self.proxy.handle.request(Request::Close { filter, force: false }).await
    }
}

fn is_clean(report: &Report) {
    assert_eq!(report.violations, Vec::<String>::new());
    assert_eq!(report.disconnects, Vec::new());
}

async fn is_content(origin: &RealOrigin) {
    assert_eq!(origin.status().await.ledger.complaints, Vec::<String>::new());
}

#[test]
fn a_stream_is_pulled_and_relayed() {
    run(async {
        for like in [Like::Srs6, Like::NginxRtmp, Like::ZlMediaKit, Like::Ffmpeg] {
            let house = House::streaming(Behaviour::like(like)).await?;
            let players = [house.rtmp()?, house.rtmp()?, house.flv()?];
            for player in players {
                assert!(player.wait_for(SOON, |report| report.keyframes >= 3 && report.audio > 20).await);
                let report = player.stop();
                is_clean(&report);
                assert_eq!(
                    (report.lost, report.repeated, report.plays, report.metadata),
                    (0, 0, 1, 1),
                    "{like:?}"
                );
            }
            is_content(&house.origin).await;
        }
        Ok(())
    });
}

#[test]
fn a_player_that_comes_first_waits_for_the_stream() {
    run(async {
        let house = House::new(Behaviour::default(), Config::default()).await?;
        let (rtmp, flv) = (house.rtmp()?, house.flv()?);
        tokio::time::sleep(Duration::from_millis(300)).await;
        house.origin.publish(NAME, quick_gop()).await;
        house.proxy.add(NAME, &house.origin.url(NAME)).await;
        for player in [rtmp, flv] {
            assert!(player.wait_for(SOON, |report| report.keyframes >= 2).await);
            is_clean(&player.stop());
        }
        Ok(())
    });
}

#[test]
fn players_keep_their_seats_through_every_kind_of_outage() {
    run(async {
        let house = House::streaming(Behaviour::default()).await?;
        let players = [house.rtmp()?, house.flv()?];
        let frames = |house: usize| players[house].look(|report| report.video);
        for player in &players {
            assert!(player.wait_for(SOON, |report| report.keyframes >= 2).await);
        }
        for outage in 0..5 {
            let pause = || tokio::time::sleep(Duration::from_millis(300));
            match outage {
                0 => {
                    house.origin.kill(true).await;
                    pause().await;
                    house.origin.restart().await?;
                    let video = Video { size: (128, 96), gop: 10, ..Video::default() };
                    house
                        .origin
                        .publish(NAME, Publisher { video: Some(video), ..Publisher::default() })
                        .await;
                }
                1 => {
                    house.origin.kill(false).await;
                    pause().await;
                    house.origin.restart().await?;
                    house.origin.publish(NAME, quick_gop()).await;
                }
                2 => house.origin.reset_all().await,
                3 => {
                    house.origin.unpublish(NAME).await;
                    pause().await;
                    house.origin.publish(NAME, quick_gop()).await;
                }
                _ => house.origin.swallow().await,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            let before = [frames(0), frames(1)];
            for (player, before) in players.iter().zip(before) {
                let back = |report: &Report| report.video > before + 5;
                assert!(player.wait_for(SOON, back).await, "outage {outage}");
            }
        }
        for player in players {
            is_clean(&player.stop());
        }
        is_content(&house.origin).await;
        Ok(())
    });
}

/// What a joiner gets before the first frame.
fn preface(report: &Report) -> Vec<Seen> {
    let mut preface = Vec::new();
    for seen in &report.seen {
        match seen {
            Seen::Frame { track: Track::Video, stamp, .. } => {
                // Numbers, times and plays differ from life to life; that it is a keyframe may not.
                assert_eq!(stamp.map(|stamp| stamp.kind), Some(media::StampKind::Key));
                return preface;
            }
            Seen::Frame { .. } => {}
            Seen::Header { track, payload, .. } => {
                preface.push(Seen::Header { track: *track, timestamp: 0, payload: payload.clone() });
            }
            Seen::Metadata(values) => preface.push(Seen::Metadata(values.clone())),
        }
    }
    preface
}

#[test]
fn outputs_after_five_reconnects_equal_those_at_the_first() {
    run(async {
        let house = House::streaming(Behaviour::default()).await?;
        let mut first = None;
        for reconnects in 0..=5_u64 {
            if reconnects > 0 {
                house.origin.kill(true).await;
                house.origin.restart().await?;
                house.origin.publish(NAME, quick_gop()).await;
            }
            let again = move |view: Option<&StreamView>| {
                view.is_some_and(|view| view.state == PullState::Streaming && view.repulls == reconnects)
            };
            assert!(house.proxy.wait_for(NAME, SOON, again).await, "reconnect {reconnects}");
            let mut outputs = Vec::new();
            for player in [house.rtmp()?, house.flv()?] {
                assert!(player.wait_for(SOON, |report| report.keyframes >= 2 && report.audio > 10).await);
                let report = player.stop();
                is_clean(&report);
                let codes: Vec<String> = report.statuses.iter().map(|(_, code)| code.clone()).collect();
                outputs.push((preface(&report), codes));
            }
            assert_eq!(outputs[0].0.len(), 3, "metadata and two headers: {:?}", outputs[0].0);
            assert_eq!(outputs[0].0, outputs[1].0, "RTMP and FLV differ");
            let view = house.proxy.stream(NAME).await.expect("it streams");
            let tracks: Vec<_> =
                view.tracks.iter().map(|track| (track.medium, track.codec, track.track)).collect();
            let output = (outputs, tracks, view.key, view.url, view.options);
            assert_eq!(*first.get_or_insert_with(|| output.clone()), output, "reconnect {reconnects}");
        }
        let ledger = house.origin.status().await.ledger;
        assert_eq!((ledger.plays_at_once_max, ledger.complaints), (1, Vec::new()));
        Ok(())
    });
}

/// The states a pull can be brought to and held in.
const STATES: [PullState; 9] = [
    PullState::Resolving,
    PullState::Queued,
    PullState::Connecting,
    PullState::Handshaking,
    PullState::Requesting,
    PullState::AwaitingMedia,
    PullState::Streaming,
    PullState::Replaying,
    PullState::BackingOff,
];

/// Brings a pull to a state; the add that did it may still wait for its reply.
async fn bring_to(state: PullState) -> io::Result<(House, tokio::task::JoinHandle<Option<Reply>>)> {
    let base = Behaviour::default();
    let behaviour = match state {
        PullState::Handshaking => Behaviour { handshake: Handshake::Silent, ..base },
        PullState::Requesting => Behaviour { connect: OnConnect::Never, ..base },
        // The first end leads to a replay, which is never answered.
        PullState::Replaying => {
            Behaviour { unpublish: Unpublish::StreamEof, second_play: SecondPlay::Ignore, ..base }
        }
        _ => base,
    };
    let mut config = Config::default();
    if state == PullState::Queued {
        config.dial.total = 1;
    }
    let house = House::new(behaviour, config).await?;
    let url = match state {
        PullState::Resolving => format!("rtmp://{HELD_HOST}/{NAME}"),
        PullState::Connecting => format!("rtmp://127.0.0.1:{HELD_PORT}/{NAME}"),
        _ => house.origin.url(NAME),
    };
    match state {
        PullState::Streaming | PullState::Replaying => house.origin.publish(NAME, quick_gop()).await,
        PullState::BackingOff => house.origin.kill(true).await,
        PullState::Queued => {
            // Spends the only token of the second: refused at once, and gone.
            house.proxy.add("live/other", "rtmp://127.0.0.1:1/live/other").await;
        }
        _ => {}
    }
    let handle = house.proxy.handle.clone();
    let add = tokio::spawn(async move {
        let options = PullOptions { force: true, ..PullOptions::default() };
        handle.request(Request::Add { key: key(NAME), url, options }).await
    });
    if state == PullState::Replaying {
        assert!(house.is(PullState::Streaming).await);
        house.origin.unpublish(NAME).await;
    }
    assert!(house.is(state).await, "never {state:?}");
    Ok((house, add))
}

#[test]
fn a_close_in_every_state_frees_the_key_and_all_else() {
    run(async {
        for state in STATES {
            let (house, add) = bring_to(state).await?;
            assert_eq!(house.close().await, Some(Reply::Closed { hit: 1, closed: 1 }), "{state:?}");
            assert_eq!(house.proxy.stream(NAME).await, None, "{state:?}");
            let reply = tokio::time::timeout(SOON, add).await.expect("an add is answered").expect("no panic");
            let expected = match (state, &reply) {
                (PullState::Streaming | PullState::Replaying, Some(Reply::Added { .. })) => true,
                // A failed attempt answers a forced add before it backs off.
                (PullState::BackingOff, Some(Reply::AddFailed { .. } | Reply::Added { .. })) => true,
                (_, Some(Reply::Cancelled)) => true,
                _ => false,
            };
            assert!(expected, "{state:?}: {reply:?}");
            assert!(house.is_empty().await, "{state:?}: {:?}", house.counts().await);
            assert_eq!(house.close().await, Some(Reply::Closed { hit: 0, closed: 0 }), "{state:?}");
        }
        Ok(())
    });
}

#[test]
fn a_delete_in_every_state_lets_the_key_be_added_again() {
    run(async {
        for state in STATES {
            let (house, _add) = bring_to(state).await?;
            assert_eq!(house.proxy.del(NAME).await, Some(Reply::Deleted), "{state:?}");
            let good = RealOrigin::start(Behaviour::default(), house.clock).await?;
            good.publish(NAME, quick_gop()).await;
            let reply = house.proxy.add(NAME, &good.url(NAME)).await;
            assert_eq!(reply, Some(Reply::Added { state: PullState::Streaming }), "{state:?}");
            let player = house.rtmp()?;
            assert!(player.wait_for(SOON, |report| report.keyframes >= 2).await, "{state:?}");
            is_clean(&player.stop());
            is_content(&good).await;
        }
        Ok(())
    });
}

#[test]
fn an_add_in_every_state_is_refused_or_takes_over() {
    run(async {
        for state in STATES {
            let (house, add) = bring_to(state).await?;
            let good = RealOrigin::start(Behaviour::default(), house.clock).await?;
            good.publish(NAME, quick_gop()).await;
            let reply = house.proxy.add(NAME, &good.url(NAME)).await;
            let first = tokio::time::timeout(SOON, add).await.expect("an add is answered").expect("no panic");
            if state == PullState::Streaming {
                assert_eq!(reply, Some(Reply::Exists { state: PullState::Streaming }));
                assert_eq!(good.status().await.ledger.accepted, 0);
                continue;
            }
            assert_eq!(reply, Some(Reply::Added { state: PullState::Streaming }), "{state:?}");
            match state {
                PullState::Replaying | PullState::BackingOff => assert!(first.is_some()),
                _ => assert_eq!(first, Some(Reply::Superseded), "{state:?}"),
            }
            let player = house.rtmp()?;
            assert!(player.wait_for(SOON, |report| report.keyframes >= 2).await, "{state:?}");
            is_clean(&player.stop());
        }
        Ok(())
    });
}

#[test]
fn players_are_told_when_their_stream_is_deleted() {
    run(async {
        let house = House::streaming(Behaviour::default()).await?;
        let (rtmp, flv) = (house.rtmp()?, house.flv()?);
        for player in [&rtmp, &flv] {
            assert!(player.wait_for(SOON, |report| report.keyframes >= 2).await);
        }
        assert_eq!(house.proxy.del(NAME).await, Some(Reply::Deleted));
        for player in [&rtmp, &flv] {
            assert!(player.wait_for(SOON, |report| !report.disconnects.is_empty()).await);
        }
        let report = rtmp.stop();
        assert!(report.was_told("StreamEOF"), "{:?}", report.statuses);
        assert_eq!(report.violations, Vec::<String>::new());
        assert_eq!(flv.stop().violations, Vec::<String>::new());
        assert!(house.is_empty().await);
        Ok(())
    });
}

#[test]
fn an_origin_of_rml_rtmp_is_pulled_and_pulled_again() {
    run(async {
        let origin = RmlOrigin::start().await?;
        let proxy = RealProxy::start(Config::default()).await?;
        let reply = proxy.add(NAME, &origin.url(NAME)).await;
        assert_eq!(reply, Some(Reply::Added { state: PullState::Streaming }));
        let clock = Clock::start();
        let players = [
            RealPlayer::start(&proxy.rtmp_url(NAME), viewer(), clock)?,
            RealPlayer::start(&proxy.flv_url(NAME), viewer(), clock)?,
        ];
        for life in 1..=3 {
            for player in &players {
                let served = |report: &Report| report.lives == life && report.keyframes >= 3 * life;
                assert!(player.wait_for(SOON, served).await, "life {life}: {:?}", player.view());
            }
            origin.hang_up();
        }
        for player in players {
            is_clean(&player.stop());
        }
        Ok(())
    });
}

#[test]
fn a_player_of_rml_rtmp_is_served_through_a_restart() {
    run(async {
        let house = House::streaming(Behaviour::default()).await?;
        let player = RmlPlayer::start(house.proxy.rtmp(), "live", "one");
        assert!(
            player.wait_for(SOON, |seen| seen.video.len() > 30 && seen.audio.len() > 30).await,
            "{:?}",
            player.seen().ended
        );
        house.origin.kill(true).await;
        let before = player.seen().video.len();
        house.origin.restart().await?;
        house.origin.publish(NAME, quick_gop()).await;
        assert!(
            player.wait_for(SOON, |seen| seen.video.len() > before + 30).await,
            "{:?}",
            player.seen().ended
        );

        let seen = player.seen();
        assert_eq!(seen.ended, None);
        assert!(seen.codes.iter().any(|code| code == "accepted"));
        assert_eq!(seen.metadata[0].video_width, Some(64));
        let headers = seen.video.iter().filter(|(_, tag)| tag[1] == 0).count();
        assert_eq!(headers, 2);
        assert_eq!(seen.video[0].1[..2], [0x17, 0]);
        assert_eq!(seen.video[1].1[..2], [0x17, 1]);
        for track in [&seen.video, &seen.audio] {
            assert!(track.windows(2).all(|pair| pair[0].0 <= pair[1].0), "timestamps rise");
            for (_, tag) in track.iter().filter(|(_, tag)| tag[1] != 0) {
                assert!(matches!(media::read_stamp(tag), Stamped::Whole(_)));
            }
        }
        Ok(())
    });
}

#[test]
fn two_proxies_do_not_feed_each_other() {
    run(async {
        let house = House::streaming(Behaviour::default()).await?;
        let second = RealProxy::start(Config::default()).await?;
        let reply = second.add(NAME, &house.proxy.rtmp_url(NAME)).await;
        assert_eq!(reply, Some(Reply::Added { state: PullState::Streaming }));

        let url = Some(second.rtmp_url(NAME));
        let update = Request::Update { key: key(NAME), url, options: None, now: true };
        house.proxy.handle.request(update).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let view = house.proxy.stream(NAME).await.expect("still registered");
        assert_ne!(view.state, PullState::Streaming, "it would be fed by itself");
        assert!(matches!(view.last_failure, Some(PullFailure::Refused(_))), "{:?}", view.last_failure);

        let url = Some(house.origin.url(NAME));
        let update = Request::Update { key: key(NAME), url, options: None, now: true };
        house.proxy.handle.request(update).await;
        assert!(house.is(PullState::Streaming).await);
        Ok(())
    });
}
