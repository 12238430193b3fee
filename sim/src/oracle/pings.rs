//! Origins are pinged as often as the settings say: what finds a dead transport must go out, whether anybody answers or
//! not, and no more of it than was promised.
//!
//! ```text
//!  play asked ─ ping ── ping_interval_silent ─ ping ── media ─┬─ ping_interval ───────────── ping
//!                                                            └─ silence: ping_interval_silent ─ ping
//! ```
//! A ping is known by its length: nothing else that is sent on a connection whose play is asked for is as long, but for
//! the answer to an origin's own ping, which is taken for one: where origins ping, or another proxy is one, nobody is said to
//! ping too often.

use std::collections::BTreeMap;

use proxy_core::{
    io::{EventKind, PullEventKind, PullState},
    time::Instant,
};

use super::{
    BYTES, EVENT, Findings, Kinds, Oracle, STEP, Scene, StreamNow, TIME, alarms::Alarms, scene::name_of, secs,
};
use crate::trace::{ActorId, Outward, Record, What, words::kebab};

pub(super) const NAME: &str = "pings";

/// A user control message in a chunk of its own: basic header, message header, event type, four bytes (RTMP §5.3.1 and
/// §7.1.7).
const PING_BYTES: u32 = 1 + 11 + 2 + 4;

/// The settings that say how often.
const INTERVALS: &str = "pull.ping_interval_ms, pull.ping_interval_silent_ms";

/// Sees pings go out.
#[derive(Debug, Default)]
pub(super) struct Pings {
    streams: BTreeMap<(ActorId, u64), Book>,
    due: Alarms<(ActorId, u64)>,
}

#[derive(Debug, Default)]
struct Book {
    /// The last ping, and on which connection.
    last: Option<(u64, Instant)>,
    /// When a play was asked for or accepted on the connection there is.
    asked_at: Option<Instant>,
}

impl Oracle for Pings {
    fn kinds(&self) -> Kinds {
        BYTES | EVENT | STEP | TIME
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let (proxy, at) = (record.actor, record.at);
        if let What::Out(Outward::Transmit { conn, len: PING_BYTES }) = &record.what {
            let Some(id) = scene.conns.get(&(proxy, *conn)).and_then(|conn| conn.stream) else { return };
            let book = self.streams.entry((proxy, id)).or_default();
            let before = book.last;
            // A play that is accepted is pinged at once, however soon that is after it was asked for.
            let stream = scene.streams.get(&(proxy, id)).filter(|stream| {
                matches!(stream.state, PullState::AwaitingMedia | PullState::Streaming)
                    && before.is_some_and(|(of, last)| of == *conn && last >= stream.entered_at)
            });
            let due = stream.and_then(|stream| book.due(stream, scene, proxy));
            book.last = Some((*conn, at));
            if let (Some(stream), Some((_, last)), Some(due)) = (stream, before, due)
                && at < due
                && !scene.origins_ping
                && scene.settings.len() == 1
            {
                let text = format!(
                    "{} pinged its origin at {last} and again {} later: {} was soon enough ({INTERVALS})",
                    name_of(&stream.key),
                    secs(at.since(last)),
                    secs(due.since(last))
                );
                findings.broken(NAME, proxy, text);
            }
            return;
        }
        let What::Event(event) = &record.what else { return };
        let Some(id) = event.stream.map(|stream| stream.0) else { return };
        if let EventKind::PullStepped { event: PullEventKind::Asked, .. } = &event.kind {
            self.begin((proxy, id), at);
        } else if let EventKind::PullEntered { state, .. } = &event.kind {
            match state {
                PullState::AwaitingMedia => self.begin((proxy, id), at),
                // It goes on from there.
                PullState::Streaming => {}
                PullState::Resolving
                | PullState::Queued
                | PullState::Connecting
                | PullState::Handshaking
                | PullState::Requesting
                | PullState::Replaying
                | PullState::BackingOff
                | PullState::Stopped => {
                    self.due.clear(&(proxy, id));
                    self.streams.entry((proxy, id)).or_default().asked_at = None;
                }
            }
        } else if let EventKind::Unregistered { .. } = &event.kind {
            self.due.clear(&(proxy, id));
            self.streams.remove(&(proxy, id));
        }
    }

    fn on_time(&mut self, scene: &Scene, now: Instant, findings: &mut Findings) {
        while let Some((_, (proxy, id))) = self.due.poll(now) {
            let Some(stream) = scene.streams.get(&(proxy, id)) else { continue };
            let Some(book) = self.streams.get_mut(&(proxy, id)) else { continue };
            let Some(due) = book.due(stream, scene, proxy) else { continue };
            let due = scene.due(proxy, due);
            if due >= now || !scene.is_running(proxy) {
                self.due.set((proxy, id), due.max(now));
                continue;
            }
            let pull = &scene.config(proxy).pull;
            let last = match book.last {
                Some((_, at)) => format!("the last one went out at {at}"),
                None => "none has gone out".to_owned(),
            };
            findings.broken(
                NAME,
                proxy,
                format!(
                    "{} is {} and was to ping its origin by {due}, {last}: one every {} while media flows, every {} while \
                     none does, were promised ({INTERVALS})",
                    name_of(&stream.key),
                    kebab(&stream.state),
                    secs(pull.ping_interval),
                    secs(pull.ping_interval_silent)
                ),
            );
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.streams.retain(|(of, _), _| *of != proxy);
        self.due.retain(|(of, _)| *of != proxy);
    }
}

impl Pings {
    /// From here on pings are due, the first at once.
    fn begin(&mut self, of: (ActorId, u64), at: Instant) {
        self.streams.entry(of).or_default().asked_at = Some(at);
        self.due.set(of, at);
    }
}

impl Book {
    /// Returns when the next ping is due; `None` where none is.
    fn due(&self, stream: &StreamNow, scene: &Scene, proxy: ActorId) -> Option<Instant> {
        let pull = &scene.config(proxy).pull;
        let conn = stream.upstream?;
        let asked_at = self.asked_at?;
        let Some((_, last)) = self.last.filter(|(of, _)| *of == conn) else { return Some(asked_at) };
        let silent = last + pull.ping_interval_silent;
        match stream.state {
            PullState::Streaming => {
                let media = stream.arrived_at.unwrap_or(stream.entered_at);
                Some(silent.max(media + pull.ping_interval_silent).min(last + pull.ping_interval))
            }
            PullState::Requesting | PullState::AwaitingMedia => Some(silent),
            PullState::Resolving
            | PullState::Queued
            | PullState::Connecting
            | PullState::Handshaking
            | PullState::Replaying
            | PullState::BackingOff
            | PullState::Stopped => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{PullEventKind as E, PullState as S};

    use super::*;
    use crate::{oracle::story::Story, raw::media::Track, trace::Inward};

    /// A play is accepted at 0 s and pinged at once; then pings go out at these ms, media comes every 500 ms up to a time,
    /// and nothing happens until the end.
    fn check(pings: &[u64], media_until: u64, end: u64) -> Vec<String> {
        Story::told::<Pings>(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.input(Inward::Connected { conn: 2, failed: None });
            story.step(1, S::Connecting, E::Connected, S::Handshaking);
            story.step(1, S::Handshaking, E::HandshakeDone, S::Requesting);
            story.step(1, S::Requesting, E::Asked, S::Requesting);
            story.step(1, S::Requesting, E::Playing, S::AwaitingMedia);
            story.out(ping(2));
            let mut is_first = true;
            for ms in (1..=end).map(|n| n * 100).take_while(|ms| *ms <= end) {
                story.at(ms);
                if ms % 500 == 0 && ms <= media_until {
                    story.arrives(2, Track::Video);
                    let state = if std::mem::take(&mut is_first) { S::AwaitingMedia } else { S::Streaming };
                    story.input(Inward::Received { conn: 2, len: 100 });
                    story.step(1, state, E::Frame, S::Streaming);
                }
                if pings.contains(&ms) {
                    story.timeout();
                    story.out(ping(2));
                }
            }
            story.timeout();
        })
    }

    fn ping(conn: u64) -> Outward {
        Outward::Transmit { conn, len: PING_BYTES }
    }

    #[test]
    fn silence_is_pinged_every_second() {
        assert_eq!(check(&[1_000, 2_000, 3_000], 0, 4_000), [""; 0]);
        let texts = check(&[1_000, 3_100], 0, 4_000);
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("awaiting-media and was to ping its origin by 2.000000s"), "{texts:?}");
    }

    #[test]
    fn media_is_pinged_every_five_seconds_and_sooner_when_it_stops() {
        assert_eq!(check(&[5_000, 10_000], 14_000, 14_500), [""; 0]);
        assert_eq!(check(&[], 4_000, 5_000), [""; 0]);
        assert_eq!(check(&[], 14_000, 5_200).len(), 1);
        assert_eq!(check(&[2_000], 1_000, 2_900), [""; 0]);
        assert_eq!(check(&[2_200], 1_000, 2_900).len(), 1);
    }

    #[test]
    fn pings_that_come_too_often_are_found() {
        let check = |pings: &[u64], media_until, end, words: &str| {
            let texts = check(pings, media_until, end);
            assert!(texts.len() == 1 && texts[0].contains(words), "{texts:?}");
        };
        let silent = "pinged its origin at 1.000000s and again 0.900 s later: 1.000 s was soon";
        check(&[1_000, 1_900, 2_900], 0, 3_500, silent);
        let flowing = "pinged its origin at 5.000000s and again 1.000 s later: 2.000 s was soon";
        check(&[5_000, 6_000], 7_000, 7_000, flowing);
    }

    #[test]
    fn the_first_goes_out_with_the_play() {
        let texts = Story::told::<Pings>(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            story.at(10).timeout();
        });
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("none has gone out"), "{texts:?}");
    }
}
