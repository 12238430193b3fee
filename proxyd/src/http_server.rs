//! Serves an axum router on an environment's listener.
//!
//! By hyper's connections rather than `axum::serve`, so that it runs on simulated networks too: no `Date` header,
//! which would read the wall clock, and every limit in the environment's time.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::JoinSet,
    time::{Instant, Sleep},
};
use tower_service::Service;

use crate::env::{Env, Wire, accept_next};

/// What the server believes of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at a time; one more is hung up on.
    pub connections_max: usize,
    /// A request's head must be here by then, a first or a following one.
    pub header_timeout: Duration,
    /// A client that takes no byte for this long while some wait is hung up on.
    pub write_timeout: Duration,
    /// Bytes hyper may hold per connection and direction, at least 8 KiB; also the longest request head.
    pub buffer_bytes_max: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            header_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(15),
            buffer_bytes_max: 64 * 1024,
        }
    }
}

/// Both ends of the connection a request came by; an extension of every request, beside axum's `ConnectInfo` with
/// the peer's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The client's address.
    pub peer: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
}

/// Serves for ever. Dropping the future hangs up on everybody.
pub async fn serve_http<E: Env>(env: E, listener: E::Listener, router: Router, limits: HttpLimits) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = accept_next(&env, &listener).await;
        // A connection whose task panicked is gone, which is all there is to know here.
        while connections.try_join_next().is_some() {}
        if connections.len() >= limits.connections_max {
            tracing::warn!(%peer, max = limits.connections_max, "too many HTTP connections");
            stream.abort();
            continue;
        }
        let Ok(local) = stream.local_addr() else { continue };
        // Some systems refuse options on a socket whose peer has gone, which the first read finds.
        let _ = stream.tune();
        connections.spawn(serve_connection(stream, Endpoints { peer, local }, router.clone(), limits));
    }
}

async fn serve_connection<S: Wire>(stream: S, endpoints: Endpoints, router: Router, limits: HttpLimits) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(endpoints);
        request.extensions_mut().insert(ConnectInfo(endpoints.peer));
        // A router is always ready.
        router.clone().call(request)
    });
    let stream = Impatient::new(stream, limits.write_timeout);
    let served = http1::Builder::new()
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.buffer_bytes_max)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(peer = %endpoints.peer, %error, "HTTP connection ended");
    }
}

/// A stream whose writes fail when nothing has been taken for too long.
///
/// hyper looks at a body only while it has room, so a body that breaks off cannot end a connection whose client has
/// stopped reading. Such a client is reset: a FIN would stand behind bytes that it never takes.
struct Impatient<S: Wire> {
    /// Gone only while it is dropped.
    stream: Option<S>,
    timeout: Duration,
    /// Runs while a write waits.
    stuck: Option<Pin<Box<Sleep>>>,
    is_given_up: bool,
}

impl<S: Wire> Impatient<S> {
    fn new(stream: S, timeout: Duration) -> Self {
        Self { stream: Some(stream), timeout, stuck: None, is_given_up: false }
    }

    fn stream(&mut self) -> Pin<&mut S> {
        Pin::new(self.stream.as_mut().expect("it is gone only while it is dropped"))
    }

    /// Lets a write that waits fail in time.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let timeout = self.timeout;
        let stuck =
            self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + timeout)));
        ready!(stuck.as_mut().poll(cx));
        self.is_given_up = true;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: Wire> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buffer)
    }
}

impl<S: Wire> Drop for Impatient<S> {
    fn drop(&mut self) {
        if self.is_given_up
            && let Some(stream) = self.stream.take()
        {
            stream.abort();
        }
    }
}

impl<S: Wire> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(S::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use super::*;

    /// A client that takes what it likes, and hears how it is hung up on.
    struct Client {
        takes: bool,
        is_reset: Arc<AtomicBool>,
    }

    impl AsyncRead for Client {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Client {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if self.takes { Poll::Ready(Ok(bytes.len())) } else { Poll::Pending }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Wire for Client {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(SocketAddr::from(([127, 0, 0, 1], 80)))
        }

        fn peer_addr(&self) -> io::Result<SocketAddr> {
            Ok(SocketAddr::from(([127, 0, 0, 1], 8000)))
        }

        fn tune(&self) -> io::Result<()> {
            Ok(())
        }

        fn abort(self) {
            self.is_reset.store(true, Ordering::SeqCst);
        }
    }

    /// Writes to a client until it is known what becomes of it, and drops the connection; returns whether it was reset.
    fn check(takes: bool) -> bool {
        let runtime = crate::env::runtime().expect("a runtime");
        let is_reset = Arc::new(AtomicBool::new(false));
        let client = Client { takes, is_reset: Arc::clone(&is_reset) };
        runtime.block_on(async {
            let mut stream = Impatient::new(client, Duration::from_millis(1));
            let written = poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, b"FLV")).await;
            assert_eq!(written.is_ok(), takes);
        });
        is_reset.load(Ordering::SeqCst)
    }

    #[test]
    fn a_client_that_does_not_take_its_bytes_is_reset() {
        assert!(check(false));
    }

    #[test]
    fn a_client_that_takes_everything_is_hung_up_on_in_order() {
        assert!(!check(true));
    }
}
