//! A play under way: what of a publisher's life it gets, and when.

use proxy_core::time::{Duration, Instant};

use super::{
    BACKLOG_MAX, DEFECT_FRAME, Ending, Streams,
    config::{Behaviour, Defect, EndBy, MetadataStyle, Unpublish, Video, Withhold},
    conn::{Conn, Fate, House},
    publisher::{DueFrame, HeaderNo, Life, Position},
};
use crate::raw::{
    amf0::{self, Amf},
    chunk::{RawMessage, RawMessageRef, kind},
    media::{self, StampKind, Track},
};

#[derive(Debug)]
pub(super) struct Play {
    /// The place of its stream.
    pub(super) place: usize,
    pub(super) message_stream: u32,
    number: u32,
    /// Its turn in the ledger.
    turn: u32,
    at: Instant,
    /// Play.Start has been sent.
    started: bool,
    /// StreamNotFound is due.
    pub(super) missing_at: Option<Instant>,
    pub(super) reconnect_at: Option<Instant>,
    feed: Feed,
    /// What its connection has had, and does not get again.
    pub(super) had: Option<Had>,
    /// No more media until it is woken.
    quiet: bool,
    /// What it has missed is not made up for.
    is_behind: bool,
    sent: u64,
    /// When the next frame may go, where frames drip.
    drip_at: Instant,
    /// Video was kept back: it comes back with a keyframe.
    wants_key: bool,
    defect_done: bool,
    /// Held back by [`Defect::Swapped`].
    held: Option<DueFrame>,
}

/// What of a publisher's life a play has had.
#[derive(Debug)]
enum Feed {
    /// Nobody publishes.
    Waiting,
    /// Frames flow.
    Live { epoch: u32, position: Position, video_header: Option<HeaderNo>, audio_header: Option<HeaderNo> },
}

/// The sequence headers a connection has had of a publisher's life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Had {
    place: usize,
    epoch: u32,
    video: Option<HeaderNo>,
    audio: Option<HeaderNo>,
}

/// Messages that are due together, to be mixed or packed.
type Batch = Vec<(u32, RawMessage)>;

impl Play {
    pub(super) fn new(place: usize, message_stream: u32, number: u32, turn: u32, at: Instant) -> Self {
        Self {
            place,
            message_stream,
            number,
            turn,
            at,
            started: false,
            missing_at: None,
            reconnect_at: None,
            feed: Feed::Waiting,
            had: None,
            quiet: false,
            is_behind: false,
            sent: 0,
            drip_at: at,
            wants_key: false,
            defect_done: false,
            held: None,
        }
    }

    /// Sends no more media.
    pub(super) fn hush(&mut self) {
        self.quiet = true;
    }

    /// Sends media again, if it does not: from the GOP under way.
    pub(super) fn wake(&mut self) {
        self.is_behind |= std::mem::take(&mut self.quiet);
    }

    /// Returns when it has something to do; frames count only if they may be sent.
    pub(super) fn deadline(&self, streams: &Streams, may_send: bool) -> Option<Instant> {
        let frame = match (&self.feed, &streams.list[self.place].life) {
            (Feed::Live { position, .. }, Some(life)) if may_send && !self.quiet => life.due(*position),
            (Feed::Live { .. } | Feed::Waiting, _) => None,
        };
        [self.missing_at, self.reconnect_at, frame].into_iter().flatten().min()
    }

    /// Joins the publisher's life if it is another one than before.
    fn begin_life(&mut self, life: &Life, gop_cache: bool, now: Instant) -> bool {
        let waited = match &self.feed {
            Feed::Live { epoch, .. } if *epoch == life.epoch => return false,
            Feed::Live { .. } => true,
            Feed::Waiting => self.at <= life.start(),
        };
        let position = if waited { life.beginning() } else { life.join(gop_cache, now) };
        let had = self.had.filter(|had| (had.place, had.epoch) == (self.place, life.epoch));
        let (video_header, audio_header) = had.map_or((None, None), |had| (had.video, had.audio));
        self.feed = Feed::Live { epoch: life.epoch, position, video_header, audio_header };
        true
    }

    /// Returns the sequence headers it has sent, or need not send.
    pub(super) fn headers(&self) -> Option<Had> {
        let Feed::Live { epoch, video_header: video, audio_header: audio, .. } = self.feed else {
            return None;
        };
        Some(Had { place: self.place, epoch, video, audio })
    }

    /// Skips to the GOP under way when far behind.
    fn catch_up(&mut self, life: &Life, now: Instant) {
        let Feed::Live { position, .. } = &mut self.feed else { return };
        let is_late = life.due(*position).is_some_and(|at| at + BACKLOG_MAX < now);
        if std::mem::take(&mut self.is_behind) || is_late {
            let current = life.join(true, now);
            position.video = position.video.max(current.video);
            position.audio = position.audio.max(current.audio);
        }
    }

    fn take(&mut self, life: &Life, now: Instant) -> Option<DueFrame> {
        let Feed::Live { position, .. } = &mut self.feed else { return None };
        life.take(position, self.number, now)
    }

    /// Returns whether a frame goes out, or is kept back.
    fn lets_through(&mut self, frame: &DueFrame, behaviour: &Behaviour, now: Instant) -> bool {
        let key = frame.stamp.kind == StampKind::Key;
        let muted = match frame.track {
            Track::Video => behaviour.muted.video,
            Track::Audio => behaviour.muted.audio,
        };
        let lacks_key = frame.track == Track::Video && !key && (self.wants_key || behaviour.drip.is_some());
        let drips = behaviour.drip.is_some() && now < self.drip_at;
        if behaviour.withhold > Withhold::Nothing || muted || lacks_key || drips {
            self.wants_key |= frame.track == Track::Video;
            return false;
        }
        if frame.track == Track::Video {
            self.wants_key = false;
        }
        self.drip_at = now + behaviour.drip.unwrap_or(Duration::ZERO);
        true
    }

    /// Returns whether a track's sequence header was not sent before, and notes that it is.
    fn needs_header(&mut self, track: Track, header: HeaderNo) -> bool {
        let Feed::Live { video_header, audio_header, .. } = &mut self.feed else { return false };
        let sent = match track {
            Track::Video => video_header,
            Track::Audio => audio_header,
        };
        sent.replace(header) != Some(header)
    }
}

impl Conn {
    /// The publisher waited for is there, or another one has taken over.
    pub(super) fn on_published(&mut self, behaviour: &Behaviour) {
        let Some(play) = &mut self.play else { return };
        let (stream, started) = (play.message_stream, play.started);
        play.missing_at = None;
        if started && behaviour.unpublish == Unpublish::Notify {
            self.say(Ending::PublishNotify, stream);
        }
    }

    pub(super) fn on_unpublished(&mut self, behaviour: &Behaviour) {
        let Some(play) = &mut self.play else { return };
        let stream = play.message_stream;
        play.feed = Feed::Waiting;
        match behaviour.unpublish {
            Unpublish::Silent => {}
            Unpublish::StreamEof => self.say(Ending::StreamEof, stream),
            Unpublish::StreamDry => self.say(Ending::StreamDry, stream),
            Unpublish::Notify => self.say(Ending::UnpublishNotify, stream),
            Unpublish::Stop => self.say(Ending::PlayStop, stream),
            Unpublish::Close => self.end = Some(Fate::Closes),
            Unpublish::EofAndClose => {
                self.say(Ending::StreamEof, stream);
                self.end = Some(Fate::Closes);
            }
        }
    }

    /// Says what stands before the media.
    pub(super) fn start_play(&mut self, behaviour: &Behaviour, name: &str) {
        let Some(play) = &mut self.play else { return };
        if std::mem::replace(&mut play.started, true) {
            return;
        }
        play.missing_at = None;
        let stream = play.message_stream;
        let style = behaviour.start;
        if style.begin {
            self.stream_event(0, stream);
        }
        if style.reset {
            self.status(stream, "status", "NetStream.Play.Reset", name);
        }
        self.status(stream, "status", "NetStream.Play.Start", name);
        if style.sample_access {
            let access = [Amf::text("|RtmpSampleAccess"), Amf::Bool(true), Amf::Bool(true)];
            self.data(behaviour.csids.data, stream, 0, &access);
        }
    }

    /// Sends what is due of the stream played.
    pub(super) fn feed(&mut self, house: &mut House<'_>) {
        if !self.may_send(house.behaviour) {
            return;
        }
        let Some(play) = self.play.as_mut().filter(|play| !play.quiet) else { return };
        let stream = &house.streams.list[play.place];
        let Some(life) = &stream.life else { return };
        let (turn, sent) = (play.turn, play.sent);
        let behaviour = house.behaviour;
        let begins = play.begin_life(life, behaviour.gop_cache, house.now);
        let starts = !play.started;
        if starts && !behaviour.media_before_start {
            self.start_play(behaviour, &stream.name);
        }
        if begins {
            self.send_preface(life, behaviour, house.scratch);
        }
        if starts {
            self.start_play(behaviour, &stream.name);
        }
        self.send_frames(life, behaviour, house.scratch, house.now);
        if let Some(play) = self.play.as_ref().filter(|play| play.sent != sent) {
            house.ledger.note_frames(turn, play.sent);
        }
    }

    /// Metadata, and the sequence headers of the tracks that are running.
    fn send_preface(&mut self, life: &Life, behaviour: &Behaviour, scratch: &mut Vec<u8>) {
        let Some(Play { feed: Feed::Live { position, .. }, message_stream, .. }) = &self.play else { return };
        let (position, stream) = (*position, *message_stream);
        if behaviour.withhold < Withhold::Everything {
            self.metadata(life, position, stream, behaviour);
        }
        if behaviour.withhold > Withhold::Frames {
            return;
        }
        let mut batch = Batch::new();
        for track in [Track::Video, Track::Audio] {
            if let Some(header) = life.header_at(track, position).filter(|_| life.is_running(track, position))
            {
                let time = life.timestamp_at(position);
                self.header(life, track, header, time, behaviour, scratch, &mut batch);
            }
        }
        self.writer.write_together(&batch, &mut self.outlet.bytes);
    }

    fn metadata(&mut self, life: &Life, position: Position, stream: u32, behaviour: &Behaviour) {
        let (width, height) = life.size(position);
        let mut entries = vec![("server".to_owned(), Amf::text("repull-sim"))];
        if let Some(video) = &life.publisher.video {
            entries.push(("width".into(), Amf::Number(f64::from(width))));
            entries.push(("height".into(), Amf::Number(f64::from(height))));
            entries.push(("framerate".into(), Amf::Number(f64::from(video.fps))));
            if has_cues(video, behaviour) {
                entries.push((media::CUES.into(), Amf::Bool(true)));
            }
        }
        entries.push(("hasAudio".into(), Amf::Bool(life.publisher.audio.is_some())));
        let time = life.timestamp_at(position);
        let csid = behaviour.csids.data;
        match behaviour.metadata {
            MetadataStyle::Absent => {}
            MetadataStyle::Ecma => {
                self.data(csid, stream, time, &[Amf::text("onMetaData"), Amf::Ecma(entries)])
            }
            MetadataStyle::Object => {
                self.data(csid, stream, time, &[Amf::text("onMetaData"), Amf::Object(entries)])
            }
            MetadataStyle::SetDataFrame => {
                self.data(
                    csid,
                    stream,
                    time,
                    &[Amf::text("@setDataFrame"), Amf::text("onMetaData"), Amf::Ecma(entries)],
                );
            }
        }
    }

    fn send_frames(&mut self, life: &Life, behaviour: &Behaviour, scratch: &mut Vec<u8>, now: Instant) {
        if let Some(play) = &mut self.play {
            play.catch_up(life, now);
        }
        let mut batch = Batch::new();
        while let Some(play) = &mut self.play {
            let Some(frame) = play.take(life, now) else { break };
            let frame = if behaviour.keyless { frame.without_key() } else { frame };
            if !play.lets_through(&frame, behaviour, now) {
                continue;
            }
            play.sent += 1;
            let end = behaviour.end.filter(|end| play.sent >= end.frames);
            self.frame(life, frame, behaviour, scratch, &mut batch);
            if let Some(end) = end {
                self.writer.write_together(&batch, &mut self.outlet.bytes);
                return self.end_play(end.by);
            }
        }
        self.writer.write_together(&batch, &mut self.outlet.bytes);
    }

    fn end_play(&mut self, by: EndBy) {
        if let Some(play) = &mut self.play {
            play.hush();
        }
        match by {
            EndBy::Close => self.end = Some(Fate::Closes),
            EndBy::Reset => self.end = Some(Fate::Resets),
            EndBy::Cut => {
                let keep = self.outlet.bytes.len().saturating_sub(20);
                self.outlet.bytes.truncate(keep);
                self.end = Some(Fate::Closes);
            }
            EndBy::Silence => {}
        }
    }

    /// Sends a frame, its sequence header first if that is another one than before.
    fn frame(
        &mut self,
        life: &Life,
        frame: DueFrame,
        behaviour: &Behaviour,
        scratch: &mut Vec<u8>,
        batch: &mut Batch,
    ) {
        self.header(life, frame.track, frame.header, frame.timestamp, behaviour, scratch, batch);
        let Some(play) = &mut self.play else { return };
        let strike = play.sent > DEFECT_FRAME && !play.defect_done;
        match behaviour.defect.filter(|_| strike) {
            None => self.whole(life, &frame, behaviour, scratch, batch),
            Some(defect) => self.spoil(defect, life, frame, behaviour, scratch, batch),
        }
    }

    fn spoil(
        &mut self,
        defect: Defect,
        life: &Life,
        mut frame: DueFrame,
        behaviour: &Behaviour,
        scratch: &mut Vec<u8>,
        batch: &mut Batch,
    ) {
        let Some(play) = &mut self.play else { return };
        play.defect_done = true;
        let is_inter = frame.track == Track::Video && frame.stamp.kind == StampKind::Inter;
        match defect {
            // Done where headers are sent.
            Defect::NoHeaders | Defect::WrongHeader => {}
            Defect::Swapped => match play.held.take() {
                None if frame.track == Track::Audio => {
                    play.held = Some(frame);
                    play.defect_done = false;
                    return;
                }
                Some(held) if frame.track == Track::Audio => {
                    frame.timestamp = held.timestamp;
                    self.whole(life, &frame, behaviour, scratch, batch);
                    return self.whole(life, &held, behaviour, scratch, batch);
                }
                held => {
                    play.held = held;
                    play.defect_done = false;
                }
            },
            Defect::Repeated => self.whole(life, &frame, behaviour, scratch, batch),
            Defect::Foreign => frame.stamp.stream ^= 1,
            Defect::OldLife => frame.stamp.epoch = frame.stamp.epoch.wrapping_sub(1),
            Defect::Corrupt => {
                scratch.clear();
                life.put_payload(&frame, scratch);
                if let Some(last) = scratch.last_mut() {
                    *last ^= 1;
                }
                return self.media(frame.track, frame.timestamp, scratch, behaviour, batch);
            }
            Defect::TimeBack => frame.timestamp = frame.timestamp.wrapping_sub(500),
            Defect::TimeForward => frame.timestamp = frame.timestamp.wrapping_add(3_600_000),
            Defect::Lost if is_inter => return,
            Defect::Lost => play.defect_done = false,
        }
        self.whole(life, &frame, behaviour, scratch, batch);
    }

    #[expect(clippy::too_many_arguments, reason = "what is sent, by what rules, and where to")]
    fn header(
        &mut self,
        life: &Life,
        track: Track,
        number: HeaderNo,
        time: u32,
        behaviour: &Behaviour,
        scratch: &mut Vec<u8>,
        batch: &mut Batch,
    ) {
        let Some(play) = &mut self.play else { return };
        let header = life.header(track, number);
        if !play.needs_header(track, number) || header.is_empty() {
            return;
        }
        scratch.clear();
        scratch.extend_from_slice(header);
        match behaviour.defect {
            Some(Defect::NoHeaders) => return,
            Some(Defect::WrongHeader) => scratch.push(0),
            _ => {}
        }
        self.media(track, time, scratch, behaviour, batch);
    }

    /// Sends a frame as it is.
    fn whole(
        &mut self,
        life: &Life,
        frame: &DueFrame,
        behaviour: &Behaviour,
        scratch: &mut Vec<u8>,
        batch: &mut Batch,
    ) {
        scratch.clear();
        life.put_payload(frame, scratch);
        self.media(frame.track, frame.timestamp, scratch, behaviour, batch);
        let is_cue_due = life.publisher.video.as_ref().is_some_and(|video| has_cues(video, behaviour));
        if is_cue_due && frame.stamp.kind == StampKind::Key {
            let cue = [Amf::text(media::CUE), Amf::Number(f64::from(frame.stamp.gop))];
            let csid = behaviour.csids.data;
            self.message(csid, kind::DATA, frame.timestamp, &amf0::write_all(&cue), behaviour, batch);
            if let Some(command) = media::video_command(scratch) {
                self.media(Track::Video, frame.timestamp, &command, behaviour, batch);
            }
        }
    }

    fn media(
        &mut self,
        track: Track,
        timestamp: u32,
        payload: &[u8],
        behaviour: &Behaviour,
        batch: &mut Batch,
    ) {
        let (csid, kind) = match track {
            Track::Video => (behaviour.csids.video, kind::VIDEO),
            Track::Audio => (behaviour.csids.audio, kind::AUDIO),
        };
        self.message(csid, kind, timestamp, payload, behaviour, batch);
    }

    /// Sends a message of the play.
    fn message(
        &mut self,
        csid: u32,
        kind: u8,
        timestamp: u32,
        payload: &[u8],
        behaviour: &Behaviour,
        batch: &mut Batch,
    ) {
        let Some(play) = &self.play else { return };
        let stream = behaviour.media_stream.unwrap_or(play.message_stream);
        let message = RawMessageRef { kind, stream, timestamp, payload };
        if self.writer.is_plain() {
            self.writer.write_ref(csid, message, &mut self.outlet.bytes);
        } else {
            batch.push((csid, message.to_message()));
        }
    }
}

/// Where messages are interleaved the short cue overtakes its keyframe: then there are none.
fn has_cues(video: &Video, behaviour: &Behaviour) -> bool {
    video.cues && !behaviour.wire.interleave
}
