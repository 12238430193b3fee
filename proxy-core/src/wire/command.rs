//! Commands and onStatus (RTMP 1.0 §7.2): names, transaction ids, arguments.

use alloc::{string::String, vec::Vec};

use crate::wire::{
    amf0::{Amf0Error, Value},
    message::Message,
};

/// One command, AMF0 or AMF3 carrying AMF0. Missing values are tolerated: transaction 0, object null.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// `connect`, `_result`, `onStatus`, …
    pub name: String,
    /// The transaction id, 0 if it expects no answer.
    pub transaction: f64,
    /// The command object, or null.
    pub object: Value,
    /// Further arguments.
    pub arguments: Vec<Value>,
}

/// The information object of onStatus, `_result` and `_error`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Status {
    /// `status`, `warning` or `error`; other words occur.
    pub level: String,
    /// `NetStream.Play.Start` and its kin.
    pub code: String,
    /// Text for people.
    pub description: String,
}

impl Command {
    /// Parses a message of type 20 or 17 (one leading byte is skipped when it is 0).
    ///
    /// # Errors
    /// See [`Amf0Error`]. An empty message is a command without a name, not an error.
    pub fn parse(_message: &Message) -> Result<Self, Amf0Error> {
        todo!()
    }

    /// Builds the message (type 20, timestamp 0) for `stream`.
    pub fn to_message(&self, _stream: u32) -> Message {
        todo!()
    }

    /// Returns the information object, wherever among object and arguments it stands (`_error` of some servers
    /// puts it first); empty texts where there is none.
    pub fn status(&self) -> Status {
        todo!()
    }
}

impl Status {
    /// Makes a status.
    pub fn new(level: &str, code: &str, description: &str) -> Self {
        Self { level: level.into(), code: code.into(), description: description.into() }
    }
}
