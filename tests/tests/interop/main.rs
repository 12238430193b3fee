//! The proxy between real software: ffmpeg and nginx-rtmp as origins, ffmpeg, ffprobe, nginx-rtmp and rtmpdump as
//! players. Who is not installed is missed visibly; with `REPULL_REQUIRE_PEERS=1` that is a failure.

mod peers;

use std::{future::Future, io, time::Duration};

use proxy_core::{
    Config,
    io::{PullOptions, PullState, Reply, Request},
};
use sim::{
    origin::{Behaviour, Publisher, Video},
    raw::media::Track,
    real::{Clock, RealOrigin, RealPlayer, RealProxy, key},
    viewer::{Report, Seen, ViewerConfig},
};

use self::peers::{Folder, NGINX_RTMP, Nginx, Peer, are_installed, decode, free_port, probe, publish};

const NAME: &str = "live/one";
/// Far above what anything here takes, since machines that test are busy.
const SOON: Duration = Duration::from_secs(30);

fn run(test: impl Future<Output = io::Result<()>>) {
    let runtime = proxyd::env::runtime().expect("a runtime");
    let limit = Duration::from_secs(120);
    runtime
        .block_on(async { tokio::time::timeout(limit, test).await })
        .expect("every test ends in time")
        .expect("loopback sockets and children");
}

async fn add(proxy: &RealProxy, url: &str) {
    let options = PullOptions { force: true, ..PullOptions::default() };
    let reply = proxy.add_with(NAME, url, options).await;
    assert!(matches!(reply, Some(Reply::Added { .. } | Reply::AddTimedOut { .. })), "{reply:?}");
    let streaming = |view: Option<&proxy_core::io::StreamView>| {
        view.is_some_and(|view| view.state == PullState::Streaming && view.tracks.len() == 2)
    };
    assert!(proxy.wait_for(NAME, SOON, streaming).await, "{:?}", proxy.stream(NAME).await);
}

/// A proxy that pulls a model origin's decodable stream.
async fn relaying_a_model() -> io::Result<(RealOrigin, RealProxy)> {
    let origin = RealOrigin::start(Behaviour::default(), Clock::start()).await?;
    let video = Video { size: (320, 192), ..Video::default() };
    origin.publish(NAME, Publisher { video: Some(video), ..Publisher::default() }).await;
    let proxy = RealProxy::start(Config::default()).await?;
    add(&proxy, &origin.url(NAME)).await;
    Ok((origin, proxy))
}

/// A player that judges as far as that goes without stamps, and keeps what it sees.
fn sit(url: &str) -> io::Result<RealPlayer> {
    RealPlayer::start(url, ViewerConfig { seen_max: 100_000, ..ViewerConfig::plain() }, Clock::start())
}

fn is_content(report: &Report) {
    assert_eq!(report.violations, Vec::<String>::new());
    assert_eq!(report.disconnects, Vec::new());
}

/// What was seen of video after so many tags begins with its sequence header, then a keyframe; timestamps rise from
/// what was seen before.
fn resumes_with_a_keyframe(report: &Report, before: usize) {
    let video = |seen: &Seen| match seen {
        Seen::Header { track: Track::Video, timestamp, .. } => Some(("header", *timestamp)),
        Seen::Frame { track: Track::Video, key, timestamp, .. } => {
            Some((if *key { "keyframe" } else { "frame" }, *timestamp))
        }
        Seen::Header { .. } | Seen::Frame { .. } | Seen::Metadata(_) => None,
    };
    let last = report.seen[..before].iter().filter_map(video).next_back().expect("video came before").1;
    let after: Vec<(&str, u32)> = report.seen[before..].iter().filter_map(video).take(3).collect();
    let kinds: Vec<&str> = after.iter().map(|(kind, _)| *kind).collect();
    assert!(kinds.starts_with(&["header", "keyframe"]), "{after:?}");
    assert!(after.iter().all(|(_, timestamp)| *timestamp > last), "{after:?} behind {last}");
}

#[test]
fn ffmpeg_and_ffprobe_play_rtmp_and_http_flv() {
    if !are_installed(&["ffmpeg", "ffprobe"]) {
        return;
    }
    run(async {
        let folder = Folder::new()?;
        let (_origin, proxy) = relaying_a_model().await?;
        for (name, url) in [("rtmp", proxy.rtmp_url(NAME)), ("flv", proxy.flv_url(NAME))] {
            let frames = decode(&folder, name, &url, "2").await?;
            assert!(frames.video >= 45 && frames.audio >= 80, "{url}: {frames:?}");
            // No phantom streams, which data messages after Play.Start cause in ffmpeg.
            assert_eq!(probe(&folder, &format!("{name}-probe"), &url).await?, ["aac", "h264"], "{url}");
        }
        Ok(())
    });
}

#[test]
fn rtmpdump_plays() {
    if !are_installed(&["ffmpeg", "rtmpdump"]) {
        return;
    }
    run(async {
        let folder = Folder::new()?;
        let (_origin, proxy) = relaying_a_model().await?;
        let file = folder.file("dump.flv").display().to_string();
        let url = proxy.rtmp_url(NAME);
        let args = ["-r", &url, "--live", "-o", &file];
        let rtmpdump = Peer::start(&folder, "rtmpdump", "rtmpdump", &args)?;
        assert!(proxy.wait_for(NAME, SOON, |view| view.is_some_and(|view| view.players == 1)).await);
        tokio::time::sleep(Duration::from_secs(3)).await;
        // Told that the stream is over, it ends by itself. It calls a live stream's end "incomplete": 2.
        assert_eq!(proxy.del(NAME).await, Some(Reply::Deleted));
        let ended = rtmpdump.end(&folder, SOON).await?;
        assert!(matches!(ended.status.code(), Some(0 | 2)), "{ended:?}");
        let frames = decode(&folder, "decode", &file, "2").await?;
        assert!(frames.video >= 45 && frames.audio >= 80, "{frames:?}");
        Ok(())
    });
}

#[test]
fn nginx_rtmp_pulls_from_us() {
    if !are_installed(&["nginx", NGINX_RTMP, "ffmpeg"]) {
        return;
    }
    run(async {
        let folder = Folder::new()?;
        let (origin, proxy) = relaying_a_model().await?;
        let more = format!("application edge {{ live on; pull {} name=one static; }}", proxy.rtmp_url(NAME));
        let nginx = Nginx::start(&folder, free_port().await?, &more).await?;
        let player = sit(&nginx.url("edge/one"))?;
        assert!(player.wait_for(SOON, |report| report.keyframes >= 2 && report.audio > 50).await);
        // Whatever nginx-rtmp sends to its players begins where it likes: frames count here, and that we keep it.
        let frames = decode(&folder, "decode", &nginx.url("edge/one"), "2").await?;
        assert!(frames.video >= 20 && frames.audio >= 40, "{frames:?}");
        assert_eq!(
            proxy.stream(NAME).await.map(|view| (view.state, view.players)),
            Some((PullState::Streaming, 1))
        );
        assert_eq!(origin.status().await.ledger.complaints, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn an_nginx_rtmp_origin_is_pulled_and_its_restart_costs_no_seat() {
    if !are_installed(&["nginx", NGINX_RTMP, "ffmpeg"]) {
        return;
    }
    run(async {
        let folder = Folder::new()?;
        let port = free_port().await?;
        let mut nginx = Nginx::start(&folder, port, "").await?;
        let url = nginx.url(NAME);
        let mut publisher = publish(&folder, "publisher", &[], &url)?;
        let proxy = RealProxy::start(Config::default()).await?;
        add(&proxy, &url).await;
        let players = [sit(&proxy.rtmp_url(NAME))?, sit(&proxy.flv_url(NAME))?];
        for player in &players {
            assert!(player.wait_for(SOON, |report| report.keyframes >= 2 && report.audio > 40).await);
        }
        let frames = decode(&folder, "decode", &proxy.flv_url(NAME), "2").await?;
        assert!(frames.video >= 45 && frames.audio >= 80, "{frames:?}");

        // Three outages: the origin dies under its publisher; the publisher dies; both.
        for outage in 0..3 {
            if outage != 1 {
                nginx.kill();
            }
            publisher.kill();
            let quiet = |report: &Report| report.frames;
            let mut frames = players.each_ref().map(|player| player.look(quiet));
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let again = players.each_ref().map(|player| player.look(quiet));
                if again == frames {
                    break;
                }
                frames = again;
            }
            let before =
                players.each_ref().map(|player| player.look(|report| (report.seen.len(), report.keyframes)));
            if outage != 1 {
                nginx = Nginx::start(&folder, port, "").await?;
            }
            publisher = publish(&folder, "publisher", &[], &url)?;
            for (player, (seen, keyframes)) in players.iter().zip(before) {
                let back = |report: &Report| report.keyframes >= keyframes + 2;
                assert!(player.wait_for(SOON, back).await, "outage {outage}: {:?}", proxy.stream(NAME).await);
                player.look(|report| resumes_with_a_keyframe(report, seen));
            }
        }
        // Redials in the middle of a GOP: nginx-rtmp goes on with whatever frame comes next.
        for redial in 0..4 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let before = players.each_ref().map(|player| player.look(|report| report.seen.len()));
            let update = Request::Update { key: key(NAME), url: None, options: None, now: true };
            assert!(matches!(proxy.handle.request(update).await, Some(Reply::Updated { .. })));
            for (player, seen) in players.iter().zip(before) {
                let header = |seen: &Seen| matches!(seen, Seen::Header { track: Track::Video, .. });
                let again = |report: &Report| report.seen[seen..].iter().position(header).map(|at| seen + at);
                // Sound comes at once, pictures with their keyframe.
                let video = |seen: &Seen| matches!(seen, Seen::Frame { track: Track::Video, .. });
                let back =
                    |report: &Report| again(report).is_some_and(|at| report.seen[at..].iter().any(video));
                assert!(player.wait_for(SOON, back).await, "redial {redial}: {:?}", proxy.stream(NAME).await);
                player.look(|report| {
                    // What came before the header belongs to the play that was left.
                    resumes_with_a_keyframe(report, again(report).expect("it was waited for"));
                });
            }
        }
        for player in players {
            is_content(&player.stop());
        }
        let frames = decode(&folder, "decode-again", &proxy.rtmp_url(NAME), "2").await?;
        assert!(frames.video >= 45 && frames.audio >= 80, "{frames:?}");
        Ok(())
    });
}

#[test]
fn an_ffmpeg_origin_is_pulled_again_and_again() {
    if !are_installed(&["ffmpeg"]) {
        return;
    }
    run(async {
        let folder = Folder::new()?;
        let port = free_port().await?;
        let url = format!("rtmp://127.0.0.1:{port}/{NAME}");
        // It serves one player, and ends by itself after so much of its stream.
        let serve = |name: &str| publish(&folder, name, &["-t", "4", "-listen", "1"], &url);
        let mut origin = serve("first")?;
        let proxy = RealProxy::start(Config::default()).await?;
        add(&proxy, &url).await;
        let players = [sit(&proxy.rtmp_url(NAME))?, sit(&proxy.flv_url(NAME))?];
        for life in ["second", "third"] {
            for player in &players {
                assert!(player.wait_for(SOON, |report| report.keyframes >= 2 && report.audio > 40).await);
            }
            assert!(
                proxy
                    .wait_for(NAME, SOON, |view| view.is_some_and(|view| view.state != PullState::Streaming))
                    .await
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
            let before =
                players.each_ref().map(|player| player.look(|report| (report.seen.len(), report.keyframes)));
            origin.kill();
            origin = serve(life)?;
            for (player, (seen, keyframes)) in players.iter().zip(before) {
                let back = |report: &Report| report.keyframes >= keyframes + 2;
                assert!(player.wait_for(SOON, back).await, "{life}: {:?}", proxy.stream(NAME).await);
                player.look(|report| resumes_with_a_keyframe(report, seen));
            }
        }
        for player in players {
            is_content(&player.stop());
        }
        Ok(())
    });
}
