//! `repull-sim demo`: origin, proxy and players on this machine, and a plug that is pulled every few seconds.
//!
//! ```text
//!  Waiting ── every ──► Out (how it is pulled) ── a few seconds ──► Back ── all players have frames ──► Waiting
//! ```
//! A player is judged by its own checks (see [`sim::viewer`]), the proxy by what the players get: it must keep
//! them, and frames must be back within [`recovery_bound`] of the plug.

mod screen;

use std::{io, time::Duration};

use proxy_core::io::StreamView;
use sim::{
    origin::{Behaviour, Handshake, Like, Publisher, Video},
    player::PlayerState,
    real::{Clock, PlayerView, RealOrigin, RealPlayer, RealProxy},
    viewer::{Report, ViewerConfig},
};

use self::screen::Screen;
use crate::seconds;

const STREAM: &str = "live/demo";
/// How often players are looked at.
const TICK: Duration = Duration::from_millis(100);
/// The first frames must be there by then, or there is nothing to show.
const START_MAX: Duration = Duration::from_secs(10);
/// The least time with the plug in.
const REST: Duration = Duration::from_secs(2);
/// How long the plug is out: at least, and how much longer at most.
const OUT_MIN: Duration = Duration::from_secs(2);
const OUT_MORE_MAX: Duration = Duration::from_secs(2);
/// A silence that long shows in the table's state.
const SILENT_MIN: Duration = Duration::from_millis(500);

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How long it lasts.
    pub(crate) time: Duration,
    /// From pull to pull.
    pub(crate) every: Duration,
    /// Decides order and length of the faults.
    pub(crate) seed: u64,
}

/// The ways to pull the plug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plug {
    OriginKilled,
    PublisherAway,
    OriginFrozen,
    ConnectionsReset,
    OtherPicture,
    PacketsSwallowed,
    PortTaken,
}

const PLUGS: [Plug; 7] = [
    Plug::OriginKilled,
    Plug::PublisherAway,
    Plug::OriginFrozen,
    Plug::ConnectionsReset,
    Plug::OtherPicture,
    Plug::PacketsSwallowed,
    Plug::PortTaken,
];

impl Plug {
    fn words(self) -> &'static str {
        match self {
            Self::OriginKilled => "origin killed, its port refuses",
            Self::PublisherAway => "publisher away, the origin says nothing",
            Self::OriginFrozen => "origin frozen: accepts, stays silent",
            Self::ConnectionsReset => "connections reset",
            Self::OtherPicture => "origin killed; will be back with another picture, clock at zero",
            Self::PacketsSwallowed => "packets of the open connection swallowed",
            Self::PortTaken => "something accepts in the origin's place and resets",
        }
    }
}

/// Where the plug is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    In { pull_at: tokio::time::Instant },
    Out { plug: Plug, pulled_at: tokio::time::Instant, back_at: tokio::time::Instant },
    Back { plug: Plug, pulled_at: tokio::time::Instant, since: tokio::time::Instant, frames: [u64; 3] },
}

struct Demo {
    origin: RealOrigin,
    proxy: RealProxy,
    players: [(&'static str, RealPlayer); 3],
    dice: Dice,
    order: Vec<Plug>,
    pulls: u32,
    behaviour: Behaviour,
    sizes: [(u32, u32); 3],
    size: usize,
    bound: Duration,
    broken: Vec<String>,
}

/// Runs the demo; true if every promise was held.
pub(crate) async fn run(plan: &Plan) -> io::Result<bool> {
    let mut demo = Demo::start(plan).await?;
    let mut screen = Screen::new();
    screen.say(&format!(
        "origin {}   proxy rtmp://{} and http://{}   three players of {STREAM}",
        demo.origin.addr(),
        demo.proxy.rtmp(),
        demo.proxy.http()
    ));
    let begun = tokio::time::Instant::now();
    let mut phase = Phase::In { pull_at: begun + plan.every };
    let mut tick = tokio::time::interval(TICK);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    while begun.elapsed() < plan.time {
        tokio::select! {
            biased;
            _ = &mut interrupted => {
                screen.say("interrupted");
                break;
            }
            _ = tick.tick() => {}
        }
        phase = demo.step(phase, plan, plan.time.saturating_sub(begun.elapsed()), &mut screen).await?;
        let stream = demo.proxy.stream(STREAM).await;
        screen.draw(&demo.table(begun.elapsed(), plan, phase, stream.as_ref()));
    }
    let stream = demo.proxy.stream(STREAM).await;
    screen.draw(&demo.table(begun.elapsed(), plan, phase, stream.as_ref()));
    screen.end();
    Ok(demo.judge(phase).await)
}

impl Demo {
    async fn start(plan: &Plan) -> io::Result<Self> {
        let clock = Clock::start();
        let behaviour = Behaviour::like(Like::Srs6);
        let origin = RealOrigin::start(behaviour.clone(), clock).await?;
        let config = proxy_core::Config::default();
        let bound = recovery_bound(&config);
        let proxy = RealProxy::start(config).await?;
        let viewer = || ViewerConfig::stamped(STREAM);
        let demo = Self {
            players: [
                ("rtmp 1", RealPlayer::start(&proxy.rtmp_url(STREAM), viewer(), clock)?),
                ("rtmp 2", RealPlayer::start(&proxy.rtmp_url(STREAM), viewer(), clock)?),
                ("http-flv", RealPlayer::start(&proxy.flv_url(STREAM), viewer(), clock)?),
            ],
            origin,
            proxy,
            dice: Dice(plan.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            order: Vec::new(),
            pulls: 0,
            behaviour,
            sizes: [(640, 360), (320, 180), (1280, 720)],
            size: 0,
            bound,
            broken: Vec::new(),
        };
        demo.origin.publish(STREAM, demo.publisher()).await;
        demo.proxy.add(STREAM, &demo.origin.url(STREAM)).await;
        for (name, player) in &demo.players {
            if !player.wait_for(START_MAX, |report| report.keyframes > 0).await {
                return Err(io::Error::other(format!("player {name} never got a picture")));
            }
        }
        Ok(demo)
    }

    fn publisher(&self) -> Publisher {
        let video = Video { size: self.sizes[self.size], ..Video::default() };
        Publisher { video: Some(video), ..Publisher::default() }
    }

    /// Goes on, with so much time `left`: a plug is pulled only if there is enough to see how it ends.
    async fn step(
        &mut self,
        phase: Phase,
        plan: &Plan,
        left: Duration,
        screen: &mut Screen,
    ) -> io::Result<Phase> {
        let now = tokio::time::Instant::now();
        Ok(match phase {
            Phase::In { pull_at } if now >= pull_at && left >= OUT_MIN + OUT_MORE_MAX + REST => {
                let plug = self.next_plug();
                let more = self.dice.below(OUT_MORE_MAX.as_millis() as u64);
                let lasts = OUT_MIN + Duration::from_millis(more);
                screen.say(&format!("plug {}: {}", self.pulls, plug.words()));
                self.pull(plug).await;
                Phase::Out { plug, pulled_at: pull_at, back_at: now + lasts }
            }
            Phase::Out { plug, pulled_at, back_at } if now >= back_at => {
                self.put_back(plug).await?;
                screen.say(&format!("plug {}: put back", self.pulls));
                Phase::Back { plug, pulled_at, since: now, frames: self.video_frames() }
            }
            Phase::Back { plug, pulled_at, since, frames } => {
                let served = self.video_frames().iter().zip(frames).all(|(now, before)| *now > before);
                let late = since.elapsed() > self.bound;
                if late && !served {
                    let what = format!("no frames within {:?} after: {}", self.bound, plug.words());
                    screen.say(&what);
                    self.broken.push(what);
                }
                if served {
                    let took = seconds(since.elapsed());
                    screen
                        .say(&format!("plug {}: every player has frames again, {took} s after", self.pulls));
                }
                if !served && !late {
                    return Ok(phase);
                }
                // Punctual where the players were; otherwise they get a moment of rest.
                Phase::In { pull_at: (pulled_at + plan.every).max(now + REST) }
            }
            Phase::In { .. } | Phase::Out { .. } => phase,
        })
    }

    fn next_plug(&mut self) -> Plug {
        self.pulls += 1;
        if self.order.is_empty() {
            self.order = PLUGS.to_vec();
            for last in (1..self.order.len()).rev() {
                let other = self.dice.below(last as u64 + 1) as usize;
                self.order.swap(last, other);
            }
        }
        self.order.pop().unwrap_or(Plug::OriginKilled)
    }

    async fn pull(&mut self, plug: Plug) {
        match plug {
            Plug::OriginKilled | Plug::OtherPicture => self.origin.kill(true).await,
            Plug::PublisherAway => self.origin.unpublish(STREAM).await,
            Plug::OriginFrozen => self.origin.freeze().await,
            Plug::ConnectionsReset => self.origin.reset_all().await,
            Plug::PacketsSwallowed => self.origin.swallow().await,
            Plug::PortTaken => {
                self.origin.behave(Behaviour { handshake: Handshake::Reset, ..self.behaviour.clone() }).await;
                self.origin.reset_all().await;
            }
        }
    }

    async fn put_back(&mut self, plug: Plug) -> io::Result<()> {
        match plug {
            Plug::OriginKilled => {
                self.origin.restart().await?;
                self.origin.publish(STREAM, self.publisher()).await;
            }
            Plug::OtherPicture => {
                self.size = (self.size + 1) % self.sizes.len();
                self.origin.restart().await?;
                self.origin.publish(STREAM, self.publisher()).await;
            }
            Plug::PublisherAway => self.origin.publish(STREAM, self.publisher()).await,
            Plug::OriginFrozen => self.origin.thaw().await,
            Plug::PortTaken => self.origin.behave(self.behaviour.clone()).await,
            // Fresh connections were welcome all the time.
            Plug::ConnectionsReset | Plug::PacketsSwallowed => {}
        }
        Ok(())
    }

    fn video_frames(&self) -> [u64; 3] {
        [0, 1, 2].map(|at: usize| self.players[at].1.look(|report| report.video))
    }

    fn table(&self, time: Duration, plan: &Plan, phase: Phase, stream: Option<&StreamView>) -> Vec<String> {
        let until =
            |at: tokio::time::Instant| seconds(at.saturating_duration_since(tokio::time::Instant::now()));
        let plug = match phase {
            Phase::In { .. } if time + OUT_MIN + OUT_MORE_MAX + REST > plan.time => "plug in".to_owned(),
            Phase::In { pull_at } => format!("plug in; pulled in {} s", until(pull_at)),
            Phase::Out { plug, back_at, .. } => {
                format!("PLUG OUT: {}; back in {} s", plug.words(), until(back_at))
            }
            Phase::Back { .. } => "plug in again; waiting for frames".to_owned(),
        };
        let proxy = stream.map_or_else(
            || "stream gone".to_owned(),
            |view| {
                let last =
                    view.last_failure.as_ref().map_or_else(String::new, |why| format!("   last: {why:?}"));
                format!("{:?}   failures {}   re-pulls {}{last}", view.state, view.failures, view.repulls)
            },
        );
        let mut lines = vec![
            format!("{:>5} s of {} s   {plug}", seconds(time), plan.time.as_secs()),
            format!("proxy   {proxy}"),
            "player    state      video   audio   keys   last gap   worst gap   silent for   drops   violations"
                .to_owned(),
        ];
        lines.extend(self.players.iter().map(|(name, player)| row(name, &player.view())));
        lines
    }

    /// Says what was lost; true if every promise was held.
    async fn judge(mut self, phase: Phase) -> bool {
        let reports: Vec<(&str, Report)> =
            self.players.iter().map(|(name, player)| (*name, player.look(Clone::clone))).collect();
        let mut worst = Duration::ZERO;
        let (mut dropped, mut violations) = (0, 0);
        for (name, report) in &reports {
            worst = worst.max(report.gap_worst);
            if let Phase::In { .. } = phase {
                worst = worst.max(report.silence(self.players[0].1.view().now));
            }
            dropped += usize::from(!report.disconnects.is_empty());
            violations += report.violations_total;
            self.broken
                .extend(report.disconnects.iter().map(|(at, why)| format!("{name} dropped at {at}: {why}")));
            self.broken.extend(report.violations.iter().map(|what| format!("{name}: {what}")));
        }
        let complaints = self.origin.status().await.ledger.complaints;
        self.broken.extend(complaints.into_iter().map(|complaint| format!("origin: {complaint}")));
        for broken in &self.broken {
            println!("broken: {broken}");
        }
        let held = self.broken.is_empty();
        println!(
            "{}: plug pulled {} times, worst gap {} s, players dropped {dropped} of {}, violations {violations}",
            if held { "promises held" } else { "PROMISES BROKEN" },
            self.pulls,
            seconds(worst),
            reports.len(),
        );
        held
    }
}

fn row(name: &str, view: &PlayerView) -> String {
    let report = &view.report;
    let silent = report.silence(view.now);
    let state = match view.state {
        PlayerState::Watching if silent >= SILENT_MIN => "waiting",
        PlayerState::Watching => "watching",
        PlayerState::Waiting => "DROPPED",
        PlayerState::Refused => "REFUSED",
        PlayerState::Dialling | PlayerState::Greeting | PlayerState::Requesting => "joining",
    };
    let last_gap = report.gaps.last().map_or(Duration::ZERO, |gap| gap.duration());
    format!(
        "{name:<9} {state:<9} {:>6} {:>7} {:>6} {:>8} s {:>9} s {:>10} s {:>7} {:>12}",
        report.video,
        report.audio,
        report.keyframes,
        seconds(last_gap),
        seconds(report.gap_worst),
        seconds(silent),
        report.disconnects.len(),
        report.violations_total,
    )
}

/// How long after the plug is back every player must have frames, computed from what the proxy decides by: notice
/// (by stall and replay, or by an unanswered ping), back off, dial, shake hands, ask, and wait for a keyframe.
fn recovery_bound(config: &proxy_core::Config) -> Duration {
    let pull = &config.pull;
    let by_stall = pull.stall_timeout + pull.replay_timeout;
    let by_ping = pull.ping_interval + pull.ping_timeout;
    let gop = Duration::from_secs(1);
    by_stall.max(by_ping)
        + pull.backoff_max
        + pull.dial_timeout
        + pull.handshake_timeout
        + pull.request_timeout
        + gop
}

/// xorshift64: the same seed, the same demo.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}
