//! `repull-sim origin` and `repull-sim play`: model peers for other people's software.

use std::{io, net::SocketAddr, time::Duration};

use sim::{
    origin::{ACCEPT_QUEUE, Behaviour, Like, Publisher, Video},
    real::{Clock, RealOrigin, RealPlayer},
    viewer::ViewerConfig,
};

/// Serves a stream until Ctrl-C; false if clients gave reason to complain.
pub(crate) async fn origin(listen: SocketAddr, stream: &str, like: Like) -> io::Result<bool> {
    let origin = RealOrigin::start_at(listen, ACCEPT_QUEUE, Behaviour::like(like), Clock::start()).await?;
    let video = Video { size: (640, 360), ..Video::default() };
    origin.publish(stream, Publisher { video: Some(video), ..Publisher::default() }).await;
    println!("{}", origin.url(stream));
    tokio::signal::ctrl_c().await?;
    let ledger = origin.status().await.ledger;
    for complaint in &ledger.complaints {
        println!("complaint: {complaint}");
    }
    println!(
        "{} connections, {} plays, {} complaints",
        ledger.accepted,
        ledger.plays_total,
        ledger.complaints.len()
    );
    Ok(ledger.complaints.is_empty())
}

/// Plays for a while; false if something was seen that may not be, or nothing at all.
pub(crate) async fn play(url: &str, stream: Option<&str>, time: Duration) -> io::Result<bool> {
    let viewer = stream.map_or_else(ViewerConfig::plain, ViewerConfig::stamped);
    let player = RealPlayer::start(url, viewer, Clock::start())?;
    tokio::select! {
        biased;
        () = tokio::time::sleep(time) => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    let report = player.stop();
    for (at, status) in &report.statuses {
        println!("{at}  told: {status}");
    }
    for (at, cause) in &report.disconnects {
        println!("{at}  disconnected: {cause}");
    }
    for violation in &report.violations {
        println!("violation: {violation}");
    }
    println!(
        "{} video frames ({} keyframes), {} audio frames, {} headers, {} metadata, worst gap {}.{:03} s, {} violations",
        report.video,
        report.keyframes,
        report.audio,
        report.headers,
        report.metadata,
        report.gap_worst.as_secs(),
        report.gap_worst.subsec_millis(),
        report.violations_total,
    );
    Ok(report.violations_total == 0 && report.frames > 0)
}
