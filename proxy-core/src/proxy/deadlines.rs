//! Who wants to be woken when: one ordered index, so that an input costs O(log n) however many machines there are.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::{io::Wakeup, time::Instant};

/// The index. It may name a moment earlier than an owner's own deadline, never a later one: a deadline that only
/// moves away, as a stall's does with every frame, costs nothing until the moment named comes.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    order: BTreeSet<(Instant, Wakeup)>,
    named: BTreeMap<Wakeup, Instant>,
}

impl Deadlines {
    /// Notes an owner's deadline.
    pub(crate) fn set(&mut self, owner: Wakeup, at: Option<Instant>) {
        let named = self.named.get(&owner).copied();
        match (named, at) {
            (Some(named), Some(at)) if named <= at => {}
            (named, at) => {
                if let Some(named) = named {
                    self.order.remove(&(named, owner));
                    self.named.remove(&owner);
                }
                if let Some(at) = at {
                    self.order.insert((at, owner));
                    self.named.insert(owner, at);
                }
            }
        }
    }

    /// Takes an owner whose moment has come; it must name its deadline again.
    pub(crate) fn poll_due(&mut self, now: Instant) -> Option<Wakeup> {
        let (at, owner) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.order.remove(&(at, owner));
        self.named.remove(&owner);
        Some(owner)
    }

    /// Returns the next moment.
    pub(crate) fn next(&self) -> Option<(Instant, Wakeup)> {
        self.order.first().copied()
    }

    /// Returns how many owners wait.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}
