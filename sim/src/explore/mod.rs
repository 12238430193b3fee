//! The search for what nobody wrote down: seeds become scenarios, scenarios are tried, failures become files.
//!
//! | room | purpose |
//! |---|---|
//! | `roll` | what a generator asks dice for |
//! | `world`, `plot`, `fault` | the built-in universe: who there is, what happens, what goes wrong |
//! | `rarities` | what hardly ever comes together by dice alone |
//! | `expand` | from a seed to a scenario, and from one to the next |
//! | `attempt` | one scenario printed, read back, run and judged |
//! | `search` | generations, and what they remember |
//! | `found` | failures by group, those known told apart, files written |
//! | `exhaust` | one fault of every kind at every instant of a short story |
//! | `report` | what a search came to, for people and programs, and joined from shards |

mod attempt;
mod exhaust;
mod expand;
mod fault;
mod found;
mod plot;
mod rarities;
mod report;
mod roll;
mod search;
mod world;

pub use self::{
    attempt::{Attempt, Conduct, Failure, GENERATOR, NO_VERDICT, RECORDS_MAX, Reach, attempt, run},
    exhaust::{Case, cases, exhaust},
    expand::{Source, SwarmFile},
    found::{Example, Found, known_in, save, stem, write},
    report::{CellCount, GroupReport, MergeError, Report, Shard, WorstReport, merge},
    search::{Mode, Plan, Tally, Worst, is_recovery, search},
};
