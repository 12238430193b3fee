//! `repull-sim defects`: plants each field bug in a copy of the source, and watches a scenario fail by its promise.
//!
//! ```text
//!  sim/defects/NAME.patch ──► scratch copy ──► its own build ──► "which defect are you?" ──► scenarios
//!                                                                                   must fail by the promise it names
//! ```
//! A copy is built in target folders of its own, with a profile of its own: in the project's a planted binary would be
//! left behind as the fresh one. Each lane plants one defect after another in the same copy and touches only files that
//! differ, so that the compiler does again what a patch changes and no more. The binary says which defect it was built
//! with, and no other is judged.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;

use super::{
    exit,
    seek::{Seek, Sought},
};
use crate::{
    explore::Mode,
    plane::{self, Plane},
    runner::{self, File},
    scenario::{model::Scenario, words::PLANES},
};

/// The environment variable a planted copy is built with; the binary keeps it.
const PLANTED: &str = "REPULL_SIM_PLANTED";

/// The defect this binary was built with.
pub const DEFECT: Option<&str> = option_env!("REPULL_SIM_PLANTED");

/// The promise that a run made again is the same.
const DETERMINISM: &str = "determinism";

/// What a copy without a defect is built with.
const NOTHING: &str = "nothing";

/// What is to be judged.
#[derive(Clone, Debug)]
pub struct DefectOptions {
    /// Names of defects; none: all.
    pub names: Vec<String>,
    /// Where the scenarios run.
    pub plane: Plane,
    /// Copies built at a time.
    pub jobs: usize,
    /// Every so many of them, beginning with one that `turn` decides; for a gate that takes a handful each time.
    pub handful: Option<Handful>,
    /// The project's folder.
    pub root: PathBuf,
    /// Only whether the patches apply.
    pub check_only: bool,
    /// Where the report of a copy without a defect goes, if one is to be run.
    pub control: Option<PathBuf>,
    /// How they are searched for by seeds besides.
    pub seek: Option<Seek>,
}

/// A rotating choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handful {
    /// How many.
    pub count: usize,
    /// Which turn it is.
    pub turn: u64,
}

/// A planted defect, as its patch describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Defect {
    name: String,
    patch: PathBuf,
    /// What it brings back, in a sentence.
    sentence: String,
    /// The promises by which it may be caught; any of them counts.
    promises: Vec<String>,
    /// By which scenario and promise it was caught when that was last watched; a handful is taken of such only.
    is_proven: bool,
    /// The only plane it can be seen on, if it is not in the core.
    plane: Option<Plane>,
    /// Why it fails more than half of the field's files, if it does.
    why_many: Option<String>,
}

/// What became of a defect.
#[derive(Debug)]
struct Judged {
    defect: Defect,
    verdict: Caught,
    /// Field files that hold with it, of how many.
    field: (usize, usize),
    /// What searches by seeds came to, of each kind in turn.
    sought: Vec<Sought>,
}

#[derive(Debug)]
enum Caught {
    /// By this scenario and promise, in the run of this number.
    By { scenario: String, promise: String, runs: usize },
    /// Scenarios that name it hold, or fail by something else.
    Survived(String),
    /// Its patch applies; nothing was run.
    Applies,
    /// It could not be judged.
    Error(String),
}

/// Judges defects and prints a table; returns the exit code.
pub fn defects(options: &DefectOptions) -> u8 {
    match judge_all(options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("repull-sim: {error}");
            exit::USAGE
        }
    }
}

fn judge_all(options: &DefectOptions) -> io::Result<u8> {
    plane::check(options.plane, false).map_err(|why| io::Error::other(why.to_string()))?;
    // Each copy is built in its own folder: what is relative would lead elsewhere there.
    let options = &DefectOptions { root: fs::canonicalize(&options.root)?, ..options.clone() };
    let all = read_defects(&options.root.join("sim/defects"))?;
    let chosen = choose(&all, options)?;
    let files = runner::find_files(&[options.root.join("scenarios")]).map_err(io::Error::other)?;
    let scenarios = runner::read_files(&files).map_err(|problems| {
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        io::Error::other(text.join("\n"))
    })?;
    refuse_strangers(&all, &files, &scenarios)?;
    let next = AtomicUsize::new(0);
    let told = |judged: &Judged| {
        match &judged.verdict {
            Caught::By { scenario, promise, .. } => {
                eprintln!("{}: caught: {scenario} by {promise}", judged.defect.name)
            }
            Caught::Survived(seen) => eprintln!("{}: SURVIVED: {seen}", judged.defect.name),
            Caught::Applies => {}
            Caught::Error(error) => eprintln!("{}: ERROR: {error}", judged.defect.name),
        }
        if !judged.sought.is_empty() {
            eprintln!("{}", options.seek_row(judged));
        }
    };
    let judged = Mutex::new(Vec::new());
    let bench = Bench { options, files: &files, scenarios: &scenarios };
    if let Some(report) = &options.control {
        bench.control(report)?;
    }
    run_lanes(options.jobs.clamp(1, chosen.len().max(1)), |lane| {
        while let Some(defect) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !options.check_only {
                eprintln!("planting {} ({})", defect.name, defect.sentence);
            }
            let judgement = bench.judge(defect, lane);
            told(&judgement);
            judged.lock().unwrap_or_else(PoisonError::into_inner).push(judgement);
        }
    });
    let mut judged = judged.into_inner().unwrap_or_else(PoisonError::into_inner);
    judged.sort_by(|a, b| a.defect.name.cmp(&b.defect.name));
    let missed = options.seek.as_ref().map_or(0, |seek| options.print_seek(seek, &judged));
    Ok(print(&judged, missed))
}

impl DefectOptions {
    fn seek_row(&self, judged: &Judged) -> String {
        let cap = self.seek.as_ref().map_or(0, |seek| seek.cap);
        let cells: Vec<String> = judged.sought.iter().map(|sought| sought.tell(cap)).collect();
        format!("| `{}` | {} |", judged.defect.name, cells.join(" | "))
    }

    /// Prints a table in Markdown: seeds until a defect is found, the median of the searches of a kind. Returns how many
    /// no kind of search finds half of the time.
    fn print_seek(&self, seek: &Seek, judged: &[Judged]) -> usize {
        let modes: Vec<&str> = seek.modes.iter().map(|mode| Mode::from(*mode).name()).collect();
        println!("| defect | {} |\n|---|{}", modes.join(" | "), "---|".repeat(modes.len()));
        let mut missed = 0;
        for judged in judged.iter().filter(|judged| !judged.sought.is_empty()) {
            println!("{}", self.seek_row(judged));
            missed += usize::from(judged.sought.iter().all(|sought| sought.median().is_none()));
        }
        println!("\n{missed} that no kind of search finds within {} seeds half of the time\n", seek.cap);
        missed
    }
}

#[expect(clippy::disallowed_methods, reason = "each thread waits for processes: cargo, and planted binaries")]
fn run_lanes(lanes: usize, work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for lane in 0..lanes {
            let work = &work;
            scope.spawn(move || work(lane));
        }
    });
}

/// Reads every patch's head: `key: value` lines before the first `---`.
fn read_defects(folder: &Path) -> io::Result<Vec<Defect>> {
    let mut defects = Vec::new();
    for entry in fs::read_dir(folder)? {
        let patch = entry?.path();
        if patch.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let text = fs::read_to_string(&patch)?;
        let head = || text.lines().take_while(|line| !line.starts_with("---"));
        let value =
            |key: &str| head().find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim));
        let name = patch.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let missing =
            |key: &str| io::Error::other(format!("{}: no `{key}:` line before the patch", patch.display()));
        defects.push(Defect {
            sentence: value("defect").ok_or_else(|| missing("defect"))?.to_owned(),
            promises: value("promise")
                .ok_or_else(|| missing("promise"))?
                .split(',')
                .map(|promise| promise.trim().to_owned())
                .collect(),
            is_proven: value("caught").is_some(),
            plane: value("plane").map(plane_named).transpose()?,
            why_many: value("why-many").map(str::to_owned),
            name,
            patch,
        });
    }
    defects.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(defects)
}

fn plane_named(name: &str) -> io::Result<Plane> {
    let known = PLANES.iter().find(|(known, ..)| *known == name).map(|(_, plane, _)| *plane);
    known.ok_or_else(|| io::Error::other(format!("no plane `{name}`")))
}

fn choose(all: &[Defect], options: &DefectOptions) -> io::Result<Vec<Defect>> {
    if !options.names.is_empty() {
        let find = |name: &String| {
            all.iter().find(|defect| defect.name == *name).cloned().ok_or_else(|| {
                let known: Vec<&str> = all.iter().map(|defect| defect.name.as_str()).collect();
                io::Error::other(format!("no defect `{name}`; there are {}", known.join(", ")))
            })
        };
        let named = options.names.iter().map(find).collect::<io::Result<Vec<Defect>>>()?;
        for Defect { name, plane, .. } in &named {
            if let Some(plane) = plane.filter(|plane| *plane != options.plane && !options.check_only) {
                let plane = plane::name(plane);
                return Err(io::Error::other(format!(
                    "`{name}` is seen on plane {plane} alone; add --plane {plane}"
                )));
            }
        }
        return Ok(named);
    }
    let is_here =
        |defect: &&Defect| defect.plane.is_none_or(|plane| plane == options.plane || options.check_only);
    let here = all.iter().filter(is_here);
    let Some(Handful { count, turn }) = options.handful else { return Ok(here.cloned().collect()) };
    let proven: Vec<&Defect> = here.filter(|defect| defect.is_proven).collect();
    let len = proven.len().max(1);
    let start = usize::try_from(turn % len as u64).unwrap_or(0) * count % len;
    Ok((0..count.min(len)).filter_map(|n| proven.get((start + n) % len).copied().cloned()).collect())
}

/// Every name in a scenario is a defect.
fn refuse_strangers(all: &[Defect], files: &[File], scenarios: &[Scenario]) -> io::Result<()> {
    for (file, scenario) in files.iter().zip(scenarios) {
        if let Some(name) =
            scenario.defects.iter().find(|name| !all.iter().any(|defect| defect.name == **name))
        {
            return Err(io::Error::other(format!("{}: there is no defect `{name}`", file.path.display())));
        }
    }
    Ok(())
}

/// What every judgement needs.
struct Bench<'a> {
    options: &'a DefectOptions,
    files: &'a [File],
    scenarios: &'a [Scenario],
}

impl Bench<'_> {
    fn judge(&self, defect: &Defect, lane: usize) -> Judged {
        let mut judged =
            Judged { defect: defect.clone(), verdict: Caught::Applies, field: (0, 0), sought: Vec::new() };
        if let Err(error) = self.try_judge(&mut judged, lane) {
            judged.verdict = Caught::Error(error.to_string());
        }
        judged
    }

    fn try_judge(&self, judged: &mut Judged, lane: usize) -> io::Result<()> {
        let defect = &judged.defect;
        let lane = self.lane(lane);
        let scratch = lane.join("source");
        self.copy(&scratch)?;
        self.plant(defect, &scratch)?;
        if self.options.check_only {
            return Ok(());
        }
        let is_named = self.scenarios.iter().any(|scenario| scenario.defects.contains(&defect.name));
        if !is_named {
            judged.verdict = Caught::Survived("no scenario names it".to_owned());
            // Searches need no scenario.
            if self.options.seek.is_none() {
                return Ok(());
            }
        }
        let binary = build(&defect.name, self.options.plane, &scratch, &lane.join("target"))?;
        let said = Command::new(&binary).arg("defect").output()?;
        if String::from_utf8_lossy(&said.stdout).trim() != defect.name {
            let text = format!("{} says it is not the binary with this defect", binary.display());
            return Err(io::Error::other(text));
        }
        if is_named {
            judged.verdict = self.catch(defect, &binary)?;
        }
        // How much of the field a defect breaks is the core's matter; other planes take too long for it.
        if self.options.plane == Plane::Core {
            judged.field = self.field(&binary)?;
        }
        if let Some(seek) = &self.options.seek {
            let twice = defect.promises.iter().any(|promise| promise == DETERMINISM);
            judged.sought = seek.seek(&binary, twice)?;
        }
        Ok(())
    }

    fn lane(&self, lane: usize) -> PathBuf {
        self.options.root.join(format!("target/defects/lane{lane}"))
    }

    /// Runs every scenario in a copy without a defect: what fails there is no defect's doing.
    fn control(&self, report: &Path) -> io::Result<()> {
        eprintln!("planting nothing, and running every scenario");
        let lane = self.lane(0);
        let scratch = lane.join("source");
        self.copy(&scratch)?;
        let binary = build(NOTHING, Plane::Core, &scratch, &lane.join("target"))?;
        let scenarios = self.options.root.join("scenarios");
        let output = Command::new(&binary).args(["run", "--format", "json"]).arg(scenarios).output()?;
        fs::write(report, &output.stdout)?;
        if output.status.success() {
            return Ok(());
        }
        let runs = runs_of(&output)?;
        let failed = runs.iter().find(|run| run["verdict"] != "held");
        let which = failed.and_then(|run| run["scenario"].as_str()).unwrap_or("?");
        Err(io::Error::other(format!("`{which}` fails without any defect: mend that first")))
    }

    /// Makes a copy of the source.
    fn copy(&self, scratch: &Path) -> io::Result<()> {
        fs::create_dir_all(scratch)?;
        for part in
            ["Cargo.toml", "Cargo.lock", "Containerfile", ".cargo", "proxy-core", "proxyd", "sim", "tests"]
        {
            mirror(&self.options.root.join(part), &scratch.join(part))?;
        }
        Ok(())
    }

    /// Applies the patch to a copy.
    fn plant(&self, defect: &Defect, scratch: &Path) -> io::Result<()> {
        let patch = fs::canonicalize(&defect.patch)?;
        let applied = Command::new("patch")
            .args(["--strip=1", "--batch", "--forward", "--fuzz=2", "--no-backup-if-mismatch", "--input"])
            .arg(patch)
            .current_dir(scratch)
            .output()
            .map_err(|error| io::Error::new(error.kind(), format!("patch cannot be run: {error}")))?;
        if applied.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&applied.stdout).trim().to_owned();
        let name = &defect.name;
        let kept = self.options.root.join("target/defects").join(name);
        mirror(scratch, &kept)?;
        Err(io::Error::other(format!(
            "the patch no longer applies:\n{told}\n  make its change by hand in {0}, then\n  \
             (sed '/^---/,$d' sim/defects/{name}.patch; diff -ru --label a/FILE --label b/FILE FILE {0}/FILE) > fresh.patch \
             && mv fresh.patch sim/defects/{name}.patch",
            kept.display()
        )))
    }

    /// Runs the scenarios that name the defect until one fails as it must.
    fn catch(&self, defect: &Defect, binary: &Path) -> io::Result<Caught> {
        let plane = self.options.plane;
        let is_meant = |scenario: &Scenario| {
            scenario.defects.contains(&defect.name) && scenario.run.planes.contains(&plane)
        };
        let naming = self.files.iter().zip(self.scenarios).filter(|(_, scenario)| is_meant(scenario));
        let mut seen = Vec::new();
        let mut runs = 0;
        for (file, scenario) in naming {
            for seed in &scenario.run.seeds {
                runs += 1;
                match one_run(binary, plane, &file.path, *seed)? {
                    Some(promise) if defect.promises.contains(&promise) => {
                        return Ok(Caught::By { scenario: scenario.id.clone(), promise, runs });
                    }
                    Some(promise) => seen.push(format!("{} broke {promise}", scenario.id)),
                    None => seen.push(format!("{} held", scenario.id)),
                }
            }
        }
        seen.dedup();
        Ok(Caught::Survived(seen.join(", ")))
    }

    /// Counts the field's files that hold.
    fn field(&self, binary: &Path) -> io::Result<(usize, usize)> {
        let folder = self.options.root.join("scenarios/field");
        let output =
            Command::new(binary).args(["run", "--format", "json", "--jobs", "1"]).arg(folder).output()?;
        let runs = runs_of(&output)?;
        let mut held: BTreeMap<&str, bool> = BTreeMap::new();
        for run in &runs {
            let id = run["scenario"].as_str().unwrap_or_default();
            *held.entry(id).or_insert(true) &= run["verdict"] == "held";
        }
        Ok((held.values().filter(|held| **held).count(), held.len()))
    }
}

/// Returns the promise one run broke first, `determinism` if it was made twice and differed, `None` if it held.
fn one_run(binary: &Path, plane: Plane, file: &Path, seed: u64) -> io::Result<Option<String>> {
    let seed = seed.to_string();
    let args = ["run", "--format", "json", "--plane", plane::name(plane), "--seed", &seed];
    let output = Command::new(binary).args(args).arg(file).output()?;
    let runs = runs_of(&output)?;
    let Some(run) = runs.first() else { return Err(io::Error::other("no run in the report")) };
    Ok(match run["verdict"].as_str() {
        Some("held") => None,
        Some("differs") => Some(DETERMINISM.to_owned()),
        Some("no-verdict") => Some("nothing, for there was no verdict in time".to_owned()),
        _ => Some(run["findings"][0]["promise"].as_str().unwrap_or("?").to_owned()),
    })
}

fn runs_of(output: &Output) -> io::Result<Vec<Value>> {
    let value: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
        // A planted panic is as good as a broken promise, but nobody promised it: say what it was.
        io::Error::other(format!("no report: {}", String::from_utf8_lossy(&output.stderr).trim()))
    })?;
    Ok(value["runs"].as_array().cloned().unwrap_or_default())
}

/// Builds a planted copy; returns its `repull-sim`. Planes that run the production binary find it beside that one.
fn build(defect: &str, plane: Plane, scratch: &Path, target: &Path) -> io::Result<PathBuf> {
    // One after the other: built together they would share features.
    let mut packages = vec![("sim", "repull-sim")];
    if !plane::is_exact(plane) {
        packages.push(("proxyd", "repull"));
    }
    for (package, binary) in packages {
        let output = Command::new("cargo")
            .args(["build", "--locked", "--quiet", "--profile", "planted", "-p", package, "--bin", binary])
            .current_dir(scratch)
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_INCREMENTAL", "1")
            .env(PLANTED, defect)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("the planted copy does not build:\n{}", told.trim())));
        }
    }
    Ok(target.join("planted/repull-sim"))
}

/// Makes `to` what `from` is, but for `target` folders, and leaves files alone that are the same already: a new time
/// would make cargo build them again.
fn mirror(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        let text = fs::read(from)?;
        return if fs::read(to).is_ok_and(|before| before == text) { Ok(()) } else { fs::write(to, text) };
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !from.join(entry.file_name()).exists() {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() != "target" {
            mirror(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Prints the table of verdicts; returns the exit code, `missed` defects being survivors of a search.
fn print(judged: &[Judged], missed: usize) -> u8 {
    let width = judged.iter().map(|judged| judged.defect.name.len()).max().unwrap_or(0).max(6);
    println!(
        "{:<width$}  {:<40}  {:<16}  {:>4}  field files that hold",
        "defect", "scenario", "promise", "runs"
    );
    let (mut survived, mut applied, mut errors) = (0, 0, 0);
    for Judged { defect, verdict, field: (held, all), .. } in judged {
        let name = &defect.name;
        match verdict {
            Caught::By { scenario, promise, runs } => {
                let why = match (&defect.why_many, held * 2 < *all) {
                    (Some(why), true) => format!(" ({why})"),
                    (None, true) => " (fewer than half: the patch must say why-many)".to_owned(),
                    (_, false) => String::new(),
                };
                let field = if *all > 0 { format!("{held} of {all}{why}") } else { "not counted".to_owned() };
                println!("{name:<width$}  {scenario:<40}  {promise:<16}  {runs:>4}  {field}");
                errors += usize::from(held * 2 < *all && defect.why_many.is_none());
            }
            Caught::Survived(seen) => {
                survived += 1;
                let promises = defect.promises.join(" or ");
                println!("{name:<width$}  SURVIVED: {promises} expected; {seen}");
            }
            Caught::Applies => {
                applied += 1;
                println!("{name:<width$}  applies");
            }
            Caught::Error(error) => {
                errors += 1;
                println!("{name:<width$}  ERROR: {error}");
            }
        }
    }
    if applied > 0 {
        println!("{applied} of {} patches apply, nothing was run", judged.len());
    } else {
        let caught = judged.len() - survived - errors;
        println!("{} planted, {caught} caught, {survived} survived, {errors} errors", judged.len());
    }
    if errors > 0 {
        exit::USAGE
    } else if survived + missed > 0 {
        exit::SURVIVED
    } else {
        exit::HELD
    }
}
