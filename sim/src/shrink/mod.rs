//! From a failure to what can be understood: a file small enough to read, the dice that decided, where two runs part.
//!
//! | room | purpose |
//! |---|---|
//! | this one | [`shrink`]: the smallest file that fails by the same promise |
//! | [`why`] | how likely the failure is from each point on, and where that jumps |
//! | [`diff`] | the first records where two runs part, and what led to them |
//!
//! ```text
//!  file ─ranges rolled─► explicit ─► cut short ─► reduce ◄──► lower ─► measure ─► the file written
//!                                    after the    events,     times,    what does
//!                                    promise      hosts,      counts    not matter
//!                                    broke        keys
//! ```
//! Everything works on the text, so that comments and layout of the original survive. A case is kept if it fails by the
//! same promise, in words that are the same beside numbers and names; each is run once on plane `core`. The end is
//! 1-minimal: a last pass has tried to take away each part alone, and none could go.

pub mod diff;
mod draft;
pub(crate) mod failure;
mod knobs;
mod reduce;
mod remarks;
mod text;
pub(crate) mod trial;
pub mod why;

use proxy_core::time::Duration;

pub use self::remarks::Remark;
use self::{
    draft::Draft,
    failure::Failure,
    text::Edit,
    trial::{Case, Trial},
};
use crate::{
    cli::defects::DEFECT,
    oracle::{Finding, MARKS_WANTED},
    runner::RECORDS_MAX,
    scenario::{
        self, Problem,
        model::{Act, Role, Scenario},
    },
    world::{Keep, World},
};

/// Rounds of taking away and lowering; a handful is seen at most.
const ROUNDS_MAX: usize = 12;

/// What is to be shrunk.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The seed; the file's first if none is given.
    pub seed: Option<u64>,
    /// The promise; the first that breaks if none is given.
    pub promise: Option<String>,
    /// Runs made at a time.
    pub jobs: usize,
}

/// How much is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines that are no comment.
    pub lines: usize,
    /// Events.
    pub events: usize,
    /// Faults among them.
    pub faults: usize,
    /// Hosts, each of several alike.
    pub hosts: usize,
    /// Expectations.
    pub expects: usize,
    /// Virtual time of the safety phase.
    pub time: Duration,
}

/// A file that fails still.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The text, with remarks.
    pub text: String,
    /// What stands beside its lines.
    pub remarks: Vec<Remark>,
    /// The scenario it is.
    pub scenario: Scenario,
    /// The seed it fails with.
    pub seed: u64,
    /// How it fails.
    pub finding: Finding,
    /// With how many of [`SEEDS_TRIED`] other seeds it fails too.
    pub seeds: usize,
    /// Runs made.
    pub runs: usize,
    /// How much there was.
    pub before: Size,
    /// How much is left.
    pub after: Size,
    failure: Failure,
}

impl Shrunk {
    /// Returns whether another scenario fails by the same promise, in the same words beside numbers and names.
    pub fn is_failure_of(&self, other: &Scenario) -> bool {
        let outcome = World::run(other, self.seed, Keep::default());
        outcome.findings.iter().any(|finding| Failure::of(finding, other) == self.failure)
    }
}

/// Other seeds a shrunk file is tried with.
pub const SEEDS_TRIED: u64 = remarks::SEEDS;

/// Why there is nothing shrunk.
#[derive(Clone, Debug)]
pub enum NotShrunk {
    /// The file is not understood.
    Problems(Vec<Problem>),
    /// Every promise is held with this seed.
    Held(u64),
    /// It fails, by these promises and not by the one named.
    OtherPromise(Vec<&'static str>),
    /// It fails by a mark that is not reached: what does not happen gets no smaller.
    Mark,
    /// Two runs of it differ.
    Differs,
    /// The run did not end within the records allowed.
    NoVerdict,
}

/// Shrinks a scenario. The name at the end of `path` goes into messages, and its stem must be the id.
///
/// # Errors
/// There is nothing to shrink, and why.
pub fn shrink(text: &str, path: &str, wish: &Wish) -> Result<Shrunk, NotShrunk> {
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let loaded = scenario::load(text, file, Some(wish.seed.unwrap_or(1))).map_err(NotShrunk::Problems)?;
    let seed = wish.seed.or(loaded.scenario.run.seeds.first().copied()).unwrap_or(1);
    let loaded = scenario::load(text, file, Some(seed)).map_err(NotShrunk::Problems)?;
    let before = size(&loaded.explicit, &loaded.scenario);
    let explicit = on_core_with(&loaded.explicit, &loaded.scenario, seed);
    let loaded = scenario::load(&explicit, file, None).map_err(NotShrunk::Problems)?;
    let keep = Keep { until: Some(RECORDS_MAX), ..Keep::default() };
    let (first, second) =
        (World::run(&loaded.scenario, seed, keep), World::run(&loaded.scenario, seed, keep));
    if first.hash != second.hash {
        return Err(NotShrunk::Differs);
    }
    if first.findings.is_empty() {
        return Err(if first.is_cut { NotShrunk::NoVerdict } else { NotShrunk::Held(seed) });
    }
    let is_wanted = |finding: &&Finding| wish.promise.as_deref().is_none_or(|name| name == finding.promise);
    let Some(finding) = first.findings.iter().find(is_wanted) else {
        return Err(NotShrunk::OtherPromise(first.findings.iter().map(|finding| finding.promise).collect()));
    };
    if finding.promise == MARKS_WANTED {
        return Err(NotShrunk::Mark);
    }
    let failure = Failure::of(finding, &loaded.scenario);
    let place = (finding.line > 0).then(|| text::place_of(&explicit, finding.line)).flatten();
    let mut trial = Trial::new(file, seed, failure.clone(), wish.jobs);
    trial.runs = 2;
    // A smaller case does not do more; one that goes wild is no smaller.
    trial.limit(first.steps * 3 + 100_000, loaded.warnings.len());
    let case = Case { text: explicit, place };
    let draft = Draft::new(case, &trial).ok_or(NotShrunk::Held(seed))?;
    let draft = smallest(draft, &mut trial, seed);
    let remarks = remarks::measure(&draft, &mut trial);
    let others: Vec<u64> = (1..).filter(|other| *other != seed).take(SEEDS_TRIED as usize).collect();
    let seeds = trial.seeds(&draft.case, &others);
    let (found, _) = trial.run(&draft.case, &draft.scenario, seed);
    let finding = found.ok_or(NotShrunk::Differs)?;
    let (text, remarks) = remarks::write(&draft.case.text, &remarks);
    let after = size(&text, &draft.scenario);
    Ok(Shrunk {
        text,
        remarks,
        scenario: draft.scenario,
        seed,
        finding,
        seeds,
        runs: trial.runs,
        before,
        after,
        failure,
    })
}

/// Takes away and lowers until neither makes it smaller.
fn smallest(draft: Draft, trial: &mut Trial, seed: u64) -> Draft {
    let mut draft = reduce::cut_short(draft, trial, seed);
    for _ in 0..ROUNDS_MAX {
        draft = reduce::reduce(draft, trial, seed);
        let before = draft.case.text.clone();
        draft = knobs::lower(draft, trial);
        if draft.case.text == before {
            break;
        }
    }
    draft
}

/// Returns the text that is run with this seed on plane `core` and names no defect it is not built with.
fn on_core_with(text: &str, scenario: &Scenario, seed: u64) -> String {
    let parts = text::parts(text);
    let part = |keys: &[&str]| parts.iter().find(|part| part.is_below(keys) && part.path.len() == keys.len());
    let mut edits = Vec::new();
    let mut missing = String::new();
    match part(&["run", "seeds"]).and_then(|part| part.value.clone()) {
        Some(span) => edits.push(Edit { span, with: format!("[{seed}]") }),
        None if seed != 1 => missing.push_str(&format!("seeds = [{seed}]\n")),
        None => {}
    }
    if let Some(span) = part(&["run", "planes"]).and_then(|part| part.value.clone())
        && scenario.run.planes != [crate::plane::Plane::Core]
    {
        edits.push(Edit { span, with: "[\"core\"]".to_owned() });
        edits.extend(part(&["run", "why_not"]).into_iter().flat_map(cut));
    }
    if let Some(defects) = part(&["defects"]) {
        match (DEFECT, defects.value.clone()) {
            (Some(name), Some(span)) if scenario.defects.iter().any(|defect| defect == name) => {
                edits.push(Edit { span, with: format!("[\"{name}\"]") });
            }
            _ => edits.extend(cut(defects)),
        }
    }
    edits.extend(part(&["swarm"]).into_iter().flat_map(cut));
    if let Some(span) = part(&["run", "for"]).and_then(|part| part.cut.first().cloned()) {
        edits.push(Edit { span: span.end..span.end, with: missing });
    }
    text::apply(text, edits, None).map_or_else(|| text.to_owned(), |(text, _)| text)
}

fn cut(part: &text::Part) -> impl Iterator<Item = Edit> {
    part.cut.iter().cloned().map(Edit::cut)
}

fn size(text: &str, scenario: &Scenario) -> Size {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let hosts = scenario.hosts.iter().map(|host| match &host.role {
        Role::Player(model) => usize::from(model.count),
        Role::Origin(_) | Role::Proxy(_) => 1,
    });
    Size {
        lines: text.lines().filter(is_code).count(),
        events: scenario.events.len(),
        faults: scenario.events.iter().filter(|event| matches!(event.act, Act::Fault(_))).count(),
        hosts: hosts.sum(),
        expects: scenario.expects.len(),
        time: scenario.run.time,
    }
}
