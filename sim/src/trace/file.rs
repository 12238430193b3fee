//! The records of a run, kept: in memory and as a `.trace` file.
//!
//! A file is a line that names the form, then one block: the cast, the scenario's text, and every record with its
//! hash, in postcard's encoding. Read it with the `repull-sim` that wrote it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::record::{Cast, Record};

/// The first line of a file. The number changes with the form.
const HEAD: &[u8] = b"repull trace 1\n";

/// The records of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Each record's length and hash, in order.
    index: Vec<(u32, u64)>,
    bytes: Vec<u8>,
}

/// A run as kept in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logged {
    /// The scenario's id.
    pub scenario: String,
    /// The scenario's text, every range resolved.
    pub text: String,
    /// The seed.
    pub seed: u64,
    /// Who took part.
    pub cast: Cast,
    /// The records.
    pub records: Vec<Record>,
}

/// Why a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogError {
    /// It is no trace, or one of another form.
    Head,
    /// It is cut off or damaged.
    Damaged,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "no trace of this version of repull-sim: run the scenario again with --out",
            Self::Damaged => "the trace is cut off or damaged: run the scenario again with --out",
        })
    }
}

impl std::error::Error for LogError {}

impl Log {
    pub(super) fn push(&mut self, record: &[u8], hash: u64) {
        self.index.push((u32::try_from(record.len()).unwrap_or(u32::MAX), hash));
        self.bytes.extend_from_slice(record);
    }

    /// Returns how many records there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Returns the records, in order.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let mut rest = &self.bytes[..];
        self.index.iter().filter_map(move |(len, hash)| {
            let (bytes, after) = rest.split_at_checked(usize::try_from(*len).ok()?)?;
            rest = after;
            let mut record: Record = postcard::from_bytes(bytes).ok()?;
            record.hash = *hash;
            Some(record)
        })
    }

    /// Returns the number of the first record that is not the same in both, from 1.
    pub fn first_difference(&self, other: &Self) -> Option<usize> {
        let pairs = self.index.iter().zip(&other.index);
        match pairs.into_iter().position(|(ours, theirs)| ours != theirs) {
            Some(at) => Some(at + 1),
            None if self.len() == other.len() => None,
            None => Some(self.len().min(other.len()) + 1),
        }
    }
}

impl Logged {
    /// Returns the file's bytes.
    ///
    /// # Panics
    /// Never: a Vec takes whatever it is given.
    pub fn write(&self) -> Vec<u8> {
        postcard::to_extend(self, HEAD.to_vec()).expect("a Vec takes whatever it is given")
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is no trace, or damaged.
    pub fn read(file: &[u8]) -> Result<Self, LogError> {
        let body = file.strip_prefix(HEAD).ok_or(LogError::Head)?;
        postcard::from_bytes(body).map_err(|_| LogError::Damaged)
    }
}
