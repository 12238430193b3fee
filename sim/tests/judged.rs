//! What a scenario wants is judged, of the streams it means; what cannot be is told.

use sim::{
    runner::{self, Verdict},
    scenario,
};

/// Two proxies in a row, whose streams have one name; a third one's is in its own configuration.
const STORY: &str = include_str!("judged/story.toml");

/// Runs the story with more in it and returns what its own expectations missed.
fn missed(more: &str) -> Vec<String> {
    let text = format!("{STORY}{more}");
    let scenario = scenario::read(&text, "story.toml").unwrap_or_else(|problems| panic!("{problems:?}"));
    match runner::run_once(&scenario, 1).verdict {
        Verdict::Broken(findings) => findings.into_iter().map(|finding| finding.promise.to_owned()).collect(),
        Verdict::Held => Vec::new(),
        other => panic!("{other:?}"),
    }
}

fn never(what: &str, pull: &str, from: &str, until: &str) -> Vec<String> {
    let pulls = if pull.is_empty() { String::new() } else { format!("pulls = [\"{pull}\"]\n") };
    missed(&format!("[[expect]]\nnever = \"{what}\"\n{pulls}from = \"{from}\"\nuntil = \"{until}\"\n"))
}

#[test]
fn pulls_of_one_name_are_told_apart_by_their_proxies() {
    assert_eq!(never("dialled", "first", "500ms", "1.5s"), ["expect: never"]);
    assert_eq!(never("dialled", "second", "500ms", "1.5s"), [""; 0]);
    assert_eq!(never("dialled", "first", "1.5s", "2.5s"), [""; 0]);
    assert_eq!(never("dialled", "second", "1.5s", "2.5s"), ["expect: never"]);
    let removed =
        |pull: &str| missed(&format!("[[expect]]\nremoved = \"{pull}\"\nafter = \"3s\"\nat_most = \"3s\"\n"));
    assert_eq!(removed("first"), [""; 0]);
    assert_eq!(removed("second"), ["expect: removed"]);
}

#[test]
fn without_pulls_every_stream_is_meant_a_configurations_own_as_well() {
    assert_eq!(never("dialled", "", "0s", "500ms"), ["expect: never"]);
    assert_eq!(never("registered", "", "0s", "500ms"), ["expect: never"]);
    assert_eq!(never("dialled", "", "500ms", "900ms"), [""; 0]);
}

#[test]
fn what_never_begins_is_told() {
    let opened = STORY.trim_end().strip_suffix(']').expect("its timeline is the last");
    let kill = |at: &str| {
        let event = format!("  {{ at = \"{at}\", on = \"origin\", fault = \"kill\" }},\n]\n");
        let text = format!("{}[[expect]]\nnever = \"shed\"\n", opened.to_owned() + &event);
        let scenario = scenario::read(&text, "story.toml").unwrap_or_else(|problems| panic!("{problems:?}"));
        runner::run_once(&scenario, 1).verdict
    };
    assert!(matches!(kill("10s"), Verdict::Held));
    let Verdict::Broken(findings) = kill("first.replaying") else { panic!("it never began") };
    assert_eq!(findings[0].promise, "expect: begins");
    assert!(findings[0].text.contains("its moment never came"), "{findings:?}");
}

#[test]
fn pulls_that_nothing_tells_apart_are_a_mistake() {
    let text = STORY.replace("on = \"edge\"", "on = \"region\"");
    let problems = scenario::read(&text, "story.toml").expect_err("both are added at one proxy");
    let told = problems.iter().map(ToString::to_string).collect::<String>();
    assert!(
        told.contains("[pull.first] and [pull.second] are both live/cam, and nothing tells them apart"),
        "{told}"
    );
}
