//! The binary `repull-sim`: the model peers at work.

// What a run did is told in whole numbers; only what goes over the wire as AMF0 is a float.
#![deny(clippy::float_arithmetic)]

mod demo;
mod tools;
mod watch;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use sim::{cli, origin::Like};

/// A promise was broken.
const EXIT_BROKEN: u8 = 1;
/// The command line is not understood, or a socket cannot be had.
const EXIT_USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
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
  1  a promise was broken; the last line says which
  2  the command line is not understood, or a socket could not be opened";

/// Repull's simulated world.
///
/// Model origins and players with raw RTMP of their own, that behave and misbehave like the software in the field, and
/// that check frame by frame what a viewer gets to see.
#[derive(Debug, Parser)]
#[command(name = "repull-sim", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
        #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_time)]
        time: Duration,
        /// From one pull of the plug to the next; it waits until the players have frames again.
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
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
        #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = parse_time)]
        time: Duration,
    },
    /// Tell what is wrong in scenario files: place, offending word, allowed ones.
    ///
    /// Of a folder every *.toml below it.
    Check {
        /// Files and folders.
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
        #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
        time: Option<Duration>,
    },
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let about_files = match &cli.command {
        Command::Check { paths, explain } => Some(cli::check::run(paths, *explain, &mut out, &mut err)),
        Command::Props { schema: true, .. } => Some(cli::props::schema(&mut out)),
        Command::Props { word, schema: false } => {
            Some(cli::props::run(word.as_deref(), &[], &mut out, &mut err))
        }
        Command::Demo { .. } | Command::Origin { .. } | Command::Play { .. } | Command::Watch { .. } => None,
    };
    if let Some(code) = about_files {
        // Whoever closes our output early has read enough.
        return ExitCode::from(code.unwrap_or(cli::EXIT_HELD));
    }
    let runtime = match proxyd::env::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("repull-sim: no runtime: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Check { .. } | Command::Props { .. } => Ok(true),
            Command::Demo { time, every, seed } => demo::run(&demo::Plan { time, every, seed }).await,
            Command::Origin { listen, stream, like } => tools::origin(listen, &stream, like.into()).await,
            Command::Watch { players, gap_ms, time } => {
                watch::watch(&players, Duration::from_millis(gap_ms), time).await
            }
            Command::Play { url, stream, time } => tools::play(&url, stream.as_deref(), time).await,
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_BROKEN),
        Err(error) => {
            eprintln!("repull-sim: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Writes seconds with one decimal, cut off.
fn seconds(time: Duration) -> String {
    format!("{}.{}", time.as_secs(), time.subsec_millis() / 100)
}

/// Reads `90s`, `2m`, `500ms`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let millis_per = match &text[digits..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        unit => return Err(format!("`{unit}` is no unit of time; use ms, s or m")),
    };
    let number: u64 =
        text[..digits].parse().map_err(|_| "a number with ms, s or m, such as 90s".to_owned())?;
    match number.checked_mul(millis_per) {
        Some(0) | None => Err("more than nothing, and less than for ever".to_owned()),
        Some(millis) => Ok(Duration::from_millis(millis)),
    }
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

    #[test]
    fn times_read_as_written() {
        let check = |text, millis| assert_eq!(parse_time(text).ok(), Some(Duration::from_millis(millis)));
        check("60s", 60_000);
        check("2m", 120_000);
        check("250ms", 250);
        check("7", 7000);
        for wrong in ["", "s", "5h", "0s", "-1s", "99999999999999999999s"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
