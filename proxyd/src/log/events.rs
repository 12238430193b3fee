//! Events for programs: every one, a line of JSON each, as the core told it.
//!
//! The first line of a life says when the core's zero was and where it listens: `{"started_at": …, "rtmp": …, "http": …}`.
//! Every other is `{"at": …, "event": …}`. Times are nanoseconds, since 1970 or since the core's zero. The form follows
//! the core's own types and changes with them: read it with tools of the same version.

use std::{io, net::SocketAddr, time::Duration};

use proxy_core::{Instant, io::Event};
use serde::Serialize;

use super::Outlet;

/// Writes events down. Clones write to the same place.
#[derive(Clone, Debug)]
pub struct EventLog {
    outlet: Outlet,
}

#[derive(Serialize)]
struct Begun {
    started_at: u64,
    rtmp: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

#[derive(Serialize)]
struct Told<'a> {
    at: u64,
    event: &'a Event,
}

impl EventLog {
    /// Starts the thread that writes to `to`.
    ///
    /// # Errors
    /// The operating system has no more threads.
    pub fn new(to: impl io::Write + Send + 'static) -> io::Result<Self> {
        Ok(Self { outlet: Outlet::new(to)? })
    }

    /// Tells that a life begins: when the core's zero was, since the Unix epoch, and where it listens.
    pub fn begin(&self, started_at: Duration, rtmp: Option<SocketAddr>, http: Option<SocketAddr>) {
        let started_at = u64::try_from(started_at.as_nanos()).unwrap_or(u64::MAX);
        self.write(&Begun { started_at, rtmp, http });
    }

    /// Writes an event down.
    pub fn on_event(&self, event: &Event, now: Instant) {
        self.write(&Told { at: now.as_nanos(), event });
    }

    /// Waits until everything is written, `timeout` at most; for the end of the program.
    pub fn flush(&self, timeout: Duration) {
        self.outlet.flush(timeout);
    }

    fn write(&self, line: &impl Serialize) {
        // Plain data has a form in JSON.
        if let Ok(line) = serde_json::to_string(line) {
            self.outlet.say(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proxy_core::io::{EventKind, PullState, StreamId};
    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panics").extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_event_is_a_line_that_reads_back() {
        let kept = Kept::default();
        let log = EventLog::new(kept.clone()).expect("a thread");
        let state = PullState::Streaming;
        let kind = EventKind::PullEntered { state, failure: None, failures: 0, next_attempt: None };
        let event = Event { stream: Some(StreamId(7)), number: 3, kind };
        log.begin(Duration::from_secs(5), Some(SocketAddr::from(([127, 0, 0, 1], 1935))), None);
        log.on_event(&event, Instant::from_millis(2));
        log.flush(Duration::from_secs(10));
        let text = String::from_utf8(kept.0.lock().expect("nobody panics").clone()).expect("text");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["started_at"], 5_000_000_000_u64);
        assert_eq!(lines[0]["rtmp"], "127.0.0.1:1935");
        assert_eq!(lines[1]["at"], 2_000_000);
        let back: Event = serde_json::from_value(lines[1]["event"].clone()).expect("an event");
        assert_eq!(back, event);
    }
}
