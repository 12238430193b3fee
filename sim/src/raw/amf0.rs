//! AMF0 values, as far as commands and metadata go.

use super::RawError;

/// How deep values may nest.
pub const DEPTH_MAX: usize = 16;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Amf {
    /// Marker 0x00.
    Number(f64),
    /// Marker 0x01.
    Bool(bool),
    /// Markers 0x02 and 0x0C.
    Text(String),
    /// Marker 0x03.
    Object(Vec<(String, Amf)>),
    /// Marker 0x05.
    Null,
    /// Marker 0x06.
    Undefined,
    /// Marker 0x08.
    Ecma(Vec<(String, Amf)>),
    /// Marker 0x0A.
    Strict(Vec<Amf>),
}

impl Amf {
    /// Makes a text value.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// Returns the text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the number, if it is one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns a property of an object or ECMA array.
    pub fn property(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) | Self::Ecma(entries) => {
                entries.iter().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// Appends the value.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => {
                out.push(0);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Bool(truth) => out.extend_from_slice(&[1, u8::from(*truth)]),
            Self::Text(text) => {
                out.push(2);
                write_key(text, out);
            }
            Self::Object(entries) => {
                out.push(3);
                write_entries(entries, out);
            }
            Self::Null => out.push(5),
            Self::Undefined => out.push(6),
            Self::Ecma(entries) => {
                out.push(8);
                out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
                write_entries(entries, out);
            }
            Self::Strict(values) => {
                out.push(10);
                out.extend_from_slice(&(values.len() as u32).to_be_bytes());
                for value in values {
                    value.write(out);
                }
            }
        }
    }
}

/// Writes values one after the other, as a command or data message carries them.
pub fn write_all(values: &[Amf]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        value.write(&mut out);
    }
    out
}

/// Reads all values of a message.
pub fn read_all(mut input: &[u8]) -> Result<Vec<Amf>, RawError> {
    let mut values = Vec::new();
    while !input.is_empty() {
        values.push(read(&mut input, 0)?);
    }
    Ok(values)
}

fn read(input: &mut &[u8], depth: usize) -> Result<Amf, RawError> {
    if depth > DEPTH_MAX {
        return Err(RawError::AmfDeep);
    }
    let marker = take(input, 1)?[0];
    match marker {
        0 => {
            let bytes = take(input, 8)?;
            let mut number = [0; 8];
            number.copy_from_slice(bytes);
            Ok(Amf::Number(f64::from_be_bytes(number)))
        }
        1 => Ok(Amf::Bool(take(input, 1)?[0] != 0)),
        2 => Ok(Amf::Text(read_key(input)?)),
        3 => Ok(Amf::Object(read_entries(input, depth)?)),
        5 => Ok(Amf::Null),
        6 => Ok(Amf::Undefined),
        8 => {
            take(input, 4)?;
            Ok(Amf::Ecma(read_entries(input, depth)?))
        }
        10 => {
            let count = read_u32(input)?;
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(read(input, depth + 1)?);
            }
            Ok(Amf::Strict(values))
        }
        12 => {
            let len = read_u32(input)? as usize;
            Ok(Amf::Text(String::from_utf8_lossy(take(input, len)?).into_owned()))
        }
        marker => Err(RawError::AmfMarker { marker }),
    }
}

fn read_entries(input: &mut &[u8], depth: usize) -> Result<Vec<(String, Amf)>, RawError> {
    let mut entries = Vec::new();
    loop {
        let key = read_key(input)?;
        if key.is_empty() && input.first() == Some(&9) {
            take(input, 1)?;
            return Ok(entries);
        }
        entries.push((key, read(input, depth + 1)?));
    }
}

fn read_key(input: &mut &[u8]) -> Result<String, RawError> {
    let len = take(input, 2)?;
    let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
    Ok(String::from_utf8_lossy(take(input, len)?).into_owned())
}

fn read_u32(input: &mut &[u8]) -> Result<u32, RawError> {
    let bytes = take(input, 4)?;
    Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn take<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8], RawError> {
    let (head, tail) = input.split_at_checked(len).ok_or(RawError::AmfShort)?;
    *input = tail;
    Ok(head)
}

fn write_entries(entries: &[(String, Amf)], out: &mut Vec<u8>) {
    for (key, value) in entries {
        write_key(key, out);
        value.write(out);
    }
    out.extend_from_slice(&[0, 0, 9]);
}

/// Appends a length and the text; what does not fit 16 bits is cut, models never send so much.
fn write_key(key: &str, out: &mut Vec<u8>) {
    let bytes = &key.as_bytes()[..key.len().min(0xFFFF)];
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back() {
        let values = vec![
            Amf::text("connect"),
            Amf::Number(1.5),
            Amf::Object(vec![("a".into(), Amf::Bool(true)), ("b".into(), Amf::Null)]),
            Amf::Ecma(vec![("c".into(), Amf::Strict(vec![Amf::Undefined, Amf::text("")]))]),
        ];
        assert_eq!(read_all(&write_all(&values)), Ok(values));
    }

    #[test]
    fn bad_values_are_told() {
        assert_eq!(read_all(&[0, 1]), Err(RawError::AmfShort));
        assert_eq!(read_all(&[0x11]), Err(RawError::AmfMarker { marker: 0x11 }));
        assert_eq!(read_all(&[10, 0, 0, 0, 1].repeat(40)), Err(RawError::AmfDeep));
    }
}
