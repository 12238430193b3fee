//! What a player sees (I9, I10): the model players judge every tag themselves, see [`crate::viewer`].

use super::{Findings, Kinds, Oracle, PLAYER, Scene};
use crate::trace::{Record, What};

pub(super) const NAME: &str = "picture";

/// Takes what players of the proxy complain about.
#[derive(Debug, Default)]
pub(super) struct Picture;

impl Oracle for Picture {
    fn kinds(&self) -> Kinds {
        PLAYER
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let What::PlayerViolation { seat, text } = &record.what else { return };
        let Some(player) = scene.players.get(seat.0 as usize) else { return };
        // Who plays from an origin judges the origin, not us.
        if !scene.settings.contains_key(&player.from) {
            return;
        }
        let text = format!("{} by {:?}: {text}", player.stream, player.output);
        findings.broken(NAME, record.actor, text);
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::io::PlayOutput;

    use super::*;
    use crate::{
        oracle::story::{ORIGIN, PLAYER, PROXY, Story},
        trace::{ActorId, SeatId},
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

    #[test]
    fn what_a_player_of_the_proxy_sees_counts() {
        assert_eq!(check(PROXY), ["picture: live/a by HttpFlv: video begins without a keyframe"]);
        assert_eq!(check(ORIGIN), [""; 0]);
    }
}
