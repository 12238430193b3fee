//! Everything once: a fault of every kind at every instant of a short story, and a cut after every byte that an origin says
//! before its first frame.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use proxy_core::time::{Duration, Instant};

use super::{
    attempt::{Attempt, Conduct, run},
    fault, plot,
};
use crate::{
    dice::Dice,
    origin::Behaviour,
    scenario::{
        self, FAULTS, Problem,
        model::{Act, Behaving, CutBy, Event, Fault, FaultEvent, HostRef, Role, Scenario},
    },
    trace::{Inward, Outward, Record, What},
    world::{Keep, World},
};

/// S0, S1 and S2.
const HANDSHAKE_BYTES: u64 = 1 + 2 * 1536;

/// How long a fault lasts: longer than a dial waits before it is tried again, shorter than most patience.
const LASTS: Duration = Duration::from_millis(1_500);

/// One thing that goes wrong in the story.
#[derive(Clone, Debug)]
pub struct Case {
    /// What and when.
    pub at: Instant,
    /// Where.
    pub on: HostRef,
    /// What.
    pub fault: Fault,
}

/// Returns everything that is to go wrong in a story, a run each: faults first, then cuts.
pub fn cases(story: &Scenario) -> Vec<Case> {
    let seed = story.run.seeds.first().copied().unwrap_or(1);
    let outcome = World::run(story, seed, Keep { records: true, ..Keep::default() });
    let records: Vec<Record> = outcome.log.iter().flat_map(|log| log.records()).collect();
    let mut instants = outcome.oracles.instants().to_vec();
    let accepted = accepted(&records, story, &outcome.cast);
    instants.extend(accepted.iter().map(|(at, _)| *at));
    instants.sort_unstable();
    instants.dedup();
    let end = plot::end_of(story);
    instants.retain(|at| at.as_nanos() < end);
    let mut cases = Vec::new();
    for (index, form) in FAULTS.iter().enumerate() {
        if form.name == "cut" {
            continue;
        }
        for on in fault::fitting(form, story) {
            // The same parameters at every instant.
            let mut dice = Dice::nth(seed, "exhaust", index as u64);
            let Some(fault) = fault::roll(form.name, on, story, &mut dice) else { continue };
            cases.extend(instants.iter().map(|at| Case { at: *at, on, fault: fault.clone() }));
        }
    }
    let said = said_up_to_media(&records).saturating_sub(HANDSHAKE_BYTES);
    for (at, on) in accepted {
        // C0 and C1 come with the connection, and are answered in the same instant.
        let before = Instant::from_nanos(at.as_nanos() - 1);
        let behind = Instant::from_nanos(at.as_nanos() + 1);
        for by in [CutBy::Fin, CutBy::Reset, CutBy::Silence] {
            let truncated = (0..HANDSHAKE_BYTES).filter_map(|len| truncated(story, on, len, by));
            cases.extend(truncated.map(|fault| Case { at: before, on, fault }));
            let cut = (0..=said).map(|at| Fault::Cut { at, by });
            cases.extend(cut.map(|fault| Case { at: behind, on, fault }));
        }
    }
    cases
}

/// An origin's connections end in the handshake, after so many bytes.
fn truncated(story: &Scenario, on: HostRef, len: u64, by: CutBy) -> Option<Fault> {
    let Role::Origin(model) = &story.hosts.get(usize::from(on.0))?.role else { return None };
    let behaviour = Behaviour { cut: Some((len, by)), ..model.behaviour.clone() };
    Some(Fault::Behave(Box::new(Behaving { name: "handshake-truncated", behaviour })))
}

/// Returns when origins accepted a connection of a proxy's.
fn accepted(records: &[Record], story: &Scenario, cast: &crate::trace::Cast) -> Vec<(Instant, HostRef)> {
    let mut accepted = Vec::new();
    for record in records {
        if let What::OriginAccepted = record.what
            && let Some(member) = cast.members.get(usize::from(record.actor.0))
            && story
                .hosts
                .get(usize::from(member.host))
                .is_some_and(|host| matches!(host.role, Role::Origin(_)))
        {
            accepted.push((record.at, HostRef(member.host)));
        }
    }
    accepted
}

/// Returns how many bytes arrive on the first upstream connection up to its first frame: that may come in one read with the last
/// answer, and is counted with it.
fn said_up_to_media(records: &[Record]) -> u64 {
    let mut upstream = None;
    let mut said = 0;
    let mut has_media = false;
    for record in records {
        if let (None, What::Out(Outward::Connect { conn, .. })) = (upstream, &record.what) {
            upstream = Some(*conn);
        } else if let What::In(Inward::Received { conn, len }) = &record.what
            && Some(*conn) == upstream
        {
            said += u64::from(*len);
            if has_media {
                return said;
            }
        } else if let What::Arrived { conn, .. } = &record.what
            && Some(*conn) == upstream
        {
            has_media = true;
        }
    }
    said
}

impl Case {
    /// Returns the story with this going wrong in it.
    pub fn of(&self, story: &Scenario) -> Scenario {
        let mut scenario =
            Scenario { expects: Vec::new(), swarm: None, defects: Vec::new(), ..story.clone() };
        for event in &mut scenario.events {
            if let Act::Call(call) = &mut event.act {
                call.reply = Default::default();
            }
        }
        scenario.run.seeds.truncate(1);
        let time = plot::lasts(&self.fault).then_some(LASTS);
        scenario.events.push(Event {
            line: 0,
            at: plot::at(self.at.as_nanos()),
            name: None,
            every: None,
            act: Act::Fault(FaultEvent { on: self.on, fault: self.fault.clone(), time }),
        });
        plot::mend(&mut scenario);
        scenario
    }
}

/// Tries every case on several threads and hands each over with its number, in no order.
///
/// # Errors
/// A case that is no scenario: a defect of this room.
#[expect(
    clippy::disallowed_methods,
    reason = "each thread runs worlds of its own; what a run does is its own"
)]
pub fn exhaust(
    story: &Scenario,
    cases: &[Case],
    jobs: usize,
    conduct: Conduct,
    is_over: &AtomicBool,
    on_attempt: impl FnMut(u64, Attempt) + Send,
) -> Result<(), Vec<Problem>> {
    let next = AtomicUsize::new(0);
    let on_attempt = Mutex::new(on_attempt);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, cases.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index).filter(|_| !is_over.load(Ordering::Relaxed)) else {
                        return;
                    };
                    let scenario = case.of(story);
                    let number = index as u64;
                    // What ran is what the file says, of each kind at least once.
                    let is_read = index.is_multiple_of(READ_EVERY);
                    if is_read
                        && let Err(problems) =
                            scenario::read(&scenario::print(&scenario), &format!("{}.toml", scenario.id))
                    {
                        wrong.lock().unwrap_or_else(PoisonError::into_inner).extend(problems);
                        return;
                    }
                    let attempt = run(number, scenario, conduct);
                    let mut on_attempt = on_attempt.lock().unwrap_or_else(PoisonError::into_inner);
                    on_attempt(number, attempt);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Of so many cases one is printed and read: they differ in a moment or a byte.
const READ_EVERY: usize = 16;
