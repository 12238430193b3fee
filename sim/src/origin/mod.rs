//! A model origin: an RTMP server with publishers behind it, without clock or sockets.
//!
//! ```text
//!  on_accepted ─► Handshaking ─► Talking ──play──► media ◄── publish / change / unpublish
//!  handle_bytes        │            │                │
//!  handle_timeout      └────────────┴── Behaviour ───┴──► Outlet ──► poll_output: Transmit, Close, Reset
//!                                                            ▲
//!                         tell, cut, set_flow, set_wire ─────┘  on live connections, at any moment
//! ```
//! Its carrier brings connections, bytes and time, takes outputs, and calls [`ModelOrigin::handle_timeout`] at
//! [`ModelOrigin::deadline`]. The origin keeps a [`Ledger`] of what its clients did, and complains there about
//! what a well-behaved client does not do. An event costs what its own connection costs, however many there are.

mod config;
mod conn;
mod ending;
mod ledger;
mod outlet;
mod play;
mod publisher;
mod software;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use proxy_core::time::{Duration, Instant};

pub(crate) use self::ending::Words;
pub use self::{
    config::{
        Audio, Behaviour, Csids, Defect, EndBy, Handshake, MetadataStyle, Missing, Muted, OnCall, OnConnect,
        Payload, PlayEnd, Publisher, PublisherClock, Reconnect, SecondPlay, Shutdown, StartStyle, Unpublish,
        Video, Withhold,
    },
    ending::{Ending, Then, UnknownWord},
    ledger::{COMPLAINTS_MAX, Ledger, PLAYS_MAX, PlayRecord},
    outlet::{CutAt, CutBy, Flow, OUTLET_BYTES_MAX},
    publisher::Change,
    software::{Like, UnknownSoftware},
};
use self::{
    conn::{Conn, Fate, House},
    publisher::Life,
};
use crate::raw::chunk::ChunkStyle;

/// Frames older than this are not caught up with: the play goes on at the GOP under way, as after a long freeze
/// or a peer that did not read.
pub const BACKLOG_MAX: Duration = Duration::from_secs(5);

/// How many dials a kernel takes that software has not taken up, if nothing else is said.
pub const ACCEPT_QUEUE: u16 = 128;

/// The frame of a play that a [`Defect`] strikes at the earliest.
pub const DEFECT_FRAME: u64 = 30;

/// One connection, named by the carrier; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerConn(pub u64);

/// What the carrier must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginOutput {
    /// Write these bytes, as one write of its own.
    Transmit {
        /// Where to.
        conn: PeerConn,
        /// What.
        bytes: Bytes,
    },
    /// Hang up after all bytes are out.
    Close {
        /// Which connection.
        conn: PeerConn,
    },
    /// Reset.
    Reset {
        /// Which connection.
        conn: PeerConn,
    },
}

/// Which of the connections that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// All of them.
    All,
    /// Those that play this `app/stream`.
    Stream(&'a str),
    /// One.
    Conn(PeerConn),
}

/// A model origin.
#[derive(Debug)]
pub struct ModelOrigin {
    behaviour: Behaviour,
    streams: Streams,
    conns: BTreeMap<PeerConn, Conn>,
    /// When each connection has something to do.
    deadlines: BTreeSet<(Instant, PeerConn)>,
    outputs: VecDeque<OriginOutput>,
    ledger: Ledger,
    /// Where payloads are made.
    scratch: Vec<u8>,
}

/// Every name that was ever published or played.
#[derive(Debug, Default)]
struct Streams {
    names: BTreeMap<String, usize>,
    list: Vec<Stream>,
}

#[derive(Debug)]
struct Stream {
    name: String,
    life: Option<Life>,
    /// The last epoch; kept over restarts, so that viewers can tell lives apart.
    epoch: Option<u32>,
    /// Connections with a play of it under way.
    players: BTreeSet<PeerConn>,
}

impl Streams {
    fn find(&self, name: &str) -> Option<&Stream> {
        self.names.get(name).and_then(|at| self.list.get(*at))
    }

    /// Returns the place of a name.
    fn place(&mut self, name: &str) -> usize {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        let at = self.list.len();
        self.names.insert(name.to_owned(), at);
        self.list.push(Stream { name: name.to_owned(), life: None, epoch: None, players: BTreeSet::new() });
        at
    }
}

impl ModelOrigin {
    /// Makes an origin without publishers.
    pub fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            streams: Streams::default(),
            conns: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            outputs: VecDeque::new(),
            ledger: Ledger::default(),
            scratch: Vec::new(),
        }
    }

    /// Returns what clients did so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns how it behaves.
    pub fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// Returns whether what it says goes out in pieces.
    pub fn is_in_pieces(&self) -> bool {
        matches!(self.behaviour.flow, Flow::Pieces { .. })
    }

    /// Behaves differently from here on. Wire style, flow, cut and defects reach only connections to come; live ones
    /// have [`Self::set_wire`], [`Self::set_flow`] and [`Self::cut`].
    pub fn set_behaviour(&mut self, behaviour: Behaviour) {
        self.behaviour = behaviour;
        for id in self.which(Which::All) {
            self.reindex(id);
        }
    }

    /// Numbers plays to come behind those that other origins have accepted, so that viewers can tell them apart.
    pub fn number_plays_behind(&mut self, elsewhere: u32) {
        self.ledger.plays_elsewhere = elsewhere;
    }

    /// Begins a publisher's life under `app/stream`; one that is on the air is replaced.
    pub fn publish(&mut self, name: &str, publisher: Publisher, now: Instant) {
        self.unpublish(name, now);
        let numbers_from = self.behaviour.numbers_from;
        let at = self.streams.place(name);
        let stream = &mut self.streams.list[at];
        let epoch = stream.epoch.get_or_insert(numbers_from);
        *epoch += 1;
        stream.life = Some(Life::new(name, publisher, *epoch, now));
        self.each(Which::Stream(name), now, |conn, behaviour| conn.on_published(behaviour));
    }

    /// Begins a publisher's life in place of one that is on the air, as when an encoder is restarted faster than anybody
    /// looks: players are told nothing, and get the new life's headers and frames on the same play.
    pub fn republish(&mut self, name: &str, publisher: Publisher, now: Instant) {
        self.each(Which::Stream(name), now, |_, _| {});
        let at = self.streams.place(name);
        let stream = &mut self.streams.list[at];
        let epoch = stream.epoch.get_or_insert(self.behaviour.numbers_from);
        *epoch += 1;
        stream.life = Some(Life::new(name, publisher, *epoch, now));
        self.each(Which::Stream(name), now, |_, _| {});
    }

    /// Sends players that watch elsewhere (E-RTMP v2, ReconnectRequest); returns how many.
    pub fn request_reconnect(&mut self, which: Which<'_>, tc_url: Option<&str>, now: Instant) -> usize {
        self.each(which, now, |conn, _| {
            let plays = conn.plays();
            if plays {
                conn.say_reconnect(tc_url.map(str::to_owned));
            }
            plays
        })
    }

    /// Ends a publisher's life; players learn of it as the behaviour says.
    pub fn unpublish(&mut self, name: &str, now: Instant) {
        self.each(Which::Stream(name), now, |_, _| {});
        let at = self.streams.place(name);
        if self.streams.list[at].life.take().is_some() {
            self.each(Which::Stream(name), now, |conn, behaviour| conn.on_unpublished(behaviour));
        }
    }

    /// Changes what a publisher on the air sends from here on; returns whether there is one.
    pub fn change(&mut self, name: &str, change: &Change, now: Instant) -> bool {
        // What was due before goes out as it was.
        self.each(Which::Stream(name), now, |_, _| {});
        let at = self.streams.place(name);
        let Some(life) = &mut self.streams.list[at].life else { return false };
        life.change(change, now);
        self.each(Which::Stream(name), now, |_, _| {});
        true
    }

    /// Tells players that watch something about their play, true or not; returns how many were told.
    pub fn tell(&mut self, which: Which<'_>, ending: Ending, then: Then, now: Instant) -> usize {
        self.each(which, now, |conn, _| conn.tell(ending, then))
    }

    /// Ends live connections at a byte; returns how many will.
    pub fn cut(&mut self, which: Which<'_>, at: CutAt, by: CutBy, now: Instant) -> usize {
        self.each(which, now, |conn, _| {
            conn.outlet.cut(at, by);
            true
        })
    }

    /// Lets the bytes of live connections leave in another way; returns of how many.
    pub fn set_flow(&mut self, which: Which<'_>, flow: Flow, now: Instant) -> usize {
        self.each(which, now, |conn, _| {
            conn.outlet.set_flow(flow);
            true
        })
    }

    /// Writes chunks to live connections in another style, announcing another chunk size; returns to how many.
    pub fn set_wire(&mut self, which: Which<'_>, style: &ChunkStyle, now: Instant) -> usize {
        self.each(which, now, |conn, _| conn.set_wire(style))
    }

    /// Announces and uses another chunk size inside the next message of live connections that has more than one chunk;
    /// returns of how many.
    pub fn resize_chunks_inside(&mut self, which: Which<'_>, chunk_size: usize, now: Instant) -> usize {
        self.each(which, now, |conn, _| conn.resize_chunks_inside(chunk_size))
    }

    /// Returns the epoch under which a name is published, if it is.
    pub fn epoch(&self, name: &str) -> Option<u32> {
        Some(self.streams.find(name)?.life.as_ref()?.epoch)
    }

    /// Ends as its process does when it is told to (SIGTERM): what is due goes out, players hear what that software
    /// says, all is closed. What comes next is a process started anew.
    pub fn shut_down(&mut self, now: Instant) {
        self.each(Which::All, now, |conn, behaviour| conn.shut_down(behaviour.shutdown));
        for id in self.which(Which::All) {
            if let Some(conn) = self.conns.get_mut(&id) {
                // Nobody is left to send slowly.
                conn.outlet.set_flow(Flow::AtOnce);
            }
            self.touch(id, now);
        }
        let last = std::mem::take(&mut self.outputs);
        // A connection that is mute says nothing on its way out either, and the kernel still closes it.
        let silent: Vec<_> = self.conns.keys().map(|&conn| OriginOutput::Close { conn }).collect();
        self.restart();
        self.outputs.extend(last.into_iter().chain(silent));
    }

    /// Forgets connections and publishers, as a process does that is started anew. Numbers of lives and plays go on.
    pub fn restart(&mut self) {
        self.conns.clear();
        self.deadlines.clear();
        self.outputs.clear();
        for stream in &mut self.streams.list {
            stream.life = None;
            stream.players.clear();
        }
        self.ledger.open = 0;
    }

    /// A client connected.
    pub fn on_accepted(&mut self, conn: PeerConn, now: Instant) {
        self.ledger.accepted += 1;
        self.conns.insert(conn, Conn::new(conn, &self.behaviour));
        self.ledger.open = self.conns.len();
        self.ledger.open_max = self.ledger.open_max.max(self.ledger.open);
        self.touch(conn, now);
    }

    /// A connection is gone.
    pub fn on_closed(&mut self, conn: PeerConn) {
        self.forget(conn);
    }

    /// Bytes came in.
    pub fn handle_bytes(&mut self, id: PeerConn, bytes: &[u8], now: Instant) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.receive(bytes, &self.behaviour, &mut self.ledger, now);
        self.touch(id, now);
    }

    /// Tells whether a connection's socket takes bytes; frames due meanwhile wait, up to [`BACKLOG_MAX`].
    pub fn set_writable(&mut self, id: PeerConn, writable: bool, now: Instant) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.writable != writable {
            conn.writable = writable;
            self.touch(id, now);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.touch(due.1, now);
            assert_ne!(self.deadlines.first(), Some(&due), "a connection did not do what was due");
        }
    }

    /// Returns when something is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Returns what the carrier must do next.
    pub fn poll_output(&mut self) -> Option<OriginOutput> {
        self.outputs.pop_front()
    }

    /// The ids meant, in order.
    fn which(&self, which: Which<'_>) -> Vec<PeerConn> {
        match which {
            Which::All => self.conns.keys().copied().collect(),
            Which::Stream(name) => self
                .streams
                .find(name)
                .map_or_else(Vec::new, |stream| stream.players.iter().copied().collect()),
            Which::Conn(conn) => self.conns.contains_key(&conn).then_some(conn).into_iter().collect(),
        }
    }

    /// Brings connections up to date, does something to each and lets it act; returns to how many it was done.
    fn each<T: Into<Done>>(
        &mut self,
        which: Which<'_>,
        now: Instant,
        mut act: impl FnMut(&mut Conn, &Behaviour) -> T,
    ) -> usize {
        let mut count = 0;
        for id in self.which(which) {
            self.touch(id, now);
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            count += usize::from(act(conn, &self.behaviour).into().0);
            self.touch(id, now);
        }
        count
    }

    /// Lets a connection do what is due, and notes when it wants to again.
    fn touch(&mut self, id: PeerConn, now: Instant) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let mut house = House {
            streams: &mut self.streams,
            ledger: &mut self.ledger,
            behaviour: &self.behaviour,
            scratch: &mut self.scratch,
            now,
        };
        let fate = conn.advance(&mut house, &mut self.outputs);
        match fate {
            Fate::Stays => return self.reindex(id),
            Fate::Closes => self.outputs.push_back(OriginOutput::Close { conn: id }),
            Fate::Resets => self.outputs.push_back(OriginOutput::Reset { conn: id }),
        }
        self.forget(id);
    }

    fn reindex(&mut self, id: PeerConn) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let wanted = conn.deadline(&self.streams, &self.behaviour);
        let noted = std::mem::replace(&mut conn.noted, wanted);
        if noted == wanted {
            return;
        }
        if let Some(at) = noted {
            self.deadlines.remove(&(at, id));
        }
        if let Some(at) = wanted {
            self.deadlines.insert((at, id));
        }
    }

    fn forget(&mut self, id: PeerConn) {
        let Some(conn) = self.conns.remove(&id) else { return };
        if let Some(at) = conn.noted {
            self.deadlines.remove(&(at, id));
        }
        if let Some(place) = conn.playing() {
            self.streams.list[place].players.remove(&id);
        }
        self.ledger.open = self.conns.len();
    }
}

/// Whether something was done to a connection.
struct Done(bool);

impl From<bool> for Done {
    fn from(done: bool) -> Self {
        Self(done)
    }
}

impl From<()> for Done {
    fn from((): ()) -> Self {
        Self(true)
    }
}
