//! Events as log lines.
//!
//! The core numbers and tells; this chooses words and levels, and keeps a stream that flaps from filling the disk:
//! each key has so many lines a minute about its pull and as many about its players. What is left out is counted, and
//! the count told with the stream's state as soon as something happens, anywhere, after the minute: the last line about
//! a stream is never a stale one. A stream that is removed has its count told at once. Urls are never logged, peers'
//! words only [cleaned](words::clean). Steps of the pull machine are for `trace` alone, and there without a bound.

mod events;
mod outlet;
pub mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proxy_core::{
    Instant,
    io::{Event, EventKind, PullState, StreamEnd, StreamId},
    relay::EpochCause,
};
use tracing::Level;
use tracing_subscriber::{EnvFilter, filter::ParseError};

pub use self::{events::EventLog, outlet::Outlet};

/// The length of the window in which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Budgets that are kept apart; lines that would need one more share those without a stream.
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
    followed: BTreeMap<StreamId, Followed>,
    /// The streams that are registered, by key.
    registered: BTreeMap<String, StreamId>,
    budgets: BTreeMap<Account, Budget>,
    /// The budgets that left lines out and have not told so, by the end of their window.
    owing: BTreeSet<(Instant, Account)>,
}

/// A stream as its lines need it.
#[derive(Debug)]
struct Followed {
    key: String,
    /// The state entered last; none before the first.
    state: Option<PullState>,
    /// The cause told last: an outage tells each cause once, then at every doubling of its failures.
    cause: Option<String>,
}

/// Whose lines are counted together: a key's, or those without one.
type Account = (Option<String>, Subject);

/// What a line is about. Apart, so that a crowd that joins cannot swallow the news of an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Pull,
    Players,
}

/// The lines of one window.
#[derive(Debug)]
struct Budget {
    since: Instant,
    lines: u32,
    left_out: u64,
    /// The count was told before the window ended, because the stream was removed. Once only: who adds and deletes
    /// all the time stays within bounds.
    is_settled: bool,
}

impl Budget {
    fn new(since: Instant) -> Self {
        Self { since, lines: 0, left_out: 0, is_settled: false }
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.since + WINDOW
    }
}

/// Lines to be, each with the key it is about.
type Lines = Vec<(Option<String>, Line)>;

impl Logger {
    /// Makes a logger that writes `lines_max` lines per key and minute at most about its pull, as many about its
    /// players, and of each kind one or two about the rest.
    pub fn new(lines_max: u32) -> Self {
        Self {
            lines_max,
            followed: BTreeMap::new(),
            registered: BTreeMap::new(),
            budgets: BTreeMap::new(),
            owing: BTreeSet::new(),
        }
    }

    /// Takes an event, writes what is to be written.
    pub fn on_event(&mut self, event: &Event, now: Instant) {
        if let EventKind::PullStepped { state, event: stimulus, next } = &event.kind {
            tracing::trace!(stream = event.stream.map(|id| id.0), ?state, ?stimulus, ?next, "step");
        }
        for (key, line) in self.lines(event, now, is_enabled) {
            write_line(key.as_deref(), &line);
        }
    }

    /// Returns what is to be written about an event, by key and within its budget, after the counts of all windows
    /// that have ended. Every event serves for that: pass those that have no line of their own, too.
    ///
    /// `is_enabled` tells which levels are written at all; others cost no budget.
    pub fn lines(&mut self, event: &Event, now: Instant, is_enabled: impl Fn(Level) -> bool) -> Lines {
        let mut lines = Vec::new();
        self.follow(event);
        self.tell_ended(now, &mut lines);
        // It comes with every frame: it must cost next to nothing.
        if let EventKind::PullStepped { .. } = event.kind {
            return lines;
        }

        let followed = event.stream.and_then(|stream| self.followed.get_mut(&stream));
        let key = followed.as_ref().map(|followed| followed.key.clone());
        let cause = followed.map(|followed| &mut followed.cause);
        let line = tell(event, now, cause).filter(|line| is_enabled(line.level));
        if let Some(line) = line.clone() {
            self.spend(key.clone(), subject(&event.kind), line, now, &mut lines);
        }
        if let (Some(stream), EventKind::Unregistered { .. }) = (event.stream, &event.kind) {
            let last = line.map_or_else(String::new, |line| format!("; {}", line.text));
            self.settle(key, &last, &mut lines);
            self.forget(stream);
        }
        lines
    }

    /// Keeps what lines need to know of a stream.
    fn follow(&mut self, event: &Event) {
        let Some(stream) = event.stream else { return };
        if let EventKind::Registered { key } = &event.kind {
            self.registered.insert(key.to_string(), stream);
            self.followed.insert(stream, Followed { key: key.to_string(), state: None, cause: None });
        }
        if let EventKind::PullEntered { state, .. } = &event.kind
            && let Some(followed) = self.followed.get_mut(&stream)
        {
            followed.state = Some(*state);
        }
    }

    fn forget(&mut self, stream: StreamId) {
        let Some(followed) = self.followed.remove(&stream) else { return };
        // A key may have been taken again.
        if self.registered.get(&followed.key) == Some(&stream) {
            self.registered.remove(&followed.key);
        }
    }

    /// Tells what was left out in windows that have ended.
    fn tell_ended(&mut self, now: Instant, out: &mut Lines) {
        while let Some((end, _)) = self.owing.first()
            && *end <= now
            && let Some((_, account)) = self.owing.pop_first()
        {
            let present = match (&account.0, account.1) {
                (Some(key), Subject::Pull) => format!("; now {}", self.present(key)),
                (Some(_), Subject::Players) => String::new(),
                (None, _) => String::new(),
            };
            self.tell_left_out(account, &present, out);
        }
    }

    /// Tells what was left out about a stream that is removed, and how it ended: nothing more may come that would.
    fn settle(&mut self, key: Option<String>, last: &str, out: &mut Lines) {
        for (subject, last) in [(Subject::Players, ""), (Subject::Pull, last)] {
            let account = (key.clone(), subject);
            if let Some(budget) = self.budgets.get_mut(&account)
                && budget.left_out > 0
                && !budget.is_settled
            {
                budget.is_settled = true;
                self.owing.remove(&(budget.since + WINDOW, account.clone()));
                self.tell_left_out(account, last, out);
            }
        }
    }

    fn tell_left_out(&mut self, account: Account, last: &str, out: &mut Lines) {
        let Some(budget) = self.budgets.get_mut(&account) else { return };
        let count = std::mem::take(&mut budget.left_out);
        let lines = if count == 1 { "line" } else { "lines" };
        let about = match account.1 {
            Subject::Pull => "",
            Subject::Players => " about players",
        };
        out.push((
            account.0,
            Line { level: Level::WARN, text: format!("{count} {lines}{about} left out{last}") },
        ));
    }

    /// Says how a stream is doing.
    fn present(&self, key: &str) -> String {
        let Some(followed) = self.registered.get(key).and_then(|stream| self.followed.get(stream)) else {
            return "removed".to_owned();
        };
        let state = followed.state.map_or("registered", words::state).replace('_', " ");
        // The line with the cause may be one of those left out.
        match &followed.cause {
            Some(cause) => format!("{state}: {cause}"),
            None => state,
        }
    }

    fn spend(&mut self, key: Option<String>, subject: Subject, line: Line, now: Instant, out: &mut Lines) {
        let mut account = (key.clone(), subject);
        if self.budgets.len() >= BUDGETS_MAX && !self.budgets.contains_key(&account) {
            // One that owes its count stays until it has told it.
            self.budgets.retain(|_, budget| budget.left_out > 0 || !budget.is_over(now));
            if self.budgets.len() >= BUDGETS_MAX {
                account.0 = None;
            }
        }
        let budget = self.budgets.entry(account.clone()).or_insert_with(|| Budget::new(now));
        if budget.is_over(now) {
            assert_eq!(budget.left_out, 0, "the counts of ended windows are told before anything is spent");
            *budget = Budget::new(now);
        }
        if budget.lines < self.lines_max {
            budget.lines += 1;
            out.push((key, line));
            return;
        }
        if budget.left_out == 0 {
            self.owing.insert((budget.since + WINDOW, account));
        }
        budget.left_out += 1;
    }
}

/// Returns what an event's line is about.
fn subject(kind: &EventKind) -> Subject {
    match kind {
        EventKind::PullStepped { .. } => Subject::Pull,
        EventKind::PullEntered { .. } => Subject::Pull,
        EventKind::Registered { .. } => Subject::Pull,
        EventKind::Unregistered { .. } => Subject::Pull,
        EventKind::OriginStatus(_) => Subject::Pull,
        EventKind::Epoch { .. } => Subject::Pull,
        EventKind::Rebuilt => Subject::Pull,
        EventKind::TrackGone(_) => Subject::Pull,
        EventKind::NoneReader => Subject::Pull,
        EventKind::PlayerConnected { .. } => Subject::Players,
        EventKind::PlayerParked { .. } => Subject::Players,
        EventKind::PlayerSeated { .. } => Subject::Players,
        EventKind::PlayerShed { .. } => Subject::Players,
        EventKind::PlayerLeft { .. } => Subject::Players,
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
                text.push_str(&format!("; attempt {} {}", failures + 1, wait(next.since(now))));
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

/// Says when something happens that is so far ahead.
fn wait(time: Duration) -> String {
    match time.as_millis() {
        0 => "now".to_owned(),
        millis @ 1..1000 => format!("in {millis} ms"),
        _ => format!("in {}", seconds(time)),
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
        io::{ConnId, ConnectError, PlayerEnd, PullEventKind, PullFailure},
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
        check_at((0..).map(|second| second * 1000).zip(kinds).collect(), lines_max)
    }

    /// Feeds events at so many milliseconds; returns the lines of level info and above.
    fn check_at(kinds: Vec<(u64, EventKind)>, lines_max: u32) -> Vec<String> {
        let mut logger = Logger::new(lines_max);
        let mut told = Vec::new();
        for (at, kind) in kinds {
            let stream = match kind {
                EventKind::PlayerConnected { .. } => None,
                _ => Some(STREAM),
            };
            let event = Event { stream, number: at + 1, kind };
            for (key, line) in logger.lines(&event, Instant::from_millis(at), |level| level <= Level::INFO) {
                told.push(format!("{} {} {}", line.level, key.as_deref().unwrap_or("-"), line.text));
            }
        }
        told
    }

    fn stepped(state: PullState) -> EventKind {
        EventKind::PullStepped { state, event: PullEventKind::Frame, next: state }
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
        assert_eq!(left_out, ["WARN v/live/cam 30 lines left out; now streaming"; 2]);
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
        let told = check(kinds, 10);
        assert_eq!(told.len(), 11, "{told:?}");
        assert_eq!(told[10], "WARN v/live/cam 2 lines left out; removed: deleted");
    }

    #[test]
    fn what_was_left_out_is_told_at_the_next_frame_after_the_window() {
        let mut kinds = vec![(0, EventKind::Registered { key: key() })];
        kinds.extend((1..9).map(|at| (at, entered(PullState::Streaming))));
        kinds.extend([59_999, 60_000, 60_001].map(|at| (at, stepped(PullState::Streaming))));
        assert_eq!(
            check_at(kinds, 2)[1..],
            ["INFO v/live/cam streaming", "WARN v/live/cam 7 lines left out; now streaming"]
        );
    }

    #[test]
    fn a_cause_that_was_left_out_is_told_after_the_window() {
        let kinds = vec![
            (0, EventKind::Registered { key: key() }),
            (1, entered(PullState::Streaming)),
            (2, down(PullFailure::Stalled, 1)),
            (99_000, stepped(PullState::BackingOff)),
        ];
        assert_eq!(
            check_at(kinds, 2)[2..],
            ["WARN v/live/cam 1 line left out; now backing off: the origin went silent"]
        );
    }

    #[test]
    fn another_streams_event_tells_what_was_left_out() {
        let mut logger = Logger::new(1);
        let registered = EventKind::Registered { key: key() };
        let other = StreamId(2);
        let told: Vec<_> = [
            (STREAM, registered, 0),
            (STREAM, entered(PullState::Streaming), 1),
            (other, stepped(PullState::Streaming), 60_000),
        ]
        .into_iter()
        .flat_map(|(stream, kind, at)| {
            let event = Event { stream: Some(stream), number: 1, kind };
            logger.lines(&event, Instant::from_millis(at), |level| level <= Level::INFO)
        })
        .map(|(key, line)| (key.unwrap_or_default(), line.text))
        .collect();
        let line = |text: &str| ("v/live/cam".to_owned(), text.to_owned());
        assert_eq!(told, [line("registered"), line("1 line left out; now streaming")]);
    }

    #[test]
    fn a_stream_that_is_removed_takes_no_count_along() {
        let mut kinds = vec![(0, EventKind::Registered { key: key() })];
        kinds.extend((1..=4).map(|at| (at, EventKind::PlayerSeated { conn: ConnId(at) })));
        kinds.extend((5..=8).map(|at| (at, entered(PullState::Streaming))));
        kinds.push((9, EventKind::Unregistered { key: key(), reason: StreamEnd::RetriesUsedUp }));
        let told = check_at(kinds, 3);
        let tail = &told[told.len() - 2..];
        assert_eq!(tail[0], "WARN v/live/cam 1 line about players left out");
        assert!(tail[1].starts_with("WARN v/live/cam 3 lines left out; removed: "), "{told:?}");
    }

    #[test]
    fn players_that_join_do_not_swallow_the_streams_own_lines() {
        let mut kinds = vec![(0, EventKind::Registered { key: key() })];
        for at in 1..=30 {
            let conn = ConnId(at);
            kinds.push((at, EventKind::PlayerSeated { conn }));
            kinds.push((at, EventKind::PlayerLeft { conn, reason: PlayerEnd::Stopped }));
        }
        kinds.push((31, down(PullFailure::Stalled, 1)));
        kinds.push((32, entered(PullState::Streaming)));
        kinds.push((60_031, stepped(PullState::Streaming)));
        let told = check_at(kinds, 5);
        assert_eq!(
            told[6..],
            [
                "WARN v/live/cam down: the origin went silent; attempt 2 in 99.9 s",
                "INFO v/live/cam streaming",
                "WARN v/live/cam 55 lines about players left out",
            ]
        );
    }

    #[test]
    fn a_budget_that_owes_its_count_is_kept_when_there_are_too_many() {
        let mut logger = Logger::new(1);
        let mut register = |number: u64, at| {
            let key = StreamKey { stream: format!("cam{number}"), ..key() };
            let event =
                Event { stream: Some(StreamId(number)), number: 1, kind: EventKind::Registered { key } };
            logger.lines(&event, Instant::from_millis(at), |_| true).len()
        };
        let budgets_max = BUDGETS_MAX as u64;
        let own: usize = (0..budgets_max).map(|number| register(number, 0)).sum();
        assert_eq!(own, BUDGETS_MAX);
        // The first beyond the bound share one line; the next window has room for all.
        assert_eq!([1, 2, 3].map(|more| register(budgets_max + more, 1)), [1, 0, 0]);
        assert_eq!(register(budgets_max + 4, 60_000), 1);
        assert_eq!(register(budgets_max + 5, 60_001), 2, "its own line and the count of those that shared");
    }

    #[test]
    fn a_wait_is_told_in_words_that_fit_it() {
        let check = |nanos, words| assert_eq!(wait(Duration::from_nanos(nanos)), words);
        check(0, "now");
        check(999_999, "now");
        check(80_000_000, "in 80 ms");
        check(999_999_999, "in 999 ms");
        check(1_000_000_000, "in 1.0 s");
        check(61_550_000_000, "in 61.5 s");
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
