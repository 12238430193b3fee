//! Where two runs part: not in which lines their traces differ, but what happened first in one and not in the other.
//!
//! ```text
//!  A ──●──●──●──┬──● first record that differs at all: a packet a microsecond later, perhaps
//!               │        ● first that tells another story: of one actor, what is named of it, without times and numbers
//!  B ──●──●──●──┴──●────●
//!                       └── its causes, back to where both runs still had the same
//! ```

use std::collections::BTreeMap;

use proxy_core::time::Instant;

use crate::{
    report::is_notable,
    trace::{Cast, Logged, Record, What, words},
};

/// Causes told of one record.
const CAUSES_MAX: usize = 40;

/// What two runs have not in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The first records that differ at all, by their place in the run.
    pub exact: Parting,
    /// The first that tell another story, if any do.
    pub story: Option<Parting>,
}

/// A place where two runs part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    /// Whose story it is.
    pub actor: String,
    /// The record of each run; nothing where its run has no more.
    pub sides: [Option<Side>; 2],
}

/// A record of one of two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Its number.
    pub step: u64,
    /// When it was.
    pub at: Instant,
    /// It in words.
    pub line: String,
    /// What led to it, the last cause first, each with whether the other run has it too.
    pub causes: Vec<(String, bool)>,
    /// Causes before those, which are not told.
    pub causes_before: usize,
}

/// Compares two runs. Returns nothing if they are the same, record by record.
pub fn diff(a: &Logged, b: &Logged) -> Option<Difference> {
    // Packets are what a trace may or may not have kept.
    let records = |logged: &Logged| -> Vec<Record> {
        logged.records.iter().filter(|record| !matches!(record.what, What::Packet(_))).cloned().collect()
    };
    let runs = [Run::new(records(a), &a.cast), Run::new(records(b), &b.cast)];
    let same = runs[0].exact.iter().zip(&runs[1].exact).take_while(|(a, b)| a == b).count();
    if same == runs[0].records.len() && same == runs[1].records.len() {
        return None;
    }
    let exact = parting(&runs, [runs[0].records.get(same), runs[1].records.get(same)]);
    Some(Difference { exact, story: story(&runs) })
}

/// A run, ready to be compared.
struct Run<'a> {
    records: Vec<Record>,
    cast: &'a Cast,
    /// Each record in words, with its time and without numbers of records: those differ behind any difference.
    exact: Vec<String>,
    /// What each record tells, without times and numbers: its place in the run that has it, by whom and what.
    told: BTreeMap<(String, String), u64>,
}

impl<'a> Run<'a> {
    fn new(records: Vec<Record>, cast: &'a Cast) -> Self {
        let name = |record: &Record| cast.name(record.actor).to_owned();
        let exact = records
            .iter()
            .map(|record| format!("{} {} {}", record.at, name(record), words::describe(record, cast)))
            .collect();
        let mut told = BTreeMap::new();
        for record in &records {
            *told.entry((name(record), gist(record, cast))).or_default() += 1;
        }
        Self { records, cast, exact, told }
    }

    /// Returns what is named of each actor, in order.
    fn stories(&self) -> BTreeMap<String, Vec<&Record>> {
        let mut stories: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
        for record in self.records.iter().filter(|record| is_notable(record)) {
            stories.entry(self.cast.name(record.actor).to_owned()).or_default().push(record);
        }
        stories
    }

    fn by_step(&self, step: u64) -> Option<&Record> {
        let index = self.records.binary_search_by_key(&step, |record| record.step).ok()?;
        self.records.get(index)
    }
}

/// Returns what a record tells, without times and numbers.
fn gist(record: &Record, cast: &Cast) -> String {
    let text = words::describe(record, cast);
    let kept: Vec<&str> =
        text.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit())).collect();
    kept.join(" ")
}

/// Returns where the runs first tell another story: of each actor the first record that is not the other's, and of these
/// the earliest.
fn story(runs: &[Run<'_>; 2]) -> Option<Parting> {
    let stories = [runs[0].stories(), runs[1].stories()];
    let mut first: Option<(Instant, [Option<&Record>; 2])> = None;
    let actors: Vec<&String> = stories[0].keys().chain(stories[1].keys()).collect();
    for actor in actors {
        let of = |side: usize| stories[side].get(actor).map(Vec::as_slice).unwrap_or_default();
        let (ours, theirs) = (of(0), of(1));
        let same = ours
            .iter()
            .zip(theirs)
            .take_while(|(a, b)| gist(a, runs[0].cast) == gist(b, runs[1].cast))
            .count();
        let sides = [ours.get(same).copied(), theirs.get(same).copied()];
        // One that has ended tells nothing else, until the other goes on.
        let Some(at) = sides.iter().flatten().map(|record| record.at).min() else { continue };
        if first.as_ref().is_none_or(|(known, _)| at < *known) {
            first = Some((at, sides));
        }
    }
    first.map(|(_, sides)| parting(runs, sides))
}

fn parting(runs: &[Run<'_>; 2], sides: [Option<&Record>; 2]) -> Parting {
    let actor = sides
        .iter()
        .zip(runs)
        .find_map(|(record, run)| record.map(|record| run.cast.name(record.actor).to_owned()));
    let side = |number: usize| sides[number].map(|record| side_of(record, &runs[number], &runs[1 - number]));
    Parting { actor: actor.unwrap_or_default(), sides: [side(0), side(1)] }
}

fn side_of(record: &Record, run: &Run<'_>, other: &Run<'_>) -> Side {
    let mut causes = Vec::new();
    let mut causes_before = 0;
    let mut cause = record.cause;
    while let Some(of) = run.by_step(cause) {
        if causes.len() < CAUSES_MAX {
            let told = (run.cast.name(of.actor).to_owned(), gist(of, run.cast));
            causes.push((words::line(of, run.cast), other.told.contains_key(&told)));
        } else {
            causes_before += 1;
        }
        if of.cause >= cause {
            break;
        }
        cause = of.cause;
    }
    Side { step: record.step, at: record.at, line: words::line(record, run.cast), causes, causes_before }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{ActorId, CastMember, Moment};

    fn logged(records: &[(u64, u64, u16, What)]) -> Logged {
        let member = |name: &str| CastMember { name: name.to_owned(), host: 0 };
        let cast = Cast { members: vec![member("proxy"), member("srs")], namespaces: Vec::new() };
        let records = records.iter().enumerate().map(|(index, (ms, cause, actor, what))| Record {
            step: index as u64 + 1,
            at: Instant::from_millis(*ms),
            actor: ActorId(*actor),
            cause: *cause,
            line: 0,
            hash: 0,
            what: what.clone(),
        });
        let records = records.collect();
        Logged { scenario: "x".to_owned(), text: String::new(), seed: 1, cast, records }
    }

    fn run(late: u64, last: Moment) -> Logged {
        logged(&[
            (0, 0, 0, What::Moment(Moment::Listening)),
            (late, 1, 1, What::Moment(Moment::Listening)),
            (20, 2, 1, What::OriginAccepted),
            (30, 3, 1, What::Moment(last)),
        ])
    }

    #[test]
    fn the_same_is_the_same() {
        assert_eq!(diff(&run(10, Moment::Serving), &run(10, Moment::Serving)), None);
    }

    #[test]
    fn a_moment_later_is_a_difference_and_no_other_story() {
        let found = diff(&run(10, Moment::Serving), &run(11, Moment::Serving)).expect("they differ");
        let step = |parting: &Parting| parting.sides.clone().map(|side| side.map(|side| side.step));
        assert_eq!(step(&found.exact), [Some(2), Some(2)]);
        assert_eq!(found.story, None);
    }

    #[test]
    fn another_story_is_told_with_its_causes() {
        let found = diff(&run(10, Moment::Serving), &run(11, Moment::Silent)).expect("they differ");
        let story = found.story.expect("it is another");
        assert_eq!(story.actor, "srs");
        let [Some(ours), Some(theirs)] = story.sides else { panic!("both go on") };
        assert!(
            ours.line.contains("serves") && theirs.line.contains("serves no more"),
            "{ours:?} {theirs:?}"
        );
        assert_eq!(ours.causes.len(), 3, "back to the beginning");
        assert!(ours.causes.iter().all(|(_, is_shared)| *is_shared));
    }

    #[test]
    fn a_run_that_ends_early_parts_there() {
        let mut short = run(10, Moment::Serving);
        short.records.pop();
        let found = diff(&short, &run(10, Moment::Serving)).expect("they differ");
        assert_eq!(found.exact.sides.map(|side| side.is_some()), [false, true]);
        assert!(found.story.is_some());
    }
}
