//! The JSON Schema of the form, out of the same tables the reader reads by: editors complete and check with it.
//!
//! It knows shapes and words, not what refers to what: `repull-sim check` has the last word.

use proxyd::{
    api::CALLS,
    config::{Field, KEYS, OPTIONS},
};
use serde_json::{Map, Value, json};

use super::{
    faults::FAULTS,
    form::{Form, Key, Kind, Need, Words},
    forms::{self, VERBS},
};

const TIME: &str = r"^[0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h)(\.\.[0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))?$";
const SHIFT: &str = r"^-?[0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h)(\.\.-?[0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))?$";
const SHARE: &str = r"^[0-9]+(\.[0-9]+)? ?%(\.\.[0-9]+(\.[0-9]+)? ?%)?$";
const RATE: &str = r"^[0-9]+(\.[0-9]+)?(bit|kbit|mbit|gbit)(\.\.[0-9]+(\.[0-9]+)?(bit|kbit|mbit|gbit))?$";
const MOMENT: &str = r"^(\+ ?)?[0-9][0-9a-z.]*$|^end( - .+)?$|^[A-Za-z][A-Za-z0-9_-]*\.[a-z-]+( ?[+] ?.+)?$";
const WHOLES: &str = r"^-?[0-9]+\.\.-?[0-9]+$";
const STREAM: &str = r"^(all|[^/]+/.+)$";
const IP: &str = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$";

/// Returns the JSON Schema (draft 2020-12) of a scenario file.
pub fn schema() -> Value {
    let mut schema = form(&forms::ROOT, &[]);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Repull scenario",
        "$comment": "written by `repull-sim props --schema`",
    });
    if let (Value::Object(schema), Value::Object(head)) = (&mut schema, head) {
        schema.extend(head);
        let event: Map<_, _> =
            forms::FAULT.keys().filter(is_shared).map(|key| (key.name.to_owned(), property(key))).collect();
        let shared = json!({
            "publisher": form(&forms::PUBLISHER, &[]),
            "config": config(),
            "moment": moment(),
            "time": pattern(TIME),
            "event": event,
        });
        schema.insert("$defs".to_owned(), shared);
    }
    schema
}

fn form(of: &'static Form, more: &'static [Key]) -> Value {
    let keys = || of.keys().chain(more);
    let properties: Map<_, _> = keys().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<_> = keys().filter(|key| key.need == Need::Must).map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": of.text,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    if std::ptr::eq(of, &forms::PULL) {
        for option in OPTIONS {
            schema["properties"][option.name] = json!({ "description": option.text });
        }
    }
    // One of several forms is told by its role.
    for (role, with) in [("origin", &forms::ORIGIN), ("proxy", &forms::PROXY), ("player", &forms::PLAYER)] {
        if std::ptr::eq(of, with) {
            schema["properties"]["role"] = json!({ "const": role, "description": of.text });
        }
    }
    schema
}

/// Returns whether every fault has this key, so that it is described once.
fn is_shared(key: &&'static Key) -> bool {
    key.name != "fault"
}

fn property(key: &Key) -> Value {
    let mut schema = kind(key.kind);
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".to_owned(), json!(key.text));
        if let Need::Else(default) = key.need {
            schema.insert("$comment".to_owned(), json!(format!("without it: {default}")));
        }
    }
    schema
}

fn kind(kind: Kind) -> Value {
    match kind {
        Kind::Text | Kind::Host(_) | Kind::Net | Kind::Pull | Kind::PullOrStream => {
            json!({ "type": "string" })
        }
        Kind::Texts | Kind::Hosts(_) | Kind::Pulls => {
            json!({ "type": "array", "items": { "type": "string" } })
        }
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Whole(min, max) => json!({
            "anyOf": [{ "type": "integer", "minimum": min, "maximum": max }, pattern(WHOLES)],
        }),
        Kind::Wholes => {
            json!({ "type": "array", "items": { "type": "integer", "minimum": 0 }, "minItems": 1 })
        }
        Kind::Time(..) => json!({ "$ref": "#/$defs/time" }),
        Kind::Shift => pattern(SHIFT),
        Kind::Share => {
            json!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 100 }, pattern(SHARE)] })
        }
        Kind::Rate => pattern(RATE),
        Kind::Word(of) => words(of),
        Kind::WordList(of) => {
            json!({ "type": "array", "items": words(of), "minItems": 1, "uniqueItems": true })
        }
        Kind::Codec(of) => json!({ "anyOf": [{ "type": "boolean" }, words(of)] }),
        Kind::Plain => json!({ "type": ["string", "integer", "boolean"] }),
        Kind::Call => json!({ "enum": CALLS.iter().map(|call| call.name).collect::<Vec<_>>() }),
        Kind::Moment => json!({ "$ref": "#/$defs/moment" }),
        Kind::Stream => pattern(STREAM),
        Kind::Streams => json!({ "anyOf": [pattern(STREAM), { "type": "array", "items": pattern(STREAM) }] }),
        Kind::Ip => pattern(IP),
        Kind::Ips => json!({ "type": "array", "items": pattern(IP) }),
        Kind::NextIp => json!({ "anyOf": [{ "enum": ["same", "new"] }, pattern(IP)] }),
        Kind::Subnet => pattern(r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$"),
        Kind::Span => json!({
            "anyOf": [
                pattern(TIME),
                {
                    "type": "object",
                    "properties": { "min": pattern(TIME), "max": pattern(TIME) },
                    "required": ["min", "max"],
                    "additionalProperties": false,
                },
            ],
        }),
        Kind::Size => pattern("^[0-9]+x[0-9]+$"),
        Kind::FrameBytes => json!({
            "type": "array",
            "items": { "type": "integer", "minimum": 0 },
            "minItems": 2,
            "maxItems": 2,
        }),
        Kind::Gop => json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, pattern(TIME)] }),
        Kind::Table(of) if std::ptr::eq(of, &forms::PUBLISHER) => json!({ "$ref": "#/$defs/publisher" }),
        Kind::Table(of) => form(of, &[]),
        Kind::Args => {
            json!({ "type": "object", "additionalProperties": { "type": ["string", "integer", "boolean"] } })
        }
        Kind::Config => json!({ "$ref": "#/$defs/config" }),
        Kind::Named(of) => {
            let forms: Vec<_> = of.iter().map(|of| form(of, &[])).collect();
            let one = if let [one] = forms.as_slice() { one.clone() } else { json!({ "anyOf": forms }) };
            json!({ "type": "object", "additionalProperties": one })
        }
        Kind::Entries(of) => {
            let forms: Vec<_> = of().into_iter().flat_map(entry_forms).collect();
            json!({ "type": "array", "items": { "anyOf": forms } })
        }
    }
}

/// Returns the schemas of one kind of entry: one, or of faults one each.
fn entry_forms(of: &'static Form) -> Vec<Value> {
    if !std::ptr::eq(of, &forms::FAULT) {
        return vec![form(of, &[])];
    }
    FAULTS
        .iter()
        .map(|fault| {
            let mut schema = form(of, fault.keys);
            schema["properties"]["fault"] = json!({ "const": fault.name, "description": fault.text });
            for key in forms::FAULT.keys().filter(is_shared) {
                schema["properties"][key.name] = json!({ "$ref": format!("#/$defs/event/{}", key.name) });
            }
            schema["description"] = json!(fault.text);
            if let (false, Value::Object(properties)) = (fault.lasts, &mut schema["properties"]) {
                properties.remove("for");
            }
            schema
        })
        .collect()
}

fn words(of: Words) -> Value {
    let (words, sentences): (Vec<_>, Vec<_>) = of().into_iter().unzip();
    json!({ "enum": words, "x-taplo": { "docs": { "enumValues": sentences } } })
}

fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn moment() -> Value {
    let verbs: Vec<_> = VERBS.iter().map(|(verb, _)| *verb).collect();
    let about = format!(
        "\"10s\"; \"+3s\" after the event above; NAME.MOMENT + TIME of an event ({}, fault), a host or a pull; \"end - 2s\"",
        verbs.join(", ")
    );
    json!({ "type": "string", "pattern": MOMENT, "description": about })
}

/// Returns the schema of a proxy's configuration.
fn config() -> Value {
    let mut sections = Map::new();
    for key in KEYS {
        let section = sections
            .entry(key.section)
            .or_insert_with(|| json!({ "type": "object", "properties": {}, "additionalProperties": false }));
        let kinds = match &key.field {
            Field::Millis(..) | Field::Seconds(..) | Field::Size(..) | Field::Count(..) | Field::Port(_) => {
                json!(["integer"])
            }
            Field::Switch(_) => json!(["integer", "boolean"]),
            Field::Text(_) | Field::Law(_) | Field::Address(_) => json!(["string"]),
            Field::Addresses(_) => json!(["string", "array"]),
        };
        section["properties"][key.name] =
            json!({ "type": kinds, "description": format!("{} ({})", key.text, key.field.allowed()) });
    }
    let mut entry =
        json!({ "type": "object", "required": ["app", "stream", "url"], "additionalProperties": false });
    for name in ["vhost", "app", "stream", "url"] {
        entry["properties"][name] = json!({ "type": "string" });
    }
    for option in OPTIONS {
        entry["properties"][option.name] = json!({ "description": option.text });
    }
    sections.insert("proxy".to_owned(), json!({ "type": "array", "items": entry }));
    json!({ "type": "object", "properties": sections, "additionalProperties": false })
}
