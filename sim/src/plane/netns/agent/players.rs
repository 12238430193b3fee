//! The model players of one host, each from an address of its own.

use std::{collections::BTreeMap, net::IpAddr};

use proxy_core::time::{Duration, Instant};

use super::{Orders, look_ticks, real::Ffplayer, tell_what};
use crate::{
    plane::netns::wire::{Order, SeatOrder},
    player::{Leave, PlayerConfig, PlayerState, Reading},
    real::{Clock, PlayerView, RealPlayer},
    scenario::model::{Act, Fault, PlayerModel, Role, Scenario},
    trace::{Saw, SeatId, What},
    viewer::ViewerConfig,
    world::player::{difference, reading_of, totals},
};

/// Who plays.
enum Player {
    Model(Box<RealPlayer>),
    /// ffmpeg, while it runs; it plays this url and is started again so long after it has ended.
    Ffmpeg {
        running: Option<Box<Ffplayer>>,
        url: String,
        retry: Option<Duration>,
        again_at: Option<Instant>,
    },
}

struct Seat {
    actor: u16,
    player: Player,
    saw: Saw,
    statuses: usize,
    violations: u64,
    disconnects: usize,
    connections: u64,
    was_watching: bool,
    is_gone: bool,
}

pub(super) async fn run(scenario: &Scenario, host: u16, mut orders: Orders) -> Result<(), String> {
    let Some(Role::Player(spec)) = scenario.hosts.get(usize::from(host)).map(|host| &host.role) else {
        return Err("no players".to_owned());
    };
    let Some(clock) = orders.begin().await else { return Ok(()) };
    let mut seats = BTreeMap::<u32, Seat>::new();
    let mut reading = None;
    let mut ticks = look_ticks();
    loop {
        tokio::select! {
                    biased;
                    order = orders.next() => match order {
                        None => return Ok(()),
                        Some(Order::Join { seats: joining }) => {
                            for seat in joining {
                                join(spec, seat, reading, clock, &mut seats)?;
                            }
                        }
                        Some(Order::Leave { reset, politely }) => {
                            for seat in seats.values_mut().filter(|seat| !seat.is_gone) {
                                seat.is_gone = true;
                                let how = match (reset, politely) {
                                    (true, _) => Leave::Reset,
                                    (false, true) => Leave::InOrder,
                                    (false, false) => Leave::Fin,
                                };
                                match &mut seat.player {
                                    Player::Model(player) => player.leave(how),
                                    Player::Ffmpeg { running, .. } => *running = None,
                                }
                            }
                        }
                        Some(Order::Moved { seats: moved, to }) => {
                            for seat in moved.iter().filter_map(|seat| seats.get(seat)) {
                                if let Player::Model(player) = &seat.player {
                                    player.set_address(to.to_string());
                                }
                            }
                        }
                        Some(Order::Inflict { event }) => {
                            reading = reading_by(scenario, event);
                            read(spec, reading, &seats);
                        }
                        Some(Order::Relieve { .. }) => {
                            reading = None;
                            read(spec, reading, &seats);
                        }
                        Some(
                            Order::Begin { .. }
                            | Order::Boot { .. }
                            | Order::Publish { .. }
                            | Order::Content { .. }
                            | Order::ShutDown
                            | Order::Call { .. }
                            | Order::Names { .. }
                            | Order::Forward { .. }
        | Order::Cable { .. },
                        ) => {}
                    },
                    () = ticks.tick() => {}
                }
        for (number, seat) in &mut seats {
            seat.look(*number, clock);
        }
    }
}

/// Returns how a fault makes players read.
fn reading_by(scenario: &Scenario, event: usize) -> Option<Reading> {
    match &scenario.events.get(event)?.act {
        Act::Fault(fault) => match fault.fault {
            Fault::SlowReader { rate } => Some(Reading::Rate { bytes_per_second: rate }),
            Fault::Stuck => Some(Reading::Until { bytes: 0 }),
            _ => None,
        },
        Act::Call(_)
        | Act::Repair { .. }
        | Act::Play { .. }
        | Act::Leave { .. }
        | Act::Publish { .. }
        | Act::Start { .. } => None,
    }
}

fn read(spec: &PlayerModel, reading: Option<Reading>, seats: &BTreeMap<u32, Seat>) {
    for seat in seats.values().filter(|seat| !seat.is_gone) {
        if let Player::Model(player) = &seat.player {
            player.set_reading(reading.unwrap_or(reading_of(spec)));
        }
    }
}

fn join(
    spec: &PlayerModel,
    order: SeatOrder,
    reading: Option<Reading>,
    clock: Clock,
    seats: &mut BTreeMap<u32, Seat>,
) -> Result<(), String> {
    let viewer = order.source.as_deref().map_or_else(ViewerConfig::plain, ViewerConfig::stamped);
    let viewer = ViewerConfig {
        headers_again: !order.is_chained,
        plays_rise: order.plays_rise,
        one_origin: order.has_one_origin,
        hold_max: Duration::from_nanos(order.hold_max),
        forward_max: Some(Duration::from_nanos(order.forward_max)),
        ..viewer
    };
    let (mut config, _) =
        PlayerConfig::from_url(&order.url, viewer).ok_or_else(|| format!("{}: no url to play", order.url))?;
    config.redial = spec.retry;
    config.salt = u64::from(order.seat);
    config.reading = reading.unwrap_or(reading_of(spec));
    let player = if order.is_real {
        let path = order.url.splitn(4, '/').last().unwrap_or_default();
        let scheme = order.url.split("://").next().unwrap_or_default();
        let url = format!("{scheme}://{}/{path}", order.to);
        Player::Ffmpeg {
            running: Some(Box::new(Ffplayer::start(&url)?)),
            url,
            retry: spec.retry,
            again_at: None,
        }
    } else {
        let from = Some(IpAddr::V4(order.from));
        Player::Model(Box::new(RealPlayer::start_from(config, from, order.to.to_string(), clock)))
    };
    let seat = Seat {
        actor: order.actor,
        player,
        saw: Saw::default(),
        statuses: 0,
        violations: 0,
        disconnects: 0,
        connections: 0,
        was_watching: false,
        is_gone: false,
    };
    seats.insert(order.seat, seat);
    Ok(())
}

impl Seat {
    /// Tells what is new.
    fn look(&mut self, number: u32, clock: Clock) {
        if self.is_gone {
            return;
        }
        let player = match &mut self.player {
            Player::Model(player) => player,
            Player::Ffmpeg { .. } => return self.look_at_ffmpeg(number, clock.now()),
        };
        let PlayerView { state, report, now } = player.view();
        let (actor, seat) = (self.actor, SeatId(number));
        if report.connections > self.connections
            && let Some(local) = player.local()
        {
            self.connections = report.connections;
            tell_what(now, actor, What::PlayerConnected { seat, local });
        }
        let is_watching = state == PlayerState::Watching;
        let total = totals(&report);
        let mut saw = difference(&total, &self.saw);
        saw.seated = is_watching && !self.was_watching;
        for (_, status) in &report.statuses[self.statuses..] {
            tell_what(now, actor, What::PlayerTold { seat, status: status.clone() });
        }
        if saw != Saw::default() {
            tell_what(now, actor, What::Saw { seat, saw });
        }
        let fresh = usize::try_from(report.violations_total - self.violations).unwrap_or(usize::MAX);
        let kept = report.violations.len();
        for text in &report.violations[kept.saturating_sub(fresh)..] {
            tell_what(now, actor, What::PlayerViolation { seat, text: text.clone() });
        }
        for (_, cause) in &report.disconnects[self.disconnects..] {
            tell_what(now, actor, What::PlayerLost { seat, cause: cause.clone() });
        }
        self.saw = total;
        self.statuses = report.statuses.len();
        self.violations = report.violations_total;
        self.disconnects = report.disconnects.len();
        self.was_watching = is_watching;
    }
    fn look_at_ffmpeg(&mut self, number: u32, now: Instant) {
        let Player::Ffmpeg { running, url, retry, again_at } = &mut self.player else { return };
        if again_at.is_some_and(|at| at <= now) {
            // One that cannot be started is not there to see anything.
            (*running, *again_at) = (Ffplayer::start(url).ok().map(Box::new), None);
        }
        let Some(player) = running else { return };
        let (frames, goes_on) = player.look();
        let (actor, seat) = (self.actor, SeatId(number));
        if frames > 0 {
            let frames = u32::try_from(frames).unwrap_or(u32::MAX);
            let seated = !std::mem::replace(&mut self.was_watching, true);
            tell_what(
                now,
                actor,
                What::Saw { seat, saw: Saw { frames, video: frames, seated, ..Saw::default() } },
            );
        }
        if !goes_on {
            (*running, self.was_watching) = (None, false);
            *again_at = retry.map(|retry| now + retry);
            tell_what(now, actor, What::PlayerLost { seat, cause: "ffmpeg has ended".to_owned() });
        }
    }
}
