//! Commands and onStatus (RTMP 1.0 §7.2): names, transaction ids, arguments.

use alloc::{string::String, vec::Vec};

use crate::wire::{
    amf0::{self, Amf0Error, Value},
    message::{Message, type_id},
};

/// One command, AMF0 or AMF3 carrying AMF0. Missing values are tolerated: transaction 0, object null.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// `connect`, `_result`, `onStatus`, …; empty if the message does not begin with a string.
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
    /// Parses a message of type 20 or 17 (of the latter one leading byte is skipped when it is 0).
    ///
    /// # Errors
    /// See [`Amf0Error`]. An empty message is a command without a name, not an error.
    pub fn parse(message: &Message) -> Result<Self, Amf0Error> {
        let body = match (message.type_id, &message.payload[..]) {
            (type_id::COMMAND_AMF3, [0, body @ ..]) => body,
            (_, body) => body,
        };
        let mut values = amf0::decode(body)?.into_iter().peekable();
        let name = match values.next() {
            Some(Value::String(name)) => name,
            _ => String::new(),
        };
        // Whoever leaves out the transaction id goes straight to the object; nothing of it may get lost.
        let transaction = match values.next_if(|value| !value.has_members()) {
            Some(Value::Number(number)) => number,
            _ => 0.0,
        };
        let object = values.next().unwrap_or(Value::Null);
        Ok(Self { name, transaction, object, arguments: values.collect() })
    }

    /// Builds the message (type 20, timestamp 0) for `stream`.
    pub fn to_message(&self, stream: u32) -> Message {
        let mut payload = Vec::new();
        amf0::encode(&[Value::String(self.name.clone()), Value::Number(self.transaction)], &mut payload);
        amf0::encode(core::slice::from_ref(&self.object), &mut payload);
        amf0::encode(&self.arguments, &mut payload);
        Message { type_id: type_id::COMMAND_AMF0, timestamp: 0, stream, payload: payload.into() }
    }

    /// Returns the information object, wherever among object and arguments it stands (`_error` of some servers
    /// puts it first); empty texts where there is none.
    pub fn status(&self) -> Status {
        let candidates = || core::iter::once(&self.object).chain(&self.arguments);
        let Some(info) = candidates()
            .find(|value| value.member("code").is_some())
            .or_else(|| candidates().find(|value| value.member("level").is_some()))
            .or_else(|| candidates().find(|value| value.member("description").is_some()))
        else {
            return Status::default();
        };
        let text = |name| info.member(name).and_then(Value::as_str).unwrap_or_default();
        Status::new(text("level"), text("code"), text("description"))
    }
}

impl Status {
    /// Makes a status.
    pub fn new(level: &str, code: &str, description: &str) -> Self {
        Self { level: level.into(), code: code.into(), description: description.into() }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn message(type_id: u8, values: &[Value]) -> Message {
        let mut payload = Vec::new();
        amf0::encode(values, &mut payload);
        Message { type_id, timestamp: 7, stream: 1, payload: payload.into() }
    }

    fn parse(values: &[Value]) -> Command {
        Command::parse(&message(20, values)).expect("AMF0 we wrote ourselves")
    }

    fn info() -> Value {
        Value::Object(vec![
            ("level".into(), "error".into()),
            ("code".into(), "NetStream.Play.StreamNotFound".into()),
            ("description".into(), "No such stream.".into()),
        ])
    }

    #[test]
    fn a_command_survives_the_round_trip() {
        let command = Command {
            name: "play".into(),
            transaction: 5.0,
            object: Value::Null,
            arguments: vec!["cam?token=1".into(), (-2000.0).into()],
        };
        let message = command.to_message(1);
        assert_eq!((message.type_id, message.timestamp, message.stream), (20, 0, 1));
        assert_eq!(Command::parse(&message), Ok(command));
    }

    #[test]
    fn missing_values_are_tolerated() {
        let empty = Command { name: String::new(), transaction: 0.0, object: Value::Null, arguments: vec![] };
        assert_eq!(parse(&[]), empty);
        assert_eq!(parse(&["closeStream".into()]), Command { name: "closeStream".into(), ..empty.clone() });
        assert_eq!(parse(&[1.0.into(), 2.0.into()]), Command { transaction: 2.0, ..empty.clone() });
        assert_eq!(
            parse(&["onStatus".into(), info()]),
            Command { name: "onStatus".into(), object: info(), ..empty.clone() }
        );
        assert_eq!(
            parse(&["play".into(), Value::Null, Value::Null, "cam".into()]),
            Command { name: "play".into(), arguments: vec!["cam".into()], ..empty }
        );
    }

    #[test]
    fn amf3_commands_lose_their_leading_zero() {
        let plain = message(17, &["play".into(), 4.0.into()]);
        let padded = Message { payload: [&[0], &plain.payload[..]].concat().into(), ..plain.clone() };
        assert_eq!(Command::parse(&plain), Command::parse(&padded));
        assert_eq!(Command::parse(&padded).map(|c| c.transaction), Ok(4.0));
    }

    #[test]
    fn the_information_object_is_found_wherever_it_stands() {
        let wanted = Status::new("error", "NetStream.Play.StreamNotFound", "No such stream.");
        assert_eq!(parse(&["onStatus".into(), 0.0.into(), Value::Null, info()]).status(), wanted);
        assert_eq!(parse(&["_error".into(), 1.0.into(), info()]).status(), wanted);
        let properties = Value::Object(vec![("fmsVer".into(), "FMS/3,0,1,123".into())]);
        assert_eq!(parse(&["_error".into(), 1.0.into(), properties, info()]).status(), wanted);
        assert_eq!(parse(&["onStatus".into()]).status(), Status::default());
        let level_only = Value::EcmaArray(vec![("level".into(), "warning".into())]);
        assert_eq!(parse(&["onStatus".into(), 0.0.into(), level_only]).status().level, "warning");
    }
}
