//! What a run was: numbered records with a rolling hash, the food of oracles and views.
//!
//! ```text
//!  world ── Record ──► Tracer ──► hash over every delivered byte and every output of the core, with its time
//!                        ├──────► oracles
//!                        └──────► Log (if wanted) ──► .trace file ──► text, pcapng
//! ```

mod boundary;
mod file;
mod record;
pub mod words;

pub use self::{
    file::{Log, LogError, Logged},
    record::{
        ActorId, Call, Cast, CastMember, Inward, Moment, Namespace, Outward, Packet, PacketFate, Phase,
        Record, STATES, Sample, Saw, SeatId, What,
    },
};

use proxy_core::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Numbers records and hashes them.
#[derive(Debug)]
pub struct Tracer {
    step: u64,
    hash: u64,
    buffer: Vec<u8>,
    log: Option<Log>,
}

impl Tracer {
    /// Makes a tracer; with a log it keeps every record.
    pub fn new(log: Option<Log>) -> Self {
        Self { step: 0, hash: 0, buffer: Vec::with_capacity(256), log }
    }

    /// Takes bytes that somebody got or sent into the hash, ahead of the record about them.
    pub fn take_bytes(&mut self, bytes: &[u8]) {
        self.hash = xxh3_64_with_seed(bytes, self.hash);
    }

    /// Numbers a record and takes it into the hash. Returns it complete.
    pub fn record(&mut self, at: Instant, actor: ActorId, cause: u64, line: u32, what: What) -> Record {
        self.step += 1;
        let mut record = Record { step: self.step, at, actor, cause, line, hash: 0, what };
        self.buffer.clear();
        // A Vec takes whatever it is given.
        if let Ok(bytes) = postcard::to_extend(&record, std::mem::take(&mut self.buffer)) {
            self.hash = xxh3_64_with_seed(&bytes, self.hash);
            record.hash = self.hash;
            if let Some(log) = &mut self.log {
                log.push(&bytes, self.hash);
            }
            self.buffer = bytes;
        }
        record
    }

    /// Keeps a packet, under the number of the record before it: whether packets are kept changes neither numbers nor hash.
    pub fn keep(&mut self, at: Instant, cause: u64, line: u32, packet: Packet) {
        let Some(log) = &mut self.log else { return };
        let what = What::Packet(packet);
        let record =
            Record { step: self.step, at, actor: ActorId::WORLD, cause, line, hash: self.hash, what };
        self.buffer.clear();
        if let Ok(bytes) = postcard::to_extend(&record, std::mem::take(&mut self.buffer)) {
            log.push(&bytes, self.hash);
            self.buffer = bytes;
        }
    }

    /// Returns the number of the last record.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Returns the hash over everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns whether records are kept.
    pub fn is_kept(&self) -> bool {
        self.log.is_some()
    }

    /// Returns the records kept.
    pub fn into_log(self) -> Option<Log> {
        self.log
    }
}
