//! Repull's simulated world: peers that act like the software in the field, on raw wire of their own.
//!
//! | room | purpose |
//! |---|---|
//! | [`raw`] | RTMP, AMF0, FLV and stamped frames, sharing nothing with the proxy's codec |
//! | [`origin`] | a model origin with publishers: behaviours of SRS, nginx-rtmp, ZLMediaKit, FFmpeg, and misdeeds |
//! | [`player`] | a model player, RTMP and HTTP-FLV |
//! | [`viewer`] | what a player sees, and the checks of it |
//! | [`real`] | carries origin and player over real sockets: the one room here with a clock |
//!
//! All rooms but [`real`] are sans-IO: time is handed in, nothing is random, equal inputs give equal outputs.

#![forbid(unsafe_code)]
// Floats are for AMF0's numbers, which are carried and never reckoned with: rounding must not decide what a run does.
#![deny(clippy::float_arithmetic)]

pub mod dice;
pub mod oracle;
pub mod origin;
pub mod player;
pub mod raw;
pub mod real;
pub mod scenario;
pub mod trace;
pub mod viewer;
pub(crate) mod world {
    pub(crate) mod moments;
}
