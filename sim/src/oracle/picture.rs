//! What a player sees (I9, I10): the model players judge every tag themselves, see [`crate::viewer`]. What they do not
//! see within a play has been left out for a slow one, and told. Who joins in a gap sees nothing until the next play brings it.

use std::collections::BTreeMap;

use proxy_core::{
    io::{EventKind, PullState},
    relay::EpochCause,
    time::Instant,
};

use super::{EVENT, Findings, Kinds, Oracle, PLAYER, SAW, Scene, scene::name_of};
use crate::{
    trace::{ActorId, Record, What},
    viewer::{GOES_FURTHER, LEAPS, TWO_HEADERS},
};

pub(super) const NAME: &str = "picture";

/// Takes what players of the proxy complain about, and counts what they miss.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// By proxy and `app/stream`.
    left_out: BTreeMap<(ActorId, String), LeftOut>,
    /// When a stream last began an epoch, with which its sequence header may change, by proxy and `app/stream`.
    changed: BTreeMap<(ActorId, String), Instant>,
    /// Streams without a play that has brought anything, since when.
    gaps: BTreeMap<(ActorId, String), Instant>,
}

/// Gaps within a play that the players of a stream saw, all of them together, and how many may be.
#[derive(Debug, Default)]
struct LeftOut {
    allowed: u64,
    /// Likewise, for the origin's clock has jumped.
    jumped: u64,
    seen: u64,
    /// Steps of a clock that they explain.
    excused: u64,
    /// More were seen than may be, and that was said.
    is_found: bool,
}

/// A player that skips frames sees a gap of its pictures and one of its sound.
const TRACKS: u64 = 2;

impl Oracle for Picture {
    fn kinds(&self) -> Kinds {
        PLAYER | SAW | EVENT
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        if let What::Event(event) = &record.what {
            let stream = event.stream.and_then(|id| scene.streams.get(&(record.actor, id.0)));
            let Some(stream) = stream else { return };
            let whose = (record.actor, name_of(&stream.key));
            if let EventKind::PlayerShed { .. } = &event.kind {
                self.left_out.entry(whose).or_default().allowed += TRACKS;
            } else if let EventKind::Epoch { cause, .. } = &event.kind {
                // Where a clock jumps pictures are left out up to the next keyframe. Among them it may jump back again: no
                // player can see that it did.
                if scene.jumps && matches!(cause, EpochCause::JumpBack | EpochCause::JumpForward) {
                    self.left_out.entry(whose.clone()).or_default().jumped +=
                        TRACKS * stream.seats.len() as u64;
                }
                self.gaps.remove(&whose);
                self.changed.insert(whose, record.at);
            } else if let EventKind::PullEntered { state, .. } = &event.kind
                && !matches!(state, PullState::Streaming | PullState::Replaying)
            {
                self.gaps.entry(whose).or_insert(record.at);
            }
            return;
        }
        if let What::Saw { seat, saw } = &record.what {
            if saw.frames > 0 {
                self.on_frames(seat.0, scene, findings);
            }
            if saw.leaps > 0 {
                self.on_leaps(seat.0, u64::from(saw.leaps), scene, findings);
            }
            return;
        }
        let What::PlayerViolation { seat, text } = &record.what else { return };
        let Some(player) = scene.players.get(seat.0 as usize) else { return };
        // Who plays from an origin judges the origin, not us.
        if !scene.settings.contains_key(&player.from) {
            return;
        }
        let whose = (player.from, player.stream.clone());
        // Frames left out across a re-pull are a leap as well, one of each track, and a jump of the origin's clock among
        // frames left out is nothing that can be seen in those that came.
        let is_jump = scene.jumps && text.contains(GOES_FURTHER);
        let is_leap = text.contains(LEAPS) || is_jump;
        // Behind a second proxy it was the first that began anew where the clock jumped, and no header tells of that.
        if is_jump && self.changed.keys().any(|(by, _)| *by != player.from) {
            return;
        }
        // Likewise where it was the second that was too slow for the first.
        let has_skipped =
            |((by, _), left_out): (&(ActorId, String), &LeftOut)| *by != player.from && left_out.allowed > 0;
        if is_leap && self.left_out.iter().any(has_skipped) {
            return;
        }
        // Where a clock jumps while frames come one by one, the tracks find each other again with the next keyframe.
        let jumped = |left_out: &LeftOut| if is_jump { left_out.jumped } else { 0 };
        if let Some(left_out) = self.left_out.get_mut(&whose).filter(|_| is_leap)
            && left_out.excused < left_out.allowed + jumped(left_out)
        {
            left_out.excused += 1;
            return;
        }
        // Who came before a header changed had the old one, and waited for a picture when the new one came.
        let changed = self.changed.get(&whose);
        if text.ends_with(TWO_HEADERS) && changed.is_some_and(|changed| *changed >= player.connected_at) {
            return;
        }
        let text = format!("{} by {:?}: {text}", player.stream, player.output);
        findings.broken(NAME, record.actor, text);
    }
}

impl Picture {
    /// Pictures from before an outage are no live stream.
    fn on_frames(&self, seat: u32, scene: &Scene, findings: &mut Findings) {
        let Some(player) = scene.players.get(seat as usize) else { return };
        let Some(since) = self.gaps.get(&(player.from, player.stream.clone())) else { return };
        // Behind a second proxy, and from outside, what comes may be told later than it is seen.
        if player.connected_at < *since || scene.is_outside || scene.settings.len() > 1 {
            return;
        }
        let text = format!(
            "{} by {:?}: connected at {} and sees frames, but the stream has had none since {since}",
            player.stream, player.output, player.connected_at
        );
        findings.broken(NAME, player.actor, text);
    }

    fn on_leaps(&mut self, seat: u32, leaps: u64, scene: &Scene, findings: &mut Findings) {
        let Some(player) = scene.players.get(seat as usize) else { return };
        // Behind a second proxy it may have been that one which left them out; from outside it may be told later.
        let is_first_hand = scene.settings.contains_key(&player.from) && scene.settings.len() == 1;
        if !is_first_hand || scene.is_outside || scene.drips {
            return;
        }
        let left_out = self.left_out.entry((player.from, player.stream.clone())).or_default();
        left_out.seen += leaps;
        if left_out.seen > left_out.allowed + left_out.jumped && !left_out.is_found {
            left_out.is_found = true;
            let text = format!(
                "{} by {:?}: frames are missing between others of one play, {} times on a track, and {} times its players \
                 were told to have skipped some",
                player.stream,
                player.output,
                left_out.seen,
                left_out.allowed / TRACKS
            );
            findings.broken(NAME, player.actor, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{ConnId, PlayOutput};

    use super::*;
    use crate::{
        oracle::story::{ORIGIN, ORIGIN_HOST, PLAYER, PROXY, Story, expecting, fault},
        scenario::model::{Fault, Role},
        trace::{ActorId, Saw, SeatId},
    };

    fn check(from: ActorId) -> Vec<String> {
        Story::told::<Picture>(|story| {
            let seat = SeatId(0);
            let joins = What::PlayerJoins {
                seat,
                output: PlayOutput::HttpFlv,
                stream: "live/a".to_owned(),
                from,
                redials: false,
            };
            story.record(PLAYER, joins);
            story.record(
                PLAYER,
                What::PlayerViolation { seat, text: "video begins without a keyframe".to_owned() },
            );
        })
    }

    /// A clock jumps, and back again while frames are left out for it: two gaps of two players.
    #[test]
    fn frames_are_missing_where_a_clock_has_jumped() {
        let check = |jumps: bool, leaps: u32, drifts: usize| {
            let jump = fault(9, ORIGIN_HOST, Fault::TimestampJump { by: 4_000 });
            let scenario = expecting(jumps.then_some(jump).into_iter().collect(), Vec::new());
            let texts = Story::told_to(&scenario, Box::<Picture>::default(), |story| {
                story.register(1, "live/a");
                for (seat, conn) in [(0, 5), (1, 7)] {
                    story.player(seat, PlayOutput::Rtmp, "live/a", conn);
                    story.seats(1, conn);
                }
                if jumps {
                    story.begins(0);
                }
                story.event(1, EventKind::Epoch { number: 2, cause: EpochCause::JumpForward });
                if leaps > 0 {
                    story.saw(0, Saw { frames: 1, leaps, ..Saw::default() });
                }
                for _ in 0..drifts {
                    let text = format!("Audio timestamps have gone 1500 {GOES_FURTHER}, by 2000");
                    story.record(PLAYER, What::PlayerViolation { seat: SeatId(0), text });
                }
            });
            texts.len()
        };
        assert_eq!([check(true, 4, 0), check(true, 5, 0), check(false, 1, 0)], [0, 1, 1]);
        // The tracks find each other again, two of each of two players.
        assert_eq!([check(true, 0, 4), check(true, 0, 5), check(false, 0, 1)], [0, 1, 1]);
    }

    #[test]
    fn frames_are_missing_only_if_that_is_told() {
        let check = |sheds: u64| {
            Story::told::<Picture>(|story| {
                story.register(1, "live/a");
                story.player(0, PlayOutput::Rtmp, "live/a", 5);
                story.seats(1, 5);
                for _ in 0..sheds {
                    story.event(1, EventKind::PlayerShed { conn: ConnId(5), frames: 7 });
                }
                story.saw(0, Saw { frames: 1, leaps: 3, ..Saw::default() });
            })
        };
        assert_eq!(check(2), [""; 0]);
        assert_eq!(
            check(1),
            [
                "picture: live/a by Rtmp: frames are missing between others of one play, 3 times on a track, and 1 times its \
                 players were told to have skipped some"
            ]
        );
        assert_eq!(check(0).len(), 1);
    }

    /// A player of a second proxy sees what may be the first one's doing, of which it is told nothing.
    fn behind(jumps: bool, by_first: Option<EventKind>, text: &str) -> Vec<String> {
        let jump = fault(9, ORIGIN_HOST, Fault::TimestampJump { by: 90_000 });
        let mut scenario = expecting(jumps.then_some(jump).into_iter().collect(), Vec::new());
        scenario.hosts[3].role = Role::Proxy(Box::default());
        let second = ActorId(3);
        Story::told_to(&scenario, Box::<Picture>::default(), |story| {
            story.register(1, "live/a");
            if let Some(kind) = by_first {
                story.event(1, kind);
            }
            let seat = SeatId(0);
            let joins = What::PlayerJoins {
                seat,
                output: PlayOutput::Rtmp,
                stream: "live/a".to_owned(),
                from: second,
                redials: false,
            };
            story.record(PLAYER, joins);
            story.record(PLAYER, What::PlayerViolation { seat, text: text.to_owned() });
        })
    }

    #[test]
    fn a_jump_behind_a_second_proxy_is_the_first_ones() {
        let epoch = EventKind::Epoch { number: 2, cause: EpochCause::JumpForward };
        let text = format!("Video timestamps have gone 4000 {GOES_FURTHER}, by 9000");
        assert_eq!(behind(true, Some(epoch.clone()), &text), [""; 0]);
        for (jumps, by_first) in [(true, None), (false, Some(epoch))] {
            let texts = behind(jumps, by_first, &text);
            assert!(texts.len() == 1 && texts[0].contains("timestamps have gone 4000"), "{texts:?}");
        }
    }

    #[test]
    fn what_a_second_proxy_skips_at_the_first_is_a_leap_at_its_players() {
        let text = format!("Video {LEAPS} from 400 to 1500");
        let sheds = EventKind::PlayerShed { conn: ConnId(5), frames: 5 };
        assert_eq!(behind(false, Some(sheds), &text), [""; 0]);
        assert_eq!(behind(false, None, &text).len(), 1);
    }

    #[test]
    fn who_joins_in_a_gap_sees_nothing_from_before() {
        let check = |joins_first: bool, is_back: bool| {
            Story::told::<Picture>(|story| {
                story.register(1, "live/a");
                story.dials(1, 2);
                story.streams(1, 2);
                story.event(1, EventKind::Epoch { number: 1, cause: EpochCause::Play });
                if joins_first {
                    story.at(1_000).player(0, PlayOutput::Rtmp, "live/a", 5);
                }
                story.at(2_000).loses(1, 2, 1, Instant::from_millis(2_090));
                if !joins_first {
                    story.at(2_500).player(0, PlayOutput::Rtmp, "live/a", 5);
                }
                if is_back {
                    story.at(2_600).event(1, EventKind::Epoch { number: 2, cause: EpochCause::Play });
                }
                story.at(3_000).saw(0, Saw { frames: 1, ..Saw::default() });
            })
        };
        assert_eq!(check(true, false), [""; 0]);
        assert_eq!(check(false, true), [""; 0]);
        assert_eq!(
            check(false, false),
            [
                "picture: live/a by Rtmp: connected at 2.500000s and sees frames, but the stream has had none since 2.000000s"
            ]
        );
    }

    #[test]
    fn what_a_player_of_the_proxy_sees_counts() {
        assert_eq!(check(PROXY), ["picture: live/a by HttpFlv: video begins without a keyframe"]);
        assert_eq!(check(ORIGIN), [""; 0]);
    }
}
