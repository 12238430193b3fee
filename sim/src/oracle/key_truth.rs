//! A key is taken exactly while its stream can be listed, inspected and deleted (I4).

use std::collections::{BTreeMap, BTreeSet};

use proxy_core::{
    io::{EventKind, PullState},
    url::StreamKey,
};
use serde_json::Value;

use super::{CALLS, EVENT, Findings, IN, Kinds, Oracle, SAMPLE, Scene, scene::name_of};
use crate::trace::{ActorId, Record, What, words::kebab};

pub(super) const NAME: &str = "key-truth";

/// Compares what calls say of a key with what events told.
#[derive(Debug, Default)]
pub(super) struct KeyTruth {
    registered: BTreeMap<ActorId, BTreeMap<StreamKey, u64>>,
    /// Keys told to be free again, with the stream each was: its end is told in the same breath, after the reply.
    freed: Vec<(ActorId, StreamKey, u64)>,
}

impl Oracle for KeyTruth {
    fn kinds(&self) -> Kinds {
        EVENT | CALLS | SAMPLE | IN
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let proxy = record.actor;
        if let What::In(_) = &record.what {
            self.judge_freed(findings);
        }
        if let What::Event(event) = &record.what
            && let Some(id) = event.stream.map(|stream| stream.0)
            && let Some(text) = self.on_event(proxy, id, &event.kind)
        {
            findings.broken(NAME, proxy, text);
        }
        if let What::Sample(sample) = &record.what {
            let known = self.registered.get(&proxy).map_or(0, BTreeMap::len);
            if sample.core.streams != known {
                let text = format!(
                    "the core counts {} streams, its events registered {known} that are not removed",
                    sample.core.streams
                );
                findings.broken(NAME, proxy, text);
            }
        }
        if let What::Answered { body, .. } = &record.what {
            let Some(call) = &scene.answered else { return };
            let Ok(body) = serde_json::from_str::<Value>(body) else {
                findings.broken(NAME, proxy, format!("{} was answered by no JSON: {body}", call.call.name));
                return;
            };
            let key = scene.key_of_call(&call.call);
            let answer = Answer { name: &call.call.name, body: &body, key: key.as_ref(), was: call.was };
            let is_vague = scene.is_outside && key.as_ref().is_some_and(|key| scene.is_contested(proxy, key));
            let texts = if is_vague { Vec::new() } else { self.judge(proxy, &answer) };
            if body["data"]["state"] == "removed" && call.was.is_none() {
                let id = key.as_ref().and_then(|key| self.registered.get(&proxy)?.get(key).copied());
                self.freed.extend(key.zip(id).map(|(key, id)| (proxy, key, id)));
            }
            for text in texts {
                findings.broken(NAME, proxy, text);
            }
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.registered.remove(&proxy);
        self.freed.retain(|(of, _, _)| *of != proxy);
    }
}

/// A call's answer, and what is known of the key it is about.
struct Answer<'a> {
    name: &'a str,
    body: &'a Value,
    key: Option<&'a StreamKey>,
    /// The state of the key's stream when the call was made; `None` if the key was free.
    was: Option<PullState>,
}

impl KeyTruth {
    fn on_event(&mut self, proxy: ActorId, id: u64, kind: &EventKind) -> Option<String> {
        let registered = self.registered.entry(proxy).or_default();
        if let EventKind::Registered { key } = kind {
            let other = registered.insert(key.clone(), id)?;
            return Some(format!(
                "{} was registered as stream {id} while it was stream {other}: 2 streams under a key, 1 promised",
                name_of(key)
            ));
        }
        let EventKind::Unregistered { key, .. } = kind else { return None };
        match registered.remove(key) {
            Some(was) if was == id => None,
            Some(was) => Some(format!(
                "{} is stream {was}, and the end of stream {id} has freed its key",
                name_of(key)
            )),
            None => Some(format!("{} was removed and was not registered", name_of(key))),
        }
    }

    /// A new breath: what was told to be free again must be.
    fn judge_freed(&mut self, findings: &mut Findings) {
        for (proxy, key, id) in std::mem::take(&mut self.freed) {
            if self.registered.get(&proxy).and_then(|keys| keys.get(&key)) == Some(&id) {
                let text = format!(
                    "addStreamProxy of {} was told that it was removed again, and it is registered as stream {id}",
                    name_of(&key)
                );
                findings.broken(NAME, proxy, text);
            }
        }
    }

    /// Judges an answer; getters are answered as things stand, the others have done what they say.
    fn judge(&self, proxy: ActorId, answer: &Answer<'_>) -> Vec<String> {
        let keys = self.registered.get(&proxy);
        let Answer { name, body, key, was } = answer;
        let code = body["code"].as_i64().unwrap_or_default();
        let is_there = key.is_some_and(|key| keys.is_some_and(|keys| keys.contains_key(key)));
        let shown = key.map(name_of).unwrap_or_default();
        let told = |what: &str| format!("{name} of {shown} was told {what}");
        let word = |is: bool| if is { "registered" } else { "not registered" };
        let mut texts = Vec::new();
        match *name {
            "addStreamProxy"
                if body["msg"] == "This stream already exists"
                    && (*was != Some(PullState::Streaming) || !is_there) =>
            {
                let was = was.map_or("not registered".to_owned(), |state| kebab(&state));
                texts.push(format!(
                    "{}, and it was {was}: a key is refused as taken only while it streams",
                    told("that it already exists")
                ));
            }
            "addStreamProxy" if code == 0 && !is_there => {
                texts.push(format!("{}, and it is not registered", told("that it is there")));
            }
            "getProxyInfo" if key.is_some() && (code == 0) != is_there => {
                texts.push(format!("{}, and it is {}", told(&format!("code {code}")), word(is_there)));
            }
            "updateStreamProxy" if key.is_some() && (code == -500) == was.is_some() => {
                texts.push(format!("{}, and it was {}", told(&format!("code {code}")), word(was.is_some())));
            }
            "delStreamProxy" if key.is_some() => {
                let flag = body["data"]["flag"] == true;
                if flag != was.is_some() {
                    texts.push(format!(
                        "{}, and it was {}",
                        told(&format!("flag {flag}")),
                        word(was.is_some())
                    ));
                }
                if is_there {
                    texts.push(format!("{}, and it is registered still", told(&format!("flag {flag}"))));
                }
            }
            "close_streams" if key.is_some() => {
                let count = |name: &str| body[name].as_u64().unwrap_or_default();
                let (hit, closed) = (count("count_hit"), count("count_closed"));
                if hit != u64::from(was.is_some()) {
                    texts.push(format!(
                        "{}, and it was {}",
                        told(&format!("{hit} hits")),
                        word(was.is_some())
                    ));
                }
                if (closed > 0) == is_there && was.is_some() {
                    texts.push(format!(
                        "{}, and it is {}",
                        told(&format!("{closed} closed")),
                        word(is_there)
                    ));
                }
                if closed == 0
                    && let Some(was) = was
                    && *was != PullState::Streaming
                {
                    texts.push(format!("{} while it was {}", told("0 closed"), kebab(was)));
                }
            }
            "listStreamProxy" if key.is_some() && (code == 0) != is_there => {
                texts.push(format!("{}, and it is {}", told(&format!("code {code}")), word(is_there)));
            }
            "listStreamProxy" if key.is_none() => {
                let listed = body["data"].as_array().map(Vec::as_slice).unwrap_or_default();
                let listed: BTreeSet<String> =
                    listed.iter().filter_map(|entry| entry["key"].as_str().map(str::to_owned)).collect();
                let known: BTreeSet<String> =
                    keys.into_iter().flat_map(BTreeMap::keys).map(ToString::to_string).collect();
                let missing: Vec<&String> = known.difference(&listed).collect();
                let surplus: Vec<&String> = listed.difference(&known).collect();
                if !missing.is_empty() || !surplus.is_empty() {
                    texts.push(format!(
                        "{name} told {} proxies, {} are registered: missing {missing:?}, surplus {surplus:?}",
                        listed.len(),
                        known.len()
                    ));
                }
            }
            _ => {}
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::{
        io::{PullEventKind as E, PullState as S, StreamEnd},
        proxy::Counts,
    };

    use super::*;
    use crate::{
        oracle::story::{PROXY, Story},
        trace::Sample,
    };

    const KEY: &str = "__defaultVhost__/live/a";

    /// A stream is registered (and streams), or is not; a call is answered.
    fn check(state: Option<S>, call: &str, args: &[(&str, &str)], ends: bool, body: &str) -> Vec<String> {
        Story::told::<KeyTruth>(|story| {
            match state {
                Some(S::Streaming) => {
                    story.register(1, "live/a");
                    story.dials(1, 2);
                    story.streams(1, 2);
                }
                Some(_) => {
                    story.register(1, "live/a");
                }
                None => {}
            }
            let call = story.asks(call, None, args, false);
            if ends {
                story.step(1, S::BackingOff, E::Stop, S::Stopped);
                story.removes(1, "live/a", StreamEnd::Deleted);
            }
            story.answers(call, body);
        })
    }

    #[test]
    fn true_answers_are_fine() {
        let key = [("key", KEY)];
        let parts = [("app", "live"), ("stream", "a")];
        let (on, off) = (Some(S::Streaming), Some(S::BackingOff));
        let exists = r#"{"code":-1,"msg":"This stream already exists","data":{"state":"streaming"}}"#;
        for (state, call, args, ends, body) in [
            (on, "addStreamProxy", &parts[..], false, exists),
            (on, "getProxyInfo", &key, false, r#"{"code":0}"#),
            (None, "getProxyInfo", &key, false, r#"{"code":-500}"#),
            (off, "delStreamProxy", &key, true, r#"{"code":0,"data":{"flag":true}}"#),
            (None, "delStreamProxy", &key, false, r#"{"code":0,"data":{"flag":false}}"#),
            (off, "close_streams", &parts, true, r#"{"code":0,"count_hit":1,"count_closed":1}"#),
            (on, "close_streams", &parts, false, r#"{"code":0,"count_hit":1,"count_closed":0}"#),
            (None, "close_streams", &parts, false, r#"{"code":0,"count_hit":0,"count_closed":0}"#),
            (off, "listStreamProxy", &[], false, r#"{"code":0,"data":[{"key":"__defaultVhost__/live/a"}]}"#),
            (None, "listStreamProxy", &[], false, r#"{"code":0}"#),
            (None, "listStreamProxy", &key, false, r#"{"code":-400}"#),
            (off, "updateStreamProxy", &key, false, r#"{"code":0}"#),
            (None, "updateStreamProxy", &key, false, r#"{"code":-500}"#),
        ] {
            assert_eq!(check(state, call, args, ends, body), [""; 0], "{call} {state:?} {body}");
        }
    }

    #[test]
    fn false_answers_are_found() {
        let key = [("key", KEY)];
        let parts = [("app", "live"), ("stream", "a")];
        let (on, off) = (Some(S::Streaming), Some(S::BackingOff));
        let exists = r#"{"code":-1,"msg":"This stream already exists","data":{"state":"streaming"}}"#;
        for (state, call, args, ends, body) in [
            (off, "addStreamProxy", &parts[..], false, exists),
            (None, "addStreamProxy", &parts, false, exists),
            (None, "addStreamProxy", &parts, false, r#"{"code":0,"data":{"state":"connecting"}}"#),
            (on, "getProxyInfo", &key, false, r#"{"code":-500}"#),
            (None, "getProxyInfo", &key, false, r#"{"code":0}"#),
            (off, "delStreamProxy", &key, false, r#"{"code":0,"data":{"flag":true}}"#),
            (off, "delStreamProxy", &key, true, r#"{"code":0,"data":{"flag":false}}"#),
            (off, "close_streams", &parts, false, r#"{"code":0,"count_hit":0,"count_closed":0}"#),
            (off, "close_streams", &parts, false, r#"{"code":0,"count_hit":1,"count_closed":0}"#),
            (on, "close_streams", &parts, false, r#"{"code":0,"count_hit":1,"count_closed":1}"#),
            (off, "listStreamProxy", &[], false, r#"{"code":0}"#),
            (off, "listStreamProxy", &key, false, r#"{"code":-400}"#),
            (off, "updateStreamProxy", &key, false, r#"{"code":-500}"#),
            (on, "getProxyInfo", &key, false, "oops"),
        ] {
            assert!(!check(state, call, args, ends, body).is_empty(), "{call} {state:?} {body}");
        }
    }

    #[test]
    fn texts_name_what_was_told_and_what_is_so() {
        let texts = check(
            Some(S::BackingOff),
            "addStreamProxy",
            &[("app", "live"), ("stream", "a")],
            false,
            r#"{"code":-1,"msg":"This stream already exists"}"#,
        );
        assert_eq!(
            texts,
            [
                "key-truth: addStreamProxy of live/a was told that it already exists, and it was backing-off: a key is \
              refused as taken only while it streams"
            ]
        );
    }

    #[test]
    fn counts_are_what_events_say() {
        let check = |streams| {
            Story::told::<KeyTruth>(|story| {
                story.register(1, "live/a");
                let core = Counts { streams, ..Counts::default() };
                story.record(PROXY, What::Sample(Sample { core, sockets: 0, next: None }));
            })
        };
        assert_eq!(check(1), [""; 0]);
        assert_eq!(
            check(0),
            ["key-truth: the core counts 0 streams, its events registered 1 that are not removed"]
        );
    }

    #[test]
    fn a_key_told_to_be_free_again_is() {
        let check = |is_removed: bool| {
            Story::told::<KeyTruth>(|story| {
                let add = story.register(1, "live/a");
                story.timeout();
                story.answers(add, r#"{"code":-1,"data":{"state":"removed"}}"#);
                if is_removed {
                    story.removes(1, "live/a", StreamEnd::FirstAttemptFailed);
                }
                story.timeout();
            })
        };
        assert_eq!(check(true), [""; 0]);
        assert!(
            check(false)[0].contains("was told that it was removed again, and it is registered as stream 1")
        );
    }

    #[test]
    fn the_end_of_an_old_life_does_not_free_the_key_of_a_newer() {
        let texts = Story::told::<KeyTruth>(|story| {
            story.register(1, "live/a");
            story.register(2, "live/a");
            story.removes(1, "live/a", StreamEnd::Deleted);
        });
        assert_eq!(texts.len(), 2);
        assert!(texts[0].contains("registered as stream 2 while it was stream 1"), "{texts:?}");
        assert!(texts[1].contains("is stream 2, and the end of stream 1"), "{texts:?}");
    }
}
