//! One future that owns the core and every connection.
//!
//! ```text
//!   sockets, dials, lookups, bodies ── wake ──► ready list ──► Input ──► Proxy
//!   API ── Handle ── commands ───────────────────────────────► Input ──►   │
//!   sleep until poll_timeout ────────────────────────────────► Timeout ►   │
//!                                                                          ▼
//!   sockets ◄── one vectored write each ◄── dirty list ◄── queues ◄──── Output
//! ```
//!
//! There is no task and no channel per connection: everything lives in a slot with a waker of its own that puts the
//! slot on the ready list. A turn takes the list, turns what is there into inputs, drains the core after each, and
//! then writes what has gathered, so that bytes which arrived together leave together. A turn is bounded everywhere;
//! what is left over waits for the next one, after the runtime had a look at the other tasks and the sockets.
//!
//! Every connection is read from all the time, also while it closes or cannot be written to: a writer that waits for
//! room may never hear of a reset.

#![expect(clippy::disallowed_types, reason = "a fixed hasher, looked up on every write and never iterated")]

mod farewell;
mod handle;
mod socket;
mod wake;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    future::{Future, poll_fn},
    hash::{BuildHasherDefault, Hasher},
    io, mem,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use proxy_core::{
    Instant, Proxy,
    io::{
        Answer, AskId, ConnId, Event, Hangup, Input, Output, PlayAnswer, QueryId, Reply, RequestId,
        ResolveError,
    },
    session::server::Refusal,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{mpsc, oneshot},
    time::Sleep,
};

pub use self::{handle::Handle, socket::SLICES_MAX};
use self::{
    handle::{COMMANDS_MAX, Command, PlayHttp},
    socket::{Open, connect_error, hangup},
    wake::{Ready, SlotWake},
};
pub use crate::http_flv::{FlvBody, PlayRefused};
use crate::{
    env::{Env, Wire, accept_next},
    http_flv::FlvPipe,
};

/// Bytes read at a time, by all connections from one buffer.
const READ_BYTES: usize = 64 * 1024;

/// Reads of one connection in one turn: an origin that sends a gigabyte must not silence the others.
pub const READS_PER_TURN: usize = 4;

/// Writes to one connection in one turn, for players that catch up on a backlog.
pub const WRITES_PER_TURN: usize = 8;

/// Connections written to in one turn.
const FLUSHES_PER_TURN: usize = 4096;

/// Connections taken from one listener in one turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Commands taken in one turn.
const COMMANDS_PER_TURN: usize = 64;

/// The least time between two looks at a deadline that stays in the past.
const TIMEOUT_PAUSE: Duration = Duration::from_millis(1);

/// What a driver is started with.
#[derive(Clone, Debug, Default)]
pub struct DriverConfig {
    /// What the core decides by.
    pub core: proxy_core::Config,
    /// Where RTMP players are served; empty means nowhere.
    pub rtmp_listen: Vec<SocketAddr>,
}

/// Carries a [`Proxy`] on an [`Env`].
pub struct Driver<E: Env> {
    env: E,
    proxy: Proxy,
    on_event: Box<OnEvent>,
    /// The core's zero.
    start: tokio::time::Instant,
    rtmp_addrs: Vec<SocketAddr>,

    commands: mpsc::Receiver<Command>,
    /// Where replies go.
    requests: BTreeMap<RequestId, oneshot::Sender<Reply>>,
    requests_made: u64,
    accepted: u64,
    /// Questions to answer once the core is drained.
    asks: VecDeque<AskId>,
    is_down: bool,

    slots: Vec<Slot<E>>,
    free: Vec<usize>,
    /// Only looked up, never iterated.
    conns: HashMap<ConnId, usize, BuildHasherDefault<IdHasher>>,
    ready: Arc<Ready>,
    /// Slots to look at in the next turn although nothing wakes them.
    again: Vec<usize>,
    /// Turns so far.
    turns: u64,
    /// Slots with bytes to write or a close to do.
    dirty: VecDeque<usize>,
    /// When, slot and number of farewells, oldest first.
    farewells: VecDeque<(tokio::time::Instant, usize, u64)>,
    farewells_made: u64,
    sleep: Pin<Box<Sleep>>,
    /// When `sleep` ends; it is moved only to come sooner, since deadlines move away with every frame.
    armed: Option<tokio::time::Instant>,
    buffer: Box<[u8]>,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Hears what the core tells.
type OnEvent = dyn FnMut(&Event, Instant) + Send;

/// One thing that can wake us.
struct Slot<E: Env> {
    work: Work<E>,
    wake: Arc<SlotWake>,
    waker: Waker,
    /// The turn that last looked at it.
    seen_in: u64,
}

enum Work<E: Env> {
    Free,
    Listen {
        listener: Arc<E::Listener>,
        next: Boxed<(E::Stream, SocketAddr)>,
    },
    Lookup {
        query: QueryId,
        lookup: Boxed<Result<Vec<IpAddr>, ResolveError>>,
    },
    Dial {
        conn: ConnId,
        dial: Boxed<io::Result<E::Stream>>,
    },
    Open(Open<E::Stream>),
    /// FIN is out; what the peer still sends is thrown away.
    Farewell {
        stream: E::Stream,
        number: u64,
    },
    /// An HTTP-FLV player; `answer` until the core has answered.
    Body {
        conn: ConnId,
        pipe: FlvPipe,
        answer: Option<oneshot::Sender<Result<(), Refusal>>>,
    },
}

impl<E: Env> Driver<E> {
    /// Listens, and makes a core with the environment's seed. `on_event` hears every event the core tells.
    ///
    /// # Errors
    /// An address cannot be listened on; see [`Env::listen`]. The message names the address.
    pub async fn bind(
        env: E,
        config: DriverConfig,
        on_event: impl FnMut(&Event, Instant) + Send + 'static,
    ) -> io::Result<(Self, Handle)> {
        let mut listeners = Vec::new();
        let mut rtmp_addrs = Vec::new();
        for at in config.rtmp_listen {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{at}: {error}"));
            let listener = env.listen(at).await.map_err(named)?;
            rtmp_addrs.push(env.bound(&listener).map_err(named)?);
            listeners.push(Arc::new(listener));
        }
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let started_at = env.wall();
        let start = tokio::time::Instant::now();
        let mut driver = Self {
            proxy: Proxy::new(config.core, env.seed()),
            env,
            on_event: Box::new(on_event),
            start,
            rtmp_addrs,
            commands,
            requests: BTreeMap::new(),
            requests_made: 0,
            accepted: 0,
            asks: VecDeque::new(),
            is_down: false,
            slots: Vec::new(),
            free: Vec::new(),
            conns: HashMap::default(),
            ready: Arc::default(),
            again: Vec::new(),
            turns: 0,
            dirty: VecDeque::new(),
            farewells: VecDeque::new(),
            farewells_made: 0,
            sleep: Box::pin(tokio::time::sleep_until(start)),
            armed: None,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        };
        for listener in listeners {
            let next = driver.accept(Arc::clone(&listener));
            driver.install(Work::Listen { listener, next });
        }
        Ok((driver, Handle { commands: sender, started_at }))
    }

    /// Returns where RTMP players are served, in the order of the config, with real ports.
    pub fn rtmp_addrs(&self) -> &[SocketAddr] {
        &self.rtmp_addrs
    }

    /// Carries, until [`Request::Shutdown`](proxy_core::io::Request::Shutdown) is answered [`Reply::Down`].
    pub async fn run(mut self) {
        self.input(Input::Listening { addrs: self.rtmp_addrs.clone() }, Instant::ZERO);
        // tokio would make sockets look unready after 128 operations, which is less than one frame to 200 players;
        // turns are bounded by themselves.
        tokio::task::coop::unconstrained(poll_fn(|cx| self.turn(cx))).await;
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ready.register(cx.waker());
        let now = self.now();
        self.expire(now);
        let mut is_busy = self.take_commands(cx, now);
        self.visit_ready(now);
        self.flush_dirty(now);
        self.end_farewells();
        if self.is_down {
            self.say_goodbye();
            return Poll::Ready(());
        }
        is_busy |= !self.again.is_empty() || !self.dirty.is_empty();
        if is_busy || self.wait(cx, now).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn now(&self) -> Instant {
        let nanos = self.start.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Hands one input over and does whatever that leads to.
    fn input(&mut self, input: Input<'_>, now: Instant) {
        enter(&mut self.proxy, &self.env, input, now);
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        loop {
            while let Some(output) = self.proxy.poll_output() {
                self.act(output, now);
            }
            // Nobody is asked anything yet.
            let Some(ask) = self.asks.pop_front() else { break };
            enter(&mut self.proxy, &self.env, Input::Answered { ask, answer: Answer::Default }, now);
        }
        self.env.on_rest(&self.proxy, self.conns.len(), now);
    }

    fn act(&mut self, output: Output, now: Instant) {
        self.env.on_output(&output, now);
        match output {
            Output::Transmit { conn, bytes } => self.transmit(conn, bytes),
            Output::Resolve { query, host } => {
                let env = self.env.clone();
                let lookup = Box::pin(async move { env.resolve(&host).await });
                self.install(Work::Lookup { query, lookup });
            }
            Output::Connect { conn, addr } => {
                let env = self.env.clone();
                let dial = Box::pin(async move { env.dial(addr).await });
                let index = self.install(Work::Dial { conn, dial });
                self.conns.insert(conn, index);
            }
            Output::Close { conn } => self.close(conn),
            Output::Abort { conn } => self.abort(conn),
            Output::Reply { id, reply } => {
                self.is_down |= reply == Reply::Down;
                if let Some(requester) = self.requests.remove(&id) {
                    // The requester may have lost interest.
                    let _ = requester.send(reply);
                }
            }
            Output::Ask { ask, question: _ } => self.asks.push_back(ask),
            Output::PlayAnswer { conn, answer } => self.answer_play(conn, answer),
            Output::Event(event) => (self.on_event)(&event, now),
        }
    }

    fn transmit(&mut self, conn: ConnId, bytes: Bytes) {
        // A write of nothing would look like a socket that takes nothing any more.
        if bytes.is_empty() {
            return;
        }
        let Some(&index) = self.conns.get(&conn) else { return };
        match &mut self.slots[index].work {
            Work::Open(open) => {
                open.queue.push_back(bytes);
                if !mem::replace(&mut open.is_dirty, true) {
                    self.dirty.push_back(index);
                }
            }
            Work::Body { pipe, .. } => pipe.push(bytes),
            Work::Free
            | Work::Listen { .. }
            | Work::Lookup { .. }
            | Work::Dial { .. }
            | Work::Farewell { .. } => {}
        }
    }

    fn close(&mut self, conn: ConnId) {
        let Some(&index) = self.conns.get(&conn) else { return };
        match &mut self.slots[index].work {
            Work::Open(open) => {
                open.is_closing = true;
                if !mem::replace(&mut open.is_dirty, true) {
                    self.dirty.push_back(index);
                }
            }
            Work::Body { pipe, answer, .. } => {
                // Closed without an answer: the handler is told that nothing comes.
                *answer = None;
                pipe.finish();
            }
            // A dial has no bytes to write.
            Work::Dial { .. } => self.abort(conn),
            Work::Free | Work::Listen { .. } | Work::Lookup { .. } | Work::Farewell { .. } => {}
        }
    }

    fn abort(&mut self, conn: ConnId) {
        let Some(&index) = self.conns.get(&conn) else { return };
        self.conns.remove(&conn);
        match self.release(index) {
            Work::Open(open) => open.stream.abort(),
            // Dropping them is all: a dial is given up, a body breaks off.
            Work::Dial { .. } | Work::Body { .. } => {}
            Work::Free | Work::Listen { .. } | Work::Lookup { .. } | Work::Farewell { .. } => {}
        }
    }

    fn answer_play(&mut self, conn: ConnId, play: PlayAnswer) {
        let Some(&index) = self.conns.get(&conn) else { return };
        let Work::Body { answer, .. } = &mut self.slots[index].work else { return };
        let Some(answer) = answer.take() else { return };
        // A handler that is gone has dropped the body, which is found when the slot is visited.
        match play {
            PlayAnswer::Stream => {
                let _ = answer.send(Ok(()));
            }
            PlayAnswer::Refused(refusal) => {
                let _ = answer.send(Err(refusal));
                self.conns.remove(&conn);
                drop(self.release(index));
            }
        }
    }

    fn take_commands(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        for _ in 0..COMMANDS_PER_TURN {
            // `None` means that nobody holds a handle; we carry on.
            let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) else { return false };
            match command {
                Command::Request { request, reply } => {
                    let id = RequestId(self.requests_made);
                    self.requests_made += 1;
                    self.requests.insert(id, reply);
                    self.input(Input::Request { id, request }, now);
                }
                Command::Query(look) => {
                    self.env.on_look(now);
                    look(&self.proxy, now);
                }
                Command::PlayHttp(play) => {
                    let PlayHttp { key, params, peer, local, pipe, answer } = *play;
                    let conn = self.next_accepted();
                    let index = self.install(Work::Body { conn, pipe, answer: Some(answer) });
                    self.conns.insert(conn, index);
                    self.input(Input::PlayHttp { conn, key, params, peer, local }, now);
                }
            }
        }
        true
    }

    fn visit_ready(&mut self, now: Instant) {
        let mut indices = mem::take(&mut self.again);
        self.ready.take(&mut indices);
        self.turns += 1;
        for &index in &indices {
            // What was left over may have been woken as well, and gets no second share of this turn.
            if mem::replace(&mut self.slots[index].seen_in, self.turns) == self.turns {
                continue;
            }
            self.slots[index].wake.is_queued.store(false, Ordering::Release);
            match &self.slots[index].work {
                Work::Free => {}
                Work::Listen { .. } => self.visit_listener(index, now),
                Work::Lookup { .. } => self.visit_lookup(index, now),
                Work::Dial { .. } => self.visit_dial(index, now),
                Work::Open(open) => {
                    let conn = open.conn;
                    self.visit_open(index, conn, now);
                }
                Work::Farewell { .. } => self.visit_farewell(index),
                Work::Body { .. } => self.visit_body(index, now),
            }
        }
        indices.clear();
        if self.again.is_empty() {
            // Keeps the allocation.
            self.again = indices;
        }
    }

    fn visit_listener(&mut self, index: usize, now: Instant) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Slot { work: Work::Listen { listener, next }, waker, .. } = &mut self.slots[index] else {
                return;
            };
            let Poll::Ready((stream, peer)) = next.as_mut().poll(&mut Context::from_waker(waker)) else {
                return;
            };
            let listener = Arc::clone(listener);
            let following = self.accept(Arc::clone(&listener));
            self.slots[index].work = Work::Listen { listener, next: following };
            // A connection that is over before it began needs no one.
            let Ok(local) = stream.local_addr() else { continue };
            // Some systems refuse options on a socket whose peer has gone, which the first read finds.
            let _ = stream.tune();
            let conn = self.next_accepted();
            self.open(conn, stream);
            self.input(Input::Accepted { conn, peer, local }, now);
        }
        self.again.push(index);
    }

    fn accept(&self, listener: Arc<E::Listener>) -> Boxed<(E::Stream, SocketAddr)> {
        let env = self.env.clone();
        Box::pin(async move { accept_next(&env, &listener).await })
    }

    fn visit_lookup(&mut self, index: usize, now: Instant) {
        let Slot { work: Work::Lookup { query, lookup }, waker, .. } = &mut self.slots[index] else { return };
        let Poll::Ready(answer) = lookup.as_mut().poll(&mut Context::from_waker(waker)) else { return };
        let query = *query;
        drop(self.release(index));
        self.input(Input::Resolved { query, answer }, now);
    }

    fn visit_dial(&mut self, index: usize, now: Instant) {
        let Slot { work: Work::Dial { conn, dial }, waker, .. } = &mut self.slots[index] else { return };
        let Poll::Ready(dialled) = dial.as_mut().poll(&mut Context::from_waker(waker)) else { return };
        let conn = *conn;
        self.conns.remove(&conn);
        drop(self.release(index));
        let connected = dialled.and_then(|stream| Ok((stream.local_addr()?, stream)));
        let outcome = match connected {
            Ok((local, stream)) => {
                // See `visit_listener`.
                let _ = stream.tune();
                self.open(conn, stream);
                Ok(local)
            }
            Err(error) => Err(connect_error(error.kind())),
        };
        self.input(Input::Connected { conn, outcome }, now);
    }

    fn open(&mut self, conn: ConnId, stream: E::Stream) {
        let queue = VecDeque::new();
        let open = Open { conn, stream, queue, is_dirty: false, is_closing: false, is_eof: false };
        let index = self.install(Work::Open(open));
        self.conns.insert(conn, index);
    }

    fn visit_open(&mut self, index: usize, conn: ConnId, now: Instant) {
        for _ in 0..READS_PER_TURN {
            // What the core does with one read may end the connection, and its slot may have a new owner.
            let Slot { work: Work::Open(open), waker, .. } = &mut self.slots[index] else { return };
            if open.conn != conn {
                return;
            }
            if open.is_eof {
                self.dirty_if_pending(index);
                return;
            }
            let mut buffer = ReadBuf::new(&mut self.buffer);
            let mut cx = Context::from_waker(waker);
            match Pin::new(&mut open.stream).poll_read(&mut cx, &mut buffer) {
                Poll::Pending => {
                    self.dirty_if_pending(index);
                    return;
                }
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    if !open.is_closing {
                        return self.hang_up(index, Hangup::Eof, now);
                    }
                    // It may have closed its direction only, and still read what we have to say.
                    open.is_eof = true;
                }
                // The core has done with it.
                Poll::Ready(Ok(())) if open.is_closing => {}
                Poll::Ready(Ok(())) => {
                    let bytes = buffer.filled();
                    enter(&mut self.proxy, &self.env, Input::Received { conn, bytes }, now);
                    self.drain(now);
                }
                Poll::Ready(Err(error)) => return self.hang_up(index, hangup(error.kind()), now),
            }
        }
        self.again.push(index);
        self.dirty_if_pending(index);
    }

    /// Lets a connection that woke up try to write what waits.
    fn dirty_if_pending(&mut self, index: usize) {
        let Work::Open(open) = &mut self.slots[index].work else { return };
        if (!open.queue.is_empty() || open.is_closing) && !mem::replace(&mut open.is_dirty, true) {
            self.dirty.push_back(index);
        }
    }

    fn flush_dirty(&mut self, now: Instant) {
        // Who has had its writes and has more stands in line again, for the next turn.
        for _ in 0..self.dirty.len().min(FLUSHES_PER_TURN) {
            let Some(index) = self.dirty.pop_front() else { return };
            let Work::Open(open) = &mut self.slots[index].work else { continue };
            // The slot's old owner may have been dirty, and the new one is not or stands in line itself.
            if mem::replace(&mut open.is_dirty, false) {
                let conn = open.conn;
                self.flush(index, conn, now);
            }
        }
    }

    fn flush(&mut self, index: usize, conn: ConnId, now: Instant) {
        for _ in 0..WRITES_PER_TURN {
            // As in `visit_open`.
            let Slot { work: Work::Open(open), waker, .. } = &mut self.slots[index] else { return };
            if open.conn != conn {
                return;
            }
            let mut cx = Context::from_waker(waker);
            if open.queue.is_empty() {
                if open.is_closing {
                    self.shut_down(index, now);
                }
                return;
            }
            match open.poll_write(&mut cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => return self.hang_up(index, Hangup::Error, now),
                Poll::Ready(Ok(len)) => self.input(Input::Sent { conn, len }, now),
                Poll::Ready(Err(error)) => return self.hang_up(index, hangup(error.kind()), now),
            }
        }
        self.dirty_if_pending(index);
    }

    /// Says FIN after the last byte.
    fn shut_down(&mut self, index: usize, now: Instant) {
        let Slot { work: Work::Open(open), waker, .. } = &mut self.slots[index] else { return };
        let conn = open.conn;
        match Pin::new(&mut open.stream).poll_shutdown(&mut Context::from_waker(waker)) {
            Poll::Pending => return,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return self.hang_up(index, hangup(error.kind()), now),
        }
        self.conns.remove(&conn);
        if let Work::Open(Open { stream, is_eof: false, .. }) = self.release(index) {
            self.begin_farewell(stream);
        }
        self.input(Input::Closed { conn, hangup: Hangup::Eof }, now);
    }

    /// The connection is gone.
    fn hang_up(&mut self, index: usize, hangup: Hangup, now: Instant) {
        if let Work::Open(Open { conn, .. }) = self.release(index) {
            self.conns.remove(&conn);
            self.input(Input::Closed { conn, hangup }, now);
        }
    }

    fn visit_body(&mut self, index: usize, now: Instant) {
        let Slot { work: Work::Body { conn, pipe, .. }, waker, .. } = &mut self.slots[index] else { return };
        let conn = *conn;
        let progress = pipe.progress(waker);
        if progress.gone {
            self.conns.remove(&conn);
            drop(self.release(index));
        }
        if progress.taken > 0 {
            self.input(Input::Sent { conn, len: progress.taken }, now);
        }
        if progress.gone {
            self.input(Input::Closed { conn, hangup: Hangup::Eof }, now);
        }
    }

    /// Tells the core that its moment has come.
    fn expire(&mut self, now: Instant) {
        if self.proxy.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.input(Input::Timeout, now);
        }
    }

    /// Sleeps until the next deadline; ready if it has passed already.
    fn wait(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let core = self.proxy.poll_timeout().map(|(at, _)| {
            // A deadline that stays in the past would be a fault of the core, and must not become a busy loop.
            let at = if at <= now { now + TIMEOUT_PAUSE } else { at };
            self.start + Duration::from_nanos(at.as_nanos())
        });
        let farewell = self.farewells.front().map(|&(until, ..)| until);
        let Some(at) = core.into_iter().chain(farewell).min() else { return Poll::Pending };
        if self.armed.is_none_or(|armed| at < armed) {
            self.sleep.as_mut().reset(at);
            self.armed = Some(at);
        }
        let slept = self.sleep.as_mut().poll(cx);
        if slept.is_ready() {
            self.armed = None;
        }
        slept
    }

    /// Writes what sockets take without waiting, and hangs up on everybody.
    fn say_goodbye(&mut self) {
        while let Some(index) = self.dirty.pop_front() {
            let Slot { work: Work::Open(open), waker, .. } = &mut self.slots[index] else { continue };
            let mut cx = Context::from_waker(waker);
            while !open.queue.is_empty() && matches!(open.poll_write(&mut cx), Poll::Ready(Ok(1..))) {}
        }
        self.slots.clear();
    }

    fn next_accepted(&mut self) -> ConnId {
        let conn = ConnId::accepted(self.accepted);
        self.accepted += 1;
        conn
    }

    /// Gives work a slot and looks at it for the first time in the next turn at the latest.
    fn install(&mut self, work: Work<E>) -> usize {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = self.slots.len();
                let ready = Arc::clone(&self.ready);
                let wake = Arc::new(SlotWake { index, ready, is_queued: AtomicBool::new(false) });
                let waker = Waker::from(Arc::clone(&wake));
                self.slots.push(Slot { work: Work::Free, wake, waker, seen_in: 0 });
                index
            }
        };
        self.slots[index].work = work;
        self.again.push(index);
        index
    }

    /// Empties a slot. Wakes meant for its old owner reach the next one, which is looked at once too often.
    fn release(&mut self, index: usize) -> Work<E> {
        self.free.push(index);
        mem::replace(&mut self.slots[index].work, Work::Free)
    }
}

/// Hands an input to the core, in the environment's hearing. Apart from the driver, since what was read lies in its buffer.
fn enter<E: Env>(proxy: &mut Proxy, env: &E, input: Input<'_>, now: Instant) {
    env.on_input(&input, now);
    proxy.handle_input(input, now);
}

impl<E: Env> fmt::Debug for Driver<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("rtmp_addrs", &self.rtmp_addrs)
            .field("slots", &self.slots.len())
            .field("conns", &self.conns.len())
            .finish_non_exhaustive()
    }
}

/// Spreads connection ids, which count up and are nobody's choice but ours.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 divided by the golden ratio (Knuth, multiplicative hashing).
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
