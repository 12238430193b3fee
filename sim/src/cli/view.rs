//! `repull-sim view`: a trace as people look at it.

use std::{fs, io::Write as _, path::PathBuf};

use super::exit;
use crate::{trace::Logged, view};

/// What a trace is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewAs {
    /// For Wireshark: an interface per network namespace, faults as packet comments.
    Pcapng,
    /// A line for each record.
    Text,
}

/// Turns a trace into something to look at; returns the exit code.
pub fn view(trace: &PathBuf, to: ViewAs, output: Option<&PathBuf>) -> u8 {
    let read = fs::read(trace).map_err(|error| error.to_string());
    let logged = read.and_then(|bytes| Logged::read(&bytes).map_err(|error| error.to_string()));
    let viewed = logged.and_then(|logged| match to {
        ViewAs::Text => Ok(view::text(&logged).into_bytes()),
        ViewAs::Pcapng => view::pcapng(&logged).map_err(|error| error.to_string()),
    });
    let bytes = match viewed {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("repull-sim: {}: {error}", trace.display());
            return exit::USAGE;
        }
    };
    let written = match output {
        Some(path) => fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display())),
        // Who reads it may have seen enough, as `head` has.
        None => match std::io::stdout().write_all(&bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| error.to_string()),
        },
    };
    match written {
        Ok(()) => exit::HELD,
        Err(error) => {
            eprintln!("repull-sim: {error}");
            exit::USAGE
        }
    }
}
