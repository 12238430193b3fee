//! The world a driver runs in.
//!
//! [`TokioEnv`] is production: the kernel's sockets and resolver. Simulated networks bring an [`Env`] of their own and
//! carry the same driver, unchanged. Time is `tokio::time` in both: paused runtimes make it virtual.

#![expect(clippy::disallowed_methods, reason = "here the clock, the dice and the sockets are owned")]

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use proxy_core::{
    Instant, Proxy,
    io::{Input, Output, ResolveError},
};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

use crate::resolve::Resolver;

/// Connections the kernel may hold for us between two accepts; 500 proxies' worth of players may come back at once.
const BACKLOG: i32 = 1024;

/// Silence after which the kernel asks whether the peer is still there. It finds peers that vanished while nothing
/// is sent to them; whatever matters sooner is the core's business.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// Between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Unanswered questions that mean a dead peer.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long an accept loop waits when descriptors or memory ran out: at once it would fail again and spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Task polls between two looks at the sockets. The driver may keep itself busy for many turns, and at tokio's
/// default of 61 news of sockets would wait for all of them.
const EVENT_INTERVAL: u32 = 4;

/// Everything a driver needs from outside.
pub trait Env: Clone + Send + Sync + 'static {
    /// A connection.
    type Stream: Wire;
    /// A listening socket.
    type Listener: Send + Sync + 'static;

    /// Dials. The caller bounds the time by dropping the future.
    fn dial(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Listens.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] if the port is taken, [`io::ErrorKind::PermissionDenied`] if it is privileged,
    /// [`io::ErrorKind::AddrNotAvailable`] if the address is not ours.
    fn listen(&self, at: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Returns where a listener listens; the port is the real one where 0 was asked for.
    ///
    /// # Errors
    /// Whatever the platform says about a socket it does not know.
    fn bound(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// Takes one connection; cancelling it loses none.
    fn accept(
        &self,
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Looks a name up, freshly, without ever blocking the caller's thread.
    fn resolve(&self, host: &str) -> impl Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send;

    /// Returns the time since the Unix epoch, for stamps in answers and logs; never for decisions.
    fn wall(&self) -> Duration;

    /// Returns the seed of the core's dice.
    fn seed(&self) -> u64;

    /// Hears what the core is about to be told. Production does not listen, and pays nothing for it; a simulation
    /// makes its trace of it.
    fn on_input(&self, input: &Input<'_>, now: Instant) {
        let _ = (input, now);
    }

    /// Hears what the core wants done, before it is done.
    fn on_output(&self, output: &Output, now: Instant) {
        let _ = (output, now);
    }

    /// Hears that somebody looks at the core between two inputs, as the API does.
    fn on_look(&self, now: Instant) {
        let _ = now;
    }

    /// Sees the core after an input when it has nothing more to say, and how many connections the driver holds for it.
    fn on_rest(&self, proxy: &Proxy, conns: usize, now: Instant) {
        let _ = (proxy, conns, now);
    }
}

/// What a driver needs from a connection beside reading and writing.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Returns our address.
    ///
    /// # Errors
    /// The connection is gone already.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Returns the peer's address.
    ///
    /// # Errors
    /// The connection is gone already.
    fn peer_addr(&self) -> io::Result<SocketAddr>;

    /// Makes it send at once and notice dead peers, where the platform can.
    ///
    /// # Errors
    /// The platform refused; the connection works all the same.
    fn tune(&self) -> io::Result<()>;

    /// Hangs up at once, by a reset where the platform can.
    fn abort(self);
}

/// The kernel's network, under tokio.
#[derive(Clone, Debug)]
pub struct TokioEnv {
    resolver: Resolver,
    seed: u64,
}

impl TokioEnv {
    /// Makes it, with a seed from the operating system.
    ///
    /// # Errors
    /// The operating system has no random numbers.
    pub fn new() -> io::Result<Self> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self::with_seed(u64::from_le_bytes(seed)))
    }

    /// Makes it, with a seed that is known.
    pub fn with_seed(seed: u64) -> Self {
        Self { resolver: Resolver::system(), seed }
    }
}

impl Env for TokioEnv {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(to).await
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        // Connections of our last life linger in TIME_WAIT and must not keep the port. On Windows the option would
        // let two processes share it instead.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        if at.is_ipv6() {
            // `[::]` serves IPv4 players as well.
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&at.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    }

    fn bound(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = listener.accept().await?;
        Ok((stream, canonical(peer)))
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        self.resolver.resolve(host).await
    }

    fn wall(&self) -> Duration {
        // A clock before 1970 is not set; stamps then start at zero.
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

impl Wire for TcpStream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::local_addr(self).map(canonical)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::peer_addr(self).map(canonical)
    }

    fn tune(&self) -> io::Result<()> {
        self.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        SockRef::from(self).set_tcp_keepalive(&keepalive)
    }

    fn abort(self) {
        // Without it the close is an ordinary one, which does no harm.
        let _ = SockRef::from(&self).set_linger(Some(Duration::ZERO));
    }
}

/// Takes the next connection, whatever happens in between.
pub async fn accept_next<E: Env>(env: &E, listener: &E::Listener) -> (E::Stream, SocketAddr) {
    loop {
        let error = match env.accept(listener).await {
            Ok(accepted) => return accepted,
            Err(error) => error,
        };
        // A peer that gave up in the backlog is its own matter; anything else is ours (descriptors, memory) and
        // stays for a while.
        if !matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        ) {
            tracing::warn!(%error, "cannot accept");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// Makes the runtime the driver wants: one thread that looks at its sockets often.
///
/// # Errors
/// The operating system has no more descriptors.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()
}

/// Shows an IPv4 peer of an IPv6 socket as what it is.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn a_taken_port_is_told_as_such() {
        let runtime = runtime().expect("a runtime");
        runtime.block_on(async {
            let env = TokioEnv::new().expect("an environment");
            let first = env.listen(loopback()).await.expect("a free port");
            let taken = env.bound(&first).expect("an address");
            let error = env.listen(taken).await.expect_err("the port is taken");
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        });
    }

    #[test]
    fn abort_resets_and_drop_does_not() {
        let runtime = runtime().expect("a runtime");
        runtime.block_on(async {
            let env = TokioEnv::new().expect("an environment");
            let listener = env.listen(loopback()).await.expect("a free port");
            let at = env.bound(&listener).expect("an address");
            for abort in [true, false] {
                let mut near = env.dial(at).await.expect("a listener");
                let (far, peer) = accept_next(&env, &listener).await;
                far.tune().expect("a living socket");
                assert_eq!(Wire::local_addr(&near).expect("connected"), peer);
                assert_eq!(Wire::peer_addr(&near).expect("connected"), at);
                near.write_all(b"x").await.expect("room");
                let mut far = far;
                far.read_exact(&mut [0]).await.expect("the byte");
                if abort {
                    far.abort();
                } else {
                    drop(far);
                }
                let end = near.read(&mut [0]).await.map_err(|error| error.kind());
                assert_eq!(end, if abort { Err(io::ErrorKind::ConnectionReset) } else { Ok(0) });
            }
        });
    }
}
