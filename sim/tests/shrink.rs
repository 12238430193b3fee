//! What is shrunk fails still, has nothing in it that could go, and says only what is so.

mod shapes;

use sim::{
    scenario::{self, Scenario},
    shrink::{NotShrunk, Shrunk, Wish, diff, shrink, why},
    trace::Logged,
    world::{Keep, World},
};
use toml_edit::{DocumentMut, Item, Value};

/// Five minutes, ten faults, and one of them keeps frames from a viewer for too long.
const STORY: &str = r##"#:schema ../schema.json
#
# A viewer wants a frame every four seconds.
schema = 1
id     = "long-gap"
title  = "No viewer waits for four seconds"
refs   = ["nobody#1"]

[run]
for    = "5m"
seeds  = [3]
planes = ["core", "turmoil"]
why_not = "too long"

# ---- who there is ----
[net.docker0]
kind    = "docker-bridge"
latency = { min = "100us", max = "900us" }

[host.srs]
role  = "origin"
model = { stream = ["live/a", "live/c"], fps = 2, boot = "300ms", first_frame = "500ms" }   # the origin

[host.other]
role  = "origin"
model = { like = "nginx-rtmp-1.1.4", stream = "live/b", fps = 2, audio = true }

[host.proxy]
role = "proxy"

# Nothing of this matters.
[host.proxy.config.pull]
backoff_max_ms = 900
rebuild_after  = 7

[host.viewer]
role  = "player"
count = 4

[host.bystander]
role  = "player"
count = 2
model = { retry = "1s" }

[pull.a]
app    = "live"
stream = "a"
url    = "rtmp://srs/live/a"

[pull.b]
app    = "live"
stream = "b"
url    = "rtmp://other/live/b"

# ---- what happens ----
[timeline]
events = [
  { at = "0s", add = "a", reply = { code = 0 } },
  { at = "0s", add = "b", args = { force = 1 }, as = "second" },
  { at = "second.start + 2s", on = "viewer", play = "a", via = ["rtmp", "http-flv"] },   # everybody comes
  { at = "3s", on = "bystander", play = "b" },
  { at = "10s", on = "other", fault = "kill", for = "5s", as = "f1" },
  { at = "f1.cleared + 5s", on = "srs", fault = "latency", by = "20ms", for = "10s" },
  { at = "+20s", on = "other", fault = "freeze", for = "4s" },
  { at = "60s", on = "bystander", fault = "slow-reader", rate = "20kbit", for = "5s" },
  { at = "80s..90s", on = "srs", fault = "kill", for = "9s", ip = "same" },   # this one
  { at = "120s", on = "other", fault = "publisher-away", for = "3s" },
  { at = "150s", on = "viewer", fault = "latency", by = "5ms", for = "10s" },
  { at = "180s", fault = "conntrack-flush" },
  { at = "200s", on = "other", fault = "refuse", for = "10s" },
  { at = "212s", on = "other", fault = "loss", percent = "3 %", for = "6s" },
  { at = "220s", api = "getMediaList" },
  { at = "240s", on = "bystander", leave = "close" },
]

# ---- what must hold ----
[[expect]]
never   = "player-disconnected"
players = ["viewer"]

[[expect]]
frames_at = ["bystander"]
after     = "bystander.watching"
at_most   = "3s"

# The promise.
[[expect]]
frames_at = ["viewer"]
after     = "viewer.watching"
max_gap   = "4s"
"##;

fn wish(jobs: usize) -> Wish {
    Wish { seed: None, promise: None, jobs }
}

fn shrunk(jobs: usize) -> Shrunk {
    shrink(STORY, "field/long-gap.toml", &wish(jobs)).expect("it fails")
}

#[test]
fn what_is_left_is_what_matters() {
    let small = shrunk(1);
    let text = &small.text;
    insta::assert_snapshot!("shrunk", text);
    let json = sim::cli::shrink::json_of(&small, "long-gap.toml", text, None, 1);
    insta::assert_json_snapshot!("shrunk_json", shapes::shape(&json));
    assert_eq!(small.before.faults, 10);
    assert_eq!((small.after.faults, small.after.hosts, small.after.expects), (1, 3, 1), "{text}");
    assert!(small.runs <= 1_000, "{} runs", small.runs);
    for kept in ["# A viewer wants a frame", "# ---- who there is ----", "# this one", "# The promise."] {
        assert!(text.contains(kept), "{kept} is lost:\n{text}");
    }
    for gone in ["bystander", "Nothing of this matters", "..", "turmoil", "why_not"] {
        assert!(!text.replace("../schema.json", "").contains(gone), "{gone} is left:\n{text}");
    }
    assert!(small.is_failure_of(&read(text)), "{text}");
}

#[test]
fn threads_do_not_decide_what_is_left() {
    let (one, three) = (shrunk(1), shrunk(3));
    assert_eq!(one.text, three.text);
}

#[test]
fn without_any_part_it_holds() {
    let small = shrunk(2);
    let document: DocumentMut = small.text.parse().expect("it is TOML");
    let mut ways = Vec::new();
    ways_of(document.as_item(), &mut Vec::new(), &mut ways);
    let mut tried = 0;
    for way in ways.iter().filter(|way| !is_kept(way)) {
        let mut without = document.clone();
        if !remove(without.as_item_mut(), way) {
            continue;
        }
        let Ok(loaded) = scenario::load(&without.to_string(), "long-gap.toml", None) else { continue };
        if !loaded.warnings.is_empty() {
            continue;
        }
        tried += 1;
        assert!(!small.is_failure_of(&loaded.scenario), "without {way:?} it fails still:\n{}", small.text);
    }
    assert!(tried >= 5, "only {tried} parts could be tried without");
}

#[test]
fn thresholds_are_where_remarks_say() {
    let small = shrunk(2);
    let line = small.text.lines().find(|line| line.contains("down ≥")).expect("it says how long");
    let (_, remark) = line.split_once("down ≥ ").expect("it does");
    let (least, rest) = remark.split_once(" needed: ").expect("what is needed");
    let (holds, _) = rest.split_once(" holds").expect("what holds");
    let with = |time: &str| {
        let time = time.replace(' ', "");
        let (before, after) = line.split_once("for = \"").expect("a time");
        let (_, after) = after.split_once('"').expect("its end");
        read(&small.text.replace(line, &format!("{before}for = \"{time}\"{after}")))
    };
    assert!(small.is_failure_of(&with(least)), "{line}");
    assert!(!small.is_failure_of(&with(holds)), "{line}");
}

#[test]
fn what_does_not_fail_is_not_shrunk() {
    let patient = STORY.replace("max_gap   = \"4s\"", "max_gap   = \"40s\"");
    let held = shrink(&patient, "long-gap.toml", &wish(1));
    assert!(matches!(held, Err(NotShrunk::Held(3))), "{held:?}");
    let other = Wish { promise: Some("recovery".to_owned()), ..wish(1) };
    let other = shrink(STORY, "long-gap.toml", &other);
    assert!(matches!(other, Err(NotShrunk::OtherPromise(_))), "{other:?}");
    let broken = shrink("schema = 2", "long-gap.toml", &wish(1));
    assert!(matches!(broken, Err(NotShrunk::Problems(_))), "{broken:?}");
}

// ---- why and diff ----

/// Loss decides whether the viewer waits too long.
const LUCK: &str = r#"
schema = 1
id     = "luck"
title  = "No viewer waits for a second and a half"
[run]
for = "12s"
[host.srs]
role  = "origin"
model = { stream = "live/a", fps = 5 }
[host.proxy]
role = "proxy"
[host.viewer]
role = "player"
[pull.a]
app    = "live"
stream = "a"
url    = "rtmp://srs/live/a"
[timeline]
events = [
  { at = "0s", add = "a" },
  { at = "1s", on = "viewer", play = "a" },
  { at = "5s", on = "srs", fault = "loss", percent = "20 %", for = "1s" },
]
[[expect]]
frames_at = ["viewer"]
after     = "viewer.watching"
max_gap   = "1s"
"#;

fn luck() -> Scenario {
    scenario::read(LUCK, "luck.toml").expect("it is a scenario")
}

fn fails(seed: u64) -> bool {
    !World::run(&luck(), seed, Keep::default()).findings.is_empty()
}

#[test]
fn the_likelihood_grows_where_dice_decided() {
    let scenario = luck();
    let seed = (1..200).find(|seed| fails(*seed)).expect("one loses");
    let found = why::why(&scenario, why::WhyWish { seed, points: 6, runs: 120, jobs: 2 }).expect("it fails");
    let (first, last) = (found.points.first().expect("points"), found.points.last().expect("points"));
    assert_eq!(first.step, 0);
    assert!(first.percent() < last.percent(), "{:?}", found.points);
    let (before, after) = found.jump.expect("something decided");
    assert!(found.points[before].at.as_millis() >= 4_500, "{:?}", found.points);
    assert!(found.points[after].percent() >= found.points[before].percent() + why::JUMP_MIN);
    assert!(found.points.windows(2).all(|pair| pair[0].step < pair[1].step), "{:?}", found.points);
    // What decided is the loss of packets, and those are told.
    assert!(!found.lost.is_empty(), "{:?}", found.points);
    let told = sim::cli::why::told(&found, "luck.toml", seed, LUCK);
    assert!(told.contains(", lost: "), "{told}");
    assert!((1..200).any(|seed| !fails(seed)), "luck is no law");
}

#[test]
fn rerolled_dice_change_nothing_that_was() {
    let scenario = luck();
    let run = |reroll| {
        let keep = Keep { records: true, reroll, ..Keep::default() };
        World::run(&scenario, 1, keep).log.expect("it was kept")
    };
    let as_it_was = run(None);
    for after in [1, 200, 400] {
        let whose = sim::world::Whose::All;
        let other = run(Some(sim::world::Reroll { after, seed: 99, whose }));
        let same = run(Some(sim::world::Reroll { after, seed: 99, whose }));
        assert_eq!(other.first_difference(&same), None, "dice of one seed roll the same");
        let first =
            as_it_was.first_difference(&other).unwrap_or_else(|| panic!("{after} of {}", as_it_was.len()));
        assert!(first as u64 > after, "record {first} differs, and dice are others after {after} only");
    }
}

fn logged(seed: u64) -> Logged {
    sim::runner::run_logged(sim::plane::Plane::Core, &luck(), LUCK, seed, false).expect("it runs")
}

#[test]
fn runs_of_one_seed_are_the_same_and_of_two_part() {
    assert_eq!(diff::diff(&logged(1), &logged(1)), None);
    let found = diff::diff(&logged(1), &logged(2)).expect("dice differ");
    let [Some(a), Some(b)] = found.exact.sides else { panic!("both runs go on") };
    assert_ne!((a.at, a.line), (b.at, b.line));
}

#[test]
fn what_why_and_diff_tell_has_a_shape() {
    let seed = (1..200).find(|seed| fails(*seed)).expect("one loses");
    let good = (1..200).find(|seed| !fails(*seed)).expect("one wins");
    let found = diff::diff(&logged(seed), &logged(good));
    let names = ["luck.toml@1", "luck.toml@2"];
    insta::assert_json_snapshot!("diff", shapes::shape(&sim::cli::diff::json_of(found.as_ref(), names)));
    let found = why::why(&luck(), why::WhyWish { seed, points: 3, runs: 40, jobs: 1 }).expect("it fails");
    insta::assert_json_snapshot!("why", shapes::shape(&sim::cli::why::json_of(&found, "luck.toml", seed)));
}

// ---- without a part, by other means than the shrinker's ----

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Entry(usize),
}

fn read(text: &str) -> Scenario {
    match scenario::read(text, "long-gap.toml") {
        Ok(scenario) => scenario,
        Err(problems) => {
            panic!("{}\n{text}", problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())
        }
    }
}

/// What decides nothing, or is what an event is: its time and place.
fn is_kept(way: &[Step]) -> bool {
    let key = |number: usize| match way.get(number) {
        Some(Step::Key(key)) => key.as_str(),
        Some(Step::Entry(_)) | None => "",
    };
    let is_file = matches!(key(0), "schema" | "id" | "title" | "refs" | "run");
    let is_event = key(1) == "events" && way.len() == 4 && matches!(key(3), "at" | "on" | "for" | "down");
    is_file || is_event
}

fn ways_of(item: &Item, way: &mut Vec<Step>, ways: &mut Vec<Vec<Step>>) {
    let mut each = |step: Step, item: &Item, way: &mut Vec<Step>| {
        way.push(step);
        ways.push(way.clone());
        ways_of(item, way, ways);
        way.pop();
    };
    if let Some(table) = item.as_table_like() {
        for (key, item) in table.iter() {
            each(Step::Key(key.to_owned()), item, way);
        }
    } else if let Some(tables) = item.as_array_of_tables() {
        for (index, table) in tables.iter().enumerate() {
            each(Step::Entry(index), &Item::Table(table.clone()), way);
        }
    } else if let Some(Value::Array(list)) = item.as_value() {
        for (index, value) in list.iter().enumerate() {
            each(Step::Entry(index), &Item::Value(value.clone()), way);
        }
    }
}

fn remove(item: &mut Item, way: &[Step]) -> bool {
    match way {
        [] => false,
        [Step::Key(key)] => item.as_table_like_mut().is_some_and(|table| table.remove(key).is_some()),
        [Step::Key(key), rest @ ..] => item
            .as_table_like_mut()
            .and_then(|table| table.get_mut(key))
            .is_some_and(|item| remove(item, rest)),
        [Step::Entry(index)] => {
            if let Some(tables) = item.as_array_of_tables_mut() {
                tables.remove(*index);
                return true;
            }
            match item.as_array_mut() {
                Some(list) => {
                    list.remove(*index);
                    true
                }
                None => false,
            }
        }
        [Step::Entry(index), rest @ ..] => {
            if let Some(tables) = item.as_array_of_tables_mut() {
                let Some(table) = tables.get_mut(*index) else { return false };
                let mut inner = Item::Table(table.clone());
                let is_removed = remove(&mut inner, rest);
                if let Item::Table(changed) = inner {
                    *table = changed;
                }
                return is_removed;
            }
            let Some(value) = item.as_array_mut().and_then(|list| list.get_mut(*index)) else { return false };
            let mut inner = Item::Value(value.clone());
            let is_removed = remove(&mut inner, rest);
            if let Item::Value(changed) = inner {
                *value = changed;
            }
            is_removed
        }
    }
}
