//! What the integration tests share.

pub mod turmoil_env;
