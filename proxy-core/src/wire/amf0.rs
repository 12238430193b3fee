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

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec};

    use super::*;

    fn encoded(values: &[Value]) -> Vec<u8> {
        let mut out = vec![];
        encode(values, &mut out);
        out
    }

    /// Decodes `input`; what decodes must survive being encoded, and a cut anywhere must not panic.
    fn check(input: &[u8]) -> Result<Vec<Value>, Amf0Error> {
        for cut in 0..input.len() {
            let _: Result<_, _> = decode(&input[..cut]);
        }
        let decoded = decode(input);
        if let Ok(values) = &decoded {
            assert_eq!(decode(&encoded(values)).as_ref(), Ok(values));
        }
        decoded
    }

    fn members(names: &[(&str, Value)]) -> Vec<(String, Value)> {
        names.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
    }

    #[test]
    fn every_kind_has_the_bytes_of_the_specification() {
        for (value, bytes) in [
            (Value::Number(5.0), &[0, 0x40, 0x14, 0, 0, 0, 0, 0, 0][..]),
            (Value::Boolean(true), &[1, 1]),
            ("live".into(), b"\x02\0\x04live"),
            (Value::Object(members(&[("a", Value::Null)])), b"\x03\0\x01a\x05\0\0\x09"),
            (Value::Null, &[5]),
            (Value::Undefined, &[6]),
            (Value::EcmaArray(members(&[("a", true.into())])), b"\x08\0\0\0\x01\0\x01a\x01\x01\0\0\x09"),
            (Value::StrictArray(vec![Value::Null, Value::Undefined]), &[10, 0, 0, 0, 2, 5, 6]),
            (Value::Date(0.0), &[11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (Value::Xml("<a/>".into()), b"\x0F\0\0\0\x04<a/>"),
            (
                Value::Typed { class: "C".into(), members: members(&[("a", Value::Null)]) },
                b"\x10\0\x01C\0\x01a\x05\0\0\x09",
            ),
        ] {
            assert_eq!(encoded(core::slice::from_ref(&value)), bytes, "{value:?}");
            assert_eq!(check(bytes), Ok(vec![value]));
        }
    }

    #[test]
    fn kinds_without_a_value_of_their_own_are_read() {
        assert_eq!(check(&[7, 0, 1, 13, 5]), Ok(vec![Value::Undefined, Value::Undefined, Value::Null]));
        assert_eq!(check(b"\x0C\0\0\0\x02hi"), Ok(vec!["hi".into()]));
        // The time zone of a date is not believed.
        assert_eq!(check(&[11, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0x88]), Ok(vec![Value::Date(0.0)]));
        assert_eq!(check(&[1, 7]), Ok(vec![Value::Boolean(true)]));
        assert_eq!(check(b"\x02\0\x02\xFFa"), Ok(vec!["\u{FFFD}a".into()]));
    }

    #[test]
    fn avm_plus_ends_the_list_wherever_it_stands() {
        assert_eq!(check(&[5, 0x11, 0x0A, 0x0B]), Ok(vec![Value::Null]));
        let inside = Value::Object(members(&[("a", Value::Null)]));
        assert_eq!(check(b"\x03\0\x01a\x05\0\x01b\x11\x0A\x0B"), Ok(vec![inside.clone()]));
        assert_eq!(
            check(b"\x0A\0\0\0\x05\x03\0\x01a\x05\0\x01b\x11"),
            Ok(vec![Value::StrictArray(vec![inside])])
        );
    }

    #[test]
    fn a_missing_end_marker_is_tolerated_at_the_end_of_the_message() {
        let object = Value::Object(members(&[("a", Value::Null)]));
        assert_eq!(check(b"\x03\0\x01a\x05"), Ok(vec![object.clone()]));
        assert_eq!(check(b"\x03\0\x01a\x05\0\0"), Ok(vec![object.clone()]));
        assert_eq!(check(b"\x03\0\x01a\x05\0"), Err(Amf0Error::Truncated));
        let nested = Value::EcmaArray(members(&[("o", object)]));
        assert_eq!(check(b"\x08\xFF\xFF\xFF\xFF\0\x01o\x03\0\x01a\x05\0\0\x09"), Ok(vec![nested]));
    }

    #[test]
    fn names_may_be_empty_and_doubled() {
        let doubled = members(&[("", 1.0.into()), ("a", 2.0.into()), ("a", 3.0.into())]);
        let object = Value::Object(doubled);
        assert_eq!(check(&encoded(core::slice::from_ref(&object))), Ok(vec![object.clone()]));
        assert_eq!(object.member("a"), Some(&2.0.into()));
        assert_eq!(object.member(""), Some(&1.0.into()));
        assert_eq!(object.member("b"), None);
    }

    #[test]
    fn what_has_no_known_length_is_refused() {
        for marker in [0x04, 0x09, 0x0E, 0x12, 0xFF] {
            assert_eq!(check(&[5, marker, 0, 0, 0, 0]), Err(Amf0Error::Marker { marker }));
        }
        for truncated in
            [&[0, 1][..], &[1], &[2, 0], &[2, 0, 2, b'a'], &[0x0A, 0, 0, 0, 2, 5], &[0x0B, 0], &[0x0C]]
        {
            assert_eq!(check(truncated), Err(Amf0Error::Truncated), "{truncated:?}");
        }
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth| [0x0A, 0, 0, 0, 1].repeat(depth);
        assert_eq!(check(&[nested(DEPTH_MAX), vec![5]].concat()).map(|values| values.len()), Ok(1));
        assert_eq!(check(&[nested(DEPTH_MAX + 1), vec![5]].concat()), Err(Amf0Error::TooDeep));
        // 41 KB of this stops an unbounded decoder for good.
        assert_eq!(decode(&b"\x03\0\x01a".repeat(50_000)), Err(Amf0Error::TooDeep));
    }

    #[test]
    fn values_are_limited_and_counts_not_believed() {
        assert_eq!(decode(&[5; VALUES_MAX]).map(|values| values.len()), Ok(VALUES_MAX));
        assert_eq!(decode(&[5; VALUES_MAX + 1]), Err(Amf0Error::TooManyValues));
        assert_eq!(check(&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 5]), Err(Amf0Error::Truncated));
        assert_eq!(check(&[0x0C, 0xFF, 0xFF, 0xFF, 0xFF, 5]), Err(Amf0Error::Truncated));
    }

    #[test]
    fn long_texts_get_the_long_form_and_long_names_are_cut() {
        let long = "ü".repeat(40_000);
        let value = Value::String(long.clone());
        let bytes = encoded(core::slice::from_ref(&value));
        assert_eq!(bytes[..5], [0x0C, 0, 1, 0x38, 0x80]);
        assert_eq!(decode(&bytes), Ok(vec![value]));
        let object = Value::Object(vec![(long, Value::Null)]);
        let decoded = decode(&encoded(&[object])).expect("a cut name decodes");
        assert_eq!(decoded, [Value::Object(vec![("ü".repeat(32_767), Value::Null)])]);
    }
}
