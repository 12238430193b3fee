//! Text on its way to a terminal, file or pipe, written by a thread of its own.
//!
//! A pipe nobody reads blocks whoever writes to it. The proxy does not wait: what does not fit is dropped and counted.
//! A reader that has gone away is nobody's fault either.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

/// Lines that may wait for the thread.
const LINES_MAX: usize = 4096;

/// How often a flush looks for room among the lines.
const FLUSH_STEP: Duration = Duration::from_millis(1);

/// Where text goes; clones share one thread.
#[derive(Clone, Debug)]
pub struct Outlet {
    lines: SyncSender<Note>,
    lost: Arc<AtomicU64>,
}

enum Note {
    Text(Vec<u8>),
    /// Dropped when everything before it is written.
    Flush(SyncSender<()>),
}

impl Outlet {
    /// Starts the thread that writes to `to`.
    ///
    /// # Errors
    /// The operating system has no more threads.
    #[expect(
        clippy::disallowed_methods,
        reason = "a terminal that stops must not stop the streams: it writes apart"
    )]
    pub fn new(to: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, notes) = sync_channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        thread::Builder::new().name("outlet".to_owned()).spawn(move || write_all(to, &notes, &counter))?;
        Ok(Self { lines, lost })
    }

    /// Writes a line.
    pub fn say(&self, line: &str) {
        self.send(format!("{line}\n").into_bytes());
    }

    /// Waits until everything said is written, `timeout` at most. It stops the thread: for the end of the program.
    #[expect(clippy::disallowed_methods, reason = "nothing runs any more that could be held up")]
    pub fn flush(&self, timeout: Duration) {
        let (done, written) = sync_channel(0);
        let (mut note, mut left) = (Note::Flush(done), timeout);
        // Where lines wait already, the note has to wait for its place, too.
        while let Err(refused) = self.lines.try_send(note) {
            let TrySendError::Full(back) = refused else { return };
            if left.is_zero() {
                return;
            }
            note = back;
            thread::sleep(FLUSH_STEP);
            left = left.saturating_sub(FLUSH_STEP);
        }
        match written.recv_timeout(left) {
            // The note was dropped: that is the answer.
            Err(RecvTimeoutError::Disconnected) | Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {}
        }
    }

    fn send(&self, text: Vec<u8>) {
        if self.lines.try_send(Note::Text(text)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// `tracing` formats a line and writes it in one piece.
impl Write for Outlet {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.send(text.to_vec());
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(mut to: impl Write, notes: &Receiver<Note>, lost: &AtomicU64) {
    for note in notes {
        match note {
            Note::Text(text) => {
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(to, "{lost} lines lost: whoever reads this is too slow");
                }
                let _ = to.write_all(&text).and_then(|()| to.flush());
            }
            Note::Flush(done) => drop(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc::sync_channel};

    use super::*;

    /// Takes nothing until told.
    struct Stuck {
        open: Receiver<()>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            // An error means that the gate is open for good.
            let _ = self.open.recv();
            self.taken.lock().expect("nobody panics").extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_never_blocks() {
        let (gate, open) = sync_channel::<()>(0);
        let taken = Arc::new(Mutex::new(Vec::new()));
        let outlet = Outlet::new(Stuck { open, taken: Arc::clone(&taken) }).expect("a thread");
        for n in 0..LINES_MAX * 2 {
            outlet.say(&n.to_string());
        }
        drop(gate);
        outlet.flush(Duration::from_secs(10));
        outlet.say("after");
        outlet.flush(Duration::from_secs(10));
        let text = String::from_utf8(taken.lock().expect("nobody panics").clone()).expect("text");
        let kept = text.lines().filter(|line| line.parse::<usize>().is_ok()).count();
        let lost = text.lines().filter_map(|line| line.split_once(" lines lost")?.0.parse::<usize>().ok());
        assert!(text.lines().any(|line| line == "0"), "the first lines are kept");
        assert_eq!(kept + lost.sum::<usize>(), LINES_MAX * 2, "what is left out is counted");
    }
}
