//! A model origin on a listener.
//!
//! ```text
//!  handle ── commands ──► keeper ◄── bytes ── a task per connection ◄──► socket
//!                           │  ModelOrigin          ▲
//!                           └────── writes ─────────┘
//! ```

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
};

use bytes::{Buf, Bytes};
use proxy_core::time::Instant;
use tokio::{
    io::Interest,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{Clock, READ_BYTES};
use crate::origin::{ACCEPT_QUEUE, Behaviour, Ledger, ModelOrigin, OriginOutput, PeerConn, Publisher};

/// Bytes waiting for a socket beyond which the origin holds frames back.
const QUEUE_BYTES_MAX: usize = 512 * 1024;
/// Pieces of bytes on their way from sockets to the keeper.
const NEWS_MAX: usize = 64;

/// A model origin on a listener. Dropping it closes everything.
#[derive(Debug)]
pub struct RealOrigin {
    addr: SocketAddr,
    commands: mpsc::Sender<Command>,
    keeper: JoinHandle<()>,
}

/// What an origin has been through.
#[derive(Clone, Debug, Default)]
pub struct OriginStatus {
    /// What its clients did.
    pub ledger: Ledger,
    /// It listens.
    pub is_listening: bool,
    /// It does nothing.
    pub is_frozen: bool,
}

enum Order {
    Publish { name: String, publisher: Box<Publisher> },
    Unpublish { name: String },
    Behave(Box<Behaviour>),
    Kill { reset: bool },
    Restart,
    Freeze(bool),
    Swallow,
    ResetAll,
    Act(Act),
    Status,
}

/// Does something to the model.
type Act = Box<dyn FnOnce(&mut ModelOrigin, Instant) + Send>;

struct Command {
    order: Order,
    done: oneshot::Sender<io::Result<OriginStatus>>,
}

impl RealOrigin {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Errors
    /// There is none.
    pub async fn start(behaviour: Behaviour, clock: Clock) -> io::Result<Self> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ACCEPT_QUEUE, behaviour, clock).await
    }

    /// Listens on an address.
    ///
    /// # Errors
    /// It is taken, or not ours.
    pub async fn start_at(
        at: SocketAddr,
        backlog: u16,
        behaviour: Behaviour,
        clock: Clock,
    ) -> io::Result<Self> {
        let listener = listen(at, backlog)?;
        let addr = listener.local_addr()?;
        let (commands, orders) = mpsc::channel(16);
        let keeper = tokio::spawn(Keeper::new(addr, (listener, backlog), behaviour, clock).run(orders));
        Ok(Self { addr, commands, keeper })
    }

    /// Returns where it listens, or did.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the url of `app/stream`.
    pub fn url(&self, name: &str) -> String {
        format!("rtmp://{}/{name}", self.addr)
    }

    /// Begins a publisher's life under `app/stream`; one on the air is replaced.
    pub async fn publish(&self, name: &str, publisher: Publisher) {
        let publisher = Box::new(publisher);
        self.order_surely(Order::Publish { name: name.to_owned(), publisher }).await;
    }

    /// Ends a publisher's life.
    pub async fn unpublish(&self, name: &str) {
        self.order_surely(Order::Unpublish { name: name.to_owned() }).await;
    }

    /// Behaves differently from here on.
    pub async fn behave(&self, behaviour: Behaviour) {
        self.order_surely(Order::Behave(Box::new(behaviour))).await;
    }

    /// The process ends: the port refuses, connections are reset (as by a kernel that finds unread bytes) or
    /// closed, publishers are gone.
    pub async fn kill(&self, reset: bool) {
        self.order_surely(Order::Kill { reset }).await;
    }

    /// The process is started again on the same port, without publishers.
    ///
    /// # Errors
    /// Somebody took the port meanwhile.
    pub async fn restart(&self) -> io::Result<()> {
        self.order(Order::Restart).await.map(drop)
    }

    /// The process stops (SIGSTOP): the kernel goes on accepting and acknowledging, nobody answers.
    pub async fn freeze(&self) {
        self.order_surely(Order::Freeze(true)).await;
    }

    /// The process goes on.
    pub async fn thaw(&self) {
        self.order_surely(Order::Freeze(false)).await;
    }

    /// The connections there are lose every packet from here on, in both directions; others are untouched. As when
    /// a NAT forgets its flows.
    pub async fn swallow(&self) {
        self.order_surely(Order::Swallow).await;
    }

    /// Resets the connections there are.
    pub async fn reset_all(&self) {
        self.order_surely(Order::ResetAll).await;
    }

    /// Lets a closure act on the model between two things it hears; returns what it says.
    pub async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut ModelOrigin, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let (said, hears) = oneshot::channel();
        let act = Box::new(move |model: &mut ModelOrigin, now| {
            // Whoever asked may have lost interest.
            let _ = said.send(act(model, now));
        });
        self.order(Order::Act(act)).await.ok()?;
        hears.await.ok()
    }

    /// Returns what it has been through.
    pub async fn status(&self) -> OriginStatus {
        self.order_surely(Order::Status).await
    }

    async fn order_surely(&self, order: Order) -> OriginStatus {
        self.order(order).await.unwrap_or_default()
    }

    async fn order(&self, order: Order) -> io::Result<OriginStatus> {
        let (done, answer) = oneshot::channel();
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.commands.send(Command { order, done }).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
        answer.await.map_err(gone)?
    }
}

impl Drop for RealOrigin {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

enum News {
    Bytes(PeerConn, Vec<u8>),
    Drained(PeerConn, usize),
    Closed(PeerConn),
}

enum Write {
    Bytes(Bytes),
    Close,
    Reset,
    Swallow,
}

struct Line {
    writes: mpsc::UnboundedSender<Write>,
    queued: usize,
    swallowed: bool,
}

struct Keeper {
    addr: SocketAddr,
    listener: Option<TcpListener>,
    backlog: u16,
    model: ModelOrigin,
    clock: Clock,
    lines: BTreeMap<PeerConn, Line>,
    accepted: u64,
    news: mpsc::Receiver<News>,
    news_sender: mpsc::Sender<News>,
    frozen: watch::Sender<bool>,
}

impl Keeper {
    fn new(
        addr: SocketAddr,
        (listener, backlog): (TcpListener, u16),
        behaviour: Behaviour,
        clock: Clock,
    ) -> Self {
        let (news_sender, news) = mpsc::channel(NEWS_MAX);
        Self {
            addr,
            listener: Some(listener),
            backlog,
            model: ModelOrigin::new(behaviour),
            clock,
            lines: BTreeMap::new(),
            accepted: 0,
            news,
            news_sender,
            frozen: watch::Sender::new(false),
        }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Command>) {
        loop {
            let frozen = *self.frozen.borrow();
            let deadline = self.model.deadline().filter(|_| !frozen).map(|at| self.clock.at(at));
            let nap = tokio::time::sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now));
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    None => return,
                    Some(Command { order, done }) => {
                        let answer = self.obey(order).map(|()| self.status());
                        // Whoever asked may have lost interest.
                        let _ = done.send(answer);
                    }
                },
                accepted = accept(&self.listener), if !frozen => match accepted {
                    Ok(stream) => self.take_in(stream),
                    // Out of descriptors: at once it would fail again and spin.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                },
                Some(news) = self.news.recv(), if !frozen => self.hear(news),
                () = nap, if deadline.is_some() => self.model.handle_timeout(self.clock.now()),
            }
            self.carry();
        }
    }

    fn status(&self) -> OriginStatus {
        OriginStatus {
            ledger: self.model.ledger().clone(),
            is_listening: self.listener.is_some(),
            is_frozen: *self.frozen.borrow(),
        }
    }

    fn obey(&mut self, order: Order) -> io::Result<()> {
        let now = self.clock.now();
        match order {
            Order::Publish { name, publisher } => self.model.publish(&name, *publisher, now),
            Order::Unpublish { name } => self.model.unpublish(&name, now),
            Order::Behave(behaviour) => self.model.set_behaviour(*behaviour),
            Order::Kill { reset } => {
                self.listener = None;
                self.frozen.send_replace(false);
                self.hang_up_all(reset);
                self.model.restart();
            }
            Order::Restart if self.listener.is_some() => {}
            Order::Restart => self.listener = Some(listen(self.addr, self.backlog)?),
            Order::Freeze(frozen) => {
                self.frozen.send_replace(frozen);
            }
            Order::Swallow => {
                for line in self.lines.values_mut() {
                    line.swallowed = true;
                    tell(line, Write::Swallow);
                }
            }
            Order::ResetAll => {
                let ids: Vec<PeerConn> = self.lines.keys().copied().collect();
                for id in ids {
                    self.model.on_closed(id);
                }
                self.hang_up_all(true);
            }
            Order::Act(act) => act(&mut self.model, now),
            Order::Status => {}
        }
        Ok(())
    }

    fn hang_up_all(&mut self, reset: bool) {
        for (_, line) in std::mem::take(&mut self.lines) {
            tell(&line, if reset { Write::Reset } else { Write::Close });
        }
    }

    fn take_in(&mut self, stream: TcpStream) {
        self.accepted += 1;
        let conn = PeerConn(self.accepted);
        let (writes, orders) = mpsc::unbounded_channel();
        self.lines.insert(conn, Line { writes, queued: 0, swallowed: false });
        let line = LineTask { conn, stream, news: self.news_sender.clone(), frozen: self.frozen.subscribe() };
        tokio::spawn(line.run(orders));
        self.model.on_accepted(conn, self.clock.now());
    }

    fn hear(&mut self, news: News) {
        let now = self.clock.now();
        match news {
            News::Bytes(conn, bytes) => {
                if self.lines.get(&conn).is_some_and(|line| !line.swallowed) {
                    self.model.handle_bytes(conn, &bytes, now);
                }
            }
            News::Drained(conn, len) => {
                if let Some(line) = self.lines.get_mut(&conn) {
                    line.queued = line.queued.saturating_sub(len);
                    let writable = line.queued < QUEUE_BYTES_MAX;
                    self.model.set_writable(conn, writable, now);
                }
            }
            News::Closed(conn) => {
                self.lines.remove(&conn);
                self.model.on_closed(conn);
            }
        }
    }

    /// Does what the model asks for.
    fn carry(&mut self) {
        while let Some(output) = self.model.poll_output() {
            match output {
                OriginOutput::Transmit { conn, bytes } => {
                    let Some(line) = self.lines.get_mut(&conn).filter(|line| !line.swallowed) else {
                        continue;
                    };
                    line.queued += bytes.len();
                    let writable = line.queued < QUEUE_BYTES_MAX;
                    tell(line, Write::Bytes(bytes));
                    self.model.set_writable(conn, writable, self.clock.now());
                }
                OriginOutput::Close { conn } => self.hang_up(conn, Write::Close),
                OriginOutput::Reset { conn } => self.hang_up(conn, Write::Reset),
            }
        }
    }

    fn hang_up(&mut self, conn: PeerConn, how: Write) {
        if let Some(line) = self.lines.remove(&conn) {
            tell(&line, how);
        }
    }
}

/// A task that is gone already has told so, or is about to.
fn tell(line: &Line, write: Write) {
    let _ = line.writes.send(write);
}

fn listen(at: SocketAddr, backlog: u16) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of the last life linger and must not keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(u32::from(backlog))
}

async fn accept(listener: &Option<TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// One connection.
struct LineTask {
    conn: PeerConn,
    stream: TcpStream,
    news: mpsc::Sender<News>,
    frozen: watch::Receiver<bool>,
}

impl LineTask {
    async fn run(mut self, mut writes: mpsc::UnboundedReceiver<Write>) {
        // Where the platform refuses, frames come a little later.
        let _ = self.stream.set_nodelay(true);
        let mut queue = std::collections::VecDeque::<Bytes>::new();
        let mut buffer = vec![0; READ_BYTES];
        // Deaf: the peer's FIN was swallowed, there is nothing more to read.
        let (mut closing, mut swallowed, mut deaf) = (false, false, false);
        loop {
            if closing && queue.is_empty() {
                return;
            }
            let frozen = *self.frozen.borrow();
            let interest =
                if queue.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            tokio::select! {
                biased;
                // Once it is told to hang up nobody tells it more: what waits goes out first.
                write = writes.recv(), if !closing => match write {
                    // The keeper is gone.
                    None => return,
                    Some(Write::Bytes(bytes)) => queue.push_back(bytes),
                    Some(Write::Close) => closing = true,
                    Some(Write::Reset) => {
                        // A socket that lingers for no time at all is reset when it is dropped.
                        let _ = self.stream.set_zero_linger();
                        return;
                    }
                    Some(Write::Swallow) => {
                        swallowed = true;
                        queue.clear();
                    }
                },
                // The keeper, and with it the sender, may be gone: then `recv` says so.
                _ = self.frozen.changed() => {}
                ready = self.stream.ready(interest), if !frozen && !deaf => {
                    let Ok(ready) = ready else { return self.end().await };
                    if ready.is_writable() && !self.write(&mut queue).await {
                        return self.end().await;
                    }
                    if ready.is_readable() && !self.read(&mut buffer, swallowed || closing).await {
                        if !swallowed {
                            return self.end().await;
                        }
                        deaf = true;
                    }
                }
            }
        }
    }

    async fn end(&self) {
        let _ = self.news.send(News::Closed(self.conn)).await;
    }

    /// Returns false at the end of the connection.
    async fn read(&self, buffer: &mut [u8], thrown_away: bool) -> bool {
        match self.stream.try_read(buffer) {
            Ok(0) => false,
            Ok(_) if thrown_away => true,
            Ok(len) => self.news.send(News::Bytes(self.conn, buffer[..len].to_vec())).await.is_ok(),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    async fn write(&self, queue: &mut std::collections::VecDeque<Bytes>) -> bool {
        let mut written = 0;
        while let Some(front) = queue.front_mut() {
            match self.stream.try_write(front) {
                Ok(len) => {
                    front.advance(len);
                    written += len;
                    if front.is_empty() {
                        queue.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        written == 0 || self.news.send(News::Drained(self.conn, written)).await.is_ok()
    }
}
