//! Who is registered under which key, and what operators may do in which state.
//!
//! | | effect | answer |
//! |---|---|---|
//! | `Add`, key free | registers, begins an attempt | the attempt's result; a failure removes it again, unless `force` |
//! | `Add`, key streaming | none | `Exists` |
//! | `Add`, key not streaming, same url and options | joins the attempt under way, or begins one now | that attempt's result |
//! | `Add`, key not streaming, others | takes the wish's place and redials; adds that waited are told `Superseded` | that attempt's result |
//! | `Update` | from the next attempt on; `now` redials | `Updated` / `NotFound` |
//! | `Del` | stops in any state, players told and closed, key free | `Deleted` / `NotFound`; waiting adds `Cancelled` first |
//! | `Close` | the same for all that match and have no readers, or with `force` | `Closed` with counts |
//!
//! A failing re-add never unregisters a stream that has streamed before, or was added with `force`, and never
//! unseats anyone. Ownership is by [`StreamId`], which is never used again, so late news of a removed stream cannot
//! touch the one that took its key.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    config::Config,
    dice::PullDice,
    io::{ConnId, PullOptions, PullState, RequestId, StreamFilter, StreamId, StreamView},
    relay::Relay,
    stream::pull::{Pull, Wish},
    time::{Duration, Instant},
    url::{OriginUrl, StreamKey},
    wire::flv::{FourCc, Frame, Medium},
};

/// An operator's add that waits for the attempt's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The request to answer.
    pub request: RequestId,
    /// When it is answered at the latest.
    pub until: Instant,
    /// A failure of the attempt is a success of the request.
    pub force: bool,
}

/// One registration.
#[derive(Debug)]
pub struct Stream {
    /// Its id.
    pub id: StreamId,
    /// Its key.
    pub key: StreamKey,
    /// How it gets media.
    pub pull: Pull,
    /// How media gets to players.
    pub relay: Relay,
    /// A first frame has been seen, or `force` was given.
    pub proven: bool,
    /// What was asked for before, until what is asked for now has brought a frame.
    pub before: Option<Wish>,
    /// Adds that wait for the attempt's result.
    pub waiters: Vec<Waiter>,
    /// Players with a seat.
    pub seats: BTreeSet<ConnId>,
    /// The log position up to which players may read; behind the end while writes are merged.
    pub released: u64,
    /// When merged writes go out.
    pub merge_at: Option<Instant>,
    /// When the first player's patience with the outage ends.
    pub hold_at: Option<Instant>,
    /// Since when nobody watches.
    pub unwatched_since: Option<Instant>,
    /// `NoneReader` has been told since.
    pub none_reader_told: bool,
    /// Events told.
    pub events: u64,
    registered_at: Instant,
    streaming_since: Option<Instant>,
    live: Duration,
    repulls: u64,
    bytes: u64,
    rate: Rate,
    codecs: Codecs,
}

/// Bytes per second over the last whole second.
#[derive(Debug, Default)]
struct Rate {
    second: u64,
    counted: u64,
    before: u64,
}

/// The codecs of the main tracks, to tell when a re-pull brings others.
#[derive(Debug, Default)]
struct Codecs {
    audio: Option<FourCc>,
    video: Option<FourCc>,
}

/// What an add means for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddMeans {
    /// Register it.
    Register,
    /// It is streaming: refuse.
    Exists,
    /// Join the attempt under way, or begin one now.
    Join(StreamId),
    /// Take the place of the wish.
    Supersede(StreamId),
    /// No room.
    Full,
}

/// All registrations.
#[derive(Debug, Default)]
pub struct Registry {
    streams: BTreeMap<StreamId, Stream>,
    keys: BTreeMap<StreamKey, StreamId>,
    waiting: BTreeMap<RequestId, StreamId>,
    last: u64,
}

impl Registry {
    /// Returns what an add means.
    pub fn meaning_of_add(
        &self,
        key: &StreamKey,
        url: &OriginUrl,
        options: &PullOptions,
        config: &Config,
    ) -> AddMeans {
        let Some(stream) = self.find(key) else {
            return if self.streams.len() < config.limits.streams_max {
                AddMeans::Register
            } else {
                AddMeans::Full
            };
        };
        let same = stream.pull.wish().paths.first() == Some(url) && stream.pull.wish().options == *options;
        match stream.pull.state() {
            PullState::Streaming => AddMeans::Exists,
            PullState::Resolving
            | PullState::Queued
            | PullState::Connecting
            | PullState::Handshaking
            | PullState::Requesting
            | PullState::AwaitingMedia
            | PullState::Replaying
            | PullState::BackingOff
            | PullState::Stopped => {
                if same && stream.waiters.len() >= config.limits.waiters_max {
                    AddMeans::Full
                } else if same {
                    AddMeans::Join(stream.id)
                } else {
                    AddMeans::Supersede(stream.id)
                }
            }
        }
    }

    /// Registers a stream.
    pub fn register(
        &mut self,
        key: StreamKey,
        wish: Wish,
        dice: PullDice,
        config: &Config,
        now: Instant,
    ) -> StreamId {
        self.last += 1;
        let id = StreamId(self.last);
        let stream = Stream {
            id,
            key: key.clone(),
            proven: wish.options.force,
            pull: Pull::new(wish, dice, &config.pull, now),
            relay: Relay::new(config.relay.clone()),
            before: None,
            waiters: Vec::new(),
            seats: BTreeSet::new(),
            released: 0,
            merge_at: None,
            hold_at: None,
            unwatched_since: Some(now),
            none_reader_told: false,
            events: 0,
            registered_at: now,
            streaming_since: None,
            live: Duration::ZERO,
            repulls: 0,
            bytes: 0,
            rate: Rate::default(),
            codecs: Codecs::default(),
        };
        let before = self.keys.insert(key, id);
        assert!(before.is_none(), "a key is registered once");
        self.streams.insert(id, stream);
        id
    }

    /// Removes a stream; its key is free from here on.
    pub fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.keys.remove(&stream.key);
        for waiter in &stream.waiters {
            self.waiting.remove(&waiter.request);
        }
        Some(stream)
    }

    /// Lets an add wait for the attempt's result.
    pub fn wait(&mut self, id: StreamId, waiter: Waiter) {
        if let Some(stream) = self.streams.get_mut(&id) {
            self.waiting.insert(waiter.request, id);
            stream.waiters.push(waiter);
        }
    }

    /// Takes every waiting add of a stream.
    pub fn take_waiters(&mut self, id: StreamId) -> Vec<Waiter> {
        let Some(stream) = self.streams.get_mut(&id) else { return Vec::new() };
        for waiter in &stream.waiters {
            self.waiting.remove(&waiter.request);
        }
        core::mem::take(&mut stream.waiters)
    }

    /// Takes one waiting add, and tells whose it is.
    pub fn take_waiter(&mut self, request: RequestId) -> Option<(StreamId, Waiter)> {
        let id = self.waiting.remove(&request)?;
        let stream = self.streams.get_mut(&id)?;
        let at = stream.waiters.iter().position(|waiter| waiter.request == request)?;
        Some((id, stream.waiters.remove(at)))
    }

    /// Returns a stream by its id.
    pub fn get(&self, id: StreamId) -> Option<&Stream> {
        self.streams.get(&id)
    }

    /// Returns a stream by its id.
    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(&id)
    }

    /// Returns a stream by its key.
    pub fn find(&self, key: &StreamKey) -> Option<&Stream> {
        self.streams.get(self.keys.get(key)?)
    }

    /// Returns all streams, in the order of their registration.
    pub fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.streams.values()
    }

    /// Returns all streams to be changed, in the order of their registration.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.streams.values_mut()
    }

    /// Returns the ids of all streams a filter matches.
    pub fn matching(&self, filter: &StreamFilter) -> Vec<StreamId> {
        self.iter().filter(|stream| filter.matches(&stream.key)).map(|stream| stream.id).collect()
    }

    /// Returns how many streams are registered.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Returns whether nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Returns how many adds wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl StreamFilter {
    /// Returns whether a key matches.
    pub fn matches(&self, key: &StreamKey) -> bool {
        let matches = |wanted: &Option<_>, is: &_| wanted.as_ref().is_none_or(|wanted| wanted == is);
        if !matches(&self.vhost, &key.vhost) {
            return false;
        }
        match (&self.app, &self.stream) {
            // The same words as in an add, whichever part holds the `/`.
            (Some(app), Some(stream)) => {
                StreamKey::new(&key.vhost, app, stream).is_ok_and(|wanted| wanted == *key)
            }
            (app, stream) => matches(app, &key.app) && matches(stream, &key.stream),
        }
    }
}

impl Stream {
    /// Notes that frames flow.
    pub fn streaming_began(&mut self, now: Instant) {
        self.streaming_since = Some(now);
        self.hold_at = None;
        self.proven = true;
        self.before = None;
    }

    /// Notes that frames stopped.
    pub fn streaming_ended(&mut self, now: Instant) {
        if let Some(since) = self.streaming_since.take() {
            self.live += now.since(since);
            self.repulls += 1;
        }
    }

    /// Puts another wish in the place of the present one.
    pub fn rewish(&mut self, wish: Wish, config: &Config) {
        let before = self.pull.wish().clone();
        self.pull.set_wish(wish, &config.pull);
        self.before.get_or_insert(before);
    }

    /// What is asked for leads to ourselves: what was asked for before is asked for again.
    pub fn unwish(&mut self, config: &Config) {
        if let Some(before) = self.before.take() {
            self.pull.set_wish(before, &config.pull);
        }
    }

    /// Returns whether frames have ever flowed.
    pub fn has_streamed(&self) -> bool {
        self.streaming_since.is_some() || self.repulls > 0
    }

    /// Counts bytes from the origin.
    pub fn count_bytes(&mut self, len: usize, now: Instant) {
        self.bytes += len as u64;
        self.rate.count(len as u64, now);
    }

    /// Notes a frame's codec; returns whether the main track of its medium had another one before.
    pub fn note_codec(&mut self, frame: &Frame) -> bool {
        let slot = match frame.medium {
            Medium::Audio => &mut self.codecs.audio,
            Medium::Video => &mut self.codecs.video,
            Medium::Data => return false,
        };
        if frame.track != 0 || *slot == Some(frame.codec) {
            return false;
        }
        slot.replace(frame.codec).is_some()
    }

    /// Returns who counts as a reader: players held through an outage do not.
    pub fn readers(&self) -> usize {
        if self.pull.state() == PullState::Streaming { self.seats.len() } else { 0 }
    }

    /// Returns whether seats are held through an outage.
    pub fn outage_holds(&self) -> bool {
        self.pull.outage_since().is_some()
    }

    /// Returns when the stream's own timers want attention.
    pub fn deadline(&self, none_reader_delay: Duration) -> Option<Instant> {
        let none_reader =
            self.unwatched_since.filter(|_| !self.none_reader_told).map(|since| since + none_reader_delay);
        [self.merge_at, self.hold_at, none_reader].into_iter().flatten().min()
    }

    /// Returns what lists tell of it.
    pub fn view(&self, parked: usize, now: Instant) -> StreamView {
        StreamView {
            id: self.id,
            key: self.key.clone(),
            url: self.pull.wish().paths.first().map(|url| url.text.clone()).unwrap_or_default(),
            options: self.pull.wish().options.clone(),
            state: self.pull.state(),
            failures: self.pull.failures(),
            next_attempt: self.pull.next_attempt(),
            last_failure: self.pull.last_failure().cloned(),
            repulls: self.repulls,
            registered_at: self.registered_at,
            streaming_since: self.streaming_since,
            live: self.live + self.streaming_since.map_or(Duration::ZERO, |since| now.since(since)),
            bytes: self.bytes,
            bytes_per_second: self.rate.at(now),
            players: u32::try_from(self.seats.len()).unwrap_or(u32::MAX),
            parked: u32::try_from(parked).unwrap_or(u32::MAX),
            origin: self.pull.addresses(),
            tracks: if self.streaming_since.is_some() { self.relay.tracks().collect() } else { Vec::new() },
        }
    }
}

impl Rate {
    fn count(&mut self, len: u64, now: Instant) {
        let second = now.as_millis() / 1000;
        if second != self.second {
            self.before = if second == self.second + 1 { self.counted } else { 0 };
            self.second = second;
            self.counted = 0;
        }
        self.counted += len;
    }

    fn at(&self, now: Instant) -> u64 {
        match (now.as_millis() / 1000).saturating_sub(self.second) {
            0 => self.before,
            1 => self.counted,
            2.. => 0,
        }
    }
}
