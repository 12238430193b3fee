//! What every machine knows at a moment, for people who stop a run there.

use std::fmt::Write as _;

use proxy_core::{io::PullState, time::Instant};
use proxyd::log::words;

use super::{Outcome, World};
use crate::oracle::LeftOver;

impl World<'_> {
    /// Returns the number of the last record.
    pub fn step(&self) -> u64 {
        self.tracer.step()
    }

    /// Returns virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Ends the run where it is.
    pub fn into_outcome(self) -> Outcome {
        self.finish()
    }

    /// Tells what every machine knows.
    pub fn knowledge(&mut self) -> String {
        let mut out = String::new();
        for proxy in &self.proxies {
            let name = self.cast.name(proxy.actor);
            let up = if proxy.is_up { "" } else { " (not running)" };
            let frozen = if !proxy.frozen.is_empty() { " (frozen)" } else { "" };
            let _ = writeln!(out, "proxy {name} at {}{up}{frozen}", self.home_of(self.host_of(proxy.actor)));
            for view in proxy.core.streams(self.now) {
                let _ = write!(out, "  stream {} {}: {}", view.id.0, view.key, words::state(view.state));
                let _ = write!(out, ", {} failures, {} re-pulls", view.failures, view.repulls);
                if let (PullState::BackingOff, Some(at)) = (view.state, view.next_attempt) {
                    let _ = write!(out, ", next attempt at {at}");
                }
                if let Some(failure) = &view.last_failure {
                    let _ = write!(out, ", last failure: {}", words::failure(failure));
                }
                if let Some((local, remote)) = view.origin {
                    let _ = write!(out, ", connected {local} to {remote}");
                }
                let _ =
                    writeln!(out, ", {} seated, {} parked, {} bytes", view.players, view.parked, view.bytes);
                for track in &view.tracks {
                    let _ = writeln!(out, "    {track:?}");
                }
            }
            for view in proxy.core.players() {
                let key = view.key.as_ref().map_or_else(|| "nothing yet".to_owned(), ToString::to_string);
                let _ = writeln!(
                    out,
                    "  player {} from {}: {:?} by {:?}, asked for {key}",
                    view.conn.0, view.peer, view.state, view.output
                );
            }
            let counts = proxy.core.counts();
            let _ = writeln!(out, "  counts {counts:?}, {} sockets", proxy.sockets());
            if let Some((at, why)) = proxy.core.poll_timeout() {
                let _ = writeln!(out, "  next deadline {at}: {why:?}");
            }
        }
        for origin in &self.origins {
            let name = self.cast.name(origin.actor);
            let up = if origin.is_up { "running" } else { "not running" };
            let frozen = if !origin.frozen.is_empty() { ", frozen" } else { "" };
            let address = self.home_of(self.host_of(origin.actor));
            let _ =
                writeln!(out, "origin {name} at {address}: {up}{frozen}, {} connections", origin.sockets());
            for stream in &origin.spec.streams {
                let epoch = origin.model.epoch(stream);
                let published =
                    epoch.map_or_else(|| "nobody publishes".to_owned(), |epoch| format!("life {epoch}"));
                let _ = writeln!(out, "  {stream}: {published}");
            }
            for complaint in &origin.model.ledger().complaints {
                let _ = writeln!(out, "  complaint: {complaint}");
            }
        }
        for (index, seat) in self.seats.iter().enumerate() {
            let _ =
                writeln!(out, "seat {index} {}: {}", self.cast.name(seat.actor()), seat.describe(self.now));
        }
        let _ = writeln!(out, "network: {:?}", self.net.counts(self.now));
        out
    }

    /// Returns whether nothing is left of what was deleted.
    pub(super) fn is_clean(&self) -> bool {
        self.left_over().things.is_empty()
    }

    /// Returns what is left: nothing of it should be.
    pub(super) fn left_over(&self) -> LeftOver {
        let mut things = Vec::new();
        let mut add = |what: String, count: usize| {
            if count > 0 {
                things.push((what, count as u64));
            }
        };
        for proxy in self.proxies.iter().filter(|proxy| proxy.is_up) {
            // A driver lets nobody look into its core: what it told last has to do.
            let (counts, sockets) = match &self.carrier {
                Some(_) => proxy.sampled(),
                None => (proxy.core.counts(), proxy.sockets()),
            };
            let name = self.cast.name(proxy.actor);
            add(format!("streams of {name}"), counts.streams);
            add(format!("upstream connections of {name}"), counts.origins);
            add(format!("player connections of {name}"), counts.players);
            add(format!("closing connections of {name}"), counts.closing);
            add(format!("timers of {name}"), counts.timers);
            add(format!("relay bytes of {name}"), counts.relay_bytes);
            add(format!("bytes in flight of {name}"), counts.in_flight_bytes);
            add(format!("requests without a reply of {name}"), counts.requests);
            add(format!("questions without an answer of {name}"), counts.asks);
            add(format!("sockets of {name}"), sockets);
        }
        LeftOver { things }
    }
}
