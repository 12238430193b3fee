//! `repull-sim merge`: the shards of one search, joined.

use std::{fs, path::PathBuf};

use clap::Args;

use super::{
    exit,
    explore::{FormArg, tell, verdict},
};
use crate::explore::{Report, merge as join};

/// What `merge` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes are those of `repull-sim explore`, of all shards together.\n\nExample:\n  repull-sim merge \
                  shard-*.json"
)]
pub struct MergeArgs {
    /// What `repull-sim explore --format json` has written, a file for each shard.
    #[arg(value_name = "REPORT", required = true)]
    reports: Vec<PathBuf>,
    /// The form of the whole.
    #[arg(long, value_enum, default_value_t = FormArg::Text)]
    format: FormArg,
    /// Fail with exit code 4 if a mark was reached by no shard.
    #[arg(long)]
    require_marks: bool,
}

/// Joins and tells; returns the exit code.
pub fn merge(args: &MergeArgs) -> u8 {
    let mut reports: Vec<Report> = Vec::new();
    for path in &args.reports {
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        match text.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string())) {
            Ok(report) => reports.push(report),
            Err(error) => {
                eprintln!(
                    "repull-sim: {}: {error}; a report is what `explore --format json` writes",
                    path.display()
                );
                return exit::USAGE;
            }
        }
    }
    match join(reports) {
        Ok(report) => {
            tell(args.format, &report);
            verdict(&report, args.require_marks)
        }
        Err(error) => {
            eprintln!("repull-sim: {error}");
            exit::USAGE
        }
    }
}
