//! AMF0 (Adobe AMF0 specification), bounded: depth, values, and nothing allocated by a declared count.

use alloc::{string::String, vec::Vec};

/// Nesting that is believed; deeper is an error.
pub const DEPTH_MAX: usize = 32;

/// Values in one message that are believed; more is an error.
pub const VALUES_MAX: usize = 4096;

/// One value. Order and kind are kept: an ECMA array is not an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Marker 0x00.
    Number(f64),
    /// Marker 0x01.
    Boolean(bool),
    /// Markers 0x02 and 0x0C (long); invalid UTF-8 is replaced.
    String(String),
    /// Marker 0x03, in order.
    Object(Vec<(String, Value)>),
    /// Marker 0x05.
    Null,
    /// Marker 0x06, and unsupported 0x0D.
    Undefined,
    /// Marker 0x08, in order; the declared count is ignored.
    EcmaArray(Vec<(String, Value)>),
    /// Marker 0x0A.
    StrictArray(Vec<Value>),
    /// Marker 0x0B: milliseconds since the epoch (the time zone is reserved).
    Date(f64),
    /// Marker 0x0F.
    Xml(String),
    /// Marker 0x10.
    Typed {
        /// The class name.
        class: String,
        /// The members, in order.
        members: Vec<(String, Value)>,
    },
}

/// Why bytes are not AMF0 we accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Amf0Error {
    /// The bytes end inside a value.
    Truncated,
    /// Deeper than [`DEPTH_MAX`].
    TooDeep,
    /// More than [`VALUES_MAX`] values.
    TooManyValues,
    /// A marker that cannot be skipped because its length is unknown.
    Marker {
        /// The marker found.
        marker: u8,
    },
}

/// Decodes all values of a message. An AVM+ marker (0x11) ends the list; a reference (0x07) is `Undefined`;
/// a missing object end marker at the end of the message is tolerated.
///
/// # Errors
/// See [`Amf0Error`]; nothing is allocated by a declared length or count.
pub fn decode(_input: &[u8]) -> Result<Vec<Value>, Amf0Error> {
    todo!()
}

/// Appends `values`.
pub fn encode(_values: &[Value], _out: &mut Vec<u8>) {
    todo!()
}

impl Value {
    /// Returns a member of an object, ECMA array or typed object.
    pub fn member(&self, _name: &str) -> Option<&Value> {
        todo!()
    }

    /// Returns the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        todo!()
    }

    /// Returns a number.
    pub fn as_number(&self) -> Option<f64> {
        todo!()
    }
}
