//! The words of the form for people: properties, faults, models, moments, endings, events.

use super::{
    faults::FAULTS,
    form::{Form, Key, Need},
    forms::{self, EXPECTS, VERBS},
    words::{self, list},
};

/// A part of the vocabulary.
#[derive(Clone, Debug)]
pub struct Section {
    /// What it is asked for by.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// Its words.
    pub entries: Vec<Entry>,
}

/// A word.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The word.
    pub name: String,
    /// What it means, in a sentence without a full stop.
    pub text: String,
    /// The group it stands in, if its section has some.
    pub group: &'static str,
    /// Its parameters and what each means.
    pub keys: Vec<(String, String)>,
}

impl Entry {
    /// Makes a word without parameters.
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), group: "", keys: Vec::new() }
    }
}

/// Returns all sections.
pub fn sections() -> Vec<Section> {
    let section = |name, title, entries| Section { name, title, entries };
    vec![
        section("properties", "properties: [[expect]], what must hold beside the promises", properties()),
        section("events", "events: [timeline], each with `at` and one of these", events()),
        section("faults", "faults: { fault = \"…\", on = \"HOST\", for = \"5s\" }", faults()),
        section("models", "models: what an origin is like", plain(&words::likes())),
        section("moments", "moments: what `at`, `after`, `from` and `until` count from", moments()),
        section(
            "states",
            "states of a pull: a moment each, and what `entered` expects",
            plain(&list(words::STATES)),
        ),
        section("endings", "endings: what fault `end` says", plain(&list(words::ENDINGS))),
        section("marks", "marks: what a run may reach", plain(super::MARKS)),
        section("defects", "defects: what may be planted", plain(&super::planted::defects())),
        section("told", "told: what players are told", plain(&list(words::TOLD))),
        section("never", "never: what must not happen", plain(&list(words::NEVERS))),
        section(
            "tables",
            "tables: keys of [run], [net.NAME], [host.NAME], [name.NAME], [pull.NAME], [swarm]",
            tables(),
        ),
    ]
}

fn plain(words: &[(&'static str, &'static str)]) -> Vec<Entry> {
    words.iter().map(|(name, text)| Entry::new(name, text)).collect()
}

fn of_form(name: &str, form: &Form) -> Entry {
    Entry { keys: form.keys().map(key).collect(), ..Entry::new(name, form.text) }
}

fn properties() -> Vec<Entry> {
    let name = |form: &Form| form.keys().next().map_or("", |key| key.name);
    EXPECTS.iter().map(|form| of_form(name(form), form)).collect()
}

fn events() -> Vec<Entry> {
    VERBS.iter().map(|(verb, form)| of_form(verb, form)).chain([of_form("fault", &forms::FAULT)]).collect()
}

fn faults() -> Vec<Entry> {
    let entry = |fault: &super::faults::FaultForm| {
        let on = ("on".to_owned(), format!("where: a host of role {}", fault.on.names()));
        let lasts = fault.lasts.then(|| ("for".to_owned(), "lifted after this time".to_owned()));
        Entry {
            group: fault.section.title(),
            keys: [on].into_iter().chain(lasts).chain(fault.keys.iter().map(key)).collect(),
            ..Entry::new(fault.name, fault.text)
        }
    };
    FAULTS.iter().map(entry).collect()
}

fn moments() -> Vec<Entry> {
    plain(&[
        ("10s", "from the beginning"),
        ("+3s", "after the event above has begun"),
        ("EVENT.start", "an event begins"),
        ("EVENT.cleared", "a fault is lifted"),
        ("EVENT.replied", "a call is answered"),
        ("HOST.listening", "an origin or proxy listens"),
        ("ORIGIN.serving", "the first keyframe after a restart, or a publisher's return, is there to be had"),
        ("PLAYERS.watching", "every player of the group has a seat"),
        ("PULL.STATE", "a pull enters a state, such as p1.backing-off"),
        ("end", "the end of [run] for; the only one that counts back: end - 2s"),
    ])
}

fn tables() -> Vec<Entry> {
    [
        ("run", &forms::RUN),
        ("net", &forms::NET),
        ("origin", &forms::ORIGIN),
        ("model", &forms::MODEL),
        ("proxy", &forms::PROXY),
        ("player", &forms::PLAYER),
        ("name", &forms::NAME),
        ("pull", &forms::PULL),
        ("swarm", &forms::SWARM),
        ("publisher", &forms::PUBLISHER),
        ("reply", &forms::REPLY),
    ]
    .into_iter()
    .map(|(name, form)| of_form(name, form))
    .collect()
}

fn key(key: &Key) -> (String, String) {
    let need = match key.need {
        Need::Must => " (required)".to_owned(),
        Need::May => String::new(),
        Need::Else(default) => format!(" (without it {default})"),
    };
    (key.name.to_owned(), format!("{}{need}", key.text))
}
