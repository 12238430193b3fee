//! Log lines per stream and minute: the production logger's own lines, counted once more.

use std::collections::BTreeMap;

use proxy_core::{
    io::EventKind,
    time::{Duration, Instant},
};
use proxyd::log::Logger;
use tracing::Level;

use super::{EVENT, Findings, Kinds, Oracle, STEP, Scene};
use crate::trace::{ActorId, Record, What};

pub(super) const NAME: &str = "log-lines";

/// The window in which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Lines any minute may hold that say what was left out about a pull, or about its players: of the window that ends in
/// it one when its stream is removed and one at the end, of the window that begins then one when its stream is removed.
const LEFT_OUT_MAX: u32 = 3;

/// Lets the production logger say what it would write, and counts.
#[derive(Debug, Default)]
pub(super) struct LogLines {
    loggers: BTreeMap<ActorId, Logger>,
    windows: BTreeMap<(ActorId, Option<String>, Subject), Window>,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Pull,
    Players,
    LeftOut,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    lines: u32,
}

impl Oracle for LogLines {
    fn kinds(&self) -> Kinds {
        EVENT | STEP
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let What::Event(event) = &record.what else { return };
        let proxy = record.actor;
        let Some(settings) = scene.settings.get(&proxy) else { return };
        let lines_max = settings.log.lines_per_minute;
        let logger = self.loggers.entry(proxy).or_insert_with(|| Logger::new(lines_max));
        for (key, line) in logger.lines(event, record.at, |level| level <= Level::INFO) {
            let is_left_out = line.text.contains("left out");
            let subject = if is_left_out { Subject::LeftOut } else { subject(&event.kind) };
            let limit = if is_left_out { LEFT_OUT_MAX * 2 } else { lines_max };
            let window = self
                .windows
                .entry((proxy, key.clone(), subject))
                .or_insert(Window { since: record.at, lines: 0 });
            if record.at >= window.since + WINDOW {
                *window = Window { since: record.at, lines: 0 };
            }
            window.lines += 1;
            if window.lines > limit {
                let text = format!(
                    "{} filled {} log lines since {}: {limit} a minute were promised (log.lines_per_minute); the last \
                     one: {}",
                    key.as_deref().unwrap_or("what has no stream"),
                    window.lines,
                    window.since,
                    line.text
                );
                findings.broken(NAME, proxy, text);
            }
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.loggers.remove(&proxy);
        self.windows.retain(|(of, _, _), _| *of != proxy);
    }
}

fn subject(kind: &EventKind) -> Subject {
    match kind {
        EventKind::PullStepped { .. }
        | EventKind::PullEntered { .. }
        | EventKind::Registered { .. }
        | EventKind::Unregistered { .. }
        | EventKind::OriginStatus(_)
        | EventKind::Epoch { .. }
        | EventKind::Rebuilt
        | EventKind::TrackGone(_)
        | EventKind::NoneReader => Subject::Pull,
        EventKind::PlayerConnected { .. }
        | EventKind::PlayerParked { .. }
        | EventKind::PlayerSeated { .. }
        | EventKind::PlayerShed { .. }
        | EventKind::PlayerLeft { .. } => Subject::Players,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::story::Story;

    /// A stream flaps so often, 100 ms apart.
    fn check(lines_max: u32, flaps: u64) -> Vec<String> {
        let mut family = LogLines::default();
        // A logger that is not bound by what was promised.
        family.loggers.insert(crate::oracle::story::PROXY, Logger::new(lines_max));
        let scenario = crate::oracle::story::scenario();
        Story::told_to(&scenario, Box::new(Keeps(family)), |story| {
            story.register(1, "live/a");
            for flap in 0..flaps {
                story.at(flap * 100).event(1, EventKind::Rebuilt);
            }
        })
    }

    /// The same, with the logger it was given.
    #[derive(Debug)]
    struct Keeps(LogLines);

    impl Oracle for Keeps {
        fn kinds(&self) -> Kinds {
            self.0.kinds()
        }

        fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
            self.0.on_record(record, scene, findings);
        }
    }

    #[test]
    fn a_flapping_stream_stays_within_its_lines() {
        assert_eq!(check(30, 2_000), [""; 0]);
    }

    #[test]
    fn a_logger_that_writes_more_is_found() {
        let texts = check(31, 100);
        assert_eq!(texts.len(), 1);
        assert!(
            texts[0].contains("__defaultVhost__/live/a filled 31 log lines since 0.000000s: 30 a minute"),
            "{texts:?}"
        );
    }
}
