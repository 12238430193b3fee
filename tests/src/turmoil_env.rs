//! The driver's environment on turmoil's simulated network.
//!
//! turmoil hands every write over as one read (turmoil#240), so streams here cut both into pieces of changing length:
//! otherwise nothing above would ever see half a chunk or a short write.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use proxy_core::io::ResolveError;
use proxyd::env::{Env, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// The longest piece, in bytes.
const PIECE_BYTES_MAX: u64 = 4096;

/// A host's view of the simulated network.
#[derive(Clone, Copy, Debug)]
pub struct TurmoilEnv {
    /// Seeds the core's dice and the pieces.
    pub seed: u64,
}

/// A simulated connection that comes in pieces.
#[derive(Debug)]
pub struct TurmoilStream {
    stream: TcpStream,
    dice: u64,
}

impl TurmoilEnv {
    fn wrap(self, stream: TcpStream) -> TurmoilStream {
        TurmoilStream { stream, dice: self.seed }
    }
}

impl Env for TurmoilEnv {
    type Stream = TurmoilStream;
    type Listener = TcpListener;

    async fn dial(&self, to: SocketAddr) -> io::Result<TurmoilStream> {
        TcpStream::connect(to).await.map(|stream| self.wrap(stream))
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(at).await
    }

    fn bound(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TurmoilStream, SocketAddr)> {
        listener.accept().await.map(|(stream, peer)| (self.wrap(stream), peer))
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        Ok(vec![turmoil::lookup(host)])
    }

    fn wall(&self) -> Duration {
        turmoil::since_epoch().unwrap_or_default()
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

impl Wire for TurmoilStream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    fn tune(&self) -> io::Result<()> {
        Ok(())
    }

    /// turmoil resets only if bytes are unread.
    fn abort(self) {}
}

impl TurmoilStream {
    /// Rolls the length of the next piece: short ones are as likely as long ones.
    fn piece(&mut self) -> usize {
        // A linear congruential step (Knuth's MMIX); its high bits are the good ones.
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bound = (PIECE_BYTES_MAX >> (self.dice >> 61)).max(1);
        usize::try_from((self.dice >> 20) % bound + 1).expect("a small number")
    }
}

impl AsyncRead for TurmoilStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.piece().min(buffer.remaining());
        let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(len));
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut piece);
        let len = piece.filled().len();
        buffer.advance(len);
        read
    }
}

impl AsyncWrite for TurmoilStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let len = self.piece().min(bytes.len());
        Pin::new(&mut self.stream).poll_write(cx, &bytes[..len])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
