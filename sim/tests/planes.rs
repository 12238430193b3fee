//! What the planes promise: the same seed, the same trace, in whatever process; and the production driver behind it all.

use std::process::Command;

use serde_json::Value;

const STORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/field/3810-srs-restart.toml");

/// Runs the story on plane `turmoil` in a process of its own; returns its verdict and hash.
fn check(environment: &[(&str, &str)]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_repull-sim"))
        .args(["run", STORY, "--plane", "turmoil", "--seed", "1", "--format", "json"])
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("our own binary runs");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let text = |name: &str| report["runs"][0][name].as_str().unwrap_or_default().to_owned();
    (text("verdict"), text("hash"))
}

#[test]
fn a_seed_decides_a_run_on_turmoil_whatever_the_process() {
    let padding = "x".repeat(40_000);
    let first = check(&[]);
    assert_eq!(first.0, "held");
    for environment in [
        &[("PADDING", padding.as_str())][..],
        &[("TZ", "Pacific/Chatham"), ("LANG", "tr_TR.UTF-8")],
        &[("MALLOC_ARENA_MAX", "1"), ("MALLOC_PERTURB_", "85"), ("MALLOC_MMAP_THRESHOLD_", "4096")],
    ] {
        assert_eq!(check(environment), first, "{environment:?}");
    }
}
