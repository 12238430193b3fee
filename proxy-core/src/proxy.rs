//! The whole proxy: owns every machine, routes inputs, hands out ids and dice.

use crate::{
    config::Config,
    io::{Input, Output, PlayerView, StreamId, StreamView, Wakeup},
    time::Instant,
    url::StreamKey,
};

/// An RTMP pull proxy without any IO.
#[derive(Debug)]
pub struct Proxy {}

impl Proxy {
    /// Makes a proxy. Config, seed and inputs decide everything it does.
    pub fn new(_config: Config, _seed: u64) -> Self {
        todo!()
    }

    /// Takes one input. Cannot fail; time must not go back.
    pub fn handle_input(&mut self, _input: Input<'_>, _now: Instant) {
        todo!()
    }

    /// Returns what must be done next, `None` when it is time to wait.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }

    /// Returns when `Input::Timeout` is wanted at the latest, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Wakeup)> {
        todo!()
    }

    /// Returns every registered stream.
    pub fn streams(&self, _now: Instant) -> impl Iterator<Item = StreamView> {
        core::iter::empty()
    }

    /// Returns one stream by its key.
    pub fn stream(&self, _key: &StreamKey, _now: Instant) -> Option<StreamView> {
        todo!()
    }

    /// Returns every player connection.
    pub fn players(&self) -> impl Iterator<Item = PlayerView> {
        core::iter::empty()
    }

    /// Returns the seated players of one stream.
    pub fn players_of(&self, _stream: StreamId) -> impl Iterator<Item = PlayerView> {
        core::iter::empty()
    }

    /// Returns how much of everything is alive.
    pub fn counts(&self) -> Counts {
        todo!()
    }
}

/// How much of everything is alive: returns to its baseline when streams and players are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Registered streams.
    pub streams: usize,
    /// Upstream connections: dialling, open or lingering.
    pub origins: usize,
    /// Player connections, lingering ones included.
    pub players: usize,
    /// Timers in the deadline index.
    pub timers: usize,
    /// Encoded bytes kept in relays.
    pub relay_bytes: usize,
    /// Bytes handed over and not yet taken by sockets.
    pub in_flight_bytes: usize,
    /// Requests without a reply.
    pub requests: usize,
    /// Questions without an answer.
    pub asks: usize,
}
