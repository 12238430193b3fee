//! What origins see of us: acknowledgements of totals, commands in their order, plays one at a time.

use super::{Findings, Kinds, ORIGIN, Oracle, Scene};
use crate::trace::{Record, What};

pub(super) const NAME: &str = "manners";

/// Takes what model origins complain about.
#[derive(Debug, Default)]
pub(super) struct Manners;

impl Oracle for Manners {
    fn kinds(&self) -> Kinds {
        ORIGIN
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let What::OriginComplains(text) = &record.what else { return };
        // Players that play from the origin itself are its clients, too.
        let has_players = scene.players.iter().any(|player| player.from == record.actor);
        if !has_players {
            findings.broken(NAME, record.actor, format!("an origin complains of its client: {text}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::story::{ORIGIN, Story};

    #[test]
    fn a_complaint_of_an_origin_counts() {
        let texts = Story::told::<Manners>(|story| {
            story.record(ORIGIN, What::OriginAccepted);
            story.record(
                ORIGIN,
                What::OriginComplains("connection 1: 5 bytes acknowledged, more before".to_owned()),
            );
        });
        assert_eq!(
            texts,
            ["manners: an origin complains of its client: connection 1: 5 bytes acknowledged, more before"]
        );
    }
}
