//! A model player on a connection.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Buf, Bytes};
use proxy_core::time::Instant;
use tokio::{io::Interest, net::TcpStream, task::JoinHandle};

use super::{Clock, READ_BYTES};
use crate::{
    player::{ModelPlayer, PlayerConfig, PlayerState},
    viewer::{Report, ViewerConfig},
};

/// A model player on a connection. Dropping it hangs up.
#[derive(Debug)]
pub struct RealPlayer {
    model: Arc<Mutex<ModelPlayer>>,
    clock: Clock,
    task: JoinHandle<()>,
}

/// What a player is doing and has seen.
#[derive(Clone, Debug)]
pub struct PlayerView {
    /// What it is doing.
    pub state: PlayerState,
    /// What it has seen.
    pub report: Report,
    /// When this was looked at.
    pub now: Instant,
}

impl RealPlayer {
    /// Plays `rtmp://…` or `http://…` once, until the other side hangs up.
    ///
    /// # Errors
    /// It is no such url.
    pub fn start(url: &str, viewer: ViewerConfig, clock: Clock) -> io::Result<Self> {
        let (config, address) = PlayerConfig::from_url(url, viewer)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: no url to play")))?;
        Ok(Self::start_with(config, address, clock))
    }

    /// Plays with all wishes named; `address` is the `host:port` to dial.
    pub fn start_with(config: PlayerConfig, address: String, clock: Clock) -> Self {
        let model = Arc::new(Mutex::new(ModelPlayer::new(config, clock.now())));
        let task = tokio::spawn(carry(Arc::clone(&model), address, clock));
        Self { model, clock, task }
    }

    /// Returns what it is doing and has seen.
    pub fn view(&self) -> PlayerView {
        with(&self.model, |model| PlayerView {
            state: model.state(),
            report: model.report().clone(),
            now: self.clock.now(),
        })
    }

    /// Lets a closure look at the report without copying it.
    pub fn look<T>(&self, look: impl FnOnce(&Report) -> T) -> T {
        with(&self.model, |model| look(model.report()))
    }

    /// Waits until a condition holds on the report; false if it does not within the time.
    pub async fn wait_for(&self, time: std::time::Duration, condition: impl Fn(&Report) -> bool) -> bool {
        let end = tokio::time::Instant::now() + time;
        loop {
            if self.look(&condition) {
                return true;
            }
            if tokio::time::Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Hangs up and returns what it has seen.
    pub fn stop(self) -> Report {
        self.task.abort();
        with(&self.model, |model| {
            model.stop();
            model.report().clone()
        })
    }
}

impl Drop for RealPlayer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn with<T>(model: &Mutex<ModelPlayer>, act: impl FnOnce(&mut ModelPlayer) -> T) -> T {
    act(&mut model.lock().unwrap_or_else(PoisonError::into_inner))
}

#[expect(
    clippy::disallowed_methods,
    reason = "on real sockets, beside the production Env and independent of it"
)]
async fn carry(model: Arc<Mutex<ModelPlayer>>, address: String, clock: Clock) {
    loop {
        let now = clock.now();
        if with(&model, |model| model.poll_dial(now)) {
            let cause = match TcpStream::connect(&address).await {
                Ok(stream) => {
                    with(&model, |model| model.on_connected(clock.now()));
                    watch(&model, &stream, clock).await
                }
                Err(error) => format!("dial: {}", error.kind()),
            };
            with(&model, |model| model.on_closed(&cause, clock.now()));
        }
        match with(&model, |model| model.deadline(clock.now())) {
            Some(at) => tokio::time::sleep_until(clock.at(at)).await,
            None => return,
        }
    }
}

/// Carries one connection; returns how it ended.
async fn watch(model: &Mutex<ModelPlayer>, stream: &TcpStream, clock: Clock) -> String {
    let mut queue = VecDeque::<Bytes>::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let (budget, deadline) = with(model, |model| {
            while let Some(bytes) = model.poll_transmit() {
                queue.push_back(bytes);
            }
            let now = clock.now();
            (model.read_budget(now), model.deadline(now))
        });
        if with(model, |model| model.wants_close()) {
            return "gave up".to_owned();
        }
        let interest = match (budget > 0, queue.is_empty()) {
            (true, true) => Interest::READABLE,
            (true, false) => Interest::READABLE | Interest::WRITABLE,
            (false, false) => Interest::WRITABLE,
            // Errors alone, so that a reset is heard of.
            (false, true) => Interest::ERROR,
        };
        let nap =
            tokio::time::sleep_until(deadline.map_or_else(tokio::time::Instant::now, |at| clock.at(at)));
        let ready = tokio::select! {
            biased;
            ready = stream.ready(interest) => ready,
            () = nap, if deadline.is_some() => continue,
        };
        let ready = match ready {
            Ok(ready) => ready,
            Err(error) => return name(&error),
        };
        if ready.is_error()
            && let Ok(Some(error)) = stream.take_error()
        {
            return name(&error);
        }
        if ready.is_writable()
            && let Err(error) = write(stream, &mut queue)
        {
            return name(&error);
        }
        if ready.is_readable() {
            let len = buffer.len().min(budget);
            match stream.try_read(&mut buffer[..len]) {
                Ok(0) => return "EOF".to_owned(),
                Ok(len) => with(model, |model| model.handle_bytes(&buffer[..len], clock.now())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return name(&error),
            }
        }
    }
}

fn write(stream: &TcpStream, queue: &mut VecDeque<Bytes>) -> io::Result<()> {
    while let Some(front) = queue.front_mut() {
        match stream.try_write(front) {
            Ok(len) => front.advance(len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        if front.is_empty() {
            queue.pop_front();
        }
    }
    Ok(())
}

fn name(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "RST".to_owned(),
        kind => kind.to_string(),
    }
}
