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
//! | [`scenario`] | what decides a run, as a value and as a file |
//! | [`net`] | the simulated network: namespaces, bridges, NAT, names, TCP |
//! | [`world`] | the proxy, its origins and players on that network, in virtual time |
//! | [`plane`] | where a scenario runs beside the simulated world: Linux network namespaces |
//! | [`trace`] | what a run was: numbered records, a rolling hash, files |
//! | [`oracle`] | the promises, judged from records |
//! | [`view`] | traces as text and pcapng |
//! | [`plane`], [`agree`] | the same scenario on other ground, and whether it went the same way |
//! | [`explore`] | seeds become scenarios: the search for what nobody wrote down |
//! | [`shrink`] | failures made small and understood |
//! | [`runner`], [`report`], [`cli`] | scenario files run, told, and the commands for it |
//!
//! All rooms but [`real`], [`runner`] and [`cli`] are sans-IO: time is handed in, dice come from a seed, equal inputs
//! give equal outputs.

#![forbid(unsafe_code)]
// Floats are for AMF0's numbers, which are carried and never reckoned with: rounding must not decide what a run does.
#![deny(clippy::float_arithmetic)]

pub mod agree;
pub mod cli;
pub mod dice;
pub mod explore;
mod guard;
pub mod net;
pub mod oracle;
pub mod origin;
pub mod plane;
pub mod player;
pub mod raw;
pub mod real;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod shrink;
pub mod trace;
pub mod view;
pub mod viewer;
pub mod world;
