//! What is due, and what is armed for later.

use alloc::vec::Vec;

use super::{AskedAbout, Proxy};
use crate::{
    io::{Answer, ConnId, EventKind, Output, Question, Reply, StreamEnd, StreamId, Wakeup},
    stream::{
        player::{Player, PlayerEvent},
        pull::PullEvent,
    },
    time::Instant,
};

impl Proxy {
    pub(super) fn run_due(&mut self) {
        while let Some(owner) = self.deadlines.poll_due(self.now) {
            match owner {
                Wakeup::Pull(id) => self.pull_due(id),
                Wakeup::Stream(id) => self.stream_due(id),
                Wakeup::Conn(conn) => self.conn_due(conn),
                // Granted after every input.
                Wakeup::Dial => {}
                Wakeup::Request(request) => self.waiter_due(request),
                Wakeup::Ask(ask) => self.answered(ask, Answer::Default),
                // Judged after every input.
                Wakeup::Shutdown => {}
            }
        }
    }

    fn pull_due(&mut self, id: StreamId) {
        let Some(deadline) = self.registry.get(id).and_then(|stream| stream.pull.deadline()) else { return };
        if deadline <= self.now {
            self.step_pull(id, PullEvent::Deadline);
        } else {
            self.deadlines.set(Wakeup::Pull(id), Some(deadline));
        }
    }

    fn stream_due(&mut self, id: StreamId) {
        let now = self.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let Some(stream) = self.registry.get_mut(id) else { return };
        let none_reader_at = stream.unwatched_since.map(|since| since + self.config.play.none_reader_delay);
        let none_reader_due = !stream.none_reader_told && due(none_reader_at);
        if due(stream.merge_at) {
            stream.merge_at = None;
            self.release(id);
        }
        if self.registry.get(id).is_some_and(|stream| due(stream.hold_at)) {
            self.hold_due(id);
        }
        if none_reader_due {
            self.none_reader(id);
        }
        self.schedule_stream(id);
    }

    /// Players whose patience with the outage has ended are told and closed.
    fn hold_due(&mut self, id: StreamId) {
        let hold = self.config.pull.player_hold;
        let Some(stream) = self.registry.get_mut(id) else { return };
        stream.hold_at = None;
        let Some(since) = stream.pull.outage_since() else { return };
        let ends = |player: &Player| player.seated_at().map(|seated| seated.max(since) + hold);
        let seats: Vec<(Instant, ConnId)> =
            stream.seats.iter().filter_map(|conn| Some((ends(self.players.get(conn)?)?, *conn))).collect();
        stream.hold_at = seats.iter().map(|(at, _)| *at).filter(|at| *at > self.now).min();
        for (at, conn) in seats {
            if at <= self.now {
                self.step_player(conn, PlayerEvent::HoldExpired);
            }
        }
    }

    fn none_reader(&mut self, id: StreamId) {
        let Some(stream) = self.registry.get_mut(id) else { return };
        stream.none_reader_told = true;
        let (key, auto_close) = (stream.key.clone(), stream.pull.config().auto_close);
        self.tell(Some(id), EventKind::NoneReader);
        if auto_close {
            self.remove(id, StreamEnd::NoneReader, &Reply::Cancelled);
        } else {
            let ask = self.next_ask();
            self.ask(ask, AskedAbout::NoneReader { stream: id }, Question::NoneReader { stream: id, key });
        }
    }

    fn conn_due(&mut self, conn: ConnId) {
        let now = self.now;
        if self.closing.get(&conn).is_some_and(|until| *until <= now) {
            self.closing.remove(&conn);
            self.outputs.push_back(Output::Abort { conn });
        } else if let Some(player) = self.players.get(&conn) {
            if player.deadline(&self.config.play).is_some_and(|at| at <= now) {
                self.step_player(conn, PlayerEvent::Deadline);
            }
            self.schedule_player(conn);
        }
    }

    pub(super) fn schedule_stream(&mut self, id: StreamId) {
        let delay = self.config.play.none_reader_delay;
        let deadline = self.registry.get(id).and_then(|stream| stream.deadline(delay));
        self.deadlines.set(Wakeup::Stream(id), deadline);
    }

    pub(super) fn schedule_player(&mut self, conn: ConnId) {
        let Some(player) = self.players.get(&conn) else { return };
        // A player that has taken everything keeps the moment it was named: it is looked at again then, and the index
        // is not touched twice for every packet.
        if let Some(deadline) = player.deadline(&self.config.play) {
            self.deadlines.set(Wakeup::Conn(conn), Some(deadline));
        }
    }
}
