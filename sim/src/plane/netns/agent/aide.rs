//! What surrounds a proxy in its own namespace: the operator at its API, and the name server of its resolver.
//!
//! Both are where no fault of the network reaches them, as on the other planes: an operator's call does not travel, and
//! a container's names come from its engine.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

use super::{Orders, Ticks, dns::NameServer, tell};
use crate::{
    plane::netns::wire::{News, Order},
    real::Clock,
};

/// Calls at a time: a script that deletes hundreds of streams does so one after the other, and the API refuses who asks
/// for too many at once (`api.requests_max`).
const CALLS_MAX: usize = 32;
/// Longer than any answer may take; a process that died in between answers never.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(mut orders: Orders) -> Result<(), String> {
    let names = NameServer::start().await.map_err(|error| format!("no name server: {error}"))?;
    let Some(clock) = orders.begin().await else { return Ok(()) };
    let queue = Arc::new(Semaphore::new(CALLS_MAX));
    let mut ticks = Ticks::every(Duration::from_millis(20));
    loop {
        let order = tokio::select! {
            biased;
            order = orders.next() => order,
            () = ticks.tick() => continue,
        };
        match order {
            None => return Ok(()),
            Some(Order::Names { names: answers }) => names.set(answers),
            Some(Order::Call { call, at, waits, target }) => {
                let queue = (!waits).then(|| Arc::clone(&queue));
                tokio::spawn(call_once(call, at, target, queue, clock));
            }
            Some(
                Order::Begin { .. }
                | Order::Boot { .. }
                | Order::Inflict { .. }
                | Order::Relieve { .. }
                | Order::Publish { .. }
                | Order::Content { .. }
                | Order::ShutDown
                | Order::Join { .. }
                | Order::Leave { .. }
                | Order::Moved { .. }
                | Order::Forward { .. }
                | Order::Cable { .. },
            ) => {}
        }
    }
}

async fn call_once(call: u32, at: SocketAddr, target: String, queue: Option<Arc<Semaphore>>, clock: Clock) {
    let _turn = match queue {
        Some(queue) => queue.acquire_owned().await.ok(),
        None => None,
    };
    let body = timeout(PATIENCE, ask(at, &target)).await.ok().and_then(Result::ok).flatten();
    tell(&News::Answered { at: clock.now().as_nanos(), call, body });
}

#[expect(
    clippy::disallowed_methods,
    reason = "on real sockets, beside the production Env and independent of it"
)]
async fn ask(at: SocketAddr, target: &str) -> std::io::Result<Option<String>> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()))
}
