//! Origins: the model as it is, and what carries it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Buf, Bytes};
use proxy_core::time::Instant;

use super::{Happened, Owner, Wake, World};
use crate::{
    net::{HostId, ListenerId, NetEvent, SockId},
    origin::{ModelOrigin, OriginOutput, PeerConn, Publisher},
    scenario::model::{Comeback, OriginModel},
    trace::{ActorId, Moment, What},
};

/// Bytes waiting for a socket beyond which the origin holds frames back.
const QUEUE_BYTES_MAX: usize = 512 * 1024;

/// An origin and what carries it.
#[derive(Debug)]
pub(super) struct OriginHost {
    pub(super) actor: ActorId,
    pub(super) namespace: HostId,
    pub(super) spec: OriginModel,
    pub(super) model: ModelOrigin,
    listener: Option<ListenerId>,
    conns: BTreeMap<PeerConn, Conn>,
    socks: BTreeMap<SockId, PeerConn>,
    accepted: u64,
    armed: Option<Instant>,
    /// The process runs.
    pub(super) is_up: bool,
    /// Counts the lives of the process.
    pub(super) life: u32,
    /// The faults that keep it still.
    pub(super) frozen: BTreeSet<usize>,
    /// Publishers are away by a fault, by stream; `None` counts for all.
    pub(super) away: BTreeMap<Option<String>, u32>,
    /// Publishers are there, as far as the process's own life goes.
    publishes: bool,
    /// What publishers send from now on, where it is not what the model says.
    pub(super) content: BTreeMap<String, Publisher>,
    /// Plays and complaints told so far.
    told: (u32, usize),
    is_serving: bool,
}

#[derive(Debug)]
struct Conn {
    sock: SockId,
    queue: VecDeque<Bytes>,
    queued: usize,
    closing: bool,
}

impl OriginHost {
    pub(super) fn new(actor: ActorId, namespace: HostId, spec: OriginModel) -> Self {
        Self {
            actor,
            namespace,
            model: ModelOrigin::new(spec.behaviour.clone()),
            spec,
            listener: None,
            conns: BTreeMap::new(),
            socks: BTreeMap::new(),
            accepted: 0,
            armed: None,
            is_up: false,
            life: 0,
            frozen: BTreeSet::new(),
            away: BTreeMap::new(),
            publishes: false,
            content: BTreeMap::new(),
            told: (0, 0),
            is_serving: false,
        }
    }

    /// Returns how many connections it has.
    pub(super) fn sockets(&self) -> usize {
        self.conns.len()
    }

    fn is_away(&self, stream: &str) -> bool {
        self.away.get(&None).is_some_and(|count| *count > 0)
            || self.away.get(&Some(stream.to_owned())).is_some_and(|count| *count > 0)
    }

    /// Returns whether every stream is published and a dial would be answered.
    fn serves(&self) -> bool {
        let is_published = |stream: &String| self.model.epoch(stream).is_some();
        self.is_up
            && self.frozen.is_empty()
            && self.listener.is_some()
            && self.spec.streams.iter().all(is_published)
    }
}

impl World<'_> {
    pub(super) fn begin_origin(&mut self, o: usize) {
        let (up, published) = (self.origins[o].spec.up, self.origins[o].spec.published);
        if !up {
            return;
        }
        self.origins[o].life += 1;
        let life = self.origins[o].life;
        self.origin_booted(o, life);
        if published {
            self.origin_published(o, life);
        }
    }

    /// A process starts: it listens after its boot time and has publishers after theirs.
    pub(super) fn start_origin(&mut self, o: usize, comeback: Option<&Comeback>) {
        let origin = &mut self.origins[o];
        origin.life += 1;
        let boot = comeback.and_then(|comeback| comeback.boot).unwrap_or(origin.spec.boot);
        let first_frame =
            comeback.and_then(|comeback| comeback.first_frame).unwrap_or(origin.spec.first_frame);
        let (life, now) = (origin.life, self.now);
        self.heap.push(now + boot, (Wake::Booted(o as u16, life), self.cause));
        self.heap.push(now + first_frame.max(boot), (Wake::Published(o as u16, life), self.cause));
    }

    /// A process has booted.
    pub(super) fn origin_booted(&mut self, o: usize, life: u32) {
        let origin = &mut self.origins[o];
        if origin.life != life || origin.is_up {
            return;
        }
        origin.is_up = true;
        self.origin_listens(o);
    }

    /// Opens the port.
    fn origin_listens(&mut self, o: usize) {
        let origin = &mut self.origins[o];
        if !origin.is_up || origin.listener.is_some() {
            return;
        }
        let Some(listener) =
            self.net.listen(origin.namespace, origin.spec.port, usize::from(origin.spec.backlog))
        else {
            return;
        };
        origin.listener = Some(listener);
        let actor = origin.actor;
        self.listeners.insert(listener, Owner::Origin(o as u16));
        self.note(actor, What::Moment(Moment::Listening));
        self.happened(Happened::Listening(self.host_of(actor)));
        self.look_at_serving(o);
    }

    /// A process's publishers are there.
    pub(super) fn origin_published(&mut self, o: usize, life: u32) {
        if self.origins[o].life != life || !self.origins[o].is_up {
            return;
        }
        self.origins[o].publishes = true;
        for stream in self.origins[o].spec.streams.clone() {
            self.publish(o, &stream);
        }
        self.look_at_serving(o);
    }

    /// Begins a publisher's life, unless a fault keeps it away.
    pub(super) fn publish(&mut self, o: usize, stream: &str) {
        let origin = &mut self.origins[o];
        if !origin.is_up
            || !origin.publishes
            || origin.is_away(stream)
            || origin.model.epoch(stream).is_some()
        {
            return;
        }
        let publisher = origin.content.get(stream).unwrap_or(&origin.spec.publisher).clone();
        origin.model.publish(stream, publisher, self.now);
        self.pump_origin(o);
    }

    /// Begins a publisher's life in place of one that is on the air, if there is one.
    pub(super) fn republish(&mut self, o: usize, stream: &str) {
        let origin = &mut self.origins[o];
        if !origin.is_up || origin.model.epoch(stream).is_none() {
            return;
        }
        let publisher = origin.content.get(stream).unwrap_or(&origin.spec.publisher).clone();
        origin.model.republish(stream, publisher, self.now);
        self.pump_origin(o);
    }

    /// Publishers come that the model's own life does not bring.
    pub(super) fn let_publish(&mut self, o: usize) {
        self.origins[o].publishes = true;
        for stream in self.origins[o].spec.streams.clone() {
            self.publish(o, &stream);
        }
        self.look_at_serving(o);
    }

    /// Ends publishers' lives.
    pub(super) fn unpublish(&mut self, o: usize, stream: Option<&str>) {
        let origin = &mut self.origins[o];
        for name in origin.spec.streams.clone() {
            if stream.is_none_or(|stream| stream == name) {
                self.origins[o].model.unpublish(&name, self.now);
            }
        }
        self.pump_origin(o);
        self.look_at_serving(o);
    }

    /// The process ends; `politely` it says what its software says first.
    pub(super) fn stop_origin(&mut self, o: usize, politely: bool) {
        if politely && self.origins[o].is_up && self.origins[o].frozen.is_empty() {
            self.origins[o].model.shut_down(self.now);
            self.pump_origin(o);
        }
        let origin = &mut self.origins[o];
        origin.is_up = false;
        origin.frozen.clear();
        origin.publishes = false;
        origin.life += 1;
        origin.armed = None;
        origin.model.restart();
        origin.conns.clear();
        for sock in std::mem::take(&mut origin.socks).into_keys() {
            self.owners.remove(&sock);
        }
        if let Some(listener) = self.origins[o].listener.take() {
            self.listeners.remove(&listener);
        }
        self.look_at_serving(o);
    }

    /// A frozen process runs again.
    pub(super) fn thaw_origin(&mut self, o: usize) {
        self.origins[o].armed = None;
        self.origin_due(o);
        self.look_at_serving(o);
    }

    /// Tells when an origin begins or ceases to serve.
    pub(super) fn look_at_serving(&mut self, o: usize) {
        let origin = &mut self.origins[o];
        let serves = origin.serves();
        if serves == origin.is_serving {
            return;
        }
        origin.is_serving = serves;
        let actor = origin.actor;
        self.note(actor, What::Moment(if serves { Moment::Serving } else { Moment::Silent }));
        if serves {
            self.happened(Happened::Serving(self.host_of(actor)));
        }
    }

    pub(super) fn origin_due(&mut self, o: usize) {
        let origin = &mut self.origins[o];
        if !origin.is_up || !origin.frozen.is_empty() {
            return;
        }
        origin.armed = None;
        if origin.model.deadline().is_some_and(|at| at <= self.now) {
            origin.model.handle_timeout(self.now);
        }
        self.pump_origin(o);
    }

    /// Carries what the model wants done.
    pub(super) fn pump_origin(&mut self, o: usize) {
        while let Some(output) = self.origins[o].model.poll_output() {
            match output {
                OriginOutput::Transmit { conn, bytes } => {
                    if let Some(entry) = self.origins[o].conns.get_mut(&conn) {
                        entry.queued += bytes.len();
                        entry.queue.push_back(bytes);
                    }
                    self.flush_origin(o, conn);
                    // Each write is a packet, as far as the window goes.
                    if self.origins[o].model.is_in_pieces()
                        && let Some(entry) = self.origins[o].conns.get(&conn)
                    {
                        self.net.push(entry.sock, self.now);
                    }
                }
                OriginOutput::Close { conn } => {
                    if let Some(entry) = self.origins[o].conns.get_mut(&conn) {
                        entry.closing = true;
                    }
                    self.flush_origin(o, conn);
                }
                OriginOutput::Reset { conn } => {
                    if let Some(entry) = self.forget_peer(o, conn) {
                        self.net.push(entry.sock, self.now);
                        self.net.abort(entry.sock);
                    }
                }
            }
        }
        self.tell_ledger(o);
        let origin = &mut self.origins[o];
        if let Some(at) = origin.model.deadline()
            && origin.armed.is_none_or(|armed| at < armed)
        {
            origin.armed = Some(at);
            self.heap.push(at.max(self.now), (Wake::Origin(o as u16), self.cause));
        }
    }

    fn tell_ledger(&mut self, o: usize) {
        let origin = &mut self.origins[o];
        let ledger = origin.model.ledger();
        let (plays, complaints) = (ledger.plays_total, ledger.complaints.len());
        if origin.told == (plays, complaints) {
            return;
        }
        let (plays_before, complaints_before) = origin.told;
        origin.told = (plays, complaints);
        self.number_plays();
        let origin = &mut self.origins[o];
        let ledger = origin.model.ledger();
        let fresh = ledger.plays.iter().rev().take((plays - plays_before) as usize);
        let names: Vec<String> = fresh.map(|play| play.name.clone()).collect();
        let texts: Vec<String> = ledger.complaints.get(complaints_before..).unwrap_or_default().to_vec();
        let actor = origin.actor;
        for stream in names.into_iter().rev() {
            self.note(actor, What::OriginPlays { stream });
        }
        for text in texts {
            self.note(actor, What::OriginComplains(text));
        }
    }

    /// Lets every origin number its next play behind all there have been: a viewer whose proxy goes from one origin to
    /// another must see that it is another play.
    fn number_plays(&mut self) {
        let plays = |origin: &OriginHost| origin.model.ledger().plays_total;
        let all: u32 = self.origins.iter().map(plays).sum();
        for origin in &mut self.origins {
            let others = all - plays(origin);
            origin.model.number_plays_behind(others);
        }
    }

    fn flush_origin(&mut self, o: usize, conn: PeerConn) {
        let origin = &mut self.origins[o];
        let Some(entry) = origin.conns.get_mut(&conn) else { return };
        while let Some(front) = entry.queue.front_mut() {
            let len = self.net.send(entry.sock, front);
            front.advance(len);
            entry.queued -= len;
            if !front.is_empty() {
                break;
            }
            entry.queue.pop_front();
        }
        let has_room = entry.queued < QUEUE_BYTES_MAX;
        if entry.closing && entry.queue.is_empty() {
            let sock = entry.sock;
            self.forget_peer(o, conn);
            self.net.close(sock, self.now);
        } else {
            origin.model.set_writable(conn, has_room, self.now);
        }
    }

    fn forget_peer(&mut self, o: usize, conn: PeerConn) -> Option<Conn> {
        let entry = self.origins[o].conns.remove(&conn)?;
        self.origins[o].socks.remove(&entry.sock);
        self.owners.remove(&entry.sock);
        Some(entry)
    }

    /// News of a socket.
    pub(super) fn origin_net(&mut self, o: usize, event: NetEvent) {
        let origin = &mut self.origins[o];
        if !origin.is_up {
            return;
        }
        match event {
            NetEvent::Accepted { sock, .. } => {
                origin.accepted += 1;
                let conn = PeerConn(origin.accepted);
                origin.socks.insert(sock, conn);
                let entry = Conn { sock, queue: VecDeque::new(), queued: 0, closing: false };
                origin.conns.insert(conn, entry);
                origin.model.on_accepted(conn, self.now);
                let actor = origin.actor;
                self.note(actor, What::OriginAccepted);
                self.pump_origin(o);
            }
            NetEvent::Readable { sock } => self.origin_read(o, sock),
            NetEvent::Writable { sock } => {
                let Some(conn) = origin.socks.get(&sock).copied() else { return };
                self.flush_origin(o, conn);
                self.pump_origin(o);
            }
            NetEvent::Eof { sock } => {
                self.origin_read(o, sock);
                self.origin_hangup(o, sock);
            }
            NetEvent::Reset { sock } => self.origin_hangup(o, sock),
            // An origin dials nobody.
            NetEvent::Connected { .. } | NetEvent::DialFailed { .. } => {}
        }
    }

    fn origin_read(&mut self, o: usize, sock: SockId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(conn) = self.origins[o].socks.get(&sock).copied() {
            buffer.clear();
            if self.net.recv(sock, 64 * 1024, &mut buffer) == 0 {
                break;
            }
            self.tracer.take_bytes(&buffer);
            self.origins[o].model.handle_bytes(conn, &buffer, self.now);
            self.pump_origin(o);
        }
        self.buffer = buffer;
    }

    fn origin_hangup(&mut self, o: usize, sock: SockId) {
        let Some(conn) = self.origins[o].socks.get(&sock).copied() else { return };
        self.forget_peer(o, conn);
        self.origins[o].model.on_closed(conn);
        self.net.close(sock, self.now);
        self.pump_origin(o);
    }
}
