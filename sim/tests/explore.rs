//! The search: what it makes is always a scenario, what it finds depends on seeds alone, what is wrong is found.

mod shapes;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::atomic::AtomicBool,
};

use sim::{
    explore::{self, Conduct, Mode, Plan, Report, Shard, Source, SwarmFile, Tally},
    oracle::Strictness,
    runner::{self, Verdict},
    scenario::{
        self, FAULTS, Scenario,
        model::{Act, Fault},
    },
};

/// Reads a scenario as it is printed; it must be the same one.
fn check_valid(scenario: Scenario, seed: u64) -> Scenario {
    let scenario = Scenario {
        id: format!("seed-{seed}"),
        title: "Whatever happens".to_owned(),
        ..scenario.without_lines()
    };
    let text = scenario::print(&scenario);
    let loaded = match scenario::load(&text, &format!("seed-{seed}.toml"), None) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let told: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
            panic!("seed {seed}:\n{told}\n{text}")
        }
    };
    // What others refer to is given a name where it has none.
    assert_eq!(nameless(loaded.scenario.without_lines()), nameless(scenario.clone()), "{text}");
    scenario
}

fn nameless(mut scenario: Scenario) -> Scenario {
    scenario.events.iter_mut().for_each(|event| event.name = None);
    scenario
}

#[test]
fn whatever_the_universe_makes_is_a_scenario() {
    let mut faults = BTreeSet::new();
    for seed in 0..400 {
        let fresh = check_valid(Source::Universe.expand(seed, seed % 3 != 0), seed);
        faults.extend(fresh.fault_names());
        // And so is what is made of it, again and again.
        let instants: Vec<_> = (1..60).map(|n| proxy_core::time::Instant::from_millis(n * 173)).collect();
        let mut changed = fresh;
        for turn in 0..6 {
            changed = check_valid(Source::Universe.mutate(&changed, &instants, seed * 100 + turn), seed);
            faults.extend(changed.fault_names());
        }
    }
    let all: BTreeSet<&str> = FAULTS.iter().map(|form| form.name).collect();
    let never: Vec<_> = all.difference(&faults).collect();
    assert!(never.is_empty(), "never rolled: {never:?}");
}

#[test]
fn faults_end_with_the_run() {
    for seed in 0..200 {
        for event in Source::Universe.expand(seed, true).events {
            let Act::Fault(fault) = event.act else { continue };
            if let Fault::Term(to) | Fault::Kill(to) | Fault::Vanish(to) = &fault.fault {
                assert!(!to.never, "seed {seed}: nothing is gone for good");
            }
        }
    }
}

#[test]
fn a_seed_is_the_same_scenario_every_time() {
    for seed in 0..40 {
        assert_eq!(Source::Universe.expand(seed, true), Source::Universe.expand(seed, true));
    }
    assert_ne!(Source::Universe.expand(1, true), Source::Universe.expand(2, true));
}

fn plan(seeds: u64, jobs: usize) -> Plan {
    Plan {
        sources: vec![Source::Universe],
        from: 1,
        seeds: Some(seeds),
        shard: Shard::WHOLE,
        mode: Mode::Guided,
        maximises: false,
        conduct: Conduct::default(),
        jobs,
        stops_at_first: false,
    }
}

fn search(plan: &Plan) -> Tally {
    explore::search(plan, &AtomicBool::new(false), BTreeMap::new(), |_| {})
}

fn report(tally: &Tally, shard: Shard) -> Report {
    Report::of(tally, "explore", "", shard, std::time::Duration::from_millis(1), false)
}

#[test]
fn what_a_search_reaches_does_not_depend_on_jobs() {
    let (one, three) = (search(&plan(250, 1)), search(&plan(250, 3)));
    assert_eq!(one.steps, three.steps);
    assert_eq!(report(&one, Shard::WHOLE), report(&three, Shard::WHOLE));
    assert!(one.marks.len() > 20, "{:?}", one.marks);
}

/// Bounds a twentieth of what is promised: something is always late.
fn strict() -> Conduct {
    Conduct { strictness: Strictness { numerator: 1, denominator: 20 }, ..Conduct::default() }
}

#[test]
fn what_is_wrong_is_found_kept_and_known_again() {
    let plan = Plan { conduct: strict(), ..plan(150, 2) };
    let mut tally = search(&plan);
    let (group, example) = tally.found.groups.iter().next().expect("bounds this short are broken");
    let (group, example) = (group.clone(), example.clone());
    assert_eq!(group.promise, "detection");
    assert!(tally.found.has_news());

    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("found");
    let path = explore::save(&folder, &group, &example, "a test").expect("there is room for a file");
    let text = std::fs::read_to_string(&path).expect("it was written");
    let read =
        scenario::read(&text, &path.display().to_string()).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(text.contains(&format!("# See it again: repull-sim run {}", path.display())), "{text}");
    let seed = read.run.seeds[0];
    let Verdict::Broken(findings) = runner::run_with(&read, seed, strict().strictness).verdict else {
        panic!("the file fails as the search did")
    };
    assert_eq!(findings[0].promise, group.promise);

    // A file without a report is nobody's knowledge.
    let told = explore::known_in(&folder, strict()).expect_err("it names no report");
    assert!(told.contains("refs"), "{told}");
    let linked = text.replace("\n[run]", "refs = [\"https://example.org/1\"]\n\n[run]");
    std::fs::write(&path, linked).expect("there is room for a file");
    let known = explore::known_in(&folder, strict()).unwrap_or_else(|told| panic!("{told}"));
    assert_eq!(known.keys().collect::<Vec<_>>(), [&group]);
    tally.found.groups.retain(|other, _| *other == group);
    tally.found.known = known;
    assert!(!tally.found.has_news());
    let told = report(&tally, Shard::WHOLE);
    assert_eq!(told.news().count(), 0);
    let mut json: serde_json::Value = serde_json::from_str(&told.json()).expect("its own form");
    // Which are reached is another question.
    json["marks"].as_object_mut().expect("marks have names").retain(|mark, _| mark == "first-try");
    insta::assert_json_snapshot!("report", shapes::shape(&json));
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

#[test]
fn shards_share_the_seeds_and_their_reports_are_joined() {
    let shard = |part| search(&Plan { shard: Shard { part, of: 3 }, mode: Mode::Swarm, ..plan(60, 2) });
    let (one, two, three) = (shard(1), shard(2), shard(3));
    let whole = search(&Plan { mode: Mode::Swarm, ..plan(60, 2) });
    let parts = vec![
        report(&one, Shard { part: 1, of: 3 }),
        report(&two, Shard { part: 2, of: 3 }),
        report(&three, Shard { part: 3, of: 3 }),
    ];
    let written: Vec<Report> =
        parts.iter().map(|part| serde_json::from_str(&part.json()).expect("its own form")).collect();
    assert_eq!(written, parts);
    let joined = explore::merge(parts.clone()).unwrap_or_else(|error| panic!("{error}"));
    // Nothing is remembered from seed to seed: the parts make the whole.
    let whole = report(&whole, Shard::WHOLE);
    assert_eq!(joined, Report { shards: joined.shards.clone(), ..whole });
    assert_eq!(joined.shards.iter().map(Shard::to_string).collect::<Vec<_>>(), ["1/3", "2/3", "3/3"]);
    assert_eq!(joined.shards_missed(), []);
    let twice = explore::merge(vec![parts[0].clone(), parts[0].clone()]).expect_err("one is there twice");
    assert!(twice.to_string().contains("1/3"), "{twice}");
}

#[test]
fn only_what_belongs_together_is_joined() {
    let tally = search(&plan(4, 1));
    let part = |part, of| report(&tally, Shard { part, of });
    let told =
        |other: Report| explore::merge(vec![part(1, 3), other]).expect_err("it is another's").to_string();
    assert!(told(part(2, 4)).contains("two searches"), "another number of shards");
    assert!(
        told(Report { how: "repull-sim explore --from 9".to_owned(), ..part(2, 3) }).contains("--from 9")
    );
    let mut strange = part(2, 3);
    strange.marks_missed.push("moon-is-full".to_owned());
    assert!(told(strange).contains("moon-is-full"));
    let mut older = part(2, 3);
    older.marks_missed.clear();
    assert!(told(older).contains("another version"));
    let two = explore::merge(vec![part(1, 3), part(3, 3)]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(two.shards_missed(), [Shard { part: 2, of: 3 }]);
}

/// Returns a file to begin from.
fn swarm_of(text: &str, name: &str) -> Source {
    let file = SwarmFile::read(text, name).unwrap_or_else(|problems| panic!("{problems:?}"));
    Source::File(Box::new(file.expect("it has a section")))
}

#[test]
fn every_seed_makes_values_of_its_own_of_a_swarms_ranges() {
    let source = swarm_of(include_str!("../../scenarios/explore/clocks.toml"), "clocks.toml");
    let periods: BTreeSet<_> = (0..20)
        .map(|seed| {
            assert_eq!(source.expand(seed, true), source.expand(seed, true));
            scenario::print(&check_valid(source.expand(seed, true), seed))
        })
        .map(|text| text.lines().find(|line| line.contains("audio_period")).unwrap_or_default().to_owned())
        .collect();
    assert!(periods.len() > 10, "{periods:?}");
}

#[test]
fn a_swarm_is_its_files_world() {
    let text = include_str!("../../scenarios/explore/swarm-restarts.toml");
    let file = scenario::read(text, "swarm-restarts.toml").unwrap_or_else(|problems| panic!("{problems:?}"));
    let swarm = file.swarm.clone().expect("it has a section");
    let source = swarm_of(text, "swarm-restarts.toml");
    let mut begun = BTreeSet::new();
    for seed in 0..100 {
        let made = check_valid(source.expand(seed, true), seed);
        assert!(made.expects.is_empty() && made.swarm.is_none());
        let names =
            |scenario: &Scenario| scenario.hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&made), names(&file));
        let added = made.fault_names().skip(file.fault_names().count());
        begun.extend(added);
    }
    let allowed: BTreeSet<_> = swarm.faults.iter().copied().collect();
    assert_eq!(begun, allowed);
}

#[test]
fn everything_once_meets_every_kind_and_every_byte() {
    let text = include_str!("../../scenarios/explore/connect-play-reconnect.toml");
    let story =
        scenario::read(text, "connect-play-reconnect.toml").unwrap_or_else(|problems| panic!("{problems:?}"));
    let cases = explore::cases(&story);
    let of = |case: &explore::Case| check_valid(case.of(&story), 0);
    let kinds: BTreeSet<&str> = cases
        .chunks(cases.len() / 2_000)
        .flat_map(|cases| of(&cases[0]).fault_names().skip(1).collect::<Vec<_>>())
        .collect();
    let missing: Vec<_> = FAULTS.iter().map(|form| form.name).filter(|name| !kinds.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
    // Each of two connections, in each of three ways: at every byte of S0 S1 S2, and at every one from there up to a picture.
    let cut = |case: &explore::Case| match &case.fault {
        Fault::Cut { at, by } => Some(((false, *by), *at)),
        Fault::Behave(behaving) if behaving.name == "handshake-truncated" => {
            behaving.behaviour.cut.map(|(at, by)| ((true, by), at))
        }
        _ => None,
    };
    let cuts = cases.iter().rev().take_while(|case| cut(case).is_some()).count();
    let first = cases.len() - cuts;
    let mut bytes: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
    for case in &cases[first..] {
        let ((in_handshake, by), at) = cut(case).expect("those were counted");
        bytes.entry((case.at, in_handshake, by)).or_default().insert(at);
    }
    assert_eq!(bytes.len(), 2 * 2 * 3);
    for ((_, in_handshake, _), bytes) in &bytes {
        let last = bytes.last().copied().unwrap_or_default();
        assert_eq!(bytes.len() as u64, last + 1, "each byte once");
        // What is said to connect, createStream and play, with its headers.
        assert!(if *in_handshake { last == 3_072 } else { (600..1_500).contains(&last) }, "{last}");
    }
    // A cut at another byte is another run, but where the last bytes are lost with the connection.
    let tried = cases[first..].iter().step_by(397);
    let hash = |case: &explore::Case| explore::run(0, case.of(&story), Conduct::default()).hash;
    let hashes: BTreeSet<u64> = tried.clone().map(hash).collect();
    assert!(hashes.len() * 10 >= tried.len() * 8, "{} of {}", hashes.len(), tried.len());
}
