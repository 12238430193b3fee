//! The committed scenarios: each holds, each reaches something of its own, and together their bounds bite.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use sim::{
    explore::{self, Conduct, Source, SwarmFile},
    oracle::Strictness,
    plane::Plane,
    runner::{self, File, Ran, Verdict},
    scenario::{FAULTS, MARKS, model::Scenario},
    trace::words,
};

/// Seeds that are tried, of each world.
const SEEDS: u64 = 2_000;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name)
}

fn read(name: &str) -> (Vec<File>, Vec<Scenario>) {
    let mut files = runner::find_files(&[folder(name)]).expect("scenarios");
    // What is known to fail is told apart, and fails nothing.
    files.retain(|file| !runner::is_known(&file.path));
    let scenarios = runner::read_files(&files).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())
    });
    (files, scenarios)
}

fn first_seed(scenario: &Scenario) -> u64 {
    scenario.run.seeds.first().copied().unwrap_or(1)
}

#[test]
fn every_scenario_holds() {
    let (files, scenarios) = read(".");
    let mut failed = Vec::new();
    let mut missed: BTreeSet<&str> = MARKS.iter().map(|(mark, _)| *mark).collect();
    for (file, scenario) in files.iter().zip(&scenarios) {
        let ran = runner::run_once(scenario, first_seed(scenario));
        ran.marks.iter().for_each(|mark| {
            missed.remove(mark);
        });
        if !matches!(ran.verdict, Verdict::Held) {
            failed.push(format!("{}: {:#?}", file.path.display(), ran.verdict));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(missed.is_empty(), "marks that no committed file reaches any more: {missed:?}");
}

/// What nobody wrote down holds as well, in the built-in universe and in the world of clocks. `repull-sim explore` tries more of
/// it; this is for who runs the tests alone, and the other judge of mutants.
#[test]
fn the_first_seeds_hold() {
    let text = include_str!("../../scenarios/explore/clocks.toml");
    let clocks = SwarmFile::read(text, "clocks.toml").expect("a scenario").expect("it has a [swarm] section");
    for source in [Source::Universe, Source::File(Box::new(clocks))] {
        for seed in 1..=SEEDS {
            let attempt = explore::attempt(seed, source.expand(seed, true), Conduct::default());
            assert!(attempt.failure.is_none(), "seed {seed}: {:#?}", attempt.failure);
        }
    }
}

/// A file that reaches what another reaches is the same story twice.
#[test]
fn no_two_field_files_reach_the_same_cells_and_marks() {
    let (_, scenarios) = read("field");
    let mut seen = BTreeMap::new();
    for scenario in &scenarios {
        let ran = runner::run_once(scenario, first_seed(scenario));
        if let Some(other) = seen.insert((ran.cells.clone(), ran.marks.clone()), scenario.id.clone()) {
            panic!("{} and {other} reach the same cells and marks: {:?}", scenario.id, ran.marks);
        }
    }
}

/// Bounds that never fail bound nothing: at half of each scenario's own `at_most` and of the bounds of detection, a
/// quarter of the files must fail.
#[test]
fn bounds_bite_when_they_are_halved() {
    let (_, scenarios) = read(".");
    let halved = Strictness { numerator: 1, denominator: 2 };
    let fails = |scenario: &&Scenario| {
        let ran = runner::run_with(scenario, first_seed(scenario), halved);
        !matches!(ran.verdict, Verdict::Held)
    };
    let failing = scenarios.iter().filter(fails).count();
    assert!(failing * 4 >= scenarios.len(), "only {failing} of {} fail with halved bounds", scenarios.len());
}

#[test]
fn field_files_name_their_report_and_fit_in_40_seconds() {
    let (files, scenarios) = read("field");
    assert!(scenarios.len() >= 40, "{} field files", scenarios.len());
    for (file, scenario) in files.iter().zip(&scenarios) {
        assert!(!scenario.refs.is_empty(), "{} names no report", file.path.display());
        assert!(scenario.run.time.as_secs() <= 40, "{} takes {:?}", file.path.display(), scenario.run.time);
        let stem = file.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(scenario.id.ends_with(stem), "{}: its id is {}", file.path.display(), scenario.id);
    }
}

#[test]
fn every_fault_has_a_file_of_its_own() {
    let (files, scenarios) = read("faults");
    let used: BTreeSet<&str> = scenarios.iter().flat_map(Scenario::fault_names).collect();
    let missing: Vec<&str> =
        FAULTS.iter().map(|fault| fault.name).filter(|name| !used.contains(name)).collect();
    assert!(missing.is_empty(), "no file in faults/ has {missing:?}");
    // Some need another fault as their trigger: what a refused play does shows only when there is a new play.
    let stem =
        |file: &File| file.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let pairs = || files.iter().map(stem).zip(&scenarios);
    let has_own = |name: &&str| {
        pairs().any(|(stem, scenario)| {
            let is_named = stem.starts_with(name) || stem.starts_with("content-") || stem.starts_with("end-");
            is_named && scenario.fault_names().any(|used| used == *name)
        })
    };
    let homeless: Vec<&str> = FAULTS.iter().map(|fault| fault.name).filter(|name| !has_own(name)).collect();
    assert!(homeless.is_empty(), "no file in faults/ is named for {homeless:?}");
}

/// Two runs as they are: whoever changes what happens in them says so by a reviewed snapshot.
#[test]
fn golden_traces() {
    for id in ["field/3810-srs-restart.toml", "faults/blackhole.toml"] {
        let (files, scenarios) = read(id);
        let logged = runner::run_logged(Plane::Core, &scenarios[0], &files[0].text, 1, false)
            .expect("a file for plane core");
        let ran: Ran = runner::run_once(&scenarios[0], 1);
        let told = |record: &&sim::trace::Record| sim::report::is_notable(record);
        let lines: Vec<String> =
            logged.records.iter().filter(told).map(|record| words::line(record, &logged.cast)).collect();
        let text = format!("{} records, hash {:016x}\n{}", ran.steps, ran.hash, lines.join("\n"));
        insta::assert_snapshot!(id.replace(['/', '.'], "-"), text);
    }
}
