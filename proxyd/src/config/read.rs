//! From text to [`Settings`], with every problem at its place.

use std::ops::Range;

use proxy_core::{
    io::PullOptions,
    url::{DEFAULT_VHOST, OriginUrl, StreamKey},
};
use toml_edit::{Document, Item, Table, TableLike, Value};

use super::{
    KEYS, LoadError, Loaded, OPTIONS, Place, Problem, Settings, StaticProxy, check, foreign, has_option,
    set_option,
};
use crate::log::words;

/// How alike two words must be for one to be offered for the other, of 1.
const LIKENESS_MIN: f64 = 0.6;

/// The members of a `[[proxy]]` entry beside the options.
const PROXY_KEYS: [&str; 4] = ["vhost", "app", "stream", "url"];

pub(super) fn read(text: &str) -> Result<Loaded, LoadError> {
    let mut reader = Reader::new(text);
    match Document::parse(text) {
        Ok(document) => reader.document(document.as_table()),
        Err(error) => reader.not_toml(&error),
    }
    if reader.errors.is_empty() {
        reader.cross_check();
    }
    reader.finish()
}

pub(super) fn read_table(text: &str, table: &dyn TableLike) -> Result<Loaded, LoadError> {
    let mut reader = Reader::new(text);
    reader.document(table);
    if reader.errors.is_empty() {
        // What is only against good sense is meant there: a test shortens timeouts.
        let warnings = reader.warnings.clone();
        reader.cross_check();
        reader.warnings = warnings;
    }
    reader.finish()
}

struct Reader<'a> {
    text: &'a str,
    settings: Settings,
    /// Keys of ours that the file sets, and where.
    seen: Vec<(String, Option<Place>)>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            settings: Settings::default(),
            seen: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn finish(self) -> Result<Loaded, LoadError> {
        let Self { settings, mut errors, mut warnings, .. } = self;
        errors.sort();
        warnings.sort();
        if errors.is_empty() {
            Ok(Loaded { settings, warnings })
        } else {
            Err(LoadError::Problems { errors, warnings })
        }
    }

    fn document(&mut self, root: &dyn TableLike) {
        let mut proxies = None;
        for (name, item) in root.iter() {
            let place = self.key_place(root, name);
            match item {
                Item::ArrayOfTables(entries) if name == "proxy" => proxies = Some(entries),
                _ if name == "proxy" => {
                    self.error(place, "proxy is a list: write [[proxy]] with two brackets".to_owned());
                }
                Item::Table(section) => self.section(name, section, place),
                Item::Value(Value::InlineTable(section)) => self.section(name, section, place),
                Item::ArrayOfTables(_) => {
                    self.error(place, format!("[[{name}]] is no list: write [{name}] with one bracket"));
                }
                Item::Value(_) | Item::None => self.error(place, lost_key(name)),
            }
        }
        // The relay cuts what the session announces.
        self.settings.core.play.chunk_size = self.settings.core.relay.chunk_size;
        // After the sections: whether virtual hosts count is one of the settings.
        for entry in proxies.into_iter().flatten() {
            self.proxy(entry);
        }
    }

    fn section(&mut self, section: &str, table: &dyn TableLike, place: Option<Place>) {
        let is_ours = KEYS.iter().any(|key| key.section == section);
        let is_theirs = foreign::FOREIGN.iter().any(|entry| entry.section == section);
        if !is_ours && !is_theirs {
            let sections = KEYS.iter().map(|key| key.section).chain(["proxy"]);
            let offer = likely(section, sections).map(|word| format!("; did you mean [{word}]?"));
            return self.error(place, format!("unknown section [{section}]{}", offer.unwrap_or_default()));
        }
        for (name, item) in table.iter() {
            let place = self.key_place(table, name).or(place);
            if let Some(key) = KEYS.iter().find(|key| key.section == section && key.name == name) {
                let at = self.place(item.span());
                let set = scalar(item).and_then(|text| key.field.set(&mut self.settings, &text));
                match set {
                    Ok(()) => self.seen.push((key.path(), place)),
                    Err(error) => self.error(at.or(place), format!("{section}.{name}: {error}")),
                }
            } else if let Some(reason) = foreign::find(section, name) {
                self.warn(place, format!("{section}.{name} has no effect: {reason}"));
            } else {
                self.error(place, unknown_key(section, name));
            }
        }
    }

    fn proxy(&mut self, entry: &Table) {
        let place = self.place(entry.span());
        let mut names = [None, None, None, None];
        // A stream written down is wanted whether or not its origin is up when we start.
        let mut options = PullOptions { force: true, ..PullOptions::default() };
        let errors_before = self.errors.len();
        for (name, item) in entry.iter() {
            let (key_place, at) = (self.key_place(entry, name), self.place(item.span()));
            if let Some(index) = PROXY_KEYS.iter().position(|key| *key == name) {
                match scalar(item) {
                    Ok(text) => names[index] = Some((text, at)),
                    Err(error) => self.error(at.or(key_place), format!("{name}: {error}")),
                }
            } else if !has_option(name) {
                match foreign::find_option(name) {
                    Some(reason) => self.warn(key_place, format!("{name} has no effect: {reason}")),
                    None => self.error(key_place, unknown_option(name)),
                }
            }
        }
        // In the table's order, so that of two names for one thing the same one wins as in a call.
        for option in OPTIONS {
            let found = entry.iter().find(|(name, _)| option.name.eq_ignore_ascii_case(name));
            let Some((name, item)) = found else { continue };
            let set = scalar(item).and_then(|text| set_option(&mut options, name, &text));
            if let Err(error) = set {
                let at = self.place(item.span());
                self.error(at, format!("{name}: {error}"));
            }
        }
        for (index, name) in PROXY_KEYS.iter().enumerate().skip(1) {
            if names[index].is_none() {
                self.error(place, format!("this [[proxy]] has no {name}"));
            }
        }
        if let Some((url, url_at)) = &names[3]
            && let Err(error) = OriginUrl::parse_with(url, options.play_path.as_deref())
        {
            self.error(*url_at, format!("url: {error}"));
        }
        if self.errors.len() > errors_before {
            return;
        }
        let [vhost, Some((app, app_at)), Some((stream, _)), Some((url, _))] = names else { return };
        let vhost = vhost.map_or_else(|| DEFAULT_VHOST.to_owned(), |(vhost, _)| vhost);
        let vhost = if self.settings.core.play.vhosts { vhost } else { DEFAULT_VHOST.to_owned() };
        let key = match StreamKey::new(&vhost, &app, &stream) {
            Ok(key) => key,
            Err(error) => return self.error(app_at, format!("app, stream: {}", error)),
        };
        if self.settings.proxies.iter().any(|proxy| proxy.key == key) {
            return self.error(place, format!("another [[proxy]] has the key {key}"));
        }
        self.settings.proxies.push(StaticProxy { key, url, options });
    }

    fn cross_check(&mut self) {
        for finding in check::check(&self.settings) {
            let seen =
                |key: &&str| self.seen.iter().find(|(name, _)| name == key).and_then(|(_, place)| *place);
            let place = finding.keys.iter().find_map(seen);
            let problem = Problem { place, text: finding.text };
            if finding.is_error {
                self.errors.push(problem);
            } else {
                self.warnings.push(problem);
            }
        }
    }

    fn not_toml(&mut self, error: &toml_edit::TomlError) {
        let at = error.span().map_or(0, |span| span.start);
        let start = self.text[..at.min(self.text.len())].rfind('\n').map_or(0, |end| end + 1);
        let line = self.text[start..].lines().next().unwrap_or("").trim();
        let message = error.message().lines().next().unwrap_or("not TOML");
        // ZLMediaKit's config.ini writes text bare and comments with a semicolon: say what to change.
        let hint = match line.split_once('=') {
            Some((name, value)) if is_bare_text(value) => {
                let (name, value) = (name.trim(), value.trim());
                if words::is_secret_name(name) {
                    format!("; text needs quotes: {name} = \"…\"")
                } else {
                    format!("; text needs quotes: {name} = \"{}\"", words::clean(value))
                }
            }
            _ if line.starts_with(';') => "; comments begin with #".to_owned(),
            _ => String::new(),
        };
        let place = self.place(error.span());
        self.error(place, format!("{message}{hint}"));
    }

    fn key_place(&self, table: &dyn TableLike, name: &str) -> Option<Place> {
        self.place(table.key(name).and_then(toml_edit::Key::span))
    }

    fn place(&self, span: Option<Range<usize>>) -> Option<Place> {
        Place::of(self.text, span?.start)
    }

    fn error(&mut self, place: Option<Place>, text: String) {
        self.errors.push(Problem { place, text });
    }

    fn warn(&mut self, place: Option<Place>, text: String) {
        self.warnings.push(Problem { place, text });
    }
}

/// Returns a scalar as text; files taken over from an INI may quote numbers or write whole floats.
fn scalar(item: &Item) -> Result<String, String> {
    match item.as_value() {
        Some(Value::String(text)) => Ok(text.value().clone()),
        Some(Value::Integer(number)) => Ok(number.value().to_string()),
        Some(Value::Float(number)) => Ok(number.value().to_string()),
        Some(Value::Boolean(switch)) => Ok(switch.value().to_string()),
        Some(Value::Array(parts)) if parts.iter().all(Value::is_str) => {
            Ok(parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))
        }
        Some(Value::Array(_)) => Err("a list of something else than text".to_owned()),
        Some(Value::Datetime(_)) => Err("a date is no value here".to_owned()),
        Some(Value::InlineTable(_)) | None => Err("a table is no value here".to_owned()),
    }
}

fn is_bare_text(value: &str) -> bool {
    let value = value.trim();
    let quoted = value.starts_with(['"', '\'', '[', '{']);
    !value.is_empty() && !quoted && value.parse::<f64>().is_err() && !matches!(value, "true" | "false")
}

fn lost_key(name: &str) -> String {
    let homes: Vec<_> =
        KEYS.iter().filter(|key| key.name == name).map(|key| format!("[{}]", key.section)).collect();
    match homes.as_slice() {
        [] => format!("unknown key {name} outside any section"),
        homes => format!("{name} stands outside any section; it belongs to {}", homes.join(" or ")),
    }
}

fn unknown_key(section: &str, name: &str) -> String {
    let homes: Vec<_> = KEYS
        .iter()
        .filter(|key| key.name.eq_ignore_ascii_case(name) && key.section != section)
        .map(|key| format!("[{}]", key.section))
        .collect();
    if !homes.is_empty() {
        return format!("unknown key {name} in [{section}]; it belongs to {}", homes.join(" or "));
    }
    let ours = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    let theirs =
        foreign::FOREIGN.iter().filter(|entry| entry.section == section).flat_map(|entry| entry.names);
    match likely(name, ours.chain(theirs.copied())) {
        Some(word) => format!("unknown key {name} in [{section}]; did you mean {word}?"),
        None => format!("unknown key {name} in [{section}]"),
    }
}

fn unknown_option(name: &str) -> String {
    match likely(name, PROXY_KEYS.into_iter().chain(OPTIONS.iter().map(|option| option.name))) {
        Some(word) => format!("unknown key {name} in [[proxy]]; did you mean {word}?"),
        None => format!("unknown key {name} in [[proxy]]"),
    }
}

/// Returns the word most like `name`, if one is like it at all.
pub fn likely<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let likeness = |word: &str| {
        let word = word.to_ascii_lowercase();
        // A word cut short (maxStreamWait) is likelier than its distance says.
        let cut = name.len() >= 4 && word.starts_with(&name);
        if cut { 0.95 } else { strsim::normalized_damerau_levenshtein(&name, &word) }
    };
    words
        .map(|word| (likeness(word), word))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}
