//! Numbers moved to where it just still fails, and what lies beyond measured.

use super::{
    draft::Draft,
    text::{Edit, Part, Step},
    trial::{Case, Trial, Verdict},
};
use crate::scenario::unit::{SHARE, TIME};

/// A second, in nanoseconds.
pub(super) const SECOND: i128 = 1_000_000_000;

/// A hundredth, in millionths.
const PERCENT: i128 = 10_000;

/// A number of a file.
#[derive(Clone, Debug)]
pub(super) struct Knob {
    path: Vec<Step>,
    pub(super) what: What,
    /// What stands before the number in its text, and behind it.
    around: (String, String),
    pub(super) value: i128,
    pub(super) unit: Unit,
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// When an event is.
    At,
    /// How long a fault lasts.
    For,
    /// How many there are.
    Count,
    /// The run's time.
    Run,
    /// Another time, or a parameter of an event: as little as fails.
    Little,
    /// A setting: it stays as its writer chose it.
    Setting,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Time,
    Whole,
    /// Percent, in millionths.
    Share,
}

/// Between which values a file fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The least that fails, and what holds just below; nothing holds if that is as little as can be.
    pub(super) least: (i128, Option<i128>),
    /// The most that was seen to fail, and what holds just above, if that was found.
    pub(super) most: (i128, Option<i128>),
}

impl Unit {
    pub(super) fn show(self, value: i128) -> String {
        match self {
            Self::Time => (TIME.show)(value),
            Self::Whole => value.to_string(),
            Self::Share => (SHARE.show)(value),
        }
    }

    /// Returns the step in which a value is looked for.
    fn grain(self, value: i128) -> i128 {
        match self {
            Self::Time if value >= SECOND => SECOND / 10,
            Self::Time if value >= SECOND / 10 => SECOND / 100,
            Self::Time if value >= SECOND / 100 => SECOND / 1_000,
            Self::Time => (value / 10).max(1),
            // Three digits are enough for anybody.
            Self::Whole => 10_i128.pow(digits(value).saturating_sub(3)),
            Self::Share => PERCENT,
        }
    }

    /// Returns a round number at or above a value.
    fn round(self, value: i128) -> i128 {
        let step = match self {
            Self::Time if value >= 2 * SECOND => SECOND,
            Self::Time if value >= SECOND / 2 => SECOND / 2,
            Self::Time if value >= SECOND / 10 => SECOND / 10,
            Self::Time if value >= SECOND / 100 => SECOND / 100,
            Self::Time => 1,
            Self::Whole => 10_i128.pow(digits(value).saturating_sub(1)),
            Self::Share if value >= 10 * PERCENT => 5 * PERCENT,
            Self::Share => PERCENT,
        };
        (value + step - 1) / step * step
    }
}

fn digits(value: i128) -> u32 {
    u32::try_from(value.abs().to_string().len()).unwrap_or(1)
}

/// Returns the numbers of a file, those first that make runs short.
pub(super) fn knobs(draft: &Draft) -> Vec<Knob> {
    let mut knobs: Vec<Knob> = draft.parts.iter().filter_map(|part| knob(draft, part)).collect();
    let rank = |what: What| match what {
        What::Count => 0,
        What::For => 1,
        What::At => 2,
        What::Little => 3,
        What::Run => 4,
        What::Setting => 5,
    };
    knobs.sort_by_key(|knob| rank(knob.what));
    knobs
}

fn knob(draft: &Draft, part: &Part) -> Option<Knob> {
    let what = what(draft, part)?;
    let (unit, value, around) = match (&part.text, part.number) {
        (Some(text), _) if what == What::At => {
            let (before, time) = offset_of(text)?;
            (Unit::Time, (TIME.parse)(time)?, (format!("\"{before}"), "\"".to_owned()))
        }
        (Some(text), _) if text.contains('{') => {
            // `live/cam{1..500}` counts.
            let (before, rest) = text.split_once("..")?;
            let (most, after) = rest.split_once('}')?;
            (Unit::Whole, most.parse().ok()?, (format!("\"{before}.."), format!("}}{after}\"")))
        }
        (Some(text), _) if text.ends_with('%') => {
            (Unit::Share, (SHARE.parse)(text)?, ("\"".to_owned(), "\"".to_owned()))
        }
        (Some(text), _) => (Unit::Time, (TIME.parse)(text)?, ("\"".to_owned(), "\"".to_owned())),
        (None, Some(number)) => (Unit::Whole, i128::from(number), (String::new(), String::new())),
        (None, None) => return None,
    };
    Some(Knob { path: part.path.clone(), what, around, value, unit })
}

/// Returns what the number of a part is, of those that are looked at.
fn what(draft: &Draft, part: &Part) -> Option<What> {
    let key = part.key();
    let is_of_event = part.is_below(&["timeline", "events"]);
    // What is wanted is what is missed: the measure, not a part of the story.
    if part.is_below(&["expect"]) || part.is_below(&["schema"]) {
        return None;
    }
    if part.is_below(&["run"]) {
        return (key == "for").then_some(What::Run);
    }
    if is_of_event {
        let is_reply = part.path.len() > 4;
        return match key {
            "at" if part.path.len() == 4 => Some(What::At),
            "for" | "down" => Some(What::For),
            // Oftener is no smaller a story, and takes as many steps more.
            "every" => Some(What::Setting),
            // What an answer is wanted to be, and arguments, are no measures.
            _ if is_reply => None,
            _ => Some(What::Little),
        };
    }
    if key == "count" || part.text.as_ref().is_some_and(|text| text.contains("{") && text.contains("..")) {
        return Some(What::Count);
    }
    let is_player = part.is_below(&["host"])
        && draft.scenario.hosts.iter().any(|host| {
            let is_it = part.path.get(1) == Some(&Step::Key(host.name.clone()));
            is_it && matches!(host.role, crate::scenario::model::Role::Player(_))
        });
    match key {
        "port" | "code" => None,
        "boot" | "first_frame" => Some(What::Little),
        _ if is_player => Some(What::Little),
        _ if part.is_below(&["host"]) || part.is_below(&["pull"]) => Some(What::Setting),
        _ => None,
    }
}

/// Returns a moment's time and what stands before it.
fn offset_of(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(("", text));
    }
    let at = text.find("+ ").map(|at| at + 2).or_else(|| text.strip_prefix('+').map(|_| 1))?;
    Some(text.split_at(at))
}

impl Knob {
    /// Returns the words for what it is.
    pub(super) fn name(&self, draft: &Draft) -> String {
        let key = self.path.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Entry(_) => None,
        });
        let key = key.unwrap_or_default();
        let is_process = || {
            let fault = self.part(draft).and_then(|part| {
                let mut path = part.path.clone();
                *path.last_mut()? = Step::Key("fault".to_owned());
                draft.parts.iter().find(|part| part.path == path)?.text.clone()
            });
            fault.is_some_and(|fault| matches!(fault.as_str(), "term" | "kill" | "vanish"))
        };
        match self.what {
            What::For if is_process() => "down".to_owned(),
            What::At => "moment".to_owned(),
            What::For | What::Count | What::Run | What::Little | What::Setting => key.to_owned(),
        }
    }

    /// Returns the part it is in a draft.
    pub(super) fn part<'d>(&self, draft: &'d Draft) -> Option<&'d Part> {
        draft.parts.iter().find(|part| part.path == self.path)
    }

    /// Returns the file with another number.
    pub(super) fn set(&self, draft: &Draft, value: i128) -> Option<Case> {
        let span = self.part(draft)?.value.clone()?;
        let mut before = self.around.0.as_str();
        // Right at a moment is said without a number.
        if self.what == What::At && value == 0 && before.ends_with(" + ") {
            before = before.trim_end_matches(" + ");
            return draft.edited(vec![Edit { span, with: format!("{before}{}", self.around.1) }]);
        }
        let with = format!("{before}{}{}", self.unit.show(value), self.around.1);
        draft.edited(vec![Edit { span, with }])
    }

    fn verdict(&self, draft: &Draft, value: i128, trial: &mut Trial) -> Verdict {
        if value == self.value {
            return Verdict::Fails;
        }
        self.set(draft, value).map_or(Verdict::Invalid, |case| trial.verdict(&case))
    }

    fn min(&self) -> i128 {
        match self.what {
            What::Count => 1,
            What::At | What::For | What::Run | What::Little | What::Setting => 0,
        }
    }

    /// Returns the least value that fails, and the one a step below if that holds. A file fails with the value it has.
    pub(super) fn least(&self, draft: &Draft, trial: &mut Trial) -> (i128, Option<i128>) {
        let grain = self.unit.grain(self.value);
        let min = self.min();
        let lowest = match self.verdict(draft, min, trial) {
            Verdict::Fails => return (min, None),
            Verdict::Not => Some(min),
            Verdict::Invalid => None,
        };
        self.between(draft, lowest.unwrap_or(min), self.value, grain, trial)
    }

    /// Returns the most that is seen to fail, and the one a step above that holds, if there is one up to four times the
    /// value.
    fn most(&self, draft: &Draft, trial: &mut Trial) -> (i128, Option<i128>) {
        let step = match self.unit {
            Unit::Time => SECOND,
            Unit::Whole => 1,
            Unit::Share => PERCENT,
        };
        let mut fails = self.value;
        for more in [self.value + (self.value).max(step), self.value + 3 * (self.value).max(step)] {
            match self.verdict(draft, more, trial) {
                Verdict::Fails => fails = more,
                Verdict::Not => {
                    let (holds, fails) = self.between(draft, more, fails, self.unit.grain(more), trial);
                    return (holds, fails);
                }
                Verdict::Invalid => break,
            }
        }
        (fails, None)
    }

    /// Halves the way from a value that does not fail to one that does. Returns the last that fails and its neighbour,
    /// if that holds and is not just forbidden.
    fn between(
        &self,
        draft: &Draft,
        from: i128,
        to: i128,
        grain: i128,
        trial: &mut Trial,
    ) -> (i128, Option<i128>) {
        let (mut good, mut bad) = (from, to);
        while (bad - good).abs() > grain {
            let middle = (good + bad) / 2 / grain * grain;
            // A value off the grid can be nearer than a step of it.
            if middle == good || middle == bad {
                break;
            }
            match self.verdict(draft, middle, trial) {
                Verdict::Fails => bad = middle,
                Verdict::Not | Verdict::Invalid => good = middle,
            }
        }
        let holds = self.verdict(draft, good, trial) == Verdict::Not;
        (bad, holds.then_some(good))
    }

    /// Returns between which values a file fails.
    pub(super) fn range(&self, draft: &Draft, trial: &mut Trial) -> Range {
        Range { least: self.least(draft, trial), most: self.most(draft, trial) }
    }
}

/// Moves every number to the least, round if that fails too; settings stay.
pub(super) fn lower(mut draft: Draft, trial: &mut Trial) -> Draft {
    let paths: Vec<Vec<Step>> =
        knobs(&draft).into_iter().filter(|knob| knob.what != What::Setting).map(|knob| knob.path).collect();
    for path in paths {
        let Some(knob) = knobs(&draft).into_iter().find(|knob| knob.path == path) else { continue };
        let (least, _) = knob.least(&draft, trial);
        let is_round = knob.unit.round(knob.value) == knob.value;
        for value in [knob.unit.round(least), least] {
            // What is no round number may become a larger one that is.
            if value >= knob.value && is_round {
                break;
            }
            let Some(case) = knob.set(&draft, value).filter(|case| case.text != draft.case.text) else {
                continue;
            };
            if trial.fails(&case)
                && let Some(lower) = Draft::new(case, trial)
            {
                draft = lower;
                break;
            }
        }
    }
    draft
}
