//! What differs where a carrier has the proxies: the production driver on turmoil in the place of the bare core.
//!
//! The driver tells what it hands to its core and what comes out, after each step; the world makes records of it. The
//! world's own hands reach it by its sockets, its process, and HTTP.

use std::collections::BTreeMap;

use super::{Happened, Owner, World};
use crate::{
    net::{HostId, NetEvent},
    plane::turmoil::{CallOut, Carrier, Fresh, TICK, Telling, Told},
    scenario::model::PullRef,
    trace::{Inward, Moment, Outward, What},
};

/// What a carried world remembers of calls and causes.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// The event behind each call on its way.
    calls: BTreeMap<u32, Option<u16>>,
    /// What a repair script does with the answer to each.
    repairs: BTreeMap<u32, (PullRef, bool)>,
    /// By proxy: the record of its last input, which causes what comes out.
    inputs: BTreeMap<usize, u64>,
    /// By proxy and number: the record of a lookup or a dial, which causes its answer.
    asked: BTreeMap<(usize, bool, u64), u64>,
}

impl World<'_> {
    /// Lets the carrier have the packets.
    pub(super) fn let_carry(&mut self) {
        if self.carrier.is_some() {
            self.net.let_carry(TICK);
        }
    }

    /// Tells the carrier where a namespace is.
    pub(super) fn place(&mut self, namespace: HostId, of_scenario: Option<usize>) {
        if let Some(carrier) = &mut self.carrier {
            carrier.place(namespace, of_scenario);
        }
    }

    /// Lets the proxies begin, before the world's zero.
    pub(super) fn start_up(&mut self) {
        if self.carrier.is_none() {
            return;
        }
        for _ in 0..Carrier::steps_before_zero() {
            self.step_hosts();
            self.hear(self.now);
            self.settle();
        }
    }

    /// Lets the hosts run for a tick, and makes records of what they tell.
    pub(super) fn tick(&mut self) {
        self.step_hosts();
        let end = self.now + TICK;
        self.hear(end);
        self.now = end;
        self.cause = 0;
        self.line = 0;
        if let Some(carrier) = &mut self.carrier {
            carrier.deliver(&mut self.net, self.now);
        }
        self.settle();
    }

    fn step_hosts(&mut self) {
        let Some(mut carrier) = self.carrier.take() else { return };
        carrier.lend(&mut self.net, &mut self.dns, self.now);
        let stepped = carrier.step();
        carrier.take_back(&mut self.net, &mut self.dns);
        let (fresh, gone) = {
            let shared = &mut *carrier.shell.lock();
            (std::mem::take(&mut shared.fresh), std::mem::take(&mut shared.gone))
        };
        self.carrier = Some(carrier);
        for (p, fresh) in fresh {
            match fresh {
                Fresh::Sock(sock) => {
                    self.owners.insert(sock, Owner::Proxy(p as u16));
                }
                Fresh::Listener(listener) => {
                    self.listeners.insert(listener, Owner::Proxy(p as u16));
                }
            }
        }
        for sock in gone {
            self.owners.remove(&sock);
        }
        if let Err(error) = stepped {
            self.oracles.broken("driver", self.tracer.step(), self.now, format!("a host ended: {error}"));
        }
    }

    /// Makes records of what the hosts have told, none later than `end`.
    fn hear(&mut self, end: proxy_core::Instant) {
        let Some(carrier) = &self.carrier else { return };
        let mut told = std::mem::take(&mut carrier.shell.lock().told);
        // Each host has run by itself; together they happened in this order.
        told.sort_by_key(|told| told.at);
        for Told { proxy, at, what } in told {
            if self.is_over() {
                return;
            }
            self.now = at.clamp(self.now, end);
            match what {
                Telling::Bytes(hash) => self.tracer.take_bytes(&hash.to_le_bytes()),
                Telling::What(what) => self.heard(proxy, what),
                Telling::Answered { call, body } => self.call_answered(proxy, call, body),
            }
        }
    }

    fn heard(&mut self, p: usize, what: What) {
        let actor = self.proxies[p].actor;
        match what {
            What::In(inward) => {
                let asked = |carried: &mut Carried, is_dial: bool, id: u64| {
                    carried.asked.remove(&(p, is_dial, id)).unwrap_or(0)
                };
                self.cause = match inward {
                    Inward::Resolved { query, .. } => asked(&mut self.carried, false, query),
                    Inward::Connected { conn, .. } => asked(&mut self.carried, true, conn),
                    Inward::Timeout
                    | Inward::Listening
                    | Inward::Accepted { .. }
                    | Inward::PlayHttp { .. }
                    | Inward::Received { .. }
                    | Inward::Sent { .. }
                    | Inward::Closed { .. }
                    | Inward::Request { .. }
                    | Inward::Answered { .. } => 0,
                };
                let step = self.note(actor, What::In(inward));
                self.carried.inputs.insert(p, step);
            }
            What::Out(outward) => {
                self.cause = self.last_input(p);
                let step = self.note(actor, What::Out(outward));
                match outward {
                    Outward::Resolve { query } => {
                        self.carried.asked.insert((p, false, query), step);
                    }
                    Outward::Connect { conn, .. } => {
                        self.carried.asked.insert((p, true, conn), step);
                    }
                    Outward::Transmit { .. }
                    | Outward::Close { .. }
                    | Outward::Abort { .. }
                    | Outward::Reply { .. }
                    | Outward::Ask { .. }
                    | Outward::PlayAnswer { .. } => {}
                }
            }
            What::Event(event) => {
                self.cause = self.last_input(p);
                self.told(p, event);
            }
            What::Sample(sample) => {
                self.cause = self.last_input(p);
                self.proxies[p].sampled = Some(sample);
                self.note(actor, What::Sample(sample));
            }
            What::Moment(Moment::Listening) => {
                self.note(actor, What::Moment(Moment::Listening));
                self.happened(Happened::Listening(self.host_of(actor)));
            }
            // Frames that have arrived; nothing else comes from a driver.
            other => {
                self.cause = 0;
                self.note(actor, other);
            }
        }
    }

    fn last_input(&self, p: usize) -> u64 {
        self.carried.inputs.get(&p).copied().unwrap_or(0)
    }

    // ---- the process ----

    pub(super) fn start_driver(&mut self, p: usize, seed: u64) {
        let Some(carrier) = &self.carrier else { return };
        let proxy = &self.proxies[p];
        carrier.shell.lock().start(p, seed, proxy.namespace, &proxy.settings);
    }

    pub(super) fn stop_driver(&mut self, p: usize) {
        let Some(carrier) = &self.carrier else { return };
        carrier.shell.lock().stop(p);
        let is_his = |owner: &Owner| matches!(owner, Owner::Proxy(owner) if usize::from(*owner) == p);
        self.owners.retain(|_, owner| !is_his(owner));
        self.listeners.retain(|_, owner| !is_his(owner));
    }

    pub(super) fn freeze_driver(&mut self, p: usize, is_frozen: bool) {
        if let Some(carrier) = &self.carrier {
            carrier.shell.lock().freeze(p, is_frozen);
        }
    }

    pub(super) fn shift_wall(&mut self, p: usize) {
        if let Some(carrier) = &self.carrier {
            carrier.shell.lock().proxies[p].wall_offset = self.proxies[p].wall_offset;
        }
    }

    /// Hands news of a socket to the driver; returns whether there is one.
    pub(super) fn driver_net(&mut self, p: usize, event: NetEvent) -> bool {
        let Some(carrier) = &self.carrier else { return false };
        if self.proxies[p].is_up {
            carrier.shell.lock().on_event(p, event);
        }
        true
    }

    // ---- calls ----

    pub(super) fn send_call(
        &mut self,
        p: usize,
        call: u32,
        event: Option<u16>,
        name: &str,
        args: &[(String, String)],
    ) {
        let Some(carrier) = &self.carrier else { return };
        let pairs: Vec<String> =
            args.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        let target = format!("/index/api/{name}?{}", pairs.join("&"));
        let host = carrier.place_of(self.proxies[p].namespace);
        carrier.shell.lock().call(CallOut { call, proxy: p, host, target });
        self.carried.calls.insert(call, event);
    }

    /// A repair script will hear the answer to its question later.
    pub(super) fn looks_answered_later(&mut self, call: u32, pull: PullRef, closes: bool) {
        if self.carried.calls.contains_key(&call) {
            self.carried.repairs.insert(call, (pull, closes));
        }
    }

    fn call_answered(&mut self, p: usize, call: u32, body: String) {
        let Some(event) = self.carried.calls.remove(&call) else { return };
        self.cause = 0;
        let repair = self.carried.repairs.remove(&call);
        self.answered(p, call, event, body.clone());
        if let Some((pull, closes)) = repair {
            self.repair_if(p, pull, closes, &body);
        }
    }
}

/// Escapes what a query must not hold (RFC 3986, 2.3: the unreserved stay).
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
