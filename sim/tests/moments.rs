//! Moments that wait for something: in an expectation, a pull's moment is its first after the last fault.

use sim::{
    runner::{self, Verdict},
    scenario,
};

/// The origin is killed for a second, and dialled in the meantime; once the pull streams again nobody dials.
fn check(from: &str) -> Verdict {
    let text = r#"
schema = 1
id     = "killed"
title  = "An origin that is killed is dialled until it is back, and not after"
[run]
for = "15s"
[net.lan]
kind = "bridge"
[host.origin]
role  = "origin"
model = { stream = "live/cam" }
[host.proxy]
role = "proxy"
[pull.cam]
app    = "live"
stream = "cam"
url    = "rtmp://origin/live/cam"
[timeline]
events = [
  { at = "0s", add = "cam" },
  { at = "5s", on = "origin", fault = "kill", for = "1s" },
]
[[expect]]
dials   = "origin"
from    = "FROM"
at_most = 0
"#;
    let text = text.replace("FROM", from);
    let scenario = scenario::read(&text, "killed.toml").expect("a scenario");
    runner::run_once(&scenario, 1).verdict
}

#[test]
fn a_pulls_moment_in_an_expectation_waits_for_the_last_fault() {
    assert!(matches!(check("cam.streaming"), Verdict::Held));
    assert!(matches!(check("4s"), Verdict::Broken(_)));
}
