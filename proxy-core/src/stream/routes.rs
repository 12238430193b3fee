//! Which news belongs to whom, and the only hands a pull has on the world.

use alloc::{
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};
use core::{
    mem,
    net::{IpAddr, SocketAddr},
};

use crate::{
    config::Config,
    io::{ConnId, Output, QueryId, ResolveError, StreamId},
    stream::pull::Effect,
    time::{Duration, Instant},
    url::{OriginUrl, StreamKey},
};

/// Which news belongs to whom, and the ids of what we start. Ids are never reused.
#[derive(Debug, Default)]
pub struct Routes {
    conns: BTreeMap<ConnId, StreamId>,
    queries: BTreeMap<QueryId, (StreamId, String)>,
    answers: BTreeMap<String, (Instant, Vec<IpAddr>)>,
    closing: Vec<ConnId>,
    listeners: Vec<SocketAddr>,
    /// Streams that pull from our own listener, and which stream there.
    own_upstreams: BTreeMap<StreamKey, StreamKey>,
    last: u64,
}

/// Names whose answers are kept for `resolve_ttl`; beyond it all are forgotten.
const ANSWERS_MAX: usize = 4096;

impl Routes {
    /// Returns whose connection this is.
    pub fn stream_of_conn(&self, conn: ConnId) -> Option<StreamId> {
        self.conns.get(&conn).copied()
    }

    /// Takes a lookup's answer in; returns whose lookup it was.
    pub fn answered(
        &mut self,
        query: QueryId,
        answer: &Result<Vec<IpAddr>, ResolveError>,
        ttl: Duration,
        now: Instant,
    ) -> Option<StreamId> {
        let (stream, host) = self.queries.remove(&query)?;
        // That there is no address is not worth remembering: whoever asks next would fail without having asked.
        if let Ok(addrs) = answer
            && !addrs.is_empty()
            && !ttl.is_zero()
        {
            if self.answers.len() >= ANSWERS_MAX {
                self.answers.clear();
            }
            self.answers.insert(host, (now, addrs.clone()));
        }
        Some(stream)
    }

    /// Notes where the driver listens for players.
    pub fn listening(&mut self, addrs: Vec<SocketAddr>) {
        self.listeners = addrs;
    }

    /// Forgets a connection that is gone.
    pub fn closed(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
    }

    /// Returns connections that were asked to close and whose end is awaited from now on.
    pub fn take_closing(&mut self) -> Vec<ConnId> {
        mem::take(&mut self.closing)
    }

    /// Returns how many upstream connections are dialling or open.
    pub fn conns(&self) -> usize {
        self.conns.len()
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Returns whether pulling `url` from `addr` would feed the stream `key` from itself: the address is ours, and the
    /// stream named there is `key`, or one that is pulled from it by way of our own listener.
    pub fn leads_back(
        &self,
        key: &StreamKey,
        url: &OriginUrl,
        addr: SocketAddr,
        local: Option<SocketAddr>,
    ) -> bool {
        if !self.is_own(addr, local) {
            return false;
        }
        let Some(mut at) = url.key_in(&key.vhost) else { return false };
        for _ in 0..=self.own_upstreams.len() {
            if at == *key {
                return true;
            }
            let Some(next) = self.own_upstreams.get(&at) else { return false };
            at = next.clone();
        }
        // A ring that does not pass through `key` cannot be closed by it.
        false
    }

    /// A stream does not pull from our own listener, or not any more.
    pub fn forget_upstream(&mut self, key: &StreamKey) {
        self.own_upstreams.remove(key);
    }

    /// Notes where a stream pulls from, if that is our own listener.
    fn note_upstream(&mut self, key: &StreamKey, url: &OriginUrl, addr: SocketAddr, local: SocketAddr) {
        match url.key_in(&key.vhost) {
            Some(upstream) if self.is_own(addr, Some(local)) => {
                self.own_upstreams.insert(key.clone(), upstream);
            }
            _ => self.forget_upstream(key),
        }
    }

    /// An address is ours if we listen there, or on every local address while `local`, our end of a connection
    /// to it, is the same address. The unspecified address leads to this host, like a loopback address.
    fn is_own(&self, addr: SocketAddr, local: Option<SocketAddr>) -> bool {
        let ip = addr.ip().to_canonical();
        let is_loopback = ip.is_loopback() || ip.is_unspecified();
        let is_local = is_loopback || local.is_some_and(|local| local.ip().to_canonical() == ip);
        self.listeners.iter().any(|listener| {
            let at = listener.ip().to_canonical();
            let is_there =
                at == ip || (at.is_unspecified() && is_local) || (at.is_loopback() && ip.is_unspecified());
            listener.port() == addr.port() && is_there
        })
    }
}

/// What a pull reaches while it handles one stimulus: lent by the proxy for one call.
#[derive(Debug)]
pub struct PullCx<'a> {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// The stream's key, to tell a loop.
    pub key: &'a StreamKey,
    /// Players are seated or parked.
    pub watched: bool,
    /// This stream and all that are fed from it, to tell the origin: who finds himself among them closes a ring.
    pub ids: Vec<u64>,
    /// The hop count to tell the origin.
    pub hops: u32,
    /// The proxy's numbers.
    pub config: &'a Config,
    /// Ids and who waits for what.
    pub routes: &'a mut Routes,
    /// Where outputs go.
    pub outputs: &'a mut VecDeque<Output>,
    /// Where effects go.
    pub effects: &'a mut VecDeque<Effect>,
}

impl PullCx<'_> {
    pub(crate) fn resolve(&mut self, host: &str) -> QueryId {
        let query = QueryId(self.routes.next());
        self.routes.queries.insert(query, (self.stream, host.into()));
        self.outputs.push_back(Output::Resolve { query, host: host.into() });
        query
    }

    pub(crate) fn forget_query(&mut self, query: Option<QueryId>) {
        if let Some(query) = query {
            self.routes.queries.remove(&query);
        }
    }

    pub(crate) fn known_answer(&self, host: &str, ttl: Duration, now: Instant) -> Option<Vec<IpAddr>> {
        let (at, addrs) = self.routes.answers.get(host)?;
        (now.since(*at) < ttl).then(|| addrs.clone())
    }

    pub(crate) fn connect(&mut self, addr: SocketAddr) -> ConnId {
        let conn = ConnId::dialled(self.routes.next());
        self.routes.conns.insert(conn, self.stream);
        self.outputs.push_back(Output::Connect { conn, addr });
        conn
    }

    /// Hangs up at once.
    pub(crate) fn abort(&mut self, conn: ConnId) {
        self.routes.closed(conn);
        self.outputs.push_back(Output::Abort { conn });
    }

    /// Hangs up in order.
    pub(crate) fn close(&mut self, conn: ConnId) {
        self.routes.closed(conn);
        self.routes.closing.push(conn);
        self.outputs.push_back(Output::Close { conn });
    }

    pub(crate) fn is_own_url(&self, url: &OriginUrl, addr: SocketAddr, local: Option<SocketAddr>) -> bool {
        self.routes.leads_back(self.key, url, addr, local)
    }

    /// Notes where this stream is connected to.
    pub(crate) fn note_upstream(&mut self, url: &OriginUrl, addr: SocketAddr, local: SocketAddr) {
        self.routes.note_upstream(self.key, url, addr, local);
    }
}
