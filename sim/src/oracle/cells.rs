//! The cells of the pull's table that a run reaches: every state with every stimulus, ignored ones too.

use proxy_core::io::{EventKind, PullEventKind, PullState};

use crate::trace::{Record, STATES, What};

/// Every stimulus of a pull.
pub const STIMULI: [PullEventKind; 20] = [
    PullEventKind::Wake,
    PullEventKind::Watched,
    PullEventKind::Resolved,
    PullEventKind::ResolveFailed,
    PullEventKind::Granted,
    PullEventKind::Connected,
    PullEventKind::ConnectFailed,
    PullEventKind::HandshakeDone,
    PullEventKind::ProtocolFailed,
    PullEventKind::Asked,
    PullEventKind::Playing,
    PullEventKind::Frame,
    PullEventKind::Pong,
    PullEventKind::Ended,
    PullEventKind::Refused,
    PullEventKind::Redirected,
    PullEventKind::Closed,
    PullEventKind::Deadline,
    PullEventKind::Restart,
    PullEventKind::Stop,
];

/// The cells that can be reached at all: the owner of a pull tells it no news of a life that is over.
pub const REACHABLE: &[(PullState, &[PullEventKind])] = {
    use PullEventKind as E;
    use PullState as S;
    &[
        (S::Resolving, &[E::Watched, E::Resolved, E::ResolveFailed, E::Deadline, E::Restart, E::Stop]),
        (S::Queued, &[E::Watched, E::Granted, E::Deadline, E::Restart, E::Stop]),
        (S::Connecting, &[E::Watched, E::Connected, E::ConnectFailed, E::Deadline, E::Restart, E::Stop]),
        (
            S::Handshaking,
            &[E::Watched, E::HandshakeDone, E::ProtocolFailed, E::Closed, E::Deadline, E::Restart, E::Stop],
        ),
        (
            S::Requesting,
            &[
                E::Watched,
                E::Asked,
                E::Playing,
                E::Pong,
                E::Refused,
                E::Redirected,
                E::Closed,
                E::Deadline,
                E::Restart,
                E::Stop,
            ],
        ),
        (
            S::AwaitingMedia,
            &[
                E::Watched,
                E::Frame,
                E::Pong,
                E::Ended,
                E::Refused,
                E::Closed,
                E::Deadline,
                E::Restart,
                E::Stop,
            ],
        ),
        (
            S::Streaming,
            &[
                E::Watched,
                E::Frame,
                E::Pong,
                E::Ended,
                E::Refused,
                E::Redirected,
                E::Closed,
                E::Deadline,
                E::Restart,
                E::Stop,
            ],
        ),
        (
            S::Replaying,
            &[E::Watched, E::Playing, E::Pong, E::Refused, E::Closed, E::Deadline, E::Restart, E::Stop],
        ),
        (S::BackingOff, &[E::Wake, E::Watched, E::Deadline, E::Restart, E::Stop]),
    ]
};

/// The cells reached: a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cells([u32; STATES.len()]);

impl Cells {
    pub(super) fn on_record(&mut self, record: &Record) {
        if let What::Event(event) = &record.what
            && let EventKind::PullStepped { state, event, .. } = &event.kind
        {
            self.0[*state as usize] |= 1 << *event as u32;
        }
    }

    pub(super) fn reached(&self) -> Vec<(PullState, PullEventKind)> {
        let cells = STATES.iter().flat_map(|state| STIMULI.iter().map(move |stimulus| (*state, *stimulus)));
        cells.filter(|(state, stimulus)| self.0[*state as usize] >> *stimulus as u32 & 1 == 1).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{quiet::Quiet, story::Story};

    #[test]
    fn bits_are_where_states_and_stimuli_are() {
        assert!(STATES.iter().enumerate().all(|(index, state)| *state as usize == index));
        assert!(STIMULI.iter().enumerate().all(|(index, stimulus)| *stimulus as usize == index));
    }

    #[test]
    fn what_is_reached_is_told_in_the_tables_order() {
        let mut cells = Vec::new();
        Story::told::<Quiet>(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            cells = story.oracles().cells();
        });
        assert_eq!(
            cells,
            [(PullState::Queued, PullEventKind::Granted), (PullState::BackingOff, PullEventKind::Wake)]
        );
    }
}
