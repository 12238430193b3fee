//! Which failure it is: smaller files must fail by the same promise, and not by another that is as easily broken.

use crate::{oracle::Finding, report::Group, scenario::model::Scenario, trace::Cast};

/// A failure, as far as it must be the same in a smaller file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The promise.
    pub(crate) promise: &'static str,
    /// What the sentence says beside numbers and names. States stay: a player that sees nothing is one thing while the proxy
    /// streams and another while nobody has added the stream.
    gist: String,
}

impl Failure {
    /// Returns what a finding is, in any file that has it.
    pub(crate) fn of(finding: &Finding, scenario: &Scenario) -> Self {
        let group = Group::of(finding, scenario, &Cast::default());
        Self { promise: finding.promise, gist: group.gist() }
    }

    /// Returns the first of several findings that is the same failure, asked for by the same line of the scenario; 0 if
    /// by none.
    pub(crate) fn find<'f>(
        &self,
        findings: &'f [Finding],
        line: u32,
        scenario: &Scenario,
    ) -> Option<&'f Finding> {
        let is_same = |finding: &&Finding| {
            finding.promise == self.promise && finding.line == line && Self::of(finding, scenario) == *self
        };
        findings.iter().find(is_same)
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::time::Instant;

    use super::*;
    use crate::trace::ActorId;

    const TEXT: &str = r#"
schema = 1
id = "x"
title = "T"
[run]
for = "1s"
[host.proxy]
role = "proxy"
[host.viewer]
role = "player"
[timeline]
events = []
"#;

    fn finding(promise: &'static str, text: &str, line: u32) -> Finding {
        Finding { promise, step: 1, at: Instant::ZERO, actor: ActorId::WORLD, text: text.to_owned(), line }
    }

    #[test]
    fn numbers_and_names_do_not_matter_and_states_do() {
        let scenario = crate::scenario::read(TEXT, "x.toml").expect("it is a scenario");
        let check = |one: &str, other: &str, is_same: bool| {
            let failure = Failure::of(&finding("p", one, 0), &scenario);
            let others = [finding("p", other, 0)];
            assert_eq!(failure.find(&others, 0, &scenario).is_some(), is_same, "{one} / {other}");
        };
        check("viewer at live/a saw none for 1.000 s", "viewer2 at live/b saw none for 2.500 s", true);
        check("x (thinks Streaming) 1", "x (thinks BackingOff) 1", false);
        check("a frame is late", "a header is late", false);
        let failure = Failure::of(&finding("p", "x", 0), &scenario);
        assert!(failure.find(&[finding("q", "x", 0)], 0, &scenario).is_none(), "another promise");
        assert!(failure.find(&[finding("p", "x", 3)], 0, &scenario).is_none(), "another line");
    }
}
