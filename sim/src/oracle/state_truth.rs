//! What is told is so (I3): streaming means that frames arrive, read by a codec of our own at the proxy's socket;
//! anything else names its next attempt or its final reason; calls say what events say.

use std::collections::BTreeSet;

use proxy_core::{
    io::{EventKind, PullState},
    time::{Duration, Instant},
};
use proxyd::log::words;
use serde_json::Value;

use super::{CALLS, CallNow, EVENT, Findings, Kinds, Oracle, STEP, Scene, StreamNow, scene::name_of, secs};
use crate::trace::{ActorId, Record, What, words::kebab};

pub(super) const NAME: &str = "state-truth";

/// Compares what is told with what arrives.
#[derive(Debug, Default)]
pub(super) struct StateTruth;

impl Oracle for StateTruth {
    fn kinds(&self) -> Kinds {
        EVENT | STEP | CALLS
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let proxy = record.actor;
        if let What::Answered { body, .. } = &record.what
            && let Some(call) = &scene.answered
            && let Ok(body) = serde_json::from_str::<Value>(body)
        {
            for text in judge(call, &body, scene, record.at) {
                findings.broken(NAME, proxy, text);
            }
        }
        if let What::Event(event) = &record.what
            && let Some(stream) = event.stream.and_then(|id| scene.streams.get(&(proxy, id.0)))
            && let Some(text) = judge_event(&event.kind, stream, record.at)
        {
            findings.broken(NAME, proxy, format!("{}: {text}", name_of(&stream.key)));
        }
    }
}

fn judge_event(kind: &EventKind, stream: &StreamNow, at: Instant) -> Option<String> {
    if let EventKind::PullStepped { state, next: PullState::Streaming, .. } = kind
        && *state != PullState::Streaming
        && stream.arrived_at != Some(at)
    {
        let last = match stream.arrived_at {
            Some(last) => format!("the last frame arrived {} before", secs(at.since(last))),
            None => "no frame has arrived at its socket".to_owned(),
        };
        return Some(format!("streaming was told, and {last}"));
    }
    let EventKind::PullEntered { state: PullState::BackingOff, failure, next_attempt, .. } = kind else {
        return None;
    };
    match (failure, next_attempt) {
        (None, _) => Some("it backs off and no reason is told".to_owned()),
        (Some(_), None) => Some("it backs off and no next attempt is told".to_owned()),
        (Some(_), Some(next)) if *next < at => {
            Some(format!("its next attempt is told for {next}, which is over at {at}"))
        }
        (Some(_), Some(_)) => None,
    }
}

/// Judges an answer by the states events told and the frames that arrived.
fn judge(call: &CallNow, body: &Value, scene: &Scene, at: Instant) -> Vec<String> {
    let proxy = call.proxy;
    let name = call.call.name.as_str();
    let key = scene.key_of_call(&call.call);
    let stream =
        key.as_ref().and_then(|key| scene.streams.get(&(proxy, *scene.keys.get(&(proxy, key.clone()))?)));
    let shown = key.as_ref().map(name_of).unwrap_or_default();
    let is_ours = arg(call, "schema").is_none_or(|schema| schema == "rtmp");
    let online = is_ours && stream.is_some_and(|stream| stream.state == PullState::Streaming);
    let code = body["code"].as_i64().unwrap_or_default();
    let mut texts = Vec::new();
    let is_vague = |stream: &StreamNow| scene.is_vague(stream.entered_at, at);
    if stream.is_some_and(is_vague) || stream.is_none() && scene.is_outside {
        // It answered before or after that became so; a key that is free now may have been taken then.
        return texts;
    }
    let mut disagrees = |what: String| {
        let state = stream.map_or("not registered".to_owned(), |stream| kebab(&stream.state));
        texts.push(format!("{name} told {shown} {what}, and its state is {state}"));
    };
    if name == "isMediaOnline" && key.is_some() && (body["online"] == true) != online {
        disagrees(format!("online: {}", body["online"]));
    }
    if name == "getMediaInfo" && key.is_some() && (code == 0) != online {
        disagrees(format!("code {code}"));
    }
    if matches!(name, "getProxyInfo" | "addStreamProxy")
        && let (Some(stream), Some(told)) = (stream, body["data"]["state"].as_str())
        && told != words::state(stream.state)
        // Tells what became of an attempt that removed another stream of this key.
        && told != "removed"
    {
        disagrees(format!("state {told:?}"));
    }
    if matches!(name, "isMediaOnline" | "getMediaInfo")
        && online
        && let Some(stream) = stream
    {
        texts.extend(stale(stream, scene.grain, at));
    }
    if name == "getProxyInfo"
        && code == 0
        && let Some(stream) = stream
    {
        texts.extend(judge_proxy(stream, &body["data"], at, scene));
    }
    if name == "listStreamProxy" {
        for entry in entries(body) {
            let key = entry["key"].as_str().and_then(|key| proxy_core::url::StreamKey::parse(key).ok());
            let id = key.and_then(|key| scene.keys.get(&(proxy, key)).copied());
            if let Some(stream) = id.and_then(|id| scene.streams.get(&(proxy, id)))
                && !is_vague(stream)
            {
                texts.extend(judge_proxy(stream, entry, at, scene));
            }
        }
    }
    if name == "getMediaList" {
        texts.extend(judge_list(call, body, scene, proxy, at));
    }
    texts
}

/// Judges what a list of pulls tells of one.
fn judge_proxy(stream: &StreamNow, told: &Value, at: Instant, scene: &Scene) -> Vec<String> {
    let name = name_of(&stream.key);
    let mut texts = Vec::new();
    let state = words::state(stream.state);
    if told["state"] != state {
        texts.push(format!("{name} is told {}, and its state is {state}", told["state"]));
    }
    let is_up = stream.state == PullState::Streaming;
    if (told["status"] == 0) != is_up {
        texts.push(format!("{name} is told status {}, and its state is {state}", told["status"]));
    }
    if let (PullState::BackingOff, Some(next)) = (stream.state, stream.next_attempt) {
        let wait = u64::try_from(next.since(at).as_millis()).unwrap_or(u64::MAX);
        // From outside it is not known when exactly it was told.
        let is_near = told["next_attempt_ms"]
            .as_u64()
            .is_some_and(|told| scene.is_outside && told.abs_diff(wait) < 250);
        if told["next_attempt_ms"] != wait && !is_near {
            texts.push(format!(
                "{name} is told next_attempt_ms {}, and its next attempt begins in {wait} ms",
                told["next_attempt_ms"]
            ));
        }
        if told["last_error"].as_str().is_none_or(str::is_empty) {
            texts.push(format!("{name} backs off and last_error does not say why"));
        }
    }
    if is_up {
        texts.extend(stale(stream, scene.grain, at));
    }
    texts
}

/// A list holds exactly what streams, of what it was narrowed to.
fn judge_list(call: &CallNow, body: &Value, scene: &Scene, proxy: ActorId, at: Instant) -> Vec<String> {
    let fits = |name: &str, is: &str| arg(call, name).is_none_or(|wanted| wanted == is);
    let mut texts = Vec::new();
    let mut online = BTreeSet::new();
    for ((_, _), stream) in scene.streams.range((proxy, 0)..=(proxy, u64::MAX)) {
        if scene.is_vague(stream.entered_at, at) {
            return Vec::new();
        }
        if stream.state == PullState::Streaming
            && fits("schema", "rtmp")
            && fits("app", &stream.key.app)
            && fits("stream", &stream.key.stream)
        {
            texts.extend(stale(stream, scene.grain, at));
            online.insert(name_of(&stream.key));
        }
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed: BTreeSet<String> = entries(body)
        .iter()
        .map(|entry| format!("{}/{}", text(&entry["app"]), text(&entry["stream"])))
        .collect();
    let missing: Vec<&String> = online.difference(&listed).collect();
    let surplus: Vec<&String> = listed.difference(&online).collect();
    if !missing.is_empty() || !surplus.is_empty() {
        texts.push(format!(
            "getMediaList told {} streams, {} are streaming: missing {missing:?}, surplus {surplus:?}",
            listed.len(),
            online.len()
        ));
    }
    texts
}

/// A stream that is told to stream, and whose frames have stopped arriving.
fn stale(stream: &StreamNow, grain: Duration, at: Instant) -> Option<String> {
    let silence = at.since(stream.arrived_at.unwrap_or(stream.entered_at));
    (silence > stream.policy.stall + grain).then(|| {
        format!(
            "{} is told to stream, and no frame has arrived for {}: at most {} was promised",
            name_of(&stream.key),
            secs(silence),
            secs(stream.policy.stall)
        )
    })
}

fn entries(body: &Value) -> &[Value] {
    body["data"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn arg<'a>(call: &'a CallNow, name: &str) -> Option<&'a str> {
    call.call.args.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{Hangup, PullEventKind as E, PullFailure, PullState as S};

    use super::*;
    use crate::oracle::story::Story;

    const PARTS: [(&str, &str); 3] = [("schema", "rtmp"), ("app", "live"), ("stream", "a")];
    const KEY: [(&str, &str); 1] = [("key", "__defaultVhost__/live/a")];

    /// A stream streams, or backs off until 1 s; 100 ms later a call is answered.
    fn check(state: S, call: &str, args: &[(&str, &str)], body: &str) -> Vec<String> {
        Story::told::<StateTruth>(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            if state == S::BackingOff {
                story.loses(1, 2, 1, Instant::from_millis(1000));
            }
            let call = story.at(100).asks(call, None, args, false);
            story.answers(call, body);
        })
    }

    #[test]
    fn true_answers_are_fine() {
        let list = r#"{"code":0,"data":[{"app":"live","stream":"a"}]}"#;
        let info =
            r#"{"code":0,"data":{"state":"backing_off","status":1,"next_attempt_ms":900,"last_error":"x"}}"#;
        for (state, call, args, body) in [
            (S::Streaming, "isMediaOnline", &PARTS[..], r#"{"online":true}"#),
            (S::BackingOff, "isMediaOnline", &PARTS, r#"{"online":false}"#),
            (S::Streaming, "getMediaList", &[], list),
            (S::Streaming, "getMediaList", &[("app", "x")], r#"{"code":0}"#),
            (S::BackingOff, "getMediaList", &[], r#"{"code":0}"#),
            (S::Streaming, "getMediaInfo", &PARTS, r#"{"code":0}"#),
            (S::BackingOff, "getMediaInfo", &PARTS, r#"{"code":-500}"#),
            (S::Streaming, "getProxyInfo", &KEY, r#"{"code":0,"data":{"state":"streaming","status":0}}"#),
            (S::BackingOff, "getProxyInfo", &KEY, info),
        ] {
            assert_eq!(check(state, call, args, body), [""; 0], "{call} {state:?}");
        }
    }

    #[test]
    fn false_answers_are_found() {
        let list = r#"{"code":0,"data":[{"app":"live","stream":"a"}]}"#;
        let late =
            r#"{"code":0,"data":{"state":"backing_off","status":1,"next_attempt_ms":500,"last_error":"x"}}"#;
        let silent = r#"{"code":0,"data":{"state":"backing_off","status":1,"next_attempt_ms":900}}"#;
        for (state, call, args, body) in [
            (S::Streaming, "isMediaOnline", &PARTS[..], r#"{"online":false}"#),
            (S::BackingOff, "isMediaOnline", &PARTS, r#"{"online":true}"#),
            (S::Streaming, "getMediaList", &[], r#"{"code":0}"#),
            (S::BackingOff, "getMediaList", &[], list),
            (S::Streaming, "getMediaInfo", &PARTS, r#"{"code":-500}"#),
            (S::BackingOff, "getMediaInfo", &PARTS, r#"{"code":0}"#),
            (S::BackingOff, "getProxyInfo", &KEY, late),
            (S::BackingOff, "getProxyInfo", &KEY, silent),
        ] {
            assert_eq!(check(state, call, args, body).len(), 1, "{call} {state:?}");
        }
    }

    #[test]
    fn telling_streaming_without_a_frame_is_found() {
        let texts = Story::told::<StateTruth>(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            story.step(1, S::Streaming, E::Deadline, S::Replaying);
            story.step(1, S::Replaying, E::Playing, S::AwaitingMedia);
            story.at(700).step(1, S::AwaitingMedia, E::Frame, S::Streaming);
        });
        assert_eq!(
            texts,
            ["state-truth: live/a: streaming was told, and the last frame arrived 0.700 s before"]
        );
    }

    #[test]
    fn online_without_frames_is_found() {
        let texts = Story::told::<StateTruth>(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            let call = story.at(5001).asks("isMediaOnline", None, &PARTS, false);
            story.answers(call, r#"{"online":true}"#);
        });
        assert_eq!(
            texts,
            [
                "state-truth: live/a is told to stream, and no frame has arrived for 5.001 s: at most 5.000 s was promised"
            ]
        );
    }

    #[test]
    fn backing_off_names_reason_and_next_attempt() {
        let check = |failure: Option<PullFailure>, next: Option<u64>| {
            Story::told::<StateTruth>(|story| {
                story.register(1, "live/a");
                story.at(500).enters(1, S::BackingOff, failure, 1, next.map(Instant::from_millis));
            })
        };
        let failure = Some(PullFailure::Lost(Hangup::Eof));
        assert_eq!(check(failure.clone(), Some(500)), [""; 0]);
        assert_eq!(check(failure.clone(), Some(499)).len(), 1);
        assert_eq!(check(failure, None).len(), 1);
        assert_eq!(check(None, Some(900)).len(), 1);
    }
}
