//! Listens at the boundary between a production driver and its core, and tells the world.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use proxy_core::{
    Instant, Proxy,
    io::{ConnId, EventKind, Input, Output, Request, Wakeup},
    url::StreamKey,
};
use xxhash_rust::xxh3::xxh3_64;

use super::shell::{Shell, Telling, Told};
use crate::{
    trace::{Inward, Moment, Outward, Sample, What},
    world::ear::Ear,
};

/// An ear at one process's boundary.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    shell: Shell,
    p: usize,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// World time at the core's zero, in ns; before the world's zero it is negative.
    base: Option<i64>,
    /// What origins send, by connection.
    ears: BTreeMap<ConnId, Ear>,
    sampled: Option<Sample>,
}

impl Watch {
    pub(super) fn new(shell: Shell, p: usize) -> Self {
        Self { shell, p, kept: Arc::default() }
    }

    /// Returns world time.
    pub(super) fn now(&self) -> Instant {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        let elapsed = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        Instant::from_nanos(elapsed.saturating_sub(self.shell.lock().zero))
    }

    pub(super) fn on_input(&self, input: &Input<'_>, now: Instant) {
        if let Input::Received { conn, bytes } = input {
            let mut heard = Vec::new();
            self.keep(|kept| {
                if let Some(ear) = kept.ears.get_mut(conn) {
                    ear.hear(bytes, |what| heard.push(what.into_record(conn.0)));
                }
            });
            for what in heard {
                self.tell(now, Telling::What(what));
            }
            self.tell(now, Telling::Bytes(xxh3_64(bytes)));
        }
        if let Input::Closed { conn, .. } = input {
            self.keep(|kept| kept.ears.remove(conn));
        }
        if let Input::Request { request, .. } = input {
            let (names, key) = calls_behind(request);
            let stream = key.map(|key| format!("{}/{}", key.app, key.stream));
            self.tell(now, Telling::Requests { names, stream });
        }
        self.tell(now, Telling::What(What::In(Inward::of(input))));
        if let Input::Listening { .. } = input {
            self.tell(now, Telling::What(What::Moment(Moment::Listening)));
        }
    }

    pub(super) fn on_output(&self, output: &Output, now: Instant) {
        if let Output::Transmit { bytes, .. } = output {
            self.tell(now, Telling::Bytes(xxh3_64(bytes)));
        }
        if let Output::Connect { conn, .. } = output {
            self.keep(|kept| kept.ears.insert(*conn, Ear::new()));
        }
        if let Output::Abort { conn } = output {
            self.keep(|kept| kept.ears.remove(conn));
        }
        if let Some(outward) = Outward::of(output) {
            self.tell(now, Telling::What(What::Out(outward)));
        }
        if let Output::Event(event) = output {
            let mut event = event.clone();
            if let EventKind::PullEntered { next_attempt: Some(at), .. } = &mut event.kind {
                *at = self.at(*at);
            }
            self.tell(now, Telling::What(What::Event(event)));
        }
    }

    pub(super) fn on_look(&self, now: Instant) {
        self.tell(now, Telling::Looked);
    }

    pub(super) fn on_rest(&self, proxy: &Proxy, conns: usize, now: Instant) {
        let next = proxy.poll_timeout().filter(|(_, owner)| !matches!(owner, Wakeup::Conn(_)));
        let next = next.map(|(at, owner)| (self.at(at), owner));
        let sockets = u32::try_from(conns).unwrap_or(u32::MAX);
        let sample = Sample { core: proxy.counts(), sockets, next };
        if self.keep(|kept| kept.sampled.replace(sample)) != Some(sample) {
            self.tell(now, Telling::What(What::Sample(sample)));
        }
    }

    /// Turns the core's time into the world's.
    fn at(&self, now: Instant) -> Instant {
        let base = self.keep(|kept| kept.base);
        let base = base.unwrap_or_else(|| {
            let zero = self.shell.lock().zero;
            let elapsed = turmoil::sim_elapsed().unwrap_or_default();
            let elapsed = i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX);
            let base = elapsed - i64::try_from(zero).unwrap_or(i64::MAX) - now.as_nanos().cast_signed();
            self.keep(|kept| kept.base = Some(base));
            base
        });
        Instant::from_nanos(now.as_nanos().saturating_add_signed(base))
    }

    /// Tells something of what happens outside of the core.
    pub(super) fn tell_outside(&self, what: Telling) {
        let at = self.now();
        self.shell.lock().told.push(Told { proxy: self.p, at, what });
    }

    fn tell(&self, now: Instant, what: Telling) {
        let at = self.at(now);
        self.shell.lock().told.push(Told { proxy: self.p, at, what });
    }

    fn keep<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the calls of the API that make a request, and the key it is about.
fn calls_behind(request: &Request) -> (&'static [&'static str], Option<&StreamKey>) {
    match request {
        Request::Add { key, .. } => (&["addStreamProxy"], Some(key)),
        Request::Update { key, .. } => (&["updateStreamProxy"], Some(key)),
        Request::Del { key } => (&["delStreamProxy"], Some(key)),
        Request::Close { .. } => (&["close_stream", "close_streams"], None),
        Request::Kick { .. } => (&["kick_session", "kick_sessions"], None),
        Request::Shutdown => (&[], None),
    }
}
