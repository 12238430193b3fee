//! What must have come by a moment: an ordered set, looked at when time moves.

use std::collections::{BTreeMap, BTreeSet};

use proxy_core::time::Instant;

/// Moments by whom they concern.
#[derive(Debug)]
pub(super) struct Alarms<K> {
    order: BTreeSet<(Instant, K)>,
    named: BTreeMap<K, Instant>,
}

impl<K> Default for Alarms<K> {
    fn default() -> Self {
        Self { order: BTreeSet::new(), named: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Alarms<K> {
    /// Sets the moment of somebody, in the place of any other it had.
    pub(super) fn set(&mut self, whose: K, at: Instant) {
        if let Some(before) = self.named.insert(whose.clone(), at) {
            self.order.remove(&(before, whose.clone()));
        }
        self.order.insert((at, whose));
    }

    /// Sets the moment of somebody who has none.
    pub(super) fn set_if_none(&mut self, whose: K, at: Instant) {
        if !self.named.contains_key(&whose) {
            self.set(whose, at);
        }
    }

    /// Takes the moment of somebody away; returns it.
    pub(super) fn clear(&mut self, whose: &K) -> Option<Instant> {
        let at = self.named.remove(whose)?;
        self.order.remove(&(at, whose.clone()));
        Some(at)
    }

    /// Takes somebody whose moment lies before `now`.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.order.first()?.0 >= now {
            return None;
        }
        let (at, whose) = self.order.pop_first()?;
        self.named.remove(&whose);
        Some((at, whose))
    }

    /// Keeps only what is wanted.
    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.order.retain(|(_, whose)| keep(whose));
        self.named.retain(|whose, _| keep(whose));
    }

    /// Returns whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_before_is_due_and_the_last_word_counts() {
        let at = Instant::from_millis;
        let mut alarms = Alarms::default();
        alarms.set("a", at(5));
        alarms.set("b", at(3));
        alarms.set("a", at(9));
        assert_eq!(alarms.poll(at(3)), None);
        assert_eq!(alarms.poll(at(4)), Some((at(3), "b")));
        assert_eq!(alarms.poll(at(9)), None);
        assert_eq!(alarms.clear(&"a"), Some(at(9)));
        assert!(alarms.is_empty());
    }
}
