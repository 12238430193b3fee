//! A sick origin or player disturbs nobody else (I12): a stream whose proxy, origins and players no fault has ever
//! touched goes on, whatever happens beside it.

use proxy_core::{
    io::{EventKind, PullEventKind, PullState},
    time::Instant,
};

use super::{Findings, Kinds, Oracle, PLAYER, SAW, STEP, Scene, bounds, scene::name_of, secs};
use crate::trace::{Record, What, words::kebab};

pub(super) const NAME: &str = "isolation";

/// Watches over the healthy.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    /// When each seat saw its last frame, on the connection it has.
    last: Vec<Option<Instant>>,
}

impl Oracle for Isolation {
    fn kinds(&self) -> Kinds {
        STEP | SAW | PLAYER
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        if let What::PlayerConnected { seat, .. } | What::PlayerLost { seat, .. } = &record.what {
            *self.last(seat.0) = None;
        }
        if let What::Saw { seat, saw } = &record.what
            && saw.frames > 0
            && let Some(before) = self.last(seat.0).replace(record.at)
        {
            self.judge_gap(seat.0, before, record, scene, findings);
        }
        if let What::Event(event) = &record.what
            && let EventKind::PullStepped { state: PullState::Streaming, event: stimulus, next } = &event.kind
            && *next != PullState::Streaming
            && !matches!(stimulus, PullEventKind::Restart | PullEventKind::Stop)
            && let Some(stream) = event.stream.and_then(|id| scene.streams.get(&(record.actor, id.0)))
            && !scene.is_stream_touched(record.actor, stream)
        {
            let text = format!(
                "{} was interrupted by {} and is {}, though no fault has touched its proxy or its origin",
                name_of(&stream.key),
                kebab(stimulus),
                kebab(next)
            );
            findings.broken(NAME, record.actor, text);
        }
    }
}

impl Isolation {
    fn last(&mut self, seat: u32) -> &mut Option<Instant> {
        let seat = seat as usize;
        if self.last.len() <= seat {
            self.last.resize(seat + 1, None);
        }
        &mut self.last[seat]
    }

    fn judge_gap(&self, seat: u32, before: Instant, record: &Record, scene: &Scene, findings: &mut Findings) {
        let gap = record.at.since(before);
        let bound = bounds::healthy_gap(scene.gop_max, scene.frame_max);
        if gap <= bound {
            return;
        }
        let Some(player) = scene.players.get(seat as usize) else { return };
        let Some((_, stream)) = scene.stream_named(player.from, &player.stream) else { return };
        // What interrupts the stream itself is judged there.
        let is_steady = stream.state == PullState::Streaming && stream.entered_at <= before;
        let is_well = |host: Option<_>| host.is_some_and(|host| !scene.is_touched(host));
        let bound = bound + scene.config(player.from).play.merge_write;
        if is_steady
            && gap > bound
            && is_well(scene.host_of(player.actor))
            && !scene.is_stream_touched(player.from, stream)
        {
            let text = format!(
                "a player of {} saw no frame for {}, though no fault has touched it, its proxy or its origin: at most {} \
                 was promised",
                player.stream,
                secs(gap),
                secs(bound)
            );
            findings.broken(NAME, record.actor, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::io::PlayOutput;

    use super::*;
    use crate::{
        oracle::story::{ORIGIN_HOST, OTHER_HOST, PLAYER_HOST, Story, fault, scenario},
        scenario::model::{Fault, HostRef, Scenario},
        trace::Saw,
    };

    /// A fault hits a host; then a player sees nothing for so long, or the stream is lost.
    fn check(on: HostRef, gap: u64, loses: bool) -> Vec<String> {
        let events = vec![fault(9, on, Fault::Stuck)];
        Story::told_to(&Scenario { events, ..scenario() }, Box::<Isolation>::default(), |story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            story.player(0, PlayOutput::Rtmp, "live/a", 1);
            story.seats(1, 1);
            story.saw(0, Saw { frames: 1, ..Saw::default() });
            story.begins(0);
            if loses {
                story.loses(1, 2, 1, Instant::from_millis(90));
            }
            story.at(gap).saw(0, Saw { frames: 1, ..Saw::default() });
        })
    }

    #[test]
    fn a_healthy_stream_goes_on() {
        assert_eq!(check(OTHER_HOST, 1_500, false), [""; 0]);
        let texts = check(OTHER_HOST, 1_600, false);
        assert!(texts[0].contains("saw no frame for 1.600 s"), "{texts:?}");
        assert!(texts[0].contains("at most 1.540 s was promised"), "{texts:?}");
        assert!(check(OTHER_HOST, 100, true)[0].contains("was interrupted by closed and is backing-off"));
    }

    #[test]
    fn a_touched_stream_may_be_disturbed() {
        assert_eq!(check(ORIGIN_HOST, 9_000, false), [""; 0]);
        assert_eq!(check(ORIGIN_HOST, 100, true), [""; 0]);
        assert_eq!(check(PLAYER_HOST, 9_000, false), [""; 0]);
    }
}
