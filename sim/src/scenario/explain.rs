//! What a scenario says, in words.

use super::model::Scenario;

/// Returns a summary for people.
pub fn explain(scenario: &Scenario) -> String {
    scenario.title.clone()
}
