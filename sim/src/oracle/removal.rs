//! A stream is removed for the reason that is told, and for no other (I4, I15).
//!
//! ```text
//!  Unregistered { reason } ◄── the call that asked for it, the failure, the delay or the url that makes it so
//! ```
//! Operators and their scripts act on the reason: one that says `RetriesUsedUp` of what somebody deleted sends them
//! after a camera that is well.

use std::collections::BTreeMap;

use proxy_core::{
    io::{EventKind, PullEventKind, PullState, StreamEnd},
    time::{Duration, Instant},
    url::StreamKey,
};

use super::{
    EVENT, Entered, Findings, Kinds, Oracle, STEP, Scene, StreamNow,
    scene::{CallNow, name_of},
    secs,
};
use crate::trace::{ActorId, Call, Inward, Record, What};

pub(super) const NAME: &str = "removal";

/// Compares reasons with what happened.
#[derive(Debug, Default)]
pub(super) struct Removal {
    streams: BTreeMap<(ActorId, u64), Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// The input in whose breath an attempt failed last.
    failed: Option<u64>,
    /// An origin has sent the pull elsewhere.
    redirected: bool,
    /// What was so when it stopped.
    end: Option<AtStop>,
}

/// A stream at the moment it stopped.
#[derive(Debug)]
struct AtStop {
    stimulus: PullEventKind,
    registered_at: Instant,
    has_streamed: bool,
    force: bool,
    retries: Option<u32>,
    reply: Duration,
    auto_close: bool,
    unwatched_since: Option<Instant>,
    url: String,
    leads_home: bool,
}

impl Oracle for Removal {
    fn kinds(&self) -> Kinds {
        EVENT | STEP
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let proxy = record.actor;
        let What::Event(event) = &record.what else { return };
        let Some(id) = event.stream.map(|stream| stream.0) else { return };
        if let EventKind::Unregistered { key, reason } = &event.kind {
            let book = self.streams.remove(&(proxy, id)).unwrap_or_default();
            if let Some(why) = book.against(*reason, key, proxy, scene, record.at) {
                let text = format!("{} was removed as {reason:?}, and {why}", name_of(key));
                findings.broken(NAME, proxy, text);
            }
            return;
        }
        let Some(stream) = scene.streams.get(&(proxy, id)) else { return };
        if let EventKind::PullStepped { event: stimulus, next, .. } = &event.kind {
            // Frames and pongs stop nothing.
            if *next != PullState::Stopped && *stimulus != PullEventKind::Redirected {
                return;
            }
            let book = self.streams.entry((proxy, id)).or_default();
            book.redirected |= *stimulus == PullEventKind::Redirected;
            if *next == PullState::Stopped {
                book.end.get_or_insert_with(|| AtStop::of(stream, *stimulus, proxy, scene));
            }
        } else if let EventKind::PullEntered { failure: Some(_), .. } = &event.kind {
            let book = self.streams.entry((proxy, id)).or_default();
            book.failed = scene.inward.map(|inward| inward.step);
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.streams.retain(|(of, _), _| *of != proxy);
    }
}

impl AtStop {
    fn of(stream: &StreamNow, stimulus: PullEventKind, proxy: ActorId, scene: &Scene) -> Self {
        Self {
            stimulus,
            registered_at: stream.registered_at,
            has_streamed: stream.has_streamed,
            force: stream.options.force,
            retries: stream.policy.retries,
            reply: stream.policy.reply,
            auto_close: stream.policy.auto_close,
            unwatched_since: stream.unwatched_since,
            url: stream.url.clone(),
            leads_home: scene
                .host_of(proxy)
                .is_some_and(|home| scene.hosts_of_url(&stream.url).contains(&home)),
        }
    }
}

impl Book {
    /// Returns what speaks against a reason.
    fn against(
        &self,
        reason: StreamEnd,
        key: &StreamKey,
        proxy: ActorId,
        scene: &Scene,
        at: Instant,
    ) -> Option<String> {
        let asked = |verb: &str| {
            let asks = |call: &CallNow| call.call.name.starts_with(verb) && is_about(&call.call, key);
            (!calls_behind(proxy, scene).any(asks)).then(|| format!("no {verb} of it is under way"))
        };
        let Some(end) = &self.end else { return Some("its pull was not stopped before".to_owned()) };
        let has_failed = self.failed.is_some() && self.failed == scene.inward.map(|inward| inward.step);
        match reason {
            StreamEnd::Deleted => asked("delStreamProxy"),
            StreamEnd::Closed => asked("close_stream"),
            StreamEnd::FirstAttemptFailed => {
                let waited = at.since(end.registered_at);
                if end.force {
                    Some("it was added with force".to_owned())
                } else if end.has_streamed {
                    Some("it has streamed: its first add had succeeded".to_owned())
                } else if !has_failed && waited < end.reply {
                    Some(format!(
                        "no attempt of it has failed, nor is its caller's patience over: {} of {}",
                        secs(waited),
                        secs(end.reply)
                    ))
                } else {
                    None
                }
            }
            StreamEnd::RetriesUsedUp => {
                // An operator may have set one in the very step that found them used up.
                if end.retries.is_none() && !scene.may_be_asked(proxy) {
                    Some("its retry_count has no end".to_owned())
                } else if end.stimulus == PullEventKind::Stop || !has_failed {
                    Some(format!("no attempt of it has failed: {:?} stopped it", end.stimulus))
                } else {
                    None
                }
            }
            StreamEnd::NoneReader => {
                let delay = scene.config(proxy).play.none_reader_delay;
                match end.unwatched_since {
                    // An operator may have set it in the very step that removes what nobody watches any more.
                    Some(_) if !end.auto_close && !scene.may_be_asked(proxy) => {
                        Some("auto_close is off".to_owned())
                    }
                    Some(since) if since + delay > at => Some(format!(
                        "nobody has watched it for {} only: {} were promised",
                        secs(at.since(since)),
                        secs(delay)
                    )),
                    Some(_) => None,
                    None => Some("somebody watches it".to_owned()),
                }
            }
            // Who was sent elsewhere, or whose names are a fault's, may have come to itself in another way.
            StreamEnd::Loop if end.leads_home || self.redirected || scene.lies_about_names() => None,
            StreamEnd::Loop => Some(format!("its url {} does not lead to the proxy itself", end.url)),
            StreamEnd::Shutdown => Some("the process goes on".to_owned()),
        }
    }
}

/// Returns the calls that what a core does now may be an answer to: the one whose request entered it last. Where the
/// request does not tell whose it is, as behind a daemon's HTTP server, it may be any under way.
fn calls_behind(proxy: ActorId, scene: &Scene) -> impl Iterator<Item = &CallNow> {
    let request = match scene.inward {
        Some(Entered { proxy: of, what: Inward::Request { id }, .. }) if of == proxy => {
            scene.requests.get(&(proxy, id))
        }
        Some(_) | None => None,
    };
    let is_behind =
        move |number: u32| request.is_some_and(|request| request.call.is_none_or(|call| call == number));
    scene
        .calls
        .iter()
        .filter(move |(number, call)| call.proxy == proxy && is_behind(**number))
        .map(|(_, call)| call)
}

/// Returns whether a call is about a key; one that names less is about all that fit.
fn is_about(call: &Call, key: &StreamKey) -> bool {
    if let Some(name) = &call.stream {
        return *name == name_of(key);
    }
    let arg = |name: &str| call.args.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if let Some(text) = arg("key") {
        return StreamKey::parse(text).is_ok_and(|asked| asked == *key);
    }
    arg("app").is_none_or(|app| app == key.app) && arg("stream").is_none_or(|stream| stream == key.stream)
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{ConnectError, PullFailure};

    use super::*;
    use crate::oracle::story::{Story, dial};

    fn check(tell: impl FnOnce(&mut Story)) -> Vec<String> {
        Story::told::<Removal>(tell)
    }

    /// A stream that streams.
    fn streams(story: &mut Story, options: &[(&str, &str)]) {
        story.register_with(1, "live/a", options);
        story.replies();
        story.dials(1, 2);
        story.streams(1, 2);
    }

    fn stops(story: &mut Story, reason: StreamEnd) {
        story.out(dial::close(2));
        story.step(1, PullState::Streaming, PullEventKind::Stop, PullState::Stopped);
        story.removes(1, "live/a", reason);
    }

    /// A call about a stream, and the reason it is removed with.
    fn asks(name: &str, stream: &str, reason: StreamEnd) -> Vec<String> {
        check(|story| {
            streams(story, &[]);
            story.at(5_000).asks(name, Some(stream), &[], true);
            stops(story, reason);
        })
    }

    #[test]
    fn what_is_deleted_is_told_as_deleted() {
        assert_eq!(asks("delStreamProxy", "live/a", StreamEnd::Deleted), [""; 0]);
        assert_eq!(asks("close_streams", "live/a", StreamEnd::Closed), [""; 0]);
        assert_eq!(
            asks("delStreamProxy", "live/a", StreamEnd::Closed),
            ["removal: live/a was removed as Closed, and no close_stream of it is under way"]
        );
        assert_eq!(asks("close_streams", "live/a", StreamEnd::Deleted).len(), 1);
        assert_eq!(asks("delStreamProxy", "live/b", StreamEnd::Deleted).len(), 1);
        assert_eq!(
            asks("delStreamProxy", "live/a", StreamEnd::Shutdown),
            ["removal: live/a was removed as Shutdown, and the process goes on"]
        );
    }

    #[test]
    fn it_is_the_call_that_entered_last_that_removes() {
        let findings = check(|story| {
            streams(story, &[]);
            story.at(5_000).asks("delStreamProxy", Some("live/a"), &[], true);
            story.asks("close_streams", Some("live/b"), &[], true);
            stops(story, StreamEnd::Deleted);
        });
        assert_eq!(
            findings,
            ["removal: live/a was removed as Deleted, and no delStreamProxy of it is under way"]
        );
    }

    /// The first attempt of an add fails, or is still under way when it is removed.
    fn first(force: &str, fails: bool, reason: StreamEnd) -> Vec<String> {
        check(|story| {
            story.register_with(1, "live/a", &[("force", force), ("retry_count", "3")]);
            story.dials(1, 2);
            story.at(300).input(Inward::Connected { conn: 2, failed: Some(ConnectError::Refused) });
            if fails {
                story.fails(1, 1);
            }
            story.step(1, PullState::BackingOff, PullEventKind::Stop, PullState::Stopped);
            story.removes(1, "live/a", reason);
        })
    }

    #[test]
    fn a_first_attempt_that_failed_has_failed() {
        assert_eq!(first("0", true, StreamEnd::FirstAttemptFailed), [""; 0]);
        assert_eq!(
            first("1", true, StreamEnd::FirstAttemptFailed),
            ["removal: live/a was removed as FirstAttemptFailed, and it was added with force"]
        );
        assert!(first("0", false, StreamEnd::FirstAttemptFailed)[0].contains("no attempt of it has failed"));
    }

    /// The last attempt of a stream with such a `retry_count` fails, and it is given up; or it is stopped.
    fn gives_up(retry_count: &str, fails: bool) -> Vec<String> {
        check(|story| {
            streams(story, &[("retry_count", retry_count)]);
            story.at(5_000).loses(1, 2, 1, Instant::from_millis(7_000));
            story.at(7_000).dials(1, 3);
            story.at(7_100).input(Inward::Connected { conn: 3, failed: Some(ConnectError::Refused) });
            if fails {
                let failure = PullFailure::Connect(ConnectError::Refused);
                let (state, event, next) =
                    (PullState::Connecting, PullEventKind::ConnectFailed, PullState::Stopped);
                story.event(1, EventKind::PullStepped { state, event, next });
                story.enters(1, PullState::Stopped, Some(failure), 2, None);
            }
            story.step(1, PullState::Stopped, PullEventKind::Stop, PullState::Stopped);
            story.removes(1, "live/a", StreamEnd::RetriesUsedUp);
        })
    }

    #[test]
    fn retries_are_used_up_by_failures_where_there_is_a_count() {
        assert_eq!(gives_up("1", true), [""; 0]);
        assert_eq!(
            gives_up("-1", true),
            ["removal: live/a was removed as RetriesUsedUp, and its retry_count has no end"]
        );
        assert_eq!(
            gives_up("1", false),
            [
                "removal: live/a was removed as RetriesUsedUp, and no attempt of it has failed: Stop stopped it"
            ]
        );
    }

    /// Nobody watches; at a time the stream is removed.
    fn unwatched(auto_close: &str, ms: u64, watched: bool) -> Vec<String> {
        check(|story| {
            streams(story, &[("auto_close", auto_close)]);
            if watched {
                story.at(1_000).player(0, proxy_core::io::PlayOutput::Rtmp, "live/a", 5);
                story.seats(1, 5);
            }
            story.at(ms).timeout();
            stops(story, StreamEnd::NoneReader);
        })
    }

    #[test]
    fn what_nobody_watches_is_removed_after_its_delay_where_that_is_wanted() {
        assert_eq!(unwatched("1", 20_000, false), [""; 0]);
        assert!(unwatched("1", 19_000, false)[0].contains("for 19.000 s only"));
        assert!(unwatched("0", 20_000, false)[0].contains("auto_close is off"));
        assert!(unwatched("1", 20_000, true)[0].contains("somebody watches it"));
    }

    #[test]
    fn a_loop_leads_home() {
        let loops = |url: &str| {
            check(|story| {
                story.asks("addStreamProxy", Some("live/a"), &[("url", url), ("force", "1")], true);
                let key = crate::oracle::scene::key_named("live/a").expect("a name");
                story.event(1, EventKind::Registered { key });
                story.step(1, PullState::Resolving, PullEventKind::Resolved, PullState::Stopped);
                story.removes(1, "live/a", StreamEnd::Loop);
            })
        };
        assert_eq!(loops("rtmp://proxy/live/a"), [""; 0]);
        assert_eq!(
            loops("rtmp://srs/live/a"),
            [
                "removal: live/a was removed as Loop, and its url rtmp://srs/live/a does not lead to the proxy itself"
            ]
        );
    }
}
