//! What others ask a driver by: requests, looks at the core, and players by HTTP.

use std::{fmt, net::SocketAddr, time::Duration};

use proxy_core::{
    Instant, Proxy,
    io::{Reply, Request},
    session::server::Refusal,
    url::StreamKey,
};
use tokio::sync::{mpsc, oneshot};

use crate::http_flv::{self, FlvBody, FlvPipe, PlayRefused};

/// Commands on the way to the driver; more callers wait.
pub(super) const COMMANDS_MAX: usize = 256;

/// Talks to a running driver.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) started_at: Duration,
}

/// Sees the core between two inputs.
pub(super) type Look = dyn FnOnce(&Proxy, Instant) + Send;

/// What waits for the driver's next turn.
pub(super) enum Command {
    Request { request: Request, reply: oneshot::Sender<Reply> },
    Query(Box<Look>),
    PlayHttp(Box<PlayHttp>),
}

/// A player by HTTP that wants a stream.
pub(super) struct PlayHttp {
    pub(super) key: StreamKey,
    pub(super) params: String,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) pipe: FlvPipe,
    pub(super) answer: oneshot::Sender<Result<(), Refusal>>,
}

impl Handle {
    /// Asks the core for something and waits for its reply; `None` if the driver is gone.
    pub async fn request(&self, request: Request) -> Option<Reply> {
        let (reply, replied) = oneshot::channel();
        self.commands.send(Command::Request { request, reply }).await.ok()?;
        replied.await.ok()
    }

    /// Lets `look` see the core between two inputs; `None` if the driver is gone.
    pub async fn query<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Proxy, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let (seen, answer) = oneshot::channel();
        let look = Box::new(move |proxy: &Proxy, now| {
            // The caller may have lost interest.
            let _ = seen.send(look(proxy, now));
        });
        self.commands.send(Command::Query(look)).await.ok()?;
        answer.await.ok()
    }

    /// Asks for a stream for an HTTP player and waits until there is one. Dropping the future or the body hangs up.
    ///
    /// # Errors
    /// [`PlayRefused::Refused`] by the core, [`PlayRefused::Gone`] if it hung up without an answer.
    pub async fn play_http(
        &self,
        key: StreamKey,
        params: String,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Result<FlvBody, PlayRefused> {
        let (body, pipe) = http_flv::pipe();
        let (answer, answered) = oneshot::channel();
        let play = PlayHttp { key, params, peer, local, pipe, answer };
        self.commands.send(Command::PlayHttp(Box::new(play))).await.map_err(|_| PlayRefused::Gone)?;
        match answered.await {
            Ok(Ok(())) => Ok(body),
            Ok(Err(refusal)) => Err(PlayRefused::Refused(refusal)),
            Err(_) => Err(PlayRefused::Gone),
        }
    }

    /// Returns the wall clock's time since the Unix epoch at the core's zero.
    pub fn started_at(&self) -> Duration {
        self.started_at
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request { .. } => "Request",
            Self::Query(_) => "Query",
            Self::PlayHttp(_) => "PlayHttp",
        })
    }
}
