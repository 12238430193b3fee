//! The sans-IO core of Repull: an RTMP pull proxy that comes back.
//!
//! The core decides everything and does nothing. A driver feeds it [`io::Input`]s with the time at which they
//! happened, carries out the [`io::Output`]s it asks for, and calls again at the moment it names. It owns no
//! socket, clock, thread or dice but those a seed decides, so the same bytes at the same times always lead to the same outputs.
//!
//! ```text
//!        Input ──►  proxy ──► stream ──┬─► session ──► wire
//!       Output ◄──                     └─► relay   ──►
//! ```
//!
//! | room | purpose |
//! |---|---|
//! | [`wire`] | bytes ↔ messages: handshake, chunks, AMF0, commands, FLV tags |
//! | [`session`] | one RTMP conversation: the client that pulls, the server that plays |
//! | [`relay`] | frames to many players: log, GOP position, cursors, one clock, encode once |
//! | [`stream`] | registry, pull lifecycle, backoff, dial budget, players |
//! | [`dice`] | the only dice there are |
//! | [`proxy`] | owns all of it and routes inputs; hands out dice and ids |
//! | [`io`] | the whole boundary on one page |

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod config;
pub mod dice;
pub mod io;
pub mod proxy;
pub mod relay;
pub mod session;
pub mod stream;
pub mod time;
pub mod url;
pub mod wire;

pub use crate::{config::Config, proxy::Proxy, time::Instant};
