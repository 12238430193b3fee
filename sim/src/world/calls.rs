//! Operators: calls of the proxy's API, answered by the production code of the API.
//!
//! On plane `core` the call itself does not travel: what it asks of the core is carried at once, and an add waits as long
//! as the core lets it. On plane `turmoil` it is an HTTP request to the production server.

use std::time::Duration;

use proxy_core::{
    io::{Input, PullOptions, Reply, Request, RequestId},
    url::StreamKey,
};
use proxyd::{
    api::{Answer, Api, ApiConfig, Args, Step, Then, render},
    config::Secret,
};

use super::{Happened, SECRET, STARTED_AT, World};
use crate::{
    scenario::model::{Call, HostRef, PullRef, Scenario},
    trace::{self, What},
};

/// A call whose reply is awaited.
pub(super) struct Pending {
    call: u32,
    event: Option<u16>,
    then: Next,
}

/// What a repair script does with the answer to its question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repair {
    /// The pull it looks after.
    pub(crate) pull: PullRef,
    /// Which of several alike, from 1.
    pub(crate) n: u16,
    /// It closes the stream before it adds it again.
    pub(crate) closes: bool,
}

enum Next {
    /// A stream of the configuration: nobody waits.
    Nobody,
    Step(Then<Step>),
    Answer(Then<Answer>),
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("call", &self.call).finish_non_exhaustive()
    }
}

impl World<'_> {
    /// Adds the streams of the configuration, as the daemon does at its start.
    pub(super) fn add_static_streams(&mut self, p: usize) {
        for entry in self.proxies[p].settings.proxies.clone() {
            let options = PullOptions { force: true, ..entry.options };
            let request = Request::Add { key: entry.key, url: entry.url, options };
            let pending = Pending { call: u32::MAX, event: None, then: Next::Nobody };
            self.request(p, request, pending);
        }
    }

    /// An operator's call of the timeline; of several pulls alike a call each.
    pub(super) fn operate(&mut self, event: usize, call: &Call) {
        let p = self.proxy_of(call.proxy);
        let event = Some(event as u16);
        let Some(pull) = call.pull else {
            self.call(p, event, &call.call, None, call.args.clone());
            return;
        };
        let count = self.scenario.pulls[usize::from(pull.0)].count.max(1);
        for n in 1..=count {
            let (stream, mut args) = arguments(self.scenario, pull, n, &call.call);
            for (name, value) in &call.args {
                args.retain(|(known, _)| known != name);
                args.push((name.clone(), value.clone()));
            }
            self.call(p, event, &call.call, Some(stream), args);
        }
    }

    /// Calls the API; the answer becomes a record, at once or later. Returns the body if it is there at once.
    pub(super) fn call(
        &mut self,
        p: usize,
        event: Option<u16>,
        name: &str,
        stream: Option<String>,
        mut args: Vec<(String, String)>,
    ) -> Option<String> {
        let call = self.timeline.next_call();
        let actor = self.proxies[p].actor;
        let asked = trace::Call { call, event, name: name.to_owned(), stream, args: args.clone() };
        // Nobody is there to answer: the caller's patience is not the proxy's promise.
        let is_in_vain = !self.proxies[p].is_up || !self.proxies[p].frozen.is_empty();
        if self.carrier.is_some() && !is_in_vain {
            args.push(("secret".to_owned(), SECRET.to_owned()));
            self.send_call(p, asked, &args);
            return None;
        }
        let before = self.cause;
        self.cause = self.note(actor, What::Asked(asked));
        if is_in_vain {
            self.cause = before;
            return None;
        }
        args.push(("secret".to_owned(), SECRET.to_owned()));
        let config =
            ApiConfig { settings: self.proxies[p].settings.clone(), secret: Secret(SECRET.to_owned()) };
        let offset = self.proxies[p].wall_offset;
        let millis = Duration::from_millis(offset.unsigned_abs());
        let started_at = if offset < 0 { STARTED_AT.saturating_sub(millis) } else { STARTED_AT + millis };
        let step = Api::new(config, started_at).begin(name, &Args::from_pairs(args));
        let body = self.step_call(p, call, event, step);
        self.cause = before;
        body
    }

    fn step_call(&mut self, p: usize, call: u32, event: Option<u16>, mut step: Step) -> Option<String> {
        loop {
            step = match step {
                Step::Done(answer) => return Some(self.call_done(p, call, event, answer)),
                Step::Look(look) => look(&self.proxies[p].core, self.now),
                Step::Ask(request, then) => {
                    self.request(p, *request, Pending { call, event, then: Next::Step(then) });
                    return None;
                }
                Step::Wait(request, then) => {
                    self.request(p, *request, Pending { call, event, then: Next::Answer(then) });
                    return None;
                }
            };
        }
    }

    fn request(&mut self, p: usize, request: Request, pending: Pending) {
        let proxy = &mut self.proxies[p];
        proxy.requests += 1;
        let id = RequestId(proxy.requests);
        proxy.pending.insert(id, pending);
        self.proxy_input(p, Input::Request { id, request });
    }

    /// The core replies.
    pub(super) fn replied(&mut self, p: usize, id: RequestId, reply: Reply) {
        let Some(pending) = self.proxies[p].pending.remove(&id) else { return };
        match pending.then {
            Next::Nobody => {}
            Next::Step(then) => {
                let step = then(reply);
                self.proxies[p].steps.push_back((pending.call, pending.event, step));
            }
            Next::Answer(then) => {
                self.call_done(p, pending.call, pending.event, then(reply));
            }
        }
    }

    /// Goes on with calls whose request has been answered, between two inputs.
    pub(super) fn continue_call(&mut self, p: usize) -> bool {
        let Some((call, event, step)) = self.proxies[p].steps.pop_front() else { return false };
        self.step_call(p, call, event, step);
        true
    }

    fn call_done(&mut self, p: usize, call: u32, event: Option<u16>, answer: Answer) -> String {
        let body = render(answer).to_string();
        self.answered(p, call, event, body.clone());
        body
    }

    pub(super) fn answered(&mut self, p: usize, call: u32, event: Option<u16>, body: String) {
        let actor = self.proxies[p].actor;
        self.note(actor, What::Answered { call, body });
        if let Some(event) = event {
            self.happened(Happened::Replied(usize::from(event)));
        }
    }

    /// A repair script looks whether each of its streams is online, and acts on those that are not.
    pub(super) fn repair_once(&mut self, proxy: HostRef, pull: PullRef, closes: bool) {
        let p = self.proxy_of(proxy);
        let count = self.scenario.pulls[usize::from(pull.0)].count.max(1);
        for n in 1..=count {
            let repair = Repair { pull, n, closes };
            let (stream, args) = arguments(self.scenario, pull, n, "isMediaOnline");
            let number = self.timeline.calls();
            match self.call(p, None, "isMediaOnline", Some(stream), args) {
                Some(body) => self.repair_if(p, repair, &body),
                None => self.looks_answered_later(number, repair),
            }
        }
    }

    /// A repair script acts on what it was told.
    pub(super) fn repair_if(&mut self, p: usize, repair: Repair, body: &str) {
        if body.contains("\"online\":true") {
            return;
        }
        let Repair { pull, n, closes } = repair;
        if closes {
            let (stream, args) = arguments(self.scenario, pull, n, "close_streams");
            self.call(p, None, "close_streams", Some(stream), args);
        }
        let (stream, args) = arguments(self.scenario, pull, n, "addStreamProxy");
        self.call(p, None, "addStreamProxy", Some(stream), args);
    }

    /// Deletes every stream of a proxy.
    pub(super) fn delete_streams(&mut self, p: usize) {
        let keys: Vec<StreamKey> = self.proxies[p].streams.values().cloned().collect();
        for key in keys {
            let args = vec![("key".to_owned(), key.to_string())];
            self.call(p, None, "delStreamProxy", Some(format!("{}/{}", key.app, key.stream)), args);
        }
    }
}

/// Makes the arguments of a call about a pull, and its `app/stream`.
pub(crate) fn arguments(
    scenario: &Scenario,
    pull: PullRef,
    n: u16,
    call: &str,
) -> (String, Vec<(String, String)>) {
    let spec = &scenario.pulls[usize::from(pull.0)];
    let numbered = |text: &str| text.replace("{n}", &n.to_string());
    let (stream, url) = (numbered(&spec.stream), numbered(&spec.url));
    let name = format!("{}/{stream}", spec.app);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let tuple = || vec![pair("app", &spec.app), pair("stream", &stream)];
    let key = || pair("key", &format!("{}/{name}", proxy_core::url::DEFAULT_VHOST));
    let args = match call {
        "addStreamProxy" => {
            let mut args = tuple();
            args.extend([pair("vhost", proxy_core::url::DEFAULT_VHOST), pair("url", &url)]);
            args.extend(spec.args.iter().cloned());
            args
        }
        "delStreamProxy" | "getProxyInfo" | "updateStreamProxy" => vec![key()],
        "listStreamProxy" => vec![key()],
        _ => {
            let mut args = tuple();
            args.push(pair("schema", "rtmp"));
            args.push(pair("vhost", proxy_core::url::DEFAULT_VHOST));
            args
        }
    };
    (name, args)
}
