//! Which `[pull]` a stream is of: by its name, and where several have that name, as along a chain of proxies, by the proxy at
//! which the timeline calls or repairs each.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Act, HostRef, PullRef, Scenario};

/// The pulls of a scenario by their streams' names.
#[derive(Clone, Debug, Default)]
pub(crate) struct PullNames {
    /// By `app/stream`.
    pulls: BTreeMap<String, Vec<PullRef>>,
    /// Where each is called or repaired.
    at: BTreeSet<(PullRef, HostRef)>,
}

impl PullNames {
    /// Learns the names of a scenario.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut names = Self::default();
        for (index, pull) in scenario.pulls.iter().enumerate() {
            let of = PullRef(u16::try_from(index).unwrap_or(u16::MAX));
            for n in 1..=pull.count.max(1) {
                let stream = pull.stream.replace("{n}", &n.to_string());
                names.pulls.entry(format!("{}/{stream}", pull.app)).or_default().push(of);
            }
        }
        for event in &scenario.events {
            if let Act::Call(call) = &event.act
                && let Some(pull) = call.pull
            {
                names.at.insert((pull, call.proxy));
            } else if let Act::Repair { proxy, pull, .. } = &event.act {
                names.at.insert((*pull, *proxy));
            }
        }
        names
    }

    /// Returns the pull of a proxy's stream.
    pub(crate) fn find(&self, name: &str, proxy: Option<HostRef>) -> Option<PullRef> {
        match self.pulls.get(name)?.as_slice() {
            [pull] => Some(*pull),
            pulls => {
                let proxy = proxy?;
                pulls.iter().find(|pull| self.at.contains(&(**pull, proxy))).copied()
            }
        }
    }

    /// Returns `app/stream` of every stream of a pull.
    pub(crate) fn streams_of(&self, pull: PullRef) -> impl Iterator<Item = &String> {
        self.pulls.iter().filter(move |(_, of)| of.contains(&pull)).map(|(name, _)| name)
    }

    /// Returns two pulls of one name that nothing tells apart: both are called at one proxy, or one of them at none.
    pub(super) fn confused(&self) -> Option<(PullRef, PullRef, &str)> {
        let places =
            |pull: PullRef| self.at.range((pull, HostRef(0))..=(pull, HostRef(u16::MAX))).map(|(_, at)| *at);
        let are_confused = |one: PullRef, other: PullRef| {
            let (one, other): (BTreeSet<_>, BTreeSet<_>) = (places(one).collect(), places(other).collect());
            one.is_empty() || other.is_empty() || !one.is_disjoint(&other)
        };
        self.pulls.iter().find_map(|(name, pulls)| {
            let pairs = pulls.iter().enumerate().flat_map(|(index, one)| {
                pulls.get(index + 1..).unwrap_or_default().iter().map(move |other| (*one, *other))
            });
            let (one, other) = pairs.into_iter().find(|(one, other)| are_confused(*one, *other))?;
            Some((one, other, name.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::read;

    #[test]
    fn a_name_of_two_pulls_is_that_of_the_proxy() {
        let text = include_str!("../../tests/judged/story.toml");
        let scenario = read(text, "story.toml").unwrap_or_else(|problems| panic!("{problems:?}"));
        let names = PullNames::new(&scenario);
        let host = |name: &str| {
            let at = scenario.hosts.iter().position(|host| host.name == name).expect("it is there");
            Some(HostRef(u16::try_from(at).expect("few")))
        };
        let find = |proxy: &str| names.find("live/cam", host(proxy));
        assert_eq!(
            [find("region"), find("edge"), find("island")],
            [Some(PullRef(0)), Some(PullRef(1)), None],
            "{names:?}"
        );
        assert_eq!(names.find("live/island", host("region")), None);
        assert_eq!(names.confused(), None);
    }
}
