//! A scenario's text as parts that can go, one by one, with everything else left as its writer laid it out.
//!
//! `toml_edit` says what stands where; what goes is cut out of the text itself. A document edited in place keeps a comment
//! with the value behind it, and here a comment belongs to the line it stands on.

use std::ops::Range;

use toml_edit::{Document, Item, Key, TableLike, Value};

/// From where to where, in bytes.
pub(super) type Span = Range<usize>;

/// A change of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) span: Span,
    pub(super) with: String,
}

impl Edit {
    pub(super) fn cut(span: Span) -> Self {
        Self { span, with: String::new() }
    }
}

/// Changes a text. Returns it with where a place of it has come to; nothing if that place itself is cut out.
pub(super) fn apply(
    text: &str,
    mut edits: Vec<Edit>,
    place: Option<usize>,
) -> Option<(String, Option<usize>)> {
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let mut out = String::with_capacity(text.len());
    let (mut at, mut moved) = (0, None);
    for edit in &edits {
        // What lies in what is cut already is gone.
        if edit.span.end <= at {
            continue;
        }
        let start = edit.span.start.max(at);
        if let Some(place) = place {
            if (at..start).contains(&place) {
                moved = Some(out.len() + place - at);
            } else if edit.span.contains(&place) && edit.with.is_empty() {
                return None;
            }
        }
        out.push_str(text.get(at..start)?);
        out.push_str(&edit.with);
        at = edit.span.end;
    }
    if let Some(place) = place.filter(|place| *place >= at) {
        moved = Some(out.len() + place - at);
    }
    out.push_str(text.get(at..)?);
    Some((out, moved))
}

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A key.
    Key(String),
    /// An entry of a list.
    Entry(usize),
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A table with a header of its own, or several below one name.
    Section,
    /// A key and its value.
    Pair,
    /// An entry of a list.
    Entry,
}

/// A part of a file.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) path: Vec<Step>,
    pub(super) kind: Kind,
    /// What is cut out to be rid of it.
    pub(super) cut: Vec<Span>,
    /// Its value, if it has one of its own.
    pub(super) value: Option<Span>,
    /// The value as text, of what is text.
    pub(super) text: Option<String>,
    /// The value as a number, of what is one.
    pub(super) number: Option<i64>,
}

impl Part {
    /// Returns whether the way to it begins with these keys.
    pub(super) fn is_below(&self, keys: &[&str]) -> bool {
        self.path.len() >= keys.len() && self.path.iter().zip(keys).all(|(step, key)| step.is(key))
    }

    /// Returns the last key on the way to it.
    pub(super) fn key(&self) -> &str {
        let key = self.path.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Entry(_) => None,
        });
        key.unwrap_or_default()
    }
}

impl Step {
    fn is(&self, key: &str) -> bool {
        match self {
            Self::Key(own) => own == key,
            Self::Entry(_) => false,
        }
    }
}

/// A table's header and all below it, up to the next.
#[derive(Debug)]
struct Section {
    path: Vec<Step>,
    /// With the comment right above it.
    span: Span,
}

/// Returns every part of a text, what stands first first; nothing of what is no TOML.
pub(super) fn parts(text: &str) -> Vec<Part> {
    let Ok(document) = Document::parse(text) else { return Vec::new() };
    let mut walk = Walk { text, sections: Vec::new(), parts: Vec::new() };
    let mut values = Vec::new();
    collect_values(document.as_table(), &mut values);
    walk.sections = sections(text, &values);
    walk.table(document.as_table(), &mut Vec::new(), false);
    let mut parts = walk.parts;
    parts.sort_by_key(|part| part.cut.first().map_or(0, |span| span.start));
    parts
}

/// Collects the places of all values: within them no line is a header.
fn collect_values(table: &dyn TableLike, values: &mut Vec<Span>) {
    for (_, item) in table.iter() {
        match item {
            Item::None => {}
            Item::Value(value) => values.extend(value.span()),
            Item::Table(table) => collect_values(table, values),
            Item::ArrayOfTables(tables) => tables.iter().for_each(|table| collect_values(table, values)),
        }
    }
}

fn sections(text: &str, values: &[Span]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    // Where a comment began that leads to what is right below it.
    let mut lead: Option<usize> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let (at, trimmed) = (start, line.trim());
        start += line.len();
        if values.iter().any(|value| value.contains(&at) && value.start < at) {
            continue;
        }
        if trimmed.starts_with('[') {
            let span = lead.take().unwrap_or(at)..text.len();
            if let Some(before) = sections.last_mut() {
                before.span.end = before.span.end.min(span.start);
            }
            let path = header(trimmed, &sections);
            sections.push(Section { path, span });
        } else if trimmed.starts_with('#') && !is_divider(trimmed) {
            lead.get_or_insert(at);
        } else {
            lead = None;
            // A divider is of none of the sections beside it.
            if is_divider(trimmed)
                && let Some(before) = sections.last_mut()
            {
                before.span.end = before.span.end.min(at);
            }
        }
    }
    sections
}

/// Returns whether a comment parts a file, such as `# ---- what happens ----`: it belongs to no line.
fn is_divider(comment: &str) -> bool {
    comment.trim_start_matches('#').trim().starts_with("--")
}

/// Returns what a header names.
fn header(line: &str, above: &[Section]) -> Vec<Step> {
    let is_list = line.starts_with("[[");
    let inner = line.trim_start_matches('[').split(']').next().unwrap_or_default();
    let keys = Key::parse(inner).unwrap_or_default();
    let mut path: Vec<Step> = keys.iter().map(|key| Step::Key(key.get().to_owned())).collect();
    if is_list {
        let alike = above.iter().filter(|section| {
            section.path.len() == path.len() + 1
                && section.path.starts_with(&path)
                && matches!(section.path.last(), Some(Step::Entry(_)))
        });
        path.push(Step::Entry(alike.count()));
    }
    path
}

struct Walk<'a> {
    text: &'a str,
    sections: Vec<Section>,
    parts: Vec<Part>,
}

impl Walk<'_> {
    /// Notes what is in a table.
    fn table(&mut self, table: &dyn TableLike, path: &mut Vec<Step>, is_inline: bool) {
        let entries: Vec<(String, Option<Span>, &Item)> = table
            .iter()
            .map(|(name, item)| (name.to_owned(), table.key(name).and_then(Key::span), item))
            .collect();
        // Where each pair of an inline table is, so that one can be cut out with its comma.
        let places: Vec<Span> =
            entries.iter().filter_map(|(_, key, item)| Some(key.clone()?.start..item.span()?.end)).collect();
        for (name, key, item) in entries {
            path.push(Step::Key(name));
            match item {
                Item::None => {}
                Item::Value(value) => {
                    if let (Some(key), Some(span)) = (key, value.span()) {
                        let whole = key.start..span.end;
                        let cut =
                            if is_inline { self.cut_of(&whole, &places) } else { self.lines_of(&whole) };
                        self.note(path, Kind::Pair, vec![cut], Some(value));
                    }
                    self.value(value, path);
                }
                Item::Table(inner) => {
                    self.section(path);
                    self.table(inner, path, false);
                }
                Item::ArrayOfTables(tables) => {
                    for (index, inner) in tables.iter().enumerate() {
                        path.push(Step::Entry(index));
                        self.section(path);
                        self.table(inner, path, false);
                        path.pop();
                    }
                }
            }
            path.pop();
        }
    }

    fn section(&mut self, path: &[Step]) {
        let below = self.sections.iter().filter(|section| section.path.starts_with(path));
        let cut: Vec<Span> = below.map(|section| section.span.clone()).collect();
        if !cut.is_empty() {
            self.note(path, Kind::Section, cut, None);
        }
    }

    fn value(&mut self, value: &Value, path: &mut Vec<Step>) {
        match value {
            Value::Array(list) => {
                let places: Vec<Span> = list.iter().filter_map(Value::span).collect();
                for (index, entry) in list.iter().enumerate() {
                    path.push(Step::Entry(index));
                    if let Some(span) = entry.span() {
                        let cut = self.cut_of(&span, &places);
                        self.note(path, Kind::Entry, vec![cut], Some(entry));
                    }
                    self.value(entry, path);
                    path.pop();
                }
            }
            Value::InlineTable(table) => self.table(table, path, true),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }

    fn note(&mut self, path: &[Step], kind: Kind, cut: Vec<Span>, value: Option<&Value>) {
        self.parts.push(Part {
            path: path.to_vec(),
            kind,
            cut,
            value: value.and_then(Value::span),
            text: value.and_then(Value::as_str).map(str::to_owned),
            number: value.and_then(Value::as_integer),
        });
    }

    /// Returns the whole lines of a pair, with the comment on its last.
    fn lines_of(&self, span: &Span) -> Span {
        let start = self.text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[span.end..].find('\n').map_or(self.text.len(), |at| span.end + at + 1);
        start..end
    }

    /// Returns what is cut out to be rid of one of several things between commas.
    fn cut_of(&self, span: &Span, places: &[Span]) -> Span {
        let lines = self.lines_of(span);
        let before = self.text[lines.start..span.start].trim();
        let after = self.text[span.end..lines.end].trim_start().trim_start_matches(',').trim_start();
        if before.is_empty() && (after.is_empty() || after.starts_with('#')) {
            // It has its lines for itself.
            return lines;
        }
        let next = places.iter().find(|place| place.start >= span.end);
        let previous = places.iter().rev().find(|place| place.end <= span.start);
        match (next, previous) {
            (Some(next), _) => span.start..next.start,
            (None, Some(previous)) => previous.end..span.end,
            (None, None) => span.clone(),
        }
    }
}

/// Returns the line of a place, from 1.
pub(super) fn line_at(text: &str, place: usize) -> u32 {
    let before = text.get(..place).unwrap_or(text);
    u32::try_from(before.matches('\n').count()).map_or(u32::MAX, |lines| lines + 1)
}

/// Returns where a line begins, of those that are counted from 1, past its indentation.
pub(super) fn place_of(text: &str, line: u32) -> Option<usize> {
    let mut start = 0;
    for (index, content) in text.split_inclusive('\n').enumerate() {
        if index + 1 == line as usize {
            return Some(start + content.len() - content.trim_start().len());
        }
        start += content.len();
    }
    None
}

/// Returns what is to be cut so that a text looks as if written so: empty lines that lie together since what stood
/// between them went, and commas before nothing.
pub(super) fn untidy(text: &str) -> Vec<Edit> {
    let mut edits = Vec::new();
    let (mut start, mut empty) = (0, 1);
    for line in text.split_inclusive('\n') {
        empty = if line.trim().is_empty() { empty + 1 } else { 0 };
        if empty > 1 {
            edits.push(Edit::cut(start..start + line.len()));
        }
        let code = &line[..comment_at(line).unwrap_or(line.len())];
        for (at, _) in code.match_indices(',') {
            let after = code[at + 1..].trim_start();
            let is_quoted = comment_at(&format!("{}#", &code[..at])) != Some(at);
            if after.starts_with('}') && !is_quoted {
                // One space stays before the bracket.
                let end = code.len() - after.len();
                let end = if end > at + 1 { end - 1 } else { end };
                edits.push(Edit::cut(start + at..start + end));
            }
        }
        start += line.len();
    }
    edits
}

/// Writes a remark at the end of a line, behind the comment that stands there.
pub(super) fn remark(text: &str, place: usize, words: &str) -> Edit {
    let end = text[place..].find('\n').map_or(text.len(), |at| place + at);
    let start = text[..place].rfind('\n').map_or(0, |at| at + 1);
    let line = &text[start..end];
    let trimmed = line.trim_end();
    let parting = if comment_at(trimmed).is_some() { "; " } else { "   # " };
    let at = start + trimmed.len();
    Edit { span: at..end, with: format!("{parting}{words}") }
}

/// Returns where a line's comment begins: at a `#` outside of quotes.
fn comment_at(line: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), c) if c == open && !escaped => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => return Some(at),
            (Some(_) | None, _) => {}
        }
        escaped = false;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r##"# The story.
schema = 1
id = "x"   # kept

# ---- who ----
# About srs.
[host.srs]
role  = "origin"
model = { stream = ["live/a", "live/b"], fps = 5 }   # fast

[host.proxy]
role = "proxy"

[host.proxy.config.pull]
stall_timeout_ms = 3000

# ---- what ----
[timeline]
events = [
  { at = "0s", add = "p1" },   # the [first]
  { at = "5s", on = "srs", fault = "kill", for = "1s" },
]

[[expect]]
never = "rebuilt"

[[expect]]
never = "shed"
"##;

    fn without(way: &str) -> String {
        let name = |part: &Part| {
            let steps: Vec<String> = part
                .path
                .iter()
                .map(|step| match step {
                    Step::Key(key) => key.clone(),
                    Step::Entry(index) => index.to_string(),
                })
                .collect();
            steps.join(".")
        };
        let all = parts(TEXT);
        let part = all.iter().find(|part| name(part) == way);
        let part =
            part.unwrap_or_else(|| panic!("no {way} in {:?}", all.iter().map(name).collect::<Vec<_>>()));
        let edits = part.cut.iter().cloned().map(Edit::cut).collect();
        let (text, _) = apply(TEXT, edits, None).expect("spans of the text");
        assert!(Document::parse(text.as_str()).is_ok(), "{text}");
        apply(&text, untidy(&text), None).expect("spans of the text").0
    }

    #[test]
    fn a_line_goes_with_its_comment_and_no_other() {
        let text = without("timeline.events.0");
        assert!(!text.contains("the [first]") && text.contains("kill"), "{text}");
        let text = without("timeline.events.1");
        assert!(text.contains("the [first]") && !text.contains("kill"), "{text}");
    }

    #[test]
    fn a_table_goes_with_the_comment_above_it_and_dividers_stay() {
        let text = without("host.srs");
        assert!(!text.contains("About srs") && text.contains("---- who ----"), "{text}");
        assert!(!text.contains("live/a") && text.contains("[host.proxy]"), "{text}");
        let text = without("host.proxy");
        assert!(!text.contains("stall_timeout_ms") && text.contains("---- what ----"), "{text}");
        assert!(without("host.proxy.config.pull").contains("[host.proxy]"));
    }

    #[test]
    fn of_several_alike_one_goes() {
        assert!(without("expect.0").contains("shed") && !without("expect.0").contains("rebuilt"));
        assert!(without("expect.1").contains("rebuilt") && !without("expect.1").contains("shed"));
        assert!(without("host.srs.model.stream.0").contains("[\"live/b\"]"));
        assert!(without("host.srs.model.stream.1").contains("[\"live/a\"]"));
        assert!(without("host.srs.model.fps").contains("\"live/b\"] }   # fast"));
        assert!(without("timeline.events.1.for").contains("fault = \"kill\" }"));
        assert!(without("timeline.events.1.on").contains("at = \"5s\", fault"));
    }

    #[test]
    fn nothing_is_left_of_what_went() {
        let tidied = |text: &str| apply(text, untidy(text), None).map(|(text, _)| text);
        assert_eq!(tidied("a = { b = 1,   }\n\n\nc = 1\n").as_deref(), Some("a = { b = 1 }\n\nc = 1\n"));
        assert_eq!(tidied("a = \", }\"   # , }\n").as_deref(), Some("a = \", }\"   # , }\n"));
    }

    #[test]
    fn a_place_moves_with_its_text() {
        let place = TEXT.find("never = \"shed\"").expect("it is there");
        let cut = TEXT.find("[host.srs]").expect("it is there");
        let (text, moved) = apply(TEXT, vec![Edit::cut(cut..cut + 20)], Some(place)).expect("it is kept");
        assert_eq!(text.get(moved.expect("it is kept")..), TEXT.get(place..));
        assert_eq!(apply(TEXT, vec![Edit::cut(place..place + 3)], Some(place)), None);
        assert_eq!(line_at(TEXT, place_of(TEXT, 7).expect("a line")), 7);
    }

    #[test]
    fn remarks_stand_behind_comments() {
        let remarked = |text: &str| apply(text, vec![remark(text, 0, "r")], None).map(|(text, _)| text);
        assert_eq!(remarked("a = 1\nb").as_deref(), Some("a = 1   # r\nb"));
        assert_eq!(remarked("a = 1 # c  \nb").as_deref(), Some("a = 1 # c; r\nb"));
        assert_eq!(remarked("a = \"#\"").as_deref(), Some("a = \"#\"   # r"));
    }
}
