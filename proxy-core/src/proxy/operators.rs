//! What operators ask for: adds, updates, removals, and the answers they wait for.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Proxy, Shutdown};
use crate::{
    dice::PullDice,
    io::{
        ConnId, EventKind, Output, PullOptions, PullState, Reply, Request, RequestId, StreamEnd,
        StreamFilter, StreamId, Wakeup,
    },
    stream::{
        player::PlayerEvent,
        pull::{PullEvent, Wish},
        registry::{AddMeans, Waiter},
    },
    url::{OriginUrl, StreamKey},
};

impl Proxy {
    pub(super) fn request(&mut self, id: RequestId, request: Request) {
        match request {
            Request::Add { key, url, options } => self.add(id, key, &url, options),
            Request::Update { key, url, options, now } => self.update(id, &key, url.as_deref(), options, now),
            Request::Del { key } => {
                let stream = self.registry.find(&key).map(|stream| stream.id);
                if let Some(stream) = stream {
                    self.remove(stream, StreamEnd::Deleted, &Reply::Cancelled);
                }
                self.reply(id, if stream.is_some() { Reply::Deleted } else { Reply::NotFound });
            }
            Request::Close { filter, force } => self.close(id, &filter, force),
            Request::Kick { conn } => {
                let found = self.players.contains_key(&conn);
                self.step_player(conn, PlayerEvent::Kick);
                self.reply(id, if found { Reply::Kicked } else { Reply::NotFound });
            }
            Request::Shutdown => self.shut_down(id),
        }
    }

    fn add(&mut self, request: RequestId, key: StreamKey, url: &str, options: PullOptions) {
        if self.shutdown.is_some() {
            return self.reply(request, Reply::ShuttingDown);
        }
        let url = match OriginUrl::parse_with(url, options.play_path.as_deref()) {
            Ok(url) => url,
            Err(error) => return self.reply(request, Reply::BadUrl(error)),
        };
        let meaning = self.registry.meaning_of_add(&key, &url, &options, &self.config);
        let reply_timeout = options.reply_timeout.unwrap_or(self.config.pull.reply_timeout);
        let waiter = Waiter { request, until: self.now + reply_timeout, force: options.force };
        let leads_back = self.is_own_literal(&key, &url);
        let wish = Wish { paths: Vec::from([url]), options };
        match meaning {
            // A new wish that cannot be granted leaves the old one alone.
            AddMeans::Register | AddMeans::Supersede(_) if leads_back => self.reply(request, Reply::OwnUrl),
            AddMeans::Register => {
                let dice = PullDice::new(self.seed, &key);
                let id = self.registry.register(key.clone(), wish, dice, &self.config, self.now);
                self.tell(Some(id), EventKind::Registered { key });
                self.wait(id, waiter);
                self.watch_changed(id);
                self.step_pull(id, PullEvent::Wake);
            }
            AddMeans::Exists => self.reply(request, Reply::Exists { state: PullState::Streaming }),
            AddMeans::Join(id) => {
                self.wait(id, waiter);
                self.step_pull(id, PullEvent::Wake);
                // A place in the dial queue depends on who waits.
                self.step_pull(id, PullEvent::Watched);
            }
            AddMeans::Supersede(id) => {
                for waiter in self.registry.take_waiters(id) {
                    self.answer_waiter(&waiter, Reply::Superseded);
                }
                if let Some(stream) = self.registry.get_mut(id) {
                    stream.proven |= wish.options.force;
                    stream.rewish(wish, &self.config);
                    self.routes.forget_upstream(&stream.key);
                }
                self.wait(id, waiter);
                self.step_pull(id, PullEvent::Restart);
            }
            AddMeans::Full => self.reply(request, Reply::Full),
        }
    }

    fn update(
        &mut self,
        request: RequestId,
        key: &StreamKey,
        url: Option<&str>,
        options: Option<PullOptions>,
        now: bool,
    ) {
        let Some(stream) = self.registry.find(key) else { return self.reply(request, Reply::NotFound) };
        let id = stream.id;
        let mut wish = stream.pull.wish().clone();
        wish.options = options.unwrap_or(wish.options);
        // Without a new url the old one may be cut anew.
        let text = url.or(wish.paths.first().map(|path| path.text.as_str()));
        match text.map(|text| OriginUrl::parse_with(text, wish.options.play_path.as_deref())) {
            Some(Ok(url)) if self.is_own_literal(key, &url) => return self.reply(request, Reply::OwnUrl),
            Some(Ok(url)) => wish.paths = Vec::from([url]),
            Some(Err(error)) => return self.reply(request, Reply::BadUrl(error)),
            None => {}
        }
        if let Some(stream) = self.registry.get_mut(id) {
            stream.rewish(wish, &self.config);
        }
        if now {
            self.routes.forget_upstream(key);
            self.step_pull(id, PullEvent::Restart);
        }
        let reply = self
            .registry
            .get(id)
            .map_or(Reply::NotFound, |stream| Reply::Updated { state: stream.pull.state() });
        self.reply(request, reply);
        // That nobody watches is told once, and may have been before it was to have an end.
        let is_left = self
            .registry
            .get(id)
            .is_some_and(|stream| stream.none_reader_told && stream.pull.config().auto_close);
        if is_left {
            self.remove(id, StreamEnd::NoneReader, &Reply::Cancelled);
        }
    }

    /// An address literal can be told to be ours before anything is touched; a name only when it is looked up.
    fn is_own_literal(&self, key: &StreamKey, url: &OriginUrl) -> bool {
        let Ok(ip) = url.host.parse() else { return false };
        self.routes.leads_back(key, url, SocketAddr::new(ip, url.port), None)
    }

    fn close(&mut self, request: RequestId, filter: &StreamFilter, force: bool) {
        let ids = self.registry.matching(filter);
        let hit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let mut closed = 0;
        for id in ids {
            let readers = self.registry.get(id).map_or(0, |stream| stream.readers());
            if readers == 0 || force {
                self.remove(id, StreamEnd::Closed, &Reply::Cancelled);
                closed += 1;
            }
        }
        self.reply(request, Reply::Closed { hit, closed });
    }

    fn shut_down(&mut self, request: RequestId) {
        let until = self.now + self.config.play.linger_timeout;
        let shutdown = self.shutdown.get_or_insert(Shutdown { requests: Vec::new(), until });
        shutdown.requests.push(request);
        self.deadlines.set(Wakeup::Shutdown, Some(shutdown.until));
        for id in self.registry.matching(&StreamFilter::default()) {
            self.remove(id, StreamEnd::Shutdown, &Reply::Cancelled);
        }
        let players: Vec<ConnId> = self.players.keys().copied().collect();
        for conn in players {
            self.step_player(conn, PlayerEvent::StreamEnded(StreamEnd::Shutdown));
        }
    }

    pub(super) fn run_shutdown(&mut self) {
        let Some(shutdown) = &mut self.shutdown else { return };
        let quiet = self.closing.is_empty() && self.players.is_empty() && self.routes.conns() == 0;
        if quiet || shutdown.until <= self.now {
            for id in core::mem::take(&mut shutdown.requests) {
                self.outputs.push_back(Output::Reply { id, reply: Reply::Down });
            }
            self.deadlines.set(Wakeup::Shutdown, None);
        }
    }

    fn wait(&mut self, id: StreamId, waiter: Waiter) {
        self.deadlines.set(Wakeup::Request(waiter.request), Some(waiter.until));
        self.registry.wait(id, waiter);
    }

    pub(super) fn answer_waiter(&mut self, waiter: &Waiter, reply: Reply) {
        self.deadlines.set(Wakeup::Request(waiter.request), None);
        self.reply(waiter.request, reply);
    }

    pub(super) fn reply(&mut self, id: RequestId, reply: Reply) {
        self.outputs.push_back(Output::Reply { id, reply });
    }

    /// An add has waited long enough.
    pub(super) fn waiter_due(&mut self, request: RequestId) {
        let Some((id, waiter)) = self.registry.take_waiter(request) else { return };
        let Some(stream) = self.registry.get(id) else { return };
        let state = stream.pull.state();
        // Others may wait for the same attempt with more patience: theirs ends it. Who gives up in this very instant does not
        // keep it, or this reply would tell of a stream that is gone before it is read.
        let is_kept = stream.proven || stream.waiters.iter().any(|other| other.until > self.now);
        self.budget.rank(id, self.urgency(id));
        if waiter.force {
            self.reply(request, Reply::Added { state });
        } else if is_kept {
            self.reply(request, Reply::AddTimedOut { state: Some(state) });
        } else {
            self.reply(request, Reply::AddTimedOut { state: None });
            self.remove(id, StreamEnd::FirstAttemptFailed, &Reply::AddTimedOut { state: None });
        }
    }
}
