//! How the scene follows the records.

use std::net::SocketAddr;

use proxy_core::{
    io::{BackoffLaw, Event as CoreEvent, EventKind, PlayerEnd, PullEventKind, PullOptions, PullState},
    time::Instant,
    url::{OriginUrl, StreamKey},
};
use proxyd::config::{OPTIONS, set_option};

use super::{
    CallNow, ConnNow, Entered, PlaceNow, PlayerNow, Policy, RequestNow, Scene, StreamNow, key_named, literal,
};
use crate::{
    raw::media::Track,
    scenario::model::{Act, DnsAnswer, Fault, HostRef},
    trace::{ActorId, Call, Inward, Moment, Outward, Record, What},
};

impl Scene {
    pub(crate) fn on_record(&mut self, record: &Record) {
        let (actor, at) = (record.actor, record.at);
        match &record.what {
            What::Phase(phase) => (self.phase, self.phase_at) = (Some(*phase), at),
            What::Began { event } => self.on_began(*event, at),
            What::Lifted { event } => self.on_lifted(*event, at),
            What::Moment(moment) => self.on_moment(actor, *moment, at),
            // One that nobody of the cast has any more is the world's.
            What::Address { ip } => {
                // At 0 s everybody gets the first.
                if at > Instant::ZERO {
                    self.names_moved = Some(at);
                }
                match self.host_of(actor) {
                    Some(host) => {
                        self.owners.insert(*ip, host);
                    }
                    None => {
                        self.owners.remove(ip);
                    }
                }
            }
            What::Asked(call) => self.on_asked(record, call),
            What::Answered { call, body } => {
                self.answered = self.calls.remove(call);
                if let Some(call) = &self.answered {
                    self.asked.remove(&call.step);
                }
                if let Some(call) = self.answered.clone() {
                    self.on_answered(&call, body);
                }
            }
            What::In(inward) => self.on_in(record, inward),
            What::Out(outward) => self.on_out(actor, outward, at),
            What::Event(event) => self.on_event(record, event),
            What::Sample(sample) => {
                self.samples.insert(actor, *sample);
            }
            What::Arrived { conn, track, .. } => self.on_arrived(actor, *conn, *track, at),
            What::PlayerJoins { output, stream, from, redials, .. } => self.players.push(PlayerNow {
                actor,
                output: *output,
                stream: stream.clone(),
                from: *from,
                redials: *redials,
                joined_at: at,
                is_connected: false,
                connected_at: at,
                is_let_go: false,
                is_seated: false,
                seated_at: at,
                last_frame: None,
                frames: 0,
                is_gone: false,
            }),
            What::PlayerLeaves { seat } => self.with_player(seat.0, |player| player.is_gone = true),
            What::PlayerConnected { seat, local } => {
                self.addresses.insert(*local, seat.0 as usize);
                // A process may have told of it before the player did.
                for conn in self.conns.values_mut().filter(|conn| conn.addr == *local && conn.seat.is_none())
                {
                    conn.seat = self.is_outside.then_some(seat.0 as usize);
                }
                self.with_player(seat.0, |player| {
                    (player.is_connected, player.connected_at, player.is_let_go) = (true, at, false);
                });
            }
            What::Saw { seat, saw } => self.with_player(seat.0, |player| {
                if saw.seated {
                    (player.is_seated, player.seated_at) = (true, at);
                }
                if saw.frames > 0 {
                    player.last_frame = Some(at);
                    player.frames += u64::from(saw.frames);
                }
            }),
            What::PlayerLost { seat, .. } => self.with_player(seat.0, |player| {
                (player.is_connected, player.is_seated) = (false, false);
            }),
            What::EndArrived { .. }
            | What::OriginAccepted
            | What::OriginPlays { .. }
            | What::OriginComplains(_)
            | What::PlayerTold { .. }
            | What::PlayerViolation { .. }
            | What::Dialled { .. }
            | What::Packet(_) => {}
        }
    }

    fn with_player(&mut self, seat: u32, act: impl FnOnce(&mut PlayerNow)) {
        if let Some(player) = self.players.get_mut(seat as usize) {
            act(player);
        }
    }

    // ---- the timeline ----

    fn on_began(&mut self, index: u16, at: Instant) {
        let Some(event) = self.events.get(usize::from(index)) else { return };
        let mut touched = Vec::new();
        match &event.act {
            Act::Fault(fault) => {
                self.faults.insert(index, at);
                let on = fault.on;
                touched.push(on);
                if let Fault::Partition { with, .. } = &fault.fault {
                    touched.extend(with);
                }
                // Flows of everybody, names of everybody, the time of everything.
                self.all_touched |= matches!(
                    fault.fault,
                    Fault::ConntrackFlush | Fault::Dns { .. } | Fault::WallClock { .. }
                );
                self.slow_names.0 += u32::from(is_slow_name(&fault.fault));
                if let Fault::Dns { .. } = &fault.fault {
                    self.names_moved = Some(at);
                }
                if matches!(fault.fault, Fault::Freeze | Fault::Pause) {
                    for (proxy, now) in &mut self.proxies {
                        if now.is_up && self.hosts.get(usize::from(proxy.0)) == Some(&on) {
                            now.frozen.insert(index);
                        }
                    }
                }
                if let Fault::Term(back) | Fault::Kill(back) | Fault::Vanish(back) = &fault.fault {
                    let never = back.never;
                    for origin in self.origins.values_mut().filter(|origin| origin.host == on) {
                        origin.never |= never;
                    }
                    self.stop(on);
                }
            }
            Act::Publish { origin, .. } | Act::Start { origin } => touched.push(*origin),
            Act::Call(_) | Act::Repair { .. } | Act::Play { .. } | Act::Leave { .. } => {}
        }
        self.touched.extend(touched);
    }

    fn on_lifted(&mut self, index: u16, at: Instant) {
        self.faults.remove(&index);
        self.last_lifted = at;
        let Some(event) = self.events.get(usize::from(index)) else { return };
        let Act::Fault(fault) = &event.act else { return };
        if let Fault::Dns { .. } = &fault.fault {
            self.names_moved = Some(at);
        }
        if is_slow_name(&fault.fault) {
            self.slow_names = (self.slow_names.0.saturating_sub(1), Some(at));
        }
        if !matches!(fault.fault, Fault::Freeze | Fault::Pause) {
            return;
        }
        for (proxy, now) in &mut self.proxies {
            // One that was started meanwhile was never frozen.
            if self.hosts.get(usize::from(proxy.0)) == Some(&fault.on) && now.frozen.remove(&index) {
                now.ran_at = at;
            }
        }
    }

    /// A proxy's process on this host is gone, with everything it knew.
    fn stop(&mut self, host: HostRef) {
        let on: Vec<ActorId> =
            self.proxies.keys().copied().filter(|proxy| self.host_of(*proxy) == Some(host)).collect();
        for proxy in on {
            if let Some(now) = self.proxies.get_mut(&proxy) {
                now.is_up = false;
                now.frozen.clear();
            }
            self.forget(proxy);
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.forgotten.push(proxy);
        self.counts.retain(|(of, _), _| *of != proxy);
        self.streams.retain(|(of, _), _| *of != proxy);
        self.keys.retain(|(of, _), _| *of != proxy);
        self.conns.retain(|(of, _), _| *of != proxy);
        self.places.retain(|(of, _), _| *of != proxy);
        self.parked.retain(|(of, _), _| *of != proxy);
        self.requests.retain(|(of, _), _| *of != proxy);
        self.calls.retain(|_, call| call.proxy != proxy);
        self.asked.retain(|_, call| self.calls.contains_key(call));
        self.samples.remove(&proxy);
        self.unassigned.clear();
    }

    fn on_moment(&mut self, actor: ActorId, moment: Moment, at: Instant) {
        match moment {
            Moment::Listening | Moment::Watching => {}
            Moment::Serving | Moment::Silent => {
                if let Some(origin) = self.origins.get_mut(&actor) {
                    (origin.serves, origin.since) = (moment == Moment::Serving, at);
                    origin.has_served |= origin.serves;
                }
            }
        }
        // A proxy that listens has begun a new life: nothing of the old one is so.
        if moment == Moment::Listening
            && let Some(now) = self.proxies.get_mut(&actor)
        {
            (now.is_up, now.ran_at, now.began_at) = (true, at, at);
            self.forget(actor);
        }
    }

    // ---- calls and requests ----

    fn on_asked(&mut self, record: &Record, call: &Call) {
        let proxy = record.actor;
        // Nobody is there to answer; the caller's patience is not the proxy's promise.
        if !self.is_running(proxy) {
            return;
        }
        let key = self.key_of_call(call);
        let id = key.and_then(|key| self.keys.get(&(proxy, key)).copied());
        let was = id.and_then(|id| self.streams.get(&(proxy, id))).map(|stream| stream.state);
        let now = CallNow { proxy, call: call.clone(), at: record.at, step: record.step, was };
        self.calls.insert(call.call, now);
        self.asked.insert(record.step, call.call);
    }

    /// Returns the key a call is about.
    pub fn key_of_call(&self, call: &Call) -> Option<StreamKey> {
        if let Some(name) = &call.stream {
            return key_named(name);
        }
        let arg =
            |name: &str| call.args.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        match (arg("key"), arg("app"), arg("stream")) {
            (Some(key), _, _) => StreamKey::parse(key).ok(),
            (None, Some(app), Some(stream)) => key_named(&format!("{app}/{stream}")),
            (None, _, _) => None,
        }
    }

    /// What `updateStreamProxy` asked for is the wish from here on.
    fn on_answered(&mut self, call: &CallNow, body: &str) {
        if call.call.name == "updateStreamProxy" && body.contains("\"code\":0") {
            self.rewish(call.proxy, &call.call, false);
        }
    }

    /// Takes url and options of a call as a stream's wish; `afresh` without those it had.
    fn rewish(&mut self, proxy: ActorId, call: &Call, afresh: bool) {
        let Some(key) = self.key_of_call(call) else { return };
        let Some(id) = self.keys.get(&(proxy, key)).copied() else { return };
        let Some(settings) = self.settings.get(&proxy) else { return };
        let Some(stream) = self.streams.get_mut(&(proxy, id)) else { return };
        let base = if afresh { PullOptions::default() } else { stream.options.clone() };
        let url = call.args.iter().find(|(name, _)| name == "url").map(|(_, url)| url);
        let Some(options) = options_of(&call.args, base) else { return };
        if url.is_some_and(|url| OriginUrl::parse(url).is_err()) {
            return;
        }
        stream.policy = Policy::of(&options, &settings.core.pull);
        stream.options = options;
        if let Some(url) = url {
            stream.url.clone_from(url);
            let before = std::mem::replace(&mut stream.literal, literal(url));
            let now = stream.literal;
            self.count_out(proxy, before);
            *self.counts.entry((proxy, now)).or_default() += 1;
        }
    }

    fn count_out(&mut self, proxy: ActorId, literal: Option<SocketAddr>) {
        if let Some(count) = self.counts.get_mut(&(proxy, literal)) {
            *count -= 1;
        }
    }

    // ---- the core's inputs and outputs ----

    fn on_in(&mut self, record: &Record, inward: &Inward) {
        let (actor, at) = (record.actor, record.at);
        self.inward = Some(Entered { step: record.step, proxy: actor, what: *inward });
        match inward {
            Inward::Connected { conn, failed } => {
                if failed.is_some() {
                    self.forget_conn(actor, *conn);
                } else if let Some(conn) = self.conns.get_mut(&(actor, *conn)) {
                    conn.is_open = true;
                }
            }
            Inward::Accepted { conn, peer } | Inward::PlayHttp { conn, peer } => {
                let seat = self.addresses.get(peer).copied();
                let now =
                    ConnNow { stream: None, seat, addr: *peer, since: at, is_open: true, is_closing: false };
                self.conns.insert((actor, *conn), now);
            }
            Inward::Closed { conn, .. } => self.forget_conn(actor, *conn),
            Inward::Received { conn, .. } => {
                let stream = self.conns.get(&(actor, *conn)).and_then(|conn| conn.stream);
                if let Some(stream) = stream.and_then(|stream| self.streams.get_mut(&(actor, stream)))
                    && stream.upstream == Some(*conn)
                {
                    stream.heard_at = Some(at);
                }
            }
            Inward::Request { id } => {
                let call = self.asked.get(&record.cause).copied();
                self.requests.insert((actor, *id), RequestNow { call, at, step: record.step });
            }
            Inward::Timeout
            | Inward::Listening
            | Inward::Resolved { .. }
            | Inward::Sent { .. }
            | Inward::Answered { .. } => {}
        }
    }

    fn on_out(&mut self, actor: ActorId, outward: &Outward, at: Instant) {
        match outward {
            Outward::Connect { conn, addr } => {
                self.unassigned.push((actor, *conn));
                let now = ConnNow {
                    stream: None,
                    seat: None,
                    addr: *addr,
                    since: at,
                    is_open: false,
                    is_closing: false,
                };
                self.conns.insert((actor, *conn), now);
            }
            Outward::Close { conn } => {
                let mut stream = None;
                if let Some(conn) = self.conns.get_mut(&(actor, *conn)) {
                    conn.is_closing = true;
                    stream = conn.stream;
                }
                self.give_up(actor, stream, *conn);
            }
            Outward::Abort { conn } => self.forget_conn(actor, *conn),
            Outward::PlayAnswer { conn, streams: false } => self.forget_conn(actor, *conn),
            Outward::Reply { id } => {
                self.requests.remove(&(actor, *id));
            }
            Outward::PlayAnswer { streams: true, .. }
            | Outward::Resolve { .. }
            | Outward::Transmit { .. }
            | Outward::Ask { .. } => {}
        }
    }

    fn forget_conn(&mut self, actor: ActorId, conn: u64) {
        if let Some(now) = self.conns.remove(&(actor, conn)) {
            self.give_up(actor, now.stream, conn);
            // One that has dialled again since has another connection.
            if let Some(player) = now.seat.and_then(|seat| self.players.get_mut(seat))
                && player.connected_at <= now.since
            {
                player.is_let_go = true;
            }
        }
    }

    fn give_up(&mut self, actor: ActorId, stream: Option<u64>, conn: u64) {
        if let Some(stream) = stream.and_then(|stream| self.streams.get_mut(&(actor, stream)))
            && stream.upstream == Some(conn)
        {
            stream.upstream = None;
        }
    }

    fn on_arrived(&mut self, actor: ActorId, conn: u64, track: Track, at: Instant) {
        let stream = self.conns.get(&(actor, conn)).and_then(|conn| conn.stream);
        let Some(stream) = stream.and_then(|stream| self.streams.get_mut(&(actor, stream))) else { return };
        stream.arrived_at = Some(at);
        match track {
            Track::Video => stream.video_at = Some(at),
            Track::Audio => stream.audio_at = Some(at),
        }
    }

    // ---- events ----

    fn on_event(&mut self, record: &Record, event: &CoreEvent) {
        let (actor, at) = (record.actor, record.at);
        let id = event.stream.map(|stream| stream.0);
        if let Some(id) = id
            && let Some(stream) = self.streams.get_mut(&(actor, id))
        {
            stream.events = event.number;
        }
        match (&event.kind, id) {
            (EventKind::Registered { key }, Some(id)) => self.on_registered(record, id, key, event.number),
            (EventKind::Unregistered { key, .. }, Some(id)) => {
                self.keys.remove(&(actor, key.clone()));
                if let Some(stream) = self.streams.remove(&(actor, id)) {
                    self.count_out(actor, stream.literal);
                    self.removed = Some(stream);
                }
            }
            (EventKind::PullStepped { state, event, next }, Some(id)) => {
                self.on_stepped(record, id, *state, *event, *next);
            }
            (EventKind::PullEntered { state, failure, failures, next_attempt }, Some(id)) => {
                let Some(stream) = self.streams.get_mut(&(actor, id)) else { return };
                let before = stream.state;
                (stream.state, stream.entered_at) = (*state, at);
                (stream.failures, stream.next_attempt) = (*failures, *next_attempt);
                if failure.is_some() {
                    stream.failure.clone_from(failure);
                }
                stream.plays += u64::from(*state == PullState::AwaitingMedia);
                if *state == PullState::Streaming {
                    stream.has_streamed = true;
                    stream.outage_since = None;
                } else if before == PullState::Streaming {
                    stream.outage_since = Some(at);
                    stream.repulls += 1;
                }
            }
            (EventKind::PlayerParked { conn, key }, _) => {
                let place = PlaceNow::Parked { key: key.clone(), since: at };
                self.move_player(actor, conn.0, Some(place), at);
            }
            (EventKind::PlayerSeated { conn }, Some(id)) => {
                self.move_player(actor, conn.0, Some(PlaceNow::Seated { stream: id, since: at }), at);
            }
            (EventKind::PlayerLeft { conn, reason }, _) => {
                self.move_player(actor, conn.0, None, at);
                if self.is_outside && *reason != PlayerEnd::Stopped {
                    self.forget_conn(actor, conn.0);
                }
            }
            (EventKind::PlayerConnected { conn, peer }, _) if self.is_outside => {
                let seat = self.addresses.get(peer).copied();
                let now =
                    ConnNow { stream: None, seat, addr: *peer, since: at, is_open: true, is_closing: false };
                self.conns.insert((actor, conn.0), now);
            }
            (
                EventKind::Registered { .. }
                | EventKind::Unregistered { .. }
                | EventKind::PullStepped { .. }
                | EventKind::PullEntered { .. }
                | EventKind::PlayerSeated { .. },
                None,
            )
            | (
                EventKind::OriginStatus(_)
                | EventKind::Epoch { .. }
                | EventKind::Rebuilt
                | EventKind::TrackGone(_)
                | EventKind::PlayerConnected { .. }
                | EventKind::PlayerShed { .. }
                | EventKind::NoneReader,
                _,
            ) => {}
        }
    }

    /// Returns the last call without an answer that adds or changes a stream.
    fn call_about(&self, proxy: ActorId, key: &StreamKey) -> Option<u32> {
        let is_it = |call: &CallNow| {
            call.proxy == proxy
                && matches!(call.call.name.as_str(), "addStreamProxy" | "updateStreamProxy")
                && self.key_of_call(&call.call).as_ref() == Some(key)
        };
        self.calls.iter().rev().find(|(_, call)| is_it(call)).map(|(number, _)| *number)
    }

    fn on_registered(&mut self, record: &Record, id: u64, key: &StreamKey, number: u64) {
        let (actor, at) = (record.actor, record.at);
        let Some(settings) = self.settings.get(&actor) else { return };
        let call = match self.inward {
            _ if self.is_outside => self.call_about(actor, key),
            Some(Entered { proxy, what: Inward::Request { id }, .. }) if proxy == actor => {
                self.requests.get(&(actor, id)).and_then(|request| request.call)
            }
            Some(_) | None => None,
        };
        let (url, options) = match call.and_then(|call| self.calls.get(&call)) {
            Some(call) => {
                let url = call.call.args.iter().find(|(name, _)| name == "url");
                let options = options_of(&call.call.args, PullOptions::default());
                (url.map(|(_, url)| url.clone()).unwrap_or_default(), options.unwrap_or_default())
            }
            None => match settings.proxies.iter().find(|entry| entry.key == *key) {
                Some(entry) => (entry.url.clone(), PullOptions { force: true, ..entry.options.clone() }),
                None => (String::new(), PullOptions::default()),
            },
        };
        let is_waited = self.parked.get(&(actor, key.clone())).is_some_and(|parked| !parked.is_empty());
        self.keys.insert((actor, key.clone()), id);
        let stream = StreamNow {
            key: key.clone(),
            registered_at: at,
            events: number,
            state: PullState::BackingOff,
            entered_at: at,
            attempt_at: at,
            attempts: 0,
            plays: 0,
            failures: 0,
            failure: None,
            next_attempt: None,
            upstream: None,
            other: None,
            addr: None,
            ponged: false,
            heard_at: None,
            arrived_at: None,
            audio_at: None,
            video_at: None,
            replayed: false,
            has_streamed: false,
            outage_since: Some(at),
            repulls: 0,
            seats: std::collections::BTreeSet::new(),
            unwatched_since: (!is_waited).then_some(at),
            literal: literal(&url),
            url,
            policy: Policy::of(&options, &settings.core.pull),
            options,
        };
        let counted = (actor, stream.literal);
        if self.streams.insert((actor, id), stream).is_none() {
            *self.counts.entry(counted).or_default() += 1;
        }
    }

    fn on_stepped(
        &mut self,
        record: &Record,
        id: u64,
        state: PullState,
        event: PullEventKind,
        next: PullState,
    ) {
        let (actor, at) = (record.actor, record.at);
        if event == PullEventKind::Restart
            && self.is_outside
            && let Some(key) = self.streams.get(&(actor, id)).map(|stream| stream.key.clone())
            && let Some(call) = self.call_about(actor, &key).and_then(|call| self.calls.get(&call))
        {
            let call = call.call.clone();
            self.rewish(actor, &call, call.name == "addStreamProxy");
        }
        if event == PullEventKind::Restart
            && let Some(Entered { proxy, what: Inward::Request { id: request }, .. }) = self.inward
            && proxy == actor
            && let Some(call) = self.requests.get(&(actor, request)).and_then(|request| request.call)
            && let Some(call) = self.calls.get(&call).map(|call| call.call.clone())
        {
            self.rewish(actor, &call, call.name == "addStreamProxy");
        }
        let Some(stream) = self.streams.get_mut(&(actor, id)) else { return };
        if begins_attempt(state, event, next) {
            stream.attempt_at = at;
            stream.attempts += 1;
            // One that begins anew while the last still looked its name up enters no other state.
            stream.entered_at = at;
        }
        if self.is_outside && event == PullEventKind::Frame {
            // Nobody hears what arrives at its socket: its word has to do, and players tell what is so.
            stream.arrived_at = Some(at);
        }
        stream.ponged |= event == PullEventKind::Pong;
        stream.replayed = match next {
            PullState::Replaying => true,
            PullState::AwaitingMedia | PullState::Streaming => stream.replayed,
            PullState::Resolving
            | PullState::Queued
            | PullState::Connecting
            | PullState::Handshaking
            | PullState::Requesting
            | PullState::BackingOff
            | PullState::Stopped => false,
        };
        let waits_on = state == PullState::BackingOff && next == PullState::BackingOff;
        if waits_on && event == PullEventKind::Watched && stream.policy.law == BackoffLaw::Repull {
            let soonest = (stream.attempt_at + stream.policy.backoff_max).max(at);
            stream.next_attempt = stream.next_attempt.map(|next| next.min(soonest));
        }
        if state != PullState::Streaming && next == PullState::Streaming {
            // What arrived before belongs to another stretch.
            let keep = |seen: Option<Instant>| seen.filter(|seen| *seen == at);
            (stream.audio_at, stream.video_at) = (keep(stream.audio_at), keep(stream.video_at));
        }
        if next == PullState::Connecting && state != PullState::Connecting && self.is_outside {
            stream.ponged = false;
        }
        if next == PullState::Connecting {
            for (proxy, conn) in std::mem::take(&mut self.unassigned) {
                if let Some(now) = self.conns.get_mut(&(proxy, conn)) {
                    now.stream = Some(id);
                    stream.addr = Some(now.addr);
                }
                stream.other = stream.upstream.replace(conn);
                (stream.ponged, stream.heard_at) = (false, None);
            }
        }
    }

    fn move_player(&mut self, proxy: ActorId, conn: u64, place: Option<PlaceNow>, at: Instant) {
        let before = match &place {
            Some(place) => self.places.insert((proxy, conn), place.clone()),
            None => self.places.remove(&(proxy, conn)),
        };
        for (place, is_there) in [(before, false), (place, true)] {
            match place {
                Some(PlaceNow::Parked { key, .. }) => {
                    let parked = self.parked.entry((proxy, key.clone())).or_default();
                    if is_there {
                        parked.insert(conn);
                    } else {
                        parked.remove(&conn);
                    }
                    if parked.is_empty() {
                        self.parked.remove(&(proxy, key.clone()));
                    }
                    if let Some(id) = self.keys.get(&(proxy, key)).copied() {
                        self.look_at_watchers(proxy, id, at);
                    }
                }
                Some(PlaceNow::Seated { stream: id, .. }) => {
                    if let Some(stream) = self.streams.get_mut(&(proxy, id)) {
                        if is_there {
                            stream.seats.insert(conn);
                        } else {
                            stream.seats.remove(&conn);
                        }
                    }
                    self.look_at_watchers(proxy, id, at);
                }
                None => {}
            }
        }
    }

    fn look_at_watchers(&mut self, proxy: ActorId, id: u64, at: Instant) {
        let Some(stream) = self.streams.get(&(proxy, id)) else { return };
        let is_watched = self.is_watched(proxy, stream);
        if let Some(stream) = self.streams.get_mut(&(proxy, id)) {
            stream.unwatched_since = if is_watched { None } else { stream.unwatched_since.or(Some(at)) };
        }
    }
}

/// Returns whether a step begins an attempt: a lookup made again for a token, or the next address, belongs to the one
/// under way.
pub(crate) fn begins_attempt(state: PullState, event: PullEventKind, next: PullState) -> bool {
    matches!(next, PullState::Resolving | PullState::Queued)
        && (matches!(event, PullEventKind::Restart | PullEventKind::Redirected)
            || matches!(
                (state, event),
                (PullState::BackingOff, PullEventKind::Wake | PullEventKind::Deadline)
                    | (PullState::Replaying, PullEventKind::Closed)
                    | (PullState::Streaming, PullEventKind::Deadline)
            ))
}

/// Returns options with what arguments say; `None` if they say nonsense.
fn options_of(args: &[(String, String)], base: PullOptions) -> Option<PullOptions> {
    let mut options = base;
    for option in OPTIONS {
        let said = args.iter().find(|(name, _)| name.eq_ignore_ascii_case(option.name));
        if let Some((_, value)) = said {
            set_option(&mut options, option.name, value).ok()?;
        }
    }
    Some(options)
}

/// Returns whether a fault lets a name be answered late or never.
fn is_slow_name(fault: &Fault) -> bool {
    matches!(fault, Fault::Dns { answer: DnsAnswer::Silent | DnsAnswer::Slow(_), .. })
}
