//! What is told of a run that failed, in each form: people and programs read it, so a change is looked at.

use std::{fs, io, path::PathBuf, process::Command};

/// An origin's restart takes longer than this file allows.
const LATE: &str = r#"schema = 1
id = "late"
title = "An origin is killed for two seconds, and a tenth of one is all that is allowed"

[run]
for = "8s"
seeds = [1]

[host.srs]
role = "origin"
model = { like = "srs-6", stream = "live/cam" }

[host.proxy]
role = "proxy"

[host.viewer]
role = "player"

[pull.cam]
app = "live"
stream = "cam"
url = "rtmp://srs/live/cam"

[timeline]
events = [
  { at = "0s", on = "proxy", add = "cam" },
  { at = "1s", on = "viewer", play = "live/cam" },
  { at = "3s", on = "srs", fault = "kill", for = "2s", as = "kill" },
]

[[expect]]
frames_at = ["viewer"]
after     = "kill.cleared"
at_most   = "100ms"
"#;

/// A command that finds the file where it lies, so that it is named the same everywhere.
fn repull_sim(test: &str, words: &[&str]) -> Command {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("told-{test}"));
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("late.toml"), LATE).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_repull-sim"));
    command.args(words).current_dir(&folder);
    command
}

/// Runs the file and returns what is told of it.
fn told(format: &str) -> String {
    let output = repull_sim(format, &["run", "late.toml", "--format", format]).output().expect("repull-sim");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_failure_is_told_to_people() {
    insta::assert_snapshot!(told("text"));
}

#[test]
fn a_failure_is_told_to_ci_servers() {
    insta::assert_snapshot!(told("junit"));
}

#[test]
fn a_failure_is_told_on_the_scenarios_line() {
    insta::assert_snapshot!(told("github"));
}

#[test]
fn a_failure_is_told_to_programs() {
    insta::assert_snapshot!(told("json"));
}

#[test]
fn who_has_seen_enough_ends_the_telling_quietly() {
    // Whoever reads is gone before the first line.
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let output = repull_sim("pipe", &["replay", "late.toml", "--seed", "1", "--until", "20"])
        .stdout(writer)
        .output()
        .expect("repull-sim");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}
