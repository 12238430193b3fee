//! `repull-sim merge`: the shards of one search, joined.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    exit,
    explore::{FormArg, tell, verdict},
};
use crate::explore::{Report, merge as join};

/// What `merge` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes are those of `repull-sim explore`, of all shards together; 6 as well if a shard has no report.\n\nExample:\n  repull-sim merge \
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

/// Each job has named its files from where it ran; its report may have come from there with them.
fn beside(report_at: &Path, mut report: Report) -> Report {
    let Some(folder) = report_at.parent() else { return report };
    for group in &mut report.groups {
        let before = group.file.clone().unwrap_or_default();
        if let Some(file) = group.file.as_ref().map(|file| folder.join(file)).filter(|file| file.exists()) {
            let options = group.replay.as_ref().and_then(|replay| replay.split_once(&before));
            let options = options.map_or("", |(_, options)| options);
            group.replay = Some(format!("repull-sim run {}{options}", file.display()));
            group.file = Some(file.display().to_string());
        }
    }
    report
}

/// Joins and tells; returns the exit code.
pub fn merge(args: &MergeArgs) -> u8 {
    let mut reports: Vec<Report> = Vec::new();
    for path in &args.reports {
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        match text.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string())) {
            Ok(report) => reports.push(beside(path, report)),
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
            let missed = report.shards_missed();
            for shard in &missed {
                eprintln!("repull-sim: no report of shard {shard}: nothing is known of its seeds");
            }
            match verdict(&report, args.require_marks) {
                exit::HELD | exit::MARK_MISSED if !missed.is_empty() => exit::NO_VERDICT,
                code => code,
            }
        }
        Err(error) => {
            eprintln!("repull-sim: {error}");
            exit::USAGE
        }
    }
}
