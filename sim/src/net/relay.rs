//! The machine's userland proxy: a process that accepts on a published port, dials the container, and copies bytes.
//!
//! Like docker-proxy it accepts before the container listens, hangs up when its dial fails (moby#16976, #47951), and
//! makes a full close of a half-close (moby#27539).

use proxy_core::time::Instant;

use super::{MACHINE, Net, NetEvent, Publishing, RelayId, SockId, packet::Endpoint, tcp::Holder};

/// How a userland proxy hangs up when it cannot reach the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// It closes: FIN, or RST if the dialler has sent something.
    Close,
    /// It resets.
    Reset,
}

/// Bytes copied at a time (Go's `io.Copy`).
const COPY_BYTES: usize = 32 * 1024;

/// A connection that a userland proxy carries.
#[derive(Debug)]
pub(crate) struct Relay {
    front: SockId,
    back: Option<SockId>,
    connected: bool,
    target: Endpoint,
    on_failure: HangUp,
}

impl Net {
    pub(super) fn new_relay(&mut self, front: SockId, publishing: Publishing) -> RelayId {
        let id = RelayId(self.next_relay);
        self.next_relay += 1;
        let Publishing { target, on_failure } = publishing;
        self.relays.insert(id, Relay { front, back: None, connected: false, target, on_failure });
        id
    }

    pub(super) fn unlisten_relay(&mut self, port: u16, now: Instant) {
        let Some(listener) = self.listeners.get(&(MACHINE, port)) else { return };
        let (id, Some(publishing)) = (listener.id, listener.relay) else { return };
        self.unlisten(id);
        let carried: Vec<RelayId> = self
            .relays
            .iter()
            .filter(|(_, relay)| relay.target == publishing.target)
            .map(|(&relay, _)| relay)
            .collect();
        for relay in carried {
            self.end_relay(relay, HangUp::Reset, now);
        }
    }

    /// Lets the userland proxies act on what their sockets tell.
    pub(super) fn run_relays(&mut self, now: Instant) {
        while let Some((id, event)) = self.relay_events.pop_front() {
            self.on_relay(id, event, now);
        }
    }

    fn on_relay(&mut self, id: RelayId, event: NetEvent, now: Instant) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        match event {
            NetEvent::Accepted { .. } => {
                let target = relay.target.addr();
                let back = self.dial_as(MACHINE, target, Holder::Relay(id), now);
                if let Some(relay) = self.relays.get_mut(&id) {
                    relay.back = Some(back);
                }
            }
            NetEvent::Connected { .. } => {
                relay.connected = true;
                self.pump_both(id);
            }
            NetEvent::DialFailed { .. } => {
                let hang_up = relay.on_failure;
                self.end_relay(id, hang_up, now);
            }
            NetEvent::Readable { .. } | NetEvent::Writable { .. } => self.pump_both(id),
            // A half-close becomes a full one; what is on its way to the other side still goes out.
            NetEvent::Eof { .. } => self.end_relay(id, HangUp::Close, now),
            NetEvent::Reset { .. } => self.end_relay(id, HangUp::Reset, now),
        }
    }

    fn pump_both(&mut self, id: RelayId) {
        let Some(relay) = self.relays.get(&id).filter(|relay| relay.connected) else { return };
        let (front, Some(back)) = (relay.front, relay.back) else { return };
        self.pump(front, back);
        self.pump(back, front);
    }

    fn pump(&mut self, from: SockId, to: SockId) {
        let mut bytes = self.spares.take(COPY_BYTES);
        loop {
            bytes.clear();
            let room = self.room(to).min(COPY_BYTES);
            if room == 0 {
                if self.unread(from) > 0
                    && let Some(end) = self.end_mut(to)
                {
                    end.wants_room = true;
                }
                break;
            }
            if self.recv(from, room, &mut bytes) == 0 {
                break;
            }
            self.send(to, &bytes);
        }
        self.spares.put(bytes);
    }

    fn end_relay(&mut self, id: RelayId, hang_up: HangUp, now: Instant) {
        let Some(relay) = self.relays.remove(&id) else { return };
        for sock in [Some(relay.front), relay.back].into_iter().flatten() {
            match hang_up {
                HangUp::Close => self.close(sock, now),
                HangUp::Reset => self.abort(sock),
            }
        }
    }
}
