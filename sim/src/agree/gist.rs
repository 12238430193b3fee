//! What a run was, without what planes are free to differ in.

use std::collections::BTreeMap;

use proxy_core::{
    io::{EventKind, PullState},
    time::{Duration, Instant},
};
use proxyd::log::words;
use serde_json::Value;

use crate::{
    trace::{ActorId, Cast, Moment, Phase, Record, What},
    world::Outcome,
};

/// Silence of a seat that counts: more than the time between the frames of any publisher, and a round trip.
pub(super) const SILENCE_MIN: Duration = Duration::from_millis(1_100);

/// What a run was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gist {
    /// The promises broken, by name.
    pub broken: Vec<String>,
    /// By proxy and `app/stream`: the steps of its pull, each with its time. A retry like the one before is not told again.
    pub lifecycles: BTreeMap<String, Vec<(Instant, String)>>,
    /// By player and output: its silences, in order.
    pub silences: BTreeMap<String, Vec<Silence>>,
    /// By event and its turn: what the API answered, without times and numbers that grow.
    pub answers: BTreeMap<String, (Instant, String)>,
    /// The run has records of what its core did; a plane that runs a binary as it is may have none.
    pub has_lifecycle: bool,
}

/// A stretch without frames at a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// The last frame before it.
    pub since: Instant,
    /// How long it was.
    pub lasted: Duration,
    /// From the moment the last thing in the way was gone to the next frame; `None` if nothing was in the way.
    pub recovery: Option<Duration>,
    /// The attempt that ended it, if it is known and one did.
    pub attempt: Option<Attempt>,
}

/// An attempt to pull that brought frames back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From its beginning to the frame.
    pub took: Duration,
    /// From the beginning of the one before.
    pub after: Duration,
    /// It was under way when the last thing in the way was gone: its next SYN made it.
    pub straddles: bool,
}

/// Makes the gist of a run whose records were kept.
pub fn gist(outcome: &Outcome, records: &[Record]) -> Gist {
    let mut maker = Maker::default();
    for record in records {
        if let What::Phase(Phase::Cleanup) = record.what {
            break;
        }
        maker.on_record(record, &outcome.cast);
    }
    let mut gist = maker.gist;
    gist.broken = outcome.findings.iter().map(|finding| finding.promise.to_owned()).collect();
    gist.broken.dedup();
    for steps in gist.lifecycles.values_mut() {
        *steps = without_repeats(std::mem::take(steps));
    }
    gist
}

#[derive(Debug)]
struct Seat {
    name: String,
    /// The proxy and its stream.
    stream: String,
    last_frame: Option<Instant>,
}

#[derive(Debug, Default)]
struct Maker {
    gist: Gist,
    streams: BTreeMap<(ActorId, u64), String>,
    seats: BTreeMap<u32, Seat>,
    /// By stream: whether an attempt is under way, when it began, and the one before.
    attempts: BTreeMap<String, (bool, Instant, Instant)>,
    /// When the last obstacle was gone.
    cleared: Option<Instant>,
    calls: BTreeMap<u32, String>,
    turns: BTreeMap<String, u32>,
}

impl Maker {
    fn on_record(&mut self, record: &Record, cast: &Cast) {
        let (at, actor) = (record.at, record.actor);
        match &record.what {
            What::Lifted { .. } | What::Moment(Moment::Serving) => self.cleared = Some(at),
            What::Event(event) => {
                self.gist.has_lifecycle = true;
                let Some(id) = event.stream.map(|stream| stream.0) else { return };
                self.on_event(actor, id, &event.kind, at, cast);
            }
            What::PlayerJoins { seat, output, stream, from, .. } => {
                let name = format!("{} of {stream} by {output:?}", cast.name(actor));
                self.gist.silences.entry(name.clone()).or_default();
                let stream = format!("{} {stream}", cast.name(*from));
                self.seats.insert(seat.0, Seat { name, stream, last_frame: None });
            }
            What::PlayerLeaves { seat } => {
                self.seats.remove(&seat.0);
            }
            What::Saw { seat, saw } if saw.frames > 0 => self.on_frame(seat.0, at),
            What::Asked(call) => {
                if let Some(event) = call.event {
                    let what = format!(
                        "{}: {} {}",
                        event + 1,
                        call.name,
                        call.stream.as_deref().unwrap_or_default()
                    );
                    let turn = self.turns.entry(what.clone()).or_default();
                    *turn += 1;
                    self.calls.insert(call.call, format!("{} #{turn}", what.trim_end()));
                }
            }
            What::Answered { call, body } => {
                if let Some(name) = self.calls.remove(call) {
                    self.gist.answers.insert(name, (at, essence(body)));
                }
            }
            What::Phase(_)
            | What::Began { .. }
            | What::Moment(_)
            | What::Address { .. }
            | What::In(_)
            | What::Out(_)
            | What::Dialled { .. }
            | What::Sample(_)
            | What::Arrived { .. }
            | What::EndArrived { .. }
            | What::OriginAccepted
            | What::OriginPlays { .. }
            | What::OriginComplains(_)
            | What::PlayerConnected { .. }
            | What::Saw { .. }
            | What::PlayerTold { .. }
            | What::PlayerLost { .. }
            | What::PlayerViolation { .. }
            | What::Packet(_) => {}
        }
    }

    fn on_event(&mut self, actor: ActorId, id: u64, kind: &EventKind, at: Instant, cast: &Cast) {
        if let EventKind::Registered { key } = kind {
            let name = format!("{} {}/{}", cast.name(actor), key.app, key.stream);
            self.streams.insert((actor, id), name);
        }
        let Some(name) = self.streams.get(&(actor, id)).cloned() else { return };
        if let EventKind::PullEntered { state, .. } = kind {
            let begins = matches!(state, PullState::Resolving | PullState::Queued | PullState::Connecting);
            let (is_under_way, began, before) = self.attempts.entry(name.clone()).or_insert((false, at, at));
            if begins && !*is_under_way {
                (*before, *began) = (*began, at);
            }
            // One that has got a connection goes on until it has frames or fails.
            let goes_on =
                matches!(state, PullState::Handshaking | PullState::Requesting | PullState::AwaitingMedia);
            *is_under_way = begins || (*is_under_way && goes_on);
        }
        let step = match kind {
            EventKind::Registered { .. } => "registered".to_owned(),
            EventKind::Unregistered { .. } => "removed".to_owned(),
            // Whether a lookup or a token is waited for is a matter of milliseconds.
            EventKind::PullEntered { state: PullState::Resolving | PullState::Queued, .. } => return,
            EventKind::PullEntered { state, .. } => words::state(*state).to_owned(),
            EventKind::PullStepped { .. }
            | EventKind::OriginStatus(_)
            | EventKind::Epoch { .. }
            | EventKind::Rebuilt
            | EventKind::TrackGone(_)
            | EventKind::PlayerConnected { .. }
            | EventKind::PlayerParked { .. }
            | EventKind::PlayerSeated { .. }
            | EventKind::PlayerShed { .. }
            | EventKind::PlayerLeft { .. }
            | EventKind::NoneReader => return,
        };
        self.gist.lifecycles.entry(name).or_default().push((at, step));
    }

    fn on_frame(&mut self, seat: u32, at: Instant) {
        let Some(seat) = self.seats.get_mut(&seat) else { return };
        let Some(since) = seat.last_frame.replace(at).filter(|since| at.since(*since) >= SILENCE_MIN) else {
            return;
        };
        let attempt = self.attempts.get(&seat.stream).filter(|(_, began, _)| *began >= since);
        let cleared = self.cleared.filter(|cleared| *cleared >= since);
        let silence = Silence {
            since,
            lasted: at.since(since),
            recovery: cleared.map(|cleared| at.since(cleared)),
            attempt: attempt.map(|(_, began, before)| Attempt {
                took: at.since(*began),
                after: began.since(*before),
                straddles: cleared.is_some_and(|cleared| *began < cleared),
            }),
        };
        self.gist.silences.entry(seat.name.clone()).or_default().push(silence);
    }
}

/// Drops attempts that went as the one before: how many fit into an outage is a matter of milliseconds.
fn without_repeats(steps: Vec<(Instant, String)>) -> Vec<(Instant, String)> {
    let mut attempts: Vec<Vec<(Instant, String)>> = vec![Vec::new()];
    for (at, step) in steps {
        let is_end = step == "backing_off";
        if let Some(attempt) = attempts.last_mut() {
            attempt.push((at, step));
        }
        if is_end {
            attempts.push(Vec::new());
        }
    }
    let same = |one: &[(Instant, String)], other: &[(Instant, String)]| {
        one.iter().map(|(_, step)| step).eq(other.iter().map(|(_, step)| step))
    };
    attempts.dedup_by(|later, earlier| same(later, earlier));
    attempts.concat()
}

/// Takes out of an answer what two planes must agree on.
fn essence(body: &str) -> String {
    let Ok(body) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    let mut parts = Vec::new();
    for name in ["code", "msg", "online", "count_hit", "count_closed"] {
        if let Some(value) = body.get(name) {
            parts.push(without_manner(&format!("{name} {value}")));
        }
    }
    match &body["data"] {
        Value::Array(entries) => {
            let named = |entry: &Value| match (&entry["key"], &entry["app"], &entry["stream"]) {
                (Value::String(key), _, _) => key.clone(),
                (_, app, stream) => {
                    format!("{}/{}", app.as_str().unwrap_or_default(), stream.as_str().unwrap_or_default())
                }
            };
            let mut names: Vec<String> = entries.iter().map(named).collect();
            names.sort();
            parts.push(format!("data [{}]", names.join(", ")));
        }
        Value::Object(data) => {
            for name in ["flag", "state", "status"] {
                if let Some(value) = data.get(name) {
                    parts.push(format!("data.{name} {value}"));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    parts.join(", ")
}

/// Drops how a connection ended: whoever hangs up at once does so by FIN, or by RST if bytes were there that he has not read.
fn without_manner(told: &str) -> String {
    told.replace("is gone (reset)", "is gone").replace("is gone (closed)", "is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &str) -> String {
        let steps = steps.split_whitespace().map(|step| (Instant::ZERO, step.to_owned())).collect();
        without_repeats(steps).into_iter().map(|(_, step)| step).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn attempts_that_went_alike_are_told_once() {
        assert_eq!(check("connecting backing_off connecting backing_off connecting streaming"), {
            "connecting backing_off connecting streaming"
        });
        let other = "connecting backing_off connecting handshaking backing_off connecting backing_off";
        assert_eq!(check(other), other);
    }

    #[test]
    fn an_answer_keeps_what_it_says_and_loses_what_it_counts() {
        let body = r#"{"code":0,"data":{"state":"backing_off","next_attempt_ms":306}}"#;
        assert_eq!(essence(body), "code 0, data.state \"backing_off\"");
        let body =
            r#"{"code":0,"data":[{"app":"live","stream":"b","aliveSecond":7},{"app":"live","stream":"a"}]}"#;
        assert_eq!(essence(body), "code 0, data [live/a, live/b]");
        let gone = |how: &str| essence(&format!(r#"{{"code":-1,"msg":"the connection is gone ({how})"}}"#));
        assert_eq!(gone("reset"), gone("closed"));
        assert_ne!(gone("reset"), gone("aborted"));
    }
}
