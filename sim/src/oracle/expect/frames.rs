//! What players of a scenario see and are told: `frames_at` and `told`.

use std::collections::BTreeMap;

use proxy_core::{
    io::PlayOutput,
    time::{Duration, Instant},
};

use super::{Look, Names, Window, within};
use crate::{
    oracle::{Findings, Scene, alarms::Alarms, secs},
    scenario::model::HostRef,
    trace::{ActorId, What, words::kebab},
};

/// Waits for players.
#[derive(Debug)]
pub(super) struct Frames {
    players: Vec<HostRef>,
    at_most: Option<Duration>,
    wants: Wants,
    seats: BTreeMap<u32, Seat>,
    due: Alarms<(u32, Due)>,
}

/// What they are to get.
#[derive(Debug)]
enum Wants {
    /// Frames, with no longer silence than this from the first one on.
    Frames { max_gap: Option<Duration> },
    /// A status.
    Status(String),
}

/// A seat that counts.
#[derive(Debug)]
struct Seat {
    /// From when on.
    since: Instant,
    /// When the first one came.
    first: Option<Instant>,
    /// When the last one came.
    last: Option<Instant>,
}

/// What must come of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    First,
    Next,
}

impl Frames {
    pub(super) fn seen(players: Vec<HostRef>, at_most: Option<Duration>, max_gap: Option<Duration>) -> Self {
        Self::new(players, at_most, Wants::Frames { max_gap })
    }

    pub(super) fn told(players: Vec<HostRef>, at_most: Option<Duration>, status: String) -> Self {
        Self::new(players, at_most, Wants::Status(status))
    }

    fn new(players: Vec<HostRef>, at_most: Option<Duration>, wants: Wants) -> Self {
        Self { players, at_most, wants, seats: BTreeMap::new(), due: Alarms::default() }
    }

    pub(super) fn name(&self) -> &'static str {
        match self.wants {
            Wants::Frames { .. } => "expect: frames_at",
            Wants::Status(_) => "expect: told",
        }
    }

    /// Nobody is waited for.
    pub(super) fn is_settled(&self) -> bool {
        self.due.is_empty()
    }

    /// A moment has its time: who plays already counts from there.
    pub(super) fn resolved(&mut self, window: Window, scene: &Scene, names: &Names) {
        for seat in 0..scene.players.len() {
            self.count_in(u32::try_from(seat).unwrap_or(u32::MAX), window, scene, names);
        }
    }

    /// A seat counts, if it is one of those and the moment has its time.
    fn count_in(&mut self, seat: u32, window: Window, scene: &Scene, names: &Names) {
        let (Some(from), Some(player)) = (window.from, scene.players.get(seat as usize)) else { return };
        let is_one = scene.host_of(player.actor).is_some_and(|host| self.players.contains(&host));
        let hears = match &self.wants {
            Wants::Frames { .. } => true,
            Wants::Status(status) => (player.output == PlayOutput::HttpFlv) == status.starts_with("HTTP"),
        };
        if !is_one || !hears || player.is_gone || self.seats.contains_key(&seat) {
            return;
        }
        let since = from.max(player.joined_at);
        let until = window.until.unwrap_or(names.end);
        // Who joins behind the end has nothing to wait for.
        if since > until {
            return;
        }
        // Seen from outside, the frame of that very moment may have come before it was told. A time so short that no
        // outage ends within it means that frame.
        let is_short = self.at_most.is_some_and(|bound| bound <= scene.tolerance * 2);
        let is_there = |last: Instant| last < since && last + scene.tolerance >= since;
        let is_frames = matches!(self.wants, Wants::Frames { .. });
        if scene.is_outside && is_frames && is_short && player.last_frame.is_some_and(is_there) {
            self.seats.insert(seat, Seat { since, first: Some(since), last: None });
            return;
        }
        self.seats.insert(seat, Seat { since, first: None, last: None });
        self.due.set((seat, Due::First), self.at_most.map_or(until, |bound| since + bound));
    }

    pub(super) fn on_record(&mut self, line: u32, window: Window, look: &Look<'_>, findings: &mut Findings) {
        if let What::PlayerJoins { seat, .. } = &look.record.what {
            self.count_in(seat.0, window, look.scene, look.names);
        } else if let What::PlayerLeaves { seat } = &look.record.what {
            self.due.clear(&(seat.0, Due::First));
            self.due.clear(&(seat.0, Due::Next));
            if let Some(seat) = self.seats.get_mut(&seat.0) {
                // It has left: nothing more is wanted of it.
                seat.last = None;
                seat.first.get_or_insert(seat.since);
            }
        } else if let What::Saw { seat, saw } = &look.record.what
            && let Wants::Frames { max_gap } = self.wants
            && saw.frames > 0
        {
            let until = window.until.unwrap_or(look.names.end);
            self.on_frames(seat.0, max_gap, until, line, look, findings);
        } else if let What::PlayerTold { seat, status } = &look.record.what
            && let Wants::Status(wanted) = &self.wants
            && status.strip_prefix("_error ").unwrap_or(status) == wanted
        {
            self.on_first(seat.0, line, look.record.at, findings);
        }
    }

    /// The first of what is wanted has come.
    fn on_first(&mut self, number: u32, line: u32, at: Instant, findings: &mut Findings) {
        let name = self.name();
        let Some(seat) = self.seats.get_mut(&number).filter(|seat| seat.since <= at) else { return };
        if seat.first.is_none() {
            seat.first = Some(at);
            self.due.clear(&(number, Due::First));
            if let Some(bound) = self.at_most {
                findings.measure(&format!("{name} (line {line})"), at.since(seat.since), bound);
            }
        }
    }

    fn on_frames(
        &mut self,
        number: u32,
        max_gap: Option<Duration>,
        until: Instant,
        line: u32,
        look: &Look<'_>,
        findings: &mut Findings,
    ) {
        let at = look.record.at;
        self.on_first(number, line, at, findings);
        let Some(max_gap) = max_gap else { return };
        let Some(seat) = self.seats.get_mut(&number).filter(|seat| seat.since <= at) else { return };
        let before = seat.last.replace(at);
        if at <= until {
            self.due.set_if_none((number, Due::Next), at + max_gap);
        }
        if let Some(before) = before {
            let gap = at.min(until).since(before);
            findings.measure(&format!("frames_at, max_gap (line {line})"), gap, max_gap);
            if gap > max_gap + look.scene.tolerance {
                let text = self.gap_text(number, gap, max_gap, before, look.scene, look.names);
                findings.missed(self.name(), look.record.actor, line, text);
            }
        }
    }

    fn gap_text(
        &self,
        seat: u32,
        gap: Duration,
        max_gap: Duration,
        since: Instant,
        scene: &Scene,
        names: &Names,
    ) -> String {
        format!(
            "{} saw no frame for {} since {since}: at most {} was wanted",
            self.who(seat, scene, names),
            secs(gap),
            secs(max_gap)
        )
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
        let until = window.until.unwrap_or(names.end);
        while let Some((at, (number, what))) = self.due.poll(now) {
            let Some(seat) = self.seats.get(&number) else { continue };
            let actor = scene.players.get(number as usize).map_or(ActorId::WORLD, |player| player.actor);
            match (what, &self.wants) {
                (Due::First, wants) => {
                    let wanted = match wants {
                        Wants::Frames { .. } => "a frame",
                        Wants::Status(status) => status,
                    };
                    let text = format!(
                        "{} has not got {wanted} since {}: it was wanted {}, which is over at {at}",
                        self.who(number, scene, names),
                        seat.since,
                        within(self.at_most)
                    );
                    findings.missed(self.name(), actor, line, text);
                }
                (Due::Next, Wants::Frames { max_gap: Some(max_gap) }) => {
                    let Some(last) = seat.last else { continue };
                    let late = last + *max_gap;
                    if late >= until {
                        continue;
                    }
                    if late >= now {
                        self.due.set((number, Due::Next), late);
                        continue;
                    }
                    let gap = now.min(until).since(last);
                    let text = self.gap_text(number, gap, *max_gap, last, scene, names);
                    findings.missed(self.name(), actor, line, text);
                }
                (Due::Next, Wants::Frames { max_gap: None } | Wants::Status(_)) => {}
            }
        }
    }

    /// Nobody it is about has ever played.
    pub(super) fn on_over(&mut self, line: u32, names: &Names, findings: &mut Findings) {
        if self.seats.is_empty() {
            let players: Vec<&str> = self.players.iter().map(|host| names.host(*host)).collect();
            let text = format!(
                "nobody of {} has played by an output that could get it: nothing was judged",
                players.join(", ")
            );
            findings.missed(self.name(), ActorId::WORLD, line, text);
        }
    }

    fn who(&self, seat: u32, scene: &Scene, names: &Names) -> String {
        let Some(player) = scene.players.get(seat as usize) else { return format!("seat {seat}") };
        let host = scene.host_of(player.actor).map_or("?", |host| names.host(host));
        let state = scene.stream_named(player.from, &player.stream);
        let thinks = state.map_or("not registered".to_owned(), |(_, stream)| kebab(&stream.state));
        let link = if player.is_connected { "connected" } else { "not connected" };
        let how = format!("{link}; the proxy thinks its stream is {thinks}");
        format!("{host} at {} by {:?} ({how})", player.stream, player.output)
    }
}
