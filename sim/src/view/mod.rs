//! Views: what people look at, each a projection of a trace.

mod pcapng;
mod text;

pub use self::{pcapng::pcapng, text::text};
