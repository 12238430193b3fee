//! What a host's kernel does by itself: packets in and out, timers, handshakes, answers for sockets that are not
//! there, and the news for its software.

use proxy_core::time::{Duration, Instant};
use smoltcp::socket::tcp::State;

use super::{
    DialError, End, Flow, HostId, Net, NetEvent, NetTimer, Seen, SockId, TIME_WAIT, Train, flow_key,
    packet::{self, Endpoint, Header, Parsed, Unreachable},
    router::{DropReason, Fate, Ticket},
    sockets::slot_of,
    tcp::{Holder, patience},
};

/// How often what a connection in TIME_WAIT has no use for is answered at most: Linux's `tcp_invalid_ratelimit`.
const INVALID_ANSWERED_EVERY: Duration = Duration::from_millis(500);

/// An acknowledgement of what has come, and nothing else: it is not answered, or two ends would go on for ever.
fn is_idle(header: &Header, received_next: u32) -> bool {
    header.payload == 0 && header.flags & (packet::FIN | packet::SYN) == 0 && header.seq == received_next
}

impl Net {
    /// Returns the next news for the software of a host.
    pub fn poll_event(&mut self) -> Option<NetEvent> {
        loop {
            let event = self.events.pop_front()?;
            // A socket that was closed meanwhile has no news.
            let told = match event {
                NetEvent::DialFailed { .. } => true,
                NetEvent::Connected { sock, .. }
                | NetEvent::Accepted { sock, .. }
                | NetEvent::Readable { sock }
                | NetEvent::Writable { sock }
                | NetEvent::Eof { sock }
                | NetEvent::Reset { sock } => {
                    self.end(sock).is_some_and(|end| end.holder == Holder::Software)
                }
            };
            if told {
                return Some(event);
            }
        }
    }

    /// Sends what is to be sent, and returns the next thing to put on the heap. Ask until it returns `None`.
    pub fn poll_schedule(&mut self, now: Instant) -> Option<(Instant, NetTimer)> {
        while let Some(sock) = self.dirty.pop_front() {
            if self.end(sock).is_some_and(|end| end.dirty) {
                self.flush_slot(slot_of(sock), now);
            }
        }
        self.schedule.pop_front()
    }

    /// Takes something off the heap that is due.
    pub fn on_timer(&mut self, timer: NetTimer, now: Instant) {
        match timer {
            NetTimer::Arrival(train) => self.on_arrival(train, now),
            NetTimer::Tcp { sock, generation } => self.on_tcp(sock, generation, now),
            NetTimer::Search(search) => {
                let mut fates = std::mem::take(&mut self.fates);
                self.router.on_probe(search, now, &mut fates);
                self.dispatch(&mut fates, now);
                self.fates = fates;
            }
        }
        self.run_relays(now);
    }

    fn on_tcp(&mut self, sock: SockId, generation: u32, now: Instant) {
        let Some(end) = self.end_mut(sock) else { return };
        if end.timer.0 != generation {
            return;
        }
        end.timer.1 = None;
        if end.gives_up.is_some_and(|at| at <= now) {
            let (host, holder) = (end.host, end.holder);
            let dials = end.state() == State::SynSent;
            self.free(sock);
            if dials {
                self.push_event(host, holder, NetEvent::DialFailed { sock, error: DialError::TimedOut });
            }
            return;
        }
        self.flush_slot(slot_of(sock), now);
    }

    fn on_arrival(&mut self, train: u32, now: Instant) {
        let index = usize::try_from(train).unwrap_or(usize::MAX);
        let Some(Train { ticket, first, rest, .. }) = self.trains.get_mut(index).and_then(Option::take)
        else {
            return;
        };
        if self.boarding == Some(train) {
            self.boarding = None;
        }
        let packets = std::iter::once(first).chain(rest);
        if self.carries(ticket).is_some() {
            self.to_carry.extend(packets.map(|packet| (ticket, packet)));
        } else {
            for packet in packets {
                self.receive(ticket, packet, now);
            }
        }
        self.free_trains.push(train);
    }

    /// Returns the next packet that somebody else is to carry, with the way it goes.
    pub fn poll_carried(&mut self) -> Option<(Ticket, Vec<u8>)> {
        self.to_carry.pop_front()
    }

    /// Takes a packet in that somebody else has carried.
    pub fn arrived(&mut self, ticket: Ticket, packet: Vec<u8>, now: Instant) {
        self.receive(ticket, packet, now);
        self.run_relays(now);
    }

    /// Returns how long somebody else takes to carry what goes this way; what a namespace sends itself stays here.
    fn carries(&self, ticket: Ticket) -> Option<Duration> {
        self.carried.filter(|_| ticket.sender != ticket.to)
    }

    fn receive(&mut self, ticket: Ticket, packet: Vec<u8>, now: Instant) {
        let parsed = packet::parse(&packet);
        let arrives = match &parsed {
            Some(Parsed::Tcp(header)) => self.router.arrives(ticket, Some(header), header.dst.ip),
            Some(Parsed::Icmp { src, .. }) => self.router.arrives(ticket, None, src.ip),
            None => Err(DropReason::Malformed),
        };
        match (arrives, parsed) {
            (Ok(()), Some(Parsed::Tcp(header))) => self.on_segment(ticket.to, &header, &packet, now),
            (Ok(()), Some(Parsed::Icmp { reason, src, dst })) => {
                self.tap.note(now, ticket.to, Seen::Delivered, &packet);
                self.on_unreachable(ticket.to, src, dst, reason, now);
            }
            (Ok(()), None) => {}
            (Err(reason), _) => self.tap.note(now, ticket.to, Seen::Dropped(reason), &packet),
        }
        self.spares.put(packet);
    }

    fn on_segment(&mut self, host: HostId, header: &Header, packet: &[u8], now: Instant) {
        let key = flow_key(host, header.dst, header.src);
        match self.flows.get(&key) {
            Some(&Flow::End(slot)) => {
                self.tap.note(now, host, Seen::Delivered, packet);
                self.on_end_segment(slot, header, packet, now);
            }
            Some(&Flow::TimeWait { until, sent_end, received_next, answered }) if until > now => {
                self.tap.note(now, host, Seen::Delivered, packet);
                let opens = header.is_syn() && is_after(header.seq, received_next);
                if opens && self.listeners.contains_key(&(host, header.dst.port)) {
                    self.flows.remove(&key);
                    self.on_opening(host, header, packet, now);
                } else if !header.is_rst()
                    && !is_idle(header, received_next)
                    && answered.is_none_or(|at| now >= at + INVALID_ANSWERED_EVERY)
                {
                    // The last ACK was lost, or the peer is confused: say again where we are.
                    let answered = Some(now);
                    self.flows.insert(key, Flow::TimeWait { until, sent_end, received_next, answered });
                    let mut answer = self.spares.take(packet::IP_HEADER + packet::TCP_HEADER);
                    packet::write_tcp(
                        &mut answer,
                        header.dst,
                        header.src,
                        sent_end,
                        received_next,
                        packet::ACK,
                        false,
                    );
                    self.emit(host, answer, now);
                }
            }
            Some(Flow::TimeWait { .. }) | None => self.on_opening(host, header, packet, now),
        }
    }

    /// A segment for which there is no connection.
    fn on_opening(&mut self, host: HostId, header: &Header, packet: &[u8], now: Instant) {
        let listener = self.listeners.get(&(host, header.dst.port)).filter(|_| header.is_syn());
        let Some(listener) = listener else {
            self.tap.note(now, host, Seen::Delivered, packet);
            self.reset(host, header, now);
            return;
        };
        if listener.waiting.len() > listener.backlog {
            self.tap.note(now, host, Seen::Dropped(DropReason::BacklogFull), packet);
            return;
        }
        self.tap.note(now, host, Seen::Delivered, packet);
        let id = listener.id;
        let mtu = self.router.source_for(host, header.src.ip, header.src.family).map_or(1500, |(_, mtu)| mtu);
        let slot = self.free_slot();
        let sock = self.new_sock(slot);
        let setup = self.setup(sock, host, header.dst, header.src, mtu);
        let mut end = End::listen(&setup, &mut self.spares, now);
        end.holder = Holder::Listener(id);
        end.listener = Some(id);
        end.gives_up = patience(State::SynReceived, false).map(|lasts| now + lasts);
        self.keep(slot, end);
        self.on_end_segment(slot, header, packet, now);
    }

    fn on_end_segment(&mut self, slot: u32, header: &Header, packet: &[u8], now: Instant) {
        let index = usize::try_from(slot).unwrap_or(usize::MAX);
        let Some(mut end) = self.ends[index].take() else { return };
        let new_bytes = header.payload > 0 && is_after(header.seq_end(), end.received_next);
        if end.holder == Holder::Orphan && new_bytes && end.state() != State::Closed {
            // Nobody will ever read this.
            let host = end.host;
            self.ends[index] = Some(end);
            if let Some(sock) = self.ends[index].as_ref().map(|end| end.id) {
                self.free(sock);
            }
            self.reset(host, header, now);
            return;
        }
        let before = end.state();
        let mut outgoing = std::mem::take(&mut self.outgoing);
        end.handle_packet(packet, &mut self.spares, &mut outgoing, now);
        let (host, sock) = (end.host, end.id);
        self.transmit(&mut end, &mut outgoing, now);
        self.outgoing = outgoing;
        self.ends[index] = Some(end);
        self.touch(sock);
        self.on_progress(host, sock, before, now);
    }

    /// Tells what a segment or a timer has changed.
    fn on_progress(&mut self, host: HostId, sock: SockId, before: State, now: Instant) {
        let Some(end) = self.end_mut(sock) else { return };
        let state = end.state();
        if state != before {
            self.on_state(host, sock, before, state, now);
        }
        let Some(end) = self.end_mut(sock) else { return };
        let holder = end.holder;
        let told = match holder {
            Holder::Software | Holder::Relay(_) => true,
            Holder::Listener(_) | Holder::Orphan => false,
        };
        if !told || end.over {
            return;
        }
        let readable = end.unread() > 0 && !end.readable_told;
        let writable = end.wants_room && end.has_room();
        end.readable_told |= readable;
        end.wants_room &= !writable;
        if readable {
            self.push_event(host, holder, NetEvent::Readable { sock });
        }
        if writable {
            self.push_event(host, holder, NetEvent::Writable { sock });
        }
        self.tell_eof(sock);
    }

    fn on_state(&mut self, host: HostId, sock: SockId, before: State, state: State, now: Instant) {
        let Some(end) = self.end_mut(sock) else { return };
        let (holder, listener, local) = (end.holder, end.listener, end.local);
        let orphan = holder == Holder::Orphan;
        end.gives_up = patience(state, orphan).map(|lasts| now + lasts);
        match state {
            State::Established | State::CloseWait if before == State::SynSent => {
                self.push_event(host, holder, NetEvent::Connected { sock, local: local.addr() });
            }
            State::Established | State::CloseWait if before == State::SynReceived => {
                self.on_accepted(host, sock);
            }
            State::Closed if before == State::SynSent => {
                self.free(sock);
                self.push_event(host, holder, NetEvent::DialFailed { sock, error: DialError::Refused });
            }
            // An RST ended it, or the last ACK came.
            State::Closed => self.on_closed(host, sock, before),
            // An RST took the handshake back.
            State::Listen => {
                debug_assert!(listener.is_some(), "only an accepting end goes back");
                self.free(sock);
            }
            State::TimeWait if orphan => self.retire(sock, now),
            State::SynSent
            | State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => {}
        }
    }

    fn on_closed(&mut self, host: HostId, sock: SockId, before: State) {
        let slot = slot_of(sock);
        let index = usize::try_from(slot).unwrap_or(usize::MAX);
        let Some(end) = self.ends[index].take() else { return };
        let holder = end.holder;
        self.unbind(&end, slot);
        self.ends[index] = Some(end);
        match holder {
            Holder::Orphan => self.free(sock),
            Holder::Software | Holder::Relay(_) | Holder::Listener(_) => {
                let Some(end) = self.end_mut(sock) else { return };
                end.over = true;
                // After both FINs nothing is missing: there is no reset to tell of.
                let broken = before != State::LastAck && before != State::TimeWait;
                if broken && !matches!(holder, Holder::Listener(_)) {
                    self.push_event(host, holder, NetEvent::Reset { sock });
                }
            }
        }
    }

    fn on_accepted(&mut self, host: HostId, sock: SockId) {
        let paused = self.hosts[usize::from(host.0)].paused;
        let Some(id) = self.end(sock).and_then(|end| end.listener) else { return };
        let place = self.listener_ports.get(&id).copied();
        let Some(listener) = place.and_then(|place| self.listeners.get_mut(&place)) else {
            // The listener closed during the handshake.
            if let Some(end) = self.end_mut(sock) {
                end.abort();
                end.holder = Holder::Orphan;
            }
            return;
        };
        if listener.held || paused {
            listener.waiting.push_back(sock);
            return;
        }
        self.tell_accepted(sock);
    }

    /// Hands a connection to the listener's software, with all that has happened to it.
    pub(super) fn tell_accepted(&mut self, sock: SockId) {
        let Some(end) = self.end(sock) else { return };
        let (host, local, remote, over) = (end.host, end.local, end.remote, end.over);
        let Some(listener) = end.listener else { return };
        let publishing = self
            .listener_ports
            .get(&listener)
            .and_then(|place| self.listeners.get(place))
            .and_then(|listener| listener.relay);
        let holder = match publishing {
            Some(publishing) => Holder::Relay(self.new_relay(sock, publishing)),
            None => Holder::Software,
        };
        let Some(end) = self.end_mut(sock) else { return };
        end.holder = holder;
        let unread = end.unread() > 0;
        end.readable_told = unread;
        let (peer, local) = (remote.addr(), local.addr());
        self.push_event(host, holder, NetEvent::Accepted { listener, sock, peer, local });
        if unread {
            self.push_event(host, holder, NetEvent::Readable { sock });
        }
        match over {
            true => self.push_event(host, holder, NetEvent::Reset { sock }),
            false => self.tell_eof(sock),
        }
    }

    /// Tells of the end of the stream once everything before it has been read.
    pub(super) fn tell_eof(&mut self, sock: SockId) {
        let Some(end) = self.end_mut(sock) else { return };
        let finished = match end.state() {
            State::CloseWait | State::Closing | State::LastAck | State::TimeWait => true,
            State::Closed
            | State::Listen
            | State::SynSent
            | State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2 => false,
        };
        if !finished || end.eof_told || end.unread() > 0 || end.over {
            return;
        }
        end.eof_told = true;
        let (host, holder) = (end.host, end.holder);
        self.push_event(host, holder, NetEvent::Eof { sock });
    }

    fn on_unreachable(
        &mut self,
        host: HostId,
        src: Endpoint,
        dst: Endpoint,
        reason: Unreachable,
        now: Instant,
    ) {
        let Some(&Flow::End(slot)) = self.flows.get(&flow_key(host, src, dst)) else { return };
        let Some(end) = self.ends.get_mut(usize::try_from(slot).unwrap_or(usize::MAX)) else { return };
        let Some(end) = end.as_deref_mut() else { return };
        let (sock, holder) = (end.id, end.holder);
        match reason {
            // A connection that stands survives an ICMP error; one that is being made does not.
            Unreachable::Network | Unreachable::Host if end.state() == State::SynSent => {
                self.free(sock);
                self.push_event(host, holder, NetEvent::DialFailed { sock, error: DialError::Unreachable });
            }
            Unreachable::Network | Unreachable::Host => {}
            Unreachable::TooBig(mtu) => {
                if end.lower_mtu(mtu, now) {
                    self.touch(sock);
                }
            }
        }
    }

    /// Lets an end send what it has, and sets its timer.
    pub(super) fn flush_slot(&mut self, slot: u32, now: Instant) {
        let index = usize::try_from(slot).unwrap_or(usize::MAX);
        let Some(mut end) = self.ends[index].take() else { return };
        end.dirty = false;
        let before = end.state();
        let mut outgoing = std::mem::take(&mut self.outgoing);
        // The kernel's last SYN is the seventh; smoltcp would send one more shortly before the end.
        let tried = before == State::SynSent && end.gives_up.is_some_and(|at| at.since(now) < LAST_SYN_WAITS);
        if !tried {
            end.transmit(&mut self.spares, &mut outgoing, now);
        }
        self.transmit(&mut end, &mut outgoing, now);
        self.outgoing = outgoing;
        end.settle();
        let (host, sock) = (end.host, end.id);
        // An aborted end has sent its RST.
        let aborted = end.state() == State::Closed && !end.over && !end.is_bound();
        if !aborted
            && !end.over
            && let Some(at) = if tried { end.gives_up } else { end.deadline(now) }
        {
            // An end that says "now" after it has sent everything waits for something else.
            let at = at.max(now + Duration::from_millis(1));
            if end.timer.1.is_none_or(|set| at < set) {
                end.timer = (end.timer.0.wrapping_add(1), Some(at));
                let generation = end.timer.0;
                self.schedule.push_back((at, NetTimer::Tcp { sock, generation }));
            }
        }
        self.ends[index] = Some(end);
        if aborted {
            self.on_closed(host, sock, State::Established);
        } else {
            self.on_progress(host, sock, before, now);
        }
    }

    fn transmit(&mut self, end: &mut End, outgoing: &mut Vec<Vec<u8>>, now: Instant) {
        for packet in outgoing.drain(..) {
            if let Some(Parsed::Tcp(header)) = packet::parse(&packet) {
                end.note_sent(&header);
            }
            self.emit(end.host, packet, now);
        }
    }

    /// Hands a packet to the fabric.
    fn emit(&mut self, host: HostId, packet: Vec<u8>, now: Instant) {
        self.tap.note(now, host, Seen::Sent, &packet);
        let mut fates = std::mem::take(&mut self.fates);
        self.router.send(host, packet, now, &mut fates);
        self.dispatch(&mut fates, now);
        self.fates = fates;
    }

    /// Sends the RST that answers a segment nobody wants.
    fn reset(&mut self, host: HostId, header: &Header, now: Instant) {
        let mut answer = self.spares.take(packet::IP_HEADER + packet::TCP_HEADER);
        match packet::reset_for(header, &mut answer, false) {
            true => self.emit(host, answer, now),
            false => self.spares.put(answer),
        }
    }

    fn dispatch(&mut self, fates: &mut Vec<Fate>, now: Instant) {
        for fate in fates.drain(..) {
            match fate {
                Fate::Deliver { at, ticket, packet } => self.board(at.max(now), ticket, packet),
                Fate::Drop { host, reason, packet } => {
                    self.tap.note(now, host, Seen::Dropped(reason), &packet);
                    self.spares.put(packet);
                }
                Fate::Rewritten { host, packet } => self.tap.note(now, host, Seen::Rewritten, &packet),
                Fate::Probe { at, search } => self.schedule.push_back((at, NetTimer::Search(search))),
            }
        }
    }

    /// Puts a packet into the train that arrives then by the same way, or into one of its own.
    fn board(&mut self, at: Instant, ticket: Ticket, packet: Vec<u8>) {
        let boarding = self.boarding.and_then(|train| usize::try_from(train).ok());
        if !self.hosts[usize::from(ticket.sender.0)].apart
            && let Some(Some(train)) = boarding.and_then(|index| self.trains.get_mut(index))
            && train.at == at
            && train.ticket == ticket
        {
            train.rest.push(packet);
            return;
        }
        let id = self.free_trains.pop().unwrap_or_else(|| {
            self.trains.push(None);
            u32::try_from(self.trains.len() - 1).expect("fewer than 2^32 packets are on their way")
        });
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        self.trains[index] = Some(Train { at, ticket, first: packet, rest: Vec::new() });
        self.boarding = Some(id);
        let sooner = self.carries(ticket).unwrap_or(Duration::ZERO);
        self.schedule.push_back((at - sooner, NetTimer::Arrival(id)));
    }

    /// Only the address pair of a connection is left, for TIME_WAIT.
    pub(super) fn retire(&mut self, sock: SockId, now: Instant) {
        // Its last acknowledgement goes out first.
        let slot = slot_of(sock);
        let index = usize::try_from(slot).unwrap_or(usize::MAX);
        let Some(mut end) = self.ends[index].take() else { return };
        let mut outgoing = std::mem::take(&mut self.outgoing);
        end.transmit(&mut self.spares, &mut outgoing, now);
        self.transmit(&mut end, &mut outgoing, now);
        self.outgoing = outgoing;
        let key = flow_key(end.host, end.local, end.remote);
        let until = now + TIME_WAIT;
        let (sent_end, received_next) = (end.sent_end, end.received_next);
        self.ends[index] = Some(end);
        self.free(sock);
        self.flows.insert(key, Flow::TimeWait { until, sent_end, received_next, answered: None });
        self.time_waits.push_back((until, key));
    }

    pub(super) fn sweep_time_waits(&mut self, now: Instant) {
        while let Some(&(until, key)) = self.time_waits.front() {
            if until > now {
                break;
            }
            self.time_waits.pop_front();
            if matches!(self.flows.get(&key), Some(Flow::TimeWait { until, .. }) if *until <= now) {
                self.flows.remove(&key);
            }
        }
    }

    pub(super) fn push_event(&mut self, host: HostId, holder: Holder, event: NetEvent) {
        match holder {
            Holder::Relay(relay) => self.relay_events.push_back((relay, event)),
            Holder::Software | Holder::Listener(_) => {
                let state = &mut self.hosts[usize::from(host.0)];
                match state.paused {
                    true => state.withheld.push_back(event),
                    false => self.events.push_back(event),
                }
            }
            Holder::Orphan => {}
        }
    }
}

/// An unanswered seventh SYN is waited on for this long, or a little longer (Linux: 64 s).
const LAST_SYN_WAITS: Duration = Duration::from_secs(60);

/// Sequence number arithmetic: whether `a` comes after `b`.
fn is_after(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}
