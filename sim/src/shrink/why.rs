//! How likely a failure is from each point of its run on: the same beginning, other dice from there.
//!
//! ```text
//!  beginning ──────────────●─────────────●──────────●──── failure
//!  other dice from here:  31 %          33 %       98 %          what lies between the last two decided
//! ```
//! Half of the runs go to points spread over the run, the rest to halving the stretch in which the likelihood grows most.

use proxy_core::time::Instant;

use super::{failure::Failure, trial::each};
use crate::{
    dice::Dice,
    oracle::Finding,
    report::is_notable,
    runner::RECORDS_MAX,
    scenario::model::Scenario,
    trace::{Cast, PacketFate, Record, What},
    world::{Keep, Reroll, Whose, World},
};

/// Stretches halved at most: as many halves of a run of any length are single steps.
const HALVES: usize = 12;
/// A likelihood that grows by less than this many of a hundred does not jump.
pub const JUMP_MIN: u64 = 20;

/// What is to be found out.
#[derive(Clone, Copy, Debug)]
pub struct WhyWish {
    /// The seed.
    pub seed: u64,
    /// Points spread over the run.
    pub points: usize,
    /// Runs in all.
    pub runs: usize,
    /// Runs made at a time.
    pub jobs: usize,
}

/// A point of a run, and what other dice from there on lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The last record that is as it was; 0 is before the first.
    pub step: u64,
    /// When.
    pub at: Instant,
    /// Runs made with other dice from there on.
    pub runs: usize,
    /// Those that failed in the same way.
    pub fails: usize,
}

impl Point {
    /// Returns how many of a hundred fail.
    pub fn percent(&self) -> u64 {
        (self.fails * 100 / self.runs.max(1)) as u64
    }
}

/// What was found out.
#[derive(Clone, Debug)]
pub struct Why {
    /// How it fails.
    pub finding: Finding,
    /// The points, in the order of the run.
    pub points: Vec<Point>,
    /// The stretch in which the likelihood grows most, if it grows by a good deal: its ends, as numbers of points.
    pub jump: Option<(usize, usize)>,
    /// How often it fails if only some dice are others, from before the jump on.
    pub whose: Vec<(Whose, Point)>,
    /// Every record of the run.
    pub records: Vec<Record>,
    /// The packets that were lost between the jump's ends. Their numbers are those of a run that keeps packets.
    pub lost: Vec<Record>,
    /// Who took part.
    pub cast: Cast,
    /// Runs made.
    pub runs: usize,
}

/// Finds out why a scenario fails. Returns nothing if it does not.
pub fn why(scenario: &Scenario, wish: WhyWish) -> Option<Why> {
    let keep = Keep { records: true, until: Some(RECORDS_MAX), ..Keep::default() };
    let outcome = World::run(scenario, wish.seed, keep);
    let finding = outcome.findings.first()?.clone();
    let records: Vec<Record> = outcome.log.iter().flat_map(|log| log.records()).collect();
    let failure = Failure::of(&finding, scenario);
    let look = Look { scenario, wish, failure, finding: &finding, records_max: outcome.steps * 3 + 100_000 };

    let steps = spread(&records, finding.step, wish.points.max(2));
    let each_runs = (wish.runs / 2 / steps.len()).max(1);
    let mut points = look.points(&steps, Whose::All, each_runs, &records);
    let halves_runs = (wish.runs / 3 / HALVES).max(1);
    for _ in 0..HALVES {
        let Some(after) = steepest(&points) else { break };
        let (from, to) = (points[after - 1].step, points[after].step);
        if to - from < 2 {
            break;
        }
        let middle = look.points(&[from + (to - from) / 2], Whose::All, halves_runs, &records);
        points.splice(after..after, middle);
    }
    let jump = steepest(&points).map(|after| (after - 1, after));
    let mut whose = Vec::new();
    if let Some((before, _)) = jump {
        let share = (wish.runs / 6 / 3).max(1);
        for of in [Whose::Network, Whose::Names, Whose::Proxies] {
            let made = look.points(&[points[before].step], of, share, &records);
            whose.extend(made.into_iter().map(|point| (of, point)));
        }
    }
    let runs: usize = points.iter().chain(whose.iter().map(|(_, point)| point)).map(|point| point.runs).sum();
    let is_jump = |(before, after): &(usize, usize)| {
        points[*after].percent().saturating_sub(points[*before].percent()) >= JUMP_MIN
    };
    let jump = jump.filter(is_jump);
    // The first, and one that keeps packets.
    let runs = runs + 1 + usize::from(jump.is_some());
    let lost = jump.map_or_else(Vec::new, |(before, after)| {
        packets_lost(scenario, wish.seed, points[before].at, points[after].at)
    });
    Some(Why { jump, points, whose, records, lost, cast: outcome.cast, runs, finding })
}

/// Returns the packets that were lost between two moments, both included.
fn packets_lost(scenario: &Scenario, seed: u64, from: Instant, to: Instant) -> Vec<Record> {
    let keep = Keep { records: true, packets: true, until: Some(RECORDS_MAX), ..Keep::default() };
    let outcome = World::run(scenario, seed, keep);
    let is_lost = |record: &Record| match &record.what {
        What::Packet(packet) => packet.fate != PacketFate::Passed && (from..=to).contains(&record.at),
        _ => false,
    };
    outcome.log.iter().flat_map(|log| log.records()).filter(is_lost).collect()
}

/// Returns the point before which the likelihood grows most, if it grows at all.
fn steepest(points: &[Point]) -> Option<usize> {
    let growth = |after: usize| points[after].percent().saturating_sub(points[after - 1].percent());
    // Of several the last: closest to the failure.
    (1..points.len()).max_by_key(|after| growth(*after)).filter(|after| growth(*after) > 0)
}

/// Returns so many records before the failure, the beginning among them, at what a reader can name.
fn spread(records: &[Record], failed: u64, points: usize) -> Vec<u64> {
    let before = || records.iter().filter(move |record| record.step < failed);
    let named: Vec<u64> = before().filter(|record| is_notable(record)).map(|record| record.step).collect();
    let all: Vec<u64> =
        if named.len() < points { before().map(|record| record.step).collect() } else { named };
    let mut steps = vec![0];
    for number in 1..points {
        steps.extend(all.get((all.len() * number / (points - 1)).saturating_sub(1)));
    }
    steps.dedup();
    steps
}

struct Look<'a> {
    scenario: &'a Scenario,
    wish: WhyWish,
    failure: Failure,
    finding: &'a Finding,
    records_max: u64,
}

impl Look<'_> {
    /// Runs on from each of several records with other dice.
    fn points(&self, steps: &[u64], whose: Whose, runs: usize, records: &[Record]) -> Vec<Point> {
        let seeds = |number: usize| Dice::nth(self.wish.seed, "why", number as u64).roll();
        let all: Vec<(u64, u64)> =
            steps.iter().flat_map(|step| (0..runs).map(move |number| (*step, seeds(number)))).collect();
        let fails = each(&all, self.wish.jobs, |(after, seed)| {
            let reroll = Some(Reroll { after: *after, seed: *seed, whose });
            let keep = Keep { until: Some(self.records_max), reroll, ..Keep::default() };
            let outcome = World::run(self.scenario, self.wish.seed, keep);
            self.failure.find(&outcome.findings, self.finding.line, self.scenario).is_some()
        });
        let made = steps.iter().zip(fails.chunks(runs)).map(|(step, fails)| Point {
            step: *step,
            at: at_step(records, *step),
            runs,
            fails: fails.iter().filter(|fails| **fails).count(),
        });
        made.collect()
    }
}

/// Returns when a record was.
fn at_step(records: &[Record], step: u64) -> Instant {
    let index = records.partition_point(|record| record.step < step);
    records.get(index).filter(|record| record.step == step).map_or(Instant::ZERO, |record| record.at)
}
