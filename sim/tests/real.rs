//! Model origin and model player on loopback sockets, without the proxy: the carriers carry.

use std::{io, time::Duration};

use sim::{
    origin::{Behaviour, Missing, Publisher, Video},
    player::{PlayerConfig, PlayerState, Reading},
    real::{Clock, RealOrigin, RealPlayer},
    viewer::ViewerConfig,
};

const NAME: &str = "live/one";
const SOON: Duration = Duration::from_secs(5);

fn run<T>(test: impl Future<Output = io::Result<T>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test).expect("loopback sockets");
}

async fn begin(clock: Clock) -> io::Result<(RealOrigin, RealPlayer)> {
    let origin = RealOrigin::start(Behaviour::default(), clock).await?;
    origin.publish(NAME, Publisher::default()).await;
    let (config, address) =
        PlayerConfig::from_url(&origin.url(NAME), ViewerConfig::stamped(NAME)).expect("a plain url");
    let config = PlayerConfig { redial: Some(Duration::from_millis(50)), ..config };
    let player = RealPlayer::start_with(config, address, clock);
    assert!(player.wait_for(SOON, |report| report.keyframes >= 1 && report.audio >= 10).await);
    Ok((origin, player))
}

#[test]
fn a_killed_and_restarted_origin_is_found_again() {
    run(async {
        let (origin, player) = begin(Clock::start()).await?;
        origin.kill(true).await;
        assert!(player.wait_for(SOON, |report| report.disconnects.len() >= 3).await);
        assert!(!origin.status().await.is_listening);
        origin.restart().await?;
        origin.publish(NAME, Publisher { audio: None, ..Publisher::default() }).await;
        assert!(player.wait_for(SOON, |report| report.lives == 2 && report.keyframes >= 2).await);
        let report = player.stop();
        assert_eq!(report.disconnects[0].1, "RST");
        assert_eq!(report.violations, Vec::<String>::new());
        assert_eq!(origin.status().await.ledger.complaints, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn what_an_origin_says_before_it_hangs_up_arrives() {
    run(async {
        let clock = Clock::start();
        let missing = Missing::NotFound { after: Duration::ZERO, close: true };
        let origin = RealOrigin::start(Behaviour { missing, ..Behaviour::default() }, clock).await?;
        let player = RealPlayer::start(&origin.url("live/nobody"), ViewerConfig::stamped(NAME), clock)?;
        assert!(player.wait_for(SOON, |report| !report.disconnects.is_empty()).await);
        let report = player.stop();
        assert!(report.was_told("NetStream.Play.StreamNotFound"), "{report:?}");
        assert_eq!(report.disconnects[0].1, "EOF");
        Ok(())
    });
}

#[test]
fn a_frozen_origin_is_silent_and_catches_up() {
    run(async {
        let (origin, player) = begin(Clock::start()).await?;
        origin.freeze().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = player.look(|report| report.frames);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(player.look(|report| report.frames), before);
        origin.thaw().await;
        assert!(player.wait_for(SOON, |report| report.frames > before + 15).await);
        assert_eq!(player.look(|report| report.lost), 0);
        assert_eq!(player.stop().violations, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn swallowed_connections_stay_silent_and_fresh_ones_flow() {
    run(async {
        let (origin, player) = begin(Clock::start()).await?;
        origin.swallow().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = player.look(|report| report.frames);
        let other = RealPlayer::start(&origin.url(NAME), ViewerConfig::stamped(NAME), Clock::start())?;
        assert!(other.wait_for(SOON, |report| report.keyframes >= 2).await);
        assert_eq!(player.look(|report| (report.frames, report.disconnects.len())), (before, 0));
        origin.reset_all().await;
        assert!(player.wait_for(SOON, |report| report.frames > before).await);
        assert_eq!(player.stop().violations, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn a_reader_that_stops_is_not_written_to_for_ever() {
    run(async {
        let clock = Clock::start();
        let origin = RealOrigin::start(Behaviour::default(), clock).await?;
        let video = Video { bytes: (400_000, 200_000), ..Video::default() };
        origin.publish(NAME, Publisher { video: Some(video), ..Publisher::default() }).await;
        let (config, address) =
            PlayerConfig::from_url(&origin.url(NAME), ViewerConfig::stamped(NAME)).expect("a plain url");
        let reading = Reading::Until { bytes: 100_000 };
        let player = RealPlayer::start_with(PlayerConfig { reading, ..config }, address, clock);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let sent = origin.status().await.ledger.plays[0].frames;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(origin.status().await.ledger.plays[0].frames, sent);
        assert_eq!(player.view().state, PlayerState::Watching);
        Ok(())
    });
}
