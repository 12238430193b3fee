//! What a world hears of its processes, and what follows from it.

use std::net::{IpAddr, SocketAddr};

use proxy_core::{
    io::{Event, EventKind},
    time::{Duration, Instant},
};

use super::{
    peers::{Heard, PeerId},
    wire::News,
    world::{HostNow, Runs, World},
};
use crate::{
    net::packet::host_address,
    trace::{ActorId, Moment, What},
    world::moments::Happened,
};

impl World<'_> {
    pub(super) async fn hear(&mut self, peer: PeerId, heard: Heard) -> Result<(), String> {
        let host = self.owners.get(&peer).copied();
        match (heard, host) {
            (Heard::News(News::Ready), _) => {
                self.unready.remove(&peer);
            }
            (Heard::News(News::Late { by }), Some(host)) if !self.hosts[host].has_frozen => {
                self.lag = self.lag.max(Duration::from_nanos(by));
            }
            (Heard::News(News::Late { .. }), _) => {}
            (Heard::News(News::Failed { why }), _) => self.broken = Some(why),
            (Heard::News(News::Told { at, actor, what }), _) => {
                let at = Instant::from_nanos(at);
                self.heard_what(at, ActorId(actor), &what);
                self.books.note(at, ActorId(actor), 0, what);
            }
            (Heard::News(News::Listening { at }), Some(host)) => self.origin_listens(host, peer, at),
            (Heard::News(News::Publishes { at, all }), Some(host)) => {
                self.origin_publishes(host, peer, at, all);
            }
            (Heard::News(News::Answered { at, call, body }), _) => {
                self.answered(Instant::from_nanos(at), call, body);
            }
            (Heard::Begun { zero }, Some(host)) => self.proxy_begins(host, peer, zero),
            (Heard::Event { at, event }, Some(host)) => self.proxy_tells(host, peer, at, *event),
            (Heard::Flow { at, from, to }, Some(host)) => self.dials(host, at, from, to),
            (Heard::Said | Heard::Flow { .. }, _) => {}
            (Heard::Noise(line), _) => {
                self.broken = Some(format!("a process says what nobody understands: {line}"))
            }
            (Heard::Gone, Some(host)) => self.gone(host, peer),
            (
                Heard::News(News::Listening { .. } | News::Publishes { .. })
                | Heard::Begun { .. }
                | Heard::Event { .. }
                | Heard::Gone,
                None,
            ) => {}
            (Heard::Engine(place, told), _) => self.engine_tells(place, told).await?,
        }
        Ok(())
    }

    fn proxy_begins(&mut self, host: usize, peer: PeerId, zero: u64) {
        let (actor, now) = (self.hosts[host].actor, self.now());
        let Runs::Proxy(proxy) = &mut self.hosts[host].runs else { return };
        if proxy.repull != Some(peer) {
            return;
        }
        proxy.zero = zero.checked_signed_diff(self.zero).unwrap_or(0);
        proxy.is_up = true;
        proxy.streams.clear();
        let at = Instant::from_nanos(0u64.saturating_add_signed(proxy.zero)).min(now);
        self.note_at(at, actor, What::Moment(Moment::Listening));
        if let Some(of) = self.hosts[host].of {
            self.happened(Happened::Listening(of));
        }
    }

    fn proxy_tells(&mut self, host: usize, peer: PeerId, at: Instant, mut event: Event) {
        let (actor, of) = (self.hosts[host].actor, self.hosts[host].of);
        let Runs::Proxy(proxy) = &mut self.hosts[host].runs else { return };
        if proxy.repull != Some(peer) {
            return;
        }
        let shift = |at: Instant| Instant::from_nanos(at.as_nanos().saturating_add_signed(proxy.zero));
        let at = shift(at);
        let mut entered = None;
        match &mut event.kind {
            EventKind::Registered { key } => {
                if let Some(stream) = event.stream {
                    proxy.streams.insert(stream.0, key.clone());
                }
            }
            EventKind::Unregistered { .. } => {
                if let Some(stream) = event.stream {
                    proxy.streams.remove(&stream.0);
                }
            }
            EventKind::PullEntered { state, next_attempt, .. } => {
                *next_attempt = next_attempt.map(shift);
                let key = event.stream.and_then(|stream| proxy.streams.get(&stream.0));
                let name = key.map(|key| format!("{}/{}", key.app, key.stream));
                let pull = name.and_then(|name| self.timeline.pulls.find(&name, of));
                entered = pull.map(|pull| Happened::Entered(pull, *state));
            }
            EventKind::PullStepped { .. }
            | EventKind::OriginStatus(_)
            | EventKind::Epoch { .. }
            | EventKind::Rebuilt
            | EventKind::TrackGone(_)
            | EventKind::PlayerConnected { .. }
            | EventKind::PlayerParked { .. }
            | EventKind::PlayerSeated { .. }
            | EventKind::PlayerShed { .. }
            | EventKind::PlayerLeft { .. }
            | EventKind::NoneReader => {}
        }
        self.books.note(at, actor, 0, What::Event(event));
        if let Some(entered) = entered {
            self.happened(entered);
        }
    }

    /// A process has ended that nobody has told to.
    fn gone(&mut self, host: usize, peer: PeerId) {
        let name = self.cast.name(self.hosts[host].actor).to_owned();
        let is_wanted = match &self.hosts[host].runs {
            Runs::Proxy(proxy) => proxy.repull == Some(peer) && proxy.is_up || proxy.aide == Some(peer),
            Runs::Origin(origin) => origin.process == Some(peer) && origin.is_up,
            Runs::Players(players) => players.process == Some(peer),
            Runs::Nothing => false,
        };
        let actor = self.hosts[host].actor;
        let is_proxy = matches!(&self.hosts[host].runs, Runs::Proxy(proxy) if proxy.repull == Some(peer));
        if is_wanted && is_proxy {
            // Whatever a scenario does to it from outside, the binary does not end by itself.
            let (step, at) = (self.books.tracer.step(), self.now());
            let text = format!("the process of {name} has ended by itself; see its log");
            self.books.oracles.broken("quiet", step, at, text);
            self.note(actor, What::Moment(Moment::Silent));
        } else if is_wanted && self.broken.is_none() {
            self.broken = Some(format!("a process of {name} has ended: see peers.log"));
        } else if !is_wanted && self.unready.remove(&peer) {
            self.broken = Some(format!("a process of {name} could not begin: see peers.log"));
        }
    }

    /// A proxy's kernel tells of a flow; those that its own software opens are dials.
    fn dials(&mut self, host: usize, at: u64, from: IpAddr, to: SocketAddr) {
        let HostNow { actor, ips, .. } = &self.hosts[host];
        let is_ours = |ip: IpAddr| host_address(ip).is_some_and(|ip| ips.contains(&ip));
        // A url may lead back to the proxy itself; calls of its API are the operator's.
        let is_call = match &self.hosts[host].runs {
            Runs::Proxy(proxy) => to.port() == proxy.settings.http.port,
            Runs::Origin(_) | Runs::Players(_) | Runs::Nothing => false,
        };
        if is_ours(from) && !(is_ours(to.ip()) && is_call) {
            let at = Instant::from_nanos(at.saturating_sub(self.zero));
            self.books.note(at, *actor, 0, What::Dialled { addr: to });
        }
    }
}
