//! What crosses the core's boundary, as records tell it.

use proxy_core::io::{Input, Output, PlayAnswer};

use super::{Inward, Outward};

impl Inward {
    /// Returns what a record tells of an input.
    pub(crate) fn of(input: &Input<'_>) -> Self {
        match input {
            Input::Timeout => Self::Timeout,
            Input::Listening { .. } => Self::Listening,
            Input::Resolved { query, answer } => Self::Resolved {
                query: query.0,
                answer: answer.as_ref().map(|ips| small(ips.len())).map_err(|error| *error),
            },
            Input::Connected { conn, outcome } => {
                Self::Connected { conn: conn.0, failed: outcome.as_ref().err().copied() }
            }
            Input::Accepted { conn, peer, .. } => Self::Accepted { conn: conn.0, peer: *peer },
            Input::PlayHttp { conn, peer, .. } => Self::PlayHttp { conn: conn.0, peer: *peer },
            Input::Received { conn, bytes } => Self::Received { conn: conn.0, len: length(bytes.len()) },
            Input::Sent { conn, len } => Self::Sent { conn: conn.0, len: length(*len) },
            Input::Closed { conn, hangup } => Self::Closed { conn: conn.0, hangup: *hangup },
            Input::Request { id, .. } => Self::Request { id: id.0 },
            Input::Answered { ask, .. } => Self::Answered { ask: ask.0 },
        }
    }
}

impl Outward {
    /// Returns what a record tells of an output; `None` for an event, which has records of its own.
    pub(crate) fn of(output: &Output) -> Option<Self> {
        Some(match output {
            Output::Resolve { query, .. } => Self::Resolve { query: query.0 },
            Output::Connect { conn, addr } => Self::Connect { conn: conn.0, addr: *addr },
            Output::Transmit { conn, bytes } => Self::Transmit { conn: conn.0, len: length(bytes.len()) },
            Output::Close { conn } => Self::Close { conn: conn.0 },
            Output::Abort { conn } => Self::Abort { conn: conn.0 },
            Output::Reply { id, .. } => Self::Reply { id: id.0 },
            Output::Ask { ask, .. } => Self::Ask { ask: ask.0 },
            Output::PlayAnswer { conn, answer } => {
                Self::PlayAnswer { conn: conn.0, streams: matches!(answer, PlayAnswer::Stream) }
            }
            Output::Event(_) => return None,
        })
    }
}

fn small(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
