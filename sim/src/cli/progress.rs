//! What stands on stderr while something long goes on.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// One line, written over itself on a terminal.
pub(super) struct Line {
    is_terminal: bool,
    began: Instant,
    /// When the last one was written.
    told: Duration,
}

impl Line {
    pub(super) fn begin() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), began: clock(), told: Duration::ZERO }
    }

    /// Writes a line if it is time for one; `text` gets how long all this has taken.
    pub(super) fn tell(&mut self, text: impl FnOnce(Duration) -> String) {
        let time = clock().duration_since(self.began);
        // A file, not a terminal, wants to hear less often.
        let every = Duration::from_millis(if self.is_terminal { 250 } else { 10_000 });
        if time < self.told + every {
            return;
        }
        self.told = time;
        let (start, end) = if self.is_terminal { ("\r", "  ") } else { ("", "\n") };
        eprint!("{start}{}{end}", text(time));
        // A progress line that cannot be written is no reason to stop.
        let _ = io::stderr().flush();
    }

    pub(super) fn end(&self) {
        if self.is_terminal {
            eprint!("\r{:100}\r", "");
        }
    }
}

/// So many of so many.
pub(super) struct Progress {
    noun: &'static str,
    all: usize,
    done: usize,
    failed: usize,
    line: Line,
}

impl Progress {
    pub(super) fn new(all: usize, noun: &'static str) -> Self {
        Self { noun, all, done: 0, failed: 0, line: Line::begin() }
    }

    pub(super) fn on_done(&mut self, is_well: bool) {
        self.done += 1;
        self.failed += usize::from(!is_well);
        let Self { noun, all, done, failed, line } = self;
        line.tell(|_| format!("{done} of {all} {noun}, {failed} failed"));
    }

    pub(super) fn end(&self) {
        self.line.end();
    }
}

#[expect(clippy::disallowed_methods, reason = "who waits for a line waits on a real clock")]
fn clock() -> Instant {
    Instant::now()
}
