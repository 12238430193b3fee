//! Players: the model as it is, and what carries it.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use bytes::{Buf, Bytes};
use proxy_core::{io::PlayOutput, time::Instant};

use super::{
    Happened, Owner, Running, Wake, World,
    timeline::{forward_max, has_one_origin, hold_max},
};
use crate::{
    net::{HostId, NetEvent, SockId},
    player::{Leave, ModelPlayer, PlayerConfig, PlayerState, Reading},
    scenario::model::{HostRef, LeaveBy, PlayerModel},
    trace::{ActorId, Saw, SeatId, What},
    viewer::{Report, ViewerConfig},
};

/// Several players alike.
#[derive(Debug)]
pub(super) struct PlayerGroup {
    pub(super) spec: PlayerModel,
    /// Their seats.
    pub(super) seats: Vec<usize>,
    /// How they read, where a fault says so.
    pub(super) reading: Option<Reading>,
}

impl PlayerGroup {
    pub(super) fn new(spec: PlayerModel) -> Self {
        Self { spec, seats: Vec::new(), reading: None }
    }
}

/// One player at one output.
#[derive(Debug)]
pub(super) struct Seat {
    actor: ActorId,
    namespace: HostId,
    group: usize,
    /// Where it dials: the actor whose address counts, and the port.
    at: HostRef,
    port: u16,
    model: ModelPlayer,
    sock: Option<SockId>,
    queue: VecDeque<Bytes>,
    armed: Option<Instant>,
    seen: Seen,
    is_gone: bool,
    was_watching: bool,
}

impl Seat {
    pub(super) fn actor(&self) -> ActorId {
        self.actor
    }

    /// Tells what it does and has seen.
    pub(super) fn describe(&self, now: Instant) -> String {
        let report = self.model.report();
        let gone = if self.is_gone { ", has left" } else { "" };
        let last = report.last_frame.map_or_else(
            || "no frame".to_owned(),
            |last| format!("{} frames, the last {:?} ago", report.frames, now.since(last)),
        );
        format!("{:?}, {last}, {} connections{gone}", self.model.state(), report.connections)
    }
}

/// What was told of a report.
#[derive(Debug, Default)]
struct Seen {
    saw: Saw,
    statuses: usize,
    violations: u64,
    disconnects: usize,
}

impl World<'_> {
    /// Players begin to play.
    pub(super) fn players_join(&mut self, players: HostRef, at: HostRef, stream: &str, via: &[PlayOutput]) {
        let members = self.members[usize::from(players.0)].clone();
        let Running::Players(group) = members.run else { return };
        let group = usize::from(group);
        let from = self.members[usize::from(at.0)].clone();
        let (rtmp, http) = match from.run {
            Running::Proxy(p) => self.proxies[usize::from(p)].ports(),
            Running::Origin(o) => (self.origins[usize::from(o)].spec.port, 0),
            Running::Players(_) => return,
        };
        for (number, namespace) in members.namespaces.iter().enumerate() {
            let actor = ActorId(members.actor.0 + number as u16);
            // Of several pulls alike each player plays its own.
            let stream = &stream.replace("{n}", &(number + 1).to_string());
            for output in via {
                let port = match output {
                    PlayOutput::Rtmp => rtmp,
                    PlayOutput::HttpFlv => http,
                };
                let host = format!("{}:{port}", self.scenario.hosts[usize::from(at.0)].name);
                let url = match output {
                    PlayOutput::Rtmp => format!("rtmp://{host}/{stream}"),
                    PlayOutput::HttpFlv => format!("http://{host}/{stream}.live.flv"),
                };
                let source = self.timeline.sources.get(stream).map_or(stream.as_str(), String::as_str);
                let viewer = ViewerConfig {
                    headers_again: !self.timeline.is_chained(stream, at),
                    plays_rise: self.timeline.plays_rise(self.scenario, stream, at),
                    one_origin: has_one_origin(self.scenario, source),
                    hold_max: hold_max(self.scenario),
                    forward_max: Some(forward_max(self.scenario)),
                    ..ViewerConfig::stamped(source)
                };
                let Some((mut config, _)) = PlayerConfig::from_url(&url, viewer) else { continue };
                let spec = &self.groups[group].spec;
                config.redial = spec.retry;
                config.salt = self.seats.len() as u64;
                config.reading = self.groups[group].reading.unwrap_or(reading_of(spec));
                let redials = config.redial.is_some();
                let index = self.seats.len();
                self.seats.push(Seat {
                    actor,
                    namespace: *namespace,
                    group,
                    at,
                    port,
                    model: ModelPlayer::new(config, self.now),
                    sock: None,
                    queue: VecDeque::new(),
                    armed: None,
                    seen: Seen::default(),
                    is_gone: false,
                    was_watching: false,
                });
                self.groups[group].seats.push(index);
                let joins = What::PlayerJoins {
                    seat: SeatId(index as u32),
                    output: *output,
                    stream: stream.to_owned(),
                    from: from.actor,
                    redials,
                };
                self.note(actor, joins);
                self.pump_seat(index);
            }
        }
    }

    /// Players leave for good.
    pub(super) fn players_leave(&mut self, players: HostRef, by: LeaveBy) {
        let Running::Players(group) = self.members[usize::from(players.0)].run else { return };
        for seat in self.groups[usize::from(group)].seats.clone() {
            self.seat_leaves(seat, by);
        }
    }

    pub(super) fn seat_leaves(&mut self, s: usize, by: LeaveBy) {
        if std::mem::replace(&mut self.seats[s].is_gone, true) {
            return;
        }
        let actor = self.seats[s].actor;
        self.note(actor, What::PlayerLeaves { seat: SeatId(s as u32) });
        if by == LeaveBy::Stop {
            self.seats[s].model.leave(Leave::InOrder);
            self.write_seat(s);
        }
        let seat = &mut self.seats[s];
        seat.model.stop();
        if let Some(sock) = seat.sock.take() {
            self.owners.remove(&sock);
            match by {
                LeaveBy::Stop | LeaveBy::Close => self.net.close(sock, self.now),
                LeaveBy::Reset => self.net.abort(sock),
                LeaveBy::Vanish => {}
            }
        }
        if by == LeaveBy::Vanish {
            self.net.remove_host(self.seats[s].namespace, self.now);
        }
    }

    /// Reads differently from here on.
    pub(super) fn players_read(&mut self, group: usize, reading: Option<Reading>) {
        self.groups[group].reading = reading;
        let reading = reading.unwrap_or(reading_of(&self.groups[group].spec));
        for s in self.groups[group].seats.clone() {
            self.seats[s].model.set_reading(reading, self.now);
            self.read_seat(s);
        }
    }

    pub(super) fn seat_due(&mut self, s: usize) {
        self.seats[s].armed = None;
        if !self.seats[s].is_gone {
            self.read_seat(s);
        }
    }

    /// Dials, writes, and asks to be woken.
    fn pump_seat(&mut self, s: usize) {
        let seat = &mut self.seats[s];
        if seat.model.poll_dial(self.now) {
            let ip = IpAddr::V4(self.homes.get(&seat.at).copied().unwrap_or(Ipv4Addr::UNSPECIFIED));
            let sock = self.net.dial(seat.namespace, SocketAddr::new(ip, seat.port), self.now);
            seat.sock = Some(sock);
            self.owners.insert(sock, Owner::Seat(s as u32));
        }
        self.write_seat(s);
        let seat = &mut self.seats[s];
        if let Some(sock) = seat.sock.filter(|_| seat.model.wants_close()) {
            self.net.close(sock, self.now);
            self.seat_lost(s, "gave up");
            return;
        }
        self.tell_seat(s);
        let seat = &mut self.seats[s];
        if let Some(at) = seat.model.deadline(self.now)
            && seat.armed.is_none_or(|armed| at < armed)
        {
            seat.armed = Some(at);
            self.heap.push(at.max(self.now), (Wake::Seat(s as u32), self.cause));
        }
    }

    /// Writes what the player has to say and the socket takes.
    fn write_seat(&mut self, s: usize) {
        let seat = &mut self.seats[s];
        while let Some(bytes) = seat.model.poll_transmit() {
            seat.queue.push_back(bytes);
        }
        let Some(sock) = seat.sock else { return };
        while let Some(front) = seat.queue.front_mut() {
            let len = self.net.send(sock, front);
            front.advance(len);
            if !front.is_empty() {
                break;
            }
            seat.queue.pop_front();
        }
    }

    /// News of a socket.
    pub(super) fn seat_net(&mut self, s: usize, event: NetEvent) {
        match event {
            NetEvent::Connected { local, .. } => {
                self.seats[s].queue.clear();
                self.seats[s].model.on_connected(self.now);
                let actor = self.seats[s].actor;
                self.note(actor, What::PlayerConnected { seat: SeatId(s as u32), local });
                self.pump_seat(s);
            }
            NetEvent::DialFailed { error, .. } => {
                self.seat_lost(s, &format!("dial: {}", crate::trace::words::kebab(&error)));
            }
            NetEvent::Readable { .. } => self.read_seat(s),
            NetEvent::Writable { .. } => self.pump_seat(s),
            NetEvent::Eof { sock } => {
                self.read_seat(s);
                if self.seats[s].sock == Some(sock) {
                    self.net.close(sock, self.now);
                    self.seat_lost(s, "EOF");
                }
            }
            NetEvent::Reset { sock } => {
                self.read_seat(s);
                if self.seats[s].sock == Some(sock) {
                    self.net.close(sock, self.now);
                    self.seat_lost(s, "RST");
                }
            }
            // A player listens to nobody.
            NetEvent::Accepted { .. } => {}
        }
    }

    fn read_seat(&mut self, s: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(sock) = self.seats[s].sock {
            let budget = self.seats[s].model.read_budget(self.now).min(64 * 1024);
            buffer.clear();
            if budget == 0 || self.net.recv(sock, budget, &mut buffer) == 0 {
                break;
            }
            self.tracer.take_bytes(&buffer);
            self.seats[s].model.handle_bytes(&buffer, self.now);
        }
        self.buffer = buffer;
        self.pump_seat(s);
    }

    fn seat_lost(&mut self, s: usize, cause: &str) {
        let seat = &mut self.seats[s];
        if let Some(sock) = seat.sock.take() {
            self.owners.remove(&sock);
        }
        seat.queue.clear();
        seat.model.on_closed(cause, self.now);
        seat.was_watching = false;
        self.pump_seat(s);
    }

    /// Makes records of what a player has seen since the last time.
    fn tell_seat(&mut self, s: usize) {
        let seat = &mut self.seats[s];
        let (report, actor, id) = (seat.model.report(), seat.actor, SeatId(s as u32));
        let is_watching = seat.model.state() == PlayerState::Watching;
        let total = totals(report);
        let seen = &mut seat.seen;
        let mut saw = difference(&total, &seen.saw);
        saw.seated = is_watching && !seat.was_watching;
        let mut records = Vec::new();
        for (_, status) in &report.statuses[seen.statuses..] {
            records.push(What::PlayerTold { seat: id, status: status.clone() });
        }
        if saw != Saw::default() {
            records.push(What::Saw { seat: id, saw });
        }
        let fresh = usize::try_from(report.violations_total - seen.violations).unwrap_or(usize::MAX);
        let kept = report.violations.len();
        for text in &report.violations[kept.saturating_sub(fresh)..] {
            records.push(What::PlayerViolation { seat: id, text: text.clone() });
        }
        for (_, cause) in &report.disconnects[seen.disconnects..] {
            records.push(What::PlayerLost { seat: id, cause: cause.clone() });
        }
        seen.saw = total;
        seen.statuses = report.statuses.len();
        seen.violations = report.violations_total;
        seen.disconnects = report.disconnects.len();
        let began = saw.seated;
        seat.was_watching = is_watching;
        let group = seat.group;
        for what in records {
            self.note(actor, what);
        }
        if began {
            self.look_at_watching(group);
        }
    }

    fn look_at_watching(&mut self, group: usize) {
        let seats = &self.groups[group].seats;
        if seats.iter().all(|seat| self.seats[*seat].was_watching) {
            let actor = self.seats[seats[0]].actor;
            self.note(actor, What::Moment(crate::trace::Moment::Watching));
            self.happened(Happened::Watching(self.host_of(actor)));
        }
    }

    /// Every player leaves.
    pub(super) fn everybody_leaves(&mut self) {
        for seat in 0..self.seats.len() {
            self.seat_leaves(seat, LeaveBy::Stop);
        }
    }
}

pub(crate) fn reading_of(spec: &PlayerModel) -> Reading {
    spec.read_rate.map_or(Reading::Full, |bytes_per_second| Reading::Rate { bytes_per_second })
}

pub(crate) fn totals(report: &Report) -> Saw {
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Saw {
        frames: count(report.frames),
        video: count(report.video),
        keys: count(report.keyframes),
        headers: count(report.headers),
        metadata: count(report.metadata),
        leaps: count(report.leaps),
        plays: count(report.plays),
        lives: count(report.lives),
        opened: count(report.openings),
        opening_headers: report.opening.headers,
        opening_metadata: report.opening.metadata,
        seated: false,
    }
}

pub(crate) fn difference(now: &Saw, before: &Saw) -> Saw {
    let opened = now.opened - before.opened;
    Saw {
        frames: now.frames - before.frames,
        video: now.video - before.video,
        keys: now.keys - before.keys,
        headers: now.headers - before.headers,
        metadata: now.metadata - before.metadata,
        leaps: now.leaps - before.leaps,
        plays: now.plays - before.plays,
        lives: now.lives - before.lives,
        opened,
        opening_headers: if opened > 0 { now.opening_headers } else { 0 },
        opening_metadata: if opened > 0 { now.opening_metadata } else { 0 },
        seated: false,
    }
}
