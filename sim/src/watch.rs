//! `repull-sim watch`: players that stay, and a line for everything that happens to them.

use std::{
    io::{self, Write, stdout},
    time::{Duration, SystemTime},
};

use proxy_core::time::Instant;
use serde_json::json;
use sim::{
    player::PlayerConfig,
    real::{Clock, PlayerView, RealPlayer},
    viewer::ViewerConfig,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::Watched;

/// How often players are looked at: the exactness of GAPSTART and DISCONNECT lines.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A player that lost its connection dials again after this, as players of people do.
const REDIAL_AFTER: Duration = Duration::from_millis(500);

/// One player, and what has been told of it.
struct Seat {
    label: String,
    player: RealPlayer,
    connections: u64,
    frames: u64,
    gaps: usize,
    disconnects: usize,
    statuses: usize,
    violations: usize,
    is_silent: bool,
}

/// Watches until a signal or for `time`; false if something was seen that may not be.
pub(crate) async fn watch(
    players: &[Watched],
    gap_min: Duration,
    time: Option<Duration>,
) -> io::Result<bool> {
    let clock = Clock::start();
    let stamps = TimeOfDay::new(clock);
    let mut seats = Vec::new();
    for Watched { label, url } in players {
        let viewer = ViewerConfig { gap_min, ..ViewerConfig::plain() };
        let (config, address) = PlayerConfig::from_url(url, viewer).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: not an rtmp:// or http:// url"))
        })?;
        let config = PlayerConfig { redial: Some(REDIAL_AFTER), ..config };
        seats.push(Seat::new(label.clone(), RealPlayer::start_with(config, address, clock)));
    }

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut look = tokio::time::interval(LOOK_EVERY);
    let end = time.map(|time| clock.now() + time);
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = look.tick() => {}
        }
        let mut lines = stdout().lock();
        for seat in &mut seats {
            seat.tell(gap_min, &stamps, &mut lines)?;
        }
        if end.is_some_and(|end| clock.now() >= end) {
            break;
        }
    }

    let mut is_clean = true;
    for seat in seats {
        let report = seat.player.stop();
        is_clean &= report.violations_total == 0 && report.frames > 0;
        let line = json!({
            "label": seat.label,
            "frames": report.frames,
            "keyframes": report.keyframes,
            "worst_gap_ms": millis(report.gap_worst),
            "disconnects": report.disconnects.len(),
            "violations": report.violations,
        });
        println!("{line}");
    }
    Ok(is_clean)
}

impl Seat {
    fn new(label: String, player: RealPlayer) -> Self {
        Self {
            label,
            player,
            connections: 0,
            frames: 0,
            gaps: 0,
            disconnects: 0,
            statuses: 0,
            violations: 0,
            is_silent: false,
        }
    }

    /// Tells what has happened since the last look.
    fn tell(&mut self, gap_min: Duration, stamps: &TimeOfDay, lines: &mut impl Write) -> io::Result<()> {
        let PlayerView { report, now, .. } = self.player.view();
        let label = &self.label;
        let mut say = |at: Instant, event: &str| writeln!(lines, "{} {label} {event}", stamps.of(at));

        for _ in self.connections..report.connections {
            say(now, "CONNECTED")?;
        }
        self.connections = report.connections;
        if let (0, Some(first)) = (self.frames, report.first_frame) {
            say(first, "FIRSTMEDIA")?;
        }
        self.frames = report.frames;
        for gap in &report.gaps[self.gaps..] {
            if !self.is_silent {
                say(gap.from + gap_min, "GAPSTART")?;
            }
            self.is_silent = false;
            say(gap.to, &format!("GAPEND ms={}", millis(gap.duration())))?;
        }
        self.gaps = report.gaps.len();
        if !self.is_silent && report.frames > 0 && report.silence(now) >= gap_min {
            self.is_silent = true;
            say(now, "GAPSTART")?;
        }
        for (at, cause) in &report.disconnects[self.disconnects..] {
            say(*at, &format!("DISCONNECT {cause}"))?;
        }
        self.disconnects = report.disconnects.len();
        for (at, status) in &report.statuses[self.statuses..] {
            say(*at, &format!("STATUS {status}"))?;
        }
        self.statuses = report.statuses.len();
        for violation in &report.violations[self.violations..] {
            say(now, &format!("VIOLATION {violation}"))?;
        }
        self.violations = report.violations.len();
        lines.flush()
    }
}

/// Turns moments of a clock into the time of day, to lay events of several programs side by side.
struct TimeOfDay {
    zero: Duration,
}

impl TimeOfDay {
    #[expect(clippy::disallowed_methods, reason = "lines are compared with those of other programs")]
    fn new(clock: Clock) -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { zero: since_1970.saturating_sub(clock.now().since(Instant::ZERO)) }
    }

    fn of(&self, at: Instant) -> String {
        let since_1970 = self.zero + at.since(Instant::ZERO);
        format!("{}.{:03}", since_1970.as_secs(), since_1970.subsec_millis())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
