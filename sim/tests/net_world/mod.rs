//! A world of nothing but a network: a heap, and notes of what happened.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::{Ipv4Addr, SocketAddr},
};

use proxy_core::time::{Duration, Instant};
use sim::net::{
    BridgeId, BridgeSpec, HostId, ListenerId, Net, NetEvent, NetTimer, Seen, SockId, TapRecord,
    packet::{self, Parsed},
};

/// The network, its heap, and what its software learnt.
pub struct World {
    pub net: Net,
    pub now: Instant,
    heap: BinaryHeap<Reverse<(Instant, u64, NetTimer)>>,
    scheduled: u64,
    /// Everything software learnt, with its time.
    pub events: Vec<(Instant, NetEvent)>,
    /// What the tap saw.
    pub seen: Vec<TapRecord>,
    /// Software reads what comes.
    pub reads: bool,
    /// Software closes when its peer has.
    pub closes: bool,
    /// What was read, by socket.
    pub read: BTreeMap<SockId, Vec<u8>>,
    /// What is still to be sent, by socket.
    pub sending: BTreeMap<SockId, Vec<u8>>,
    /// Timers taken off the heap.
    pub steps: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            net: Net::new(seed),
            now: Instant::ZERO,
            heap: BinaryHeap::new(),
            scheduled: 0,
            events: Vec::new(),
            seen: Vec::new(),
            reads: true,
            closes: true,
            read: BTreeMap::new(),
            sending: BTreeMap::new(),
            steps: 0,
        }
    }

    /// One Docker bridge with two hosts on it.
    pub fn pair(seed: u64) -> (Self, BridgeId, HostId, HostId) {
        let mut world = Self::new(seed);
        let bridge = world.net.add_bridge("docker0", BridgeSpec::DOCKER);
        let a = world.net.add_host("a", bridge, ip(2));
        let b = world.net.add_host("b", bridge, ip(3));
        (world, bridge, a, b)
    }

    /// Lets the network act until `until`, and sets the clock there.
    pub fn run_until(&mut self, until: Instant) {
        self.settle();
        while let Some(Reverse((at, _, _))) = self.heap.peek() {
            if *at > until {
                break;
            }
            let Some(Reverse((at, _, timer))) = self.heap.pop() else { break };
            assert!(at >= self.now, "time runs forward");
            self.now = at;
            self.steps += 1;
            self.net.on_timer(timer, at);
            self.settle();
        }
        self.now = until;
    }

    pub fn run_for(&mut self, lasts: Duration) {
        self.run_until(self.now + lasts);
    }

    /// Lets the network act until nothing is left to happen, and returns when that was.
    pub fn run_out(&mut self) -> Instant {
        self.settle();
        while let Some(Reverse((at, _, _))) = self.heap.peek() {
            let at = *at;
            self.run_until(at);
        }
        self.now
    }

    fn settle(&mut self) {
        loop {
            let mut idle = true;
            while let Some(event) = self.net.poll_event() {
                idle = false;
                self.events.push((self.now, event));
                self.act(event);
            }
            while let Some((at, timer)) = self.net.poll_schedule(self.now) {
                idle = false;
                self.heap.push(Reverse((at, self.scheduled, timer)));
                self.scheduled += 1;
            }
            while let Some(record) = self.net.poll_tap() {
                self.seen.push(record);
            }
            if idle {
                break;
            }
        }
    }

    fn act(&mut self, event: NetEvent) {
        match event {
            NetEvent::Readable { sock } if self.reads => {
                let into = self.read.entry(sock).or_default();
                self.net.recv(sock, usize::MAX, into);
            }
            NetEvent::Connected { sock, .. } | NetEvent::Writable { sock } => self.push(sock),
            NetEvent::Eof { sock } | NetEvent::Reset { sock } if self.closes => {
                self.net.close(sock, self.now);
            }
            NetEvent::Readable { .. }
            | NetEvent::DialFailed { .. }
            | NetEvent::Accepted { .. }
            | NetEvent::Eof { .. }
            | NetEvent::Reset { .. } => {}
        }
    }

    /// Sends bytes, as fast as the socket takes them.
    pub fn send(&mut self, sock: SockId, bytes: &[u8]) {
        self.sending.entry(sock).or_default().extend_from_slice(bytes);
        self.push(sock);
    }

    fn push(&mut self, sock: SockId) {
        if let Some(left) = self.sending.get_mut(&sock) {
            let taken = self.net.send(sock, left);
            left.drain(..taken);
        }
    }

    pub fn listen(&mut self, host: HostId, port: u16) -> ListenerId {
        self.net.listen(host, port, 128).expect("the port is free")
    }

    pub fn dial(&mut self, host: HostId, to: SocketAddr) -> SockId {
        self.net.dial(host, to, self.now)
    }

    /// Dials, and lets the network act for a while: the socket, and the other end's.
    pub fn connect(&mut self, host: HostId, to: SocketAddr) -> (SockId, SockId) {
        let sock = self.dial(host, to);
        self.run_for(Duration::from_millis(20));
        (sock, self.accepted().expect("the connection was accepted"))
    }

    /// The socket accepted last.
    pub fn accepted(&self) -> Option<SockId> {
        self.events.iter().rev().find_map(|(_, event)| match event {
            NetEvent::Accepted { sock, .. } => Some(*sock),
            NetEvent::Connected { .. }
            | NetEvent::DialFailed { .. }
            | NetEvent::Readable { .. }
            | NetEvent::Writable { .. }
            | NetEvent::Eof { .. }
            | NetEvent::Reset { .. } => None,
        })
    }

    /// What this socket's software learnt, without times.
    pub fn told(&self, sock: SockId) -> Vec<NetEvent> {
        self.events.iter().filter(|(_, event)| event.sock() == sock).map(|&(_, event)| event).collect()
    }

    /// When this socket's software learnt the last thing.
    pub fn told_at(&self, sock: SockId) -> Option<Instant> {
        self.events.iter().rev().find(|(_, event)| event.sock() == sock).map(|&(at, _)| at)
    }

    /// What the tap saw from here on, and what it saw before is forgotten.
    pub fn watch(&mut self) {
        self.net.open_tap();
        self.seen.clear();
    }

    /// The packets seen since [`World::watch`], one line each: `a> SYN` sent, `a< SYN` delivered, `a! SYN Lost`
    /// dropped, `a= SYN` rewritten. Bare acknowledgements are left out.
    pub fn packets(&self) -> Vec<String> {
        let lines = self.seen.iter().map(|record| {
            let host = self.net.host_name(record.host);
            let (mark, reason) = match record.seen {
                Seen::Sent => ('>', String::new()),
                Seen::Delivered => ('<', String::new()),
                Seen::Dropped(reason) => ('!', format!(" {reason:?}")),
                Seen::Rewritten => ('=', String::new()),
            };
            (kind(&record.packet), format!("{host}{mark} {}{reason}", kind(&record.packet)))
        });
        lines.filter(|(kind, _)| kind != "ACK").map(|(_, line)| line).collect()
    }

    /// When these packets were seen since [`World::watch`], in milliseconds.
    pub fn times(&self, line: &str) -> Vec<u64> {
        let all = self.seen.iter().map(|record| {
            let mark = match record.seen {
                Seen::Sent => '>',
                Seen::Delivered => '<',
                Seen::Dropped(_) => '!',
                Seen::Rewritten => '=',
            };
            let host = self.net.host_name(record.host);
            (format!("{host}{mark} {}", kind(&record.packet)), record.at.as_millis())
        });
        all.filter(|(there, _)| there == line).map(|(_, at)| at).collect()
    }

    /// The other end of a packet as `host` saw it, for the first packet of this kind delivered there.
    pub fn peer_at(&self, host: HostId, what: &str) -> Option<SocketAddr> {
        let there = self.seen.iter().find(|record| {
            record.host == host && record.seen == Seen::Delivered && kind(&record.packet) == what
        })?;
        match packet::parse(&there.packet)? {
            Parsed::Tcp(header) => Some(SocketAddr::from((header.src.ip, header.src.port))),
            Parsed::Icmp { .. } => None,
        }
    }

    /// A hash over every packet delivered, with its time and place.
    pub fn packet_hash(&self) -> u64 {
        let mut hash = 0xCBF2_9CE4_8422_2325_u64;
        let mut eat = |bytes: &[u8]| {
            for &byte in bytes {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
            }
        };
        for record in &self.seen {
            eat(&record.at.as_nanos().to_be_bytes());
            eat(&record.host.0.to_be_bytes());
            eat(&record.packet);
        }
        hash
    }

    pub fn bytes(&self, sock: SockId) -> &[u8] {
        self.read.get(&sock).map_or(&[], Vec::as_slice)
    }
}

/// What a packet is: its flags, with DATA for payload; or the ICMP error.
pub fn kind(bytes: &[u8]) -> String {
    let Some(parsed) = packet::parse(bytes) else { return "?".to_owned() };
    match parsed {
        Parsed::Tcp(header) => {
            let names =
                [(packet::SYN, "SYN"), (packet::FIN, "FIN"), (packet::RST, "RST"), (packet::ACK, "ACK")];
            let mut words: Vec<&str> =
                names.iter().filter(|(flag, _)| header.flags & flag != 0).map(|&(_, name)| name).collect();
            if words.len() > 1 && !words.contains(&"SYN") {
                words.retain(|&word| word != "ACK");
            }
            if header.payload > 0 {
                words = vec!["DATA"];
            }
            words.join(" ")
        }
        Parsed::Icmp { reason, .. } => format!("ICMP {reason:?}"),
    }
}

pub fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 17, 0, last)
}

pub fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from((ip(last), port))
}

/// Bytes of which no two stretches are alike.
pub fn pattern(len: usize) -> Vec<u8> {
    let mut word = 0x1234_5678_u32;
    (0..len)
        .map(|_| {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            word.to_be_bytes()[0]
        })
        .collect()
}
