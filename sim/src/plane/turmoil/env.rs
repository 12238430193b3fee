//! The production driver's environment on the simulated network.
//!
//! A socket is an end of the world's network, whose kernels and wires do what kernels and wires do; turmoil has the time,
//! the tasks and the way of every packet. What is read and written is cut into pieces of changing length, so that nothing
//! above sees a whole chunk where it might see half of one.

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use proxy_core::{
    Instant, Proxy,
    io::{Input, Output, ResolveError},
};
use proxyd::env::{Env, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::{
    shell::{Fresh, Life, Queue, Shell, Sock},
    watch::Watch,
};
use crate::{
    dice::Dice,
    net::{
        DialError, HostId, ListenerId, SockId,
        dns::{DnsError, Lookup},
    },
    world::STARTED_AT,
};

/// Connections the kernel may hold between two accepts, as production asks for.
const BACKLOG: usize = 1024;
/// The longest piece read or written at once, in bytes.
const PIECE_BYTES_MAX: u64 = 4096;
/// Where operators reach a proxy, past every fault: turmoil's own port of its host.
pub(super) const CONTROL_PORT: u16 = 8080;

/// One process's view of the world.
#[derive(Clone, Debug)]
pub(super) struct FabricEnv {
    shell: Shell,
    p: usize,
    seed: u64,
    namespace: HostId,
    http_port: u16,
    watch: Watch,
    /// Connections so far: each has dice of its own for its pieces.
    streams: Arc<AtomicU64>,
}

/// A connection.
pub(super) struct FabricStream {
    way: Way,
    pieces: Pieces,
    /// Its kernel is about to send an RST.
    is_aborted: bool,
}

enum Way {
    /// Over the scenario's network.
    Network { shell: Shell, p: usize, sock: SockId, local: SocketAddr, peer: SocketAddr },
    /// From an operator, over turmoil's own.
    Control(TcpStream),
}

/// A listening socket, for HTTP with a door for operators.
pub(super) struct FabricListener {
    shell: Shell,
    id: ListenerId,
    at: SocketAddr,
    control: Option<TcpListener>,
}

impl FabricEnv {
    pub(super) fn new(shell: Shell, p: usize, life: &Life) -> Self {
        Self {
            watch: Watch::new(shell.clone(), p),
            shell,
            p,
            seed: life.seed,
            namespace: life.namespace,
            http_port: life.settings.http.port,
            streams: Arc::default(),
        }
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    fn stream(&self, way: Way) -> FabricStream {
        let number = self.streams.fetch_add(1, Ordering::Relaxed);
        FabricStream { way, pieces: Pieces(Dice::nth(self.seed, "pieces", number).roll()), is_aborted: false }
    }

    fn over_network(&self, sock: SockId, local: SocketAddr, peer: SocketAddr) -> FabricStream {
        self.stream(Way::Network { shell: self.shell.clone(), p: self.p, sock, local, peer })
    }
}

/// A dial that nobody waits for any more is given up.
struct Dialling {
    shell: Shell,
    sock: SockId,
    is_over: bool,
}

impl Drop for Dialling {
    fn drop(&mut self) {
        if !self.is_over {
            let shared = &mut *self.shell.lock();
            shared.socks.remove(&self.sock);
            shared.gone.push(self.sock);
            if let Some(net) = shared.net() {
                net.abort(self.sock);
            }
        }
    }
}

impl Env for FabricEnv {
    type Stream = FabricStream;
    type Listener = FabricListener;

    async fn dial(&self, to: SocketAddr) -> io::Result<FabricStream> {
        let mut dialling = {
            let shared = &mut *self.shell.lock();
            let now = shared.now;
            let Some(net) = shared.net() else { return Err(io::ErrorKind::NetworkDown.into()) };
            let sock = net.dial(self.namespace, to, now);
            shared.socks.insert(sock, Sock::new(self.p));
            shared.fresh.push((self.p, Fresh::Sock(sock)));
            Dialling { shell: self.shell.clone(), sock, is_over: false }
        };
        let sock = dialling.sock;
        let outcome = poll_fn(|cx| match self.shell.lock().socks.get_mut(&sock) {
            None => Poll::Ready(Err(DialError::Refused)),
            Some(Sock { outcome: Some(outcome), .. }) => Poll::Ready(*outcome),
            Some(sock) => sock.wait_to_write(cx),
        })
        .await;
        match outcome {
            Ok(local) => {
                dialling.is_over = true;
                Ok(self.over_network(sock, local, to))
            }
            Err(error) => Err(dial_error(error).into()),
        }
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<FabricListener> {
        let id = {
            let shared = &mut *self.shell.lock();
            let Some(net) = shared.net() else { return Err(io::ErrorKind::NetworkDown.into()) };
            let id = net.listen(self.namespace, at.port(), BACKLOG).ok_or(io::ErrorKind::AddrInUse)?;
            let queue = Queue { proxy: self.p, waiting: Default::default(), acceptor: None };
            shared.queues.insert(id, queue);
            shared.fresh.push((self.p, Fresh::Listener(id)));
            id
        };
        let control = if at.port() == self.http_port {
            Some(TcpListener::bind((Ipv4Addr::UNSPECIFIED, CONTROL_PORT)).await?)
        } else {
            None
        };
        Ok(FabricListener { shell: self.shell.clone(), id, at, control })
    }

    fn bound(&self, listener: &FabricListener) -> io::Result<SocketAddr> {
        Ok(listener.at)
    }

    async fn accept(&self, listener: &FabricListener) -> io::Result<(FabricStream, SocketAddr)> {
        let knock = poll_fn(|cx| {
            let shared = &mut *listener.shell.lock();
            let is_frozen = shared.is_frozen(self.p);
            let Some(queue) = shared.queues.get_mut(&listener.id) else { return Poll::Pending };
            let accepted = if is_frozen { None } else { queue.waiting.pop_front() };
            if accepted.is_none() {
                queue.acceptor = Some(cx.waker().clone());
            }
            accepted.map_or(Poll::Pending, Poll::Ready)
        });
        let Some(control) = &listener.control else {
            let (sock, peer, local) = knock.await;
            return Ok((self.over_network(sock, local, peer), peer));
        };
        tokio::select! {
            biased;
            (sock, peer, local) = knock => Ok((self.over_network(sock, local, peer), peer)),
            accepted = control.accept() => {
                let (stream, peer) = accepted?;
                Ok((self.stream(Way::Control(stream)), peer))
            }
        }
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let (lookup, now) = {
            let shared = &mut *self.shell.lock();
            let now = shared.now;
            let Some(dns) = shared.dns() else { return Err(ResolveError::Failed) };
            (dns.lookup(self.namespace, host, now), now)
        };
        let Lookup { at, answer } = lookup;
        tokio::time::sleep(at.since(now)).await;
        answer.map_err(|error| match error {
            DnsError::NotFound => ResolveError::NotFound,
            DnsError::ServFail | DnsError::TimedOut => ResolveError::Failed,
        })
    }

    fn wall(&self) -> Duration {
        let offset = self.shell.lock().proxies[self.p].wall_offset;
        let at = STARTED_AT + Duration::from_nanos(self.watch.now().as_nanos());
        let by = Duration::from_millis(offset.unsigned_abs());
        if offset < 0 { at.saturating_sub(by) } else { at + by }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn on_input(&self, input: &Input<'_>, now: Instant) {
        self.watch.on_input(input, now);
    }

    fn on_output(&self, output: &Output, now: Instant) {
        self.watch.on_output(output, now);
    }

    fn on_look(&self, now: Instant) {
        self.watch.on_look(now);
    }

    fn on_rest(&self, proxy: &Proxy, conns: usize, now: Instant) {
        self.watch.on_rest(proxy, conns, now);
    }
}

const fn dial_error(error: DialError) -> io::ErrorKind {
    match error {
        DialError::Refused => io::ErrorKind::ConnectionRefused,
        DialError::Unreachable => io::ErrorKind::HostUnreachable,
        DialError::TimedOut => io::ErrorKind::TimedOut,
        DialError::NoPort => io::ErrorKind::AddrNotAvailable,
    }
}

impl Wire for FabricStream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.way {
            Way::Network { local, .. } => Ok(*local),
            Way::Control(stream) => stream.local_addr(),
        }
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.way {
            Way::Network { peer, .. } => Ok(*peer),
            Way::Control(stream) => stream.peer_addr(),
        }
    }

    fn tune(&self) -> io::Result<()> {
        Ok(())
    }

    fn abort(mut self) {
        if let Way::Network { shell, sock, .. } = &self.way
            && let Some(net) = shell.lock().net()
        {
            net.abort(*sock);
        }
        self.is_aborted = true;
    }
}

impl Drop for FabricStream {
    fn drop(&mut self) {
        let Way::Network { shell, sock, .. } = &self.way else { return };
        let shared = &mut *shell.lock();
        shared.socks.remove(sock);
        shared.gone.push(*sock);
        let now = shared.now;
        // After the last step there is no network to tell.
        if let Some(net) = shared.net().filter(|_| !self.is_aborted) {
            net.close(*sock, now);
        }
    }
}

impl AsyncRead for FabricStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Self { way, pieces, .. } = &mut *self;
        let len = pieces.next().min(buffer.remaining());
        match way {
            Way::Network { shell, p, sock, .. } => {
                let shared = &mut *shell.lock();
                let is_frozen = shared.is_frozen(*p);
                let mut bytes = Vec::new();
                if !is_frozen && let Some(net) = shared.net() {
                    net.recv(*sock, len, &mut bytes);
                }
                buffer.put_slice(&bytes);
                match shared.socks.get_mut(sock) {
                    _ if !bytes.is_empty() => Poll::Ready(Ok(())),
                    // Its process is no more.
                    None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                    Some(sock) if is_frozen => sock.wait_to_read(cx),
                    Some(Sock { is_reset: true, .. }) => {
                        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
                    }
                    Some(Sock { is_eof: true, .. }) => Poll::Ready(Ok(())),
                    Some(sock) => sock.wait_to_read(cx),
                }
            }
            Way::Control(stream) => {
                let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(len));
                let read = Pin::new(stream).poll_read(cx, &mut piece);
                let len = piece.filled().len();
                buffer.advance(len);
                read
            }
        }
    }
}

impl AsyncWrite for FabricStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { way, pieces, .. } = &mut *self;
        let mut piece = Vec::new();
        let len = pieces.next();
        for slice in slices {
            piece.extend_from_slice(&slice[..slice.len().min(len - piece.len())]);
        }
        if piece.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match way {
            Way::Network { shell, p, sock, .. } => {
                let shared = &mut *shell.lock();
                let is_frozen = shared.is_frozen(*p);
                match shared.socks.get_mut(sock) {
                    None | Some(Sock { is_reset: true, .. }) => {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                    }
                    Some(sock) if is_frozen => return sock.wait_to_write(cx),
                    Some(_) => {}
                }
                let taken = shared.net().map_or(0, |net| net.send(*sock, &piece));
                match shared.socks.get_mut(sock) {
                    Some(sock) if taken == 0 => sock.wait_to_write(cx),
                    Some(_) | None => Poll::Ready(Ok(taken)),
                }
            }
            Way::Control(stream) => Pin::new(stream).poll_write(cx, &piece),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Network { shell, p, sock, .. } => {
                let shared = &mut *shell.lock();
                let is_frozen = shared.is_frozen(*p);
                match shared.socks.get_mut(sock) {
                    Some(sock) if is_frozen => return sock.wait_to_write(cx),
                    Some(_) | None => {}
                }
                if let Some(net) = shared.net() {
                    net.shutdown(*sock);
                }
                Poll::Ready(Ok(()))
            }
            Way::Control(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Drop for FabricListener {
    fn drop(&mut self) {
        let shared = &mut *self.shell.lock();
        shared.queues.remove(&self.id);
        if let Some(net) = shared.net() {
            net.unlisten(self.id);
        }
    }
}

impl fmt::Debug for FabricStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("FabricStream");
        match &self.way {
            Way::Network { sock, .. } => out.field("sock", sock),
            Way::Control(stream) => out.field("control", stream),
        };
        out.finish_non_exhaustive()
    }
}

/// Lengths of pieces: short ones are as likely as long ones.
struct Pieces(u64);

impl Pieces {
    fn next(&mut self) -> usize {
        // A linear congruential step (Knuth's MMIX); its high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bound = (PIECE_BYTES_MAX >> (self.0 >> 61)).max(1);
        usize::try_from((self.0 >> 20) % bound + 1).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_of_every_size_and_never_nothing() {
        let mut pieces = Pieces(1);
        let lengths: Vec<usize> = (0..1000).map(|_| pieces.next()).collect();
        assert!(lengths.iter().all(|len| (1..=4096).contains(len)), "{lengths:?}");
        assert!(lengths.iter().filter(|len| **len < 64).count() > 100, "short ones are common");
        assert!(lengths.iter().filter(|len| **len > 1024).count() > 100, "long ones are, too");
    }
}
