//! What replies to a scenario's calls must be.

use std::collections::{BTreeMap, BTreeSet};

use proxy_core::time::{Duration, Instant};
use serde_json::Value;

use super::Look;
use crate::{
    oracle::{CallNow, Findings, Scene, Strictness, alarms::Alarms, scene::name_of, secs},
    scenario::{
        model::{Act, ReplyWanted, Scenario},
        moment_words,
    },
    trace::{ActorId, What, words::kebab},
};

const NAME: &str = "expect: reply";

/// Waits for replies.
#[derive(Debug, Default)]
pub(super) struct Replies {
    strictness: Strictness,
    /// By event: its line, and what is wanted.
    wanted: BTreeMap<u16, (u32, ReplyWanted)>,
    /// By event: when it is due, as the file writes it.
    moments: BTreeMap<u16, String>,
    /// Calls made, by event.
    asked: BTreeSet<u16>,
    /// Calls without an answer, with when they were made.
    open: BTreeMap<u32, (u16, Instant)>,
    due: Alarms<u32>,
}

impl Replies {
    pub(super) fn new(scenario: &Scenario, strictness: Strictness) -> Self {
        let mut replies = Self { strictness, ..Self::default() };
        for (index, event) in scenario.events.iter().enumerate() {
            if let Act::Call(call) = &event.act
                && call.reply != ReplyWanted::default()
            {
                let index = u16::try_from(index).unwrap_or(u16::MAX);
                replies.moments.insert(index, moment_words(scenario, &event.at));
                replies.wanted.insert(index, (event.line, call.reply.clone()));
            }
        }
        replies
    }

    pub(super) fn is_settled(&self) -> bool {
        self.due.is_empty()
    }

    pub(super) fn on_record(&mut self, look: &Look<'_>, findings: &mut Findings) {
        let record = look.record;
        if let What::Asked(call) = &record.what
            && let Some((event, (line, wanted))) =
                call.event.and_then(|event| Some((event, self.wanted.get(&event)?)))
        {
            self.asked.insert(event);
            if !look.scene.calls.contains_key(&call.call) {
                let text = format!(
                    "{} was called while the proxy did not run: its reply cannot be judged",
                    call.name
                );
                findings.missed(NAME, record.actor, *line, text);
                return;
            }
            self.open.insert(call.call, (event, record.at));
            if let Some(within) = wanted.within {
                self.due.set(call.call, record.at + self.strictness.of(within));
            }
        }
        if let What::Answered { call, body } = &record.what
            && let Some((event, since)) = self.open.remove(call)
        {
            self.due.clear(call);
            let (Some((line, wanted)), Some(asked)) = (self.wanted.get(&event), &look.scene.answered) else {
                return;
            };
            let body = serde_json::from_str::<Value>(body).unwrap_or(Value::Null);
            if let Some(within) = wanted.within {
                let bound = self.strictness.of(within);
                findings.measure(&format!("reply (line {line})"), record.at.since(since), bound);
            }
            // Of many alike the answer alone does not tell which.
            let stream = asked.call.stream.as_ref().filter(|stream| {
                let pull = look.names.pulls.find(stream, look.scene.host_of(record.actor));
                pull.is_some_and(|pull| look.names.streams_of(pull).count() > 1)
            });
            let of = stream.map_or_else(String::new, |stream| format!(" of {stream}"));
            for text in judge(wanted, asked, &body, look.scene, record.at) {
                let text = format!("{}{of}: {text}; it was {body}", asked.call.name);
                findings.missed(NAME, record.actor, *line, text);
            }
        }
    }

    pub(super) fn on_time(&mut self, scene: &Scene, now: Instant, findings: &mut Findings) {
        while let Some((at, call)) = self.due.poll(now) {
            let Some((event, since)) = self.open.get(&call) else { continue };
            let Some((line, _)) = self.wanted.get(event) else { continue };
            let actor = scene.calls.get(&call).map_or(ActorId::WORLD, |call| call.proxy);
            let text = format!(
                "call {call} of {since} has no reply: it was wanted within {}, which is over at {at}",
                secs(at.since(*since))
            );
            findings.missed(NAME, actor, *line, text);
        }
    }

    /// Returns whether an event's reply is judged.
    pub(super) fn wants(&self, event: u16) -> bool {
        self.wanted.contains_key(&event)
    }

    /// What was never called or never answered was never judged.
    pub(super) fn on_over(&mut self, scene: &Scene, findings: &mut Findings) {
        for (event, (line, _)) in &self.wanted {
            if !self.asked.contains(event) {
                let when = self.moments.get(event).map_or("its moment", String::as_str);
                let text = format!(
                    "the call was never made, as {when} never came before the end: its reply was not judged"
                );
                findings.missed(NAME, ActorId::WORLD, *line, text);
            }
        }
        for (call, (event, since)) in std::mem::take(&mut self.open) {
            let Some((line, _)) = self.wanted.get(&event) else { continue };
            let actor = scene.calls.get(&call).map_or(ActorId::WORLD, |call| call.proxy);
            findings.missed(NAME, actor, *line, format!("call {call} of {since} was never answered"));
        }
    }
}

fn judge(wanted: &ReplyWanted, asked: &CallNow, body: &Value, scene: &Scene, at: Instant) -> Vec<String> {
    let mut texts = Vec::new();
    let msg = body["msg"].as_str().unwrap_or_default();
    if let Some(code) = wanted.code
        && body["code"] != code
    {
        texts.push(format!("code {} was told, {code} was wanted", body["code"]));
    }
    if let Some(part) = &wanted.msg
        && !msg.contains(part.as_str())
    {
        texts.push(format!("msg {msg:?} was told, {part:?} in it was wanted"));
    }
    if wanted.refusal_only_if_true && msg == "This stream already exists" {
        texts.extend(judge_refusal(asked, scene, at));
    }
    if let Some(streams) = &wanted.streams {
        let listed = listed(body);
        let wanted: BTreeSet<String> = streams.iter().cloned().collect();
        if listed != wanted {
            texts.push(format!("{listed:?} were listed, {wanted:?} were wanted"));
        }
    }
    for (path, value) in &wanted.fields {
        let told = at_path(body, path);
        let told = match told {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if told != *value {
            texts.push(format!("{path} {told} was told, {value} was wanted"));
        }
    }
    texts
}

/// "Already exists" is true while players could get frames: some have arrived at the proxy within the stall bound.
fn judge_refusal(asked: &CallNow, scene: &Scene, at: Instant) -> Option<String> {
    let key = scene.key_of_call(&asked.call)?;
    let id = scene.keys.get(&(asked.proxy, key.clone())).copied();
    let Some(stream) = id.and_then(|id| scene.streams.get(&(asked.proxy, id))) else {
        return Some(format!("it was refused as existing, and {} is not registered", name_of(&key)));
    };
    let silence = stream.arrived_at.map_or(Duration::MAX, |arrived| at.since(arrived));
    (silence > stream.policy.stall).then(|| {
        let last = match stream.arrived_at {
            Some(arrived) => format!("its last frame arrived {} ago", secs(at.since(arrived))),
            None => "no frame of it has ever arrived".to_owned(),
        };
        format!(
            "it was refused as existing, and {last}: that is true for {} only; the proxy thinks {} is {}",
            secs(stream.policy.stall),
            name_of(&key),
            kebab(&stream.state)
        )
    })
}

/// Returns `app/stream` of everything a list holds.
fn listed(body: &Value) -> BTreeSet<String> {
    let entries = body["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let name = |entry: &Value| {
        let of = if entry["src"].is_object() { &entry["src"] } else { entry };
        Some(format!("{}/{}", text(&of["app"])?, text(&of["stream"])?))
    };
    entries.iter().filter_map(name).collect()
}

/// Returns the value at a path such as `data.state` or `data.0.app`.
fn at_path<'a>(body: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(body, |value, part| match part.parse::<usize>() {
        Ok(index) if value.is_array() => &value[index],
        Ok(_) | Err(_) => &value[part],
    })
}
