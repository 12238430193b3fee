//! For the tests of both sessions: says what a peer says, and writes down what it hears.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use bytes::Bytes;

use crate::wire::{
    amf0::{self, Value},
    chunk::{self, CHUNK_SIZE_DEFAULT, ChunkDecoder, ChunkLimits},
    command::Command,
    message::{Control, Message, type_id},
};

/// Encodes a message of a peer that never announces a chunk size.
pub(super) fn message(type_id: u8, stream: u32, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let payload = Bytes::copy_from_slice(payload);
    let mut out = Vec::new();
    chunk::encode(3, CHUNK_SIZE_DEFAULT, &Message { type_id, timestamp, stream, payload }, &mut out);
    out
}

pub(super) fn control(control: Control) -> Vec<u8> {
    let mut out = Vec::new();
    chunk::encode(2, CHUNK_SIZE_DEFAULT, &control.to_message(), &mut out);
    out
}

pub(super) fn command(stream: u32, name: &str, transaction: f64, rest: &[Value]) -> Vec<u8> {
    let mut payload = Vec::new();
    amf0::encode(&[name.into(), transaction.into()], &mut payload);
    amf0::encode(rest, &mut payload);
    message(type_id::COMMAND_AMF0, stream, 0, &payload)
}

pub(super) fn data(stream: u32, values: &[Value]) -> Vec<u8> {
    let mut payload = Vec::new();
    amf0::encode(values, &mut payload);
    message(type_id::DATA_AMF0, stream, 0, &payload)
}

pub(super) fn object(members: &[(&str, Value)]) -> Value {
    Value::Object(members.iter().map(|(name, value)| (name.to_string(), value.clone())).collect())
}

pub(super) fn info(level: &str, code: &str, description: &str) -> Value {
    object(&[("level", level.into()), ("code", code.into()), ("description", description.into())])
}

pub(super) fn status(stream: u32, level: &str, code: &str) -> Vec<u8> {
    command(stream, "onStatus", 0.0, &[Value::Null, info(level, code, "")])
}

/// Writes down messages, one line each: `1 play 3 null "cam" -2000`, `0 PingResponse(7)`.
pub(super) struct Listener(ChunkDecoder);

impl Listener {
    pub(super) fn new() -> Self {
        Self(ChunkDecoder::new(ChunkLimits::ORIGIN))
    }

    pub(super) fn hear(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let decoded = self.0.decode(bytes).expect("our own chunks");
            bytes = &bytes[decoded.used..];
            let Some(message) = decoded.message else {
                return lines;
            };
            lines.push(format!("{} {}", message.stream, line(&message)));
        }
    }
}

fn line(message: &Message) -> String {
    if let Some(control) = message.control() {
        return format!("{control:?}");
    }
    match message.type_id {
        type_id::COMMAND_AMF0 => {
            let command = Command::parse(message).expect("our own AMF0");
            let mut line = format!("{} {} {}", command.name, command.transaction, text(&command.object));
            for value in &command.arguments {
                line.push(' ');
                line.push_str(&text(value));
            }
            line
        }
        other => format!("type {other}, {} bytes at {}", message.payload.len(), message.timestamp),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Number(number) => number.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::StrictArray(values) => {
            format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}
