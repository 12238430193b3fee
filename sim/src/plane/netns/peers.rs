//! The processes of a world: started inside its namespaces, told what to do, and heard.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Stdio,
};

use proxy_core::{io::Event, time::Instant};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::{
    super::container::Told,
    tools::call,
    wire::{News, Order},
};

/// Which process; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::plane) struct PeerId(u32);

impl PeerId {
    /// No process: whoever else tells something.
    pub(in crate::plane) const NOBODY: Self = Self(0);
}

/// What is heard of a process.
#[derive(Debug)]
pub(in crate::plane) enum Heard {
    /// One of ours tells.
    News(News),
    /// The binary under test serves, and its zero was so many nanoseconds after 1970.
    Begun { zero: u64 },
    /// It tells an event, at a time of its own.
    Event { at: Instant, event: Box<Event> },
    /// A kernel tells of a flow: when, in nanoseconds since 1970, from where, to where.
    Flow { at: u64, from: IpAddr, to: SocketAddr },
    /// It says something that nobody waits for.
    Said,
    /// It says what is not understood.
    Noise(String),
    /// Its output has ended.
    Gone,
    /// An engine tells of the container of a place.
    Engine(usize, Told),
}

/// Every process of a world. Dropping it ends them all.
#[derive(Debug)]
pub(super) struct Peers {
    running: BTreeMap<PeerId, Peer>,
    started: u32,
    sender: UnboundedSender<(PeerId, Heard)>,
    pub(super) heard: UnboundedReceiver<(PeerId, Heard)>,
}

#[derive(Debug)]
struct Peer {
    child: Child,
    orders: UnboundedSender<Order>,
    pid: u32,
    /// What was started attends a container, whose first process has that number.
    is_contained: bool,
}

/// How a process is started.
#[derive(Debug)]
pub(in crate::plane) struct Start {
    pub(in crate::plane) command: Command,
    /// The command attends a container; this is its first process.
    pub(in crate::plane) contained: Option<u32>,
}

impl From<Command> for Start {
    fn from(command: Command) -> Self {
        Self { command, contained: None }
    }
}

/// A line of the binary's event log.
#[derive(Deserialize)]
#[serde(untagged)]
enum EventLine {
    Begun { started_at: u64 },
    Told { at: u64, event: Box<Event> },
}

impl Peers {
    pub(super) fn new() -> Self {
        let (sender, heard) = unbounded_channel();
        Self { running: BTreeMap::new(), started: 0, sender, heard }
    }

    /// Returns where news of somebody that is no process goes.
    pub(super) fn sender(&self) -> UnboundedSender<(PeerId, Heard)> {
        self.sender.clone()
    }

    /// Starts one of our own processes.
    pub(super) fn start_ours(&mut self, start: Start, log: &Path) -> Result<PeerId, String> {
        self.start(start, log, |line| match serde_json::from_str(line) {
            Ok(news) => Heard::News(news),
            Err(_) => Heard::Noise(line.to_owned()),
        })
    }

    /// Starts the binary under test.
    pub(super) fn start_repull(&mut self, start: Start, log: &Path) -> Result<PeerId, String> {
        self.start(start, log, |line| match serde_json::from_str(line) {
            Ok(EventLine::Begun { started_at }) => Heard::Begun { zero: started_at },
            Ok(EventLine::Told { at, event }) => Heard::Event { at: Instant::from_nanos(at), event },
            Err(_) => Heard::Noise(line.to_owned()),
        })
    }

    /// Starts any other program; what it says is of no interest.
    pub(super) fn start_program(
        &mut self,
        mut start: Start,
        words: &[String],
        log: &Path,
    ) -> Result<PeerId, String> {
        start.command.args(words);
        self.start(start, log, |_| Heard::Said)
    }

    /// Starts to listen to a host's kernel, which tells of every flow it has not seen before.
    pub(super) fn start_flows(&mut self, mut start: Start, log: &Path) -> Result<PeerId, String> {
        start.command.args(["conntrack", "-E", "-e", "NEW", "-p", "tcp", "-o", "timestamp"]);
        self.start(start, log, |line| flow(line).unwrap_or(Heard::Said))
    }

    /// Asks a program to end and waits until it has.
    pub(super) async fn end(&mut self, id: PeerId) {
        self.signal(id, "INT");
        if let Some(mut peer) = self.running.remove(&id) {
            let _ = peer.child.wait().await;
        }
    }

    fn start(
        &mut self,
        Start { mut command, contained }: Start,
        log: &Path,
        read: impl Fn(&str) -> Heard + Send + 'static,
    ) -> Result<PeerId, String> {
        let complaints = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let complaints = complaints.map_err(|error| format!("{}: {error}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(complaints).kill_on_drop(true);
        // What it starts gets its signals, too, and a Ctrl-C at the terminal is ours alone to answer.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| format!("cannot start a process: {error}"))?;
        self.started += 1;
        let id = PeerId(self.started);
        let (orders, mut given) = unbounded_channel::<Order>();
        if let Some(mut stdin) = child.stdin.take() {
            tokio::spawn(async move {
                while let Some(order) = given.recv().await {
                    let Ok(line) = serde_json::to_string(&order) else { continue };
                    if stdin.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
        if let Some(stdout) = child.stdout.take() {
            let sender = self.sender.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::with_capacity(256 * 1024, stdout).lines();
                // A world that is over hears nothing more.
                while let Ok(Some(line)) = lines.next_line().await {
                    let _ = sender.send((id, read(&line)));
                }
                let _ = sender.send((id, Heard::Gone));
            });
        }
        let pid = contained.or_else(|| child.id()).unwrap_or_default();
        self.running.insert(id, Peer { child, orders, pid, is_contained: contained.is_some() });
        Ok(id)
    }

    /// Tells a process what to do.
    pub(super) fn order(&self, id: PeerId, order: Order) {
        if let Some(peer) = self.running.get(&id) {
            // One that is gone does nothing more.
            let _ = peer.orders.send(order);
        }
    }

    /// Returns a process's number.
    pub(super) fn pid(&self, id: PeerId) -> Option<u32> {
        self.running.get(&id).map(|peer| peer.pid)
    }

    /// Sends a signal.
    pub(super) fn signal(&self, id: PeerId, signal: &str) {
        if let Some(Peer { pid, is_contained, .. }) = self.running.get(&id) {
            // What a process of ours has started is of its group; what a container holds ends with its first process.
            let target = if *is_contained { pid.to_string() } else { format!("-{pid}") };
            // It may have ended by itself.
            let _ = call(&["kill", &format!("-{signal}"), "--", &target]);
        }
    }

    /// Kills every process and waits until all are gone.
    pub(super) async fn kill_all(&mut self) {
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            self.kill(id).await;
        }
    }

    /// Kills a process and waits until it is gone.
    pub(super) async fn kill(&mut self, id: PeerId) {
        self.signal(id, "KILL");
        let Some(mut peer) = self.running.remove(&id) else { return };
        if peer.is_contained {
            // The engine takes its time to notice, and nobody waits for that.
            tokio::spawn(async move { peer.child.wait().await });
        } else {
            let _ = peer.child.kill().await;
        }
    }
}

/// Reads a line of `conntrack -E -o timestamp`:
/// `[1764057600.123456] [NEW] tcp 6 120 SYN_SENT src=172.17.0.3 dst=172.17.0.2 sport=40000 dport=1935 [UNREPLIED] src=…`.
fn flow(line: &str) -> Option<Heard> {
    let stamp = line.trim_start().strip_prefix('[')?.split(']').next()?;
    let (seconds, rest) = stamp.trim().split_once('.')?;
    let nanos: u64 = format!("{rest:0<9}").get(..9)?.parse().ok()?;
    let at = seconds.parse::<u64>().ok()? * 1_000_000_000 + nanos;
    let word = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
    let to = SocketAddr::new(word("dst=")?.parse().ok()?, word("dport=")?.parse().ok()?);
    Some(Heard::Flow { at, from: word("src=")?.parse().ok()?, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_read_as_conntrack_tells_them() {
        let line = "[1764057600.012345]\t    [NEW] tcp      6 120 SYN_SENT src=172.17.0.3 dst=172.17.0.2 sport=40000 \
                    dport=1935 [UNREPLIED] src=172.17.0.2 dst=172.17.0.3 sport=1935 dport=40000";
        let Some(Heard::Flow { at, from, to }) = flow(line) else { panic!("a flow") };
        assert_eq!(at, 1_764_057_600_012_345_000);
        assert_eq!(
            (from.to_string(), to.to_string()),
            ("172.17.0.3".to_owned(), "172.17.0.2:1935".to_owned())
        );
        assert!(flow("conntrack v1.4.7 (conntrack-tools): 3 flow events have been shown.").is_none());
    }
}
