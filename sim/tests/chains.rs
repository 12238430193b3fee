//! Chains of proxies: what a viewer behind the second sees.

use sim::{
    runner::{self, Verdict},
    scenario,
};

const CHAIN: &str = r#"
schema = 1
id = "chain"
title  = "Viewers at the second edge get frames again after the encoder at the origin restarts"

[run]
for   = "30s"
seeds = [1, 42]

[net.lan]
kind = "bridge"

[host.origin]
role  = "origin"
model = { like = "nginx-rtmp-1.1.4", stream = "live/cam" }

[host.edge-a]
role = "proxy"

[host.edge-b]
role = "proxy"

[host.viewer]
role  = "player"
count = 3

[host.late]
role = "player"

[pull.a]
app    = "live"
stream = "cam"
url    = "rtmp://origin/live/cam"

[pull.b]
app    = "live"
stream = "cam"
url    = "rtmp://edge-a/live/cam"

[timeline]
events = [
  { at = "0s", add = "a", on = "edge-a", reply = { code = 0 } },
  { at = "1s", add = "b", on = "edge-b", reply = { code = 0 } },
  { at = "4s", on = "viewer", play = "b", from = "edge-b", via = ["rtmp", "http-flv"] },
  { at = "10s", on = "origin", fault = "publisher-away", for = "3s", as = "encoder" },
  { at = "origin.serving + 1s", on = "late", play = "b", from = "edge-b", via = ["rtmp", "http-flv"] },
]

[[expect]]
frames_at = ["viewer"]
after     = "origin.serving"
at_most   = "1s"
max_gap   = "1s"

[[expect]]
frames_at = ["late"]
after     = "late.watching"
at_most   = "1s"

[[expect]]
never   = "player-disconnected"
players = ["viewer", "late"]
"#;

fn check(away: &str) {
    let text = CHAIN.replace("for = \"3s\"", &format!("for = \"{away}\""));
    let scenario = scenario::read(&text, "chain.toml").expect("a scenario");
    let ran = runner::run_once(&scenario, 1);
    assert!(matches!(ran.verdict, Verdict::Held), "away for {away}: {:#?}", ran.verdict);
}

/// The second proxy drops the header that the first repeats: its own pull goes on with one play.
#[test]
fn viewers_behind_a_second_proxy_get_frames_again() {
    check("3s");
    check("8s");
}
