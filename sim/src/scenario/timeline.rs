//! The timeline: one event per line, each with one verb.

use proxyd::config::has_option;
use toml_edit::{Item, Table, TableLike};

use super::{
    faults,
    form::{Form, Roles},
    forms::{self, VERBS},
    model::{
        Act, Anchor, Call, Comeback, Event, Fault, FaultEvent, Host, HostRef, OriginModel, ReplyWanted, Role,
        When,
    },
    publisher,
    read::{EventKind, EventName, Reader, entries, offer},
    values::{Span, Values},
    words,
};

impl Reader<'_> {
    /// Reads what happens.
    pub(super) fn timeline(&mut self, root: &Table, hosts: &[Host]) -> Vec<Event> {
        let Some(item) =
            root.get("timeline").and_then(Item::as_table_like).and_then(|table| table.get("events"))
        else {
            return Vec::new();
        };
        let at = item.span().unwrap_or_default();
        let Some(tables) = entries(item, &at) else {
            self.error(&at, "events: write a list of tables, one event per line: [ { at = \"0s\", … }, … ]");
            return Vec::new();
        };
        self.names.events = tables.iter().map(|(table, _)| event_name(*table)).collect();
        self.check_names(&tables);
        let mut events = Vec::new();
        for (index, (table, at)) in tables.iter().enumerate() {
            self.names.event = Some(index);
            let name = self.names.events[index].name.clone();
            // Dice hang on what the line says, so that taking another line away does not shift them.
            self.salt = name.unwrap_or_else(|| self.text.get(at.clone()).unwrap_or_default().to_owned());
            let event = self.event(*table, at, hosts);
            // A mistaken event keeps its number, since others refer to it.
            events.push(event.unwrap_or_else(|| Event {
                line: self.line(at),
                at: When { anchor: Anchor::Zero, offset: 0 },
                name: None,
                every: None,
                act: Act::Start { origin: HostRef(0) },
            }));
        }
        self.names.event = None;
        events
    }

    /// Moments are told apart by names alone, so these must differ.
    fn check_names(&mut self, tables: &[(&dyn TableLike, Span)]) {
        let mut taken: Vec<(String, &str)> = vec![("end".to_owned(), "the end of the run")];
        taken.extend(self.names.hosts.iter().map(|(name, _)| (name.clone(), "a host")));
        for pull in self.names.pulls.clone() {
            if let Some((_, what)) = taken.iter().find(|(name, _)| *name == pull) {
                self.error(&(0..0), format!("pull {pull}: {what} is called so too"));
            }
            taken.push((pull, "a pull"));
        }
        for (table, at) in tables {
            let Some((name, item)) = table.get("as").and_then(|item| Some((item.as_str()?, item))) else {
                continue;
            };
            let at = item.span().unwrap_or_else(|| at.clone());
            if let Some((_, what)) = taken.iter().find(|(taken, _)| taken == name) {
                self.error(&at, format!("as: {what} is called {name} too"));
            }
            let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
            if !is_name {
                self.error(&at, format!("as: \"{name}\" is no name; allowed: letters, digits, - and _"));
            }
            taken.push((name.to_owned(), "another event"));
        }
    }

    fn event(&mut self, table: &dyn TableLike, at: &Span, hosts: &[Host]) -> Option<Event> {
        if table.contains_key("fault") {
            return self.fault_event(table, at, hosts);
        }
        // `close` is a verb and not every event is what its first key says: the first verb counts.
        let verb = table.iter().find_map(|(name, _)| VERBS.iter().find(|(verb, _)| *verb == name));
        let Some((verb, form)) = verb else {
            let verbs = || VERBS.iter().map(|(verb, _)| *verb).chain(["fault"]);
            let known = ["at", "as", "on", "every"];
            let lost = table.iter().map(|(name, _)| name).find(|name| !known.contains(name));
            let text = match lost {
                Some(lost) => format!(
                    "unknown key {lost}: an event says what happens by one of its keys{}",
                    offer(lost, verbs())
                ),
                None => format!("this event says not what happens{}", offer("", verbs())),
            };
            let lost_at = lost.and_then(|lost| table.key(lost)).and_then(toml_edit::Key::span);
            return self.no(&lost_at.unwrap_or_else(|| at.clone()), text);
        };
        let values = self.table(form, table, at);
        let act = self.act(verb, form, &values, hosts)?;
        Some(Event {
            line: self.line(at),
            at: values.maybe_moment("at")?,
            name: values.maybe_text("as"),
            every: values.maybe_time("every"),
            act,
        })
    }

    fn act(&mut self, verb: &str, form: &'static Form, values: &Values, hosts: &[Host]) -> Option<Act> {
        match verb {
            "add" => self.call("addStreamProxy", "add", values),
            "del" => self.call("delStreamProxy", "del", values),
            "close" => self.call("close_streams", "close", values),
            "update" => self.call("updateStreamProxy", "update", values),
            "api" => {
                let call = values.maybe_text("api")?;
                self.call(&call, "pull", values)
            }
            "repair" => Some(Act::Repair {
                proxy: self.on(values, "on", Roles::PROXY)?,
                pull: values.maybe_pull("repair")?,
                closes: values.switch("closes"),
            }),
            "play" => self.play(values),
            "leave" => Some(Act::Leave {
                players: self.on(values, "on", Roles::PLAYER)?,
                by: values.pick("leave", words::LEAVES),
            }),
            "publish" => {
                let origin = self.on(values, "on", Roles::ORIGIN)?;
                let stream = values.maybe_text("publish")?;
                let model = origin_model(hosts, origin);
                let publisher = values.table("with").map(|content| publisher::changed(content, model));
                if let (Some(content), Some(made)) = (values.table("with"), &publisher) {
                    self.check_content(content, made);
                }
                let silently = values.switch("silently");
                let stream = Some(stream).filter(|stream| stream != "all");
                Some(Act::Publish { origin, stream, publisher, silently })
            }
            "start" => {
                let origin = self.on(values, "on", Roles::ORIGIN)?;
                if values.maybe_switch("start") == Some(false) {
                    self.error(&values.at("start"), "start: write true");
                }
                if origin_model(hosts, origin).is_some_and(|model| model.up) {
                    let text = "start: this origin is up from the beginning; write up = false in its model";
                    self.error(&values.at("start"), text);
                }
                Some(Act::Start { origin })
            }
            _ => self.no(&values.span, format!("{} is not understood", form.place)),
        }
    }

    /// Returns the host an event is about: the one it names, or the only one of the role.
    fn on(&mut self, values: &Values, key: &str, role: Roles) -> Option<HostRef> {
        if let Some(host) = values.maybe_host(key) {
            return Some(host);
        }
        if values.key(key).is_some() {
            return None;
        }
        let of_role = || self.names.hosts.iter().enumerate().filter(|(_, (_, known))| role.has(*known));
        let mut found = of_role();
        match (found.next(), found.next()) {
            (Some((index, _)), None) => u16::try_from(index).ok().map(HostRef),
            _ => {
                let words = offer("", of_role().map(|(_, (name, _))| name));
                self.no(&values.span, format!("this event has no {key}; say which {}{words}", role.names()))
            }
        }
    }

    fn call(&mut self, call: &str, key: &str, values: &Values) -> Option<Act> {
        let proxy = self.on(values, "on", Roles::PROXY)?;
        let pull = values.maybe_pull(key);
        if pull.is_none() && values.key(key).is_some() {
            return None;
        }
        let args = values.args("args");
        let at = values.at("args");
        if matches!(call, "addStreamProxy" | "updateStreamProxy") {
            for (name, text) in &args {
                self.check_arg(name, &at);
                if has_option(name)
                    && let Err(error) = proxyd::config::set_option(&mut Default::default(), name, text)
                {
                    self.error(&at, format!("{name}: {error}"));
                }
            }
        }
        let none = Values::default();
        let reply = values.table("reply").unwrap_or(&none);
        Some(Act::Call(Call {
            proxy,
            call: call.to_owned(),
            pull,
            args,
            reply: ReplyWanted {
                code: reply.maybe_number("code"),
                msg: reply.maybe_text("msg"),
                refusal_only_if_true: reply.has("refusal"),
                within: reply.maybe_time("within"),
                streams: reply.maybe_texts("streams"),
                fields: reply.args("fields"),
            },
        }))
    }

    fn play(&mut self, values: &Values) -> Option<Act> {
        let players = self.on(values, "on", Roles::PLAYER)?;
        let at = self.on(values, "from", Roles::PROXY)?;
        let pull = values.maybe_pull("play").map(|pull| usize::from(pull.0));
        let stream = match (values.maybe_text("play"), pull) {
            (Some(stream), _) => stream,
            (None, Some(pull)) => self.names.streams.get(pull).cloned()?,
            (None, None) => return None,
        };
        Some(Act::Play { players, at, stream, via: values.pick_all("via", words::OUTPUTS) })
    }

    fn fault_event(&mut self, table: &dyn TableLike, at: &Span, hosts: &[Host]) -> Option<Event> {
        let word = table.get("fault").and_then(Item::as_str).unwrap_or_default();
        let Some(form) = faults::find(word) else {
            // Told by the form: the word is none of the faults.
            let fault_at = table.get("fault").and_then(Item::span).unwrap_or_else(|| at.clone());
            if table.get("fault").and_then(Item::as_str).is_some() {
                self.is_word("fault", word, &fault_at, faults::FAULTS.iter().map(|fault| fault.name));
            } else {
                self.error(
                    &fault_at,
                    "fault: write its name in quotes; `repull-sim props faults` lists them",
                );
            }
            return None;
        };
        let values = self.table_of(&forms::FAULT, form.keys, table, at);
        // The machine's own faults happen to everybody; where they are said to be matters to nobody.
        let default = if form.on == Roles::ANY { Roles::PROXY } else { form.on };
        let is_everywhere = matches!(form.name, "dns" | "conntrack-flush");
        let on = if values.has("on") || is_everywhere || form.on != Roles::ANY {
            self.on(&values, "on", default)?
        } else if values.key("on").is_some() {
            return None;
        } else {
            let words = offer("", self.names.hosts.iter().map(|(name, _)| name));
            return self.no(at, format!("this event has no on; say which host{words}"));
        };
        let role = self.names.hosts.get(usize::from(on.0)).map_or(Roles::ANY, |(_, role)| *role);
        if !form.on.has(role) {
            let name = &self.names.hosts[usize::from(on.0)].0;
            let fitting =
                self.names.hosts.iter().filter(|(_, role)| form.on.has(*role)).map(|(name, _)| name);
            let text = format!(
                "on: {} happens to hosts of role {}, and {name} is a host of role {}{}",
                form.name,
                form.on.names(),
                role.names(),
                offer("", fitting)
            );
            return self.no(&values.at("on"), text);
        }
        let time = self.fault_time(form, &values);
        let fault = (form.make)(&values, origin_model(hosts, on));
        self.check_fault(&fault, &values, hosts, on);
        Some(Event {
            line: self.line(at),
            at: values.maybe_moment("at")?,
            name: values.maybe_text("as"),
            every: values.maybe_time("every"),
            act: Act::Fault(FaultEvent { on, fault, time }),
        })
    }

    fn fault_time(
        &mut self,
        form: &faults::FaultForm,
        values: &Values,
    ) -> Option<proxy_core::time::Duration> {
        let (written, other) = (values.maybe_time("for"), values.maybe_time("down"));
        if written.is_some() && other.is_some() {
            self.error(&values.at("down"), "down: is another word for `for`; write one of them");
        }
        if !form.lasts && written.is_some() {
            let text = format!("for: {} happens at once and for good; leave it out", form.name);
            self.error(&values.at("for"), text);
        }
        written.or(other)
    }

    /// Tells parameters that do not fit together.
    fn check_fault(&mut self, fault: &Fault, values: &Values, hosts: &[Host], on: HostRef) {
        match fault {
            Fault::Term(comeback) | Fault::Kill(comeback) | Fault::Vanish(comeback) => {
                self.check_comeback(comeback, values, hosts, on);
            }
            Fault::PublisherAway { back: Some(back), stream } => {
                if let Some(content) = values.table("back") {
                    self.check_content(content, back);
                }
                self.check_published(stream.as_deref(), values, hosts, on);
            }
            Fault::PublisherAway { back: None, stream } => {
                self.check_published(stream.as_deref(), values, hosts, on);
            }
            Fault::NoMedia { audio: false, video: false } => {
                self.error(&values.span, "no-media: with neither audio nor video nothing stops");
            }
            Fault::Dns { .. } => {
                for (answer, key) in [("slow", "delay"), ("addresses", "ips")] {
                    let is_wanted = values.text("answer") == answer;
                    if is_wanted && !values.has(key) {
                        self.error(&values.at("answer"), format!("answer: {answer} needs {key}"));
                    }
                    if !is_wanted && values.has(key) {
                        self.error(&values.at(key), format!("{key}: it is for the answer {answer} only"));
                    }
                }
            }
            Fault::Partition { with, .. } if with.contains(&on) => {
                self.error(&values.at("with"), "with: a host is never parted from itself");
            }
            _ if values.text("fault") == "handshake-wrong" && values.count("version") == 3 => {
                self.error(&values.at("version"), "version: 3 is the right one");
            }
            _ => {}
        }
    }

    fn check_comeback(&mut self, comeback: &Comeback, values: &Values, hosts: &[Host], on: HostRef) {
        if comeback.never && (values.has("for") || values.has("down")) {
            self.error(&values.at("never"), "never: what never comes back takes no `for`");
        }
        let is_origin = origin_model(hosts, on).is_some();
        if comeback.first_frame.is_some() && !is_origin {
            self.error(&values.at("first_frame"), "first_frame: only an origin has frames of its own");
        }
    }

    pub(super) fn check_published(
        &mut self,
        stream: Option<&str>,
        values: &Values,
        hosts: &[Host],
        on: HostRef,
    ) {
        let (Some(stream), Some(model)) = (stream, origin_model(hosts, on)) else { return };
        if !model.streams.iter().any(|known| known == stream) {
            let text = format!(
                "stream: this origin has no {stream}{}",
                offer(stream, model.streams.iter().take(20))
            );
            self.error(&values.at("stream"), text);
        }
    }
}

/// Returns what is known of an event before it is read.
fn event_name(table: &dyn TableLike) -> EventName {
    let is_call = ["add", "del", "close", "update", "api"].iter().any(|verb| table.contains_key(verb));
    let kind = if table.contains_key("fault") {
        EventKind::Fault
    } else if is_call {
        EventKind::Call
    } else {
        EventKind::Other
    };
    EventName { name: table.get("as").and_then(Item::as_str).map(str::to_owned), kind }
}

/// Returns the model of an origin.
pub(super) fn origin_model(hosts: &[Host], host: HostRef) -> Option<&OriginModel> {
    match &hosts.get(usize::from(host.0))?.role {
        Role::Origin(model) => Some(model),
        Role::Proxy(_) | Role::Player(_) => None,
    }
}
