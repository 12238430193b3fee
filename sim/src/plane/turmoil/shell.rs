//! What the hosts of turmoil and the world share: sockets and names during a step, news between two.
//!
//! A step belongs to the hosts, the time between two steps to the world. The network and the names change hands with it,
//! so a driver's read or write reaches its kernel at once, as a system call does; what the kernels do next happens
//! between steps.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use proxy_core::time::Instant;
use proxyd::config::Settings;

use crate::{
    net::{DialError, ListenerId, Net, NetEvent, SockId, dns::Dns, router::Ticket},
    trace::What,
};

/// The shared state, in many hands on one thread.
#[derive(Clone, Debug)]
pub(crate) struct Shell(Arc<Mutex<Shared>>);

#[derive(Debug)]
pub(crate) struct Shared {
    /// The network and the names during a step, empty ones between two.
    pub(crate) lent: (Net, Dns),
    pub(crate) is_lent: bool,
    /// When the step began.
    pub(crate) now: Instant,
    /// Turmoil's time at the world's zero, in ns.
    pub(crate) zero: u64,
    pub(crate) socks: BTreeMap<SockId, Sock>,
    pub(crate) queues: BTreeMap<ListenerId, Queue>,
    pub(crate) proxies: Vec<Slot>,
    /// Sockets and listeners of proxies that the world has not heard of.
    pub(crate) fresh: Vec<(usize, Fresh)>,
    /// Sockets that nobody holds any more.
    pub(crate) gone: Vec<SockId>,
    pub(crate) told: Vec<Told>,
    /// From one host of turmoil to another.
    pub(crate) lanes: BTreeMap<(usize, usize), Lane>,
    /// Packets on their way, by number.
    pub(crate) tickets: BTreeMap<u64, Ticket>,
    pub(crate) packets: u64,
    pub(crate) arrived: Vec<(u64, Vec<u8>)>,
    pub(crate) calls: VecDeque<CallOut>,
    pub(crate) operator: Option<Waker>,
    /// Hosts that have begun.
    pub(crate) ready: usize,
}

/// Something of a proxy's that the world has to know as its owner's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fresh {
    Sock(SockId),
    Listener(ListenerId),
}

/// A connection that a driver holds.
#[derive(Debug)]
pub(crate) struct Sock {
    pub(crate) proxy: usize,
    pub(crate) outcome: Option<Result<SocketAddr, DialError>>,
    pub(crate) is_eof: bool,
    pub(crate) is_reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Sock {
    pub(crate) fn new(proxy: usize) -> Self {
        Self { proxy, outcome: None, is_eof: false, is_reset: false, reader: None, writer: None }
    }

    pub(crate) fn wait_to_read<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn wait_to_write<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn wake(&mut self) {
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

/// Connections that a listener's kernel has accepted.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) proxy: usize,
    pub(crate) waiting: VecDeque<(SockId, SocketAddr, SocketAddr)>,
    pub(crate) acceptor: Option<Waker>,
}

/// A proxy: one process after another.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The process that is to run, if one is.
    pub(crate) wanted: Option<Life>,
    /// Counts processes.
    pub(crate) life: u64,
    pub(crate) is_frozen: bool,
    /// How far the wall clock is off, in ms.
    pub(crate) wall_offset: i64,
    /// Those that wait for a change of any of this.
    waiting: Vec<Waker>,
}

/// A process to run.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) number: u64,
    pub(crate) seed: u64,
    pub(crate) namespace: crate::net::HostId,
    pub(crate) settings: Box<Settings>,
}

/// Something for the trace.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) proxy: usize,
    /// World time.
    pub(crate) at: Instant,
    pub(crate) what: Telling,
}

#[derive(Debug)]
pub(crate) enum Telling {
    /// Bytes went in or out: their hash.
    Bytes(u64),
    /// A record.
    What(What),
    /// A request is about to enter the core: what calls it may come from, and the stream it is about.
    Requests { names: &'static [&'static str], stream: Option<String> },
    /// The API has looked at the core.
    Looked,
    /// A call has come to the API.
    Asked { call: u32 },
    /// The API answers a call.
    Answered { call: u32, body: String },
    /// The operator has the answer.
    Received { call: u32, body: String },
}

/// Packets from one host of turmoil to another.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) out: Vec<u8>,
    pub(crate) carrier: Option<Waker>,
}

/// An operator's call, to be sent.
#[derive(Debug)]
pub(crate) struct CallOut {
    pub(crate) call: u32,
    pub(crate) proxy: usize,
    /// The proxy's host in turmoil.
    pub(crate) host: usize,
    /// Path and query.
    pub(crate) target: String,
}

impl Shell {
    pub(crate) fn new(proxies: usize) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            lent: (Net::new(0), Dns::new(0)),
            is_lent: false,
            now: Instant::ZERO,
            zero: 0,
            socks: BTreeMap::new(),
            queues: BTreeMap::new(),
            proxies: (0..proxies).map(|_| Slot::default()).collect(),
            fresh: Vec::new(),
            gone: Vec::new(),
            told: Vec::new(),
            lanes: BTreeMap::new(),
            tickets: BTreeMap::new(),
            packets: 0,
            arrived: Vec::new(),
            calls: VecDeque::new(),
            operator: None,
            ready: 0,
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next process of a proxy when it is to run.
    pub(crate) fn poll_life(&self, p: usize, after: u64, cx: &Context<'_>) -> Poll<Life> {
        let slot = &mut self.lock().proxies[p];
        match &slot.wanted {
            Some(life) if life.number > after => Poll::Ready(life.clone()),
            Some(_) | None => slot.wait(cx),
        }
    }

    /// Is ready when a process is to be no more.
    pub(crate) fn poll_end(&self, p: usize, number: u64, cx: &Context<'_>) -> Poll<()> {
        let slot = &mut self.lock().proxies[p];
        match &slot.wanted {
            Some(life) if life.number == number => slot.wait(cx),
            Some(_) | None => Poll::Ready(()),
        }
    }

    /// Is ready unless a proxy is frozen.
    pub(crate) fn poll_running(&self, p: usize, cx: &Context<'_>) -> Poll<()> {
        let slot = &mut self.lock().proxies[p];
        if slot.is_frozen { slot.wait(cx) } else { Poll::Ready(()) }
    }
}

impl Slot {
    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Something of it has changed.
    pub(crate) fn changed(&mut self) {
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
    }
}

impl Shared {
    /// Returns the network, in the hands of the hosts during a step only.
    pub(crate) fn net(&mut self) -> Option<&mut Net> {
        self.is_lent.then_some(&mut self.lent.0)
    }

    /// Returns the names, as [`Shared::net`].
    pub(crate) fn dns(&mut self) -> Option<&mut Dns> {
        self.is_lent.then_some(&mut self.lent.1)
    }

    pub(crate) fn is_frozen(&self, p: usize) -> bool {
        self.proxies[p].is_frozen
    }

    /// News of a socket of a proxy's.
    pub(crate) fn on_event(&mut self, p: usize, event: NetEvent) {
        if let NetEvent::Accepted { listener, sock, peer, local } = event {
            self.socks.insert(sock, Sock::new(p));
            if let Some(queue) = self.queues.get_mut(&listener) {
                queue.waiting.push_back((sock, peer, local));
                wake(&mut queue.acceptor);
            }
            return;
        }
        let Some(sock) = self.socks.get_mut(&event.sock()) else { return };
        match event {
            NetEvent::Connected { local, .. } => sock.outcome = Some(Ok(local)),
            NetEvent::DialFailed { error, .. } => sock.outcome = Some(Err(error)),
            NetEvent::Eof { .. } => sock.is_eof = true,
            NetEvent::Reset { .. } => sock.is_reset = true,
            NetEvent::Readable { .. } | NetEvent::Writable { .. } | NetEvent::Accepted { .. } => {}
        }
        sock.wake();
    }

    /// A process begins.
    pub(crate) fn start(&mut self, p: usize, seed: u64, namespace: crate::net::HostId, settings: &Settings) {
        let slot = &mut self.proxies[p];
        slot.life += 1;
        slot.is_frozen = false;
        let settings = Box::new(settings.clone());
        slot.wanted = Some(Life { number: slot.life, seed, namespace, settings });
        slot.changed();
    }

    /// A process is no more, and holds nothing.
    pub(crate) fn stop(&mut self, p: usize) {
        let slot = &mut self.proxies[p];
        slot.wanted = None;
        slot.is_frozen = false;
        slot.changed();
        let mut wake_up: Vec<Sock> = Vec::new();
        let held: BTreeSet<SockId> =
            self.socks.iter().filter(|(_, sock)| sock.proxy == p).map(|(id, _)| *id).collect();
        for id in held {
            wake_up.extend(self.socks.remove(&id));
        }
        self.queues.retain(|_, queue| queue.proxy != p);
        self.fresh.retain(|(owner, _)| *owner != p);
        for mut sock in wake_up {
            sock.wake();
        }
    }

    /// A process stops where it is, or goes on.
    pub(crate) fn freeze(&mut self, p: usize, is_frozen: bool) {
        self.proxies[p].is_frozen = is_frozen;
        self.proxies[p].changed();
        for sock in self.socks.values_mut().filter(|sock| sock.proxy == p) {
            sock.wake();
        }
        for queue in self.queues.values_mut().filter(|queue| queue.proxy == p) {
            wake(&mut queue.acceptor);
        }
    }

    /// Puts a packet on its way from one host of turmoil to another.
    pub(crate) fn carry(&mut self, from: usize, to: usize, ticket: Ticket, packet: &[u8]) {
        self.packets += 1;
        self.tickets.insert(self.packets, ticket);
        let lane = self.lanes.entry((from, to)).or_default();
        lane.out.extend_from_slice(&self.packets.to_be_bytes());
        lane.out.extend_from_slice(&u32::try_from(packet.len()).unwrap_or(u32::MAX).to_be_bytes());
        lane.out.extend_from_slice(packet);
        wake(&mut lane.carrier);
    }

    /// Sends an operator's call.
    pub(crate) fn call(&mut self, call: CallOut) {
        self.calls.push_back(call);
        wake(&mut self.operator);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
