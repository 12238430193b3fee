//! What lists count is what can be counted (I3): bytes at the proxy's sockets, frames in them, seats, waits, re-pulls.
//!
//! Judged where an answer is given in the instant of its question: a daemon's comes later, and more has arrived since.

use std::collections::BTreeMap;

use proxy_core::{
    io::{EventKind, PullState},
    time::{Duration, Instant},
    url::StreamKey,
};
use serde_json::Value;

use super::{ARRIVED, CALLS, EVENT, Findings, IN, Kinds, Oracle, Scene, StreamNow, scene::name_of};
use crate::{
    raw::media::Track,
    trace::{ActorId, Inward, Record, What},
};

pub(super) const NAME: &str = "counts";

/// Counts beside the core.
#[derive(Debug, Default)]
pub(super) struct Counts {
    streams: BTreeMap<(ActorId, u64), Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    bytes: u64,
    /// Bytes of the second under way, and of the one before.
    seconds: Seconds,
    /// Frames that arrived on the present connection.
    arrived: Frames,
    /// Frames of this epoch that nothing holds back: sound and keyframes.
    solid: Frames,
    conn: Option<u64>,
}

/// How much later than the world's a daemon's clock may begin.
const CLOCKS_APART: Duration = Duration::from_millis(5);

/// Bytes of a second, and how many of them came when a daemon's clock may still have had the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    bytes: u64,
    head: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seconds {
    number: u64,
    now: Second,
    before: Second,
}

#[derive(Clone, Copy, Debug, Default)]
struct Frames {
    video: u64,
    audio: u64,
}

impl Oracle for Counts {
    fn kinds(&self) -> Kinds {
        CALLS | IN | EVENT | ARRIVED
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let proxy = record.actor;
        let stream_of = |conn: u64| scene.conns.get(&(proxy, conn)).and_then(|conn| conn.stream);
        if let What::In(Inward::Received { conn, len }) = &record.what
            && let Some(id) = stream_of(*conn)
        {
            self.streams.entry((proxy, id)).or_default().on_bytes(u64::from(*len), record.at, scene);
        } else if let What::Arrived { conn, track, key, .. } = &record.what
            && let Some(id) = stream_of(*conn)
        {
            self.streams.entry((proxy, id)).or_default().on_frame(*conn, *track, *key);
        } else if let What::Event(event) = &record.what
            && let Some(id) = event.stream.map(|stream| stream.0)
        {
            if let EventKind::Epoch { .. } = event.kind {
                self.streams.entry((proxy, id)).or_default().solid = Frames::default();
            } else if let EventKind::Unregistered { .. } = event.kind {
                self.streams.remove(&(proxy, id));
            }
        } else if let What::Answered { body, .. } = &record.what
            && let Some(call) = &scene.answered
            && call.at == record.at
            && let Ok(body) = serde_json::from_str::<Value>(body)
        {
            for text in self.judge(&call.call.name, &body, proxy, scene, record.at) {
                findings.broken(NAME, proxy, text);
            }
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.streams.retain(|(of, _), _| *of != proxy);
    }
}

impl Counts {
    fn judge(&mut self, verb: &str, body: &Value, proxy: ActorId, scene: &Scene, at: Instant) -> Vec<String> {
        let entries: &[Value] = match verb {
            "getMediaList" | "listStreamProxy" => {
                body["data"].as_array().map(Vec::as_slice).unwrap_or_default()
            }
            "getProxyInfo" => std::slice::from_ref(&body["data"]),
            _ => return Vec::new(),
        };
        let mut texts = Vec::new();
        for told in entries {
            let part = |name: &str| {
                let part = told[name].as_str().or_else(|| told["src"][name].as_str());
                part.unwrap_or_default()
            };
            let Ok(key) = StreamKey::new(part("vhost"), part("app"), part("stream")) else { continue };
            let Some(id) = scene.keys.get(&(proxy, key.clone())).copied() else { continue };
            let Some(stream) = scene.streams.get(&(proxy, id)) else { continue };
            let waiting = scene.parked.get(&(proxy, key)).map_or(0, |conns| conns.len());
            let counted = self.streams.entry((proxy, id)).or_default();
            texts.extend(counted.against(told, stream, waiting, (at, scene)));
        }
        texts
    }
}

impl Counted {
    fn on_bytes(&mut self, len: u64, at: Instant, scene: &Scene) {
        self.bytes += len;
        self.seconds.turn(at);
        self.seconds.now.bytes += len;
        if is_head(at, scene) {
            self.seconds.now.head += len;
        }
    }

    fn on_frame(&mut self, conn: u64, track: Track, key: bool) {
        if self.conn.replace(conn) != Some(conn) {
            self.arrived = Frames::default();
            self.solid = Frames::default();
        }
        match track {
            Track::Video => {
                self.arrived.video += 1;
                self.solid.video += u64::from(key);
            }
            Track::Audio => {
                self.arrived.audio += 1;
                self.solid.audio += 1;
            }
        }
    }

    /// Compares what is told of a stream with what was counted.
    fn against(
        &mut self,
        told: &Value,
        stream: &StreamNow,
        waiting: usize,
        (at, scene): (Instant, &Scene),
    ) -> Vec<String> {
        let name = name_of(&stream.key);
        self.seconds.turn(at);
        let counted = [
            ("totalBytes", self.bytes),
            ("totalReaderCount", stream.seats.len() as u64),
            ("readerCount", stream.seats.len() as u64),
            ("waitingReaderCount", waiting as u64),
            ("rePullCount", u64::from(stream.repulls)),
        ];
        let mut texts: Vec<String> = counted
            .into_iter()
            .filter_map(|(what, counted)| Some((what, counted, told[what].as_u64()?)))
            .filter(|(_, counted, told)| counted != told)
            .map(|(what, counted, told)| format!("{name} is told {what} {told}, and it is {counted}"))
            .collect();
        let Seconds { now, before, .. } = self.seconds;
        let (least, most) = (before.bytes - before.head, before.bytes + now.head);
        if let Some(told) = told["bytesSpeed"].as_u64()
            && !(least..=most).contains(&told)
            && !is_head(at, scene)
        {
            texts.push(format!("{name} is told bytesSpeed {told}, and it is {}", before.bytes));
        }
        if stream.state == PullState::Streaming {
            texts.extend(self.against_tracks(&name, told));
            if let (Some(told), Some(addr)) = (told.get("originSock"), stream.addr)
                && (told["peer_ip"] != addr.ip().to_string() || told["peer_port"] != addr.port())
            {
                texts.push(format!("{name} is told to come from {told}, and it comes from {addr}"));
            }
        }
        texts
    }

    fn against_tracks(&self, name: &str, told: &Value) -> Vec<String> {
        let mut texts = Vec::new();
        for track in told["tracks"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let Some(frames) = track["frames"].as_u64() else { continue };
            let (what, least, most) = match track["codec_type"].as_u64() {
                Some(0) => ("video", self.solid.video, self.arrived.video),
                Some(1) => ("audio", self.solid.audio, self.arrived.audio),
                Some(_) | None => continue,
            };
            if !(least..=most).contains(&frames) {
                texts.push(format!(
                    "{name} is told {frames} frames of {what}, and between {least} and {most} have arrived"
                ));
            }
        }
        texts
    }
}

impl Seconds {
    fn turn(&mut self, at: Instant) {
        let number = at.as_millis() / 1000;
        if number != self.number {
            self.before = if number == self.number + 1 { self.now } else { Second::default() };
            self.number = number;
            self.now = Second::default();
        }
    }
}

/// Returns whether a daemon's clock may still have the second before.
fn is_head(at: Instant, scene: &Scene) -> bool {
    scene.is_coarse && u128::from(at.as_millis() % 1000) < CLOCKS_APART.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::story::Story;

    /// A stream streams, with as many bytes in its first second; at 1.1 s a call is answered.
    fn check(call: &str, told: &str) -> Vec<String> {
        Story::told::<Counts>(|story| {
            story.register(1, "live/a");
            story.replies();
            story.dials(1, 2);
            story.streams(1, 2);
            let call = story.at(1_100).asks(call, None, &[], false);
            story.answers(call, told);
        })
    }

    #[test]
    fn what_is_counted_is_told() {
        let list = |numbers: &str| {
            format!(
                r#"{{"code":0,"data":[{{"vhost":"__defaultVhost__","app":"live","stream":"a",{numbers}}}]}}"#
            )
        };
        let fine = r#""bytesSpeed":3973,"totalBytes":3973,"readerCount":0"#;
        assert_eq!(check("getMediaList", &list(fine)), [""; 0]);
        assert_eq!(check("getMediaList", &list(r#""originSock":null"#)).len(), 1);
        assert_eq!(
            check("getMediaList", &list(r#""bytesSpeed":3972,"totalBytes":3973,"readerCount":1"#)),
            [
                "counts: live/a is told readerCount 1, and it is 0",
                "counts: live/a is told bytesSpeed 3972, and it is 3973"
            ]
        );
        let info = |numbers: &str| {
            format!(
                r#"{{"code":0,"data":{{"src":{{"vhost":"__defaultVhost__","app":"live","stream":"a"}},{numbers}}}}}"#
            )
        };
        let fine = r#""rePullCount":0,"waitingReaderCount":0"#;
        assert_eq!(check("getProxyInfo", &info(fine)), [""; 0]);
        let texts = check("getProxyInfo", &info(r#""rePullCount":1,"tracks":[{"codec_type":0,"frames":7}]"#));
        assert_eq!(texts[0], "counts: live/a is told rePullCount 1, and it is 0");
        assert!(texts[1].contains("is told 7 frames of video"), "{texts:?}");
    }
}
