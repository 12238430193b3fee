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

mod marker {
    pub(super) const NUMBER: u8 = 0x00;
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const STRING: u8 = 0x02;
    pub(super) const OBJECT: u8 = 0x03;
    pub(super) const NULL: u8 = 0x05;
    pub(super) const UNDEFINED: u8 = 0x06;
    pub(super) const REFERENCE: u8 = 0x07;
    pub(super) const ECMA_ARRAY: u8 = 0x08;
    pub(super) const OBJECT_END: u8 = 0x09;
    pub(super) const STRICT_ARRAY: u8 = 0x0A;
    pub(super) const DATE: u8 = 0x0B;
    pub(super) const LONG_STRING: u8 = 0x0C;
    pub(super) const UNSUPPORTED: u8 = 0x0D;
    pub(super) const XML: u8 = 0x0F;
    pub(super) const TYPED: u8 = 0x10;
    pub(super) const AVM_PLUS: u8 = 0x11;
}

/// Decodes all values of a message. An AVM+ marker (0x11) ends the list, wherever it stands; a reference (0x07)
/// is `Undefined`; a missing object end marker at the end of the message is tolerated.
///
/// # Errors
/// See [`Amf0Error`]; nothing is allocated by a declared length or count.
pub fn decode(input: &[u8]) -> Result<Vec<Value>, Amf0Error> {
    let mut decoder = Decoder { rest: input, values: 0, stopped: false };
    let mut values = Vec::new();
    while !decoder.rest.is_empty() {
        let Some(value) = decoder.value(0)? else { break };
        values.push(value);
        if decoder.stopped {
            break;
        }
    }
    Ok(values)
}

struct Decoder<'a> {
    rest: &'a [u8],
    values: usize,
    /// AVM+ was met: what follows is AMF3, which we do not read.
    stopped: bool,
}

impl<'a> Decoder<'a> {
    /// Reads one value inside `depth` containers; `None` at an AVM+ marker.
    fn value(&mut self, depth: usize) -> Result<Option<Value>, Amf0Error> {
        if self.values == VALUES_MAX {
            return Err(Amf0Error::TooManyValues);
        }
        self.values += 1;
        let [marker] = self.take()?;
        let value = match marker {
            marker::NUMBER => Value::Number(self.number()?),
            marker::BOOLEAN => {
                let [byte] = self.take()?;
                Value::Boolean(byte != 0)
            }
            marker::STRING => Value::String(self.short_text()?),
            marker::OBJECT => Value::Object(self.members(depth)?),
            marker::NULL => Value::Null,
            marker::UNDEFINED => Value::Undefined,
            marker::REFERENCE => {
                let _index: [u8; 2] = self.take()?;
                Value::Undefined
            }
            marker::ECMA_ARRAY => {
                let _count: [u8; 4] = self.take()?;
                Value::EcmaArray(self.members(depth)?)
            }
            marker::STRICT_ARRAY => Value::StrictArray(self.elements(depth)?),
            marker::DATE => {
                let millis = self.number()?;
                let _zone: [u8; 2] = self.take()?;
                Value::Date(millis)
            }
            marker::LONG_STRING => Value::String(self.long_text()?),
            marker::UNSUPPORTED => Value::Undefined,
            marker::XML => Value::Xml(self.long_text()?),
            marker::TYPED => {
                let class = self.short_text()?;
                Value::Typed { class, members: self.members(depth)? }
            }
            marker::AVM_PLUS => {
                self.stopped = true;
                return Ok(None);
            }
            // MovieClip and RecordSet are reserved and have no layout; an end marker here ends nothing.
            marker => return Err(Amf0Error::Marker { marker }),
        };
        Ok(Some(value))
    }

    fn members(&mut self, depth: usize) -> Result<Vec<(String, Value)>, Amf0Error> {
        if depth == DEPTH_MAX {
            return Err(Amf0Error::TooDeep);
        }
        let mut members = Vec::new();
        // Encoders in the field forget the end marker of the last object.
        while !self.rest.is_empty() {
            let key = self.short_text()?;
            if key.is_empty() {
                match self.rest.first() {
                    None => break,
                    Some(&marker::OBJECT_END) => {
                        self.rest = &self.rest[1..];
                        break;
                    }
                    // An empty name is a name; FFmpeg and SRS read it so too.
                    Some(_) => {}
                }
            }
            let Some(value) = self.value(depth + 1)? else { break };
            members.push((key, value));
            if self.stopped {
                break;
            }
        }
        Ok(members)
    }

    fn elements(&mut self, depth: usize) -> Result<Vec<Value>, Amf0Error> {
        let count = u32::from_be_bytes(self.take()?);
        if depth == DEPTH_MAX {
            return Err(Amf0Error::TooDeep);
        }
        let mut elements = Vec::new();
        for _ in 0..count {
            let Some(value) = self.value(depth + 1)? else { break };
            elements.push(value);
            if self.stopped {
                break;
            }
        }
        Ok(elements)
    }

    fn number(&mut self) -> Result<f64, Amf0Error> {
        Ok(f64::from_be_bytes(self.take()?))
    }

    fn short_text(&mut self) -> Result<String, Amf0Error> {
        let len = u16::from_be_bytes(self.take()?);
        self.text(usize::from(len))
    }

    fn long_text(&mut self) -> Result<String, Amf0Error> {
        let len = u32::from_be_bytes(self.take()?);
        self.text(len as usize)
    }

    fn text(&mut self, len: usize) -> Result<String, Amf0Error> {
        let (text, rest) = self.rest.split_at_checked(len).ok_or(Amf0Error::Truncated)?;
        self.rest = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Amf0Error> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Amf0Error::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

/// Appends `values`. A text beyond 65,535 bytes becomes a long string; a key or class name, which has no long
/// form, is cut at the last character that fits.
pub fn encode(values: &[Value], out: &mut Vec<u8>) {
    for value in values {
        encode_value(value, out);
    }
}

fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Number(number) => {
            out.push(marker::NUMBER);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Boolean(boolean) => out.extend_from_slice(&[marker::BOOLEAN, u8::from(*boolean)]),
        Value::String(text) => match u16::try_from(text.len()) {
            Ok(len) => {
                out.push(marker::STRING);
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Err(_) => encode_long(marker::LONG_STRING, text, out),
        },
        Value::Object(members) => {
            out.push(marker::OBJECT);
            encode_members(members, out);
        }
        Value::Null => out.push(marker::NULL),
        Value::Undefined => out.push(marker::UNDEFINED),
        Value::EcmaArray(members) => {
            out.push(marker::ECMA_ARRAY);
            encode_len(members.len(), out);
            encode_members(members, out);
        }
        Value::StrictArray(elements) => {
            out.push(marker::STRICT_ARRAY);
            encode_len(elements.len(), out);
            encode(elements, out);
        }
        Value::Date(millis) => {
            out.push(marker::DATE);
            out.extend_from_slice(&millis.to_be_bytes());
            out.extend_from_slice(&[0, 0]);
        }
        Value::Xml(text) => encode_long(marker::XML, text, out),
        Value::Typed { class, members } => {
            out.push(marker::TYPED);
            encode_name(class, out);
            encode_members(members, out);
        }
    }
}

fn encode_members(members: &[(String, Value)], out: &mut Vec<u8>) {
    for (key, value) in members {
        encode_name(key, out);
        encode_value(value, out);
    }
    out.extend_from_slice(&[0, 0, marker::OBJECT_END]);
}

fn encode_name(name: &str, out: &mut Vec<u8>) {
    let name = &name[..name.floor_char_boundary(usize::from(u16::MAX))];
    out.extend_from_slice(&(name.len() as u16).to_be_bytes());
    out.extend_from_slice(name.as_bytes());
}

fn encode_long(marker: u8, text: &str, out: &mut Vec<u8>) {
    out.push(marker);
    encode_len(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn encode_len(len: usize, out: &mut Vec<u8>) {
    let len = u32::try_from(len).expect("a message is far below 4 GiB");
    out.extend_from_slice(&len.to_be_bytes());
}

impl Value {
    /// Returns a member of an object, ECMA array or typed object; the first of several with that name, as
    /// librtmp reads them.
    pub fn member(&self, name: &str) -> Option<&Value> {
        let members = match self {
            Self::Object(members) => members,
            Self::EcmaArray(members) => members,
            Self::Typed { members, .. } => members,
            Self::Number(_)
            | Self::Boolean(_)
            | Self::String(_)
            | Self::Null
            | Self::Undefined
            | Self::StrictArray(_)
            | Self::Date(_)
            | Self::Xml(_) => return None,
        };
        members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a number.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Tells whether this is something with members: an object, ECMA array or typed object.
    pub fn has_members(&self) -> bool {
        matches!(self, Self::Object(_) | Self::EcmaArray(_) | Self::Typed { .. })
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}
