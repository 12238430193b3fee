//! A table that is redrawn in a terminal, and plain lines everywhere else.

#![expect(clippy::disallowed_methods, reason = "a terminal redraws by the wall clock")]

use std::{
    io::{IsTerminal, Write, stdout},
    time::{Duration, Instant},
};

use crate::seconds;

/// How often the table is redrawn.
const REDRAW: Duration = Duration::from_millis(200);
/// How often it is printed where nothing can be redrawn.
const PRINT: Duration = Duration::from_secs(5);

/// Where the demo shows itself.
pub(super) struct Screen {
    is_terminal: bool,
    begun: Instant,
    drawn_at: Option<Instant>,
    /// Lines of the table on the screen.
    lines: usize,
    last: Vec<String>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let is_terminal = stdout().is_terminal();
        Self { is_terminal, begun: Instant::now(), drawn_at: None, lines: 0, last: Vec::new() }
    }

    /// Prints a line that stays, above the table.
    pub(super) fn say(&mut self, line: &str) {
        self.wipe();
        println!("{:>6}  {line}", seconds(self.begun.elapsed()));
        if self.is_terminal {
            self.paint();
        }
    }

    /// Shows the table, if it is time to.
    pub(super) fn draw(&mut self, table: &[String]) {
        self.last = table.to_vec();
        let period = if self.is_terminal { REDRAW } else { PRINT };
        if self.drawn_at.is_some_and(|at| at.elapsed() < period) {
            return;
        }
        self.drawn_at = Some(Instant::now());
        self.wipe();
        self.paint();
    }

    /// Leaves the table as it is last.
    pub(super) fn end(&mut self) {
        self.wipe();
        self.paint();
        self.lines = 0;
    }

    fn paint(&mut self) {
        // A line that wrapped in a narrow window would count as two and spoil the next redraw.
        let (no_wrap, wrap) = if self.is_terminal { ("\x1b[?7l", "\x1b[?7h") } else { ("", "") };
        for line in &self.last {
            println!("{no_wrap}{line}{wrap}");
        }
        self.lines = self.last.len();
        // A pipe may have gone; then there is nobody to show anything to.
        let _ = stdout().flush();
    }

    /// Takes the table off the screen again.
    fn wipe(&mut self) {
        if self.is_terminal && self.lines > 0 {
            print!("\x1b[{}A\x1b[J", self.lines);
        }
        self.lines = 0;
    }
}
