//! The promises, as oracles: each reads the records of a run as they are made and says when one is broken.
//!
//! ```text
//!  Record ──► Scene: what is so, as far as records tell ──► every Oracle that cares ──► Finding
//!     └─ time moves: whoever waited for something to happen by then looks first
//! ```
//! No oracle can touch the world; each is incremental and keeps what it needs. They are the same on every plane. All
//! hold in every run; what one scenario wants beside them is `expect`'s. An input costs each O(log n): whatever must
//! come by a moment waits in an ordered set, nobody ever looks through all streams or players.

mod alarms;
mod backlog;
pub mod bounds;
mod cells;
mod counts;
mod demand;
mod destination;
mod detection;
mod dial_budget;
mod events;
mod expect;
mod herd;
mod idempotence;
mod identity;
mod isolation;
mod key_truth;
mod limits;
mod log_lines;
mod manners;
mod marks;
mod picture;
mod pings;
mod quiet;
mod recovery;
mod removal;
mod replies;
mod retry_law;
mod scene;
mod seats;
mod single_flight;
mod state_truth;
#[cfg(test)]
pub(crate) mod story;
mod turns;

use std::collections::BTreeSet;

use proxy_core::{
    io::{EventKind, PullEventKind, PullState},
    time::{Duration, Instant},
};
use proxyd::log::words;

pub use self::{
    bounds::Strictness,
    cells::{REACHABLE, STIMULI},
    scene::{
        CallNow, ConnNow, Entered, OriginNow, PlaceNow, PlayerNow, ProxyNow, RequestNow, Scene, StreamNow,
    },
};
use crate::{
    scenario::model::Scenario,
    trace::{ActorId, Cast, Record, What},
};

/// Every promise that always holds: its name, and what it says.
pub const PROMISES: &[(&str, &str)] = &[
    (
        single_flight::NAME,
        "a stream has at most one upstream connection and one pending retry at a time, a key at most one stream",
    ),
    (key_truth::NAME, "a key is taken exactly while its stream can be listed, inspected and deleted"),
    (replies::NAME, "every request and every call is answered exactly once, within its bound"),
    (isolation::NAME, "a sick origin or player never disturbs a stream whose hosts no fault has touched"),
    (
        state_truth::NAME,
        "what is told is so: streaming means frames arrive, anything else names its next attempt or its final reason",
    ),
    (
        counts::NAME,
        "what lists count, bytes, frames, readers and re-pulls, is what can be counted at the sockets",
    ),
    (
        idempotence::NAME,
        "what a player gets before its first frame is the same after every re-pull as at the first play",
    ),
    (
        retry_law::NAME,
        "attempts begin by the law, failures are counted and forgiven by it, none begins after the end",
    ),
    (dial_budget::NAME, "no address is dialled more often than its budget, nor all of them than the total"),
    (
        identity::NAME,
        "nothing is sent to a connection that is over, late news acts on nobody, ids are never reused",
    ),
    (
        picture::NAME,
        "a player gets headers, then video from a keyframe, frames of its stream alone, in order, none left out unless \
         that is told, on a rising clock; who joins in a gap gets nothing from before it",
    ),
    (manners::NAME, "the proxy behaves towards origins and players as the protocol says"),
    (seats::NAME, "players are kept, parked or cut exactly as the policy says, and always told why"),
    (
        demand::NAME,
        "a pull runs exactly while its stream is registered, and always has an attempt or a timer",
    ),
    (
        destination::NAME,
        "a pull dials where its url leads, another url at once, follows few redirects and never asks for itself",
    ),
    (removal::NAME, "a stream is removed for the reason that is told, and for no other"),
    (
        limits::NAME,
        "every table and queue stays within its limit, is what the events say, and returns to its baseline",
    ),
    (
        backlog::NAME,
        "a player that reads too slowly skips to a keyframe, and that is told, before more waits for it than may",
    ),
    (
        events::NAME,
        "events of a stream are numbered without gaps, and each state follows from the one before",
    ),
    (log_lines::NAME, "a stream fills so many log lines a minute and no more, however it flaps"),
    (herd::NAME, "many streams that lose one origin spread their retries, and come back in no fixed order"),
    (
        detection::NAME,
        "a stream whose frames, bytes or track stop is noticed in time, an end that is told at once, and no state outlasts its deadline",
    ),
    (
        pings::NAME,
        "an origin is pinged as often as the settings say and no more often, from when a play is asked for",
    ),
    (
        recovery::NAME,
        "once its origin serves and nothing is in the way, a stream streams and its players see it, in time",
    ),
    (quiet::NAME, "the proxy sleeps until something is due: no busy loop, no wake-up in the past"),
    (DRIVER, "the production driver goes on running, and an operator gets what its API has answered"),
];

/// The promise of the driver on the planes that have it.
pub const DRIVER: &str = "driver";

/// The promise of a scenario that its run reaches certain marks.
pub const MARKS_WANTED: &str = "expect: marks";

/// What is measured of recovery: after the last fault, of streams and of players.
pub const RECOVERIES: [&str; 2] = [recovery::STREAM_AGAIN, recovery::FRAMES_AGAIN];

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The promise's name.
    pub promise: &'static str,
    /// The record at which it was seen.
    pub step: u64,
    /// When.
    pub at: Instant,
    /// Whose promise: the proxy, a player; the world if nobody's alone.
    pub actor: ActorId,
    /// What was seen and what was promised, with numbers.
    pub text: String,
    /// The line of the scenario that asked for it; 0 for a promise that always holds.
    pub line: u32,
}

/// Something measured beside its bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Of what.
    pub what: String,
    /// The worst seen.
    pub observed: Duration,
    /// What was promised.
    pub bound: Duration,
}

/// What is left when everything was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOver {
    /// What, and how many of it; only what should be none.
    pub things: Vec<(String, u64)>,
}

/// Where oracles put what they find.
#[derive(Debug, Default)]
pub struct Findings {
    /// Broken promises, in the order they were seen.
    pub found: Vec<Finding>,
    /// Measured times, the worst of each kind.
    pub measured: Vec<Measured>,
    /// The record under judgement, and its time.
    step: u64,
    at: Instant,
}

impl Findings {
    /// Notes a broken promise, seen at the record under judgement.
    pub fn broken(&mut self, promise: &'static str, actor: ActorId, text: String) {
        let (step, at) = (self.step, self.at);
        self.found.push(Finding { promise, step, at, actor, text, line: 0 });
    }

    /// Notes an end of the scenario's own that was missed.
    fn missed(&mut self, promise: &'static str, actor: ActorId, line: u32, text: String) {
        let (step, at) = (self.step, self.at);
        self.found.push(Finding { promise, step, at, actor, text, line });
    }

    /// Notes a time beside its bound; of one kind the one closest to its bound is kept.
    pub fn measure(&mut self, what: &str, observed: Duration, bound: Duration) {
        let worse = |other: &Measured| {
            observed.as_nanos() * other.bound.as_nanos().max(1)
                > other.observed.as_nanos() * bound.as_nanos().max(1)
        };
        match self.measured.iter_mut().find(|measured| measured.what == what) {
            Some(measured) if worse(measured) => (measured.observed, measured.bound) = (observed, bound),
            Some(_) => {}
            None => self.measured.push(Measured { what: what.to_owned(), observed, bound }),
        }
    }
}

/// Kinds of records, as bits: an oracle is fed those it asks for.
type Kinds = u16;

/// Phases.
const PHASE: Kinds = 1;
/// The timeline, moments, addresses.
const TIMELINE: Kinds = 1 << 1;
/// Calls and their answers.
const CALLS: Kinds = 1 << 2;
/// What enters the core.
const IN: Kinds = 1 << 3;
/// What leaves the core.
const OUT: Kinds = 1 << 4;
/// Bytes that leave the core, or that a socket took.
const BYTES: Kinds = 1 << 5;
/// Events, but for the steps of pulls.
const EVENT: Kinds = 1 << 6;
/// Steps of pulls.
const STEP: Kinds = 1 << 7;
/// What is alive.
const SAMPLE: Kinds = 1 << 8;
/// Frames at the proxy's socket.
const ARRIVED: Kinds = 1 << 9;
/// What becomes of players.
const PLAYER: Kinds = 1 << 10;
/// What players see.
const SAW: Kinds = 1 << 11;
/// What origins see.
const ORIGIN: Kinds = 1 << 12;
/// Not a record: time is about to move.
const TIME: Kinds = 1 << 13;
/// How many kinds there are.
const KINDS: usize = 14;

/// Returns the kind of a record; `None` of one that no oracle looks at.
fn kind_of(what: &What) -> Option<Kinds> {
    use crate::trace::{Inward, Outward};

    match what {
        What::Phase(_) => Some(PHASE),
        What::Began { .. } | What::Lifted { .. } | What::Moment(_) | What::Address { .. } => Some(TIMELINE),
        What::Asked(_) | What::Answered { .. } => Some(CALLS),
        What::In(Inward::Sent { .. }) | What::Out(Outward::Transmit { .. }) => Some(BYTES),
        What::In(_) => Some(IN),
        What::Out(_) | What::Dialled { .. } => Some(OUT),
        What::Event(event) => {
            if let EventKind::PullStepped { .. } = event.kind {
                Some(STEP)
            } else {
                Some(EVENT)
            }
        }
        What::Sample(_) => Some(SAMPLE),
        What::Arrived { .. } | What::EndArrived { .. } => Some(ARRIVED),
        What::PlayerJoins { .. }
        | What::PlayerLeaves { .. }
        | What::PlayerConnected { .. }
        | What::PlayerTold { .. }
        | What::PlayerLost { .. }
        | What::PlayerViolation { .. } => Some(PLAYER),
        What::Saw { .. } => Some(SAW),
        What::OriginAccepted | What::OriginPlays { .. } | What::OriginComplains(_) => Some(ORIGIN),
        What::Packet(_) => None,
    }
}

/// A family of promises.
trait Oracle: std::fmt::Debug {
    /// Returns the kinds of records it wants.
    fn kinds(&self) -> Kinds;

    /// Takes a record; the scene has it already.
    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings);

    /// Time is about to move to `now`: what had to come before has not. The scene is that of before.
    fn on_time(&mut self, _scene: &Scene, _now: Instant, _findings: &mut Findings) {}

    /// A proxy's process is gone or begins anew: nothing it knew is so.
    fn forget(&mut self, _proxy: ActorId) {}

    /// Returns whether everything that must come in the calm phase has come.
    fn is_well(&self, _scene: &Scene, _now: Instant) -> bool {
        true
    }

    /// The calm phase is over: what has not come by now does not come.
    fn on_calm_over(&mut self, _scene: &Scene, _now: Instant, _findings: &mut Findings) {}

    /// The run is over.
    fn on_end(&mut self, _scene: &Scene, _left: &LeftOver, _findings: &mut Findings) {}
}

/// Every promise, kept over one run.
#[derive(Debug, Default)]
pub struct Oracles {
    scene: Scene,
    families: Vec<Box<dyn Oracle>>,
    /// The families fed with each kind of record.
    fed: [Vec<u8>; KINDS],
    marks: marks::Marks,
    cells: cells::Cells,
    turns: turns::Turns,
    findings: Findings,
    now: Instant,
}

impl Oracles {
    /// Makes the oracles of a run.
    pub fn new(scenario: &Scenario, cast: &Cast) -> Self {
        Self::strict(scenario, cast, Strictness::default())
    }

    /// Makes the oracles of a run with detection bounds and the scenario's own scaled.
    pub fn strict(scenario: &Scenario, cast: &Cast, strictness: Strictness) -> Self {
        Self::seen(scenario, cast, strictness, false)
    }

    fn seen(scenario: &Scenario, cast: &Cast, strictness: Strictness, is_outside: bool) -> Self {
        // Of what they judge the outside of a process tells nothing.
        let inside = |family: Box<dyn Oracle>| (!is_outside).then_some(family);
        let families: Vec<Option<Box<dyn Oracle>>> = vec![
            Some(Box::<single_flight::SingleFlight>::default()),
            Some(Box::<key_truth::KeyTruth>::default()),
            Some(Box::<replies::Replies>::default()),
            Some(Box::<isolation::Isolation>::default()),
            Some(Box::<state_truth::StateTruth>::default()),
            inside(Box::<counts::Counts>::default()),
            Some(Box::<idempotence::Idempotence>::default()),
            Some(Box::<retry_law::RetryLaw>::default()),
            inside(Box::<dial_budget::DialBudget>::default()),
            inside(Box::<identity::Identity>::default()),
            Some(Box::<picture::Picture>::default()),
            Some(Box::<manners::Manners>::default()),
            Some(Box::<seats::Seats>::default()),
            Some(Box::<demand::Demand>::default()),
            Some(Box::<destination::Destination>::default()),
            inside(Box::<removal::Removal>::default()),
            Some(Box::<limits::Limits>::default()),
            inside(Box::<backlog::Backlog>::default()),
            Some(Box::<events::Events>::default()),
            Some(Box::<log_lines::LogLines>::default()),
            Some(Box::<herd::Herd>::default()),
            Some(Box::new(detection::Detection::new(strictness))),
            inside(Box::<pings::Pings>::default()),
            Some(Box::<recovery::Recovery>::default()),
            inside(Box::<quiet::Quiet>::default()),
            Some(Box::new(expect::Expectations::new(scenario, strictness))),
        ];
        let families: Vec<Box<dyn Oracle>> = families.into_iter().flatten().collect();
        Self::of(scenario, cast, families)
    }

    /// Makes the oracles of a run that is seen from outside the process: of the core's own records there are its events
    /// alone, and things may come later than promised by `tolerance`.
    pub fn from_outside(
        scenario: &Scenario,
        cast: &Cast,
        strictness: Strictness,
        tolerance: Duration,
    ) -> Self {
        let mut oracles = Self::seen(scenario, cast, strictness, true);
        oracles.scene.is_outside = true;
        oracles.scene.tolerance = tolerance;
        oracles
    }

    fn of(scenario: &Scenario, cast: &Cast, families: Vec<Box<dyn Oracle>>) -> Self {
        let mut fed: [Vec<u8>; KINDS] = Default::default();
        for (index, family) in families.iter().enumerate() {
            for (kind, fed) in fed.iter_mut().enumerate() {
                if family.kinds() >> kind & 1 == 1 {
                    fed.push(u8::try_from(index).unwrap_or(u8::MAX));
                }
            }
        }
        let (marks, turns) = (marks::Marks::new(scenario), turns::Turns::new(scenario));
        Self { scene: Scene::new(scenario, cast), families, fed, marks, turns, ..Self::default() }
    }

    /// Takes a record.
    pub fn on_record(&mut self, record: &Record) {
        let Some(kind) = kind_of(&record.what) else { return };
        self.pass(record.at);
        (self.findings.step, self.findings.at) = (record.step, record.at);
        // What a process says that is being killed is nobody's promise.
        let is_said = kind & (CALLS | IN | OUT | BYTES | EVENT | STEP | SAMPLE | ARRIVED) != 0;
        if is_said && self.scene.proxies.get(&record.actor).is_some_and(|proxy| !proxy.is_up) {
            return;
        }
        self.scene.on_record(record);
        for proxy in self.scene.take_forgotten() {
            self.families.iter_mut().for_each(|family| family.forget(proxy));
        }
        self.cells.on_record(record);
        self.turns.on_record(record, &self.scene);
        self.marks.on_record(record, &self.scene);
        for index in &self.fed[kind.trailing_zeros() as usize] {
            self.families[usize::from(*index)].on_record(record, &self.scene, &mut self.findings);
        }
    }

    /// Judges deadlines this much later than they are: timers are late, or the clock itself goes by ticks.
    #[must_use]
    pub fn with_grain(mut self, grain: Duration, is_coarse: bool) -> Self {
        (self.scene.grain, self.scene.is_coarse) = (grain, is_coarse);
        self
    }

    /// Lets time pass up to a moment: whoever waited for something to happen by then looks.
    pub fn pass(&mut self, now: Instant) {
        let tolerance = u64::try_from(self.scene.tolerance.as_nanos()).unwrap_or(u64::MAX);
        let now = Instant::from_nanos(now.as_nanos().saturating_sub(tolerance));
        if now > self.now {
            self.on_time(now);
        }
    }

    fn on_time(&mut self, now: Instant) {
        let late = now - self.scene.grain;
        for index in &self.fed[TIME.trailing_zeros() as usize] {
            self.families[usize::from(*index)].on_time(&self.scene, late, &mut self.findings);
        }
        self.now = now;
    }

    /// Notes a promise broken that the world itself sees.
    pub fn broken(&mut self, promise: &'static str, step: u64, at: Instant, text: String) {
        self.findings.found.push(Finding { promise, step, at, actor: ActorId::WORLD, text, line: 0 });
    }

    /// Returns whether everything that must come in the calm phase has come.
    pub fn is_well(&self, now: Instant) -> bool {
        self.families.iter().all(|family| family.is_well(&self.scene, now))
    }

    /// Returns how long the calm phase may last.
    pub fn calm_max(&self) -> Duration {
        self.scene.calm_max()
    }

    /// The calm phase is over.
    pub fn on_calm_over(&mut self, now: Instant) {
        self.findings.at = now;
        for family in &mut self.families {
            family.on_calm_over(&self.scene, now, &mut self.findings);
        }
    }

    /// The run is over.
    pub fn on_end(&mut self, left: &LeftOver) {
        for family in &mut self.families {
            family.on_end(&self.scene, left, &mut self.findings);
        }
        // Most marks are made by what enters and leaves the core.
        if !self.scene.is_outside {
            self.marks.take_unreached(&mut self.findings);
        }
    }

    /// Returns whether a promise is broken.
    pub fn has_findings(&self) -> bool {
        !self.findings.found.is_empty()
    }

    /// Takes the broken promises.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings.found)
    }

    /// Returns what was measured.
    pub fn measured(&self) -> &[Measured] {
        &self.findings.measured
    }

    /// Returns the marks reached, in the order of [`MARKS`](crate::scenario::MARKS).
    pub fn marks(&self) -> Vec<&'static str> {
        self.marks.reached()
    }

    /// Returns the cells of the pull's table that were reached: every state with every stimulus it met.
    pub fn cells(&self) -> Vec<(PullState, PullEventKind)> {
        self.cells.reached()
    }

    /// Returns the ways taken: which cell followed which, what began in which state, each a number.
    pub fn ways(&self) -> &BTreeSet<u32> {
        self.turns.ways()
    }

    /// Returns the instants of the safety phase at which pulls, seats and timers turned.
    pub fn instants(&self) -> &[Instant] {
        self.turns.instants()
    }

    /// Returns what is so.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }
}

/// Tells how often the attempts of a stream failed in a row, and how the last one did.
fn failures_of(stream: &StreamNow) -> String {
    match &stream.failure {
        Some(failure) => format!("{} failures, the last one: {}", stream.failures, words::failure(failure)),
        None => format!("{} failures", stream.failures),
    }
}

/// Writes a duration as people read it: seconds with three places.
fn secs(time: Duration) -> String {
    format!("{}.{:03} s", time.as_secs(), time.subsec_millis())
}
