//! The story of a run that failed: what went wrong in the world, what the proxy thought beside what was true, which
//! promise broke, and how to see it again.

use std::fmt::Write as _;

use proxy_core::io::{EventKind, PullState};
use proxyd::log::words;

use crate::{
    oracle::{Finding, Scene},
    scenario::model::{Act, Scenario},
    trace::{Cast, Record, What, words as trace_words},
};

/// Records told before the end.
pub const TOLD_MAX: usize = 14;

/// Tells the story of a run that ended with findings. `records` are all of it, `scene` is what was so at its end.
pub fn story(
    scenario: &Scenario,
    text: &str,
    findings: &[Finding],
    scene: &Scene,
    cast: &Cast,
    records: &[Record],
) -> String {
    let mut story = String::new();
    let Some(first) = findings.first() else { return story };
    let before: Vec<&Record> = records.iter().filter(|record| record.step <= first.step).collect();

    story.push_str("  what went wrong in the world\n");
    let mut faults = 0;
    for record in &before {
        let (event, verb) = match record.what {
            What::Began { event } => (event, "begins"),
            What::Lifted { event } => (event, "is lifted"),
            What::Phase(_)
            | What::Moment(_)
            | What::Packet(_)
            | What::Address { .. }
            | What::Asked(_)
            | What::Answered { .. }
            | What::In(_)
            | What::Out(_)
            | What::Event(_)
            | What::Sample(_)
            | What::Arrived { .. }
            | What::OriginAccepted
            | What::OriginPlays { .. }
            | What::OriginComplains(_)
            | What::PlayerJoins { .. }
            | What::PlayerLeaves { .. }
            | What::PlayerConnected { .. }
            | What::Saw { .. }
            | What::PlayerTold { .. }
            | What::PlayerLost { .. }
            | What::PlayerViolation { .. } => continue,
        };
        let Some(spec) = scenario.events.get(usize::from(event)) else { continue };
        if !matches!(spec.act, Act::Fault(_) | Act::Publish { .. } | Act::Start { .. }) {
            continue;
        }
        faults += 1;
        let _ = writeln!(
            story,
            "    {:>12}  line {:<4} {}  {verb}",
            record.at.to_string(),
            spec.line,
            line_of(text, spec.line)
        );
    }
    if faults == 0 {
        story.push_str("    nothing\n");
    }

    story.push_str("  what the proxy thought, beside what was true\n");
    for ((proxy, id), stream) in &scene.streams {
        let name = format!("{}/{}", stream.key.app, stream.key.stream);
        let since = first.at.since(stream.entered_at);
        let _ = write!(story, "    {} stream {id} {name}: {}", cast.name(*proxy), words::state(stream.state));
        let _ = write!(story, " for {}", seconds(since));
        if let Some(failure) = &stream.failure {
            let _ = write!(story, ", last failure: {}", words::failure(failure));
        }
        if let (PullState::BackingOff, Some(at)) = (stream.state, stream.next_attempt) {
            let _ = write!(story, ", next attempt at {at}");
        }
        let arrived = stream.arrived_at.map_or_else(
            || "no frame has ever arrived".to_owned(),
            |at| format!("the last frame arrived {} ago", seconds(first.at.since(at))),
        );
        let _ = writeln!(story, "\n      in truth {arrived}");
    }
    for (actor, origin) in &scene.origins {
        let what = if origin.serves { "serves" } else { "does not serve" };
        let since = seconds(first.at.since(origin.since));
        let _ = writeln!(story, "    origin {} {what}, for {since}", cast.name(*actor));
    }
    for player in &scene.players {
        let seen = player.last_frame.map_or_else(
            || "has never seen a frame".to_owned(),
            |at| format!("saw its last frame {} ago", seconds(first.at.since(at))),
        );
        let connected = if player.is_connected { "" } else { ", not connected" };
        let gone = if player.is_gone { ", has left" } else { "" };
        let (name, stream) = (cast.name(player.actor), &player.stream);
        let _ =
            writeln!(story, "    player {name} of {stream} ({:?}) {seen}{connected}{gone}", player.output);
    }

    story.push_str("  the last that happened\n");
    let notable: Vec<&&Record> = before.iter().filter(|record| is_notable(record)).collect();
    for record in &notable[notable.len().saturating_sub(TOLD_MAX)..] {
        let _ = writeln!(story, "  {}", trace_words::line(record, cast));
    }
    story
}

/// Returns whether a reader of a story wants to see a record: no bytes, no samples, no single frames.
pub fn is_notable(record: &Record) -> bool {
    match &record.what {
        What::Event(event) => !matches!(event.kind, EventKind::PullStepped { .. }),
        What::Phase(_)
        | What::Began { .. }
        | What::Lifted { .. }
        | What::Moment(_)
        | What::Asked(_)
        | What::Answered { .. }
        | What::PlayerJoins { .. }
        | What::PlayerLeaves { .. }
        | What::PlayerTold { .. }
        | What::PlayerLost { .. }
        | What::PlayerViolation { .. }
        | What::OriginComplains(_) => true,
        What::In(_)
        | What::Out(_)
        | What::Sample(_)
        | What::Arrived { .. }
        | What::OriginAccepted
        | What::OriginPlays { .. }
        | What::Address { .. }
        | What::PlayerConnected { .. }
        | What::Saw { .. }
        | What::Packet(_) => false,
    }
}

fn line_of(text: &str, line: u32) -> &str {
    text.lines().nth((line as usize).saturating_sub(1)).unwrap_or("").trim()
}

/// Writes seconds with three decimals, cut off.
pub(super) fn seconds(time: proxy_core::time::Duration) -> String {
    format!("{}.{:03} s", time.as_secs(), time.subsec_millis())
}
