//! Players: lent what they reach, asked about, parked, seated and let go.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};

use super::{AskedAbout, Proxy, identity};
use crate::{
    io::{Answer, AskId, ConnId, EventKind, Output, PlayerEnd, Question, Reply, StreamEnd, StreamId, Wakeup},
    session::server::Refusal,
    stream::{
        player::{self, Place, Player, PlayerCx, PlayerEvent},
        pull::PullEvent,
    },
    url::StreamKey,
};

impl Proxy {
    pub(super) fn step_player(&mut self, conn: ConnId, event: PlayerEvent) {
        let now = self.now;
        self.with_player(conn, |player, cx| player.step(event, cx, now));
    }

    pub(super) fn with_player(&mut self, conn: ConnId, act: impl FnOnce(&mut Player, &mut PlayerCx<'_>)) {
        let Some(player) = self.players.get_mut(&conn) else { return };
        let mut effects = VecDeque::new();
        let before = player.place();
        let in_flight = player.in_flight();
        let asked = player.ask();
        let mut cx = PlayerCx {
            config: &self.config.play,
            outputs: &mut self.outputs,
            effects: &mut effects,
            last_ask: &mut self.last_ask,
        };
        act(player, &mut cx);
        self.totals.in_flight_bytes += player.in_flight() - in_flight;
        let after = player.place();
        let asks = player.ask();
        if asked != asks {
            self.forget_ask(asked);
        }
        if before != after {
            self.moved(conn, &before, &after);
        }
        let seat = if let Place::Seated(id) = before { Some(id) } else { None };
        for effect in effects {
            match effect {
                // What it has taken back in the same breath is not asked.
                player::Effect::Asks { ask, key, params } if asks == Some(ask) => {
                    self.ask_play(conn, ask, key, params);
                }
                player::Effect::Asks { .. } => {}
                player::Effect::GaveUp => {
                    self.tell(seat, EventKind::PlayerLeft { conn, reason: PlayerEnd::Stopped });
                }
                player::Effect::Ended { end, closing } => {
                    if let Some(player) = self.players.remove(&conn) {
                        self.totals.in_flight_bytes -= player.in_flight();
                    }
                    self.deadlines.set(Wakeup::Conn(conn), None);
                    if closing {
                        self.linger(conn);
                    }
                    self.tell(seat, EventKind::PlayerLeft { conn, reason: end });
                }
            }
        }
        self.schedule_player(conn);
    }

    /// Keeps the books of who waits and who sits where.
    fn moved(&mut self, conn: ConnId, before: &Place, after: &Place) {
        match before {
            Place::None => {}
            Place::Parked(key) => {
                let ask = self.parked.get_mut(key).and_then(|parked| parked.remove(&conn)).flatten();
                if self.parked.get(key).is_some_and(BTreeMap::is_empty) {
                    self.parked.remove(key);
                }
                self.forget_ask(ask);
            }
            Place::Seated(id) => {
                if let Some(stream) = self.registry.get_mut(*id) {
                    stream.seats.remove(&conn);
                }
            }
        }
        match after {
            Place::None => {}
            Place::Parked(key) => {
                self.parked.entry(key.clone()).or_default().insert(conn, None);
            }
            Place::Seated(id) => {
                if let Some(stream) = self.registry.get_mut(*id) {
                    stream.seats.insert(conn);
                }
            }
        }
        for place in [before, after] {
            let id = match place {
                Place::None => None,
                Place::Parked(key) => self.registry.find(key).map(|stream| stream.id),
                Place::Seated(id) => Some(*id),
            };
            if let Some(id) = id {
                self.watch_changed(id);
            }
        }
    }

    fn ask_play(&mut self, conn: ConnId, ask: AskId, key: StreamKey, params: String) {
        let question = Question::Play { conn, key: key.clone(), params };
        self.ask(ask, AskedAbout::Play { conn, key }, question);
    }

    pub(super) fn ask(&mut self, ask: AskId, about: AskedAbout, question: Question) {
        let until = self.now + self.config.play.ask_timeout;
        self.asks.insert(ask, about);
        self.deadlines.set(Wakeup::Ask(ask), Some(until));
        self.outputs.push_back(Output::Ask { ask, question });
    }

    /// Whom a question was about is gone, or has another wish: its answer concerns nobody.
    fn forget_ask(&mut self, ask: Option<AskId>) {
        if let Some(ask) = ask
            && self.asks.remove(&ask).is_some()
        {
            self.deadlines.set(Wakeup::Ask(ask), None);
        }
    }

    pub(super) fn next_ask(&mut self) -> AskId {
        self.last_ask += 1;
        AskId(self.last_ask)
    }

    pub(super) fn answered(&mut self, ask: AskId, answer: Answer) {
        let Some(about) = self.asks.remove(&ask) else { return };
        self.deadlines.set(Wakeup::Ask(ask), None);
        match (about, answer) {
            (AskedAbout::Play { conn, key }, Answer::Default | Answer::Allow) => {
                if self.players.get(&conn).and_then(Player::ask) == Some(ask) {
                    self.admit(conn, key);
                }
            }
            (AskedAbout::Play { conn, .. }, Answer::Deny) => {
                if self.players.get(&conn).and_then(Player::ask) == Some(ask) {
                    self.step_player(conn, PlayerEvent::Refuse(Refusal::BadAuth, PlayerEnd::Denied));
                }
            }
            (AskedAbout::StreamNotFound { .. }, Answer::Default | Answer::Allow) => {}
            (AskedAbout::StreamNotFound { conn }, Answer::Deny) => {
                if matches!(self.players.get(&conn).map(Player::place), Some(Place::Parked(_))) {
                    self.step_player(conn, PlayerEvent::Refuse(Refusal::StreamNotFound, PlayerEnd::NotFound));
                }
            }
            (AskedAbout::NoneReader { .. }, Answer::Default | Answer::Allow) => {}
            (AskedAbout::NoneReader { stream }, Answer::Deny) => {
                if self.registry.get(stream).is_some_and(|stream| stream.unwatched_since.is_some()) {
                    self.remove(stream, StreamEnd::NoneReader, &Reply::Cancelled);
                }
            }
        }
    }

    /// A stream that has streamed has seats, in an outage too; else a player waits until it does.
    fn admit(&mut self, conn: ConnId, key: StreamKey) {
        let stream = self.registry.find(&key).map(|stream| (stream.id, stream.has_streamed()));
        let is_ring = |id: StreamId| {
            let identity = identity(self.origin_of_ids, id);
            self.players.get(&conn).is_some_and(|player| player.ids().contains(&identity))
        };
        match stream {
            Some((id, _)) if is_ring(id) => {
                self.step_player(conn, PlayerEvent::Refuse(Refusal::StreamNotFound, PlayerEnd::Ring));
            }
            Some((id, true)) => self.seat(conn, id),
            _ if self.config.play.stream_wait.is_zero() => {
                self.step_player(conn, PlayerEvent::Refuse(Refusal::StreamNotFound, PlayerEnd::NotFound));
            }
            Some((id, false)) => {
                self.park(conn, Some(id), key);
            }
            None => {
                self.park(conn, None, key.clone());
                let ask = self.next_ask();
                if let Some(asked) = self.parked.get_mut(&key).and_then(|parked| parked.get_mut(&conn)) {
                    *asked = Some(ask);
                }
                let question = Question::StreamNotFound { conn, key };
                self.ask(ask, AskedAbout::StreamNotFound { conn }, question);
            }
        }
    }

    fn park(&mut self, conn: ConnId, stream: Option<StreamId>, key: StreamKey) {
        self.step_player(conn, PlayerEvent::Park(self.now + self.config.play.stream_wait));
        self.tell(stream, EventKind::PlayerParked { conn, key });
    }

    fn seat(&mut self, conn: ConnId, id: StreamId) {
        let Some(stream) = self.registry.get_mut(id) else { return };
        let cursor = Box::new(stream.relay.join());
        if stream.outage_holds() && stream.hold_at.is_none() {
            stream.hold_at = Some(self.now + self.config.pull.player_hold);
        }
        self.step_player(conn, PlayerEvent::Seat { stream: id, cursor });
        self.tell(Some(id), EventKind::PlayerSeated { conn });
        self.pump(conn);
    }

    pub(super) fn seat_parked(&mut self, id: StreamId) {
        let Some(stream) = self.registry.get(id) else { return };
        let parked: Vec<ConnId> =
            self.parked.get(&stream.key).into_iter().flat_map(BTreeMap::keys).copied().collect();
        for conn in parked {
            self.seat(conn, id);
        }
    }

    pub(super) fn parked_at(&self, key: &StreamKey) -> usize {
        self.parked.get(key).map_or(0, BTreeMap::len)
    }

    /// Somebody came to or went from a stream.
    pub(super) fn watch_changed(&mut self, id: StreamId) {
        let Some(stream) = self.registry.get_mut(id) else { return };
        let watched = !stream.seats.is_empty() || self.parked.contains_key(&stream.key);
        let came = watched && stream.unwatched_since.is_some();
        if watched {
            stream.unwatched_since = None;
            stream.none_reader_told = false;
        } else if stream.unwatched_since.is_none() {
            stream.unwatched_since = Some(self.now);
        }
        self.schedule_stream(id);
        if came {
            self.step_pull(id, PullEvent::Watched);
        }
        self.budget.rank(id, self.urgency(id));
    }

    pub(super) fn linger(&mut self, conn: ConnId) {
        let until = self.now + self.config.play.linger_timeout;
        self.closing.insert(conn, until);
        self.deadlines.set(Wakeup::Conn(conn), Some(until));
    }
}
