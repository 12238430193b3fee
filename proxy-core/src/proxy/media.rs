//! Frames on their way from a pull through its relay to players.

use alloc::{collections::VecDeque, vec::Vec};

use super::{Proxy, TRIM_EVERY};
use crate::{
    io::{ConnId, EventKind, StreamId},
    relay::Relay,
    stream::player::{Place, PlayerCx},
    wire::flv::Frame,
};

impl Proxy {
    /// Puts a frame into the log, if it belongs there.
    pub(super) fn push(&mut self, id: StreamId, frame: &Frame) -> bool {
        let Some(stream) = self.registry.get_mut(id) else { return false };
        let rebuilt = stream.note_codec(frame);
        let before = stream.relay.bytes();
        let pushed = stream.relay.push(frame, self.now);
        let (end, epoch) = (stream.relay.end(), stream.relay.epoch());
        self.totals.relay_bytes = self.totals.relay_bytes + stream.relay.bytes() - before;
        if rebuilt {
            self.tell(Some(id), EventKind::Rebuilt);
        }
        if let Some(cause) = pushed.epoch {
            self.tell(Some(id), EventKind::Epoch { number: epoch, cause });
        }
        if pushed.logged && end % TRIM_EVERY == 0 {
            self.trim(id);
        }
        pushed.logged
    }

    /// Lets players have what one input brought, together: an origin that sends thousands of tiny frames at once
    /// must not cost every player a visit for each.
    pub(super) fn offer(&mut self, id: StreamId) {
        if self.config.play.merge_write.is_zero() {
            self.release(id);
        } else if let Some(stream) = self.registry.get_mut(id)
            && stream.merge_at.is_none()
        {
            stream.merge_at = Some(self.now + self.config.play.merge_write);
            self.schedule_stream(id);
        }
    }

    /// Lets players read up to the end of the log.
    pub(super) fn release(&mut self, id: StreamId) {
        let Some(stream) = self.registry.get_mut(id) else { return };
        stream.released = stream.relay.end();
        let seats: Vec<ConnId> = stream.seats.iter().copied().collect();
        for conn in seats {
            self.pump(conn);
        }
    }

    pub(super) fn pump(&mut self, conn: ConnId) {
        let Some(player) = self.players.get_mut(&conn) else { return };
        let Place::Seated(id) = player.place() else { return self.schedule_player(conn) };
        let Some(stream) = self.registry.get_mut(id) else { return };
        let mut effects = VecDeque::new();
        let mut cx = PlayerCx {
            config: &self.config.play,
            outputs: &mut self.outputs,
            effects: &mut effects,
            last_ask: &mut self.last_ask,
        };
        // What is first wanted as FLV is kept as FLV, too.
        let before = (stream.relay.bytes(), player.in_flight());
        let shed = player.pump(&mut stream.relay, stream.released, &mut cx, self.now);
        self.totals.relay_bytes = self.totals.relay_bytes + stream.relay.bytes() - before.0;
        self.totals.in_flight_bytes += player.in_flight() - before.1;
        if shed > 0 {
            self.tell(Some(id), EventKind::PlayerShed { conn, frames: shed });
        }
        self.schedule_player(conn);
    }

    fn trim(&mut self, id: StreamId) {
        let Some(stream) = self.registry.get_mut(id) else { return };
        let positions = stream.seats.iter().filter_map(|conn| self.players.get(conn)?.position());
        let oldest = positions.min().unwrap_or(stream.relay.end());
        self.with_relay(id, |relay| relay.trim(oldest));
    }

    /// Lets something happen to a stream's relay; `None` if there is no such stream.
    pub(super) fn with_relay<T>(&mut self, id: StreamId, act: impl FnOnce(&mut Relay) -> T) -> Option<T> {
        let stream = self.registry.get_mut(id)?;
        let before = stream.relay.bytes();
        let outcome = act(&mut stream.relay);
        self.totals.relay_bytes = self.totals.relay_bytes + stream.relay.bytes() - before;
        Some(outcome)
    }
}
