//! The promises, as oracles: each reads the records of a run as they are made and says when one is broken.
//!
//! ```text
//!  Record ──► Scene: what is so, as far as records tell ──► every Oracle ──► Finding
//! ```
//! No oracle can touch the world; each is incremental and keeps what it needs. They are the same on every plane. All
//! hold in every run; what one scenario wants beside them is [`expect`]'s.

mod scene;

use proxy_core::{
    io::{PullEventKind, PullState},
    time::{Duration, Instant},
};

pub use self::scene::{CallNow, ConnNow, OriginNow, PlayerNow, Scene, StreamNow};
use crate::{
    scenario::model::Scenario,
    trace::{ActorId, Cast, Record},
};

/// The promise of a scenario that its run reaches certain marks.
pub const MARKS_WANTED: &str = "expect: marks";

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
}

impl Findings {
    /// Notes a broken promise, seen at a record.
    pub fn broken(&mut self, promise: &'static str, record: &Record, text: String) {
        let (step, at, actor) = (record.step, record.at, record.actor);
        self.found.push(Finding { promise, step, at, actor, text, line: 0 });
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

/// A family of promises.
pub trait Oracle: std::fmt::Debug {
    /// Takes a record; the scene has it already.
    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings);

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
    findings: Findings,
}

impl Oracles {
    /// Makes the oracles of a run.
    pub fn new(scenario: &Scenario, cast: &Cast) -> Self {
        Self { scene: Scene::new(scenario, cast), families: Vec::new(), findings: Findings::default() }
    }

    /// Takes a record.
    pub fn on_record(&mut self, record: &Record) {
        self.scene.on_record(record);
        for family in &mut self.families {
            family.on_record(record, &self.scene, &mut self.findings);
        }
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
        for family in &mut self.families {
            family.on_calm_over(&self.scene, now, &mut self.findings);
        }
    }

    /// The run is over.
    pub fn on_end(&mut self, left: &LeftOver) {
        for family in &mut self.families {
            family.on_end(&self.scene, left, &mut self.findings);
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

    /// Returns the marks reached.
    pub fn marks(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Returns the cells of the pull's table reached.
    pub fn cells(&self) -> Vec<(PullState, PullEventKind)> {
        Vec::new()
    }

    /// Returns what is so.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }
}
