//! What a host's software calls: listen, dial, send, receive, close. And how its processes and namespaces end.

use std::net::SocketAddr;

use proxy_core::time::Instant;
use smoltcp::socket::tcp::State;

use super::{
    DialError, End, Flow, HostId, HostState, Listener, ListenerId, MACHINE, Net, NetEvent, Publishing,
    SockId, flow_key,
    packet::{Endpoint, Family, host_address},
    tcp::{Holder, Setup, patience},
};
use crate::net::router::BridgeId;

/// The low bits of a socket's number say where it is kept; the rest makes it unique.
const SLOT_BITS: u32 = 20;

impl Net {
    /// Listens on a port of all the host's addresses. `None` if somebody does already.
    pub fn listen(&mut self, host: HostId, port: u16, backlog: usize) -> Option<ListenerId> {
        self.listen_with(host, port, backlog, None)
    }

    /// Stops listening. Connections its software has not been told of are reset.
    pub fn unlisten(&mut self, listener: ListenerId) {
        let Some(place) = self.listener_ports.remove(&listener) else { return };
        let Some(listener) = self.listeners.remove(&place) else { return };
        for sock in listener.waiting {
            self.abort(sock);
        }
    }

    /// Stops a listener's software from accepting, or lets it go on: connections wait in the listener's queue, and
    /// when it is full, SYNs are dropped.
    pub fn hold_accepts(&mut self, listener: ListenerId, held: bool) {
        let Some(listener) = self.listener_ports.get(&listener).and_then(|at| self.listeners.get_mut(at))
        else {
            return;
        };
        listener.held = held;
        if !held {
            for sock in std::mem::take(&mut listener.waiting) {
                self.tell_accepted(sock);
            }
        }
    }

    /// Dials. The answer is [`NetEvent::Connected`] or [`NetEvent::DialFailed`].
    pub fn dial(&mut self, host: HostId, to: SocketAddr, now: Instant) -> SockId {
        self.dial_as(host, to, Holder::Software, now)
    }

    /// Hands bytes to the socket, and returns how many it took. If it took less, [`NetEvent::Writable`] comes.
    pub fn send(&mut self, sock: SockId, bytes: &[u8]) -> usize {
        let Some(end) = self.end_mut(sock) else { return 0 };
        let taken = end.send(bytes);
        end.wants_room = taken < bytes.len();
        if taken > 0 {
            self.touch(sock);
        }
        taken
    }

    /// Appends at most `max` bytes to `out`, and returns how many.
    pub fn recv(&mut self, sock: SockId, max: usize, out: &mut Vec<u8>) -> usize {
        let Some(end) = self.end_mut(sock) else { return 0 };
        end.readable_told = false;
        let read = end.recv(max, out);
        let over = end.over;
        if read > 0 && !over {
            self.touch(sock);
        }
        self.tell_eof(sock);
        read
    }

    /// Returns how many bytes [`Net::send`] would take.
    pub fn room(&self, sock: SockId) -> usize {
        self.end(sock).map_or(0, End::room)
    }

    /// Returns how many bytes wait to be read.
    pub fn unread(&self, sock: SockId) -> usize {
        self.end(sock).map_or(0, End::unread)
    }

    /// Returns how many bytes sent have not been acknowledged.
    pub fn unacknowledged(&self, sock: SockId) -> usize {
        self.end(sock).map_or(0, End::unsent)
    }

    /// Sends FIN after what is to be sent; reading goes on.
    pub fn shutdown(&mut self, sock: SockId) {
        let Some(end) = self.end_mut(sock) else { return };
        end.finish();
        self.touch(sock);
    }

    /// Closes a socket: FIN after what is to be sent, RST if bytes are unread. Bytes that come later draw RST.
    pub fn close(&mut self, sock: SockId, now: Instant) {
        let Some(end) = self.end(sock) else { return };
        let unread = end.unread() > 0;
        match end.state() {
            _ if end.over => self.free(sock),
            // Nobody knows of the connection yet, or nobody does any more.
            State::Closed | State::Listen | State::SynSent | State::TimeWait => self.let_go(sock, now),
            State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
                if unread =>
            {
                self.abort(sock);
            }
            State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => {
                if let Some(end) = self.end_mut(sock) {
                    end.finish();
                    end.holder = Holder::Orphan;
                    end.gives_up = patience(end.state(), true).map(|lasts| now + lasts);
                }
                self.touch(sock);
            }
        }
    }

    /// Sends what was written, as far as the window goes: a reset later in the same instant does not take it back, as it does
    /// not where writing sends at once.
    pub fn push(&mut self, sock: SockId, now: Instant) {
        if self.end(sock).is_some_and(|end| !end.over) {
            self.flush_slot(slot_of(sock), now);
        }
    }

    /// Closes a socket at once, by RST. What has not left yet is lost.
    pub fn abort(&mut self, sock: SockId) {
        let Some(end) = self.end_mut(sock) else { return };
        if end.over || end.state() == State::SynSent {
            self.free(sock);
            return;
        }
        end.abort();
        end.holder = Holder::Orphan;
        self.touch(sock);
    }

    /// Breaks a connection from outside, as `ss -K` does: its software learns of a reset, its peer gets an RST.
    pub fn break_socket(&mut self, sock: SockId, now: Instant) {
        let Some(end) = self.end_mut(sock) else { return };
        if end.over || end.state() == State::SynSent {
            return;
        }
        end.abort();
        let slot = slot_of(sock);
        self.flush_slot(slot, now);
    }

    /// Ends a host's software, as SIGKILL does: its kernel closes everything it had.
    pub fn kill_process(&mut self, host: HostId, now: Instant) {
        self.forget_events(host);
        if host == MACHINE {
            self.relays.clear();
        }
        let listeners: Vec<ListenerId> =
            self.listeners.range((host, 0)..=(host, u16::MAX)).map(|(_, listener)| listener.id).collect();
        for listener in listeners {
            self.unlisten(listener);
        }
        for sock in self.socks_of(host) {
            match self.end(sock).map(|end| end.holder) {
                Some(Holder::Software | Holder::Relay(_)) => self.close(sock, now),
                Some(Holder::Listener(_)) => self.abort(sock),
                Some(Holder::Orphan) | None => {}
            }
        }
    }

    /// Ends a namespace: its software, its kernel and its address are gone, in silence.
    pub fn remove_host(&mut self, host: HostId, now: Instant) {
        self.forget_events(host);
        for sock in self.socks_of(host) {
            self.free(sock);
        }
        self.flows.retain(|&key, _| key >> 112 != u128::from(host.0));
        let flows = &self.flows;
        self.time_waits.retain(|(_, key)| flows.contains_key(key));
        self.listeners.retain(|&(owner, _), _| owner != host);
        self.listener_ports.retain(|_, &mut (owner, _)| owner != host);
        self.router.remove_host(host, now);
    }

    /// Brings a namespace back, empty, with this address.
    pub fn revive_host(&mut self, host: HostId, bridge: BridgeId, ip: std::net::Ipv4Addr) {
        self.router.revive_host(host, bridge, ip);
    }

    /// Lets a host's software go on after [`Net::pause`]: it learns everything that happened, in order.
    pub fn resume(&mut self, host: HostId) {
        let state = &mut self.hosts[usize::from(host.0)];
        state.paused = false;
        let withheld = std::mem::take(&mut state.withheld);
        self.events.extend(withheld);
        let waiting: Vec<SockId> = self
            .listeners
            .range_mut((host, 0)..=(host, u16::MAX))
            .filter(|(_, listener)| !listener.held)
            .flat_map(|(_, listener)| std::mem::take(&mut listener.waiting))
            .collect();
        for sock in waiting {
            self.tell_accepted(sock);
        }
    }

    pub(super) fn listen_with(
        &mut self,
        host: HostId,
        port: u16,
        backlog: usize,
        relay: Option<Publishing>,
    ) -> Option<ListenerId> {
        if self.listeners.contains_key(&(host, port)) {
            return None;
        }
        let id = ListenerId(self.next_listener);
        self.next_listener += 1;
        let listener = Listener { id, backlog, held: false, waiting: Default::default(), relay };
        self.listeners.insert((host, port), listener);
        self.listener_ports.insert(id, (host, port));
        Some(id)
    }

    pub(super) fn dial_as(&mut self, host: HostId, to: SocketAddr, holder: Holder, now: Instant) -> SockId {
        let slot = self.free_slot();
        let id = self.new_sock(slot);
        let family = Family::of(to.ip());
        let source = host_address(to.ip())
            .and_then(|ip| self.router.source_for(host, ip, family).map(|source| (ip, source)));
        let outcome = match source {
            Some((ip, (local, mtu))) => {
                let remote = Endpoint { ip, port: to.port(), family };
                self.free_port(host, local, remote, now)
                    .map(|local| (local, remote, mtu))
                    .ok_or(DialError::NoPort)
            }
            None => Err(DialError::Unreachable),
        };
        match outcome {
            Ok((local, remote, mtu)) => {
                let setup = self.setup(id, host, local, remote, mtu);
                let mut end = End::dial(&setup, &mut self.spares, now);
                end.holder = holder;
                end.gives_up = patience(State::SynSent, false).map(|lasts| now + lasts);
                self.keep(slot, end);
                self.touch(id);
            }
            Err(error) => {
                self.free_ends.push(slot);
                self.push_event(host, holder, NetEvent::DialFailed { sock: id, error });
            }
        }
        id
    }

    pub(super) fn setup(
        &mut self,
        id: SockId,
        host: HostId,
        local: Endpoint,
        remote: Endpoint,
        mtu: u16,
    ) -> Setup {
        let state = &mut self.hosts[usize::from(host.0)];
        let spec = state.spec;
        Setup {
            id,
            host,
            local,
            remote,
            mtu,
            rx_bytes: usize::try_from(spec.rx_bytes).unwrap_or(usize::MAX).max(1),
            tx_bytes: usize::try_from(spec.tx_bytes).unwrap_or(usize::MAX).max(1),
            seed: state.sequence.roll(),
        }
    }

    /// An ephemeral port that makes a new pair with `remote`.
    fn free_port(
        &mut self,
        host: HostId,
        ip: std::net::Ipv4Addr,
        remote: Endpoint,
        now: Instant,
    ) -> Option<Endpoint> {
        self.sweep_time_waits(now);
        let HostState { spec, taken_ports, .. } = self.hosts[usize::from(host.0)];
        if taken_ports > 0 {
            return None;
        }
        for _ in spec.port_min..=spec.port_max {
            let state = &mut self.hosts[usize::from(host.0)];
            let port = state.next_port;
            state.next_port = if port >= spec.port_max { spec.port_min } else { port + 1 };
            let local = Endpoint { ip, port, family: remote.family };
            let taken = self.flows.contains_key(&flow_key(host, local, remote));
            if !taken && !self.listeners.contains_key(&(host, port)) {
                return Some(local);
            }
        }
        None
    }

    pub(super) fn end(&self, sock: SockId) -> Option<&End> {
        let index = usize::try_from(slot_of(sock)).ok()?;
        self.ends.get(index)?.as_deref().filter(|end| end.id == sock)
    }

    pub(super) fn end_mut(&mut self, sock: SockId) -> Option<&mut End> {
        let index = usize::try_from(slot_of(sock)).ok()?;
        self.ends.get_mut(index)?.as_deref_mut().filter(|end| end.id == sock)
    }

    pub(super) fn free_slot(&mut self) -> u32 {
        self.free_ends.pop().unwrap_or_else(|| {
            self.ends.push(None);
            u32::try_from(self.ends.len() - 1).expect("a world has fewer than 2^20 sockets at once")
        })
    }

    pub(super) fn new_sock(&mut self, slot: u32) -> SockId {
        self.serial += 1;
        SockId(self.serial << SLOT_BITS | u64::from(slot))
    }

    pub(super) fn keep(&mut self, slot: u32, end: Box<End>) {
        let key = flow_key(end.host, end.local, end.remote);
        self.flows.insert(key, Flow::End(slot));
        self.ends[usize::try_from(slot).unwrap_or(usize::MAX)] = Some(end);
    }

    /// Puts an end on the list of those that may have something to send.
    pub(super) fn touch(&mut self, sock: SockId) {
        let Some(end) = self.end_mut(sock) else { return };
        if !end.dirty {
            end.dirty = true;
            self.dirty.push_back(sock);
        }
    }

    /// Takes an end away; its address pair is free.
    pub(super) fn free(&mut self, sock: SockId) {
        let slot = slot_of(sock);
        let Some(place) = usize::try_from(slot).ok().and_then(|slot| self.ends.get_mut(slot)) else { return };
        if place.as_ref().is_none_or(|end| end.id != sock) {
            return;
        }
        if let Some(end) = place.take() {
            self.unbind(&end, slot);
            end.recycle(&mut self.spares);
            self.free_ends.push(slot);
        }
    }

    /// The address pair of an end is free for another connection.
    pub(super) fn unbind(&mut self, end: &End, slot: u32) {
        let key = flow_key(end.host, end.local, end.remote);
        if matches!(self.flows.get(&key), Some(Flow::End(there)) if *there == slot) {
            self.flows.remove(&key);
        }
    }

    /// Software lets go of an end that needs no FIN: what is left is TIME_WAIT, or nothing.
    fn let_go(&mut self, sock: SockId, now: Instant) {
        let Some(end) = self.end_mut(sock) else { return };
        end.holder = Holder::Orphan;
        match end.state() {
            State::TimeWait => self.retire(sock, now),
            State::Closed
            | State::Listen
            | State::SynSent
            | State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => self.free(sock),
        }
    }

    fn socks_of(&self, host: HostId) -> Vec<SockId> {
        self.ends.iter().flatten().filter(|end| end.host == host).map(|end| end.id).collect()
    }

    fn forget_events(&mut self, host: HostId) {
        let state = &mut self.hosts[usize::from(host.0)];
        state.withheld.clear();
        state.paused = false;
    }

    pub(super) fn listen_relay(&mut self, port: u16, publishing: Publishing) -> bool {
        self.listen_with(MACHINE, port, 4096, Some(publishing)).is_some()
    }
}

pub(super) const fn slot_of(sock: SockId) -> u32 {
    (sock.0 & ((1 << SLOT_BITS) - 1)) as u32
}
