//! Streams: how a pull lives, fails and comes back; who is registered; who is seated.
//!
//! | file | purpose |
//! |---|---|
//! | [`registry`] | who is registered under which key, and what operators may do in which state |
//! | [`pull`] | the lifecycle of one pull: three layers of detection, three levels of recovery |
//! | [`routes`] | which news belongs to whom |
//! | [`flow`] | whether the origin is alive and every track flows |
//! | [`backoff`] | when the next attempt begins, by two laws |
//! | [`budget`] | how often we dial, and who first |
//! | [`player`] | one player's connection, from handshake to seat to goodbye |

pub mod backoff;
pub mod budget;
pub mod flow;
pub mod player;
pub mod pull;
pub mod registry;
pub mod routes;
