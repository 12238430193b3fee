//! `repull-sim explore`: searches for broken promises that nobody wrote a scenario for.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use super::{exit, progress::Line, time};
use crate::{
    explore::{
        self, Conduct, Found, GroupReport, Mode, NO_VERDICT, Plan, RECORDS_MAX, Report, Shard, Source,
        SwarmFile, Tally, is_recovery,
    },
    oracle::REACHABLE,
    report::Group,
    runner,
    scenario::{MARKS, model::Scenario},
};

/// What `explore` is taught by.
pub const HELP: &str = "\
A seed is expanded to a whole scenario: who there is, what they are configured to, what operators and players do, \
what goes wrong and when. It is printed, read back and run, and every promise is judged. What we keep is that file: it \
does not depend on this program's dice, `repull-sim run FILE` runs it, `repull-sim shrink FILE` makes it small.

In about half of the seeds each kind of fault is off. Things begin at any time, when something happens (a pull \
enters a state, an origin serves, a fault is lifted), and at, a nanosecond before or a nanosecond after an instant at \
which a run without them turns.

Examples:
  repull-sim explore --seeds 5000 --twice
      What CI does for each change: 5,000 seeds, each run twice and compared.
  repull-sim explore --time 1h --from 1000000 --format json > report.json
      A night's hunt from other seeds.
  repull-sim explore scenarios/explore/swarm-restarts.toml --seeds 2000
      The world, the story and the faults that a file's [swarm] section names.
  repull-sim explore --shard 3/8 --seeds 80000 --format json > shard-3.json
      One of eight jobs; `repull-sim merge shard-*.json` joins what they write.
  repull-sim explore --maximise recovery-time --seeds 20000
      The longest way back that can be found, as a scenario, beside what is promised.

Exit codes:
  0  every promise was held, or what broke is known
  1  a promise was broken that is not in the folder of known failures
  2  a file or the command line is not understood
  3  two runs of the same seed differ
  4  a mark was not reached, and --require-marks was given
  6  a run did not end within --records-max records, or the search was stopped before its end";

/// What `explore` takes.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct ExploreArgs {
    /// Scenario files with a [swarm] section, and folders of them; without any the built-in universe.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How many seeds, of all shards together; 5000 if neither this nor --time is given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Stop after this time: a number with ms, s, m or h.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    time: Option<Duration>,
    /// Runs made at a time; as many as there are processors if not given. What is found does not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// The first seed.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    from: u64,
    /// Failures are written here, a scenario file for each group.
    #[arg(long, value_name = "DIR", default_value = "explore-out")]
    out: PathBuf,
    /// Only every n-th seed, beginning with the i-th: a part of a search that several jobs share.
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    shard: Shard,
    /// How scenarios are chosen.
    #[arg(long, value_enum, default_value_t = ModeArg::Guided)]
    search: ModeArg,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t = FormArg::Text)]
    format: FormArg,
    /// Fail with exit code 4 if a mark was not reached.
    #[arg(long)]
    require_marks: bool,
    /// Make each run twice and compare the two.
    #[arg(long)]
    twice: bool,
    /// Hunt for the worst of this beside broken promises, and write it as a scenario.
    #[arg(long, value_enum, value_name = "WHAT")]
    maximise: Option<MaximiseArg>,
    /// Stop at the first failure that is not known.
    #[arg(long)]
    first: bool,
    /// Files of failures that are known, each with its report in refs: told apart, not counted; scenarios/known, if that is
    /// there.
    #[arg(long, value_name = "DIR")]
    known: Option<PathBuf>,
    /// Give a run up that makes more records than this.
    #[arg(long, value_name = "N", default_value_t = RECORDS_MAX, value_parser = clap::value_parser!(u64).range(1..))]
    records_max: u64,
    /// Write the scenario of this one seed and leave: what --search swarm makes of it.
    #[arg(long, value_name = "SEED")]
    print: Option<u64>,
}

/// How scenarios are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// Anything at any time.
    Random,
    /// Each kind of fault off in about half of the seeds, aimed at the instants at which something turns.
    Swarm,
    /// The same, and what reached something new is changed and tried again.
    Guided,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Random => Self::Random,
            ModeArg::Swarm => Self::Swarm,
            ModeArg::Guided => Self::Guided,
        }
    }
}

/// What can be made as bad as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MaximiseArg {
    /// From when nothing is in the way any more to frames.
    RecoveryTime,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormArg {
    /// For people.
    Text,
    /// For programs, and for `repull-sim merge`: one JSON object.
    Json,
}

/// Searches and tells; returns the exit code.
pub fn explore(args: &ExploreArgs) -> u8 {
    let sources = match sources(&args.paths) {
        Ok(sources) => sources,
        Err(told) => {
            eprintln!("{told}");
            return exit::USAGE;
        }
    };
    if let Some(seed) = args.print {
        let scenario = Scenario { id: format!("seed-{seed}"), ..sources[0].expand(seed, true) };
        print!("{}", crate::scenario::print(&scenario));
        return exit::HELD;
    }
    if let Err(told) = seeds_of(args) {
        eprintln!("repull-sim: {told}");
        return exit::USAGE;
    }
    let conduct = Conduct { twice: args.twice, records_max: args.records_max, ..Conduct::default() };
    let known = known_folder(args.known.as_deref())
        .and_then(|folder| explore::known_in(folder, Conduct { twice: false, ..conduct }));
    let known = match known {
        Ok(known) => known,
        Err(told) => {
            eprintln!("repull-sim: {told}");
            return exit::USAGE;
        }
    };
    let plan = Plan {
        sources,
        from: args.from,
        seeds: args.seeds.or(if args.time.is_some() { None } else { Some(SEEDS) }),
        shard: args.shard,
        mode: args.search.into(),
        maximises: args.maximise.is_some(),
        conduct,
        jobs: args.jobs.map_or_else(processors, usize::from),
        stops_at_first: args.first,
    };
    let hunt = Hunt::begin(args.time);
    let mut progress = Progress::new("seeds");
    let (whole, mut kept) = (how(args), BTreeMap::new());
    let how =
        if args.shard == Shard::WHOLE { whole.clone() } else { format!("{whole} --shard {}", args.shard) };
    let mut tally = explore::search(&plan, &hunt.is_over, known, |tally| {
        progress.on_tally(tally);
        keep(&args.out, &tally.found, &how, &mut kept);
    });
    progress.end();
    let is_cut = hunt.is_interrupted.load(Ordering::Relaxed);
    let mut report = Report::of(&tally, "explore", &whole, args.shard, hunt.time(), is_cut);
    let mut written = write_found(&args.out, &tally.found, (&how, args.records_max), &mut report);
    if args.maximise.is_some() {
        written = written.and(write_worst(&args.out, &mut tally, &how, &mut report));
    }
    tell(args.format, &report);
    if let Err(error) = written {
        return not_written(&args.out, &error);
    }
    verdict(&report, args.require_marks)
}

/// Tells, behind the report, that what it is about could not be kept; returns the exit code.
pub(super) fn not_written(out: &Path, error: &io::Error) -> u8 {
    eprintln!("repull-sim: {}: {error}; nothing was kept there: name another folder by --out", out.display());
    exit::USAGE
}

/// Seeds tried if neither a number nor a time is given.
const SEEDS: u64 = 5_000;

/// Sees that there is something to search.
fn seeds_of(args: &ExploreArgs) -> Result<(), String> {
    let seeds = args.seeds.unwrap_or(if args.time.is_some() { 1 } else { SEEDS });
    if args.from.checked_add(seeds - 1).is_none() {
        return Err(format!("--from {}: there are no {seeds} seeds from there on", args.from));
    }
    if args.time.is_none() && seeds < args.shard.part {
        return Err(format!("--shard {}: of {seeds} seeds none is its", args.shard));
    }
    Ok(())
}

/// Reads files with a `[swarm]` section; without any path there is the universe.
fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, String> {
    if paths.is_empty() {
        return Ok(vec![Source::Universe]);
    }
    let files = runner::find_files(paths).map_err(|told| format!("repull-sim: {told}"))?;
    let mut swarms = Vec::new();
    let mut problems = Vec::new();
    for file in &files {
        match SwarmFile::read(&file.text, &file.path.display().to_string()) {
            Ok(swarm) => swarms.extend(swarm.map(|file| Source::File(Box::new(file)))),
            Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        }
    }
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    if swarms.is_empty() {
        return Err("repull-sim: none of these has a [swarm] section: add one (`repull-sim props swarm` tells its keys), or \
                    name no file to search the built-in universe"
            .to_owned());
    }
    Ok(swarms)
}

/// Returns the command that makes this search again, all shards of it.
fn how(args: &ExploreArgs) -> String {
    let mut how = "repull-sim explore".to_owned();
    for path in &args.paths {
        how.push_str(&format!(" {}", path.display()));
    }
    how.push_str(&format!(" --from {}", args.from));
    if let Some(seeds) = args.seeds {
        how.push_str(&format!(" --seeds {seeds}"));
    }
    if let Some(time) = args.time {
        how.push_str(&format!(" --time {}ms", time.as_millis()));
    }
    if args.search != ModeArg::Guided {
        how.push_str(&format!(" --search {}", Mode::from(args.search).name()));
    }
    if args.maximise.is_some() {
        how.push_str(" --maximise recovery-time");
    }
    if args.twice {
        how.push_str(" --twice");
    }
    if args.first {
        how.push_str(" --first");
    }
    if args.records_max != RECORDS_MAX {
        how.push_str(&format!(" --records-max {}", args.records_max));
    }
    if let Some(known) = &args.known {
        how.push_str(&format!(" --known {}", known.display()));
    }
    how
}

/// Writes the groups that are new, or have a smaller example now, while the search goes on: whoever is killed has lost
/// nothing. What cannot be written is told at the end.
fn keep(out: &Path, found: &Found, how: &str, kept: &mut BTreeMap<Group, u64>) {
    for (group, example) in &found.groups {
        if !found.known.contains_key(group)
            && kept.get(group) != Some(&example.seed)
            && explore::save(out, group, example, how).is_ok()
        {
            kept.insert(group.clone(), example.seed);
        }
    }
}

/// Writes a file for each group, and names it in the report; so many records were allowed.
pub(super) fn write_found(
    out: &Path,
    found: &Found,
    (how, records_max): (&str, u64),
    report: &mut Report,
) -> io::Result<()> {
    for group in &mut report.groups {
        if let Some(example) = found.groups.get(&group.group)
            && group.known.is_none()
        {
            let path = explore::save(out, &group.group, example, how)?;
            group.file = Some(path.display().to_string());
            // A run of a file is given more records than one of a search.
            let limit = match group.group.promise == NO_VERDICT {
                true => format!(" --records-max {records_max}"),
                false => String::new(),
            };
            group.replay = Some(format!("repull-sim run {}{limit}", path.display()));
        }
    }
    Ok(())
}

/// Writes the scenarios of the worst recovery times.
fn write_worst(out: &Path, tally: &mut Tally, how: &str, report: &mut Report) -> io::Result<()> {
    for worst in report.worst.iter_mut() {
        let Some(known) = tally.worst.get(&worst.what).filter(|_| is_recovery(&worst.what)) else { continue };
        let stem = format!("worst-{}", worst.what.replace(' ', "-"));
        let title = format!("The longest found until {}", worst.what);
        let (observed, bound) = (known.measured.observed, known.measured.bound);
        let told = [
            format!("Found by {how}, seed {}.", known.seed),
            format!("{}: {} ms of {} ms promised.", worst.what, observed.as_millis(), bound.as_millis()),
        ];
        let path = explore::write(out, &stem, &title, &told, &known.scenario)?;
        worst.file = Some(path.display().to_string());
    }
    Ok(())
}

pub(super) fn tell(format: FormArg, report: &Report) {
    match format {
        FormArg::Text => print!("{}", report.text()),
        FormArg::Json => print!("{}", report.json()),
    }
}

/// Returns the exit code of a report.
pub(super) fn verdict(report: &Report, requires_marks: bool) -> u8 {
    let differs = Group::differs().promise;
    let is_broken = |group: &&GroupReport| group.group.promise != NO_VERDICT;
    if report.news().any(|group| group.group.promise == differs) {
        exit::NOT_DETERMINISTIC
    } else if report.news().any(|group| is_broken(&group)) {
        exit::BROKEN
    } else if report.news().next().is_some() || report.is_cut {
        exit::NO_VERDICT
    } else if requires_marks && !report.marks_missed.is_empty() {
        exit::MARK_MISSED
    } else {
        exit::HELD
    }
}

/// Returns how many runs can be made at a time.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// When a hunt ends: by its time, by Ctrl-C, or by SIGTERM, with which schedulers end a job.
pub(super) struct Hunt {
    began: Instant,
    pub(super) is_over: Arc<AtomicBool>,
    pub(super) is_interrupted: Arc<AtomicBool>,
}

impl Hunt {
    /// Begins, and listens for signals from here on: the first ends the hunt with its summary, the second at once.
    #[expect(clippy::disallowed_methods, reason = "how long to search is a matter of the wall clock")]
    pub(super) fn begin(time: Option<Duration>) -> Self {
        let hunt = Self { began: Instant::now(), is_over: Arc::default(), is_interrupted: Arc::default() };
        let (is_over, is_interrupted) = (Arc::clone(&hunt.is_over), Arc::clone(&hunt.is_interrupted));
        // It ends with the process.
        std::thread::spawn(move || {
            let Ok(runtime) = proxyd::env::runtime() else { return };
            runtime.block_on(async {
                let out = async {
                    match time {
                        Some(time) => tokio::time::sleep(time).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = out => is_over.store(true, Ordering::Relaxed),
                    Ok(()) = asked_to_end() => {
                        is_interrupted.store(true, Ordering::Relaxed);
                        is_over.store(true, Ordering::Relaxed);
                        eprintln!("\nending; once more to leave at once");
                    }
                }
                if asked_to_end().await.is_ok() {
                    std::process::exit(130);
                }
            });
        });
        hunt
    }

    /// Returns how long it has lasted.
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a search has taken is a matter of the wall clock"
    )]
    pub(super) fn time(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn asked_to_end() -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

/// A line while a hunt goes on.
pub(super) struct Progress {
    noun: &'static str,
    line: Line,
}

impl Progress {
    pub(super) fn new(noun: &'static str) -> Self {
        Self { noun, line: Line::begin() }
    }

    pub(super) fn on_tally(&mut self, tally: &Tally) {
        self.line.tell(|time| {
            let rate = u128::from(tally.seeds) * 1_000 / time.as_millis().max(1);
            let (news, known) = tally.found.counts();
            let known = if known > 0 { format!(" and {known} known") } else { String::new() };
            let cells: usize = REACHABLE.iter().map(|(_, events)| events.len()).sum();
            format!(
                "{} {}, {rate}/s, marks {}/{}, cells {}/{cells}, {} ways, {news} failing groups{known}",
                tally.seeds,
                self.noun,
                tally.marks.len(),
                MARKS.len(),
                tally.cells_reached(),
                tally.ways.len(),
            )
        });
    }

    pub(super) fn end(&self) {
        self.line.end();
    }
}

/// Returns where known failures are looked for: in the folder that is named, which must be there, or in the usual one.
///
/// # Errors
/// The folder that is named is not there.
pub(super) fn known_folder(named: Option<&Path>) -> Result<&Path, String> {
    match named {
        Some(folder) if !folder.is_dir() => Err(format!("--known {}: no such folder", folder.display())),
        Some(folder) => Ok(folder),
        None => Ok(Path::new("scenarios/known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_read_as_written() {
        assert_eq!("3/8".parse(), Ok(Shard { part: 3, of: 8 }));
        for wrong in ["0/8", "9/8", "3", "a/b", "3/0", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    fn refused(given: &[&str]) -> Option<String> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: ExploreArgs,
        }
        let line = <Line as clap::Parser>::try_parse_from([&["explore"], given].concat());
        seeds_of(&line.unwrap_or_else(|error| panic!("{error}")).args).err()
    }

    #[test]
    fn a_search_of_nothing_is_refused() {
        assert_eq!(refused(&["--seeds", "3", "--shard", "3/8"]), None);
        assert_eq!(refused(&["--time", "1s", "--shard", "8/8"]), None);
        let told = refused(&["--seeds", "3", "--shard", "5/8"]);
        assert_eq!(told.as_deref(), Some("--shard 5/8: of 3 seeds none is its"));
        let told = refused(&["--from", "18446744073709551615", "--seeds", "2"]);
        assert!(told.is_some_and(|told| told.ends_with("there are no 2 seeds from there on")));
    }
}
