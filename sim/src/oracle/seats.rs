//! Players are kept, parked or cut exactly as the policy says, and always told (I11).
//!
//! | the proxy says | that is true if |
//! |---|---|
//! | parked | the stream has never streamed |
//! | seated | it has; who was parked is seated in the instant in which it begins |
//! | left: hung up | the connection's end came in |
//! | left: not found | it has waited for `maxStreamWaitMS` |
//! | left: stuck | it took no byte for `keepAliveSecond` |
//! | left: hold expired | the outage has lasted `player_hold` for it |
//! | left: stream ended | the stream is removed in the same breath |
//! | left: idle | it has not asked to play for `handshakeSecond` |

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use proxy_core::{
    io::{EventKind, PlayOutput, PlayerEnd, PullState, StreamEnd},
    time::Instant,
    url::StreamKey,
};

use super::{
    BYTES, EVENT, Entered, Findings, IN, Kinds, OUT, Oracle, PLAYER, PlaceNow, STEP, Scene, TIME,
    alarms::Alarms, scene::name_of, secs,
};
use crate::trace::{ActorId, Inward, Outward, Record, What, words::kebab};

pub(super) const NAME: &str = "seats";

/// Keeps the books of who sits where, and why who left.
#[derive(Debug, Default)]
pub(super) struct Seats {
    conns: BTreeMap<(ActorId, u64), Sitting>,
    due: Alarms<Due>,
    /// Connections hung up on; who they were must be told in the same breath.
    cut: Vec<(ActorId, u64)>,
    /// Players told that their stream has ended; that must be told in the same breath, too.
    ended: Vec<Ended>,
    /// What each seat must be told before its connection ends, and whether it was.
    owed: BTreeMap<u32, (&'static str, bool)>,
}

/// A player's connection.
#[derive(Debug)]
struct Sitting {
    seat: Option<usize>,
    output: PlayOutput,
    since: Instant,
    /// Bytes handed over and not yet taken.
    in_flight: u64,
    /// When it last took some, or the first of them were handed over.
    progress_at: Instant,
    /// It had a place, and lost it to itself.
    idle_since: Instant,
}

#[derive(Debug)]
struct Ended {
    proxy: ActorId,
    stream: Option<u64>,
    key: Option<StreamKey>,
    conn: u64,
    reason: StreamEnd,
}

/// What must have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A player that waits has its stream or is refused.
    Waits(ActorId, u64),
    /// The first player whose patience with a stream's outage is over has left.
    Holds(ActorId, u64),
    /// All who waited for a stream that begins have seats.
    Begins(ActorId, u64),
}

impl Due {
    const fn proxy(self) -> ActorId {
        match self {
            Self::Waits(proxy, _) | Self::Holds(proxy, _) | Self::Begins(proxy, _) => proxy,
        }
    }
}

impl Oracle for Seats {
    fn kinds(&self) -> Kinds {
        EVENT | STEP | IN | OUT | BYTES | PLAYER | TIME
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        if let What::In(inward) = &record.what {
            self.on_in(record, inward, scene, findings);
        } else if let What::Out(outward) = &record.what {
            self.on_out(record.actor, outward, record.at);
        } else if let What::Event(event) = &record.what {
            let stream = event.stream.map(|stream| stream.0);
            if let Some(text) = self.on_event(record, stream, &event.kind, scene) {
                findings.broken(NAME, record.actor, text);
            }
        } else {
            self.on_player(record, scene, findings);
        }
    }

    fn on_time(&mut self, scene: &Scene, now: Instant, findings: &mut Findings) {
        if scene.is_outside {
            self.settle(scene, findings);
        }
        while let Some((at, what)) = self.due.poll(now) {
            let proxy = what.proxy();
            let due = scene.due(proxy, at);
            if !scene.is_running(proxy) || due >= now {
                self.due.set(what, due.max(now));
                continue;
            }
            let text = match what {
                Due::Waits(_, conn) => match scene.places.get(&(proxy, conn)) {
                    Some(PlaceNow::Parked { key, since }) => format!(
                        "player {conn} has waited for {} since {since}: it was to be refused after {} \
                         (general.maxStreamWaitMS)",
                        name_of(key),
                        secs(scene.config(proxy).play.stream_wait)
                    ),
                    Some(PlaceNow::Seated { .. }) | None => continue,
                },
                Due::Holds(_, id) => match self.held_too_long(proxy, id, scene, now) {
                    Some(text) => text,
                    None => continue,
                },
                Due::Begins(_, id) => match left_parked(proxy, id, scene) {
                    Some(text) => text,
                    None => continue,
                },
            };
            findings.broken(NAME, proxy, text);
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.conns.retain(|(of, _), _| *of != proxy);
        self.due.retain(|due| due.proxy() != proxy);
        self.cut.retain(|(of, _)| *of != proxy);
        self.ended.retain(|ended| ended.proxy != proxy);
        self.owed.clear();
    }
}

impl Seats {
    fn on_in(&mut self, record: &Record, inward: &Inward, scene: &Scene, findings: &mut Findings) {
        let (proxy, at) = (record.actor, record.at);
        self.settle(scene, findings);
        if let Inward::Accepted { conn, .. } | Inward::PlayHttp { conn, .. } = inward {
            self.accept(proxy, *conn, scene, at);
            if let (Inward::PlayHttp { .. }, Some(sitting)) = (inward, self.conns.get_mut(&(proxy, *conn))) {
                sitting.output = PlayOutput::HttpFlv;
            }
        } else if let Inward::Sent { conn, len } = inward
            && let Some(sitting) = self.conns.get_mut(&(proxy, *conn))
        {
            sitting.in_flight = sitting.in_flight.saturating_sub(u64::from(*len));
            sitting.progress_at = at;
        }
    }

    /// A player has a connection.
    fn accept(&mut self, proxy: ActorId, conn: u64, scene: &Scene, at: Instant) {
        let seat = scene.conns.get(&(proxy, conn)).and_then(|conn| conn.seat);
        let player = seat.and_then(|seat| scene.players.get(seat));
        let output = player.map_or(PlayOutput::Rtmp, |player| player.output);
        let sitting = Sitting { seat, output, since: at, in_flight: 0, progress_at: at, idle_since: at };
        self.conns.insert((proxy, conn), sitting);
        if let Some(seat) = seat {
            self.owed.remove(&u32::try_from(seat).unwrap_or(u32::MAX));
        }
    }

    fn on_out(&mut self, proxy: ActorId, outward: &Outward, at: Instant) {
        if let Outward::Transmit { conn, len } = outward
            && let Some(sitting) = self.conns.get_mut(&(proxy, *conn))
        {
            if sitting.in_flight == 0 {
                sitting.progress_at = at;
            }
            sitting.in_flight += u64::from(*len);
        } else if let Outward::Close { conn } | Outward::Abort { conn } = outward
            && self.conns.contains_key(&(proxy, *conn))
        {
            self.cut.push((proxy, *conn));
        }
    }

    /// A new breath: what had to be told in the last one has been, or never is.
    fn settle(&mut self, scene: &Scene, findings: &mut Findings) {
        for (proxy, conn) in std::mem::take(&mut self.cut) {
            let Some(sitting) = self.conns.remove(&(proxy, conn)) else { continue };
            // One too many is turned away at the door, before it is a player.
            let players = scene.samples.get(&proxy).map_or(0, |sample| sample.core.players);
            if players < scene.config(proxy).limits.players_max {
                let text =
                    format!("player {conn} of {} was hung up on, and nothing tells why", sitting.since);
                findings.broken(NAME, proxy, text);
            }
        }
        for ended in std::mem::take(&mut self.ended) {
            let text = format!(
                "player {} was told that its stream has ended ({:?}), and the stream goes on",
                ended.conn, ended.reason
            );
            findings.broken(NAME, ended.proxy, text);
        }
    }

    fn on_event(
        &mut self,
        record: &Record,
        stream: Option<u64>,
        kind: &EventKind,
        scene: &Scene,
    ) -> Option<String> {
        let (proxy, at) = (record.actor, record.at);
        if let EventKind::PlayerConnected { conn, .. } = kind
            && scene.is_outside
        {
            self.accept(proxy, conn.0, scene, at);
        }
        if let EventKind::PlayerParked { conn, key } = kind {
            let config = &scene.config(proxy).play;
            self.due.set(Due::Waits(proxy, conn.0), at + config.stream_wait);
            let id = scene.keys.get(&(proxy, key.clone()));
            let known = id.and_then(|id| scene.streams.get(&(proxy, *id)));
            return known.is_some_and(|stream| stream.has_streamed).then(|| {
                format!(
                    "player {} waits for {}, which has streamed: a seat was promised",
                    conn.0,
                    name_of(key)
                )
            });
        }
        if let EventKind::PlayerSeated { conn } = kind {
            self.due.clear(&Due::Waits(proxy, conn.0));
            let id = stream?;
            let now = scene.streams.get(&(proxy, id))?;
            self.hold(proxy, id, scene);
            return (!now.has_streamed).then(|| {
                format!("player {} has a seat at {}, which has never streamed", conn.0, name_of(&now.key))
            });
        }
        if let EventKind::PlayerLeft { conn, reason } = kind {
            return self.on_left(record, stream, conn.0, reason, scene);
        }
        if let EventKind::PullEntered { state, .. } = kind {
            let id = stream?;
            self.hold(proxy, id, scene);
            if *state == PullState::Streaming && !scene.is_outside {
                self.due.set(Due::Begins(proxy, id), at);
            }
        }
        if let EventKind::Unregistered { key, reason } = kind {
            self.due.clear(&Due::Holds(proxy, stream?));
            self.due.clear(&Due::Begins(proxy, stream?));
            self.ended.retain(|ended| {
                let is_it = ended.stream == stream || ended.key.as_ref() == Some(key);
                ended.proxy != proxy || !is_it || ended.reason != *reason
            });
        }
        None
    }

    /// Sets when the first player's patience with an outage ends.
    fn hold(&mut self, proxy: ActorId, id: u64, scene: &Scene) {
        let Some(stream) = scene.streams.get(&(proxy, id)) else { return };
        let hold = scene.config(proxy).pull.player_hold;
        match stream.outage_since {
            // Whoever sits since later is patient for longer: the first is enough to look again.
            Some(since) if !stream.seats.is_empty() => self.due.set(Due::Holds(proxy, id), since + hold),
            Some(_) | None => {
                self.due.clear(&Due::Holds(proxy, id));
            }
        }
    }

    /// Looks for players that were kept longer than the policy says; sets when to look again.
    fn held_too_long(&mut self, proxy: ActorId, id: u64, scene: &Scene, now: Instant) -> Option<String> {
        let stream = scene.streams.get(&(proxy, id))?;
        let outage = stream.outage_since?;
        let hold = scene.config(proxy).pull.player_hold;
        let mut next = None;
        for conn in &stream.seats {
            let Some((_, since)) = scene.seat_of(proxy, *conn) else { continue };
            let until = since.max(outage) + hold;
            if scene.due(proxy, until) < now {
                return Some(format!(
                    "player {conn} still sits at {}, down since {outage}: it was to be cut at {until} \
                     (pull.player_hold_ms, {})",
                    name_of(&stream.key),
                    secs(hold)
                ));
            }
            next = Some(next.map_or(until, |next: Instant| next.min(until)));
        }
        if let Some(next) = next {
            self.due.set(Due::Holds(proxy, id), next.max(now));
        }
        None
    }

    /// Judges why a player left.
    fn on_left(
        &mut self,
        record: &Record,
        stream: Option<u64>,
        conn: u64,
        reason: &PlayerEnd,
        scene: &Scene,
    ) -> Option<String> {
        let (proxy, at) = (record.actor, record.at);
        let waited = self.due.clear(&Due::Waits(proxy, conn));
        if *reason == PlayerEnd::Stopped {
            // It stays connected and may ask again.
            if let Some(sitting) = self.conns.get_mut(&(proxy, conn)) {
                sitting.idle_since = at;
            }
            return None;
        }
        let Some(sitting) = self.conns.remove(&(proxy, conn)) else {
            return Some(format!("player {conn} left ({reason:?}), and it was gone already"));
        };
        self.cut.retain(|cut| *cut != (proxy, conn));
        self.owe(&sitting, stream, reason);
        let config = scene.config(proxy);
        let play = &config.play;
        let player = sitting.seat.and_then(|seat| scene.players.get(seat));
        let is_strange =
            player.is_none_or(|player| scene.host_of(player.actor).is_none_or(|host| scene.is_touched(host)));
        let says = |why: String| Some(format!("player {conn} left as {reason:?}, and {why}"));
        match reason {
            // How its connection ended, and what was in flight on it, only the process has seen.
            PlayerEnd::Left(_) | PlayerEnd::Stuck if scene.is_outside => None,
            PlayerEnd::Left(_) => {
                let is_it = |entered: Entered| {
                    entered.proxy == proxy
                        && matches!(entered.what, Inward::Closed { conn: closed, .. } if closed == conn)
                };
                if scene.inward.is_some_and(is_it) {
                    None
                } else {
                    says("no end of its connection came in".to_owned())
                }
            }
            PlayerEnd::Session(_) | PlayerEnd::Handshake(_) if is_strange => None,
            PlayerEnd::Session(_) | PlayerEnd::Handshake(_) => {
                says("its bytes are those of a player".to_owned())
            }
            PlayerEnd::Idle => {
                let until = sitting.idle_since + play.handshake_timeout;
                let wait = secs(play.handshake_timeout);
                if at >= until {
                    None
                } else {
                    says(format!("it has been idle since {} only: {wait} were promised", sitting.idle_since))
                }
            }
            PlayerEnd::NotFound => match waited {
                Some(until) if at < until => says(format!(
                    "it waits since {} only: {} were promised",
                    until - play.stream_wait,
                    secs(play.stream_wait)
                )),
                Some(_) => None,
                None if play.stream_wait.is_zero() => None,
                None => says("it was not waiting".to_owned()),
            },
            PlayerEnd::Denied => says("nobody has denied it anything".to_owned()),
            PlayerEnd::Ring => None,
            PlayerEnd::Full => None,
            PlayerEnd::Stuck => {
                let silence = at.since(sitting.progress_at);
                if sitting.in_flight == 0 {
                    says(format!("it has taken every byte, the last one {} ago", secs(silence)))
                } else if silence < play.stall_timeout {
                    says(format!(
                        "it took bytes {} ago: {} without any were promised, {} are in flight",
                        secs(silence),
                        secs(play.stall_timeout),
                        sitting.in_flight
                    ))
                } else {
                    None
                }
            }
            PlayerEnd::HoldExpired => {
                let now = stream.and_then(|id| scene.streams.get(&(proxy, id)))?;
                let hold = config.pull.player_hold;
                match now.outage_since {
                    None => says(format!("{} is {}", name_of(&now.key), kebab(&now.state))),
                    Some(since) if since + hold > at => says(format!(
                        "{} is down for {} only: {} were promised",
                        name_of(&now.key),
                        secs(at.since(since)),
                        secs(hold)
                    )),
                    Some(_) => None,
                }
            }
            PlayerEnd::StreamEnded(StreamEnd::Shutdown) => None,
            PlayerEnd::StreamEnded(reason) => {
                let key = player.and_then(|player| super::scene::key_named(&player.stream));
                self.ended.push(Ended { proxy, stream, key, conn, reason: *reason });
                None
            }
            PlayerEnd::Kicked => {
                let kicks =
                    |call: &super::CallNow| call.proxy == proxy && call.call.name.starts_with("kick_session");
                if scene.calls.values().any(kicks) { None } else { says("no operator kicked it".to_owned()) }
            }
            PlayerEnd::Stopped => None,
        }
    }

    /// Notes what a player must be told before its connection ends.
    fn owe(&mut self, sitting: &Sitting, stream: Option<u64>, reason: &PlayerEnd) {
        let (Some(seat), PlayOutput::Rtmp) = (sitting.seat, sitting.output) else { return };
        let seat = u32::try_from(seat).unwrap_or(u32::MAX);
        match reason {
            PlayerEnd::HoldExpired => self.owed.insert(seat, ("StreamEOF", false)),
            PlayerEnd::StreamEnded(_) if stream.is_some() => self.owed.insert(seat, ("StreamEOF", false)),
            PlayerEnd::NotFound => self.owed.insert(seat, ("NetStream.Play.StreamNotFound", false)),
            PlayerEnd::StreamEnded(_)
            | PlayerEnd::Left(_)
            | PlayerEnd::Stopped
            | PlayerEnd::Session(_)
            | PlayerEnd::Handshake(_)
            | PlayerEnd::Idle
            | PlayerEnd::Denied
            | PlayerEnd::Ring
            | PlayerEnd::Full
            | PlayerEnd::Stuck
            | PlayerEnd::Kicked => None,
        };
    }

    /// What becomes of a player is what the proxy said.
    fn on_player(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        if let What::PlayerConnected { seat, .. } = &record.what
            && scene.is_outside
        {
            // The process may have told of it before the player did.
            let seat = seat.0 as usize;
            for (whose, sitting) in self.conns.iter_mut().filter(|(_, sitting)| sitting.seat.is_none()) {
                sitting.seat = scene.conns.get(whose).and_then(|conn| conn.seat).filter(|of| *of == seat);
                if let Some(player) = sitting.seat.and_then(|seat| scene.players.get(seat)) {
                    sitting.output = player.output;
                }
            }
        }
        if let What::PlayerTold { seat, status } = &record.what
            && let Some((owed, told)) = self.owed.get_mut(&seat.0)
        {
            *told |= status == owed;
        }
        let What::PlayerLost { seat, cause } = &record.what else { return };
        let owed = self.owed.remove(&seat.0);
        let Some(player) = scene.players.get(seat.0 as usize) else { return };
        let is_well = |actor| scene.host_of(actor).is_some_and(|host| !scene.is_touched(host));
        if player.is_gone
            || !is_well(player.actor)
            || !is_well(player.from)
            || !matches!(cause.as_str(), "EOF" | "RST")
        {
            return;
        }
        if let Some((status, false)) = owed {
            let text = format!(
                "a player of {} lost its connection ({cause}) and was not told {status}",
                player.stream
            );
            findings.broken(NAME, record.actor, text);
        }
        // The proxy still counts it.
        let sits = |((proxy, _), sitting): (&(ActorId, u64), &Sitting)| {
            *proxy == player.from && sitting.seat == Some(seat.0 as usize)
        };
        if let Some(((_, conn), _)) = self.conns.iter().find(|entry| sits(*entry)) {
            let text = format!(
                "a player of {} lost its connection ({cause}), which the proxy counts as player {conn}",
                player.stream
            );
            findings.broken(NAME, record.actor, text);
        }
    }
}

/// Tells of a player that still waits for a stream which has begun.
fn left_parked(proxy: ActorId, id: u64, scene: &Scene) -> Option<String> {
    let stream = scene.streams.get(&(proxy, id)).filter(|stream| stream.state == PullState::Streaming)?;
    let conn = scene.parked.get(&(proxy, stream.key.clone()))?.first()?;
    Some(format!("player {conn} waits for {}, which streams: a seat was promised", name_of(&stream.key)))
}
