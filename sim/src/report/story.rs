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

/// Faults told before the end: a story is read by one person.
const FAULTS_TOLD_MAX: usize = 5;
/// Streams, origins and players told, each.
const ACTORS_TOLD_MAX: usize = 4;
/// Frames younger than this are no sign of trouble.
const FRESH: proxy_core::time::Duration = proxy_core::time::Duration::from_secs(2);

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
    let mut faults = Vec::new();
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
            | What::Dialled { .. }
            | What::Event(_)
            | What::Sample(_)
            | What::Arrived { .. }
            | What::EndArrived { .. }
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
        let fault = format!(
            "    {:>12}  line {:<4} {}  {verb}",
            record.at.to_string(),
            spec.line,
            line_of(text, spec.line)
        );
        faults.push((false, fault));
    }
    if faults.is_empty() {
        story.push_str("    nothing\n");
    }
    // Of many the last are closest to what broke.
    let skipped = faults.len().saturating_sub(FAULTS_TOLD_MAX);
    if skipped > 0 {
        let _ = writeln!(story, "    … {skipped} before these");
    }
    story.push_str(&some_of(faults.split_off(skipped), FAULTS_TOLD_MAX, "faults"));

    story.push_str("  what the proxy thought, beside what was true\n");
    let mut streams = Vec::new();
    for ((proxy, id), stream) in &scene.streams {
        let name = format!("{}/{}", stream.key.app, stream.key.stream);
        let since = first.at.since(stream.entered_at);
        let mut line =
            format!("    {} stream {id} {name}: {}", cast.name(*proxy), words::state(stream.state));
        let _ = write!(line, " for {}", seconds(since));
        if let Some(failure) = &stream.failure {
            let _ = write!(line, ", last failure: {}", words::failure(failure));
        }
        if let (PullState::BackingOff, Some(at)) = (stream.state, stream.next_attempt) {
            let _ = write!(line, ", next attempt at {at}");
        }
        let arrived = stream.arrived_at.map_or_else(
            || "no frame has ever arrived".to_owned(),
            |at| format!("the last frame arrived {} ago", seconds(first.at.since(at))),
        );
        let _ = write!(line, "\n      in truth {arrived}");
        let is_well = stream.state == PullState::Streaming
            && stream.arrived_at.is_some_and(|at| first.at.since(at) < FRESH);
        streams.push((is_well, line));
    }
    story.push_str(&some_of(streams, ACTORS_TOLD_MAX, "streams"));
    let mut origins = Vec::new();
    for (actor, origin) in &scene.origins {
        let what = if origin.serves { "serves" } else { "does not serve" };
        let since = seconds(first.at.since(origin.since));
        let line = format!("    origin {} {what}, for {since}", cast.name(*actor));
        origins.push((origin.serves, line));
    }
    story.push_str(&some_of(origins, ACTORS_TOLD_MAX, "origins"));
    let mut players = Vec::new();
    for player in &scene.players {
        let seen = player.last_frame.map_or_else(
            || "has never seen a frame".to_owned(),
            |at| format!("saw its last frame {} ago", seconds(first.at.since(at))),
        );
        let connected = if player.is_connected { "" } else { ", not connected" };
        let gone = if player.is_gone { ", has left" } else { "" };
        let (name, stream) = (cast.name(player.actor), &player.stream);
        let line = format!("    player {name} of {stream} ({:?}) {seen}{connected}{gone}", player.output);
        let is_fresh = player.last_frame.is_some_and(|at| first.at.since(at) < FRESH);
        players.push((player.is_gone || player.is_connected && is_fresh, line));
    }
    story.push_str(&some_of(players, ACTORS_TOLD_MAX, "players"));

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
        | What::EndArrived { .. }
        | What::OriginAccepted
        | What::OriginPlays { .. }
        | What::Address { .. }
        | What::PlayerConnected { .. }
        | What::Saw { .. }
        | What::Packet(_)
        | What::Dialled { .. } => false,
    }
}

/// Returns at most so many lines, those of whoever is not well first, and how many are left out.
fn some_of(mut lines: Vec<(bool, String)>, max: usize, what: &str) -> String {
    lines.sort_by_key(|(is_well, _)| *is_well);
    let left = lines.len().saturating_sub(max);
    let mut told: String = lines.iter().take(max).map(|(_, line)| format!("{line}\n")).collect();
    if left > 0 {
        let _ = writeln!(told, "    … and {left} more {what}");
    }
    told
}

fn line_of(text: &str, line: u32) -> &str {
    text.lines().nth((line as usize).saturating_sub(1)).unwrap_or("").trim()
}

/// Writes seconds with three decimals, cut off.
pub(super) fn seconds(time: proxy_core::time::Duration) -> String {
    format!("{}.{:03} s", time.as_secs(), time.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_the_troubled_are_told_and_the_others_counted() {
        let lines = |troubled: usize| {
            (0..100).map(|number| (number != troubled, format!("stream {number}"))).collect::<Vec<_>>()
        };
        assert_eq!(
            some_of(lines(70), 3, "streams"),
            "stream 70\nstream 0\nstream 1\n    … and 97 more streams\n"
        );
        assert_eq!(some_of(lines(70).split_off(97), 3, "streams"), "stream 97\nstream 98\nstream 99\n");
    }
}
