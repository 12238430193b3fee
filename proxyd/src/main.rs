//! The `repull` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    proxyd::cli::run()
}
