//! What differs where a carrier has the proxies: the production driver on turmoil in the place of the bare core.
//!
//! The driver tells what it hands to its core and what comes out, after each step; the world makes records of it. The
//! world's own hands reach it by its sockets, its process, and HTTP.

use std::collections::{BTreeMap, VecDeque};

use super::{Happened, Owner, World, calls::Repair};
use crate::{
    net::{HostId, NetEvent},
    oracle::DRIVER,
    plane::turmoil::{CallOut, Carrier, Fresh, TICK, Telling, Told},
    trace::{self, Inward, Moment, Outward, What},
};

/// What a carried world remembers of calls and causes.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// Calls on their way, in order.
    calls: BTreeMap<u32, Calling>,
    /// What the API has answered, until the operator has it.
    answers: BTreeMap<u32, String>,
    /// By proxy: the record of its last input, which causes what comes out.
    inputs: BTreeMap<usize, u64>,
    /// By proxy and number: the record of a lookup or a dial, which causes its answer.
    asked: BTreeMap<(usize, bool, u64), u64>,
    /// The call behind the request that is about to enter the core, and its record.
    request: Option<(u32, u64)>,
    /// The call behind each request in the core that answers it by itself.
    behind: BTreeMap<(usize, u64), u32>,
    /// By proxy, answers that are to be told when the core has said everything.
    due: Vec<(usize, (u32, String))>,
}

/// A call on its way.
#[derive(Debug)]
struct Calling {
    proxy: usize,
    call: trace::Call,
    /// The record and the line behind it.
    cause: (u64, u32),
    /// What a repair script does with the answer.
    repair: Option<Repair>,
    /// The record of its coming to the API.
    asked: Option<u64>,
    /// It has led to a request.
    has_asked: bool,
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
            self.oracles.broken(DRIVER, self.tracer.step(), self.now, format!("a host ended: {error}"));
        }
    }

    /// Makes records of what the hosts have told, none later than `end`.
    fn hear(&mut self, end: proxy_core::Instant) {
        let Some(carrier) = &self.carrier else { return };
        let mut told = std::mem::take(&mut carrier.shell.lock().told);
        // Each host has run by itself; together they happened in this order.
        told.sort_by_key(|told| told.at);
        let mut told = VecDeque::from(told);
        while let Some(Told { proxy, at, what }) = told.pop_front() {
            if self.is_over() {
                return;
            }
            self.now = at.clamp(self.now, end);
            self.tell_answers_until(proxy, &what);
            let answer = self.answered_by(proxy, &what).and_then(|call| take_answer(&mut told, call));
            // What waits for its origin is answered by the reply itself; the rest when the core has said everything.
            let is_add = matches!(&answer, Some((call, _)) if self.waits(*call));
            let (at_once, later) = if is_add { (answer, None) } else { (None, answer) };
            self.carried.due.extend(later.map(|answer| (proxy, answer)));
            match what {
                Telling::Looked => {}
                Telling::Bytes(hash) => self.tracer.take_bytes(&hash.to_le_bytes()),
                Telling::What(what) => self.heard(proxy, what),
                Telling::Requests { names, stream } => self.find_call(proxy, names, stream.as_deref()),
                Telling::Asked { call } => self.call_asked(call),
                Telling::Answered { call, body } => self.call_answered(call, body),
                Telling::Received { call, body } => self.call_received(call, &body),
            }
            if let Some((call, body)) = at_once {
                self.call_answered(call, body);
            }
        }
        for (_, (call, body)) in std::mem::take(&mut self.carried.due) {
            self.call_answered(call, body);
        }
    }

    /// Returns the call that is answered by what a core said or showed just then. The task that serves the call says so
    /// a little later, when the driver may have gone on.
    fn answered_by(&mut self, p: usize, what: &Telling) -> Option<u32> {
        match what {
            Telling::What(What::Out(Outward::Reply { id })) => self.carried.behind.remove(&(p, *id)),
            Telling::Looked => {
                let looks = |calling: &&mut Calling| {
                    let name = calling.call.name.as_str();
                    let is_getter = ["get", "is", "list"].iter().any(|start| name.starts_with(start));
                    calling.proxy == p && calling.asked.is_some() && !calling.has_asked && is_getter
                };
                let calling =
                    self.carried.calls.values_mut().filter(looks).min_by_key(|calling| calling.asked)?;
                calling.has_asked = true;
                Some(calling.call.call)
            }
            Telling::Bytes(_)
            | Telling::What(_)
            | Telling::Requests { .. }
            | Telling::Asked { .. }
            | Telling::Answered { .. }
            | Telling::Received { .. } => None,
        }
    }

    /// Tells the answers that belong to the breath that ends where something else than an output follows.
    fn tell_answers_until(&mut self, p: usize, next: &Telling) {
        let is_output = matches!(
            next,
            Telling::Bytes(_) | Telling::What(What::Out(_) | What::Event(_) | What::Sample(_))
        );
        if is_output || self.carried.due.is_empty() {
            return;
        }
        let (due, others) = std::mem::take(&mut self.carried.due).into_iter().partition(|(of, _)| *of == p);
        self.carried.due = others;
        let due: Vec<(usize, (u32, String))> = due;
        for (_, (call, body)) in due {
            self.call_answered(call, body);
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
                    | Inward::Answered { .. } => 0,
                    Inward::Request { id } => {
                        let behind = self.carried.request.take();
                        if let Some((call, _)) = behind
                            && self.answers_at_once(call)
                        {
                            self.carried.behind.insert((p, id), call);
                        }
                        behind.map_or(0, |(_, step)| step)
                    }
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

    fn waits(&self, call: u32) -> bool {
        self.carried.calls.get(&call).is_some_and(|calling| calling.call.name == "addStreamProxy")
    }

    /// Returns whether the reply to a call's request is its answer; one that kicks makes several, and answers after the last.
    fn answers_at_once(&self, call: u32) -> bool {
        self.carried.calls.get(&call).is_some_and(|calling| !calling.call.name.starts_with("kick"))
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
        self.carried.behind.retain(|(of, _), _| *of != p);
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

    /// Sends a call; it is told when it comes to the API.
    pub(super) fn send_call(&mut self, p: usize, call: trace::Call, args: &[(String, String)]) {
        let Some(carrier) = &self.carrier else { return };
        let pairs: Vec<String> =
            args.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        let target = format!("/index/api/{}?{}", call.name, pairs.join("&"));
        let host = carrier.place_of(self.proxies[p].namespace);
        carrier.shell.lock().call(CallOut { call: call.call, proxy: p, host, target });
        let calling = Calling {
            proxy: p,
            cause: (self.cause, self.line),
            repair: None,
            asked: None,
            has_asked: false,
            call,
        };
        self.carried.calls.insert(calling.call.call, calling);
    }

    /// A repair script will hear the answer to its question later.
    pub(super) fn looks_answered_later(&mut self, call: u32, repair: Repair) {
        if let Some(calling) = self.carried.calls.get_mut(&call) {
            calling.repair = Some(repair);
        }
    }

    fn call_asked(&mut self, call: u32) {
        let Some(calling) = self.carried.calls.get(&call) else { return };
        let (actor, asked) = (self.proxies[calling.proxy].actor, calling.call.clone());
        (self.cause, self.line) = calling.cause;
        let step = self.note(actor, What::Asked(asked));
        self.line = 0;
        if let Some(calling) = self.carried.calls.get_mut(&call) {
            calling.asked = Some(step);
        }
    }

    /// A request is about to enter the core: it is that of the first call of its kind that has led to none so far, as
    /// the API hands them over in order.
    fn find_call(&mut self, p: usize, names: &[&str], stream: Option<&str>) {
        let fits = |calling: &&mut Calling| {
            calling.proxy == p
                && calling.asked.is_some()
                && names.contains(&calling.call.name.as_str())
                && (stream.is_none()
                    || calling.call.stream.is_none()
                    || calling.call.stream.as_deref() == stream)
        };
        let all = self.carried.calls.values_mut().filter(fits);
        self.carried.request = None;
        if let Some(calling) = all.min_by_key(|calling| (calling.has_asked, calling.asked)) {
            calling.has_asked = true;
            self.carried.request = Some((calling.call.call, calling.asked.unwrap_or(0)));
        }
    }

    fn call_answered(&mut self, call: u32, body: String) {
        let Some(calling) = self.carried.calls.remove(&call) else { return };
        (self.cause, self.line) = (calling.asked.unwrap_or(0), 0);
        self.answered(calling.proxy, call, calling.call.event, body.clone());
        if let Some(repair) = calling.repair {
            self.repair_if(calling.proxy, repair, &body);
        }
        self.carried.answers.insert(call, body);
    }

    /// What the operator gets is what the API has answered.
    fn call_received(&mut self, call: u32, body: &str) {
        let told = self.carried.answers.remove(&call);
        if told.as_deref().is_some_and(|told| told != body) {
            let text = format!("call {call} was answered {told:?}, and the operator got {body:?}");
            self.oracles.broken(DRIVER, self.tracer.step(), self.now, text);
        }
    }
}

/// Takes the answer to a call out of what was told after it.
fn take_answer(told: &mut VecDeque<Told>, call: u32) -> Option<(u32, String)> {
    let is_it =
        |told: &Told| matches!(told.what, Telling::Answered { call: answered, .. } if answered == call);
    let index = told.iter().position(is_it)?;
    match told.remove(index)?.what {
        Telling::Answered { call, body } => Some((call, body)),
        Telling::Bytes(_)
        | Telling::What(_)
        | Telling::Requests { .. }
        | Telling::Looked
        | Telling::Asked { .. }
        | Telling::Received { .. } => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_nothing_but_the_unreserved() {
        assert_eq!(escape("live-1_a.b~c"), "live-1_a.b~c");
        assert_eq!(escape("rtmp://h/a?t=1&u=é"), "rtmp%3A%2F%2Fh%2Fa%3Ft%3D1%26u%3D%C3%A9");
    }
}
