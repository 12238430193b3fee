//! Bytes ↔ messages. Nothing in this room knows time, connections or streams; nothing decodes media.

pub mod amf0;
pub mod chunk;
pub mod command;
pub mod flv;
pub mod handshake;
pub mod message;
