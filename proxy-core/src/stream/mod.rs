//! Streams: how a pull lives, fails and comes back; who is registered; who is seated.
