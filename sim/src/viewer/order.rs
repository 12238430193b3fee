//! Whether frames follow each other as they may: none of what is over, nothing twice within a play, one GOP at most
//! across a re-pull, with a keyframe and headers where something begins.

use proxy_core::time::Instant;

use super::{
    Floor, Viewer,
    clocks::{runs_on, step},
};
use crate::raw::media::{Stamp, StampKind, Track};

/// How a frame stands to the one before on its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The next one, or the first of all.
    Next,
    /// A later one of the same play.
    Gap,
    /// Of a newer play or life.
    Changed,
    /// Out of order.
    Back,
}

impl Viewer {
    /// A connection begun after a newer play was seen gets nothing of older ones: it would be the end of a picture that goes no
    /// further.
    pub(super) fn check_stale(&mut self, track: Track, stamp: &Stamp, now: Instant) {
        let floor = self.sitting.floor;
        if (stamp.epoch < floor.epoch || stamp.play < floor.play) && !self.sitting.stale {
            self.sitting.stale = true;
            let what = format!(
                "stale {track:?} frame {} of life {} play {}: life {} play {} is the oldest a joiner may get",
                stamp.number, stamp.epoch, stamp.play, floor.epoch, floor.play
            );
            self.violation(&what, now);
        }
        self.newest =
            Floor { play: self.newest.play.max(stamp.play), epoch: self.newest.epoch.max(stamp.epoch) };
    }

    /// Returns the GOP a re-pull may go back to the beginning of: the last whose keyframe came. Sound can be further, where a
    /// publisher sends nothing but that.
    fn reached(&mut self, track: Track, last: &Stamp) -> u32 {
        let video = self.sitting.track(Track::Video);
        let picture = video.last.filter(|picture| track == Track::Audio && picture.epoch == last.epoch);
        let key = video.key.filter(|(epoch, _)| *epoch == last.epoch).map(|(_, gop)| gop);
        last.gop.min(picture.map_or(last.gop, |picture| picture.gop)).min(key.unwrap_or(last.gop))
    }

    /// Another life whose clock runs on within one play is nothing a relay could tell from the last one: on this track, or on the
    /// one that came first.
    fn is_unseen(&self, last: &Stamp, stamp: &Stamp) -> bool {
        let runs_on = runs_on(last.time, stamp.time) || self.sitting.unseen == Some(stamp.epoch);
        last.play == stamp.play && last.epoch != stamp.epoch && runs_on
    }

    pub(super) fn check_order(&mut self, track: Track, stamp: &Stamp, now: Instant) -> Order {
        let (play, epoch) = (self.sitting.play, self.sitting.epoch);
        let is_comparable = self.config.one_origin || stamp.play == play;
        if stamp.play < play || is_comparable && stamp.epoch < epoch {
            let what = format!(
                "{track:?} frame {} of life {} play {} after life {epoch} play {play}",
                stamp.number, stamp.epoch, stamp.play
            );
            self.violation(&what, now);
            return Order::Back;
        }
        (self.sitting.play, self.sitting.epoch) = (stamp.play, stamp.epoch);
        if let Some(before) = self.sitting.last.replace(*stamp)
            && before.epoch != stamp.epoch
        {
            let runs_on = before.play == stamp.play && runs_on(before.time, stamp.time);
            self.sitting.unseen = runs_on.then_some(stamp.epoch);
        }
        let Some(last) = self.sitting.track(track).last else { return Order::Next };

        // Another proxy pulls anew from one that goes on with its play; all that shows is that something comes again.
        let is_repulled = !self.config.headers_again && stamp.number <= last.number;
        let order = if last.epoch != stamp.epoch || last.play != stamp.play && !self.config.one_origin {
            Order::Changed
        } else if last.play != stamp.play || is_repulled {
            let reached = self.reached(track, &last);
            if stamp.gop < reached {
                let what =
                    format!("{track:?} goes back from GOP {reached} to {} across a re-pull", stamp.gop);
                self.violation(&what, now);
            }
            self.report.repeated += u64::from((last.number + 1).saturating_sub(stamp.number));
            Order::Changed
        } else if stamp.number <= last.number {
            let what = format!("{track:?} frame {} after {} within one play", stamp.number, last.number);
            self.violation(&what, now);
            return Order::Back;
        } else if stamp.number == last.number + 1 {
            Order::Next
        } else {
            // Where the origin's clock jumps a new epoch begins, and pictures before its keyframe are left out. A jump back by
            // as much as was left out looks like a small step: the clock has not gone on.
            let has_gone_on = step(last.time, stamp.time).is_some_and(|step| step > 0);
            self.report.leaps += u64::from(has_gone_on);
            self.report.lost += u64::from(stamp.number - last.number - 1);
            Order::Gap
        };
        // Another life whose clock runs on within one play is nothing a relay could tell from the last one. A picture whose own
        // clock jumps it holds back, whatever the sound's does.
        let is_unseen =
            last.play == stamp.play && last.epoch != stamp.epoch && runs_on(last.time, stamp.time);
        if track == Track::Video && order != Order::Next && stamp.kind != StampKind::Key && !is_unseen {
            let what =
                format!("video goes on without a keyframe at frame {} after {}", stamp.number, last.number);
            self.violation(&what, now);
        }
        order
    }

    pub(super) fn check_header(
        &mut self,
        track: Track,
        stamp: &Stamp,
        before: Option<Stamp>,
        needed: bool,
        now: Instant,
    ) {
        let state = self.sitting.track(track);
        let (header, again) = (state.header, state.header_since_frame);
        if !needed || header.is_none() {
            return;
        }
        if header != Some(stamp.header) {
            self.violation(&format!("{track:?} frame {} under another sequence header", stamp.number), now);
        }
        let changed = before.is_some_and(|last| {
            last.play != stamp.play || last.epoch != stamp.epoch && !self.is_unseen(&last, stamp)
        });
        if changed && !again && self.config.headers_again {
            let what = format!(
                "no {track:?} sequence header between play {} and {}",
                before.map_or(0, |last| last.play),
                stamp.play
            );
            self.violation(&what, now);
        }
    }
}
