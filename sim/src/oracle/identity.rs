//! News of an old life acts on nobody, nothing is sent to what is over, ids are never used twice (I13).

use std::collections::BTreeMap;

use proxy_core::io::{EventKind, PullEventKind, PullState};

use super::{BYTES, EVENT, Entered, Findings, IN, Kinds, OUT, Oracle, STEP, Scene};
use crate::trace::{ActorId, Inward, Outward, Record, What};

pub(super) const NAME: &str = "identity";

/// Follows ids of connections, lookups and streams.
#[derive(Debug, Default)]
pub(super) struct Identity {
    conns: BTreeMap<(ActorId, u64), Conn>,
    last: BTreeMap<ActorId, Last>,
    /// Connections that ended in this breath, and whose they were: what leaves the core is told before its steps.
    ended: Vec<(ActorId, u64, Option<u64>)>,
}

#[derive(Debug)]
struct Conn {
    stream: Option<u64>,
    is_closing: bool,
}

/// The highest ids seen so far.
#[derive(Debug, Default)]
struct Last {
    dialled: Option<u64>,
    query: Option<u64>,
    stream: Option<u64>,
    /// A dial whose stream is not known yet.
    dial: Option<u64>,
}

impl Oracle for Identity {
    fn kinds(&self) -> Kinds {
        IN | OUT | BYTES | EVENT | STEP
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let proxy = record.actor;
        if let What::In(inward) = &record.what {
            return self.on_in(proxy, inward);
        }
        let text = if let What::Out(outward) = &record.what {
            self.on_out(proxy, outward)
        } else if let What::Event(event) = &record.what {
            self.on_event(proxy, event, scene)
        } else {
            None
        };
        if let Some(text) = text {
            findings.broken(NAME, record.actor, text);
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.ended.retain(|(of, _, _)| *of != proxy);
        self.conns.retain(|(of, _), _| *of != proxy);
        self.last.remove(&proxy);
    }
}

impl Identity {
    fn on_in(&mut self, proxy: ActorId, inward: &Inward) {
        self.ended.clear();
        if let Inward::Accepted { conn, .. } | Inward::PlayHttp { conn, .. } = inward {
            self.conns.insert((proxy, *conn), Conn { stream: None, is_closing: false });
        }
        if let Inward::Closed { conn, .. } | Inward::Connected { conn, failed: Some(_) } = inward {
            // Whom the news concerns is judged by the step it leads to.
            if self.conns.get(&(proxy, *conn)).is_some_and(|conn| conn.stream.is_none() || conn.is_closing) {
                self.conns.remove(&(proxy, *conn));
            }
        }
    }

    fn on_out(&mut self, proxy: ActorId, outward: &Outward) -> Option<String> {
        let last = self.last.entry(proxy).or_default();
        match outward {
            Outward::Connect { conn, .. } => {
                let before = last.dialled.replace(*conn);
                last.dial = Some(*conn);
                self.conns.insert((proxy, *conn), Conn { stream: None, is_closing: false });
                rises("connection", before, *conn)
            }
            Outward::Resolve { query } => rises("lookup", last.query.replace(*query), *query),
            Outward::Transmit { conn, len } => match self.conns.get(&(proxy, *conn)) {
                Some(Conn { is_closing: false, .. }) => None,
                Some(Conn { is_closing: true, .. }) => {
                    Some(format!("{len} bytes left for connection {conn} after its Close"))
                }
                None => Some(format!("{len} bytes left for connection {conn}, which is over")),
            },
            Outward::Close { conn } => match self.conns.get_mut(&(proxy, *conn)) {
                Some(entry) if !entry.is_closing => {
                    entry.is_closing = true;
                    None
                }
                Some(_) => Some(format!("connection {conn} was closed twice")),
                None => Some(format!("connection {conn} was closed, and it is over")),
            },
            Outward::Abort { conn } => match self.conns.remove(&(proxy, *conn)) {
                Some(entry) => {
                    self.ended.push((proxy, *conn, entry.stream));
                    None
                }
                None => Some(format!("connection {conn} was aborted, and it is over")),
            },
            Outward::PlayAnswer { conn, streams } => match self.conns.contains_key(&(proxy, *conn)) {
                true if *streams => None,
                true => {
                    self.conns.remove(&(proxy, *conn));
                    None
                }
                false => Some(format!("HTTP player {conn} was answered, and it is gone")),
            },
            Outward::Reply { .. } | Outward::Ask { .. } => None,
        }
    }

    fn on_event(&mut self, proxy: ActorId, event: &proxy_core::io::Event, scene: &Scene) -> Option<String> {
        let Some(id) = event.stream.map(|stream| stream.0) else {
            let is_pulls =
                matches!(event.kind, EventKind::PullStepped { .. } | EventKind::PullEntered { .. });
            return is_pulls.then(|| format!("a pull of no stream moved: {:?}", event.kind));
        };
        let last = self.last.entry(proxy).or_default();
        if let EventKind::Registered { .. } = &event.kind {
            return rises("stream", last.stream.replace(id), id);
        }
        let is_over = !matches!(event.kind, EventKind::Unregistered { .. })
            && !scene.streams.contains_key(&(proxy, id));
        if is_over {
            return Some(format!("stream {id} is not registered, and this is told of it: {:?}", event.kind));
        }
        let EventKind::PullStepped { state, event: stimulus, next } = &event.kind else { return None };
        if *next == PullState::Connecting
            && *state != PullState::Connecting
            && let Some(conn) = last.dial.take()
            && let Some(conn) = self.conns.get_mut(&(proxy, conn))
        {
            conn.stream = Some(id);
        }
        self.judge_news(proxy, id, *stimulus, scene)
    }

    /// A step by news of a connection must concern the stream whose connection it is.
    fn judge_news(
        &mut self,
        proxy: ActorId,
        id: u64,
        stimulus: PullEventKind,
        scene: &Scene,
    ) -> Option<String> {
        let Entered { what, proxy: of, .. } = scene.inward?;
        let conn = match (what, stimulus) {
            (Inward::Closed { conn, .. }, PullEventKind::Closed)
            | (Inward::Connected { conn, .. }, PullEventKind::Connected | PullEventKind::ConnectFailed)
            | (
                Inward::Received { conn, .. },
                PullEventKind::Frame | PullEventKind::Pong | PullEventKind::Playing,
            ) if of == proxy => conn,
            _ => return None,
        };
        let ended = || self.ended.iter().find(|(of, over, _)| (*of, *over) == (proxy, conn));
        let whose = match self.conns.get(&(proxy, conn)) {
            Some(conn) => conn.stream,
            None => ended().and_then(|(_, _, stream)| *stream),
        };
        if matches!(stimulus, PullEventKind::Closed | PullEventKind::ConnectFailed) {
            self.conns.remove(&(proxy, conn));
        }
        match whose {
            Some(whose) if whose == id => None,
            Some(whose) => Some(format!(
                "{} took {stimulus:?} of connection {conn}, which is stream {whose}'s",
                scene.name_of_stream(proxy, id)
            )),
            None => Some(format!(
                "{} took {stimulus:?} of connection {conn}, which is over",
                scene.name_of_stream(proxy, id)
            )),
        }
    }
}

/// Ids rise.
fn rises(of: &str, before: Option<u64>, id: u64) -> Option<String> {
    let before = before.filter(|before| *before >= id)?;
    Some(format!("{of} {id} came after {of} {before}: ids are never used twice"))
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{ConnectError, Hangup, PlayOutput, PullEventKind as E, PullState as S, StreamEnd};

    use super::*;
    use crate::oracle::story::{Story, dial};

    fn check(tell: impl FnOnce(&mut Story)) -> Vec<String> {
        Story::told::<Identity>(tell)
    }

    #[test]
    fn a_whole_life_is_fine() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.out(Outward::Transmit { conn: 2, len: 10 });
            story.streams(1, 2);
            story.player(0, PlayOutput::HttpFlv, "live/a", 1);
            story.out(Outward::PlayAnswer { conn: 1, streams: true });
            story.out(Outward::Transmit { conn: 1, len: 10 });
            story.loses(1, 2, 1, story.now());
            story.dials(1, 4);
            story.input(Inward::Connected { conn: 4, failed: Some(ConnectError::Refused) });
            story.fails(1, 2);
            story.out(dial::close(1));
            story.out(dial::abort(1));
            // Late news of what is over is ignored.
            story.input(Inward::Closed { conn: 2, hangup: Hangup::Eof });
        });
        assert_eq!(texts, [""; 0]);
    }

    #[test]
    fn what_ends_with_the_last_frame_has_had_it() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            story.input(Inward::Received { conn: 2, len: 100 });
            story.out(dial::abort(2));
            story.step(1, S::Streaming, E::Frame, S::Streaming);
            story.step(1, S::Streaming, E::Refused, S::BackingOff);
        });
        assert_eq!(texts, [""; 0]);
    }

    #[test]
    fn bytes_after_the_end_are_found() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.out(dial::close(2));
            story.out(Outward::Transmit { conn: 2, len: 10 });
            story.out(dial::abort(2));
            story.out(Outward::Transmit { conn: 2, len: 11 });
            story.out(dial::abort(2));
        });
        assert_eq!(
            texts,
            [
                "identity: 10 bytes left for connection 2 after its Close",
                "identity: 11 bytes left for connection 2, which is over",
                "identity: connection 2 was aborted, and it is over",
            ]
        );
    }

    #[test]
    fn ids_used_twice_are_found() {
        let texts = check(|story| {
            story.register(2, "live/a");
            story.dials(2, 4);
            story.dials(2, 4);
            story.out(Outward::Resolve { query: 7 });
            story.out(Outward::Resolve { query: 6 });
            story.register(2, "live/b");
        });
        assert_eq!(texts.len(), 3);
        assert_eq!(texts[1], "identity: lookup 6 came after lookup 7: ids are never used twice");
    }

    #[test]
    fn events_of_what_is_removed_are_found() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.removes(1, "live/a", StreamEnd::Deleted);
            story.event(1, EventKind::Rebuilt);
            story.event_of_nobody(EventKind::PullStepped {
                state: S::BackingOff,
                event: E::Deadline,
                next: S::Resolving,
            });
        });
        assert_eq!(texts.len(), 2);
        assert!(texts[0].contains("stream 1 is not registered"), "{texts:?}");
        assert!(texts[1].contains("a pull of no stream moved"), "{texts:?}");
    }

    #[test]
    fn news_of_an_old_connection_that_moves_a_newer_life_is_found() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.out(dial::abort(2));
            story.dials(1, 4);
            story.input(Inward::Connected { conn: 2, failed: None });
            story.step(1, S::Connecting, E::Connected, S::Handshaking);
        });
        assert_eq!(texts, ["identity: live/a took Connected of connection 2, which is over"]);
    }
}
