//! From a seed to a scenario, and from a scenario to one that is nearly the same.

use proxy_core::time::Instant;

use super::{
    fault,
    plot::{self, Repertoire},
    rarities,
    roll::{MILLI, Roll},
    world,
};
use crate::{
    dice::Dice,
    plane::Plane,
    scenario::{
        self, Problem,
        model::{Act, Anchor, FaultEvent, Scenario},
    },
    world::{Keep, World},
};

/// Events of a scenario beyond which a mutation adds none.
const EVENTS_MAX: usize = 18;
/// Records of a trial run that only tells when things turn.
const TRIAL_RECORDS_MAX: u64 = 300_000;

/// Where scenarios come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The built-in universe.
    Universe,
    /// A file with a `[swarm]` section.
    File(Box<SwarmFile>),
}

/// A file whose world and story a search begins from.
#[derive(Clone, Debug)]
pub struct SwarmFile {
    /// What it says; seed 1 makes a value of its ranges.
    scenario: Scenario,
    /// Its name and text, if it has ranges.
    ranged: Option<(String, String)>,
}

impl SwarmFile {
    /// Reads a file; none if it has no `[swarm]` section.
    ///
    /// # Errors
    /// All problems of the file.
    pub fn read(text: &str, file: &str) -> Result<Option<Self>, Vec<Problem>> {
        let loaded = scenario::load(text, file, Some(1))?;
        if loaded.scenario.swarm.is_none() {
            return Ok(None);
        }
        let ranged = (loaded.explicit != text).then(|| (file.to_owned(), text.to_owned()));
        Ok(Some(Self { scenario: loaded.scenario, ranged }))
    }

    /// Returns what it says to a seed. Values that do not go together are another seed's.
    fn of(&self, seed: u64) -> Scenario {
        let ranged = self.ranged.as_ref();
        let loaded = ranged.and_then(|(file, text)| scenario::load(text, file, Some(seed)).ok());
        loaded.map_or_else(|| self.scenario.clone(), |loaded| loaded.scenario)
    }
}

impl Source {
    /// Makes the scenario of a seed. `thins`: each kind of fault is off in about half of the seeds, but for those of rarities.
    pub fn expand(&self, seed: u64, thins: bool) -> Scenario {
        let mut dice = Dice::new(seed, "explore: plot");
        let mut scenario = match self {
            Self::Universe => {
                let mut scenario = world::make(seed);
                plot::tell_story(&mut scenario, &mut dice);
                rarities::tell(&mut scenario, seed);
                scenario
            }
            Self::File(file) => story_of(file.of(seed), seed, &mut dice),
        };
        let mut repertoire = self.repertoire(&scenario);
        if thins {
            repertoire = repertoire.thinned(&mut dice);
        }
        add_things(&mut scenario, &repertoire, thins, &mut dice);
        plot::mend(&mut scenario);
        scenario
    }

    /// Makes a scenario that differs from one that has run, with the instants at which that turned.
    pub fn mutate(&self, parent: &Scenario, instants: &[Instant], seed: u64) -> Scenario {
        let mut dice = Dice::new(seed, "explore: mutation");
        let mut scenario = parent.clone();
        let repertoire = self.repertoire(&scenario).thinned(&mut dice);
        for _ in 0..dice.one(&[1, 1, 1, 2, 3]) {
            mutate_once(&mut scenario, &repertoire, instants, seed, &mut dice);
        }
        plot::mend(&mut scenario);
        scenario
    }

    fn repertoire(&self, scenario: &Scenario) -> Repertoire {
        match self {
            Self::Universe => Repertoire::of_world(scenario),
            Self::File(file) => match &file.scenario.swarm {
                Some(swarm) => Repertoire::of_swarm(scenario, swarm),
                None => Repertoire::of_world(scenario),
            },
        }
    }
}

/// Returns a file's world and story: without what it expects, which is of that story alone.
fn story_of(file: Scenario, seed: u64, dice: &mut Dice) -> Scenario {
    let swarm = file.swarm.clone();
    let mut scenario = Scenario { expects: Vec::new(), swarm: None, defects: Vec::new(), ..file };
    scenario.run.seeds = vec![seed];
    scenario.run.planes = vec![Plane::Core];
    scenario.run.why_not = None;
    for event in &mut scenario.events {
        if let Act::Call(call) = &mut event.act {
            call.reply = Default::default();
        }
    }
    if let Some(swarm) = swarm {
        let knobs: Vec<_> = swarm.knobs.iter().filter(|_| dice.chance(50)).copied().collect();
        world::turn(&knobs, &mut scenario, dice);
    }
    scenario
}

/// Lets things go wrong: at times, at moments, and the last one perhaps at an instant at which something turns.
fn add_things(scenario: &mut Scenario, repertoire: &Repertoire, aims: bool, dice: &mut Dice) {
    let count = repertoire.count(dice);
    // In the order of their times, so that a moment counts from what has happened before.
    let mut times: Vec<u64> = (0..count).map(|_| repertoire.time(dice)).collect();
    times.sort_unstable();
    for time in times {
        let Some(act) = repertoire.thing(scenario, dice) else { continue };
        let is_anchored = dice.chance(40);
        let when = if is_anchored { plot::anchored(scenario, dice) } else { plot::at(time) };
        plot::push(scenario, when, act);
    }
    if aims && dice.chance(40) {
        plot::mend(scenario);
        let trial = trial(scenario);
        if let (Some(at), Some(act)) = (repertoire.instant(&trial, dice), repertoire.thing(scenario, dice)) {
            plot::push(scenario, plot::at(at), act);
        }
    }
}

/// Runs what there is so far, to learn when it turns.
fn trial(scenario: &Scenario) -> Vec<Instant> {
    let keep = Keep { until: Some(TRIAL_RECORDS_MAX), ..Keep::default() };
    let seed = scenario.run.seeds.first().copied().unwrap_or(1);
    World::run(scenario, seed, keep).oracles.instants().to_vec()
}

fn mutate_once(
    scenario: &mut Scenario,
    repertoire: &Repertoire,
    instants: &[Instant],
    seed: u64,
    dice: &mut Dice,
) {
    let things = plot::things(scenario);
    match dice.below(14) {
        // One thing more, at an instant or hanging on something.
        0..5 => {
            if scenario.events.len() < EVENTS_MAX
                && let Some(act) = repertoire.thing(scenario, dice)
            {
                let at = if dice.chance(75) { repertoire.instant(instants, dice) } else { None };
                let when = match at {
                    Some(at) => plot::at(at),
                    None => plot::anchored(scenario, dice),
                };
                plot::push(scenario, when, act);
            }
        }
        // Something at another time.
        5..8 => {
            if !things.is_empty() {
                let which = dice.one(&things);
                if let Some(at) = repertoire.instant(instants, dice)
                    && !is_first_add(scenario, which)
                {
                    scenario.events[which].at = plot::at(at);
                }
            }
        }
        // Something less.
        8 | 9 => {
            if things.len() > 2 {
                let which = dice.one(&things);
                if !is_first_add(scenario, which) {
                    plot::remove(scenario, which);
                }
            }
        }
        // A fault that ends at an instant, or with the run.
        10 | 11 => end_elsewhere(scenario, instants, dice),
        // The same with other parameters.
        12 => {
            if !things.is_empty() {
                let which = dice.one(&things);
                let known = scenario.clone();
                if let Act::Fault(FaultEvent { on, fault, .. }) = &mut scenario.events[which].act {
                    let name = scenario::fault_name(fault);
                    if let Some(rolled) = fault::roll(name, *on, &known, dice) {
                        *fault = rolled;
                    }
                }
            }
        }
        _ => scenario.run.seeds = vec![seed],
    }
}

/// Without a first add there is no story.
fn is_first_add(scenario: &Scenario, which: usize) -> bool {
    let is_add = |act: &Act| matches!(act, Act::Call(call) if call.call == "addStreamProxy");
    scenario.events.iter().position(|event| is_add(&event.act)) == Some(which)
}

fn end_elsewhere(scenario: &mut Scenario, instants: &[Instant], dice: &mut Dice) {
    let end = plot::end_of(scenario);
    let is_lasting = |index: &usize| match &scenario.events[*index].act {
        Act::Fault(fault) => plot::lasts(&fault.fault),
        Act::Call(_)
        | Act::Repair { .. }
        | Act::Play { .. }
        | Act::Leave { .. }
        | Act::Publish { .. }
        | Act::Start { .. } => false,
    };
    let faults: Vec<usize> = plot::things(scenario).into_iter().filter(is_lasting).collect();
    if faults.is_empty() {
        return;
    }
    let which = dice.one(&faults);
    // What waits for its end would never begin.
    let is_waited_for = scenario.events.iter().any(|event| event.at.anchor == Anchor::Cleared(which));
    let event = &mut scenario.events[which];
    let begins =
        if event.at.anchor == Anchor::Zero { u64::try_from(event.at.offset).unwrap_or(0) } else { 0 };
    let later: Vec<u64> =
        instants.iter().map(|at| at.as_nanos()).filter(|at| *at > begins && *at < end).collect();
    if let Act::Fault(fault) = &mut event.act {
        if later.is_empty() || !is_waited_for && dice.chance(25) {
            fault.time = if is_waited_for { fault.time } else { None };
        } else {
            let ends =
                dice.one(&later).saturating_add_signed(dice.one(&[0, 0, -1, 1, -1_000_000, 1_000_000]));
            let time = ends.saturating_sub(begins).max(MILLI / 1_000);
            fault.time = Some(proxy_core::time::Duration::from_nanos(time.min(end - begins)));
        }
    }
}
