//! What surrounds a proxy in its own namespace: the operator at its API, and the name server of its resolver.
//!
//! Both are where no fault of the network reaches them, as on the other planes: an operator's call does not travel, and
//! a container's names come from its engine.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Orders, dns::NameServer, tell};
use crate::{
    plane::netns::wire::{News, Order},
    real::Clock,
};

/// Longer than any answer may take; a process that died in between answers never.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(mut orders: Orders) -> Result<(), String> {
    let names = NameServer::start().await.map_err(|error| format!("no name server: {error}"))?;
    let Some(clock) = orders.begin().await else { return Ok(()) };
    loop {
        match orders.next().await {
            None => return Ok(()),
            Some(Order::Names { names: answers }) => names.set(answers),
            Some(Order::Call { call, port, target }) => {
                tokio::spawn(call_once(call, port, target, clock));
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

async fn call_once(call: u32, port: u16, target: String, clock: Clock) {
    let body = timeout(PATIENCE, ask(port, &target)).await.ok().and_then(Result::ok).flatten();
    tell(&News::Answered { at: clock.now().as_nanos(), call, body });
}

#[expect(clippy::disallowed_methods, reason = "on real sockets, beside the production Env and independent of it")]
async fn ask(port: u16, target: &str) -> std::io::Result<Option<String>> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()))
}
