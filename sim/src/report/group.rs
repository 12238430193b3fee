//! Which failure a failure is: the promise that broke, and the place where it was seen to break.
//!
//! Two runs fail alike if they break the same promise by the same sentence, whatever its numbers, addresses and names.
//! A search tells one failure of a group and counts the others; a shrinker asks whether what is left still fails so.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    oracle::Finding,
    scenario::model::Scenario,
    trace::{ActorId, Cast},
};

/// Words of a place beyond which it is cut: what follows are lists.
const WORDS_MAX: usize = 40;

/// What stands for a number, an address or a time in a place.
const NUMBER: &str = "N";
/// What stands for a name, or for the output by which a player plays.
const NAME: &str = "NAME";

/// Failures that are one and the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    /// The promise.
    pub promise: String,
    /// The place: what was seen, without what differs from run to run.
    pub place: String,
}

impl Group {
    /// Returns the group of a broken promise.
    pub fn of(finding: &Finding, scenario: &Scenario, cast: &Cast) -> Self {
        Self { promise: finding.promise.to_owned(), place: place(&finding.text, &names(scenario, cast)) }
    }

    /// Returns the place without a word of how many of whom there were: a smaller file has fewer.
    pub(crate) fn gist(&self) -> String {
        let words: Vec<&str> = self.place.split(' ').filter(|word| ![NUMBER, NAME].contains(word)).collect();
        words.join(" ")
    }

    /// Returns the group of two runs of the same that differ.
    pub fn differs() -> Self {
        Self { promise: "determinism".to_owned(), place: "two runs of the same seed differ".to_owned() }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.place)
    }
}

/// Returns every name that a scenario gives.
fn names(scenario: &Scenario, cast: &Cast) -> BTreeSet<String> {
    let members = cast.members.iter().map(|member| member.name.clone());
    let hosts = scenario.hosts.iter().map(|host| host.name.clone());
    let pulls = scenario.pulls.iter().flat_map(|pull| [pull.name.clone(), pull.stream.clone()]);
    let known = scenario.names.iter().map(|name| name.name.clone());
    let world = Cast::default().name(ActorId::WORLD).to_owned();
    let outputs = ["Rtmp", "HttpFlv"].map(str::to_owned);
    members.chain(outputs).chain(hosts).chain(pulls).chain(known).filter(|name| *name != world).collect()
}

/// Returns a sentence without numbers, paths and names; of equal words in a row one.
fn place(text: &str, names: &BTreeSet<String>) -> String {
    let mut words: Vec<&str> = Vec::new();
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '/' | '-' | '_' | '#');
    let parts = text.split(|c: char| !is_part(c)).map(|word| word.trim_matches('.'));
    for word in parts.filter(|word| !word.is_empty()) {
        let told = if word.contains('/') || names.contains(word) {
            NAME
        } else if word.contains(|c: char| c.is_ascii_digit()) {
            NUMBER
        } else {
            word
        };
        if words.last() != Some(&told) {
            words.push(told);
        }
    }
    words.truncate(WORDS_MAX);
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_no_numbers_and_no_names() {
        let names = BTreeSet::from(["srs".to_owned(), "viewer2".to_owned()]);
        let check = |text: &str, wanted: &str| assert_eq!(place(text, &names), wanted);
        check("live/cam: 2.250 s in connecting", "NAME N s in connecting");
        check("live/other: 17.000 s in connecting", "NAME N s in connecting");
        check("viewer2 lost its seat at srs (172.17.0.2:1935).", "NAME lost its seat at NAME N");
        check("left over: [1, 2, 3]", "left over N");
    }

    #[test]
    fn the_same_sentence_of_two_promises_is_two_groups() {
        let finding = |promise, text: &str| Finding {
            promise,
            step: 1,
            at: proxy_core::time::Instant::ZERO,
            actor: ActorId::WORLD,
            text: text.to_owned(),
            line: 0,
        };
        let scenario = crate::oracle::story::scenario();
        let group = |promise, text| Group::of(&finding(promise, text), &scenario, &Cast::default());
        assert_eq!(group("seats", "player 7 was cut"), group("seats", "player 9 was cut"));
        assert_ne!(group("seats", "player 7 was cut"), group("limits", "player 7 was cut"));
        assert_ne!(group("seats", "player 7 was cut"), group("seats", "player 7 was kept"));
    }
}
