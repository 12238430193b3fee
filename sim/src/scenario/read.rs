//! From TOML to values: every table against its form, every mistake at its place, ranges rolled.
//!
//! It knows nothing of what the values mean together; [`super::build`] and [`super::check`] do.

use std::{collections::BTreeMap, str::FromStr};

use proxyd::{
    api::CALLS,
    config::{Place, likely},
};
use toml_edit::{Array, Item, TableLike, Value};

use super::{
    Problem,
    form::{Form, Key, Kind, Need, Roles},
    forms,
    lookup::{item_text, part_text, plain, scalar},
    model::NextIp,
    unit::{self, RATE, SHARE, TIME, Unit, WHOLE},
    values::{Span, Val, Values},
};
use crate::dice::Dice;

/// Names that values refer to, collected before anything is read.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) nets: Vec<String>,
    pub(super) hosts: Vec<(String, Roles)>,
    pub(super) pulls: Vec<String>,
    /// Each pull's app/stream.
    pub(super) streams: Vec<String>,
    pub(super) events: Vec<EventName>,
    /// The event being read; `None`: all of them are above.
    pub(super) event: Option<usize>,
}

/// What is known of an event before it is read.
#[derive(Debug)]
pub(super) struct EventName {
    pub(super) name: Option<String>,
    pub(super) kind: EventKind,
}

/// What moments an event has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    /// It begins and is lifted.
    Fault,
    /// It begins and is answered.
    Call,
    /// It begins.
    Other,
}

pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    file: &'a str,
    seed: Option<u64>,
    pub(super) problems: Vec<Problem>,
    /// What ranges were rolled to.
    pub(super) edits: Vec<(Span, String)>,
    /// What is being read, as far as dice care: the same text rolls the same wherever it stands.
    pub(super) salt: String,
    rolled: BTreeMap<String, u64>,
    pub(super) names: Names,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, file: &'a str, seed: Option<u64>) -> Self {
        Self {
            text,
            file,
            seed,
            problems: Vec::new(),
            edits: Vec::new(),
            salt: String::new(),
            rolled: BTreeMap::new(),
            names: Names::default(),
        }
    }

    pub(super) fn error(&mut self, at: &Span, text: impl Into<String>) {
        self.tell(at, false, text.into());
    }

    pub(super) fn warn(&mut self, at: &Span, text: impl Into<String>) {
        self.tell(at, true, text.into());
    }

    fn tell(&mut self, at: &Span, is_warning: bool, text: String) {
        let place = Place::of(self.text, at.start);
        self.problems.push(Problem { file: self.file.to_owned(), place, is_warning, text });
    }

    pub(super) fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| !problem.is_warning)
    }

    pub(super) fn line(&self, at: &Span) -> u32 {
        Place::of(self.text, at.start).and_then(|place| u32::try_from(place.line).ok()).unwrap_or(0)
    }

    pub(super) fn file(&self) -> &'a str {
        self.file
    }

    /// Returns the place of a key on or below a line, up to the next empty line; the line itself if it is not there.
    pub(super) fn place_of_line(&self, line: u32, key: &str) -> Span {
        let mut start = 0;
        let mut lines = self.text.split_inclusive('\n');
        for _ in 1..line {
            start += lines.next().map_or(0, str::len);
        }
        let first = start;
        for text in lines {
            if let Some(at) = find_key(text, key) {
                return start + at..start + at + key.len();
            }
            if text.trim().is_empty() {
                break;
            }
            start += text.len();
        }
        let indent = self.text[first..].len() - self.text[first..].trim_start().len();
        first + indent..first + indent
    }

    /// Tells why a text is no TOML.
    pub(super) fn not_toml(&mut self, error: &toml_edit::TomlError, at: &Span) {
        let message = error.message().lines().next().unwrap_or("not TOML");
        let is_bare = message.contains("must be quoted");
        let hint = if is_bare { "; times and rates are text too, such as \"1.5s\"" } else { "" };
        self.error(at, format!("{message}{hint}"));
    }

    /// Reads a table against its form.
    pub(super) fn table(&mut self, form: &'static Form, table: &dyn TableLike, span: &Span) -> Values {
        self.table_of(form, &[], table, span)
    }

    /// Reads a table against a form with further keys.
    pub(super) fn table_of(
        &mut self,
        form: &'static Form,
        more: &'static [Key],
        table: &dyn TableLike,
        span: &Span,
    ) -> Values {
        let mut values = Values::new(span.clone());
        let keys = || form.keys().chain(more);
        for (name, item) in table.iter() {
            let at = table.key(name).and_then(toml_edit::Key::span).unwrap_or_else(|| span.clone());
            values.note(name, at.clone());
            let Some(key) = keys().find(|key| key.name == name) else {
                let text = unknown_key(form, name, keys().map(|key| key.name));
                self.error(&at, text);
                continue;
            };
            let at = item.span().unwrap_or(at);
            if let Some(value) = self.value(key, item, &at) {
                values.put(key.name, value, at);
            }
        }
        for key in keys() {
            if values.key(key.name).is_some() {
                continue;
            }
            match key.need {
                Need::Must => self.error(span, format!("{} has no {}: {}", form.place, key.name, key.text)),
                Need::May => {}
                Need::Else(default) => {
                    let value = Value::from_str(default).expect("defaults of the form are TOML");
                    if let Some(value) = self.value(key, &Item::Value(value), span) {
                        values.put(key.name, value, span.clone());
                    }
                }
            }
        }
        values
    }

    fn value(&mut self, key: &Key, item: &Item, at: &Span) -> Option<Val> {
        let name = key.name;
        match key.kind {
            Kind::Text => self.text(name, item, at, "text").map(Val::Text),
            Kind::Texts => self.texts(name, item, at).map(plain).map(Val::Texts),
            Kind::Switch => match item.as_bool() {
                Some(on) => Some(Val::Switch(on)),
                None => self.mistaken(name, item, at, "is neither true nor false"),
            },
            Kind::Whole(min, max) => self.whole(name, item, at, min, max).map(Val::Number),
            Kind::Wholes => self.wholes(name, item, at).map(Val::Numbers),
            Kind::Time(min, max) => {
                self.number(name, item, at, TIME, (i128::from(min), i128::from(max))).map(Val::Number)
            }
            Kind::Shift => {
                // A day either way, in whole milliseconds.
                let shift = self.number(name, item, at, TIME, (-86_400_000_000_000, 86_400_000_000_000))?;
                if shift % 1_000_000 != 0 {
                    self.error(at, format!("{name}: timestamps count whole milliseconds"));
                }
                Some(Val::Number(shift))
            }
            Kind::Share => match item.as_integer() {
                Some(percent) => self.within(name, i128::from(percent) * 10_000, at, SHARE, (0, 1_000_000)),
                None => self.number(name, item, at, SHARE, (0, 1_000_000)),
            }
            .map(Val::Number),
            Kind::Rate => self.number(name, item, at, RATE, (8, 1_000_000_000_000)).map(Val::Number),
            Kind::Word(words) => {
                let word = self.text(name, item, at, "a word")?;
                self.is_word(name, &word, at, words().iter().map(|(word, _)| *word))
                    .then_some(Val::Text(word))
            }
            Kind::WordList(words) => self.word_list(name, item, at, &words()).map(Val::Texts),
            Kind::Codec(words) => match item.as_bool() {
                Some(on) => Some(Val::Switch(on)),
                None => {
                    let word = self.text(name, item, at, "true, false or a codec")?;
                    let words = words().into_iter().map(|(word, _)| word).chain(["true", "false"]);
                    self.is_word(name, &word, at, words).then_some(Val::Text(word))
                }
            },
            Kind::Plain => match scalar(item) {
                Some(text) => Some(Val::Text(text)),
                None => self.mistaken(name, item, at, "is no text, whole number, true or false"),
            },
            Kind::Call => {
                let word = self.text(name, item, at, "a call")?;
                self.is_word(name, &word, at, CALLS.iter().map(|call| call.name)).then_some(Val::Text(word))
            }
            Kind::Moment => {
                let text = self.text(name, item, at, "a moment")?;
                self.moment(name, &text, at).map(Val::Moment)
            }
            Kind::Host(roles) => {
                let host = self.text(name, item, at, "a host")?;
                self.host(name, &host, roles, at).map(Val::Host)
            }
            Kind::Hosts(roles) => {
                let hosts = self.texts(name, item, at)?;
                let found: Vec<_> =
                    hosts.iter().filter_map(|(host, at)| self.host(name, host, roles, at)).collect();
                (found.len() == hosts.len()).then_some(Val::Hosts(found))
            }
            Kind::Net => {
                let net = self.text(name, item, at, "a network")?;
                let index = self.names.nets.iter().position(|known| *known == net);
                if index.is_none() {
                    let text = format!("{name}: there is no net {net}{}", offer(&net, &self.names.nets));
                    self.error(at, text);
                }
                index.and_then(|index| u16::try_from(index).ok()).map(Val::Net)
            }
            Kind::Pull => {
                let pull = self.text(name, item, at, "a pull")?;
                self.pull(name, &pull, at).map(Val::Pull)
            }
            Kind::Pulls => {
                let pulls = self.texts(name, item, at)?;
                let found: Vec<_> = pulls.iter().filter_map(|(pull, at)| self.pull(name, pull, at)).collect();
                (found.len() == pulls.len()).then_some(Val::Pulls(found))
            }
            Kind::PullOrStream => {
                let text = self.text(name, item, at, "a pull or app/stream")?;
                if text.contains('/') {
                    return Some(Val::Text(text));
                }
                self.pull(name, &text, at).map(Val::Pull)
            }
            Kind::Stream => {
                let stream = self.text(name, item, at, "app/stream")?;
                self.stream(name, &stream, at).then_some(Val::Text(stream))
            }
            Kind::Streams => self.streams(name, item, at).map(Val::Texts),
            Kind::Ip => {
                let ip = self.text(name, item, at, "an IPv4 address")?;
                self.ip(name, &ip, at).map(Val::Ip)
            }
            Kind::Ips => {
                let ips = self.texts(name, item, at)?;
                Some(Val::Ips(ips.iter().filter_map(|(ip, at)| self.any_ip(name, ip, at)).collect()))
            }
            Kind::NextIp => match self.text(name, item, at, "an IPv4 address, same or new")?.as_str() {
                "same" => Some(Val::NextIp(NextIp::Same)),
                "new" => Some(Val::NextIp(NextIp::New)),
                ip => match ip.parse() {
                    Ok(ip) => Some(Val::NextIp(NextIp::Ip(ip))),
                    Err(_) => self.no(
                        at,
                        format!(
                            "{name}: unknown word \"{ip}\"{} or an IPv4 address",
                            offer(ip, ["same", "new"])
                        ),
                    ),
                },
            },
            Kind::Subnet => {
                let subnet = self.text(name, item, at, "an IPv4 network")?;
                self.subnet(name, &subnet, at)
            }
            Kind::Span => self.span(key, item, at),
            Kind::Size => {
                let size = self.text(name, item, at, "a picture size, such as \"64x48\"")?;
                let sides = size.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
                match sides {
                    Some((width @ 16..=8192, height @ 16..=8192)) => Some(Val::Size(width, height)),
                    Some(_) | None => self.no(
                        at,
                        format!(
                            "{name}: \"{size}\" is no picture size; write \"64x48\", 16 to 8192 pixels each way"
                        ),
                    ),
                }
            }
            Kind::FrameBytes => {
                let sizes = item.as_array().map(|sizes| {
                    sizes.iter().map(|size| usize::try_from(size.as_integer()?).ok()).collect::<Vec<_>>()
                });
                match sizes.as_deref() {
                    Some([Some(key @ 0..=4_000_000), Some(other @ 0..=4_000_000)]) => {
                        Some(Val::FrameBytes(*key, *other))
                    }
                    Some(_) | None => self.no(
                        at,
                        format!("{name}: write bytes of keyframes and of others, such as [20000, 3000], up to 4000000"),
                    ),
                }
            }
            Kind::Gop => match item.as_integer() {
                Some(_) => {
                    let frames = self.whole(name, item, at, 1, 100_000)?;
                    u32::try_from(frames).ok().map(|frames| Val::Gop(Ok(frames)))
                }
                None => {
                    let time = self.number(name, item, at, TIME, (1, 3_600_000_000_000))?;
                    u64::try_from(time)
                        .ok()
                        .map(|time| Val::Gop(Err(proxy_core::time::Duration::from_nanos(time))))
                }
            },
            Kind::Table(form) => match item.as_table_like() {
                Some(table) => Some(Val::Table(self.table(form, table, at))),
                None => self.mistaken(name, item, at, "is no table"),
            },
            Kind::Args => self.args(name, item, at).map(Val::Args),
            Kind::Config => self.config(name, item, at),
            // Read on their own, since they refer to each other.
            Kind::Named(_) | Kind::Entries(_) => None,
        }
    }

    /// Reads text; what else it is, is a mistake.
    pub(super) fn text(&mut self, name: &str, item: &Item, at: &Span, wanted: &str) -> Option<String> {
        match item.as_str() {
            Some(text) => Some(text.to_owned()),
            None => self.mistaken(name, item, at, &format!("is not {wanted}; write it in quotes")),
        }
    }

    /// Reads a list of texts, each with its place.
    pub(super) fn texts(&mut self, name: &str, item: &Item, at: &Span) -> Option<Vec<(String, Span)>> {
        let Some(list) = item.as_array() else {
            let hint = match item.as_str() {
                Some(text) => format!("is no list; write [\"{text}\"]"),
                None => "is no list of texts".to_owned(),
            };
            return self.mistaken(name, item, at, &hint);
        };
        let mut texts = Vec::new();
        for part in list {
            let at = part.span().unwrap_or_else(|| at.clone());
            match part.as_str() {
                Some(text) => texts.push((text.to_owned(), at)),
                None => {
                    return self
                        .no(&at, format!("{name}: {} is no text; write it in quotes", part_text(part)));
                }
            }
        }
        Some(texts)
    }

    fn word_list(
        &mut self,
        name: &str,
        item: &Item,
        at: &Span,
        words: &[(&'static str, &'static str)],
    ) -> Option<Vec<String>> {
        let texts = self.texts(name, item, at)?;
        if texts.is_empty() {
            return self.no(at, format!("{name}: the list is empty"));
        }
        for (index, (word, at)) in texts.iter().enumerate() {
            if !self.is_word(name, word, at, words.iter().map(|(word, _)| *word)) {
                return None;
            }
            if texts[..index].iter().any(|(other, _)| other == word) {
                self.error(at, format!("{name}: {word} stands there twice"));
            }
        }
        Some(plain(texts))
    }

    pub(super) fn is_word<'w>(
        &mut self,
        name: &str,
        word: &str,
        at: &Span,
        words: impl Iterator<Item = &'w str>,
    ) -> bool {
        let words: Vec<_> = words.collect();
        let is_known = words.contains(&word);
        if !is_known {
            self.error(at, format!("{name}: unknown word \"{word}\"{}", offer(word, words)));
        }
        is_known
    }

    fn whole(&mut self, name: &str, item: &Item, at: &Span, min: i64, max: i64) -> Option<i128> {
        let range = (i128::from(min), i128::from(max));
        match item.as_integer() {
            Some(number) => self.within(name, i128::from(number), at, WHOLE, range),
            None if item.as_str().is_some_and(|text| text.contains("..")) => {
                self.number(name, item, at, WHOLE, range)
            }
            None => self.mistaken(name, item, at, &format!("is no whole number; allowed: {min} to {max}")),
        }
    }

    fn wholes(&mut self, name: &str, item: &Item, at: &Span) -> Option<Vec<u64>> {
        let numbers = item.as_array().filter(|list| !list.is_empty()).and_then(|list| {
            list.iter().map(|part| u64::try_from(part.as_integer()?).ok()).collect::<Option<Vec<_>>>()
        });
        match numbers {
            Some(numbers) => Some(numbers),
            None => self.no(at, format!("{name}: write whole numbers from 0, such as [1, 42]")),
        }
    }

    /// Reads a number with a unit, or rolls one out of a range.
    pub(super) fn number(
        &mut self,
        name: &str,
        item: &Item,
        at: &Span,
        unit: Unit,
        allowed: (i128, i128),
    ) -> Option<i128> {
        let Some(text) = item.as_str() else {
            return self.mistaken(name, item, at, &format!("is not {}; {}", unit.name, unit.hint));
        };
        let number = self.amount(name, text, at, unit, allowed)?;
        if unit::split_range(text).is_some() {
            let shown = (unit.show)(number);
            // Whole numbers stand without quotes.
            let shown = if unit.name == WHOLE.name { shown } else { format!("\"{shown}\"") };
            self.edits.push((at.clone(), shown));
        }
        Some(number)
    }

    /// Reads a number with a unit from text, or rolls one out of a range.
    pub(super) fn amount(
        &mut self,
        name: &str,
        text: &str,
        at: &Span,
        unit: Unit,
        allowed: (i128, i128),
    ) -> Option<i128> {
        let Some((from, to)) = unit::split_range(text) else {
            let Some(number) = (unit.parse)(text) else {
                return self.no(at, format!("{name}: \"{text}\" is not {}; {}", unit.name, unit.hint));
            };
            return self.within(name, number, at, unit, allowed);
        };
        let from = self.amount(name, from, at, unit, allowed)?;
        let to = self.amount(name, to, at, unit, allowed)?;
        if from > to {
            return self.no(at, format!("{name}: the range {text} is empty; write the smaller end first"));
        }
        let Some(seed) = self.seed else {
            return self.no(
                at,
                format!("{name}: {text} is a range, which only a seed makes a value; `run --resolve FILE` writes it"),
            );
        };
        let purpose = format!("{}/{name}", self.salt);
        let count = self.rolled.entry(purpose.clone()).or_default();
        *count += 1;
        let step = unit::step(from, to);
        let choices = u64::try_from((to - from) / step + 1).unwrap_or(u64::MAX);
        Some(from + i128::from(Dice::nth(seed, &purpose, *count).below(choices)) * step)
    }

    fn within(
        &mut self,
        name: &str,
        number: i128,
        at: &Span,
        unit: Unit,
        (min, max): (i128, i128),
    ) -> Option<i128> {
        if (min..=max).contains(&number) {
            return Some(number);
        }
        let show = unit.show;
        let allowed = if min == max { show(min) } else { format!("{} to {}", show(min), show(max)) };
        self.no(at, format!("{name}: {} is out of range; allowed: {allowed}", show(number)))
    }

    pub(super) fn mistaken<T>(&mut self, name: &str, item: &Item, at: &Span, text: &str) -> Option<T> {
        self.no(at, format!("{name}: {} {text}", item_text(item)))
    }

    pub(super) fn no<T>(&mut self, at: &Span, text: String) -> Option<T> {
        self.error(at, text);
        None
    }
}

/// Returns the words that were meant, perhaps, and the allowed ones, as the end of a message.
pub(super) fn offer<W: AsRef<str>>(word: &str, words: impl IntoIterator<Item = W>) -> String {
    let words: Vec<_> = words.into_iter().collect();
    let names: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    if names.is_empty() {
        return "; there is none".to_owned();
    }
    let likely = likely(word, names.iter().copied());
    let likely = likely.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
    format!("{likely}{} allowed: {}", if likely.is_empty() { ";" } else { "" }, names.join(", "))
}

fn unknown_key(form: &Form, name: &str, known: impl Iterator<Item = &'static str>) -> String {
    let known: Vec<_> = known.collect();
    let homes: Vec<_> = forms::all().filter(|form| form.key(name).is_some()).map(|form| form.place).collect();
    let belongs = match homes.as_slice() {
        [first, ..] if likely(name, known.iter().copied()).is_none() => format!("; it belongs to {first}"),
        [..] => String::new(),
    };
    format!("unknown key {name} in {}{belongs}{}", form.place, offer(name, known))
}

/// Returns the tables of a list, each with its place.
pub(super) fn entries<'i>(item: &'i Item, at: &Span) -> Option<Vec<(&'i dyn TableLike, Span)>> {
    let place = |span: Option<Span>| span.unwrap_or_else(|| at.clone());
    match item {
        Item::ArrayOfTables(tables) => {
            Some(tables.iter().map(|table| (table as &dyn TableLike, place(table.span()))).collect())
        }
        Item::Value(Value::Array(list)) => inline_entries(list, &place),
        Item::None | Item::Table(_) | Item::Value(_) => None,
    }
}

fn inline_entries<'i>(
    list: &'i Array,
    place: &dyn Fn(Option<Span>) -> Span,
) -> Option<Vec<(&'i dyn TableLike, Span)>> {
    list.iter()
        .map(|part| {
            let table = part.as_inline_table()?;
            Some((table as &dyn TableLike, place(table.span())))
        })
        .collect()
}

/// Returns where a key stands in a line, as a whole word before `=`.
fn find_key(line: &str, key: &str) -> Option<usize> {
    let is_key = |at: &usize| {
        let before = line[..*at].chars().next_back();
        let after = line[at + key.len()..].trim_start();
        before.is_none_or(|c| c.is_whitespace() || matches!(c, '{' | ',')) && after.starts_with('=')
    };
    line.match_indices(key).map(|(at, _)| at).find(is_key)
}
