//! A model player on a connection.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Buf, Bytes};
use proxy_core::time::Instant;
use tokio::{
    io::Interest,
    net::{TcpSocket, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

use super::{Clock, READ_BYTES};
use crate::{
    player::{Leave, ModelPlayer, PlayerConfig, PlayerState, Reading},
    viewer::{Report, ViewerConfig},
};

/// A model player on a connection. Dropping it hangs up.
#[derive(Debug)]
pub struct RealPlayer {
    model: Arc<Mutex<ModelPlayer>>,
    line: Arc<Line>,
    clock: Clock,
    task: JoinHandle<()>,
}

/// Where a player dials, and what is known of its connection.
#[derive(Debug)]
struct Line {
    ends: Mutex<Ends>,
    /// The model has something new to say.
    wake: Notify,
}

#[derive(Debug)]
struct Ends {
    /// `host:port`.
    address: String,
    /// Its own address, where it has several to choose from.
    from: Option<IpAddr>,
    /// Its own end of the last connection.
    local: Option<SocketAddr>,
}

impl Line {
    fn ends<T>(&self, act: impl FnOnce(&mut Ends) -> T) -> T {
        act(&mut self.ends.lock().unwrap_or_else(PoisonError::into_inner))
    }
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
        Self::start_from(config, None, address, clock)
    }

    /// Plays with all wishes named, from one of this machine's addresses.
    pub fn start_from(config: PlayerConfig, from: Option<IpAddr>, address: String, clock: Clock) -> Self {
        let model = Arc::new(Mutex::new(ModelPlayer::new(config, clock.now())));
        let ends = Mutex::new(Ends { address, from, local: None });
        let line = Arc::new(Line { ends, wake: Notify::new() });
        let task = tokio::spawn(carry(Arc::clone(&model), Arc::clone(&line), clock));
        Self { model, line, clock, task }
    }

    /// Dials elsewhere from the next dial on.
    pub fn set_address(&self, address: String) {
        self.line.ends(|ends| ends.address = address);
    }

    /// Returns its own end of the last connection it had.
    pub fn local(&self) -> Option<SocketAddr> {
        self.line.ends(|ends| ends.local)
    }

    /// Reads otherwise from here on.
    pub fn set_reading(&self, reading: Reading) {
        with(&self.model, |model| model.set_reading(reading, self.clock.now()));
        self.line.wake.notify_one();
    }

    /// Leaves for good, in order or by a reset.
    pub fn leave(&self, how: Leave) {
        with(&self.model, |model| model.leave(how));
        self.line.wake.notify_one();
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
async fn carry(model: Arc<Mutex<ModelPlayer>>, line: Arc<Line>, clock: Clock) {
    loop {
        let now = clock.now();
        if with(&model, |model| model.poll_dial(now)) {
            let (address, from) = line.ends(|ends| (ends.address.clone(), ends.from));
            let dialled = match from {
                Some(from) => dial_from(from, &address).await,
                None => TcpStream::connect(&address).await,
            };
            let cause = match dialled {
                Ok(stream) => {
                    line.ends(|ends| ends.local = stream.local_addr().ok());
                    with(&model, |model| model.on_connected(clock.now()));
                    watch(&model, &line, &stream, clock).await
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

/// Dials an address, which is no name, from one of our own.
async fn dial_from(from: IpAddr, address: &str) -> io::Result<TcpStream> {
    let to: SocketAddr =
        address.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no address and port"))?;
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// Carries one connection; returns how it ended.
async fn watch(model: &Mutex<ModelPlayer>, line: &Line, stream: &TcpStream, clock: Clock) -> String {
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
            // What a socket without room does not take is not said: nobody waits for somebody who leaves.
            let _ = write(stream, &mut queue);
            if with(model, |model| model.wants_reset()) {
                // A socket that lingers for no time at all is reset when it is dropped.
                let _ = stream.set_zero_linger();
            }
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
            () = line.wake.notified() => continue,
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
