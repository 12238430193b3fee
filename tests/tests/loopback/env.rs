//! The kernel's environment, with a name that is never answered and a port that is never reached.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use proxy_core::io::ResolveError;
use proxyd::env::{Env, TokioEnv};
use tokio::net::{TcpListener, TcpStream};

/// A name whose lookup never ends.
pub(crate) const HELD_HOST: &str = "held.invalid";
/// A port whose dials never end.
pub(crate) const HELD_PORT: u16 = 9;

#[derive(Clone, Debug)]
pub(crate) struct HoldingEnv(pub(crate) TokioEnv);

impl Env for HoldingEnv {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        if to.port() == HELD_PORT {
            return std::future::pending().await;
        }
        self.0.dial(to).await
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        self.0.listen(at).await
    }

    fn bound(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        self.0.bound(listener)
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept(listener).await
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if host == HELD_HOST {
            return std::future::pending().await;
        }
        self.0.resolve(host).await
    }

    fn wall(&self) -> Duration {
        self.0.wall()
    }

    fn seed(&self) -> u64 {
        self.0.seed()
    }
}
