//! The processes of a world: `repull-sim netns-peer ROLE …`, each started inside a namespace, told what to do line by
//! line, and gone as soon as nobody tells them any more.
//!
//! | role | does |
//! |---|---|
//! | `origin` | a model origin on real sockets |
//! | `nginx` | the real nginx-rtmp in its place, with ffmpeg as publisher |
//! | `players` | the model players of one host |
//! | `aide` | what surrounds a proxy in its own namespace: the operator's calls, and the name server |
//! | `fabric` | cables that the kernel cannot make |
//! | `machine` | what the machine between the hosts runs: userland proxies of published ports |

mod aide;
mod dns;
#[cfg_attr(not(target_os = "linux"), path = "fabric_elsewhere.rs")]
mod fabric;
mod machine;
mod origin;
mod players;
mod real;

use std::{io::Write as _, path::Path, time::Duration};

use proxy_core::time::Instant;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin},
    time::{MissedTickBehavior, interval},
};

use super::wire::{News, Order};
use crate::{real::Clock, scenario::model::Scenario, trace::What};

/// How often models are looked at for news: the exactness of what they tell.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How late a process may wake up before that is told.
const LATE_MIN: Duration = Duration::from_millis(100);

/// What a process is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A model origin: its actor, its host in the scenario, which life of its process this is.
    Origin {
        /// The actor.
        actor: u16,
        /// The host, or none: a server without streams, at this port.
        host: Result<u16, u16>,
        /// Counts from 0.
        life: u32,
    },
    /// The real nginx-rtmp in place of a model.
    Nginx {
        /// The host.
        host: u16,
    },
    /// Model players of a host.
    Players {
        /// The host.
        host: u16,
    },
    /// Calls and names.
    Aide,
    /// Userland proxies.
    Machine,
    /// Cables that the kernel cannot make, with dice of this seed.
    Fabric {
        /// The seed.
        seed: u64,
    },
}

/// Returns the words of a command line, or those of the file it names by `@FILE`: the command of a container cannot be
/// changed once it is made.
///
/// # Errors
/// There is no such file.
pub fn words_of(line: &[String]) -> std::io::Result<Vec<String>> {
    match line {
        [only] if only.starts_with('@') => {
            let text = std::fs::read_to_string(only.trim_start_matches('@'))?;
            Ok(text.split_whitespace().map(str::to_owned).collect())
        }
        words => Ok(words.to_vec()),
    }
}

/// Reads a role off the words of a command line.
pub fn role_of(words: &[String]) -> Option<Role> {
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u16>().ok());
    match words.first()?.as_str() {
        "origin" => {
            let life = words.get(2)?.parse().ok()?;
            Some(Role::Origin { actor: number(1)?, host: Ok(number(3)?), life })
        }
        "stranger" => Some(Role::Origin { actor: number(1)?, host: Err(number(2)?), life: 0 }),
        "nginx" => Some(Role::Nginx { host: number(1)? }),
        "players" => Some(Role::Players { host: number(1)? }),
        "aide" => Some(Role::Aide),
        "machine" => Some(Role::Machine),
        "fabric" => Some(Role::Fabric { seed: words.get(1)?.parse().ok()? }),
        _ => None,
    }
}

/// Runs a process of a world until its orders end. `scenario` is the file of the world.
///
/// # Errors
/// Tells why it cannot do its work.
pub async fn run(role: Role, scenario: &Path) -> Result<(), String> {
    let text =
        std::fs::read_to_string(scenario).map_err(|error| format!("{}: {error}", scenario.display()))?;
    let folder = scenario.parent().unwrap_or(Path::new("")).to_owned();
    let scenario = crate::scenario::read(&text, &scenario.display().to_string())
        .map_err(|problems| format!("{problems:?}"))?;
    let orders = Orders::new();
    if !matches!(role, Role::Nginx { .. }) {
        tell(&News::Ready);
    }
    let done = match role {
        Role::Origin { actor, host, life } => origin::run(&scenario, actor, host, life, orders).await,
        Role::Nginx { host } => real::run_origin(&scenario, host, &folder, orders).await,
        Role::Players { host } => players::run(&scenario, host, orders).await,
        Role::Aide => aide::run(orders).await,
        Role::Machine => machine::run(orders).await,
        Role::Fabric { seed } => fabric::run(&scenario, seed, orders).await,
    };
    if let Err(why) = &done {
        tell(&News::Failed { why: why.clone() });
    }
    done
}

/// Orders as they come.
struct Orders {
    lines: Lines<BufReader<Stdin>>,
}

impl Orders {
    fn new() -> Self {
        Self { lines: BufReader::new(tokio::io::stdin()).lines() }
    }

    /// Returns the next order; `None` once nobody gives any.
    async fn next(&mut self) -> Option<Order> {
        let line = self.lines.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }

    /// Waits for the world's zero.
    async fn begin(&mut self) -> Option<Clock> {
        loop {
            if let Order::Begin { zero } = self.next().await? {
                return Some(Clock::since_1970(Duration::from_nanos(zero)));
            }
        }
    }
}

/// A world that does not listen any more is about to end this process.
fn tell(news: &News) {
    if let Ok(line) = serde_json::to_string(news) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

fn tell_what(at: Instant, actor: u16, what: What) {
    tell(&News::Told { at: at.as_nanos(), actor, what });
}

/// Wakes up again and again, and notices when it was not let.
struct Ticks {
    ticks: tokio::time::Interval,
    every: Duration,
    last: Option<tokio::time::Instant>,
}

impl Ticks {
    fn every(every: Duration) -> Self {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, every, last: None }
    }

    async fn tick(&mut self) {
        self.ticks.tick().await;
        let now = tokio::time::Instant::now();
        let late = self.last.map_or(Duration::ZERO, |last| now - last).saturating_sub(self.every);
        self.last = Some(now);
        if late > LATE_MIN {
            tell(&News::Late { by: u64::try_from(late.as_nanos()).unwrap_or(u64::MAX) });
        }
    }
}

fn look_ticks() -> Ticks {
    Ticks::every(LOOK_EVERY)
}

/// Returns the model of a host that is an origin.
fn origin_of(scenario: &Scenario, host: u16) -> Option<&crate::scenario::model::OriginModel> {
    use crate::scenario::model::Role as HostRole;

    match &scenario.hosts.get(usize::from(host))?.role {
        HostRole::Origin(model) => Some(model),
        HostRole::Proxy(_) | HostRole::Player(_) => None,
    }
}
