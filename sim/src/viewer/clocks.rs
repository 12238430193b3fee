//! Whether timestamps go as they may: none falls or leaps, a track's clock goes as the origin's does, and both tracks keep
//! one offset.

use std::mem;

use proxy_core::time::{Duration, Instant};

use super::{GOES_FURTHER, LEAPS, SKEW_FRAMES_MAX, Viewer, order::Order};
use crate::raw::media::{Stamp, Track};

/// How a track's clock goes within one play, in ms.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What it has gone more than the origin's clock.
    drift: i64,
    /// What the origin's clock has gone while it stood still.
    held: i64,
    /// It stood still at the last frame.
    is_held: bool,
    /// The last frame was the first of another life within one play, seen or not: whether the clock jumps with it is settled by
    /// the first frame of either track.
    is_unsettled: bool,
}

impl Viewer {
    pub(super) fn check_rising(&mut self, track: Track, timestamp: u32, now: Instant) {
        let state = self.sitting.track(track);
        if let Some(last) = state.last_time.replace(timestamp)
            && timestamp.wrapping_sub(last) > 0x7FFF_FFFF
        {
            self.violation(&format!("{track:?} timestamp {timestamp} after {last}"), now);
        }
    }

    /// What has no track goes with all of them: a player that goes by it would wait for what has been.
    pub(super) fn check_data(&mut self, timestamp: u32, now: Instant) {
        let Some(last) = latest(self.sitting.video.out, self.sitting.audio.out) else { return };
        if timestamp.wrapping_sub(last) > 0x7FFF_FFFF {
            self.violation(&format!("data at {timestamp} behind a frame at {last}"), now);
        }
    }

    /// Between two frames of one play a track's clock goes as far as the origin's has gone. It may stand still while it
    /// is ahead, and catches up by standing.
    pub(super) fn check_pace(
        &mut self,
        track: Track,
        timestamp: u32,
        (stamp, before): (Option<Stamp>, Option<Stamp>),
        (goes_on, order): (bool, Order),
        now: Instant,
    ) {
        let stamps = stamp.zip(before);
        let (drift_max, hold_max) = (millis(self.config.drift_max), millis(self.config.hold_max));
        let state = self.sitting.track(track);
        let out =
            state.out.replace(timestamp).map(|last| i64::from(timestamp.wrapping_sub(last).cast_signed()));
        // A publisher may begin anew again and again: the clock need not follow it back, and must not wait for ever.
        let goes = stamps.and_then(|(stamp, last)| step(last.time, stamp.time)).unwrap_or(0).max(0);
        state.stands = if out.is_none_or(|out| out != 0) { 0 } else { state.stands + goes };
        if state.stands > hold_max {
            let stands = mem::take(&mut state.stands);
            state.pace.held = 0;
            let what = format!(
                "{track:?} timestamps stand still at {timestamp}, the origin's have gone {stands} ms meanwhile"
            );
            self.violation(&what, now);
            return;
        }
        let is_one_play = match order {
            Order::Next | Order::Gap => goes_on,
            Order::Changed | Order::Back => false,
        };
        // Where the origin's own clock jumps, or falls back, the relay's begins anew or waits.
        let origin = stamps.and_then(|(stamp, last)| step(last.time, stamp.time));
        let falls_back = origin.is_some_and(|step| step < 0);
        let (Some(out), Some(origin), true, false) = (out, origin, is_one_play, falls_back) else {
            // What begins may be older than the beginning of its play, and wait from its first frame on.
            let is_unsettled = match stamps {
                Some((stamp, last)) => order == Order::Changed && stamp.play == last.play,
                // Who joins here has not seen the life before.
                None => stamp.is_some_and(|stamp| stamp.number == 0 && stamp.epoch > 1),
            };
            state.pace = Pace { is_held: true, is_unsettled, ..Pace::default() };
            return;
        };
        if state.pace.is_unsettled {
            state.pace = Pace { is_held: true, ..Pace::default() };
            return;
        }
        let pace = &mut state.pace;
        let is_held = out == 0 && (origin > 0 || pace.is_held);
        let was_held = mem::replace(&mut pace.is_held, is_held);
        if pace.is_held {
            pace.held += origin;
        } else if !(was_held && out <= origin) {
            pace.drift += out - origin;
        }
        let (drift, held) = (pace.drift, pace.held);
        let what = if held > hold_max {
            format!(
                "{track:?} timestamps stand still at {timestamp}, the origin's have gone {held} ms meanwhile"
            )
        } else if drift.abs() > drift_max {
            format!("{track:?} timestamps have gone {drift} {GOES_FURTHER}, by {timestamp}")
        } else {
            return;
        };
        pace.drift = 0;
        pace.held = 0;
        self.violation(&what, now);
    }

    pub(super) fn check_forward(
        &mut self,
        track: Track,
        timestamp: u32,
        (order, stamp): (Order, Option<Stamp>),
        step_max: Option<Duration>,
        now: Instant,
    ) {
        let Some(step_max) = step_max else { return };
        let last = match order {
            // A track that lags catches up with the other in one step.
            Order::Next => {
                let (own, other) = (self.sitting.track(track).out, self.sitting.track(track.other()).out);
                own.and_then(|own| latest(Some(own), other))
            }
            // Where the other track has begun this play, both must be in step, and that is judged.
            Order::Changed if self.has_begun(track.other(), stamp) => None,
            Order::Changed => latest(self.sitting.video.out, self.sitting.audio.out),
            Order::Gap | Order::Back => None,
        };
        let Some(last) = last else { return };
        let step = timestamp.wrapping_sub(last);
        if step <= 0x7FFF_FFFF && u128::from(step) > step_max.as_millis() {
            self.violation(&format!("{track:?} {LEAPS} from {last} to {timestamp}"), now);
        }
    }

    /// A track has had a frame of the same play and life.
    fn has_begun(&self, track: Track, stamp: Option<Stamp>) -> bool {
        let state = if track == Track::Video { &self.sitting.video } else { &self.sitting.audio };
        let is_same = |(stamp, last): (Stamp, Stamp)| (stamp.play, stamp.epoch) == (last.play, last.epoch);
        stamp.zip(state.last).is_some_and(is_same)
    }

    /// One offset serves both tracks of a play, else picture and sound drift apart.
    pub(super) fn check_skew(&mut self, track: Track, timestamp: u32, stamp: &Stamp, now: Instant) {
        let skew_max = self.config.skew_max;
        self.sitting.frames += 1;
        let number = self.sitting.frames;
        let state = self.sitting.track(track);
        let offset = timestamp.wrapping_sub(stamp.time);
        (state.offset, state.number) = (Some(offset), number);
        let moved = match state.kept {
            Some((kept, moved)) if apart(kept, offset) <= skew_max => moved,
            Some(_) => state.kept.insert((offset, number)).1,
            None => state.kept.insert((offset, 0)).1,
        };
        // A track that has been silent since before the origin's clock jumped, or since this one was moved, as by a re-pull
        // of a proxy behind another one, is no measure for the other; nor is one that stands: it began ahead, and waits.
        let other = if track == Track::Video { &self.sitting.audio } else { &self.sitting.video };
        let is_measure = other.number >= moved
            && !other.pace.is_held
            && other.last.is_some_and(|last| {
                (last.play, last.epoch) == (stamp.play, stamp.epoch) && runs_on(last.time, stamp.time)
            });
        let Some(others) = other.offset.filter(|_| is_measure) else { return };
        let skew = apart(offset, others);
        if skew <= skew_max {
            self.sitting.skewed = 0;
            return;
        }
        self.sitting.skewed += 1;
        if self.sitting.skewed == SKEW_FRAMES_MAX + 1 {
            self.violation(&format!("audio and video are {} ms apart", skew.as_millis()), now);
        }
    }
}

fn latest(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    match (a, b) {
        (Some(a), Some(b)) if a.wrapping_sub(b) > 0x7FFF_FFFF => Some(b),
        (Some(a), _) => Some(a),
        (None, b) => b,
    }
}

/// Returns how far two offsets are apart, of which one may be of before SRS's clock turned over, at 2^31.
fn apart(a: u32, b: u32) -> Duration {
    let ways = [a.wrapping_sub(b), b.wrapping_sub(a)].map(|apart| apart & (u32::MAX >> 1));
    Duration::from_millis(u64::from(ways[0].min(ways[1])))
}

/// Returns whether a timestamp follows another without a jump.
pub(super) fn runs_on(before: u32, after: u32) -> bool {
    step(before, after).is_some()
}

/// Returns the step from one timestamp to another in ms, over the wraps at 2^32 and at SRS's 2^31 too; `None` of a jump.
pub(super) fn step(before: u32, after: u32) -> Option<i64> {
    let step = |bits: u32| {
        let wrapped = i64::from(after.wrapping_sub(before) & (u32::MAX >> (32 - bits)));
        if wrapped >= 1 << (bits - 1) { wrapped - (1 << bits) } else { wrapped }
    };
    [32, 31].into_iter().map(step).find(|step| (-1000..=10_000).contains(step))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
