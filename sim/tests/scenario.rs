//! Scenario files: read as written, every mistake told at its place.

use sim::scenario;

const FIELD: &str = include_str!("../../scenarios/field/3810-srs-restart.toml");

#[test]
fn the_example_reads() {
    let loaded = scenario::load(FIELD, "scenarios/field/3810-srs-restart.toml", None)
        .unwrap_or_else(|problems| panic!("{}", tell(&problems)));
    assert_eq!(tell(&loaded.warnings), "");
    println!("{:#?}", loaded.scenario);
    println!("{}", scenario::print(&loaded.scenario));
}

fn tell(problems: &[scenario::Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
