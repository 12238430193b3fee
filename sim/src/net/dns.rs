//! The view of names: what a client's resolver answers, and when.

use std::{collections::BTreeMap, net::IpAddr};

use proxy_core::{
    io::ResolveError,
    time::{Duration, Instant},
};

/// How a name is answered while something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsFault {
    /// There is no such name.
    NotFound,
    /// The server failed.
    Failed,
    /// There is no answer.
    Silent,
    /// The answer comes late.
    Slow(Duration),
    /// These addresses.
    Addresses(Vec<IpAddr>),
}

/// How long an answer takes.
const LATENCY: Duration = Duration::from_micros(300);

/// Names and their addresses.
#[derive(Debug, Default)]
pub struct Dns {
    names: BTreeMap<String, Vec<IpAddr>>,
    faults: BTreeMap<String, DnsFault>,
}

impl Dns {
    /// Sets a name's addresses.
    pub fn set(&mut self, name: &str, addresses: Vec<IpAddr>, _ttl: Duration) {
        self.names.insert(name.to_owned(), addresses);
    }

    /// Sets or lifts a fault.
    pub fn set_fault(&mut self, name: &str, fault: Option<DnsFault>) {
        match fault {
            Some(fault) => self.faults.insert(name.to_owned(), fault),
            None => self.faults.remove(name),
        };
    }

    /// Returns a name's addresses.
    pub fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.names.get(name).cloned().unwrap_or_default()
    }

    /// Looks a name up.
    pub fn lookup(&self, name: &str, now: Instant) -> Option<(Instant, Result<Vec<IpAddr>, ResolveError>)> {
        let answer = self.names.get(name).cloned().ok_or(ResolveError::NotFound);
        match self.faults.get(name) {
            None => Some((now + LATENCY, answer)),
            Some(DnsFault::NotFound) => Some((now + LATENCY, Err(ResolveError::NotFound))),
            Some(DnsFault::Failed) => Some((now + LATENCY, Err(ResolveError::Failed))),
            Some(DnsFault::Silent) => None,
            Some(DnsFault::Slow(time)) => Some((now + *time, answer)),
            Some(DnsFault::Addresses(ips)) => Some((now + LATENCY, Ok(ips.clone()))),
        }
    }
}
