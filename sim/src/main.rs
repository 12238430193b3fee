//! The binary `repull-sim`: scenarios run and judged, and the model peers at work on real sockets.

// What a run did is told in whole numbers; only what goes over the wire as AMF0 is a float.
#![deny(clippy::float_arithmetic)]

mod demo;
mod tools;
mod watch;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use sim::{
    cli::{
        bench::{self, BenchOptions},
        check,
        defects::{self, DefectOptions, Handful},
        diff::{self as cli_diff, DiffOptions},
        exhaust::{self, ExhaustArgs},
        exit,
        explore::{self, ExploreArgs, ModeArg, processors},
        merge::{self, MergeArgs},
        props,
        prove::{self, ProveOptions},
        real, replay, run,
        seek::Seek,
        shrink::{self as cli_shrink, ShrinkOptions},
        time,
        view::{self, ViewAs},
        why::{self as cli_why, WhyOptions},
    },
    origin::Like,
    plane::{Plane, netns},
    report::Format,
    runner,
    shrink::Wish,
};

const EXAMPLES: &str = "\
Examples:
  repull-sim run scenarios
      Every scenario below the folder, each run twice on the simulated network and judged at the players.

  repull-sim run scenarios/field/3810-srs-restart.toml --seed 7 --out traces
      One file with one seed; its records and packets are kept.

  repull-sim demo
      One minute of origin, proxy and three players on this machine; the plug is pulled every ten seconds.

  repull-sim demo --for 5m --every 15s --seed 7
      Longer, gentler, with the faults in another order.

  repull-sim origin --listen 127.0.0.1:1940 --like nginx-rtmp
      An origin to point a proxy or a player at: ffplay rtmp://127.0.0.1:1940/live/test

  repull-sim play http://127.0.0.1:8080/live/test.live.flv --stream live/test --for 10s
      A player that checks what it sees.

  repull-sim watch ours=rtmp://127.0.0.1/live/cam flv=http://127.0.0.1:8080/live/cam.live.flv
      Players that stay: a line for each gap, cut and violation, with the time of day.

Exit codes:
  0  every promise was held
  1  a promise was broken
  2  a scenario or the command line is not understood, or a socket could not be opened
  3  two runs of the same seed differ
  4  a mark was not reached
  5  a planted defect survived
  6  no verdict in time";

/// Repull's simulated world.
///
/// Runs the proxy's core on a network of its own, in virtual time, with model origins and players that behave and
/// misbehave like the software in the field, and checks frame by frame what a viewer gets to see. The same models also
/// run on real sockets.
#[derive(Debug, Parser)]
#[command(name = "repull-sim", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios and judge them.
    ///
    /// Each run is made twice and compared. A scenario holds what went wrong in the world and what must hold in the
    /// end; the promises that always hold are judged in every run. See scenarios/README.md for the form.
    Run(RunArgs),
    /// Run scenarios on every plane they name, and compare.
    ///
    /// The first plane is what the others are compared with: the verdict, the order of what happened to each pull, how long
    /// frames stayed away from each player, and what the API answered. What is listed in known-differences.toml, with its
    /// reason, is told and does not count; any other difference fails, and both traces are shown around it.
    #[command(
        after_help = "Exit codes:\n  0  the planes agree, but for known differences\n  1  they do not\n  2  a bad file, a plane that \
                            cannot be had here, or a command line that is not understood\n  6  a plane gave no verdict"
    )]
    Prove {
        /// Scenario files, and folders of them.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Only on these planes.
        #[arg(long, value_enum, value_delimiter = ',', value_name = "P,...")]
        planes: Vec<PlaneArg>,
        /// This seed instead of the first each file names.
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Scenarios at a time.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
        jobs: u16,
        /// The known differences; looked for beside and above the scenarios if not given.
        #[arg(long, value_name = "FILE")]
        known: Option<PathBuf>,
        /// The binary under test, on planes that run it; the one beside this program if not given.
        #[arg(long, value_name = "FILE", env = "REPULL")]
        repull: Option<PathBuf>,
        /// The form of the table.
        #[arg(long, value_enum, default_value_t = TableArg::Text)]
        format: TableArg,
    },
    /// Run a scenario up to a record, stop there and print what every machine knows.
    Replay {
        /// The scenario.
        file: PathBuf,
        /// The seed; the file's first if not given.
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Where to stop: a record's number, or a time such as 14s or 9.268722s, and what is under way then to its end; at the
        /// first broken promise, or the end, if not given.
        #[arg(long, value_name = "STEP|TIME", value_parser = replay::parse_stop)]
        until: Option<replay::Stop>,
        /// How many of the last records to print.
        #[arg(long, value_name = "N", default_value_t = 40)]
        last: usize,
    },
    /// Make a failing scenario as small as it can be, and measure what of it matters.
    ///
    /// Takes away events, hosts, players, settings and expectations, then moves times and counts down to where it just
    /// still fails, until nothing more can go: a last pass has tried each part alone. Every case must fail by the same
    /// promise, in the same words beside numbers and names, and is run once on plane core. Comments and layout of what
    /// stays survive; ranges become the values the seed makes of them. Behind each line stands what was measured: which
    /// other fault, output or number does the same ("any fault: kill, term and vanish alike"), and where the threshold
    /// lies ("down ≥ 2.0 s needed: 1.9 s holds").
    #[command(
        after_help = "Examples:\n  repull-sim shrink found.toml\n      Prints the small file and the story of its \
                      failure.\n\n  repull-sim shrink found.toml --seed 7 --write\n      Keeps it in \
                      scenarios/regressions, under the scenario's name and the promise's. Another file of that name \
                      is never overwritten: a number is added.\n\nExit codes:\n  0  nothing to shrink: with this seed \
                      every promise is held\n  1  it fails, and was shrunk\n  2  the file, the promise or the command \
                      line is not understood\n  3  two runs of it differ\n  4  it fails by a mark it does not reach, \
                      which cannot be shrunk\n  6  its run does not end"
    )]
    Shrink {
        /// The scenario.
        file: PathBuf,
        /// The seed; the file's first if not given.
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// The promise that must break; the first that does if not given. `expect: NAME` for an expectation.
        #[arg(long, value_name = "NAME")]
        promise: Option<String>,
        /// Write the file to this folder.
        #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "scenarios/regressions")]
        write: Option<PathBuf>,
        /// Runs made at a time; as many as there are processors if not given. What comes of it is the same.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
        jobs: Option<u16>,
        /// The form of the report.
        #[arg(long, value_enum, default_value_t = TableArg::Text)]
        format: TableArg,
    },
    /// Tell how likely a failure is from each point of its run on, and where that jumps.
    ///
    /// Runs the beginning again as it was and rolls other dice from a point on, at points spread over the run; then halves
    /// the stretch in which the likelihood grows most. Before the jump the failure was one of many ends, after it nearly
    /// the only one: what lies between decided. Then only the network's, the names' or the proxy's dice are rolled anew
    /// from there, which tells whose they were.
    #[command(
        after_help = "Example:\n  repull-sim why found.toml --seed 7 --points 20\n\nExit codes:\n  0  every promise is \
                      held: there is nothing to ask why\n  1  it fails, and this is when that was decided\n  2  the \
                      file or the command line is not understood"
    )]
    Why {
        /// The scenario.
        file: PathBuf,
        /// The seed; the file's first if not given.
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Points spread over the run.
        #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=1000))]
        points: u16,
        /// Runs in all: half of them at these points.
        #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
        runs: u32,
        /// Runs made at a time; as many as there are processors if not given. What comes of it is the same.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
        jobs: Option<u16>,
        /// The form of the report.
        #[arg(long, value_enum, default_value_t = TableArg::Text)]
        format: TableArg,
    },
    /// Tell where two runs part, and what led to it.
    ///
    /// Each is a trace that `run --out` has kept, or a scenario, which is run: FILE with its first seed, FILE@SEED with
    /// that one. Told are the first record that differs at all, such as a packet a microsecond later, and the first that
    /// tells another story: of everybody what is named, without times and numbers; with its causes, one behind the other.
    #[command(
        after_help = "Examples:\n  repull-sim diff found.toml@7 found.toml@8\n  repull-sim diff before.trace \
                      after.trace\n\nExit codes:\n  0  the same, record by record\n  1  they differ\n  2  a file is \
                      not understood"
    )]
    Diff {
        /// A .trace, or a scenario with or without @SEED.
        a: String,
        /// The other.
        b: String,
        /// The form of the report.
        #[arg(long, value_enum, default_value_t = TableArg::Text)]
        format: TableArg,
    },
    /// Tell what is wrong in scenario files: place, offending word, allowed ones.
    Check {
        /// Scenario files, and folders of them.
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
        /// Tell what each file says.
        #[arg(long)]
        explain: bool,
    },
    /// List the words of scenario files: properties, events, faults, models, moments.
    Props {
        /// A section, or a word whose parameters are told.
        #[arg(value_name = "WORD")]
        word: Option<String>,
        /// Print the JSON Schema for editors.
        #[arg(long, conflicts_with = "word")]
        schema: bool,
    },
    /// Turn a trace into something to look at.
    View {
        /// A file that `run --out` has written.
        trace: PathBuf,
        /// What to turn it into.
        #[arg(long, value_enum)]
        to: ViewArg,
        /// Where to; standard output if not given.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Plant each known bug in a copy of the source and watch the scenarios that name it fail.
    ///
    /// Run it in the project's folder. It needs cargo and patch; copies and their builds go to target/defects. On planes that
    /// run the production binary it is that binary the bug is planted in.
    #[command(
        after_help = "Exit codes:\n  0  every defect was caught by the promise it names\n  2  a patch no longer \
                            applies, or a copy does not build\n  5  a defect survived"
    )]
    Defects {
        /// Which; all if none is named.
        names: Vec<String>,
        /// Where the scenarios run that name a defect.
        #[arg(long, value_enum, default_value_t = PlaneArg::Core)]
        plane: PlaneArg,
        /// Copies built at a time.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
        jobs: u16,
        /// Only a handful of so many, another one each turn.
        #[arg(long, value_name = "N", requires = "turn")]
        handful: Option<usize>,
        /// Which turn it is: any number that grows.
        #[arg(long, value_name = "N")]
        turn: Option<u64>,
        /// Only see whether the patches apply.
        #[arg(long)]
        check: bool,
        /// Before anything is planted every scenario must hold in a copy built the same way; the report of these runs, in
        /// JSON, goes to FILE.
        #[arg(long, value_name = "FILE", conflicts_with = "check")]
        control: Option<PathBuf>,
        /// Count also the seeds that so many searches of each kind need to find a defect.
        #[arg(long, value_name = "SEARCHES", conflicts_with = "check", value_parser = clap::value_parser!(u32).range(1..))]
        search: Option<u32>,
        /// Seeds after which a search gives up.
        #[arg(long, value_name = "SEEDS", default_value_t = 20_000, requires = "search", value_parser = clap::value_parser!(u64).range(1..1_000_000))]
        cap: u64,
        /// Kinds of search.
        #[arg(long, value_enum, value_delimiter = ',', default_values = ["random", "swarm", "guided"], requires = "search")]
        by: Vec<ModeArg>,
    },
    /// Measure how fast the simulated world is.
    Bench {
        /// How long each rate is measured.
        #[arg(long, value_name = "TIME", default_value = "3s", value_parser = time::parse)]
        time: Duration,
        /// Runs made in one process to see whether memory grows.
        #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(10..))]
        runs: u64,
        /// Also run all of these twice.
        #[arg(long, value_name = "DIR")]
        scenarios: Option<PathBuf>,
    },
    /// Search for broken promises that nobody wrote a scenario for.
    Explore(ExploreArgs),
    /// Try a fault of every kind at every instant of a short story, and a cut after every byte of its control exchange.
    Exhaust(ExhaustArgs),
    /// Join the reports of a search's shards.
    Merge(MergeArgs),
    /// Look after plane netns: what its worlds need, and what they may have left behind.
    Netns {
        /// What to do.
        #[arg(value_enum)]
        what: CareArg,
    },
    /// Look after plane container: the engine it needs, and what its worlds may have left behind.
    Container {
        /// What to do.
        #[arg(value_enum)]
        what: CareArg,
    },
    /// A process of a world of plane netns or container.
    #[command(hide = true)]
    NetnsPeer {
        /// The world's scenario.
        scenario: PathBuf,
        /// What it is to be.
        #[arg(required = true)]
        role: Vec<String>,
    },
    /// Print which planted defect this binary was built with.
    #[command(hide = true)]
    Defect,
    /// Show what the proxy is for: pull the plug, again and again, and watch the players.
    ///
    /// An origin, the proxy and three players (two RTMP, one HTTP-FLV) run on loopback ports of their own choice.
    /// Every few seconds the plug is pulled, each time in another way: the origin is killed, its publisher leaves,
    /// it freezes, its connections are reset, their packets are swallowed, it comes back with another picture and its
    /// clock at zero, or something else accepts in its place and resets. It is put back after a few seconds.
    ///
    /// In a terminal a table is redrawn; otherwise lines are printed. Ctrl-C ends it early, with the same last line.
    #[command(
        after_help = "Exit codes:\n  0  players were kept, saw nothing they may not see, and got frames again \
                            in time\n  1  a promise was broken\n  2  a socket could not be opened"
    )]
    Demo {
        /// How long: a number with ms, s or m.
        #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = time::parse)]
        time: Duration,
        /// From one pull of the plug to the next; it waits until the players have frames again.
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time::parse)]
        every: Duration,
        /// Decides the order of the faults and how long each lasts.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Serve a stream from a model origin until Ctrl-C.
    Origin {
        /// Where to listen; port 0 picks a free one.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The stream published.
        #[arg(long, value_name = "APP/STREAM", default_value = "live/test")]
        stream: String,
        /// The software it behaves like.
        #[arg(long, value_enum, default_value_t = Software::Srs)]
        like: Software,
    },
    /// Play a url and check what is seen.
    Play {
        /// rtmp://host:port/app/stream or http://host:port/app/stream.live.flv
        url: String,
        /// The model origin's stream that is expected; without it frames of any software are.
        #[arg(long, value_name = "APP/STREAM")]
        stream: Option<String>,
        /// How long.
        #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = time::parse)]
        time: Duration,
    },
    /// Watch urls until Ctrl-C or SIGTERM, and tell what a person in front of each would see.
    ///
    /// A line for each event: seconds since 1970, the player's name, then CONNECTED, FIRSTMEDIA, GAPSTART,
    /// GAPEND ms=N, DISCONNECT CAUSE, STATUS CODE or VIOLATION TEXT. At the end a JSON line for each player.
    Watch {
        /// Players: a name, `=` and a url as for `play`.
        #[arg(value_name = "NAME=URL", required = true, value_parser = parse_watched)]
        players: Vec<Watched>,
        /// Silence that counts as a gap, in milliseconds.
        #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
        gap_ms: u64,
        /// Ends by itself after this time.
        #[arg(long = "for", value_name = "TIME", value_parser = time::parse)]
        time: Option<Duration>,
    },
}

/// What is done about a plane that runs the real binary.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CareArg {
    /// Remove what worlds have left behind whose process is gone.
    Clean,
    /// Tell whether worlds can be made here.
    Check,
}

impl CareArg {
    /// Does it; returns the exit code.
    fn of(self, plane: Plane) -> u8 {
        match self {
            Self::Clean => real::clean(plane),
            Self::Check => real::check(plane),
        }
    }
}

/// The form of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TableArg {
    /// For people.
    Text,
    /// For programs: one JSON object.
    Json,
}

/// What a trace is turned into.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ViewArg {
    /// For Wireshark: an interface per network namespace, faults as packet comments.
    Pcapng,
    /// A line for each record.
    Text,
}

/// What `run` takes.
#[derive(Debug, Args)]
struct RunArgs {
    /// Scenario files, and folders of them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where they run; files that are not meant for it are skipped, and named.
    #[arg(long, value_enum, default_value_t = PlaneArg::Core)]
    plane: PlaneArg,
    /// The binary under test, on planes that run it; the one beside this program if not given.
    #[arg(long, value_name = "FILE", env = "REPULL")]
    repull: Option<PathBuf>,
    /// On plane netns, play origins like nginx-rtmp by nginx-rtmp itself, publishers and one player of each host by ffmpeg.
    #[arg(long)]
    real_peers: bool,
    /// On plane netns, keep the kernel's packets here: a pcapng of each run, for Wireshark.
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
    /// This seed instead of those each file names.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Runs made at a time; as many as there are processors if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Give a run up that makes more records than this: it has no verdict, and the exit code is 6.
    #[arg(long, value_name = "N", default_value_t = runner::RECORDS_MAX, value_parser = clap::value_parser!(u64).range(1..))]
    records_max: u64,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t = FormatArg::Text)]
    format: FormatArg,
    /// Keep a `.trace` of each run here, records and packets, for `repull-sim view`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the scenario here with every range resolved by the seed, and run that.
    #[arg(long, value_name = "FILE")]
    resolve: Option<PathBuf>,
}

/// Where scenarios run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PlaneArg {
    /// The core on our own network: fast, exact replay.
    Core,
    /// The production driver on turmoil: exact replay.
    Turmoil,
    /// The binary in Linux network namespaces.
    Netns,
    /// The binary in containers.
    Container,
}

impl From<PlaneArg> for Plane {
    fn from(plane: PlaneArg) -> Self {
        match plane {
            PlaneArg::Core => Self::Core,
            PlaneArg::Turmoil => Self::Turmoil,
            PlaneArg::Netns => Self::Netns,
            PlaneArg::Container => Self::Container,
        }
    }
}

/// The form of a report.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    /// For people.
    Text,
    /// For programs: one JSON object.
    Json,
    /// JUnit's XML.
    Junit,
    /// GitHub Actions' annotations.
    Github,
}

/// Returns how many runs are made at a time.
fn jobs_or_all(jobs: Option<u16>) -> usize {
    jobs.map_or_else(processors, usize::from)
}

impl RunArgs {
    fn into_options(self) -> run::RunOptions {
        let real = match self.plane {
            PlaneArg::Netns | PlaneArg::Container => {
                let options = netns::Options::default();
                Some(netns::Options {
                    repull: self.repull.unwrap_or(options.repull),
                    keep_in: self.out.clone(),
                    capture: self.pcap,
                    real_peers: self.real_peers,
                    us: options.us,
                })
            }
            PlaneArg::Core | PlaneArg::Turmoil => None,
        };
        run::RunOptions {
            paths: self.paths,
            plane: self.plane.into(),
            seed: self.seed,
            jobs: jobs_or_all(self.jobs),
            records_max: self.records_max,
            format: match self.format {
                FormatArg::Text => Format::Text,
                FormatArg::Json => Format::Json,
                FormatArg::Junit => Format::Junit,
                FormatArg::Github => Format::Github,
            },
            out: self.out,
            resolve: self.resolve,
            real,
        }
    }
}

/// A player's name and what it plays.
#[derive(Clone, Debug)]
struct Watched {
    label: String,
    url: String,
}

/// Reads `label=url`.
fn parse_watched(text: &str) -> Result<Watched, String> {
    match text.split_once('=') {
        Some((label, url)) if !label.is_empty() && !label.contains(['/', ' ']) => {
            Ok(Watched { label: label.to_owned(), url: url.to_owned() })
        }
        _ => Err("a name, `=` and a url, such as ours=rtmp://127.0.0.1/live/cam".to_owned()),
    }
}

/// Software an origin can behave like.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Software {
    /// SRS 6.
    Srs,
    /// nginx-rtmp 1.1.4.
    NginxRtmp,
    /// ZLMediaKit.
    Zlmediakit,
    /// FFmpeg with -listen 1.
    Ffmpeg,
}

impl From<Software> for Like {
    fn from(software: Software) -> Self {
        match software {
            Software::Srs => Self::Srs6,
            Software::NginxRtmp => Self::NginxRtmp,
            Software::Zlmediakit => Self::ZlMediaKit,
            Software::Ffmpeg => Self::Ffmpeg,
        }
    }
}

/// Ends quietly when whoever reads our output has seen enough, as `head` has: the standard library panics then.
fn leave_when_nobody_reads() {
    /// What a shell tells of a program that SIGPIPE has ended.
    const NOBODY_READS: i32 = 141;
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout: Broken pipe") {
            std::process::exit(NOBODY_READS);
        }
        before(info);
    }));
}

fn main() -> ExitCode {
    leave_when_nobody_reads();
    let command = match Cli::parse().command {
        Command::Run(args) => return ExitCode::from(run::run(&args.into_options())),
        Command::Prove { paths, planes, seed, jobs, known, repull, format } => {
            let real = netns::Options::default();
            return ExitCode::from(prove::prove(&ProveOptions {
                paths,
                planes: planes.into_iter().map(Plane::from).collect(),
                seed,
                jobs: usize::from(jobs),
                known,
                json: format == TableArg::Json,
                real: netns::Options { repull: repull.unwrap_or(real.repull), ..real },
            }));
        }
        Command::Replay { file, seed, until, last } => {
            return ExitCode::from(replay::replay(&replay::ReplayOptions { path: file, seed, until, last }));
        }
        Command::Shrink { file, seed, promise, write, jobs, format } => {
            let wish = Wish { seed, promise, jobs: jobs_or_all(jobs) };
            let json = format == TableArg::Json;
            return ExitCode::from(cli_shrink::run(&ShrinkOptions { path: file, wish, write, json }));
        }
        Command::Why { file, seed, points, runs, jobs, format } => {
            return ExitCode::from(cli_why::run(&WhyOptions {
                path: file,
                seed,
                points: usize::from(points),
                runs: runs as usize,
                jobs: jobs_or_all(jobs),
                json: format == TableArg::Json,
            }));
        }
        Command::Diff { a, b, format } => {
            return ExitCode::from(cli_diff::run(&DiffOptions { a, b, json: format == TableArg::Json }));
        }
        Command::Check { paths, explain } => {
            let told = check::run(&paths, explain, &mut std::io::stdout(), &mut std::io::stderr());
            // Whoever closes our output early has read enough.
            return ExitCode::from(told.unwrap_or(exit::HELD));
        }
        Command::Props { schema: true, .. } => {
            return ExitCode::from(props::schema(&mut std::io::stdout()).unwrap_or(exit::HELD));
        }
        Command::Props { word, schema: false } => {
            let told = props::run(word.as_deref(), &mut std::io::stdout(), &mut std::io::stderr());
            return ExitCode::from(told.unwrap_or(exit::HELD));
        }
        Command::View { trace, to, output } => {
            let to = match to {
                ViewArg::Pcapng => ViewAs::Pcapng,
                ViewArg::Text => ViewAs::Text,
            };
            return ExitCode::from(view::view(&trace, to, output.as_ref()));
        }
        Command::Defects { names, plane, jobs, handful, turn, check, control, search, cap, by } => {
            let handful = handful.map(|count| Handful { count, turn: turn.unwrap_or(0) });
            let (root, jobs) = (PathBuf::from("."), usize::from(jobs));
            return ExitCode::from(defects::defects(&DefectOptions {
                names,
                plane: plane.into(),
                jobs,
                handful,
                root,
                check_only: check,
                control,
                seek: search.map(|searches| Seek {
                    searches,
                    cap,
                    modes: by,
                    jobs: (processors() / jobs).max(1),
                }),
            }));
        }
        Command::Bench { time, runs, scenarios } => {
            let jobs = processors();
            return ExitCode::from(bench::bench(&BenchOptions { time, runs, scenarios, jobs }));
        }
        Command::Explore(args) => return ExitCode::from(explore::explore(&args)),
        Command::Exhaust(args) => return ExitCode::from(exhaust::exhaust(&args)),
        Command::Merge(args) => return ExitCode::from(merge::merge(&args)),
        Command::Netns { what } => return ExitCode::from(what.of(Plane::Netns)),
        Command::Container { what } => return ExitCode::from(what.of(Plane::Container)),
        Command::NetnsPeer { scenario, role } => Live::NetnsPeer { scenario, role },
        Command::Defect => {
            println!("{}", defects::DEFECT.unwrap_or("none"));
            return ExitCode::from(exit::HELD);
        }
        Command::Demo { time, every, seed } => Live::Demo(demo::Plan { time, every, seed }),
        Command::Origin { listen, stream, like } => Live::Origin { listen, stream, like: like.into() },
        Command::Watch { players, gap_ms, time } => {
            Live::Watch { players, gap: Duration::from_millis(gap_ms), time }
        }
        Command::Play { url, stream, time } => Live::Play { url, stream, time },
    };
    live(&command)
}

/// A command on real sockets.
enum Live {
    Demo(demo::Plan),
    Origin { listen: SocketAddr, stream: String, like: Like },
    Watch { players: Vec<Watched>, gap: Duration, time: Option<Duration> },
    Play { url: String, stream: Option<String>, time: Duration },
    NetnsPeer { scenario: PathBuf, role: Vec<String> },
}

fn live(command: &Live) -> ExitCode {
    let runtime = match proxyd::env::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("repull-sim: no runtime: {error}");
            return ExitCode::from(exit::USAGE);
        }
    };
    let outcome = runtime.block_on(async {
        match command {
            Live::Demo(plan) => demo::run(plan).await,
            Live::Origin { listen, stream, like } => tools::origin(*listen, stream, *like).await,
            Live::Watch { players, gap, time } => watch::watch(players, *gap, *time).await,
            Live::Play { url, stream, time } => tools::play(url, stream.as_deref(), *time).await,
            Live::NetnsPeer { scenario, role } => {
                let role = netns::agent::role_of(&netns::agent::words_of(role)?)
                    .ok_or_else(|| std::io::Error::other("no such role"))?;
                netns::agent::run(role, scenario).await.map(|()| true).map_err(std::io::Error::other)
            }
        }
    });
    match outcome {
        Ok(true) => ExitCode::from(exit::HELD),
        Ok(false) => ExitCode::from(exit::BROKEN),
        Err(error) => {
            eprintln!("repull-sim: {error}");
            ExitCode::from(exit::USAGE)
        }
    }
}

/// Writes seconds with one decimal, cut off.
fn seconds(time: Duration) -> String {
    format!("{}.{}", time.as_secs(), time.subsec_millis() / 100)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_have_one_decimal() {
        let check = |millis, text| assert_eq!(seconds(Duration::from_millis(millis)), text);
        check(0, "0.0");
        check(99, "0.0");
        check(1_250, "1.2");
        check(60_999, "60.9");
    }
}
