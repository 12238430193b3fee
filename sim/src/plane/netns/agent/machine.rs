//! The machine's userland proxies: each accepts on a published port before anybody knows whether the container listens,
//! as Docker's does, and hangs up if it does not.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::net::{TcpListener, TcpStream};

use super::{Orders, tell};
use crate::plane::netns::wire::{News, Order};

pub(super) async fn run(mut orders: Orders) -> Result<(), String> {
    if orders.begin().await.is_none() {
        return Ok(());
    }
    let mut forwards = BTreeMap::<SocketAddr, Arc<Mutex<SocketAddr>>>::new();
    while let Some(order) = orders.next().await {
        let Order::Forward { listen, to } = order else { continue };
        if let Some(target) = forwards.get(&listen) {
            *target.lock().unwrap_or_else(PoisonError::into_inner) = to;
            tell(&News::Ready);
            continue;
        }
        let target = Arc::new(Mutex::new(to));
        let listener = listen_at(listen).await.map_err(|error| format!("{listen}: {error}"))?;
        tokio::spawn(forward(listener, Arc::clone(&target)));
        forwards.insert(listen, target);
        tell(&News::Ready);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a process of a world made of real sockets")]
async fn listen_at(at: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(at).await
}

#[expect(clippy::disallowed_methods, reason = "a process of a world made of real sockets")]
async fn forward(listener: TcpListener, target: Arc<Mutex<SocketAddr>>) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else { continue };
        let to = *target.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(to).await else { return };
            for stream in [&near, &far] {
                // Where the platform refuses, bytes come a little later.
                let _ = stream.set_nodelay(true);
            }
            // Either end hung up: so does the other.
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}
