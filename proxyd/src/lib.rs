//! The shell around the core: sockets, name lookups, the HTTP API, configuration and logs.
//!
//! It carries and never decides: whatever happens is handed to [`proxy_core::Proxy`], whatever that asks for is done.
//!
//! | room | purpose |
//! |---|---|
//! | [`mod@env`] | the world a driver runs in: dial, listen, resolve, wall clock; tokio's in production |
//! | [`driver`] | one future that owns the core and every connection |
//! | [`resolve`] | name lookups beside the loop |
//! | [`http_flv`] | response bodies fed by the driver |
//! | [`http_server`] | an axum router on any environment |
//! | [`config`] | the configuration file |
//! | [`api`] | the HTTP API |
//! | [`cli`] | the command line |
//! | [`log`] | events as log lines |

pub mod api;
pub mod cli;
pub mod config;
pub mod driver;
pub mod env;
pub mod http_flv;
pub mod http_server;
pub mod log;
pub mod resolve;
