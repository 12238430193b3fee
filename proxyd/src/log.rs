//! Events as log lines.
//!
//! The core numbers and tells; this chooses words and levels, and keeps a stream that flaps from filling the disk:
//! each key has so many lines a minute, then one that counts what was left out. Urls are never logged, peers' words
//! only [cleaned](words::clean). Steps of the pull machine are for `trace` alone, and there without a bound.

mod outlet;
pub mod words;

use std::{collections::BTreeMap, time::Duration};

use proxy_core::{
    Instant,
    io::{Event, EventKind, PullState, StreamEnd, StreamId},
    relay::EpochCause,
};
use tracing::Level;
use tracing_subscriber::{EnvFilter, filter::ParseError};

pub use self::outlet::Outlet;

/// The length of the window in which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Keys whose lines are counted apart; beyond it the rest share one count.
const BUDGETS_MAX: usize = 20_000;

/// The environment variable that sets the filter; `--log` wins over it.
pub const LOG_ENV: &str = "REPULL_LOG";

/// Starts logging to an outlet, in colour if a terminal reads it.
///
/// # Errors
/// `filter` is no filter.
pub fn init(filter: &str, outlet: &Outlet, is_terminal: bool) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let outlet = outlet.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || outlet.clone())
        .with_ansi(is_terminal)
        .with_target(false)
        .log_internal_errors(false)
        .finish();
    // Only tests start twice, and there the first one may stay.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// A line to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How loud.
    pub level: Level,
    /// What.
    pub text: String,
}

/// Turns events into lines and writes them.
#[derive(Debug)]
pub struct Logger {
    lines_max: u32,
    keys: BTreeMap<StreamId, Followed>,
    budgets: BTreeMap<String, Budget>,
    /// For lines without a stream, and for keys beyond [`BUDGETS_MAX`].
    shared: Budget,
}

/// A stream as its lines need it.
#[derive(Debug)]
struct Followed {
    key: String,
    /// The cause told last: an outage tells each cause once, then at every doubling of its failures.
    cause: Option<String>,
}

#[derive(Debug, Default)]
struct Budget {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Logger {
    /// Makes a logger that writes `lines_max` lines per key and minute at most, and one about the rest.
    pub fn new(lines_max: u32) -> Self {
        Self { lines_max, keys: BTreeMap::new(), budgets: BTreeMap::new(), shared: Budget::default() }
    }

    /// Takes an event, writes what is to be written.
    pub fn on_event(&mut self, event: &Event, now: Instant) {
        if let EventKind::PullStepped { state, event: stimulus, next } = &event.kind {
            tracing::trace!(stream = event.stream.map(|id| id.0), ?state, ?stimulus, ?next, "step");
            return;
        }
        for (key, line) in self.lines(event, now, is_enabled) {
            write_line(key.as_deref(), &line);
        }
    }

    /// Returns what is to be written about an event: by key, within its budget.
    ///
    /// `is_enabled` tells which levels are written at all; others cost no budget.
    pub fn lines(
        &mut self,
        event: &Event,
        now: Instant,
        is_enabled: impl Fn(Level) -> bool,
    ) -> Vec<(Option<String>, Line)> {
        if let (Some(stream), EventKind::Registered { key }) = (event.stream, &event.kind) {
            self.keys.insert(stream, Followed { key: key.to_string(), cause: None });
        }
        let followed = event.stream.and_then(|stream| self.keys.get_mut(&stream));
        let key = followed.as_ref().map(|followed| followed.key.clone());
        let mut lines = Vec::new();
        if let Some(line) = tell(event, now, followed.map(|followed| &mut followed.cause))
            && is_enabled(line.level)
        {
            self.spend(key.as_deref(), line, now, &mut lines);
        }
        if let (Some(stream), EventKind::Unregistered { .. }) = (event.stream, &event.kind) {
            self.keys.remove(&stream);
        }
        lines.into_iter().map(|line| (key.clone(), line)).collect()
    }

    fn spend(&mut self, key: Option<&str>, line: Line, now: Instant, out: &mut Vec<Line>) {
        if self.budgets.len() >= BUDGETS_MAX && key.is_some_and(|key| !self.budgets.contains_key(key)) {
            self.budgets.retain(|_, budget| now.since(budget.since) < WINDOW);
        }
        let budget = match key {
            Some(key) if self.budgets.len() < BUDGETS_MAX || self.budgets.contains_key(key) => {
                self.budgets.entry(key.to_owned()).or_default()
            }
            Some(_) => &mut self.shared,
            None => &mut self.shared,
        };
        if now.since(budget.since) >= WINDOW || budget.lines == 0 {
            if budget.left_out > 0 {
                let text = format!("{} lines left out", budget.left_out);
                out.push(Line { level: Level::WARN, text });
            }
            *budget = Budget { since: now, lines: 0, left_out: 0 };
        }
        if budget.lines < self.lines_max {
            budget.lines += 1;
            out.push(line);
        } else {
            budget.left_out += 1;
        }
    }
}

/// Says what an event means, if it is worth a line. `cause` is what was told last about this stream's failures.
fn tell(event: &Event, now: Instant, cause: Option<&mut Option<String>>) -> Option<Line> {
    let line = |level, text| Some(Line { level, text });
    match &event.kind {
        EventKind::PullStepped { .. } => None,
        EventKind::PullEntered { state: PullState::Streaming, .. } => {
            if let Some(cause) = cause {
                *cause = None;
            }
            line(Level::INFO, "streaming".to_owned())
        }
        EventKind::PullEntered { state, failure: Some(failure), failures, next_attempt } => {
            let failure = words::failure(failure);
            let is_known = cause.as_ref().is_some_and(|cause| cause.as_ref() == Some(&failure));
            let level = match state {
                PullState::BackingOff | PullState::Stopped if !is_known || failures.is_power_of_two() => {
                    Level::WARN
                }
                PullState::BackingOff | PullState::Stopped => Level::DEBUG,
                _ if is_known => Level::DEBUG,
                _ => Level::INFO,
            };
            let mut text = format!("{}: {failure}", state_words(*state));
            if let Some(next) = next_attempt {
                text.push_str(&format!("; attempt {} in {}", failures + 1, seconds(next.since(now))));
            }
            if let Some(cause) = cause {
                *cause = Some(failure);
            }
            line(level, text)
        }
        EventKind::PullEntered { state, failure: None, .. } => {
            line(Level::DEBUG, state_words(*state).to_owned())
        }
        EventKind::Registered { .. } => line(Level::INFO, "registered".to_owned()),
        EventKind::Unregistered { reason, .. } => {
            let level = match reason {
                StreamEnd::Deleted | StreamEnd::Closed | StreamEnd::NoneReader | StreamEnd::Shutdown => {
                    Level::INFO
                }
                StreamEnd::FirstAttemptFailed | StreamEnd::RetriesUsedUp | StreamEnd::Loop => Level::WARN,
            };
            line(level, format!("removed: {}", words::stream_end(*reason)))
        }
        EventKind::OriginStatus(status) => {
            line(Level::DEBUG, format!("the origin says {}", words::origin_status(status)))
        }
        EventKind::Epoch { number, cause: EpochCause::Play } => {
            line(Level::DEBUG, format!("epoch {number}: {}", words::epoch(EpochCause::Play)))
        }
        EventKind::Epoch { number, cause } => {
            line(Level::INFO, format!("epoch {number}: {}", words::epoch(*cause)))
        }
        EventKind::Rebuilt => line(Level::INFO, "stream context made anew".to_owned()),
        EventKind::TrackGone(medium) => {
            line(Level::WARN, format!("going on without the {} track", words::medium(*medium)))
        }
        EventKind::PlayerConnected { conn, peer } => {
            line(Level::DEBUG, format!("player {} connected from {peer}", conn.0))
        }
        EventKind::PlayerParked { conn, key } => {
            line(Level::INFO, format!("player {} waits for {}", conn.0, words::clean(&key.to_string())))
        }
        EventKind::PlayerSeated { conn } => line(Level::INFO, format!("player {} seated", conn.0)),
        EventKind::PlayerShed { conn, frames } => {
            line(Level::WARN, format!("player {} is slow and skipped {frames} frames", conn.0))
        }
        EventKind::PlayerLeft { conn, reason } => {
            line(Level::INFO, format!("player {} left: {}", conn.0, words::player_end(reason)))
        }
        EventKind::NoneReader => line(Level::INFO, "nobody watches".to_owned()),
    }
}

fn state_words(state: PullState) -> &'static str {
    match state {
        PullState::Resolving => "looks the name up",
        PullState::Queued => "waits for a dial token",
        PullState::Connecting => "dials",
        PullState::Handshaking => "shakes hands",
        PullState::Requesting => "asks to play",
        PullState::AwaitingMedia => "waits for media",
        PullState::Streaming => "streaming",
        PullState::Replaying => "asks to play again",
        PullState::BackingOff => "down",
        PullState::Stopped => "stopped",
    }
}

/// Writes a duration as people read it.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{}.{:01} s", time.as_secs(), time.subsec_millis() / 100)
}

fn is_enabled(level: Level) -> bool {
    match level {
        Level::ERROR => tracing::enabled!(Level::ERROR),
        Level::WARN => tracing::enabled!(Level::WARN),
        Level::INFO => tracing::enabled!(Level::INFO),
        Level::DEBUG => tracing::enabled!(Level::DEBUG),
        Level::TRACE => tracing::enabled!(Level::TRACE),
    }
}

fn write_line(key: Option<&str>, line: &Line) {
    let (stream, text) = (key.unwrap_or("-"), &line.text);
    match line.level {
        Level::ERROR => tracing::error!("{stream} {text}"),
        Level::WARN => tracing::warn!("{stream} {text}"),
        Level::INFO => tracing::info!("{stream} {text}"),
        Level::DEBUG => tracing::debug!("{stream} {text}"),
        Level::TRACE => tracing::trace!("{stream} {text}"),
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::{
        io::{ConnId, ConnectError, PullFailure},
        url::StreamKey,
        wire::command::Status,
    };

    use super::*;

    const STREAM: StreamId = StreamId(1);

    fn key() -> StreamKey {
        StreamKey { vhost: "v".to_owned(), app: "live".to_owned(), stream: "cam".to_owned() }
    }

    /// Feeds events one second apart; returns the lines of level info and above.
    fn check(kinds: Vec<EventKind>, lines_max: u32) -> Vec<String> {
        let mut logger = Logger::new(lines_max);
        let mut told = Vec::new();
        for (index, kind) in kinds.into_iter().enumerate() {
            let stream = match kind {
                EventKind::PlayerConnected { .. } => None,
                _ => Some(STREAM),
            };
            let event = Event { stream, number: index as u64 + 1, kind };
            let now = Instant::from_millis(1000 * index as u64);
            for (key, line) in logger.lines(&event, now, |level| level <= Level::INFO) {
                told.push(format!("{} {} {}", line.level, key.as_deref().unwrap_or("-"), line.text));
            }
        }
        told
    }

    fn down(failure: PullFailure, failures: u32) -> EventKind {
        let next_attempt = Some(Instant::from_millis(100_000));
        EventKind::PullEntered {
            state: PullState::BackingOff,
            failure: Some(failure),
            failures,
            next_attempt,
        }
    }

    fn entered(state: PullState) -> EventKind {
        EventKind::PullEntered { state, failure: None, failures: 0, next_attempt: None }
    }

    #[test]
    fn a_life_is_told_with_its_causes_once() {
        let refused = PullFailure::Connect(ConnectError::Refused);
        let mut kinds = vec![EventKind::Registered { key: key() }, entered(PullState::Streaming)];
        kinds.extend((1..=8).map(|failures| down(refused.clone(), failures)));
        kinds.push(down(PullFailure::Stalled, 9));
        kinds.push(entered(PullState::Streaming));
        kinds.push(EventKind::Unregistered { key: key(), reason: StreamEnd::Deleted });
        assert_eq!(
            check(kinds, 30),
            [
                " INFO v/live/cam registered",
                " INFO v/live/cam streaming",
                " WARN v/live/cam down: the origin refuses connections; attempt 2 in 98.0 s",
                " WARN v/live/cam down: the origin refuses connections; attempt 3 in 97.0 s",
                " WARN v/live/cam down: the origin refuses connections; attempt 5 in 95.0 s",
                " WARN v/live/cam down: the origin refuses connections; attempt 9 in 91.0 s",
                " WARN v/live/cam down: the origin went silent; attempt 10 in 90.0 s",
                " INFO v/live/cam streaming",
                " INFO v/live/cam removed: deleted",
            ]
            .map(|line| line.trim_start().to_owned())
        );
    }

    #[test]
    fn a_flapping_stream_is_told_within_its_budget() {
        let mut kinds = vec![EventKind::Registered { key: key() }];
        kinds.extend((0..130).map(|_| entered(PullState::Streaming)));
        let told = check(kinds, 30);
        let left_out: Vec<_> = told.iter().filter(|line| line.contains("left out")).collect();
        assert_eq!(left_out, ["WARN v/live/cam 30 lines left out", "WARN v/live/cam 30 lines left out"]);
        assert_eq!(told.len(), 30 + 1 + 30 + 1 + 11);
    }

    #[test]
    fn the_same_key_added_anew_has_no_budget_of_its_own() {
        let kinds = (0..40)
            .flat_map(|_| {
                [
                    EventKind::Registered { key: key() },
                    EventKind::Unregistered { key: key(), reason: StreamEnd::Deleted },
                ]
            })
            .take(59)
            .collect();
        assert_eq!(check(kinds, 10).len(), 10);
    }

    #[test]
    fn an_origins_words_neither_break_lines_nor_carry_tokens() {
        let status = Status {
            level: "error".to_owned(),
            code: "NetStream.Play.StreamNotFound".to_owned(),
            description: "no cam?token=hunter2\nfaked line".to_owned() + &"x".repeat(500),
        };
        let kinds = vec![EventKind::Registered { key: key() }, down(PullFailure::Refused(status), 1)];
        let told = check(kinds, 30);
        assert!(!told[1].contains("hunter2") && !told[1].contains('\n'), "{}", told[1]);
        assert!(told[1].len() < 300, "{}", told[1]);
    }

    #[test]
    fn lines_without_a_stream_share_one_budget() {
        let peer = ([127, 0, 0, 1], 9).into();
        let connected = |n| EventKind::PlayerConnected { conn: ConnId(n), peer };
        let mut logger = Logger::new(5);
        let lines = (0..50).flat_map(|n| {
            let event = Event { stream: None, number: 0, kind: connected(n) };
            logger.lines(&event, Instant::from_millis(n), |_| true)
        });
        assert_eq!(lines.count(), 5);
    }
}
