//! Repair scripts: they look after every stream of the pull they name.

use sim::{
    runner::{self, Verdict},
    scenario,
};

const THREE_ALIKE: &str = r#"
schema = 1
id     = "three-alike"
title  = "A repair script of several alike looks after each"
[run]
for = "10s"
[net.lan]
kind = "bridge"
[host.nvr]
role  = "origin"
model = { stream = "live/cam{1..3}" }
[host.proxy]
role = "proxy"
[pull.cams]
app    = "live"
stream = "cam{n}"
count  = 3
url    = "rtmp://nvr/live/cam{n}"
[timeline]
events = [{ at = "0s", every = "1s", repair = "cams", closes = CLOSES }]
[[expect]]
entered = "streaming"
pull    = "cams"
after   = "0s"
"#;

fn check(closes: bool) {
    let text = THREE_ALIKE.replace("CLOSES", &closes.to_string());
    let scenario = scenario::read(&text, "three-alike.toml").expect("a scenario");
    let ran = runner::run_once(&scenario, 1);
    assert!(matches!(ran.verdict, Verdict::Held), "{:#?}", ran.verdict);
}

#[test]
fn a_repair_script_looks_after_every_stream_of_its_pull() {
    check(false);
    check(true);
}
