//! `repull-sim exhaust`: everything once, in a short story.

use std::{path::PathBuf, sync::atomic::Ordering};

use clap::Args;

use super::{
    exit,
    explore::{FormArg, Hunt, Progress, known_folder, not_written, processors, tell, verdict, write_found},
};
use crate::{
    explore::{self, Attempt, Conduct, RECORDS_MAX, Report, Shard, Tally},
    runner,
};

/// What `exhaust` is taught by.
pub const HELP: &str = "\
The story is run once to learn its instants: every step of a pull, every timer, every seat taken, every connection \
accepted. Then it is run once for each instant, kind of fault and host it fits, and once for each byte that an origin \
says before its first frame, cut there by FIN, by RST and by silence.

Examples:
  repull-sim exhaust scenarios/explore/connect-play-reconnect.toml
      The story kept for this: a stream is added, played, lost and found again.

Exit codes:
  0  every promise was held, or what broke is known
  1  a promise was broken that is not in the folder of known failures
  2  the file or the command line is not understood
  3  two runs of the same case differ
  6  a run did not end within its records, or the rest was not tried";

/// What `exhaust` takes.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct ExhaustArgs {
    /// The story: a scenario without faults, or with the one it is about; a few seconds long.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Runs made at a time; as many as there are processors if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Failures are written here, a scenario file for each group.
    #[arg(long, value_name = "DIR", default_value = "explore-out")]
    out: PathBuf,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t = FormArg::Text)]
    format: FormArg,
    /// Make each run twice and compare the two.
    #[arg(long)]
    twice: bool,
    /// Files of failures that are known, each with its report in refs: told apart, not counted; scenarios/known, if that is
    /// there.
    #[arg(long, value_name = "DIR")]
    known: Option<PathBuf>,
}

/// Tries everything once and tells; returns the exit code.
pub fn exhaust(args: &ExhaustArgs) -> u8 {
    let read =
        runner::find_files(std::slice::from_ref(&args.file)).map_err(|told| format!("repull-sim: {told}"));
    let read = read.and_then(|files| {
        let told = |problems: Vec<crate::scenario::Problem>| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        runner::read_files(&files).map_err(told)
    });
    let story = match read.as_deref() {
        Ok([story]) => story,
        Ok(_) => {
            eprintln!("repull-sim: {}: name one file, not a folder", args.file.display());
            return exit::USAGE;
        }
        Err(told) => {
            eprintln!("{told}");
            return exit::USAGE;
        }
    };
    let conduct = Conduct { twice: args.twice, records_max: RECORDS_MAX, ..Conduct::default() };
    let known = known_folder(args.known.as_deref())
        .and_then(|folder| explore::known_in(folder, Conduct { twice: false, ..conduct }));
    let known = match known {
        Ok(known) => known,
        Err(told) => {
            eprintln!("repull-sim: {told}");
            return exit::USAGE;
        }
    };
    let hunt = Hunt::begin(None);
    let cases = explore::cases(story);
    let mut progress = Progress::new("cases");
    let mut tally = Tally::default();
    tally.found.known = known;
    let mut attempts: Vec<Attempt> = Vec::new();
    let jobs = args.jobs.map_or_else(processors, usize::from);
    let tried = explore::exhaust(story, &cases, jobs, conduct, &hunt.is_over, |number, attempt| {
        // Counted at once, for the progress line; failures in their order, afterwards.
        tally.count(&attempt);
        progress.on_tally(&tally);
        if attempt.failure.is_some() {
            attempts.push(Attempt { seed: number, ..attempt });
        }
    });
    progress.end();
    if let Err(problems) = tried {
        for problem in problems {
            eprintln!("{problem}");
        }
        return exit::USAGE;
    }
    attempts.sort_by_key(|attempt| attempt.seed);
    for attempt in attempts {
        if let Some(failure) = attempt.failure {
            tally.found.add(attempt.seed, failure, attempt.scenario);
        }
    }
    let how = format!("repull-sim exhaust {}", args.file.display());
    let is_cut = hunt.is_interrupted.load(Ordering::Relaxed);
    let mut report = Report::of(&tally, "exhaust", &how, Shard::WHOLE, hunt.time(), is_cut);
    let written = write_found(&args.out, &tally.found, (&how, RECORDS_MAX), &mut report);
    tell(args.format, &report);
    if let Err(error) = written {
        return not_written(&args.out, &error);
    }
    verdict(&report, false)
}
