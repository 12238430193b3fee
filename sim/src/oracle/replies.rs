//! Every request and every call is answered exactly once, within its bound.

use std::collections::BTreeMap;

use proxy_core::{
    io::PullOptions,
    time::{Duration, Instant},
};

use super::{
    CALLS, CallNow, Findings, IN, Kinds, OUT, Oracle, Scene, TIME, alarms::Alarms, bounds::Policy, secs,
};
use crate::trace::{ActorId, Inward, Outward, Record, What};

pub(super) const NAME: &str = "replies";

/// Waits for answers.
#[derive(Debug, Default)]
pub(super) struct Replies {
    due: Alarms<Asked>,
    asked: BTreeMap<Asked, (Instant, Duration)>,
}

/// What is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    /// A call of the API at a proxy.
    Call(ActorId, u32),
    /// A request to the core of a proxy.
    Request(ActorId, u64),
}

impl Asked {
    const fn proxy(self) -> ActorId {
        match self {
            Self::Call(proxy, _) | Self::Request(proxy, _) => proxy,
        }
    }
}

impl Oracle for Replies {
    fn kinds(&self) -> Kinds {
        CALLS | IN | OUT | TIME
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let (proxy, at) = (record.actor, record.at);
        if let What::Asked(call) = &record.what
            && let Some(now) = scene.calls.get(&call.call)
        {
            self.wait(Asked::Call(proxy, call.call), at, bound_of(now, scene));
        } else if let What::Answered { call, .. } = &record.what {
            let name = scene.answered.as_ref().map_or("a call", |call| &call.call.name);
            self.answered(Asked::Call(proxy, *call), &format!("{name} (call {call})"), record, findings);
        } else if let What::In(Inward::Request { id }) = &record.what {
            let call = scene.requests.get(&(proxy, *id)).and_then(|request| request.call);
            let bound = match call.and_then(|call| scene.calls.get(&call)) {
                Some(call) => bound_of(call, scene),
                // A stream of the configuration, or the end of the process.
                None => {
                    let config = scene.config(proxy);
                    config.pull.reply_timeout.max(config.play.linger_timeout)
                }
            };
            self.wait(Asked::Request(proxy, *id), at, bound);
        } else if let What::Out(Outward::Reply { id }) = &record.what {
            self.answered(Asked::Request(proxy, *id), &format!("request {id}"), record, findings);
        }
    }

    fn on_time(&mut self, scene: &Scene, now: Instant, findings: &mut Findings) {
        while let Some((at, asked)) = self.due.poll(now) {
            let proxy = asked.proxy();
            // A frozen process answers when it runs again.
            let due = scene.due(proxy, at);
            if !scene.is_running(proxy) || due >= now {
                self.due.set(asked, due.max(now));
                continue;
            }
            let Some((since, bound)) = self.asked.remove(&asked) else { continue };
            let what = match asked {
                Asked::Call(_, call) => match scene.calls.get(&call) {
                    Some(now) => format!("{} (call {call})", now.call.name),
                    None => format!("call {call}"),
                },
                Asked::Request(_, id) => format!("request {id} to the core"),
            };
            let text = format!(
                "{what} of {since} has no answer after {}: one within {} was promised",
                secs(now.since(since)),
                secs(bound)
            );
            findings.broken(NAME, proxy, text);
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.due.retain(|asked| asked.proxy() != proxy);
        self.asked.retain(|asked, _| asked.proxy() != proxy);
    }
}

impl Replies {
    fn wait(&mut self, asked: Asked, at: Instant, bound: Duration) {
        self.asked.insert(asked, (at, bound));
        self.due.set(asked, at + bound);
    }

    fn answered(&mut self, asked: Asked, what: &str, record: &Record, findings: &mut Findings) {
        self.due.clear(&asked);
        match self.asked.remove(&asked) {
            Some((since, bound)) if !bound.is_zero() => {
                findings.measure("reply to addStreamProxy", record.at.since(since), bound);
            }
            Some(_) => {}
            None => {
                let text = format!(
                    "{what} was answered once more, or without having been asked: 1 answer was promised"
                );
                findings.broken(NAME, record.actor, text);
            }
        }
    }
}

/// Returns how long the answer to a call may take: an add waits for its attempt, all else is answered at once.
fn bound_of(call: &CallNow, scene: &Scene) -> Duration {
    if call.call.name != "addStreamProxy" {
        return Duration::ZERO;
    }
    let mut options = PullOptions::default();
    for (name, value) in &call.call.args {
        // What is refused is answered at once, which is within any bound.
        let _ = proxyd::config::set_option(&mut options, name, value);
    }
    Policy::of(&options, &scene.config(call.proxy).pull).reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        oracle::story::{PROXY_HOST, Story, fault, scenario},
        scenario::model::{Fault, Scenario},
    };

    fn check(tell: impl FnOnce(&mut Story)) -> Vec<String> {
        let events = vec![fault(9, PROXY_HOST, Fault::Freeze)];
        Story::told_to(&Scenario { events, ..scenario() }, Box::<Replies>::default(), tell)
    }

    #[test]
    fn answers_in_time_are_fine() {
        let texts = check(|story| {
            let list = story.asks("getMediaList", None, &[], false);
            story.answers(list, "{}");
            let add = story.asks("addStreamProxy", Some("live/a"), &[("timeout_sec", "2")], true);
            story.at(2000).replies();
            story.answers(add, "{}");
            story.at(3000).timeout();
        });
        assert_eq!(texts, [""; 0]);
    }

    #[test]
    fn late_answers_are_found() {
        let texts = check(|story| {
            story.asks("addStreamProxy", Some("live/a"), &[("timeout_sec", "2")], true);
            story.at(2001).timeout();
        });
        assert_eq!(
            texts,
            [
                "replies: addStreamProxy (call 0) of 0.000000s has no answer after 2.001 s: one within 2.000 s was promised",
                "replies: request 1 to the core of 0.000000s has no answer after 2.001 s: one within 2.000 s was promised",
            ]
        );
    }

    #[test]
    fn a_getter_that_is_not_answered_at_once_is_found() {
        let texts = check(|story| {
            story.asks("getMediaList", None, &[], false);
            story.at(1).timeout();
        });
        assert_eq!(texts.len(), 1);
    }

    #[test]
    fn a_second_answer_is_found() {
        let texts = check(|story| {
            let del = story.asks("delStreamProxy", None, &[], true);
            story.replies();
            story.replies();
            story.answers(del, "{}");
            story.answers(del, "{}");
        });
        assert_eq!(texts.len(), 2);
        assert!(texts[0].contains("request 1 was answered once more"), "{texts:?}");
    }

    #[test]
    fn a_frozen_process_answers_when_it_runs_again() {
        let frozen = |answers: bool| {
            check(|story| {
                let add = story.asks("addStreamProxy", Some("live/a"), &[("timeout_sec", "2")], true);
                story.at(1000).begins(0);
                story.at(5000).lifts(0);
                if answers {
                    story.replies();
                    story.answers(add, "{}");
                }
                story.at(5001).timeout();
            })
        };
        assert_eq!(frozen(true), [""; 0]);
        assert_eq!(frozen(false).len(), 2);
    }
}
