//! What pulls of a scenario do, and what must not happen: `never`, `dials`, `entered`, `removed`, `noticed_by`,
//! `recovered_by`.

use std::collections::{BTreeMap, BTreeSet};

use proxy_core::{
    io::{EventKind, PullEventKind, PullFailure, PullState},
    time::{Duration, Instant},
};

use super::{Look, Names, Window, state_of, within};
use crate::{
    oracle::{Findings, Scene, Strictness},
    scenario::model::{Layer, Level, Never, PullRef, Wanted},
    trace::{ActorId, Outward, What, words::kebab},
};

/// One such expectation.
#[derive(Debug)]
pub(super) struct Change {
    wanted: Wanted,
    strictness: Strictness,
    /// When it is judged.
    due: Option<Instant>,
    /// It has opened: what it needs to know of the beginning is known.
    is_open: bool,
    dials: u64,
    /// Streams that have done what is wanted.
    done: BTreeSet<String>,
    /// Streams that have left media, by what, until the state they enter is told.
    leaving: BTreeMap<String, (PullState, PullEventKind)>,
    /// Streams under recovery, and the highest level so far.
    recovering: BTreeMap<String, Option<Level>>,
    /// The stream whose context was made anew last, and in the breath of which input: an interruption that drops the
    /// context tells so before it tells of itself.
    rebuilt: Option<(String, u64)>,
}

impl Change {
    pub(super) fn new(wanted: Wanted, strictness: Strictness) -> Self {
        Self {
            wanted,
            strictness,
            due: None,
            is_open: false,
            dials: 0,
            done: BTreeSet::new(),
            leaving: BTreeMap::new(),
            recovering: BTreeMap::new(),
            rebuilt: None,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self.wanted {
            Wanted::Never { .. } => "expect: never",
            Wanted::Dials { .. } => "expect: dials",
            Wanted::Entered { .. } => "expect: entered",
            Wanted::Removed { .. } => "expect: removed",
            Wanted::NoticedBy { .. } => "expect: noticed_by",
            Wanted::RecoveredBy { .. } => "expect: recovered_by",
            Wanted::FramesAt { .. } => "expect: frames_at",
            Wanted::Told { .. } => "expect: told",
            Wanted::Marks { .. } => "expect: marks",
        }
    }

    /// Nothing is waited for.
    pub(super) fn is_settled(&self) -> bool {
        self.due.is_none()
    }

    fn bound(&self) -> Option<Duration> {
        match &self.wanted {
            Wanted::Entered { within, .. }
            | Wanted::Removed { within, .. }
            | Wanted::NoticedBy { within, .. } => within.map(|bound| self.strictness.of(bound)),
            Wanted::Never { .. }
            | Wanted::Dials { .. }
            | Wanted::RecoveredBy { .. }
            | Wanted::FramesAt { .. }
            | Wanted::Told { .. }
            | Wanted::Marks { .. } => None,
        }
    }

    /// A moment has its time.
    pub(super) fn resolved(&mut self, window: Window, names: &Names) {
        let Some(from) = window.from else { return };
        self.due = match &self.wanted {
            Wanted::Never { .. } => None,
            Wanted::Dials { .. } => window.until,
            Wanted::Entered { .. }
            | Wanted::Removed { .. }
            | Wanted::NoticedBy { .. }
            | Wanted::RecoveredBy { .. } => {
                Some(self.bound().map_or(names.end.max(from), |bound| from + bound))
            }
            Wanted::FramesAt { .. } | Wanted::Told { .. } | Wanted::Marks { .. } => None,
        };
    }

    pub(super) fn on_record(&mut self, line: u32, window: Window, look: &Look<'_>, findings: &mut Findings) {
        if !window.holds(look.record.at) {
            return;
        }
        self.open(window, look.scene, look.names);
        let text = match &self.wanted {
            // Seen from outside, what happens about when it counts from may have happened before.
            Wanted::Never { .. } if !window.holds_well(look.record.at, look.scene.tolerance) => None,
            Wanted::Never { what, players, pulls, .. } => {
                let (what, pulls, players) = (*what, pulls.clone(), players.clone());
                let text = never(what, look, &pulls, &players);
                text.map(|text| format!("{text}, between {} and {}", shown(window.from), shown(window.until)))
            }
            Wanted::Dials { to, .. } => {
                if let What::Out(Outward::Connect { addr, .. }) | What::Dialled { addr } = &look.record.what
                    && (to.is_none() || look.scene.host_at(*addr) == *to)
                {
                    self.dials += 1;
                }
                None
            }
            Wanted::Entered { pull, state, .. } => {
                let (pull, state) = (*pull, *state);
                self.on_entered(pull, state, look);
                None
            }
            Wanted::Removed { pull, .. } => {
                let pull = *pull;
                self.on_removed(pull, look);
                None
            }
            Wanted::NoticedBy { pull, layer, .. } => {
                let (pull, layer) = (*pull, *layer);
                self.on_noticed(pull, layer, look)
            }
            Wanted::RecoveredBy { pull, level, .. } => {
                let (pull, level) = (*pull, *level);
                self.on_recovery(pull, level, look)
            }
            Wanted::FramesAt { .. } | Wanted::Told { .. } | Wanted::Marks { .. } => None,
        };
        if let Some(text) = text {
            findings.missed(self.name(), look.record.actor, line, text);
        }
        self.look_at_done(look.names);
    }

    /// The window opens: what is so already counts, where that is meant.
    fn open(&mut self, window: Window, scene: &Scene, names: &Names) {
        if std::mem::replace(&mut self.is_open, true) {
            return;
        }
        if let (Wanted::Entered { pull, state, .. }, Some(from), true) =
            (&self.wanted, window.from, scene.is_outside)
        {
            // It may have entered it when the moment came that is told a little later.
            let has_just = |name: &String| {
                let found = names.stream(*pull, name, scene);
                found.is_some_and(|stream| {
                    stream.state == *state && stream.entered_at + scene.tolerance >= from
                })
            };
            self.done.extend(names.streams_of(*pull).filter(|name| has_just(name)).cloned());
        }
        if let Wanted::Removed { pull, .. } = &self.wanted {
            for name in names.streams_of(*pull).filter(|name| names.stream(*pull, name, scene).is_none()) {
                self.done.insert(name.clone());
            }
        }
        if let Wanted::RecoveredBy { pull, .. } = &self.wanted {
            for name in names.streams_of(*pull) {
                let stream = names.stream(*pull, name, scene);
                if stream.is_some_and(|stream| stream.state != PullState::Streaming) {
                    self.recovering.insert(name.clone(), None);
                }
            }
        }
    }

    /// All that was wanted has happened: nothing is due any more.
    fn look_at_done(&mut self, names: &Names) {
        let pull = match &self.wanted {
            Wanted::Entered { pull, .. }
            | Wanted::Removed { pull, .. }
            | Wanted::NoticedBy { pull, .. }
            | Wanted::RecoveredBy { pull, .. } => *pull,
            Wanted::Never { .. }
            | Wanted::Dials { .. }
            | Wanted::FramesAt { .. }
            | Wanted::Told { .. }
            | Wanted::Marks { .. } => return,
        };
        // Every stream of the pull is looked through only when one has just done it.
        if self.due.is_some() && !self.done.is_empty() && self.done.len() >= names.streams_of(pull).count() {
            self.due = None;
        }
    }

    fn on_entered(&mut self, pull: PullRef, state: PullState, look: &Look<'_>) {
        if let Some((of, name)) = &look.pull
            && *of == Some(pull)
            && let What::Event(event) = &look.record.what
            && let EventKind::PullEntered { state: entered, .. } = &event.kind
            && *entered == state
        {
            self.done.insert(name.clone());
        }
    }

    fn on_removed(&mut self, pull: PullRef, look: &Look<'_>) {
        if let Some((of, name)) = &look.pull
            && *of == Some(pull)
            && let What::Event(event) = &look.record.what
            && let EventKind::Unregistered { .. } = &event.kind
        {
            self.done.insert(name.clone());
        }
    }

    /// A pull gives up media it had, or a play that was accepted: by which layer it knew.
    fn on_noticed(&mut self, pull: PullRef, wanted: Layer, look: &Look<'_>) -> Option<String> {
        let (of, name) = look.pull.as_ref()?;
        let What::Event(event) = &look.record.what else { return None };
        if *of != Some(pull) {
            return None;
        }
        if let EventKind::PullStepped { state, event, next } = &event.kind {
            let had_media = *state == PullState::Streaming;
            let gives_up = *state == PullState::AwaitingMedia && *next != PullState::Streaming;
            if had_media || gives_up {
                self.leaving.insert(name.clone(), (*state, *event));
            }
            return None;
        }
        let EventKind::PullEntered { failure, .. } = &event.kind else { return None };
        let (state, stimulus) = self.leaving.remove(name)?;
        // What an operator asks for is no notice.
        let layer = layer_of(stimulus, failure.as_ref())?;
        self.done.insert(name.clone());
        (layer != wanted).then(|| {
            format!(
                "{name} ({}): what happened while it was {state:?} was noticed by {layer:?} ({stimulus:?}, {failure:?}), \
                 {wanted:?} was wanted",
                look.names.pull(pull)
            )
        })
    }

    /// A pull is down, and comes back by one level or another.
    fn on_recovery(&mut self, pull: PullRef, wanted: Level, look: &Look<'_>) -> Option<String> {
        let (of, name) = look.pull.as_ref()?;
        let What::Event(event) = &look.record.what else { return None };
        if *of != Some(pull) || self.done.contains(name) {
            return None;
        }
        let breath = look.scene.inward.map_or(0, |inward| inward.step);
        if let EventKind::Rebuilt = &event.kind {
            self.rebuilt = Some((name.clone(), breath));
        }
        if let EventKind::PullStepped { state: PullState::Streaming, next, .. } = &event.kind
            && *next != PullState::Streaming
        {
            let is_rebuilt = self.rebuilt.take().is_some_and(|rebuilt| rebuilt == (name.clone(), breath));
            self.recovering.entry(name.clone()).or_insert(is_rebuilt.then_some(Level::Rebuild));
        }
        let level = self.recovering.get_mut(name)?;
        let mut reach = |reached: Level| *level = (*level).max(Some(reached));
        if let EventKind::PullStepped { next, .. } = &event.kind {
            if *next == PullState::Replaying {
                reach(Level::Replay);
            } else if *next == PullState::Connecting {
                reach(Level::Redial);
            }
        } else if let EventKind::Rebuilt = &event.kind {
            reach(Level::Rebuild);
        }
        let EventKind::PullEntered { state: PullState::Streaming, .. } = &event.kind else { return None };
        let reached = self.recovering.remove(name)?;
        self.done.insert(name.clone());
        (reached != Some(wanted)).then(|| {
            let by = reached.map_or("nothing".to_owned(), |level| format!("{level:?}"));
            format!("{name} ({}) came back by {by}, {wanted:?} was wanted", look.names.pull(pull))
        })
    }

    pub(super) fn on_time(
        &mut self,
        line: u32,
        window: Window,
        scene: &Scene,
        names: &Names,
        now: Instant,
        findings: &mut Findings,
    ) {
        if let Some(from) = window.from
            && from < now
        {
            self.open(window, scene, names);
            self.look_at_done(names);
        }
        if self.due.is_none_or(|due| due >= now) {
            return;
        }
        let due = self.due.take();
        let missing = |pull: PullRef| names.streams_of(pull).find(|name| !self.done.contains(*name));
        let over = format!("{}, which is over at {}", within(self.bound()), shown(due));
        let text = match &self.wanted {
            Wanted::Dials { to, at_least, at_most, .. } => {
                let whom = to.map_or("anybody", |host| names.host(host));
                let is_less = at_least.is_some_and(|least| self.dials < least);
                let is_more = at_most.is_some_and(|most| self.dials > most);
                let limit = |bound: &Option<u64>| bound.map_or("any".to_owned(), |bound| bound.to_string());
                (is_less || is_more).then(|| {
                    format!(
                        "{whom} was dialled {} times between {} and {}: at least {} and at most {} were wanted",
                        self.dials,
                        shown(window.from),
                        shown(window.until),
                        limit(at_least),
                        limit(at_most)
                    )
                })
            }
            Wanted::Entered { pull, state, .. } => missing(*pull).map(|name| {
                format!(
                    "{name} ({}) has not entered {} since {}, it is {}: it was wanted {over}",
                    names.pull(*pull),
                    kebab(state),
                    shown(window.from),
                    state_of(scene, name)
                )
            }),
            Wanted::Removed { pull, .. } => missing(*pull).map(|name| {
                format!("{name} ({}) is {}: its removal was wanted {over}", names.pull(*pull), state_of(scene, name))
            }),
            Wanted::NoticedBy { pull, layer, .. } => missing(*pull).map(|name| {
                format!(
                    "nothing was noticed of {name} ({}), it is {}: notice by {layer:?} was wanted {over}",
                    names.pull(*pull),
                    state_of(scene, name)
                )
            }),
            Wanted::RecoveredBy { pull, level, .. } => missing(*pull).map(|name| {
                format!(
                    "{name} ({}) has not come back from anything since {}, it is {}: recovery by {level:?} was wanted \
                     {over}",
                    names.pull(*pull),
                    shown(window.from),
                    state_of(scene, name)
                )
            }),
            Wanted::Never { .. } | Wanted::FramesAt { .. } | Wanted::Told { .. } | Wanted::Marks { .. } => None,
        };
        if let Some(text) = text {
            findings.missed(self.name(), ActorId::WORLD, line, text);
        }
    }

    /// A window that ends before it begins judges nothing.
    pub(super) fn on_over(&mut self, line: u32, window: Window, _: &Names, findings: &mut Findings) {
        if let (Some(from), Some(until)) = (window.from, window.until)
            && until < from
        {
            let text = format!("it counts from {from} until {until}: nothing was judged");
            findings.missed(self.name(), ActorId::WORLD, line, text);
        }
    }
}

fn shown(at: Option<Instant>) -> String {
    at.map_or("the end".to_owned(), |at| at.to_string())
}

/// Returns the layer that told; `None` if nothing was noticed.
fn layer_of(stimulus: PullEventKind, failure: Option<&PullFailure>) -> Option<Layer> {
    match stimulus {
        PullEventKind::Closed => Some(Layer::Transport),
        PullEventKind::Ended
        | PullEventKind::Refused
        | PullEventKind::Redirected
        | PullEventKind::ProtocolFailed => Some(Layer::Rtmp),
        PullEventKind::Deadline if failure == Some(&PullFailure::PingTimeout) => Some(Layer::Rtmp),
        PullEventKind::Deadline => Some(Layer::Media),
        // The name leads elsewhere: what carries the connection is known to be wrong.
        PullEventKind::Resolved => Some(Layer::Transport),
        PullEventKind::Wake
        | PullEventKind::Watched
        | PullEventKind::ResolveFailed
        | PullEventKind::Granted
        | PullEventKind::Connected
        | PullEventKind::ConnectFailed
        | PullEventKind::HandshakeDone
        | PullEventKind::Asked
        | PullEventKind::Playing
        | PullEventKind::Frame
        | PullEventKind::Pong
        | PullEventKind::Restart
        | PullEventKind::Stop => None,
    }
}

/// Returns what happened that never should.
fn never(
    what: Never,
    look: &Look<'_>,
    pulls: &[PullRef],
    players: &[crate::scenario::model::HostRef],
) -> Option<String> {
    let (scene, record) = (look.scene, look.record);
    let is_meant = |pull: &Option<PullRef>| pull.is_some_and(|pull| pulls.contains(&pull));
    let pull = look.pull.as_ref().filter(|(pull, _)| pulls.is_empty() || is_meant(pull));
    let seat = |seat: usize| {
        let player = scene.players.get(seat)?;
        let host = scene.host_of(player.actor)?;
        (players.is_empty() || players.contains(&host))
            .then(|| format!("{} at {} by {:?}", look.names.host(host), player.stream, player.output))
    };
    let event = if let What::Event(event) = &record.what { Some(&event.kind) } else { None };
    match what {
        Never::PlayerDisconnected => {
            let What::PlayerLost { seat: lost, cause } = &record.what else { return None };
            let is_gone = scene.players.get(lost.0 as usize).is_some_and(|player| player.is_gone);
            let who = seat(lost.0 as usize).filter(|_| !is_gone)?;
            Some(format!("{who} lost its connection ({cause}) at {}", record.at))
        }
        Never::Frames => {
            let What::Saw { seat: sees, saw } = &record.what else { return None };
            let who = seat(sees.0 as usize).filter(|_| saw.frames > 0)?;
            Some(format!("{who} got {} frames at {}", saw.frames, record.at))
        }
        Never::Shed => {
            let Some(EventKind::PlayerShed { conn, frames }) = event else { return None };
            let who = seat(scene.conns.get(&(record.actor, conn.0))?.seat?)?;
            Some(format!("{who} skipped {frames} frames at {}", record.at))
        }
        Never::Dialled => {
            // Which stream dials is told by the step behind the dial.
            let Some(EventKind::PullStepped { next: PullState::Connecting, .. }) = event else { return None };
            Some(format!("{} dialled at {}", pull?.1, record.at))
        }
        Never::Interrupted => {
            let Some(EventKind::PullStepped { state: PullState::Streaming, event, next }) = event else {
                return None;
            };
            let name = &pull?.1;
            (*next != PullState::Streaming).then(|| {
                format!("{name} left streaming for {} by {} at {}", kebab(next), kebab(event), record.at)
            })
        }
        Never::Replayed => {
            let Some(EventKind::PullStepped { next: PullState::Replaying, .. }) = event else { return None };
            Some(format!("{} asked for a new play at {}", pull?.1, record.at))
        }
        Never::Rebuilt => {
            let Some(EventKind::Rebuilt) = event else { return None };
            Some(format!("{}'s context was made anew at {}", pull?.1, record.at))
        }
        Never::Registered => {
            let Some(EventKind::Registered { .. }) = event else { return None };
            Some(format!("{} was registered at {}", pull?.1, record.at))
        }
        Never::Unregistered => {
            let Some(EventKind::Unregistered { reason, .. }) = event else { return None };
            Some(format!("{} was removed ({reason:?}) at {}", pull?.1, record.at))
        }
    }
}
