//! What stops is noticed in time (I8), no state outlasts its deadline, and who answers is not taken for dead.
//!
//! | layer | what stops | noticed within |
//! |---|---|---|
//! | media | all frames | `stall_timeout` |
//! | media | one track that flowed | `track_stall_timeout`: it is asked for again twice, then told as gone |
//! | RTMP | the stream, as its origin says | the instant it arrives |
//! | RTMP | every byte, where pings were answered | [`bounds::ping_detection`] |
//!
//! An origin that answers pings may hold its answer to `play` for `first_media_timeout`, as ZLMediaKit does until somebody
//! publishes. Silence of a transport that says so (FIN, RST, dial error) is noticed as it comes: that is a step of the pull.

use proxy_core::{
    io::{EventKind, PullEventKind, PullState},
    time::{Duration, Instant},
    wire::flv::Medium,
};

use super::{
    ARRIVED, EVENT, Findings, IN, Kinds, Oracle, STEP, Scene, StreamNow, Strictness, TIME, alarms::Alarms,
    bounds, scene::name_of, secs,
};
use crate::{
    raw::media::Track,
    trace::{ActorId, Inward, Record, What, words::kebab},
};

pub(super) const NAME: &str = "detection";

/// Waits for what stops to be noticed.
#[derive(Debug, Default)]
pub(super) struct Detection {
    strictness: Strictness,
    due: Alarms<(ActorId, u64, Silent)>,
    /// Tracks told as gone, until they are seen again.
    gone: std::collections::BTreeSet<(ActorId, u64, Track)>,
    /// Tracks that streams were interrupted for while the rest flowed, and how often since a frame of them came.
    asked_again: std::collections::BTreeMap<(ActorId, u64), (Track, u32)>,
    /// Ends that origins have told of plays under way: when, and by which word.
    ended: std::collections::BTreeMap<(ActorId, u64), (Instant, String)>,
    /// Origins that have been asked to play and have not answered that.
    held: std::collections::BTreeMap<(ActorId, u64), Held>,
}

/// A silent track is asked for again so often: by one replay and one redial.
const ASKED_AGAIN_MAX: u32 = 2;

/// An answer that is waited for.
#[derive(Clone, Copy, Debug)]
struct Held {
    asked_at: Instant,
    /// When a ping was answered since, and until when the answer may be held by that.
    ponged: Option<(Instant, Instant)>,
}

/// What is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Silent {
    Frames,
    Track(Track),
    Bytes,
    State,
    /// Nothing is silent: an origin has said that the stream is over.
    End,
}

impl Detection {
    pub(super) fn new(strictness: Strictness) -> Self {
        Self { strictness, ..Self::default() }
    }
}

impl Oracle for Detection {
    fn kinds(&self) -> Kinds {
        EVENT | STEP | ARRIVED | IN | TIME
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let (proxy, at) = (record.actor, record.at);
        if let What::Arrived { conn, track, .. } = &record.what {
            let Some(id) = scene.conns.get(&(proxy, *conn)).and_then(|conn| conn.stream) else { return };
            let Some(stream) = scene.streams.get(&(proxy, id)) else { return };
            if self.asked_again.get(&(proxy, id)).is_some_and(|(silent, _)| silent == track) {
                self.asked_again.remove(&(proxy, id));
            }
            if stream.state == PullState::Streaming && stream.upstream == Some(*conn) {
                self.gone.remove(&(proxy, id, *track));
                self.on_frame(proxy, id, *track, stream, at);
            }
        } else if let What::EndArrived { conn, told } = &record.what {
            let Some(id) = scene.conns.get(&(proxy, *conn)).and_then(|conn| conn.stream) else { return };
            let Some(stream) = scene.streams.get(&(proxy, id)) else { return };
            let is_on_it = stream.state == PullState::Streaming && stream.upstream == Some(*conn);
            // Behind a replay it may be the end of the play before.
            if is_on_it && !stream.replayed {
                self.ended.entry((proxy, id)).or_insert_with(|| (at, told.clone()));
                self.due.set_if_none((proxy, id, Silent::End), at);
            }
        } else if let What::In(Inward::Received { conn, .. }) = &record.what {
            let Some(id) = scene.conns.get(&(proxy, *conn)).and_then(|conn| conn.stream) else { return };
            if let Some(stream) = scene.streams.get(&(proxy, id)) {
                self.on_bytes(proxy, id, stream, scene, at);
            }
        } else if let What::Event(event) = &record.what {
            let Some(id) = event.stream.map(|stream| stream.0) else { return };
            self.on_event(record, id, &event.kind, scene, findings);
        }
    }

    fn on_time(&mut self, scene: &Scene, now: Instant, findings: &mut Findings) {
        while let Some((at, (proxy, id, what))) = self.due.poll(now) {
            let Some(stream) = scene.streams.get(&(proxy, id)) else { continue };
            let Some((since, bound)) = self.stands(proxy, id, what, stream, scene) else { continue };
            let due = scene.due(proxy, since + bound);
            // It may have been heard of since, or the process could not look.
            if due >= now || !scene.is_running(proxy) {
                self.due.set((proxy, id, what), due.max(at).max(now));
                continue;
            }
            findings.broken(NAME, proxy, self.late((proxy, id, what), stream, now.since(since), bound));
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.due.retain(|(of, _, _)| *of != proxy);
        self.gone.retain(|(of, _, _)| *of != proxy);
        self.asked_again.retain(|(of, _), _| *of != proxy);
        self.ended.retain(|(of, _), _| *of != proxy);
    }
}

impl Detection {
    fn on_frame(&mut self, proxy: ActorId, id: u64, track: Track, stream: &StreamNow, at: Instant) {
        // An alarm that stands is moved when it comes: a frame costs no more than a look.
        let (media, tracks) = (
            self.strictness.of(bounds::detection(&stream.policy)),
            self.strictness.of(stream.policy.track_stall),
        );
        self.due.set_if_none((proxy, id, Silent::Frames), at + media);
        self.due.set_if_none((proxy, id, Silent::Track(track)), at + tracks);
    }

    fn on_bytes(&mut self, proxy: ActorId, id: u64, stream: &StreamNow, scene: &Scene, at: Instant) {
        let bound = self.strictness.of(bounds::ping_detection(&scene.config(proxy).pull));
        if stream.ponged && pings(stream.state) {
            self.due.set_if_none((proxy, id, Silent::Bytes), at + bound);
        }
    }

    fn on_event(
        &mut self,
        record: &Record,
        id: u64,
        kind: &EventKind,
        scene: &Scene,
        findings: &mut Findings,
    ) {
        let (proxy, at) = (record.actor, record.at);
        if let EventKind::Unregistered { .. } = kind {
            for what in [
                Silent::Frames,
                Silent::Track(Track::Audio),
                Silent::Track(Track::Video),
                Silent::Bytes,
                Silent::State,
                Silent::End,
            ] {
                self.due.clear(&(proxy, id, what));
            }
            self.gone.retain(|(of, stream, _)| (*of, *stream) != (proxy, id));
            self.held.remove(&(proxy, id));
            self.ended.remove(&(proxy, id));
            self.asked_again.remove(&(proxy, id));
            return;
        }
        let Some(stream) = scene.streams.get(&(proxy, id)) else { return };
        if let EventKind::TrackGone(medium) = kind {
            let track = if *medium == Medium::Audio { Track::Audio } else { Track::Video };
            self.gone.insert((proxy, id, track));
            if self.asked_again.get(&(proxy, id)).is_some_and(|(asked, _)| *asked == track) {
                self.asked_again.remove(&(proxy, id));
            }
            self.due.clear(&(proxy, id, Silent::Track(track)));
        }
        if let EventKind::PullStepped { state, event, next } = kind {
            if *state == PullState::Streaming && *next != PullState::Streaming {
                self.ended.remove(&(proxy, id));
                self.due.clear(&(proxy, id, Silent::End));
                self.on_noticed(*event, stream, scene, record, findings);
                self.on_asked_again((*event, *next), id, stream, record, findings);
            }
            if *event == PullEventKind::Restart {
                self.asked_again.remove(&(proxy, id));
            }
            if *state == PullState::Requesting {
                self.on_requesting((*event, *next), id, stream, scene, record, findings);
            }
            if *event == PullEventKind::Pong && state == next {
                self.on_bytes(proxy, id, stream, scene, at);
                self.look_at_state(proxy, id, stream, scene);
            }
        }
        if let EventKind::PullEntered { state, .. } = kind {
            self.due.clear(&(proxy, id, Silent::State));
            if *state == PullState::Streaming {
                for (track, seen) in [(Track::Audio, stream.audio_at), (Track::Video, stream.video_at)] {
                    if let Some(seen) = seen {
                        self.on_frame(proxy, id, track, stream, seen);
                    }
                }
                if let Some((track, _)) = self.asked_again.get(&(proxy, id)) {
                    let bound = self.strictness.of(stream.policy.track_stall);
                    self.due.set_if_none((proxy, id, Silent::Track(*track)), at + bound);
                }
            }
            self.look_at_state(proxy, id, stream, scene);
        }
    }

    /// A step while an answer is waited for.
    fn on_requesting(
        &mut self,
        (stimulus, next): (PullEventKind, PullState),
        id: u64,
        stream: &StreamNow,
        scene: &Scene,
        record: &Record,
        findings: &mut Findings,
    ) {
        let (proxy, at) = (record.actor, record.at);
        if next == PullState::Requesting {
            if stimulus == PullEventKind::Asked {
                self.held.insert((proxy, id), Held { asked_at: at, ponged: None });
            } else if stimulus == PullEventKind::Pong
                && let Some(held) = self.held.get_mut(&(proxy, id))
            {
                held.ponged = Some((at, held.asked_at + stream.policy.first_media));
            }
            return;
        }
        let Some(Held { asked_at, ponged: Some((ponged_at, until)) }) = self.held.remove(&(proxy, id)) else {
            return;
        };
        // A ping that stays unanswered for its time is another matter.
        let is_alive = at < ponged_at + scene.config(proxy).pull.ping_timeout;
        if stimulus == PullEventKind::Deadline && is_alive && at < until {
            let text = format!(
                "{}: the origin was asked to play {} ago, answered a ping {} ago, and is given up: it may hold its answer \
                 until {until} (first_media_timeout)",
                name_of(&stream.key),
                secs(at.since(asked_at)),
                secs(at.since(ponged_at)),
            );
            findings.broken(NAME, proxy, text);
        }
    }

    fn look_at_state(&mut self, proxy: ActorId, id: u64, stream: &StreamNow, scene: &Scene) {
        let pull = &scene.config(proxy).pull;
        match bounds::state_max(stream.state, &stream.policy, pull, stream.ponged) {
            Some(bound) => self.due.set((proxy, id, Silent::State), stream.entered_at + bound),
            None => {
                self.due.clear(&(proxy, id, Silent::State));
            }
        }
    }

    /// A stream has left `Streaming`: what was silent has been noticed.
    fn on_noticed(
        &mut self,
        stimulus: PullEventKind,
        stream: &StreamNow,
        scene: &Scene,
        record: &Record,
        findings: &mut Findings,
    ) {
        if stimulus != PullEventKind::Deadline {
            return;
        }
        let since = |seen: Option<Instant>| record.at.since(seen.unwrap_or(stream.entered_at));
        let frames = since(stream.arrived_at);
        let media = self.strictness.of(bounds::detection(&stream.policy));
        if frames >= media / 2 {
            findings.measure("all frames stop, noticed", frames, media);
        }
        let bytes = self.strictness.of(bounds::ping_detection(&scene.config(record.actor).pull));
        // From outside nobody sees bytes.
        if !scene.is_outside && stream.ponged && since(stream.heard_at) >= bytes / 2 {
            findings.measure("all bytes stop, noticed", since(stream.heard_at), bytes);
        }
    }

    /// A stream has left `Streaming`: perhaps for a track that is silent while the other flows.
    fn on_asked_again(
        &mut self,
        (stimulus, next): (PullEventKind, PullState),
        id: u64,
        stream: &StreamNow,
        record: &Record,
        findings: &mut Findings,
    ) {
        let is_asked = matches!(next, PullState::Replaying | PullState::Resolving | PullState::Queued);
        let flows = stream.arrived_at.is_some_and(|at| record.at.since(at) < stream.policy.stall);
        if stimulus != PullEventKind::Deadline || !is_asked || !flows {
            return;
        }
        // One that was asked for is silent still; of those that flowed it is the one whose last frame is older.
        let seen = [(stream.audio_at, Track::Audio), (stream.video_at, Track::Video)];
        let oldest = seen.into_iter().filter_map(|(at, track)| Some((at?, track))).min();
        let Some((_, oldest)) = oldest else { return };
        let asked = self.asked_again.get(&(record.actor, id));
        let silent = asked.map_or(oldest, |(asked, _)| *asked);
        // Where the other is silent as long it may be that one.
        let other = stream.track_at(silent.other());
        if other.is_none_or(|at| record.at.since(at) >= stream.policy.track_stall) {
            return;
        }
        let (_, times) = self.asked_again.entry((record.actor, id)).or_insert((silent, 0));
        *times += 1;
        if *times > ASKED_AGAIN_MAX {
            let text = format!(
                "{} is interrupted for its silent {silent:?} again, {times} times and no frame of that between: \
                 {ASKED_AGAIN_MAX} were promised, a replay and a redial",
                name_of(&stream.key)
            );
            findings.broken(NAME, record.actor, text);
        }
    }

    /// Returns since when something is silent, and how long it may be; `None` if it need not be noticed.
    fn stands(
        &self,
        proxy: ActorId,
        id: u64,
        what: Silent,
        stream: &StreamNow,
        scene: &Scene,
    ) -> Option<(Instant, Duration)> {
        let is_streaming = stream.state == PullState::Streaming;
        match what {
            Silent::Frames if is_streaming => {
                let since = stream.arrived_at.unwrap_or(stream.entered_at);
                Some((since, self.strictness.of(bounds::detection(&stream.policy))))
            }
            Silent::Track(track) if is_streaming && !self.gone.contains(&(proxy, id, track)) => {
                // One that was asked for again is missed from when the rest flows again.
                let is_asked = self.asked_again.get(&(proxy, id)).is_some_and(|(asked, _)| *asked == track);
                let since = stream.track_at(track).or(is_asked.then_some(stream.entered_at))?;
                Some((since, self.strictness.of(stream.policy.track_stall)))
            }
            // Who was frozen asks when it runs again, and waits for the answer.
            Silent::Bytes if stream.ponged && pings(stream.state) && stream.upstream.is_some() => Some((
                scene.due(proxy, stream.heard_at?),
                self.strictness.of(bounds::ping_detection(&scene.config(proxy).pull)),
            )),
            Silent::State => {
                let bound = bounds::state_max(
                    stream.state,
                    &stream.policy,
                    &scene.config(proxy).pull,
                    stream.ponged,
                )?;
                Some((stream.entered_at, bound))
            }
            Silent::End if is_streaming => {
                let (told_at, _) = self.ended.get(&(proxy, id))?;
                Some((*told_at, Duration::ZERO))
            }
            Silent::Frames | Silent::Track(_) | Silent::Bytes | Silent::End => None,
        }
    }

    fn late(
        &self,
        (proxy, id, what): (ActorId, u64, Silent),
        stream: &StreamNow,
        silence: Duration,
        bound: Duration,
    ) -> String {
        let (name, bound, silence) = (name_of(&stream.key), secs(bound), secs(silence));
        match what {
            Silent::Frames => format!(
                "{name} is told to stream, and no frame has arrived for {silence}: that was to be noticed within {bound} \
                 (stall_timeout)"
            ),
            Silent::Track(track) => format!(
                "{name} is told to stream, and no {track:?} has arrived for {silence}: that was to be noticed within \
                 {bound} (track_stall_timeout), or told as gone"
            ),
            Silent::Bytes => format!(
                "{name} is {} on a connection that has been silent for {silence}, whose origin answered pings before: \
                 that was to be noticed within {bound} (a ping and ping_timeout)",
                kebab(&stream.state)
            ),
            Silent::End => {
                let told = self.ended.get(&(proxy, id)).map_or("the end", |(_, told)| told);
                format!("{name} is told to stream, {silence} after its origin has said {told}")
            }
            Silent::State => {
                format!(
                    "{name} has been {} for {silence}: at most {bound} were promised",
                    kebab(&stream.state)
                )
            }
        }
    }
}

/// A state in which a dead transport is found by ping.
fn pings(state: PullState) -> bool {
    match state {
        PullState::AwaitingMedia | PullState::Streaming => true,
        PullState::Resolving
        | PullState::Queued
        | PullState::Connecting
        | PullState::Handshaking
        | PullState::Requesting
        | PullState::Replaying
        | PullState::BackingOff
        | PullState::Stopped => false,
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{PullEventKind as E, PullState as S};

    use super::*;
    use crate::oracle::story::Story;

    fn check(tell: impl FnOnce(&mut Story)) -> Vec<String> {
        Story::told::<Detection>(tell)
    }

    /// A stream that streams; its origin has answered a ping, or not.
    fn streams(story: &mut Story, ponged: bool) {
        story.register(1, "live/a");
        story.dials(1, 2);
        story.streams(1, 2);
        if ponged {
            story.input(Inward::Received { conn: 2, len: 10 });
            story.step(1, S::Streaming, E::Pong, S::Streaming);
        }
    }

    #[test]
    fn frames_that_go_on_need_no_notice() {
        let texts = check(|story| {
            streams(story, true);
            for n in 1..20 {
                story.at(n * 1_000).frame(1, 2, Track::Video);
            }
        });
        assert_eq!(texts, [""; 0]);
    }

    /// The last frame comes at 1 s; the stream leaves `Streaming` at a time.
    fn stalls(noticed_at: u64) -> Vec<String> {
        check(|story| {
            streams(story, false);
            story.at(1_000).frame(1, 2, Track::Video);
            story.at(noticed_at).timeout();
            story.step(1, S::Streaming, E::Deadline, S::Replaying);
        })
    }

    #[test]
    fn frames_that_stop_are_noticed_within_the_stall_timeout() {
        assert_eq!(stalls(6_000), [""; 0]);
        assert_eq!(
            stalls(6_001),
            [
                "detection: live/a is told to stream, and no frame has arrived for 5.001 s: that was to be noticed within \
              5.000 s (stall_timeout)"
            ]
        );
    }

    #[test]
    fn half_the_bound_bites() {
        let scenario = crate::oracle::story::scenario();
        let family = Detection::new(Strictness { numerator: 1, denominator: 2 });
        let texts = Story::told_to(&scenario, Box::new(family), |story| {
            streams(story, false);
            story.at(2_501).timeout();
        });
        assert_eq!(texts.len(), 1);
    }

    #[test]
    fn bytes_without_frames_are_silence() {
        let texts = check(|story| {
            streams(story, false);
            for n in 1..7 {
                story.at(n * 1_000).input(Inward::Received { conn: 2, len: 10 });
            }
        });
        assert_eq!(texts.len(), 1);
    }

    /// The end is told at 1 s on a connection, behind what happened before; the stream leaves `Streaming` or not.
    fn is_told(before: impl FnOnce(&mut Story), conn: u64, leaves: bool) -> Vec<String> {
        check(|story| {
            streams(story, false);
            before(story);
            story.at(1_000).ends(conn, "StreamEOF");
            story.input(Inward::Received { conn, len: 18 });
            if leaves {
                story.step(1, S::Streaming, E::Ended, S::Replaying);
            }
            story.at(1_001).timeout();
        })
    }

    #[test]
    fn an_end_that_is_told_is_heard_in_the_instant_it_arrives() {
        let replays = |story: &mut Story| {
            story.step(1, S::Streaming, E::Deadline, S::Replaying);
            story.step(1, S::Replaying, E::Playing, S::AwaitingMedia);
            story.step(1, S::AwaitingMedia, E::Frame, S::Streaming);
        };
        let redials = |story: &mut Story| {
            story.step(1, S::Streaming, E::Closed, S::BackingOff);
            story.step(1, S::BackingOff, E::Deadline, S::Resolving);
            story.dials(1, 3);
            story.streams(1, 3);
        };
        let late = ["detection: live/a is told to stream, 0.001 s after its origin has said StreamEOF"];
        assert_eq!(is_told(|_| (), 2, true), [""; 0]);
        assert_eq!(is_told(|_| (), 2, false), late);
        assert_eq!(is_told(replays, 2, false), [""; 0], "it may be that of the play before");
        let replays_and_redials = |story: &mut Story| {
            replays(story);
            redials(story);
        };
        assert_eq!(is_told(replays_and_redials, 3, false), late);
        assert_eq!(is_told(redials, 2, false), [""; 0], "a connection that is over");
    }

    /// Audio goes on after the last video at 1 s; at 11 s the video is told as gone, or not.
    fn loses_video(gone: bool) -> Vec<String> {
        check(|story| {
            streams(story, false);
            story.at(1_000).frame(1, 2, Track::Video);
            for n in 1..=22 {
                story.at(n * 500).frame(1, 2, Track::Audio);
            }
            if gone {
                story.event(1, EventKind::TrackGone(Medium::Video));
            }
            for n in 23..=60 {
                story.at(n * 500).frame(1, 2, Track::Audio);
            }
        })
    }

    #[test]
    fn audio_does_not_hide_dead_video() {
        assert_eq!(loses_video(true), [""; 0]);
        let texts = loses_video(false);
        assert!(
            texts[0].contains("no Video has arrived for 10.500 s: that was to be noticed within 10.000 s"),
            "{texts:?}"
        );
    }

    /// The video is silent from 1 s on while audio flows, and is asked for again every ten seconds, so often; it may come back
    /// once in between.
    fn asks_again(times: u64, comes_back: bool) -> Vec<String> {
        check(|story| {
            streams(story, false);
            story.at(1_000).frame(1, 2, Track::Video);
            for asked in 1..=times {
                for n in 1..=19 {
                    story.at(1_000 + (asked - 1) * 10_000 + n * 500).frame(1, 2, Track::Audio);
                }
                story.step(1, S::Streaming, E::Deadline, S::Replaying);
                story.step(1, S::Replaying, E::Frame, S::Streaming);
                if comes_back && asked == 2 {
                    story.frame(1, 2, Track::Video);
                }
            }
        })
    }

    #[test]
    fn a_track_is_not_asked_for_again_for_ever() {
        assert_eq!(asks_again(2, false), [""; 0]);
        assert_eq!(asks_again(3, true), [""; 0]);
        let texts = asks_again(3, false);
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("interrupted for its silent Video again, 3 times"), "{texts:?}");
    }

    /// The last byte comes at 1 s, on a connection whose origin answers pings or does not.
    fn goes_silent(ponged: bool, noticed_at: u64) -> Vec<String> {
        check(|story| {
            streams(story, ponged);
            story.at(1_000).frame(1, 2, Track::Video);
            story.at(noticed_at).timeout();
            story.out(crate::oracle::story::dial::abort(2));
            story.step(1, S::Streaming, E::Deadline, S::BackingOff);
        })
    }

    #[test]
    fn a_dead_transport_is_found_by_ping() {
        assert_eq!(goes_silent(true, 4_000), [""; 0]);
        let texts = goes_silent(true, 4_001);
        assert!(texts[0].contains("silent for 3.001 s"), "{texts:?}");
        assert_eq!(goes_silent(false, 5_900), [""; 0]);
    }

    #[test]
    fn no_state_outlasts_its_deadline() {
        let check = |ms: u64| {
            check(|story| {
                story.register(1, "live/a");
                story.dials(1, 2);
                story.at(ms).timeout();
            })
        };
        assert_eq!(check(2_000), [""; 0]);
        assert_eq!(
            check(2_001),
            ["detection: live/a has been connecting for 2.001 s: at most 2.000 s were promised"]
        );
    }

    /// A stream has got as far as its requests.
    fn requests(story: &mut Story) {
        story.register(1, "live/a");
        story.dials(1, 2);
        story.input(Inward::Connected { conn: 2, failed: None });
        story.step(1, S::Connecting, E::Connected, S::Handshaking);
        story.step(1, S::Handshaking, E::HandshakeDone, S::Requesting);
    }

    #[test]
    fn an_origin_that_answers_pings_is_waited_for() {
        let waits = |ponged: bool| {
            check(|story| {
                requests(story);
                story.step(1, S::Requesting, E::Playing, S::AwaitingMedia);
                for n in 1..=30 {
                    if ponged {
                        story.at(n * 1_000).input(Inward::Received { conn: 2, len: 10 });
                        story.step(1, S::AwaitingMedia, E::Pong, S::AwaitingMedia);
                    }
                }
                story.at(30_500).timeout();
            })
        };
        assert_eq!(waits(true), [""; 0]);
        assert!(waits(false)[0].contains("has been awaiting-media for 30.500 s: at most 20.000 s"));
    }

    #[test]
    fn an_origin_that_answers_pings_may_hold_its_answer() {
        let gives_up = |pongs: u64, ms: u64| {
            check(|story| {
                requests(story);
                story.step(1, S::Requesting, E::Asked, S::Requesting);
                for n in 1..=pongs {
                    story.at(n * 1_000).input(Inward::Received { conn: 2, len: 10 });
                    story.step(1, S::Requesting, E::Pong, S::Requesting);
                }
                story.at(ms).step(1, S::Requesting, E::Deadline, S::BackingOff);
            })
        };
        let texts = gives_up(5, 5_100);
        assert!(texts[0].contains("asked to play 5.100 s ago, answered a ping 0.100 s ago"), "{texts:?}");
        assert_eq!(gives_up(20, 20_000), [""; 0]);
        // Nothing says that it lives, or it has fallen silent.
        assert_eq!(gives_up(0, 2_900), [""; 0]);
        assert_eq!(gives_up(5, 15_000), [""; 0]);
    }

    #[test]
    fn a_frozen_process_notices_when_it_runs_again() {
        let events = vec![crate::oracle::story::fault(
            9,
            crate::oracle::story::PROXY_HOST,
            crate::scenario::model::Fault::Freeze,
        )];
        let scenario = crate::scenario::model::Scenario { events, ..crate::oracle::story::scenario() };
        let texts = Story::told_to(&scenario, Box::<Detection>::default(), |story| {
            streams(story, false);
            story.at(1_000).begins(0);
            story.at(9_000).world(What::OriginAccepted);
            story.at(10_000).lifts(0);
            story.step(1, S::Streaming, E::Deadline, S::Replaying);
        });
        assert_eq!(texts, [""; 0]);
    }
}
