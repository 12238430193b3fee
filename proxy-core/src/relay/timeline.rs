//! The clock: one rising time in milliseconds per stream, whatever origins do with theirs.
//!
//! ```text
//!  origin   5000 5040 5080 │ 0 40 80 │ 80 120          two re-pulls, each with a clock of its own
//!  stream      0   40   80 │ 120 160 200 │ 240 280     base of an epoch: last time out plus one frame
//! ```
//! Inside an epoch a frame's time is the epoch's base plus the distance its origin's clock has gone since;
//! the same for audio and video, so they stay in step. A track may lag behind: when a publisher begins anew,
//! its video may come on the new clock while old audio is still on the way. Such a track keeps the clock it
//! had until it steps over, so that one restart is one epoch and no frame is thrown far away. A track that is new
//! and comes far behind may be a kept GOP as well as a new beginning: the tracks known before tell which, or, where they
//! have fallen silent, its pace does: what was kept comes faster than time goes.

use crate::{
    relay::EpochCause,
    time::{Duration, Instant},
    wire::flv::Medium,
};

/// The stream's clock.
#[derive(Debug)]
pub(super) struct Timeline {
    /// A step back up to this, in milliseconds, is continuity; so are several, until the track has been further than before.
    backward_max: i64,
    /// A step forward up to this, in milliseconds, is continuity.
    forward_max: i64,
    /// The number of the epoch.
    epoch: u64,
    /// When the first frame on its clock came.
    began: Instant,
    /// The first time of the epoch, below which none of its frames goes.
    base: u64,
    /// The last time out, over all tracks.
    last: Option<u64>,
    /// The last frame placed on the epoch's clock.
    point: Option<Point>,
    /// The furthest time on it of a frame placed there.
    peak: i64,
    /// A frame placed on the epoch's clock went out; until then the base is not taken.
    sent: bool,
    /// Frames placed on epochs' clocks.
    placed: u64,
    /// The epoch began because a track far behind seemed to be live.
    is_guess: bool,
    /// The last distance between two frames, in milliseconds.
    video_frame: Option<u64>,
    /// Likewise.
    audio_frame: Option<u64>,
}

/// What the clock knows of one track.
#[derive(Debug, Default)]
pub(super) struct TrackClock {
    /// The track's last frame, sent or not.
    point: Option<Point>,
    /// The last epoch on whose clock it had one, or whose beginning it has passed on the clock it had.
    epoch: u64,
    /// That frame was left out before anything of its epoch had gone out: it tells how the track's timestamps run, and
    /// nothing of where they are on the clock that has begun since.
    is_loose: bool,
    /// Its headers came after that frame, as they do when a publisher begins anew.
    is_announced: bool,
    /// The furthest it has been on the clock that frame is on.
    peak: i64,
    /// By how much it has gone back since, in milliseconds, all steps together that are more than frames out of order.
    fallen: i64,
    /// How far behind the epoch's clock its last frame was, in milliseconds.
    lag: i64,
    /// The track's last time out.
    last: Option<u64>,
    /// How it comes while it is new and far behind.
    late: Option<Late>,
}

/// An origin's timestamp and its place on the stream's clock, before it is held back to rise.
#[derive(Clone, Copy, Debug)]
struct Point {
    raw: u32,
    time: i64,
}

/// How a track comes that is new and so far behind that its frames are all held at its last time out, while the other tracks
/// are silent.
#[derive(Clone, Copy, Debug)]
struct Late {
    /// [`Timeline::placed`] as it was: the others have not been silent if that has risen.
    placed: u64,
    /// The timestamp of its last frame.
    raw: u32,
    /// When that came.
    at: Instant,
    /// How far its timestamps have gone, in milliseconds.
    gone: u64,
    /// How long that took, in milliseconds; of a single wait no more than [`BREATH`], or its step.
    waited: u64,
    /// Frames that came no sooner than half a step after the one before.
    waits: u32,
}

/// How a timestamp stands to what came before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// When it came.
    at: Instant,
    /// Where it belongs.
    pub(super) place: Place,
    /// The track's own timestamps run on, or begin, with this one.
    pub(super) is_continuous: bool,
    step: Option<i64>,
    /// It stands, and how the track has come with it.
    late: Option<Late>,
}

/// Where a frame belongs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// At the epoch's base: nothing of the epoch's clock went out before it.
    Base,
    /// On the epoch's clock.
    Epoch(i64),
    /// On the clock its track had before the epoch.
    Own(i64),
    /// Far behind on the epoch's clock, where a track is new: what an origin kept of it and has yet to catch up, or
    /// the first of a publisher that begins anew. The tracks known so far tell which, so it is no ground for them; while
    /// they are silent and it stands, its pace tells.
    Behind(i64),
    /// Nowhere: an epoch begins.
    Jump(EpochCause),
}

/// One frame, when no two frames have told: 25 frames per second.
const FRAME_DEFAULT: u64 = 40;
/// The longest distance between frames that is believed to be one frame.
const FRAME_MAX: u64 = 100;

/// How far a track that stands goes no faster than time, in milliseconds, before it is taken to be live.
const LATE_MAX: u64 = 1000;
/// Likewise, how many of its frames come no sooner than half a step after the one before: two pauses of a network in the
/// middle of a kept GOP are not enough.
const WAITS_MAX: u32 = 3;
/// A live origin may keep frames back for as long, to write them together (SRS does for 350 ms), in milliseconds.
const BREATH: u64 = 400;

/// Where SRS wraps (it masks timestamps to 31 bits).
const WRAP_SRS: i64 = 1 << 31;
/// Where RTMP wraps (RTMP 1.0 §5.3.1.1 and §4 of its definitions: serial number arithmetic on 32 bits).
const WRAP: i64 = 1 << 32;

impl Timeline {
    pub(super) fn new(backward_max: Duration, forward_max: Duration) -> Self {
        let millis = |limit: Duration| i64::try_from(limit.as_millis()).unwrap_or(WRAP).min(WRAP);
        Self {
            backward_max: millis(backward_max),
            forward_max: millis(forward_max),
            epoch: 0,
            began: Instant::ZERO,
            base: 0,
            last: None,
            point: None,
            peak: 0,
            sent: false,
            placed: 0,
            is_guess: false,
            video_frame: None,
            audio_frame: None,
        }
    }

    /// Begins an epoch one frame after the last time out, however long the origin was away: a player's buffer
    /// bridges a gap on its own clock, a gap on the stream's clock it waits out.
    pub(super) fn begin_epoch(&mut self) {
        let frame = self.video_frame.or(self.audio_frame).unwrap_or(FRAME_DEFAULT);
        self.epoch += 1;
        self.base = self.last.map_or(0, |last| last + frame);
        self.point = None;
        self.sent = false;
        self.is_guess = false;
    }

    /// Returns the last time out in milliseconds, 0 before the first.
    pub(super) fn last(&self) -> u64 {
        self.last.unwrap_or(0)
    }

    /// Tells where a frame belongs.
    ///
    /// A track's own last timestamp decides first. Where it does not (the track is new to this play, or it
    /// jumped), the other tracks do: a track that comes back after a pause, or jumps where another has jumped
    /// before it, is in step with the epoch and begins none.
    pub(super) fn read(&self, clock: &TrackClock, raw: u32, now: Instant) -> Reading {
        let step = clock.point.and_then(|point| self.step(point.raw, raw, self.backward_max));
        // A clock that goes back again and again, and never further than it was, would stand for ever.
        let fallen = clock.fallen + step.map_or(0, fall);
        let has_worn = step.is_some() && fallen > self.backward_max;
        let step = step.filter(|_| !has_worn);
        let own = clock.point.zip(step).map(|(point, step)| point.time + step);
        let within =
            |reach| self.point.and_then(|point| Some(point.time + self.step(point.raw, raw, reach)?));
        let in_epoch = within(self.backward_max)
            .filter(|time| self.peak - time <= self.backward_max && (!has_worn || self.is_before(clock)));
        // The first frame of a track may be older than the others by a GOP that the origin kept.
        let behind = within(self.forward_max).filter(|_| clock.point.is_none());
        let late = behind.filter(|time| self.stands(clock, *time)).map(|_| self.late_after(clock, raw, now));
        let is_live = late.is_some_and(|late| late.is_live());
        // It follows the track's last frame; a longer step may be chance, where another publisher's clock happens to fit.
        let goes_on = step.is_some_and(|step| fall(step) == 0 && step < self.backward_max);
        let place = match (own, in_epoch) {
            // A publisher begins anew far behind the others, further than the track ever was: its headers came, and it steps back.
            (Some(own), None)
                if clock.is_announced && step.map_or(0, fall) > 0 && self.is_behind(clock, own) =>
            {
                Place::Jump(EpochCause::JumpBack)
            }
            // While nothing of an epoch is out, only who goes on is older than it.
            (Some(own), None) if self.point.is_some() && (self.sent || goes_on) => Place::Own(own),
            (_, _) if !self.sent => Place::Base,
            (Some(_), Some(time)) if clock.is_loose => Place::Epoch(time),
            // The guess was wrong: a track that was there before this epoch goes on, ahead of the others. It had only been held
            // back, or is sparse.
            (Some(_), Some(time)) if self.is_guess && self.is_before(clock) => Place::Epoch(time),
            // The epoch has closed a silence that this track had as well: its own clock would keep it.
            (Some(own), Some(time)) if self.is_before(clock) && own > time + self.backward_max => {
                Place::Epoch(time)
            }
            // Sound whose first frames were lost may come as late as its old clock would have.
            (Some(_), Some(time)) if clock.is_announced && self.is_before(clock) => Place::Epoch(time),
            // Back on the same clock, but for the fraction of a frame an epoch's base may shift it.
            (Some(own), Some(time)) if (own - time).abs() <= self.backward_max => Place::Epoch(time),
            // A step back that is none by itself goes with the others' jump, whichever of them came first.
            (Some(own), Some(time)) if self.is_nearer(time, self.behind(clock, own)) => Place::Epoch(time),
            // So does one that does not go on where the track was.
            (Some(_), Some(time)) if self.is_before(clock) && !goes_on && self.is_due(time, now) => {
                Place::Epoch(time)
            }
            (Some(own), _) => Place::Own(own),
            (None, _) if is_live => Place::Jump(EpochCause::JumpBack),
            (None, Some(time)) => Place::Epoch(time),
            (None, None) if let Some(time) = behind => Place::Behind(time),
            (None, None) => {
                let before = clock.point.or(self.point).map_or(0, |point| point.raw);
                Place::Jump(if raw < before { EpochCause::JumpBack } else { EpochCause::JumpForward })
            }
        };
        let is_continuous = step.is_some() || clock.point.is_none();
        Reading { at: now, place, is_continuous, step, late }
    }

    /// Returns whether a time is further behind the epoch's clock than its track was, by more than two steps back that are none.
    fn is_behind(&self, clock: &TrackClock, time: i64) -> bool {
        self.point.is_some() && self.peak - time > 2 * self.backward_max + clock.lag
    }

    /// Returns whether a time is before what its track may be sent at.
    fn stands(&self, clock: &TrackClock, time: i64) -> bool {
        let from = self.base.max(clock.last.unwrap_or(0));
        time < i64::try_from(from).unwrap_or(i64::MAX)
    }

    /// Returns how a track that stands has come with this frame.
    fn late_after(&self, clock: &TrackClock, raw: u32, now: Instant) -> Late {
        let placed = self.placed;
        let before = clock.late.filter(|late| late.placed == placed);
        let step = |late: &Late| self.step(late.raw, raw, self.backward_max);
        let Some((late, step)) = before.and_then(|late| Some((late, step(&late)?))) else {
            return Late { placed, raw, at: now, gone: 0, waited: 0, waits: 0 };
        };
        let step = u64::try_from(step).unwrap_or(0);
        let wait = u64::try_from(now.since(late.at).as_millis()).unwrap_or(u64::MAX);
        Late {
            placed,
            raw,
            at: now,
            gone: late.gone + step,
            waited: late.waited + wait.min(step.max(BREATH)),
            waits: late.waits + u32::from(wait > 0 && 2 * wait >= step),
        }
    }

    /// Returns whether a time on the epoch's clock is nearer to the last frame there than a track has fallen behind.
    fn is_nearer(&self, time: i64, behind: i64) -> bool {
        self.point.is_some_and(|point| (time - point.time).abs() < behind)
    }

    /// Returns whether a track has had no frame on the epoch's clock yet, nor passed its beginning on the clock it had.
    fn is_before(&self, clock: &TrackClock) -> bool {
        clock.point.is_some() && clock.epoch != self.epoch
    }

    /// Returns whether the epoch's clock has come as far as a time, or can have by now. What is old and late is further.
    fn is_due(&self, time: i64, now: Instant) -> bool {
        let gone = u64::try_from(now.since(self.began).as_millis()).unwrap_or(u64::MAX);
        let peak = u64::try_from(self.peak).unwrap_or(0);
        let come = self.base.saturating_add(gone).max(peak);
        u64::try_from(time).is_ok_and(|time| time <= come.saturating_add(BREATH))
    }

    /// Returns by how much a time on a track's own clock lies before where the track was, or before the epoch; negative
    /// ahead of both.
    fn behind(&self, clock: &TrackClock, own: i64) -> i64 {
        let base = i64::try_from(self.base).unwrap_or(i64::MAX);
        let point = clock.point.map_or(own, |point| point.time);
        let last = clock.last.and_then(|last| i64::try_from(last).ok()).unwrap_or(point);
        point.max(last).max(base) - own
    }

    /// Takes a frame that goes out and returns its time in milliseconds: never below the epoch's base, never
    /// below its track's last.
    pub(super) fn send(&mut self, clock: &mut TrackClock, medium: Medium, raw: u32, reading: Reading) -> u64 {
        let point = self.pass(clock, medium, raw, reading);
        clock.is_loose = false;
        match reading.place {
            Place::Base | Place::Epoch(_) | Place::Jump(_) => self.sent = true,
            Place::Own(_) | Place::Behind(_) => {}
        }
        let time = u64::try_from(point.time).unwrap_or(0).max(self.base).max(clock.last.unwrap_or(0));
        self.stamp(clock, time);
        time
    }

    /// Takes a frame that is left out: its clock counts, its time does not.
    pub(super) fn skip(&mut self, clock: &mut TrackClock, medium: Medium, raw: u32, reading: Reading) {
        self.pass(clock, medium, raw, reading);
        clock.is_loose = !self.sent;
    }

    /// Returns the time of what has no clock of its own on a track: headers come at 0 from one origin and at
    /// any time from another, so they are sent at their track's last time, or at the last of all while it has
    /// none.
    pub(super) fn send_header(&mut self, clock: &mut TrackClock) -> u64 {
        let time = self.base.max(clock.last.unwrap_or(self.last()));
        self.stamp(clock, time);
        time
    }

    /// Returns the time of what belongs to no track: the last time out.
    pub(super) fn send_data(&mut self) -> u64 {
        let time = self.base.max(self.last());
        self.last = Some(time);
        time
    }

    fn pass(&mut self, clock: &mut TrackClock, medium: Medium, raw: u32, reading: Reading) -> Point {
        let time = match reading.place {
            Place::Base => i64::try_from(self.base).unwrap_or(i64::MAX),
            Place::Epoch(time) | Place::Own(time) | Place::Behind(time) => time,
            Place::Jump(_) => i64::try_from(self.base).unwrap_or(i64::MAX),
        };
        let point = Point { raw, time };
        clock.is_announced = false;
        clock.late = reading.late;
        clock.lag = (self.peak - time).max(0);
        self.is_guess |= reading.is_guess();
        match reading.place {
            Place::Base | Place::Epoch(_) | Place::Jump(_) => {
                let goes_on = matches!(reading.place, Place::Epoch(_)) && clock.epoch == self.epoch;
                clock.go(point, reading.step.filter(|_| goes_on));
                clock.epoch = self.epoch;
                if self.point.is_none() {
                    (self.began, self.peak) = (reading.at, point.time);
                }
                self.peak = self.peak.max(point.time);
                self.point = Some(point);
                self.placed += 1;
            }
            Place::Own(time) => {
                clock.go(point, reading.step);
                if u64::try_from(time).is_ok_and(|time| time >= self.base) {
                    clock.epoch = self.epoch;
                }
            }
            Place::Behind(_) => {}
        }
        if let Some(frame) = reading.step.and_then(|step| u64::try_from(step).ok()).filter(|&step| step > 0) {
            let frame = Some(frame.min(FRAME_MAX));
            match medium {
                Medium::Audio => self.audio_frame = frame,
                Medium::Video => self.video_frame = frame,
                Medium::Data => {}
            }
        }
        point
    }

    fn stamp(&mut self, clock: &mut TrackClock, time: u64) {
        clock.last = Some(time);
        self.last = Some(self.last().max(time));
    }

    /// Returns the distance between two timestamps in milliseconds if it is no jump, wraps seen through.
    fn step(&self, from: u32, to: u32, backward_max: i64) -> Option<i64> {
        let plain = i64::from(to) - i64::from(from);
        let is_31_bit = i64::from(from) < WRAP_SRS && i64::from(to) < WRAP_SRS;
        let wraps = [0, WRAP, -WRAP, WRAP_SRS, -WRAP_SRS];
        let wraps = if is_31_bit { &wraps[..] } else { &wraps[..3] };
        wraps.iter().map(|wrap| plain + wrap).find(|step| (-backward_max..=self.forward_max).contains(step))
    }
}

/// Returns by how much a step goes back; frames that are merely out of order do not.
fn fall(step: i64) -> i64 {
    if step < -FRAME_MAX.cast_signed() { -step } else { 0 }
}

impl Late {
    /// Returns whether the track has come for long enough no faster than time goes, or hardly. What was kept comes more
    /// than twice as fast, except over a slow line.
    fn is_live(self) -> bool {
        self.waits >= WAITS_MAX && self.gone >= LATE_MAX && self.gone <= 2 * self.waited
    }
}

impl Reading {
    /// Returns whether an epoch begins because the track seems to be live.
    fn is_guess(&self) -> bool {
        self.late.is_some() && matches!(self.place, Place::Jump(_))
    }
}

impl TrackClock {
    /// Goes to another point, by a step of the track's own timestamps on the clock it was on, or to another clock.
    fn go(&mut self, point: Point, step: Option<i64>) {
        self.point = Some(point);
        match step {
            Some(step) if point.time <= self.peak => self.fallen += fall(step),
            Some(_) | None => (self.peak, self.fallen) = (point.time, 0),
        }
    }

    /// Takes that the track's sequence header has come, changed or not.
    pub(super) fn announce(&mut self) {
        self.is_announced = true;
    }

    /// Returns the track's last time out in milliseconds.
    pub(super) fn last(&self) -> Option<u64> {
        self.last
    }
}
