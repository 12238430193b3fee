//! Where two gists part.

use proxy_core::time::{Duration, Instant};

use super::gist::{Gist, SILENCE_MIN, Silence};

/// A recovery may differ by this part of it …
const RECOVERY_PERCENT: u32 = 20;
/// … or by this, whichever is more.
const RECOVERY_MIN: Duration = Duration::from_millis(250);
/// Steps of a lifecycle that must stand in the same order, in percent.
const ORDER_PERCENT: u64 = 95;

/// What planes are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Whether every promise was held.
    Verdict,
    /// The order of what happened to each pull.
    Order,
    /// How often frames stayed away.
    Silences,
    /// When they were back.
    Recovery,
    /// Which of the attempts that follow each other by the retry law found the way free: the one before made it in one
    /// run and just missed it in the other. How long it took is the same.
    Phase,
    /// What the API answered.
    Answers,
}

impl Aspect {
    /// All of them, with the word for each.
    pub const WORDS: [(Self, &'static str); 6] = [
        (Self::Verdict, "verdict"),
        (Self::Order, "order"),
        (Self::Silences, "silences"),
        (Self::Recovery, "recovery"),
        (Self::Phase, "phase"),
        (Self::Answers, "answers"),
    ];

    /// Returns its word.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(aspect, _)| *aspect == self).map_or("", |(_, word)| word)
    }
}

/// A place where two runs part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// In what.
    pub aspect: Aspect,
    /// How, in words.
    pub text: String,
    /// When, in the one run and in the other.
    pub at: (Instant, Instant),
}

/// How well two runs agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Where they do not.
    pub parts: Vec<Part>,
    /// Steps of lifecycles in the same order, of all; nothing to compare if there are none.
    pub order: (u64, u64),
    /// Answers alike, of all.
    pub answers: (u64, u64),
    /// The longest recovery in each.
    pub recovery: (Option<Duration>, Option<Duration>),
    /// The longest silence in each.
    pub silence: (Duration, Duration),
}

/// Compares two runs of the same scenario with the same seed.
pub fn compare(one: &Gist, other: &Gist) -> Comparison {
    let mut comparison = Comparison::default();
    if one.broken.is_empty() != other.broken.is_empty() {
        let told =
            |gist: &Gist| if gist.broken.is_empty() { "held".to_owned() } else { gist.broken.join(", ") };
        let text = format!("{} and {}", told(one), told(other));
        comparison.part(Aspect::Verdict, text, (Instant::ZERO, Instant::ZERO));
    }
    if one.has_lifecycle && other.has_lifecycle {
        comparison.compare_lifecycles(one, other);
    }
    comparison.compare_silences(one, other);
    comparison.compare_answers(one, other);
    comparison
}

impl Comparison {
    fn part(&mut self, aspect: Aspect, text: String, at: (Instant, Instant)) {
        self.parts.push(Part { aspect, text, at });
    }

    fn compare_lifecycles(&mut self, one: &Gist, other: &Gist) {
        let none = Vec::new();
        let mut first: Option<Part> = None;
        let names: std::collections::BTreeSet<&String> =
            one.lifecycles.keys().chain(other.lifecycles.keys()).collect();
        for name in names {
            let here = one.lifecycles.get(name).unwrap_or(&none);
            let there = other.lifecycles.get(name).unwrap_or(&none);
            let (here_steps, there_steps) = (steps(here), steps(there));
            self.order.0 += 2 * common(&here_steps, &there_steps);
            self.order.1 += (here.len() + there.len()) as u64;
            let Some(place) = (0..here.len().max(there.len()))
                .find(|place| here_steps.get(*place) != there_steps.get(*place))
            else {
                continue;
            };
            let step = |steps: &[&str]| steps.get(place).map_or("over".to_owned(), |step| (*step).to_owned());
            let text =
                format!("{name}, step {}: {} and {}", place + 1, step(&here_steps), step(&there_steps));
            let at = |steps: &[(Instant, String)]| {
                steps.get(place).or(steps.last()).map_or(Instant::ZERO, |(at, _)| *at)
            };
            let part = Part { aspect: Aspect::Order, text, at: (at(here), at(there)) };
            if first.as_ref().is_none_or(|known| part.at.0 < known.at.0) {
                first = Some(part);
            }
        }
        if self.order.0 * 100 < self.order.1 * ORDER_PERCENT {
            self.parts.extend(first);
        }
    }

    fn compare_silences(&mut self, one: &Gist, other: &Gist) {
        let none = Vec::new();
        for (name, here) in &one.silences {
            let there = other.silences.get(name).unwrap_or(&none);
            self.note_worst(here, there);
            let parted = here.iter().zip(there).find_map(|(here, there)| {
                let apart = time(here).abs_diff(time(there));
                (apart > tolerance(time(here))).then_some((here, there, apart))
            });
            if here.len() != there.len() && !are_marginal(here, there) {
                let text = format!("{name}: {} silences and {}", told(here), told(there));
                let at = |silences: &[Silence], len: usize| {
                    silences.get(len).or(silences.last()).map_or(Instant::ZERO, |silence| silence.since)
                };
                let len = here.len().min(there.len());
                self.part(Aspect::Silences, text, (at(here, len), at(there, len)));
            } else if let Some((here, there, apart)) = parted {
                let text = format!("{name}: back after {} and {}", back(here), back(there));
                let aspect = if is_phase(here, there, apart) { Aspect::Phase } else { Aspect::Recovery };
                self.part(aspect, text, (here.since, there.since));
            }
        }
    }

    fn note_worst(&mut self, here: &[Silence], there: &[Silence]) {
        let recovery = |silences: &[Silence]| silences.iter().filter_map(|silence| silence.recovery).max();
        let silence = |silences: &[Silence]| silences.iter().map(|silence| silence.lasted).max();
        self.recovery = (self.recovery.0.max(recovery(here)), self.recovery.1.max(recovery(there)));
        self.silence.0 = self.silence.0.max(silence(here).unwrap_or_default());
        self.silence.1 = self.silence.1.max(silence(there).unwrap_or_default());
    }

    fn compare_answers(&mut self, one: &Gist, other: &Gist) {
        for (name, (at, here)) in &one.answers {
            self.answers.1 += 1;
            match other.answers.get(name) {
                Some((_, there)) if there == here => self.answers.0 += 1,
                Some((then, there)) => {
                    let text = format!("event {name}: {here} and {there}");
                    self.part(Aspect::Answers, text, (*at, *then));
                }
                None => {
                    let text = format!("event {name}: {here} and no answer");
                    self.part(Aspect::Answers, text, (*at, *at));
                }
            }
        }
    }
}

/// What two runs must agree on of a silence: the recovery, or all of it.
fn time(silence: &Silence) -> Duration {
    silence.recovery.unwrap_or(silence.lasted)
}

/// Whether two silences differ by the wait between two attempts and no more.
fn is_phase(here: &Silence, there: &Silence, apart: Duration) -> bool {
    let (Some(one), Some(other)) = (here.attempt, there.attempt) else { return false };
    // A dial under way is made by its next SYN, which waits as long as the ones before together.
    let dial = |attempt: super::Attempt| if attempt.straddles { attempt.took } else { Duration::ZERO };
    let waits = one.after.max(other.after).max(dial(one)).max(dial(other));
    let is_alike = one.took.abs_diff(other.took) <= tolerance(one.took);
    (is_alike || one.straddles || other.straddles) && apart <= waits + RECOVERY_MIN
}

/// How far two recoveries may lie apart.
fn tolerance(time: Duration) -> Duration {
    (time * RECOVERY_PERCENT / 100).max(RECOVERY_MIN)
}

/// Silences that one run has and the other has not, all of them so short that a little less is none.
fn are_marginal(here: &[Silence], there: &[Silence]) -> bool {
    let (more, fewer) = if here.len() > there.len() { (here, there) } else { (there, here) };
    let limit = SILENCE_MIN + RECOVERY_MIN;
    more.iter().filter(|silence| silence.lasted > limit).count() <= fewer.len()
}

fn steps(lifecycle: &[(Instant, String)]) -> Vec<&str> {
    lifecycle.iter().map(|(_, step)| step.as_str()).collect()
}

fn told(silences: &[Silence]) -> String {
    let lengths: Vec<String> = silences.iter().map(|silence| seconds(silence.lasted)).collect();
    format!("{} ({})", silences.len(), lengths.join(", "))
}

fn back(silence: &Silence) -> String {
    match silence.recovery {
        Some(recovery) => format!("{} from the last obstacle on", seconds(recovery)),
        None => format!("{} of silence", seconds(silence.lasted)),
    }
}

/// Writes seconds with three decimals, cut off.
pub(super) fn seconds(time: Duration) -> String {
    format!("{}.{:03} s", time.as_secs(), time.subsec_millis())
}

/// Returns the length of the longest common subsequence.
fn common(one: &[&str], other: &[&str]) -> u64 {
    let mut before = vec![0_u64; other.len() + 1];
    for here in one {
        let mut row = vec![0_u64; other.len() + 1];
        for (place, there) in other.iter().enumerate() {
            row[place + 1] =
                if here == there { before[place] + 1 } else { before[place + 1].max(row[place]) };
        }
        before = row;
    }
    before.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gist(steps: &str, silences: &[(u64, u64)], answers: &[(&str, &str)]) -> Gist {
        let at = Instant::ZERO;
        let silence = |(lasted, recovery): &(u64, u64)| Silence {
            since: at,
            lasted: Duration::from_millis(*lasted),
            recovery: Some(Duration::from_millis(*recovery)),
            attempt: None,
        };
        Gist {
            broken: Vec::new(),
            lifecycles: [(
                "proxy live/a".to_owned(),
                steps.split(' ').map(|step| (at, step.to_owned())).collect(),
            )]
            .into(),
            silences: [("viewer".to_owned(), silences.iter().map(silence).collect())].into(),
            answers: answers
                .iter()
                .map(|(name, told)| ((*name).to_owned(), (at, (*told).to_owned())))
                .collect(),
            has_lifecycle: true,
        }
    }

    fn check(one: &Gist, other: &Gist) -> Vec<Aspect> {
        compare(one, other).parts.iter().map(|part| part.aspect).collect()
    }

    #[test]
    fn what_agrees_agrees() {
        let one = gist("connecting streaming", &[(5_000, 2_000)], &[("1", "code 0")]);
        assert_eq!(check(&one, &one), []);
        // 20 % and a quarter of a second are nothing.
        assert_eq!(check(&one, &gist("connecting streaming", &[(5_400, 2_400)], &[("1", "code 0")])), []);
    }

    #[test]
    fn each_aspect_parts_by_itself() {
        let one = gist("connecting streaming", &[(5_000, 2_000)], &[("1", "code 0")]);
        let late = gist("connecting streaming", &[(5_401, 2_401)], &[("1", "code 0")]);
        assert_eq!(check(&one, &late), [Aspect::Recovery]);
        let never = gist("connecting streaming", &[], &[("1", "code 0")]);
        assert_eq!(check(&one, &never), [Aspect::Silences]);
        let other = gist("connecting backing_off", &[(5_000, 2_000)], &[("1", "code 0")]);
        assert_eq!(check(&one, &other), [Aspect::Order]);
        let refused = gist("connecting streaming", &[(5_000, 2_000)], &[("1", "code -1")]);
        assert_eq!(check(&one, &refused), [Aspect::Answers]);
        let broken = Gist { broken: vec!["seats".to_owned()], ..one.clone() };
        assert_eq!(check(&one, &broken), [Aspect::Verdict]);
    }

    #[test]
    fn another_attempt_is_a_matter_of_phase_unless_it_took_longer_or_is_farther() {
        let with = |recovery: u64, took: u64| {
            let mut gist = gist("streaming", &[(5_000, recovery)], &[]);
            for silence in gist.silences.values_mut().flatten() {
                let millis = Duration::from_millis;
                silence.attempt = Some(crate::agree::Attempt {
                    took: millis(took),
                    after: millis(1_000),
                    straddles: false,
                });
            }
            gist
        };
        assert_eq!(check(&with(100, 50), &with(1_000, 60)), [Aspect::Phase]);
        assert_eq!(check(&with(100, 50), &with(1_000, 700)), [Aspect::Recovery]);
        assert_eq!(check(&with(100, 50), &with(2_000, 60)), [Aspect::Recovery]);
    }

    #[test]
    fn one_step_in_forty_may_stand_elsewhere() {
        let steps = |odd: &str| {
            let mut steps = vec!["streaming"; 39];
            steps.insert(20, odd);
            gist(&steps.join(" "), &[], &[])
        };
        assert_eq!(check(&steps("replaying"), &steps("backing_off")), []);
    }
}
