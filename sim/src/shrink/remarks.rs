//! What does not matter and where thresholds lie, measured on the smallest file and written beside its lines.

use super::{
    draft::Draft,
    knobs::{Knob, Range, Unit, What, knobs},
    text::{self, Edit, Kind, Part},
    trial::{Case, Trial, Verdict},
};
use crate::{
    origin::Like,
    scenario::{
        model::Role,
        words::{self, CUTS, DIRECTIONS, ENDINGS, HOWS, LEAVES, OUTPUTS, THENS},
    },
};

/// Other seeds tried.
pub(super) const SEEDS: u64 = 8;
/// Players more than needed that are tried.
const COUNT_MAX: i128 = 3;

/// Ways in which the same goes wrong: of each list any may do what another does.
const ALIKE: &[&[&str]] = &[
    &[
        "kill",
        "term",
        "vanish",
        "freeze",
        "pause",
        "partition",
        "link-down",
        "network-disconnect",
        "veth-recreate",
    ],
    &["refuse", "blackhole", "accept-close", "accept-reset", "accept-silence"],
    &[
        "connect-silent",
        "connect-close",
        "create-stream-silent",
        "create-stream-error",
        "create-stream-close",
        "play-silent",
        "play-error",
        "play-close",
    ],
    &["metadata-only", "config-only", "play-empty"],
    &["loss", "duplicate", "reorder"],
];

/// Something measured, beside a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The line of the written file, from 1.
    pub line: u32,
    /// What was measured.
    pub text: String,
}

/// Measures what can be said of each line. Returns the places in the draft's text with the words.
pub(super) fn measure(draft: &Draft, trial: &mut Trial) -> Vec<(usize, String)> {
    let mut remarks = Vec::new();
    for part in &draft.parts {
        let Some(value) = &part.value else { continue };
        if let Some(words) = alternatives(draft, part, trial) {
            remarks.push((value.start, words));
        }
    }
    for host in &draft.scenario.hosts {
        if matches!(host.role, Role::Player(_)) {
            remarks.extend(lone_player(&host.name, draft, trial));
        }
    }
    for knob in knobs(draft) {
        let place = knob.part(draft).and_then(|part| part.value.clone());
        let Some(place) = place else { continue };
        let words = match knob.what {
            // Where nothing has to happen after the promise broke, the run's time is as long as that takes.
            What::Run => continue,
            What::Count => counted(&knob, draft, trial),
            What::At | What::For | What::Little | What::Setting => ranged(&knob, draft, trial),
        };
        remarks.extend(words.map(|words| (place.start, words)));
    }
    remarks.sort_by_key(|(place, _)| *place);
    remarks
}

/// Writes remarks behind the lines they are about. Returns the text and where each stands.
pub(super) fn write(text: &str, remarks: &[(usize, String)]) -> (String, Vec<Remark>) {
    let line = |place: usize| text::line_at(text, place);
    let mut edits = Vec::new();
    // What is about one line stands behind it together, in the order of what it is about.
    for of_line in remarks.chunk_by(|(a, _), (b, _)| line(*a) == line(*b)) {
        let words: Vec<&str> = of_line.iter().map(|(_, words)| words.as_str()).collect();
        edits.extend(of_line.first().map(|(place, _)| text::remark(text, *place, &words.join("; "))));
    }
    let told = remarks.iter().map(|(place, words)| Remark { line: line(*place), text: words.clone() });
    let told = told.collect();
    let written = text::apply(text, edits, None).map_or_else(|| text.to_owned(), |(text, _)| text);
    (written, told)
}

/// Tells which words in the place of this one do the same.
fn alternatives(draft: &Draft, part: &Part, trial: &mut Trial) -> Option<String> {
    let word = part.text.as_deref()?;
    let of = |table: Vec<(&'static str, &'static str)>| {
        table.into_iter().map(|(word, _)| word).collect::<Vec<&'static str>>()
    };
    if part.is_below(&["expect"]) {
        return None;
    }
    let (name, words) = match part.key() {
        "fault" => {
            let alike = ALIKE.iter().find(|alike| alike.contains(&word))?;
            ("fault", alike.to_vec())
        }
        "via" => ("output", of(words::list(OUTPUTS))),
        "leave" => ("way to leave", of(words::list(LEAVES))),
        "ending" => ("ending", of(words::list(ENDINGS))),
        "then" => ("then", of(words::list(THENS))),
        "direction" => ("direction", of(words::list(DIRECTIONS))),
        "how" => ("how", of(words::list(HOWS))),
        "by" if words::find(CUTS, word).is_some() => ("by", of(words::list(CUTS))),
        "like" => ("software", Like::ALL.into_iter().map(Like::name).collect()),
        _ => return None,
    };
    let span = part.value.clone()?;
    let others: Vec<&str> = words.iter().copied().filter(|other| *other != word).collect();
    let cases: Vec<Case> = others
        .iter()
        .filter_map(|other| draft.edited(vec![Edit { span: span.clone(), with: format!("\"{other}\"") }]))
        .collect();
    let verdicts = trial.verdicts(&cases);
    let with = |wanted: Verdict| -> Vec<&str> {
        let pairs = others.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == wanted);
        pairs.map(|(word, _)| *word).collect()
    };
    let (fail, hold) = (with(Verdict::Fails), with(Verdict::Not));
    match (fail.is_empty(), hold.is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("only {word}: {} hold", listed(&hold))),
        (false, true) => Some(format!("any {name}: {} alike", listed(&[&[word], &fail[..]].concat()))),
        (false, false) => {
            Some(format!("{} alike, {} hold", listed(&[&[word], &fail[..]].concat()), listed(&hold)))
        }
    }
}

/// Tells how many it takes.
fn counted(knob: &Knob, draft: &Draft, trial: &mut Trial) -> Option<String> {
    let (least, below) = knob.least(draft, trial);
    let more: Vec<i128> = (knob.value + 1..=knob.value + COUNT_MAX - 1).collect();
    let cases: Vec<Case> = more.iter().filter_map(|value| knob.set(draft, *value)).collect();
    let verdicts = trial.verdicts(&cases);
    let most = verdicts.iter().take_while(|verdict| **verdict == Verdict::Fails).count();
    let last = knob.value + i128::try_from(most).unwrap_or(0);
    let holds = verdicts.get(most).is_some_and(|verdict| *verdict == Verdict::Not);
    let is_player = |part: &Part| part.is_below(&["host"]) && part.key() == "count";
    let who = if knob.part(draft).is_some_and(is_player) { "players" } else { "streams" };
    how_many((least, below), (last, holds), who)
}

/// Tells what more players than one do, where the file does not say how many there are. Returns the place of the words with them.
fn lone_player(name: &str, draft: &Draft, trial: &mut Trial) -> Option<(usize, String)> {
    let part =
        |path: &[&str]| draft.parts.iter().find(|part| part.path.len() == path.len() && part.is_below(path));
    if part(&["host", name, "count"]).is_some() {
        return None;
    }
    let role = part(&["host", name, "role"])?.value.clone()?;
    let before = if part(&["host", name])?.kind == Kind::Section { "\n" } else { ", " };
    let case = |count: i128| {
        draft.edited(vec![Edit { span: role.end..role.end, with: format!("{before}count = {count}") }])
    };
    let cases: Vec<Case> = (2..=COUNT_MAX).filter_map(case).collect();
    let verdicts = trial.verdicts(&cases);
    let more = verdicts.iter().take_while(|verdict| **verdict == Verdict::Fails).count();
    let holds = verdicts.get(more).is_some_and(|verdict| *verdict == Verdict::Not);
    let words = how_many((1, None), (1 + i128::try_from(more).unwrap_or(0), holds), "players")?;
    Some((role.start, words))
}

/// Tells how many it takes: the least and what is below that and holds, the most that was seen to fail and whether one more
/// holds.
fn how_many((least, below): (i128, Option<i128>), (most, holds): (i128, bool), who: &str) -> Option<String> {
    let more = most + 1;
    Some(match (below, holds) {
        (None, false) if most == least => return None,
        (None, false) => format!("any {least}–{most} {who}"),
        (None, true) if most == least => format!("{least} alone: {more} {who} hold"),
        (None, true) => format!("{least}–{most} {who}: {more} hold"),
        (Some(below), false) => format!("{least} {who} or more needed: {below} hold"),
        (Some(below), true) if most == least => format!("{least} {who}: {below} hold, and so do {more}"),
        (Some(below), true) => format!("{least}–{most} {who}: {below} hold, and so do {more}"),
    })
}

/// Tells between which values it fails.
fn ranged(knob: &Knob, draft: &Draft, trial: &mut Trial) -> Option<String> {
    let Range { least: (least, below), most: (most, above) } = knob.range(draft, trial);
    let name = knob.name(draft);
    let show = |value: i128| shown(knob.unit, value);
    Some(match (below, above) {
        (None, None) if least == most => return None,
        (None, None) => format!("any {name}: {} to {} tried", show(least), show(most)),
        (Some(below), None) => format!("{name} ≥ {} needed: {} holds", show(least), show(below)),
        (None, Some(above)) => format!("{name} ≤ {} needed: {} holds", show(most), show(above)),
        (Some(below), Some(above)) => format!(
            "{name} {} to {} needed: {} holds, and so does {}",
            show(least),
            show(most),
            show(below),
            show(above)
        ),
    })
}

/// Writes a threshold: of a time in seconds, with a decimal at least.
fn shown(unit: Unit, value: i128) -> String {
    let text = unit.show(value);
    match text.strip_suffix('s') {
        Some(number) if unit == Unit::Time && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{number}.0 s")
        }
        Some(number)
            if unit == Unit::Time && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') =>
        {
            format!("{number} s")
        }
        Some(_) | None => text,
    }
}

fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Returns whether a fault is one there is: what [`ALIKE`] names.
#[cfg(test)]
fn is_fault(name: &str) -> bool {
    crate::scenario::FAULTS.iter().any(|fault| fault.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_are_faults() {
        for name in ALIKE.iter().copied().flatten() {
            assert!(is_fault(name), "{name}");
        }
    }

    #[test]
    fn thresholds_are_told_in_seconds() {
        let check = |millis: i128, text| assert_eq!(shown(Unit::Time, millis * 1_000_000), text);
        check(2_000, "2.0 s");
        check(1_900, "1.9 s");
        check(150, "150ms");
        check(0, "0.0 s");
        assert_eq!(shown(Unit::Whole, 3), "3");
    }
}
