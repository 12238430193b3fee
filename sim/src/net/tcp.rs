//! One end of a TCP connection: `smoltcp` with an interface of its own that holds exactly one socket.
//!
//! A `smoltcp` interface scans all its sockets for every packet and timer; one each makes the cost of a packet
//! independent of how many connections there are. Its clock counts microseconds: ours is rounded up.
//!
//! Acknowledgements are not delayed by a timer. They leave when the world has let the software act on what arrived, so
//! an answer carries them, and a burst is acknowledged once: what Linux does in quick-ack mode with GRO. Linux's
//! 40 ms delay comes only after long one-way flows, would cost a timer per message, and moves no deadline that
//! anything here depends on.
//!
//! Congestion control is Reno. Without any, `smoltcp` resends a whole window after every timeout, and a narrow link with
//! a short queue never recovers: 125 KB over 1 Mbit/s with 5 KB of queue took 20 minutes, with Reno 7 s.

use std::collections::BTreeMap;

use proxy_core::time::{Duration, Instant};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage},
    phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp,
    wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint},
};

use super::{
    ListenerId, RelayId, SockId,
    packet::{Endpoint, Family, Header},
    router::HostId,
};

/// Data that stays unacknowledged ends a connection after this long (Linux, `tcp_retries2` of 15).
const RETRIES_GIVE_UP: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(924);

/// A socket and its buffers, kept for the next connection of the same sizes, within one run: `smoltcp` keeps the last
/// acknowledgement over a reset, and where sequence numbers are the same again, as in a run made twice, it would be taken for
/// a duplicate of that.
#[derive(Debug)]
pub(crate) struct Stack {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

impl Stack {
    fn new(rx_bytes: usize, tx_bytes: usize) -> Self {
        let socket = tcp::Socket::new(
            tcp::SocketBuffer::new(vec![0; rx_bytes]),
            tcp::SocketBuffer::new(vec![0; tx_bytes]),
        );
        let mut sockets = SocketSet::new(vec![SocketStorage::EMPTY]);
        let handle = sockets.add(socket);
        Self { sockets, handle }
    }

    fn socket(&self) -> &tcp::Socket<'static> {
        self.sockets.get(self.handle)
    }

    fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Returns the sizes of its buffers.
    fn sizes(&self) -> (usize, usize) {
        let socket = self.socket();
        (socket.recv_capacity(), socket.send_capacity())
    }
}

/// Packet buffers and stacks to use again.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    /// Buffers for a bare header, and for whole packets: mixed, they would be grown again and again.
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    /// By the sizes of their buffers, which would have to be zeroed in new ones.
    stacks: BTreeMap<(usize, usize), Vec<Stack>>,
}

/// Packet buffers kept; what comes on top is freed.
const SPARES_MAX: usize = 4096;
/// Stacks of the same sizes kept: both ends of as many connections as a large herd loses at once.
const STACKS_MAX: usize = 2048;
/// Bytes in a buffer for headers, options included.
const SMALL: usize = 80;
/// Bytes in a buffer for any packet of an ordinary link.
const LARGE: usize = 1500;

impl Spares {
    /// Gives a packet buffer back.
    pub(crate) fn put(&mut self, packet: Vec<u8>) {
        let pool = if packet.capacity() < LARGE { &mut self.small } else { &mut self.large };
        if pool.len() < SPARES_MAX {
            pool.push(packet);
        }
    }

    /// Takes a buffer for a packet of this many bytes; what is in it is old.
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        let (pool, capacity) = match len {
            0..=SMALL => (&mut self.small, SMALL),
            _ => (&mut self.large, len.max(LARGE)),
        };
        pool.pop().unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    fn stack(&mut self, rx_bytes: usize, tx_bytes: usize) -> Stack {
        let spare = self.stacks.get_mut(&(rx_bytes, tx_bytes)).and_then(Vec::pop);
        spare.unwrap_or_else(|| Stack::new(rx_bytes, tx_bytes))
    }

    fn put_stack(&mut self, stack: Stack) {
        let pool = self.stacks.entry(stack.sizes()).or_default();
        if pool.len() < STACKS_MAX {
            pool.push(stack);
        }
    }
}

/// How an end is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) id: SockId,
    pub(crate) host: HostId,
    pub(crate) local: Endpoint,
    pub(crate) remote: Endpoint,
    pub(crate) mtu: u16,
    pub(crate) rx_bytes: usize,
    pub(crate) tx_bytes: usize,
    pub(crate) seed: u64,
}

/// Who has an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The host's software, which has been told of it.
    Software,
    /// The listener's queue: the software has not been told yet.
    Listener(ListenerId),
    /// The machine's userland proxy.
    Relay(RelayId),
    /// Nobody: it has been closed, and the kernel sees to the rest.
    Orphan,
}

/// One end of a connection.
pub(crate) struct End {
    pub(crate) id: SockId,
    pub(crate) host: HostId,
    pub(crate) local: Endpoint,
    pub(crate) remote: Endpoint,
    pub(crate) holder: Holder,
    /// It came by this listener.
    pub(crate) listener: Option<ListenerId>,
    /// It waits for its turn to send.
    pub(crate) dirty: bool,
    /// The timer that counts, and when it fires.
    pub(crate) timer: (u32, Option<Instant>),
    /// The kernel gives up then.
    pub(crate) gives_up: Option<Instant>,
    /// Told of bytes since the software last read.
    pub(crate) readable_told: bool,
    /// `send` took less than it was offered.
    pub(crate) wants_room: bool,
    /// Told of the end of the stream.
    pub(crate) eof_told: bool,
    /// It is over for the peer; only bytes to read may be left.
    pub(crate) over: bool,
    /// The sequence number after the last byte sent, and the one expected.
    pub(crate) sent_end: u32,
    pub(crate) received_next: u32,
    mtu: u16,
    seed: u64,
    iface: Interface,
    stack: Stack,
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("End")
            .field("id", &self.id)
            .field("host", &self.host)
            .field("local", &self.local)
            .field("remote", &self.remote)
            .field("holder", &self.holder)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl End {
    /// Makes an end that dials.
    pub(crate) fn dial(setup: &Setup, spares: &mut Spares, now: Instant) -> Box<Self> {
        let mut end = Self::new(setup, spares, now);
        let local = listen_endpoint(setup.local);
        let remote = IpEndpoint::from(setup.remote.addr());
        let cx = end.iface.context();
        end.stack
            .sockets
            .get_mut::<tcp::Socket<'_>>(end.stack.handle)
            .connect(cx, remote, local)
            .expect("the socket is fresh, and its ports and addresses are set");
        end
    }

    /// Makes an end that waits for the SYN it was made for.
    pub(crate) fn listen(setup: &Setup, spares: &mut Spares, now: Instant) -> Box<Self> {
        let mut end = Self::new(setup, spares, now);
        end.stack
            .socket_mut()
            .listen(listen_endpoint(setup.local))
            .expect("the socket is fresh, and its port is set");
        end
    }

    fn new(setup: &Setup, spares: &mut Spares, now: Instant) -> Box<Self> {
        let mut stack = spares.stack(setup.rx_bytes, setup.tx_bytes);
        let socket = stack.socket_mut();
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.set_timeout(None);
        socket.set_congestion_control(tcp::CongestionControl::Reno);
        Box::new(Self {
            id: setup.id,
            host: setup.host,
            local: setup.local,
            remote: setup.remote,
            holder: Holder::Software,
            listener: None,
            dirty: false,
            timer: (0, None),
            gives_up: None,
            readable_told: false,
            wants_room: false,
            eof_told: false,
            over: false,
            sent_end: 0,
            received_next: 0,
            mtu: setup.mtu,
            seed: setup.seed,
            iface: interface(setup.local, setup.mtu, setup.seed, now),
            stack,
        })
    }

    /// Takes a packet in. What answers it at once is appended to `out`.
    pub(crate) fn handle_packet(
        &mut self,
        packet: &[u8],
        spares: &mut Spares,
        out: &mut Vec<Vec<u8>>,
        now: Instant,
    ) {
        let mut wire = Wire { mtu: self.mtu, incoming: Some(packet), out, spares };
        self.iface.poll_ingress_single(micros(now), &mut wire, &mut self.stack.sockets);
    }

    /// Appends what the end sends now.
    pub(crate) fn transmit(&mut self, spares: &mut Spares, out: &mut Vec<Vec<u8>>, now: Instant) {
        let mut wire = Wire { mtu: self.mtu, incoming: None, out, spares };
        let now = micros(now);
        loop {
            let before = wire.out.len();
            self.iface.poll_egress(now, &mut wire, &mut self.stack.sockets);
            if wire.out.len() == before {
                break;
            }
        }
    }

    /// When the end wants to send next.
    pub(crate) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let at = self.iface.poll_at(micros(now), &self.stack.sockets);
        let at = at.map(|at| Instant::from_nanos(u64::try_from(at.total_micros()).unwrap_or(0) * 1000));
        match (at, self.gives_up) {
            (Some(at), Some(gives_up)) => Some(at.min(gives_up)),
            (at, gives_up) => at.or(gives_up),
        }
    }

    /// Takes note of a smaller path MTU, and returns whether it changed anything.
    pub(crate) fn lower_mtu(&mut self, mtu: u16, now: Instant) -> bool {
        // Less than this no link may have (RFC 791, RFC 8200), and Linux does not believe it.
        let least = if self.local.family == Family::V6 { 1280 } else { 68 };
        if mtu >= self.mtu || mtu < least {
            return false;
        }
        // An interface's MTU is fixed; the socket is not in it, and goes on behind another.
        self.mtu = mtu;
        self.iface = interface(self.local, mtu, self.seed, now);
        true
    }

    pub(crate) fn state(&self) -> tcp::State {
        self.stack.socket().state()
    }

    /// The connection has two known ends, in `smoltcp`'s eyes.
    pub(crate) fn is_bound(&self) -> bool {
        self.stack.socket().remote_endpoint().is_some()
    }

    pub(crate) fn unread(&self) -> usize {
        self.stack.socket().recv_queue()
    }

    pub(crate) fn unsent(&self) -> usize {
        self.stack.socket().send_queue()
    }

    /// How many bytes `send` would take.
    pub(crate) fn room(&self) -> usize {
        let socket = self.stack.socket();
        match socket.may_send() && !self.over {
            true => socket.send_capacity() - socket.send_queue(),
            false => 0,
        }
    }

    /// Enough room to tell software that waits for it (Linux: a third).
    pub(crate) fn has_room(&self) -> bool {
        let room = self.room();
        room > 0 && room >= self.stack.socket().send_capacity() / 3
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> usize {
        if self.over {
            return 0;
        }
        let socket = self.stack.socket_mut();
        let taken = socket.send_slice(bytes).unwrap_or(0);
        if taken > 0 {
            socket.set_timeout(Some(RETRIES_GIVE_UP));
        }
        taken
    }

    pub(crate) fn recv(&mut self, max: usize, out: &mut Vec<u8>) -> usize {
        let socket = self.stack.socket_mut();
        let mut left = max;
        while left > 0 && socket.can_recv() {
            let read = socket.recv(|bytes| {
                let len = bytes.len().min(left);
                out.extend_from_slice(&bytes[..len]);
                (len, len)
            });
            match read {
                Ok(0) | Err(_) => break,
                Ok(len) => left -= len,
            }
        }
        max - left
    }

    /// Sends FIN after what is to be sent.
    pub(crate) fn finish(&mut self) {
        self.stack.socket_mut().close();
    }

    /// Sends RST.
    pub(crate) fn abort(&mut self) {
        self.stack.socket_mut().abort();
    }

    /// Stops the clock of unacknowledged data when there is none: an idle connection lives for ever.
    pub(crate) fn settle(&mut self) {
        let socket = self.stack.socket_mut();
        if socket.send_queue() == 0 && socket.timeout().is_some() {
            socket.set_timeout(None);
        }
    }

    /// Remembers what was sent last, for when only a number or two are left of the connection.
    pub(crate) fn note_sent(&mut self, header: &Header) {
        self.sent_end = header.seq_end();
        if header.flags & super::packet::ACK != 0 {
            self.received_next = header.ack;
        }
    }

    /// Gives the buffers back.
    pub(crate) fn recycle(self, spares: &mut Spares) {
        spares.put_stack(self.stack.emptied());
    }
}

impl Stack {
    fn emptied(mut self) -> Self {
        self.socket_mut().abort();
        self
    }
}

/// How long the kernel tries for an end in this state, with nobody to close it; `None` if it tries for ever.
pub(crate) fn patience(state: tcp::State, orphan: bool) -> Option<Duration> {
    match (state, orphan) {
        // Six retries: 1 + 2 + 4 + 8 + 16 + 32 + 64 s.
        (tcp::State::SynSent, _) => Some(Duration::from_secs(127)),
        // Five retries.
        (tcp::State::SynReceived, _) => Some(Duration::from_secs(63)),
        // tcp_fin_timeout.
        (tcp::State::FinWait2, true) => Some(Duration::from_secs(60)),
        // tcp_orphan_retries.
        (tcp::State::FinWait1 | tcp::State::Closing | tcp::State::LastAck, true) => {
            Some(Duration::from_secs(100))
        }
        (
            tcp::State::Closed
            | tcp::State::Listen
            | tcp::State::Established
            | tcp::State::CloseWait
            | tcp::State::TimeWait,
            _,
        )
        | (tcp::State::FinWait1 | tcp::State::FinWait2 | tcp::State::Closing | tcp::State::LastAck, false) => {
            None
        }
    }
}

fn interface(at: Endpoint, mtu: u16, seed: u64, now: Instant) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut iface = Interface::new(config, &mut Card(mtu), micros(now));
    iface.update_ip_addrs(|addresses| {
        let ip = IpAddress::from(at.addr().ip());
        let whole = if at.family == Family::V6 { 128 } else { 32 };
        addresses.push(IpCidr::new(ip, whole)).expect("there is room for one");
    });
    iface
}

fn listen_endpoint(at: Endpoint) -> IpListenEndpoint {
    IpListenEndpoint { addr: Some(at.addr().ip().into()), port: at.port }
}

fn micros(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_nanos().div_ceil(1000)).unwrap_or(i64::MAX))
}

fn capabilities(mtu: u16) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = usize::from(mtu);
    capabilities.checksum = ChecksumCapabilities::ignored();
    capabilities
}

/// A card that carries nothing, to make an interface with.
struct Card(u16);

impl Device for Card {
    type RxToken<'a> = Incoming<'a>;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _now: smoltcp::time::Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        None
    }

    fn transmit(&mut self, _now: smoltcp::time::Instant) -> Option<Outgoing<'_>> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.0)
    }
}

/// The card of an end for one call: at most one packet in, any number out.
struct Wire<'w> {
    mtu: u16,
    incoming: Option<&'w [u8]>,
    out: &'w mut Vec<Vec<u8>>,
    spares: &'w mut Spares,
}

impl Device for Wire<'_> {
    type RxToken<'a>
        = Incoming<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Outgoing<'a>
    where
        Self: 'a;

    fn receive(&mut self, _now: smoltcp::time::Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let packet = self.incoming.take()?;
        Some((Incoming(packet), Outgoing { out: self.out, spares: self.spares }))
    }

    fn transmit(&mut self, _now: smoltcp::time::Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing { out: self.out, spares: self.spares })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

struct Incoming<'a>(&'a [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

struct Outgoing<'a> {
    out: &'a mut Vec<Vec<u8>>,
    spares: &'a mut Spares,
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = self.spares.take(len);
        // Headers are written field by field: start them from zero. The payload is written whole.
        packet.resize(len, 0);
        let header = len.min(64);
        packet[..header].fill(0);
        let result = f(&mut packet);
        self.out.push(packet);
        result
    }
}
