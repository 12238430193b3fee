//! `[[expect]]`: what must hold beside the promises.

use toml_edit::{Table, TableLike};

use super::{
    forms::EXPECTS,
    model::{Anchor, Expect, HostRef, PullRef, Wanted, When},
    read::{Reader, entries, offer},
    values::{Span, Values},
    words,
};

impl Reader<'_> {
    /// Reads what must hold.
    pub(super) fn expects(&mut self, root: &Table) -> Vec<Expect> {
        let Some(item) = root.get("expect") else { return Vec::new() };
        let at =
            root.key("expect").and_then(toml_edit::Key::span).or_else(|| item.span()).unwrap_or_default();
        let Some(tables) = entries(item, &at) else {
            self.error(&at, "expect: write [[expect]] with two brackets above each");
            return Vec::new();
        };
        let mut expects = Vec::new();
        for (index, (table, at)) in tables.iter().enumerate() {
            self.salt = format!("expect.{index}");
            if let Some(what) = self.expect(*table, at) {
                expects.push(Expect { line: self.line(at), what });
            }
        }
        expects
    }

    fn expect(&mut self, table: &dyn TableLike, at: &Span) -> Option<Wanted> {
        let names = || EXPECTS.iter().filter_map(|form| form.keys().next()).map(|key| key.name);
        let found =
            EXPECTS.iter().find(|form| form.keys().next().is_some_and(|key| table.contains_key(key.name)));
        let Some(form) = found else {
            let first = table.iter().next().map_or("", |(name, _)| name);
            let at = table.key(first).and_then(toml_edit::Key::span).unwrap_or_else(|| at.clone());
            return self.no(&at, format!("this [[expect]] names no property{}", offer(first, names())));
        };
        let values = self.table(form, table, at);
        let first = form.keys().next().map_or("", |key| key.name);
        let after = || values.maybe_moment("after");
        let at_most = values.maybe_time("at_most");
        match first {
            "frames_at" => {
                let players = values.hosts("frames_at");
                if players.is_empty() && values.has("frames_at") {
                    self.error(&values.at("frames_at"), "frames_at: the list is empty");
                }
                Some(Wanted::FramesAt {
                    players,
                    after: after()?,
                    at_most,
                    max_gap: values.maybe_time("max_gap"),
                    until: values.maybe_moment("until"),
                })
            }
            "never" => Some(Wanted::Never {
                what: values.maybe_pick("never", words::NEVERS)?,
                players: values.hosts("players"),
                pulls: values.pulls("pulls"),
                from: values.maybe_moment("from")?,
                until: values.maybe_moment("until")?,
            }),
            "told" => Some(Wanted::Told {
                players: values.hosts("players"),
                status: values.text("told"),
                after: after()?,
                at_most,
            }),
            "dials" => self.dials(&values),
            "entered" => Some(Wanted::Entered {
                pull: self.which_pull(&values)?,
                state: values.maybe_pick("entered", words::STATES)?,
                after: after()?,
                within: at_most,
            }),
            "removed" => Some(Wanted::Removed {
                pull: values.maybe_pull("removed")?,
                after: after()?,
                within: at_most,
            }),
            "noticed_by" => Some(Wanted::NoticedBy {
                pull: self.which_pull(&values)?,
                layer: values.maybe_pick("noticed_by", words::LAYERS)?,
                after: after()?,
                within: at_most,
            }),
            "recovered_by" => Some(Wanted::RecoveredBy {
                pull: self.which_pull(&values)?,
                level: values.maybe_pick("recovered_by", words::LEVELS)?,
                after: after()?,
            }),
            "marks" => Some(Wanted::Marks { marks: values.texts("marks") }),
            _ => self.no(at, format!("{} is not understood", form.place)),
        }
    }

    fn dials(&mut self, values: &Values) -> Option<Wanted> {
        let word = values.maybe_text("dials")?;
        let to = if word == "any" {
            None
        } else {
            let index = self.names.hosts.iter().position(|(host, _)| *host == word);
            let Some(index) = index else {
                let known = self.names.hosts.iter().map(|(host, _)| host.as_str()).chain(["any"]);
                let text = format!("dials: there is no host {word}{}", offer(&word, known));
                return self.no(&values.at("dials"), text);
            };
            Some(HostRef(u16::try_from(index).ok()?))
        };
        let (at_least, at_most): (Option<u64>, Option<u64>) =
            (values.maybe_number("at_least"), values.maybe_number("at_most"));
        match (at_least, at_most) {
            (None, None) => self.error(&values.span, "dials: write at_least, at_most or both"),
            (Some(least), Some(most)) if least > most => {
                self.error(&values.at("at_least"), format!("at_least: {least} is above at_most {most}"));
            }
            _ => {}
        }
        let (from, until) = (values.maybe_moment("from")?, values.maybe_moment("until")?);
        Some(Wanted::Dials { to, from, until, at_least, at_most })
    }

    fn which_pull(&mut self, values: &Values) -> Option<PullRef> {
        if let Some(pull) = values.maybe_pull("pull") {
            return Some(pull);
        }
        if values.key("pull").is_none() {
            if self.names.pulls.len() == 1 {
                return Some(PullRef(0));
            }
            let words = offer("", &self.names.pulls);
            self.error(&values.span, format!("this [[expect]] has no pull; say which{words}"));
        }
        None
    }
}

/// Returns the moments between which something is expected.
pub(super) fn window(what: &Wanted) -> Option<(&When, Option<&When>)> {
    match what {
        Wanted::FramesAt { after, until, .. } => Some((after, until.as_ref())),
        Wanted::Never { from, until, .. } | Wanted::Dials { from, until, .. } => Some((from, Some(until))),
        Wanted::Told { after, .. }
        | Wanted::Entered { after, .. }
        | Wanted::Removed { after, .. }
        | Wanted::NoticedBy { after, .. }
        | Wanted::RecoveredBy { after, .. } => Some((after, None)),
        Wanted::Marks { .. } => None,
    }
}

/// Returns whether a moment is the very end.
pub(super) fn is_end(when: &When) -> bool {
    when.anchor == Anchor::End && when.offset >= 0
}
