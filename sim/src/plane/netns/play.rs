//! Players and operators: what the timeline has them do, and what is heard of them.

use std::net::{Ipv4Addr, SocketAddr};

use proxy_core::{io::PlayOutput, time::Instant};

use super::{
    wire::{Order, SeatOrder},
    world::{Runs, SECRET, World},
};
use crate::{
    scenario::model::{Call, HostRef, LeaveBy, PullRef},
    trace::{self, ActorId, Moment, SeatId, What},
    world::{
        calls::{Repair, arguments},
        moments::Happened,
        timeline::{forward_max, has_one_origin, hold_max},
    },
};

/// One player at one output.
#[derive(Debug)]
pub(super) struct SeatNow {
    actor: ActorId,
    /// Its host, an index.
    host: usize,
    /// Where it dials.
    at: HostRef,
    port: u16,
    is_watching: bool,
    is_gone: bool,
}

/// What follows the answer to a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallThen {
    actor: ActorId,
    event: Option<u16>,
    /// A repair script waits to know whether its stream is online.
    repairs: Option<(HostRef, Repair)>,
}

impl World<'_> {
    // ---- players ----

    pub(super) fn players_join(&mut self, players: HostRef, at: HostRef, stream: &str, via: &[PlayOutput]) {
        let host = usize::from(players.0);
        let (rtmp, http) = match &self.hosts[usize::from(at.0)].runs {
            Runs::Proxy(proxy) => (proxy.settings.rtmp.port, proxy.settings.http.port),
            Runs::Origin(origin) => (origin.spec.port, 0),
            Runs::Players(_) | Runs::Nothing => return,
        };
        let to = self.hosts[usize::from(at.0)].ips.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let from = self.hosts[usize::from(at.0)].actor;
        let crate::scenario::model::Role::Player(spec) = &self.scenario.hosts[host].role else { return };
        let redials = spec.retry.is_some();
        let mut orders = Vec::new();
        for (number, ip) in self.hosts[host].ips.clone().into_iter().enumerate() {
            let number = u16::try_from(number).unwrap_or(u16::MAX);
            let actor = ActorId(self.hosts[host].actor.0 + number);
            // Of several pulls alike each player plays its own.
            let stream = stream.replace("{n}", &(number + 1).to_string());
            for output in via {
                let port = match output {
                    PlayOutput::Rtmp => rtmp,
                    PlayOutput::HttpFlv => http,
                };
                let name = format!("{}:{port}", self.scenario.hosts[usize::from(at.0)].name);
                let url = match output {
                    PlayOutput::Rtmp => format!("rtmp://{name}/{stream}"),
                    PlayOutput::HttpFlv => format!("http://{name}/{stream}.live.flv"),
                };
                let seat = u32::try_from(self.seats.len()).unwrap_or(u32::MAX);
                self.seats.push(SeatNow { actor, host, at, port, is_watching: false, is_gone: false });
                if let Runs::Players(players) = &mut self.hosts[host].runs {
                    players.seats.push(seat);
                }
                // Frames of real software carry no stamps.
                let source = self.timeline.sources.get(&stream).unwrap_or(&stream);
                let has_one_origin = has_one_origin(self.scenario, source);
                let source = (!self.has_real_peers()).then(|| source.clone());
                orders.push(SeatOrder {
                    seat,
                    actor: actor.0,
                    from: ip,
                    to: SocketAddr::from((to, port)),
                    output: *output,
                    url,
                    source,
                    is_chained: self.timeline.is_chained(&stream, at),
                    plays_rise: self.timeline.plays_rise(self.scenario, &stream, at),
                    has_one_origin,
                    hold_max: hold_max(self.scenario).as_nanos().try_into().unwrap_or(u64::MAX),
                    forward_max: forward_max(self.scenario).as_nanos().try_into().unwrap_or(u64::MAX),
                    is_real: false,
                });
                let joins = What::PlayerJoins {
                    seat: SeatId(seat),
                    output: *output,
                    stream: stream.clone(),
                    from,
                    redials,
                };
                self.note(actor, joins.clone());
                if self.has_real_peers() && number == 0 {
                    // Beside the first of a host, ffmpeg by the same output.
                    let order = self.real_seat(host, at, port, orders.last().cloned());
                    if let (Some(order), What::PlayerJoins { output, stream, .. }) = (order, joins) {
                        let seat = SeatId(order.seat);
                        orders.push(order);
                        self.note(actor, What::PlayerJoins { seat, output, stream, from, redials });
                    }
                }
            }
        }
        self.order_players(host, Order::Join { seats: orders });
    }

    /// Makes a seat for ffmpeg beside another.
    fn real_seat(
        &mut self,
        host: usize,
        at: HostRef,
        port: u16,
        beside: Option<SeatOrder>,
    ) -> Option<SeatOrder> {
        let beside = beside?;
        let seat = u32::try_from(self.seats.len()).unwrap_or(u32::MAX);
        let actor = ActorId(beside.actor);
        self.seats.push(SeatNow { actor, host, at, port, is_watching: false, is_gone: false });
        if let Runs::Players(players) = &mut self.hosts[host].runs {
            players.seats.push(seat);
        }
        Some(SeatOrder { seat, is_real: true, ..beside })
    }

    pub(super) fn order_players(&self, host: usize, order: Order) {
        if let Runs::Players(players) = &self.hosts[host].runs
            && let Some(process) = players.process
        {
            self.peers.order(process, order);
        }
    }

    pub(super) async fn players_leave(&mut self, players: HostRef, by: LeaveBy) -> Result<(), String> {
        let host = usize::from(players.0);
        if by == LeaveBy::Vanish {
            // Before anybody is told: no packet may get out.
            let port = self.hosts[host].port;
            self.ground.unplug(port);
        }
        self.note_leaving(host);
        match by {
            LeaveBy::Stop => self.order_players(host, Order::Leave { reset: false, politely: true }),
            LeaveBy::Close => self.order_players(host, Order::Leave { reset: false, politely: false }),
            LeaveBy::Reset => self.order_players(host, Order::Leave { reset: true, politely: false }),
            LeaveBy::Vanish => self.order_players(host, Order::Leave { reset: false, politely: false }),
        }
        Ok(())
    }

    fn note_leaving(&mut self, host: usize) {
        for seat in 0..self.seats.len() {
            if self.seats[seat].host == host && !std::mem::replace(&mut self.seats[seat].is_gone, true) {
                let (actor, seat) = (self.seats[seat].actor, u32::try_from(seat).unwrap_or(u32::MAX));
                self.note(actor, What::PlayerLeaves { seat: SeatId(seat) });
            }
        }
    }

    /// Every player leaves.
    pub(super) fn everybody_leaves(&mut self) {
        for host in 0..self.hosts.len() {
            if let Runs::Players(_) = &self.hosts[host].runs {
                self.note_leaving(host);
                self.order_players(host, Order::Leave { reset: false, politely: true });
            }
        }
    }

    /// Players find whom they dial at another address.
    pub(super) fn tell_players(&self, moved: HostRef, ip: Ipv4Addr) {
        for (host, _) in self.hosts.iter().enumerate() {
            let mut seats = std::collections::BTreeMap::<u16, Vec<u32>>::new();
            for (number, seat) in self.seats.iter().enumerate() {
                if seat.host == host && seat.at == moved {
                    seats.entry(seat.port).or_default().push(u32::try_from(number).unwrap_or(u32::MAX));
                }
            }
            for (port, seats) in seats {
                self.order_players(host, Order::Moved { seats, to: SocketAddr::from((ip, port)) });
            }
        }
    }

    /// What others wait for may lie in what was told.
    pub(super) fn heard_what(&mut self, _: Instant, _: ActorId, what: &What) {
        if let What::Saw { seat, saw } = what
            && saw.seated
        {
            self.watches(seat.0, true);
        } else if let What::PlayerLost { seat, .. } = what {
            self.watches(seat.0, false);
        }
    }

    fn watches(&mut self, seat: u32, is_watching: bool) {
        let Some(now) = self.seats.get_mut(seat as usize) else { return };
        now.is_watching = is_watching;
        let host = now.host;
        if is_watching && self.seats.iter().filter(|seat| seat.host == host).all(|seat| seat.is_watching) {
            let actor = self.hosts[host].actor;
            self.note(actor, What::Moment(Moment::Watching));
            if let Some(of) = self.hosts[host].of {
                self.happened(Happened::Watching(of));
            }
        }
    }

    // ---- operators ----

    pub(super) fn operate(&mut self, event: usize, call: &Call) {
        let event = u16::try_from(event).ok();
        let Some(pull) = call.pull else {
            self.call(call.proxy, event, &call.call, None, call.args.clone(), None);
            return;
        };
        let count = self.scenario.pulls[usize::from(pull.0)].count.max(1);
        for n in 1..=count {
            let (stream, mut args) = arguments(self.scenario, pull, n, &call.call);
            for (name, value) in &call.args {
                args.retain(|(known, _)| known != name);
                args.push((name.clone(), value.clone()));
            }
            self.call(call.proxy, event, &call.call, Some(stream), args, None);
        }
    }

    fn call(
        &mut self,
        proxy: HostRef,
        event: Option<u16>,
        name: &str,
        stream: Option<String>,
        args: Vec<(String, String)>,
        repairs: Option<(HostRef, Repair)>,
    ) {
        let host = &self.hosts[usize::from(proxy.0)];
        let (actor, frozen) = (host.actor, host.frozen);
        let call = self.timeline.next_call();
        let target = target(name, &args);
        self.note(actor, What::Asked(trace::Call { call, event, name: name.to_owned(), stream, args }));
        let Runs::Proxy(now) = &self.hosts[usize::from(proxy.0)].runs else { return };
        if !now.is_up || frozen > 0 {
            // Nobody is there to answer; the caller's patience is not the proxy's promise.
            return;
        }
        if let Some(aide) = now.aide {
            self.calls.insert(call, CallThen { actor, event, repairs });
            let ip = now.settings.general.listen_ip;
            let near = if ip.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { ip };
            let at = SocketAddr::new(near, now.settings.http.port);
            self.peers.order(aide, Order::Call { call, at, waits: name == "addStreamProxy", target });
        }
    }

    pub(super) fn answered(&mut self, at: Instant, call: u32, body: Option<String>) {
        let Some(then) = self.calls.remove(&call) else { return };
        // A process that died has not answered.
        let Some(body) = body else { return };
        let is_online = body.contains("\"online\":true");
        self.books.note(at, then.actor, 0, What::Answered { call, body });
        if let Some(event) = then.event {
            self.happened(Happened::Replied(usize::from(event)));
        }
        if let Some((proxy, Repair { pull, n, closes })) = then.repairs
            && !is_online
            && self.repairing
        {
            if closes {
                let (stream, args) = arguments(self.scenario, pull, n, "close_streams");
                self.call(proxy, None, "close_streams", Some(stream), args, None);
            }
            let (stream, args) = arguments(self.scenario, pull, n, "addStreamProxy");
            self.call(proxy, None, "addStreamProxy", Some(stream), args, None);
        }
    }

    /// A repair script looks whether each of its streams is online, and acts on those that are not.
    pub(super) fn repair_once(&mut self, proxy: HostRef, pull: PullRef, closes: bool) {
        let count = self.scenario.pulls[usize::from(pull.0)].count.max(1);
        for n in 1..=count {
            let (stream, args) = arguments(self.scenario, pull, n, "isMediaOnline");
            let repair = Repair { pull, n, closes };
            self.call(proxy, None, "isMediaOnline", Some(stream), args, Some((proxy, repair)));
        }
    }

    /// Deletes every stream of every proxy.
    pub(super) fn delete_streams(&mut self) {
        for host in 0..self.hosts.len() {
            let (Runs::Proxy(proxy), Some(of)) = (&self.hosts[host].runs, self.hosts[host].of) else {
                continue;
            };
            for key in proxy.streams.values().cloned().collect::<Vec<_>>() {
                let args = vec![("key".to_owned(), key.to_string())];
                let stream = format!("{}/{}", key.app, key.stream);
                self.call(of, None, "delStreamProxy", Some(stream), args, None);
            }
        }
    }
}

/// Returns the path of a call with its arguments.
fn target(name: &str, args: &[(String, String)]) -> String {
    let mut target = format!("/index/api/{name}?secret={SECRET}");
    for (name, value) in args {
        target.push('&');
        target.push_str(&escaped(name));
        target.push('=');
        target.push_str(&escaped(value));
    }
    target
}

/// Writes text as a query may hold it.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_the_query() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            target("addStreamProxy", &[pair("url", "rtmp://a/b/c?t=1&s=2"), pair("app", "live")]),
            "/index/api/addStreamProxy?secret=netns&url=rtmp%3A%2F%2Fa%2Fb%2Fc%3Ft%3D1%26s%3D2&app=live"
        );
    }
}
