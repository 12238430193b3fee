//! An environment in memory that keeps the books of a driver: what the core wanted sent, what each transport took of it,
//! what the core was told, and what one turn did. Whatever does not balance is a fault.
//!
//! Sockets read in pieces, write short, have little room, and sometimes ask to be tried again without any reason.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Display,
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use proxy_core::{
    Instant, Proxy,
    io::{ConnId, Input, Output, PlayAnswer, ResolveError},
};
use proxyd::{
    driver::{READS_PER_TURN, SLICES_MAX, WRITES_PER_TURN},
    env::{Env, Wire},
};
use sim::dice::Dice;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The driver's end of every accepted connection.
pub(crate) const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), 1935);
/// Ports from here on name the sockets of the bench, on the side that dialled.
const PORT_FIRST: u16 = 10_000;
/// Ports from here on name the peers of HTTP players.
const HTTP_PORT_FIRST: u16 = 40_000;
/// One in so many reads and writes is put off although it could be done.
const HESITATES: u64 = 16;
/// Faults kept: the first ones tell.
const FAULTS_MAX: usize = 8;

/// The environment: every clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Bench(Arc<Mutex<Books>>);

/// How a socket behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nature {
    /// Bytes it takes that its peer has not read yet.
    pub(crate) room: usize,
    /// The longest piece of one write.
    pub(crate) write_max: usize,
    /// The longest piece of one read.
    pub(crate) read_max: usize,
}

/// The driver's end of a connection.
#[derive(Debug)]
pub(crate) struct Socket {
    bench: Bench,
    index: usize,
}

/// What everybody did so far.
#[derive(Debug)]
pub(crate) struct Books {
    /// What a player's connection may have in flight beside one packet.
    in_flight_max: usize,
    origin_nature: Nature,
    lines: Vec<Line>,
    /// Connections that nobody has accepted yet.
    knocking: VecDeque<usize>,
    acceptor: Option<Waker>,
    /// Connections the driver has dialled and no origin has seen.
    pub(crate) dialled: Vec<usize>,
    pub(crate) accounts: BTreeMap<ConnId, Account>,
    /// The driver's own count of connections, when the core last was at rest.
    conns: usize,
    /// Somebody has written in this turn.
    has_written: bool,
    pub(crate) reached: Reached,
    pub(crate) faults: Vec<String>,
}

/// What all turns together came to: a test that stays below every limit proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reached {
    turns: u64,
    pub(crate) reads_in_turn: usize,
    pub(crate) writes_in_turn: usize,
    pub(crate) slices: usize,
    pub(crate) short_writes: u64,
    /// Turns that ended while a socket was full and had more to take.
    pub(crate) stuck: u64,
    /// Packets that were the one beyond a player's credit.
    pub(crate) overshot: u64,
}

/// A connection between its two ends.
#[derive(Debug)]
struct Line {
    nature: Nature,
    dice: Dice,
    conn: Option<ConnId>,
    /// From the peer, not read.
    inbound: VecDeque<u8>,
    reader: Option<Waker>,
    /// To the peer, which has not read it.
    outbound: VecDeque<u8>,
    writer: Option<Waker>,
    /// What the peer did to end it.
    peer: Peer,
    /// The driver has seen that end.
    is_end_seen: bool,
    /// The driver said FIN.
    is_shut: bool,
    /// The driver let go of it.
    is_dropped: bool,
    reads: usize,
    writes: usize,
}

/// What a peer is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Stays,
    /// It sends nothing any more.
    Closed,
    Reset,
}

/// What is owed on a connection, seen from outside of driver and core.
#[derive(Debug)]
pub(crate) struct Account {
    line: Option<usize>,
    /// Where a player comes from.
    peer: Option<SocketAddr>,
    kind: Kind,
    pub(crate) stage: Stage,
    /// All the core wanted sent.
    pub(crate) wanted: Vec<u8>,
    /// Where the packets end that are not taken entirely.
    ends: VecDeque<usize>,
    packet_max: usize,
    /// How much of it the transport took.
    pub(crate) taken: usize,
    /// How much of that the core knows of.
    told: usize,
    /// Read, and not yet shown to the core.
    unheard: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Origin,
    Player,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    /// The core wants it closed once all is out.
    Closing,
    /// It is over; in order if the core had wanted that.
    Over {
        in_order: bool,
    },
}

impl Bench {
    pub(crate) fn new(in_flight_max: usize, origin_nature: Nature) -> Self {
        Self(Arc::new(Mutex::new(Books {
            in_flight_max,
            origin_nature,
            lines: Vec::new(),
            knocking: VecDeque::new(),
            acceptor: None,
            dialled: Vec::new(),
            accounts: BTreeMap::new(),
            conns: 0,
            has_written: false,
            reached: Reached::default(),
            faults: Vec::new(),
        })))
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects a player to the driver; returns the line between them.
    pub(crate) fn knock(&self, nature: Nature) -> usize {
        let books = &mut *self.books();
        let index = books.lay(nature);
        books.knocking.push_back(index);
        wake(&mut books.acceptor);
        index
    }

    /// Returns where a line's player comes from.
    pub(crate) fn peer(line: usize) -> SocketAddr {
        address(PORT_FIRST, line)
    }

    /// Returns where the `n`th HTTP player comes from.
    pub(crate) fn http_peer(n: usize) -> SocketAddr {
        address(HTTP_PORT_FIRST, n)
    }

    fn socket(&self, index: usize) -> Socket {
        Socket { bench: self.clone(), index }
    }
}

/// Returns the address of the `n`th of several alike.
fn address(port_first: u16, n: usize) -> SocketAddr {
    let port = u16::try_from(n).ok().and_then(|n| port_first.checked_add(n)).expect("a short story");
    SocketAddr::new(Ipv4Addr::new(198, 18, 0, 9).into(), port)
}

fn line_at(address: SocketAddr) -> usize {
    usize::from(address.port() - PORT_FIRST)
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Books {
    fn lay(&mut self, nature: Nature) -> usize {
        let index = self.lines.len();
        self.lines.push(Line {
            nature,
            dice: Dice::nth(1, "pieces", index as u64),
            conn: None,
            inbound: VecDeque::new(),
            reader: None,
            outbound: VecDeque::new(),
            writer: None,
            peer: Peer::Stays,
            is_end_seen: false,
            is_shut: false,
            is_dropped: false,
            reads: 0,
            writes: 0,
        });
        index
    }

    fn fault(&mut self, fault: impl Display) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(format!("turn {}: {fault}", self.reached.turns));
        }
    }

    pub(crate) fn begin_turn(&mut self) {
        self.reached.turns += 1;
        self.has_written = false;
        for line in &mut self.lines {
            (line.reads, line.writes) = (0, 0);
        }
    }

    /// Between two turns the core knows everything, and the driver holds what the core holds.
    pub(crate) fn end_turn(&mut self) {
        for index in 0..self.lines.len() {
            let Line { reads, writes, .. } = self.lines[index];
            self.reached.reads_in_turn = self.reached.reads_in_turn.max(reads);
            self.reached.writes_in_turn = self.reached.writes_in_turn.max(writes);
            if reads > READS_PER_TURN {
                self.fault(format_args!("line {index} was read {reads} times"));
            }
            if writes > WRITES_PER_TURN {
                self.fault(format_args!("line {index} was written {writes} times"));
            }
        }
        let mut faults = Vec::new();
        let mut held = 0;
        for (conn, account) in &self.accounts {
            let Account { taken, told, .. } = account;
            held += usize::from(!account.is_over());
            if !account.is_over() && taken != told {
                faults.push(format!("{conn:?} took {taken}, the core knows of {told}"));
            }
            if account.stage == Stage::Open && !account.unheard.is_empty() {
                faults.push(format!("{conn:?}: the core never hears {} bytes", account.unheard.len()));
            }
            let is_full = |line: usize| self.lines[line].room() == 0;
            self.reached.stuck += u64::from(!account.ends.is_empty() && account.line.is_some_and(is_full));
        }
        if held != self.conns {
            faults.push(format!("the driver holds {} connections, the core {held}", self.conns));
        }
        for fault in faults {
            self.fault(fault);
        }
    }

    /// The driver sleeps: whatever could be done would wait for the next thing to happen.
    pub(crate) fn is_asleep(&mut self) {
        let mut faults = Vec::new();
        if !self.knocking.is_empty() {
            faults.push(format!("{} connections are not accepted", self.knocking.len()));
        }
        for (index, line) in self.lines.iter().enumerate() {
            let is_readable = !line.inbound.is_empty() || (line.peer != Peer::Stays && !line.is_end_seen);
            if is_readable && !line.is_dropped && line.conn.is_some() {
                faults.push(format!("line {index} is not read"));
            }
            let Some(account) = line.conn.and_then(|conn| self.accounts.get(&conn)) else { continue };
            if account.is_over() {
                continue;
            }
            if !account.ends.is_empty() && line.room() > 0 {
                faults.push(format!("line {index} has room and {} packets wait", account.ends.len()));
            }
            if account.stage == Stage::Closing && account.ends.is_empty() {
                faults.push(format!("line {index} is not closed"));
            }
        }
        for fault in faults {
            self.fault(fault);
        }
    }

    /// Bytes come from a peer.
    pub(crate) fn say(&mut self, index: usize, bytes: &[u8]) {
        let line = &mut self.lines[index];
        if !line.is_dropped && line.peer == Peer::Stays {
            line.inbound.extend(bytes);
            wake(&mut line.reader);
        }
    }

    /// A peer reads up to so many bytes.
    pub(crate) fn hear(&mut self, index: usize, bytes_max: usize) -> Vec<u8> {
        let line = &mut self.lines[index];
        let len = bytes_max.min(line.outbound.len());
        let bytes = line.outbound.drain(..len).collect();
        if len > 0 {
            wake(&mut line.writer);
        }
        bytes
    }

    /// A peer ends its connection.
    pub(crate) fn end(&mut self, index: usize, peer: Peer) {
        let line = &mut self.lines[index];
        line.peer = peer;
        if peer == Peer::Reset {
            line.inbound.clear();
            line.outbound.clear();
        }
        wake(&mut line.reader);
        wake(&mut line.writer);
    }

    /// All that was sent has been read, and there will be no more.
    pub(crate) fn is_over(&self, index: usize) -> bool {
        let line = &self.lines[index];
        (line.is_shut || line.is_dropped) && line.outbound.is_empty()
    }

    /// Returns the connection of the player that comes from there.
    pub(crate) fn conn_of(&self, peer: SocketAddr) -> Option<ConnId> {
        self.accounts.iter().find(|(_, account)| account.peer == Some(peer)).map(|(conn, _)| *conn)
    }

    /// The transport of a connection takes bytes, which must be the next ones.
    pub(crate) fn take(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(account) = self.accounts.get_mut(&conn) else {
            return self.fault(format_args!("{conn:?} is written and nobody knows it"));
        };
        let from = account.taken;
        account.taken += bytes.len();
        let is_wanted = account.wanted.get(from..account.taken) == Some(bytes);
        while account.ends.pop_front_if(|end| *end <= account.taken).is_some() {}
        if !is_wanted {
            let len = bytes.len();
            self.fault(format_args!("{conn:?}: {len} bytes from {from} are not what the core wanted sent"));
        }
    }

    fn poll_read(
        &mut self,
        index: usize,
        cx: &Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_written {
            self.fault(format_args!(
                "line {index} is read after writes: what has arrived does not leave together"
            ));
        }
        let line = &mut self.lines[index];
        line.reads += 1;
        match line.peer {
            Peer::Stays if line.inbound.is_empty() => {
                line.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Peer::Closed if line.inbound.is_empty() => {
                line.is_end_seen = true;
                return Poll::Ready(Ok(()));
            }
            Peer::Reset => {
                line.is_end_seen = true;
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            Peer::Stays => {}
            Peer::Closed => {}
        }
        if line.dice.below(HESITATES) == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let len = line.piece(line.nature.read_max).min(line.inbound.len()).min(buffer.remaining());
        let bytes: Vec<u8> = line.inbound.drain(..len).collect();
        buffer.put_slice(&bytes);
        let account = line.conn.and_then(|conn| self.accounts.get_mut(&conn));
        if let Some(account) = account.filter(|account| account.stage == Stage::Open) {
            account.unheard.extend(bytes);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        index: usize,
        cx: &Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.has_written = true;
        self.reached.slices = self.reached.slices.max(slices.len());
        let line = &mut self.lines[index];
        line.writes += 1;
        let Some((conn, account)) = line.conn.and_then(|conn| Some((conn, self.accounts.get(&conn)?))) else {
            self.fault(format_args!("line {index} is written before the core knows it"));
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let gathered = account.ends.iter().take(SLICES_MAX).next_back().map_or(0, |end| end - account.taken);
        let (taken, told) = (account.taken, account.told);
        if offered != gathered {
            self.fault(format_args!("{conn:?} is offered {offered} bytes of {gathered} that wait"));
        }
        if taken != told {
            self.fault(format_args!("{conn:?} is written again, and the core knows of {told} of {taken}"));
        }
        let line = &mut self.lines[index];
        if line.peer == Peer::Reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if line.room() == 0 {
            line.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if line.dice.below(HESITATES) == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let len = line.piece(line.nature.write_max).min(line.room()).min(offered);
        let mut bytes = Vec::with_capacity(len);
        for slice in slices {
            bytes.extend_from_slice(&slice[..slice.len().min(len - bytes.len())]);
        }
        line.outbound.extend(&bytes);
        self.reached.short_writes += u64::from(len < offered);
        self.take(conn, &bytes);
        Poll::Ready(Ok(len))
    }

    fn shut(&mut self, index: usize) {
        self.lines[index].is_shut = true;
        let account = self.lines[index].conn.and_then(|conn| self.accounts.get(&conn));
        match account.map(|account| (account.stage, account.wanted.len() - account.taken)) {
            Some((Stage::Closing, 0)) => {}
            other => self.fault(format_args!("line {index} is closed before its time: {other:?}")),
        }
    }

    fn on_input(&mut self, input: &Input<'_>) {
        match input {
            Input::Accepted { conn, peer, .. } => {
                let line = line_at(*peer);
                self.lines[line].conn = Some(*conn);
                self.accounts.insert(*conn, Account::new(Some(line), Some(*peer), Kind::Player));
            }
            Input::Connected { conn, outcome } => {
                let Some(account) = self.accounts.get_mut(conn) else { return };
                match outcome {
                    Ok(local) => {
                        let line = line_at(*local);
                        account.line = Some(line);
                        self.lines[line].conn = Some(*conn);
                    }
                    Err(_) => account.end(),
                }
            }
            Input::PlayHttp { conn, peer, .. } => {
                self.accounts.insert(*conn, Account::new(None, Some(*peer), Kind::Player));
            }
            Input::Received { conn, bytes } => {
                let unheard = self.accounts.get_mut(conn).map(|account| mem::take(&mut account.unheard));
                if unheard.as_deref() != Some(*bytes) {
                    self.fault(format_args!("{conn:?}: the core hears what was not read"));
                }
            }
            Input::Sent { conn, len } => {
                let Some(account) = self.accounts.get_mut(conn) else {
                    return self.fault(format_args!("{conn:?} was sent something and nobody knows it"));
                };
                account.told += len;
                let (taken, told, is_over) = (account.taken, account.told, account.is_over());
                if taken != told || *len == 0 || is_over {
                    let when = if is_over { "too late" } else { "at once" };
                    self.fault(format_args!(
                        "{conn:?} took {taken}, the core is told {len}, {told} in all, {when}"
                    ));
                }
            }
            Input::Closed { conn, .. } => {
                if let Some(account) = self.accounts.get_mut(conn) {
                    account.end();
                }
            }
            Input::Timeout
            | Input::Listening { .. }
            | Input::Resolved { .. }
            | Input::Request { .. }
            | Input::Answered { .. } => {}
        }
    }

    fn on_output(&mut self, output: &Output) {
        match output {
            Output::Connect { conn, .. } => {
                self.accounts.insert(*conn, Account::new(None, None, Kind::Origin));
            }
            Output::Transmit { conn, bytes } => self.on_transmit(*conn, bytes),
            Output::Close { conn } => {
                if let Some(account) = self.accounts.get_mut(conn).filter(|account| !account.is_over()) {
                    account.stage = Stage::Closing;
                }
            }
            Output::Abort { conn } => {
                if let Some(account) = self.accounts.get_mut(conn) {
                    account.stage = Stage::Over { in_order: false };
                }
            }
            Output::PlayAnswer { conn, answer: PlayAnswer::Refused(_) } => {
                if let Some(account) = self.accounts.get_mut(conn) {
                    account.stage = Stage::Over { in_order: false };
                }
            }
            Output::PlayAnswer { answer: PlayAnswer::Stream, .. }
            | Output::Resolve { .. }
            | Output::Reply { .. }
            | Output::Ask { .. }
            | Output::Event(_) => {}
        }
    }

    fn on_transmit(&mut self, conn: ConnId, bytes: &Bytes) {
        let Some(account) = self.accounts.get_mut(&conn).filter(|account| !account.is_over()) else { return };
        account.packet_max = account.packet_max.max(bytes.len());
        account.wanted.extend_from_slice(bytes);
        account.ends.push_back(account.wanted.len());
        let (in_flight, packet_max) = (account.in_flight(), account.packet_max);
        if account.kind == Kind::Origin {
            return;
        }
        self.reached.overshot += u64::from(in_flight > self.in_flight_max);
        if in_flight > self.in_flight_max + packet_max {
            let allowed = self.in_flight_max;
            self.fault(format_args!(
                "{conn:?} has {in_flight} bytes in flight, {allowed} and {packet_max} are allowed"
            ));
        }
    }

    fn on_rest(&mut self, proxy: &Proxy, conns: usize) {
        self.conns = conns;
        let players = self.accounts.values().filter(|account| account.is_known_player());
        let in_flight: usize = players.map(|account| account.wanted.len().saturating_sub(account.told)).sum();
        let believed = proxy.counts().in_flight_bytes;
        if in_flight != believed {
            self.fault(format_args!("the core believes {believed} bytes in flight, they are {in_flight}"));
        }
    }
}

impl Reached {
    /// Adds what another story came to.
    pub(crate) fn join(&mut self, other: &Self) {
        self.turns += other.turns;
        self.reads_in_turn = self.reads_in_turn.max(other.reads_in_turn);
        self.writes_in_turn = self.writes_in_turn.max(other.writes_in_turn);
        self.slices = self.slices.max(other.slices);
        self.short_writes += other.short_writes;
        self.stuck += other.stuck;
        self.overshot += other.overshot;
    }
}

impl Line {
    /// Returns how much it takes at the moment.
    fn room(&self) -> usize {
        match self.peer {
            Peer::Stays => self.nature.room.saturating_sub(self.outbound.len()),
            Peer::Closed => self.nature.room.saturating_sub(self.outbound.len()),
            // It takes nothing, but says so.
            Peer::Reset => 1,
        }
    }

    /// Rolls the length of a piece: short ones are as likely as long ones.
    fn piece(&mut self, len_max: usize) -> usize {
        let bound = (len_max >> self.dice.below(8)).max(1);
        usize::try_from(self.dice.below(bound as u64)).expect("below a usize") + 1
    }
}

impl Account {
    fn new(line: Option<usize>, peer: Option<SocketAddr>, kind: Kind) -> Self {
        Self {
            line,
            peer,
            kind,
            stage: Stage::Open,
            wanted: Vec::new(),
            ends: VecDeque::new(),
            packet_max: 0,
            taken: 0,
            told: 0,
            unheard: Vec::new(),
        }
    }

    fn end(&mut self) {
        self.stage = Stage::Over { in_order: self.stage == Stage::Closing };
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over { .. })
    }

    /// The core still counts what is in flight to it.
    fn is_known_player(&self) -> bool {
        self.kind != Kind::Origin && self.stage == Stage::Open
    }

    fn in_flight(&self) -> usize {
        self.wanted.len() - self.taken
    }
}

impl Env for Bench {
    type Stream = Socket;
    type Listener = ();

    async fn dial(&self, _: SocketAddr) -> io::Result<Socket> {
        let books = &mut *self.books();
        let index = books.lay(books.origin_nature);
        books.dialled.push(index);
        Ok(self.socket(index))
    }

    async fn listen(&self, _: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    fn bound(&self, (): &()) -> io::Result<SocketAddr> {
        Ok(HERE)
    }

    async fn accept(&self, (): &()) -> io::Result<(Socket, SocketAddr)> {
        let index = poll_fn(|cx| {
            let books = &mut *self.books();
            let index = books.knocking.pop_front();
            if index.is_none() {
                books.acceptor = Some(cx.waker().clone());
            }
            index.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        Ok((self.socket(index), address(PORT_FIRST, index)))
    }

    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, ResolveError> {
        Err(ResolveError::NotFound)
    }

    fn wall(&self) -> Duration {
        Duration::ZERO
    }

    fn seed(&self) -> u64 {
        1
    }

    fn on_input(&self, input: &Input<'_>, _: Instant) {
        self.books().on_input(input);
    }

    fn on_output(&self, output: &Output, _: Instant) {
        self.books().on_output(output);
    }

    fn on_rest(&self, proxy: &Proxy, conns: usize, _: Instant) {
        self.books().on_rest(proxy, conns);
    }
}

impl Wire for Socket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(address(PORT_FIRST, self.index))
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(address(PORT_FIRST, self.index))
    }

    fn tune(&self) -> io::Result<()> {
        Ok(())
    }

    fn abort(self) {
        self.bench.books().lines[self.index].outbound.clear();
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let books = &mut *self.bench.books();
        let line = &mut books.lines[self.index];
        line.is_dropped = true;
        line.inbound.clear();
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.bench.books().poll_read(self.index, cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.bench.books().poll_write(self.index, cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.bench.books().poll_write(self.index, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bench.books().shut(self.index);
        Poll::Ready(Ok(()))
    }
}
