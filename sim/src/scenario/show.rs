//! Values of the form as TOML, in the one way they are printed.

use std::fmt::Write;

use proxy_core::time::Duration;
use toml_edit::Value;

use super::{
    form::{Form, Key, Need},
    lookup::count_out,
    model::NextIp,
    unit::{RATE, SHARE, TIME},
};

/// Keys and values of a table as TOML.
pub(super) struct Pairs {
    pub(super) keys: Vec<&'static Key>,
    pub(super) pairs: Vec<(String, String)>,
}

impl Pairs {
    pub(super) fn of(form: &'static Form) -> Self {
        Self { keys: form.keys().collect(), pairs: Vec::new() }
    }

    /// Adds a key, unless its absence means the same.
    pub(super) fn put(&mut self, name: &str, value: String) {
        let key = self.keys.iter().find(|key| key.name == name);
        let is_default = key.is_some_and(|key| matches!(key.need, Need::Else(default) if default == value));
        if !is_default {
            self.pairs.push((key_text(name), value));
        }
    }

    pub(super) fn maybe(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    pub(super) fn inline(&self) -> String {
        if self.pairs.is_empty() {
            return "{}".to_owned();
        }
        let pairs: Vec<_> = self.pairs.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        format!("{{ {} }}", pairs.join(", "))
    }

    pub(super) fn lines(&self, out: &mut String) {
        for (key, value) in &self.pairs {
            writeln!(out, "{key} = {value}").expect("a String takes everything");
        }
    }
}

pub(super) fn section(head: &str, pairs: &Pairs, out: &mut String) {
    writeln!(out, "\n{head}").expect("a String takes everything");
    pairs.lines(out);
}

pub(super) fn args(args: &[(String, String)]) -> String {
    let pairs = args.iter().map(|(name, value)| (key_text(name), quote(value))).collect();
    Pairs { keys: Vec::new(), pairs }.inline()
}

/// Writes streams, those that count on as a range.
pub(super) fn streams(streams: &[String]) -> String {
    let text = streams.first().and_then(|first| {
        let stem = first.trim_end_matches(|c: char| c.is_ascii_digit());
        let from = &first[stem.len()..];
        let last = streams.last()?.strip_prefix(stem)?;
        let text = format!("{stem}{{{from}..{last}}}");
        let counted = count_out(&text)?;
        (counted == streams && streams.len() > 1).then_some(text)
    });
    match (text, streams) {
        (Some(text), _) => quote(&text),
        (None, [one]) => quote(one),
        (None, several) => texts(several),
    }
}

pub(super) fn key_text(name: &str) -> String {
    toml_edit::Key::new(name).to_string()
}

pub(super) fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

pub(super) fn list(parts: impl Iterator<Item = String>) -> String {
    format!("[{}]", parts.collect::<Vec<_>>().join(", "))
}

pub(super) fn texts(texts: &[String]) -> String {
    list(texts.iter().map(|text| quote(text)))
}

pub(super) fn time(time: Duration) -> String {
    quote(&(TIME.show)(i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)))
}

pub(super) fn shift(millis: i64) -> String {
    quote(&(TIME.show)(i128::from(millis) * 1_000_000))
}

pub(super) fn share(ppm: u32) -> String {
    quote(&(SHARE.show)(i128::from(ppm)))
}

pub(super) fn rate(bits: u64) -> String {
    quote(&(RATE.show)(i128::from(bits)))
}

pub(super) fn size((width, height): (u32, u32)) -> String {
    quote(&format!("{width}x{height}"))
}

pub(super) fn span(min: Duration, max: Duration) -> String {
    if min == max { time(min) } else { format!("{{ min = {}, max = {} }}", time(min), time(max)) }
}

pub(super) fn next_ip(ip: NextIp) -> String {
    match ip {
        NextIp::Same => quote("same"),
        NextIp::New => quote("new"),
        NextIp::Ip(ip) => quote(&ip.to_string()),
    }
}
