//! Moments: `10s`, `+3s`, `f1.cleared + 30s`, `srs.serving`, `p1.backing-off`, `end - 2s`.

use super::{
    form::Roles,
    model::{Anchor, HostRef, PullRef, When},
    read::{EventKind, Reader, offer},
    unit::{self, TIME},
    values::Span,
    words::{self, STATES},
};

/// The furthest a moment may be from what it is anchored to: an hour.
const FAR: i128 = 3_600_000_000_000;

impl Reader<'_> {
    /// Reads a moment.
    pub(super) fn moment(&mut self, name: &str, text: &str, at: &Span) -> Option<When> {
        let text = text.trim();
        let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        if text.is_empty() {
            return self.no(
                at,
                format!("{name}: no moment; write \"10s\", \"+3s\", \"f1.cleared + 3s\" or \"end - 2s\""),
            );
        }
        if is_number(text) {
            let offset = self.offset(name, text, "", text, at)?;
            return Some(When { anchor: Anchor::Zero, offset });
        }
        if let Some(rest) = text.strip_prefix('+') {
            let offset = self.offset(name, rest.trim(), "+", text, at)?;
            return self.above(name, text, at).map(|anchor| When { anchor, offset });
        }
        if text.starts_with('-') {
            return self
                .no(at, format!("{name}: \"{text}\" is before something; only \"end - 2s\" counts back"));
        }
        let head_end = text.find(|c: char| c.is_whitespace() || c == '+').unwrap_or(text.len());
        let (head, rest) = text.split_at(head_end);
        let rest = rest.trim();
        let anchor = self.anchor(name, head, at)?;
        if rest.is_empty() {
            return Some(When { anchor, offset: 0 });
        }
        let (sign, time) = match (rest.strip_prefix('+'), rest.strip_prefix('-')) {
            (Some(time), _) => (1, time.trim()),
            (None, Some(time)) => (-1, time.trim()),
            (None, None) => {
                return self
                    .no(at, format!("{name}: \"{rest}\" after {head} is no time; write \"{head} + 3s\""));
            }
        };
        if sign < 0 && anchor != Anchor::End {
            return self.no(
                at,
                format!("{name}: nobody knows beforehand when {head} will be; only end counts back"),
            );
        }
        let before = &text[..text.len() - time.len()];
        let offset = self.offset(name, time, before, text, at)?;
        Some(When { anchor, offset: sign * offset })
    }

    /// Reads how long after; `before` is what of the moment's text stands before it.
    fn offset(&mut self, name: &str, time: &str, before: &str, text: &str, at: &Span) -> Option<i64> {
        let nanos = self.amount(name, time, at, TIME, (0, FAR))?;
        if unit::split_range(text).is_some() {
            self.edits.push((at.clone(), format!("\"{before}{}\"", (TIME.show)(nanos))));
        }
        i64::try_from(nanos).ok()
    }

    fn above(&mut self, name: &str, text: &str, at: &Span) -> Option<Anchor> {
        match self.names.event {
            Some(0) => Some(Anchor::Zero),
            Some(event) => Some(Anchor::Start(event - 1)),
            None => self.no(at, format!("{name}: \"{text}\" counts from the event above, and here is none")),
        }
    }

    fn anchor(&mut self, name: &str, head: &str, at: &Span) -> Option<Anchor> {
        if head == "end" {
            return Some(Anchor::End);
        }
        let Some((who, what)) = head.rsplit_once('.') else {
            let hint = match self.moments_of(head).first() {
                Some(what) => format!("{head} has several moments; write \"{head}.{what}\""),
                None => "write \"10s\", \"+3s\", \"f1.cleared + 3s\" or \"end - 2s\"".to_owned(),
            };
            return self.no(at, format!("{name}: \"{head}\" is no moment; {hint}"));
        };
        let event = self.names.events.iter().position(|event| event.name.as_deref() == Some(who));
        if let (Some(event), Some(current)) = (event, self.names.event)
            && event >= current
        {
            let text = if event == current {
                format!("{name}: {who} is this very event")
            } else {
                format!("{name}: {who} is listed further down; a moment is one of what stands above")
            };
            return self.no(at, text);
        }
        let allowed = self.moments_of(who);
        if allowed.is_empty() {
            let text = format!("{name}: nothing is called {who}{}", offer(who, self.known_names()));
            return self.no(at, text);
        }
        if !allowed.contains(&what) {
            let text = format!("{name}: {who} has no moment {what}{}", offer(what, allowed));
            return self.no(at, text);
        }
        if let Some(event) = event {
            return match what {
                "cleared" => Some(Anchor::Cleared(event)),
                "replied" => Some(Anchor::Replied(event)),
                _ => Some(Anchor::Start(event)),
            };
        }
        let host = self.names.hosts.iter().position(|(host, _)| host == who);
        if let Some(host) = host.and_then(|host| u16::try_from(host).ok()).map(HostRef) {
            return match what {
                "listening" => Some(Anchor::Listening(host)),
                "serving" => Some(Anchor::Serving(host)),
                _ => Some(Anchor::Watching(host)),
            };
        }
        let pull = self.names.pulls.iter().position(|pull| pull == who);
        let pull = pull.and_then(|pull| u16::try_from(pull).ok()).map(PullRef)?;
        words::find(STATES, what).map(|state| Anchor::Entered(pull, state))
    }

    /// Returns the moments of what has this name.
    fn moments_of(&self, who: &str) -> Vec<&'static str> {
        if let Some(event) = self.names.events.iter().find(|event| event.name.as_deref() == Some(who)) {
            return match event.kind {
                EventKind::Fault => vec!["start", "cleared"],
                EventKind::Call => vec!["start", "replied"],
                EventKind::Other => vec!["start"],
            };
        }
        if let Some((_, role)) = self.names.hosts.iter().find(|(host, _)| host == who) {
            let mut moments = Vec::new();
            if role.has(Roles::SERVER) {
                moments.push("listening");
            }
            if role.has(Roles::ORIGIN) {
                moments.push("serving");
            }
            if role.has(Roles::PLAYER) {
                moments.push("watching");
            }
            return moments;
        }
        if self.names.pulls.iter().any(|pull| pull == who) {
            return STATES.iter().map(|(state, ..)| *state).collect();
        }
        Vec::new()
    }

    fn known_names(&self) -> Vec<String> {
        let events = self.names.events.iter().filter_map(|event| event.name.clone());
        let hosts = self.names.hosts.iter().map(|(host, _)| host.clone());
        events.chain(hosts).chain(self.names.pulls.iter().cloned()).chain(["end".to_owned()]).collect()
    }
}
