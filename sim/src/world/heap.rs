//! The one event heap: virtual time, and every tie decided by who asked first.

use std::{cmp::Reverse, collections::BinaryHeap};

use proxy_core::time::Instant;

/// What is due, ordered by time and then by when it was asked for.
#[derive(Debug)]
pub(crate) struct Heap<W> {
    entries: BinaryHeap<Reverse<Entry<W>>>,
    asked: u64,
}

#[derive(Debug)]
struct Entry<W> {
    at: Instant,
    number: u64,
    wake: W,
}

impl<W> PartialEq for Entry<W> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<W> Eq for Entry<W> {}

impl<W> PartialOrd for Entry<W> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<W> Ord for Entry<W> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<W> Heap<W> {
    /// Makes an empty heap.
    pub(crate) const fn new() -> Self {
        Self { entries: BinaryHeap::new(), asked: 0 }
    }

    /// Asks for something to be done.
    pub(crate) fn push(&mut self, at: Instant, wake: W) {
        self.asked += 1;
        self.entries.push(Reverse(Entry { at, number: self.asked, wake }));
    }

    /// Returns when something is due next.
    pub(crate) fn peek(&self) -> Option<Instant> {
        self.entries.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes what is due next, if it is due by `until`.
    pub(crate) fn pop_until(&mut self, until: Instant) -> Option<(Instant, W)> {
        if self.entries.peek()?.0.at > until {
            return None;
        }
        self.entries.pop().map(|Reverse(entry)| (entry.at, entry.wake))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_who_asked_first() {
        let mut heap = Heap::new();
        for (millis, wake) in [(5, 'a'), (3, 'b'), (5, 'c'), (3, 'd'), (9, 'e')] {
            heap.push(Instant::from_millis(millis), wake);
        }
        let order: String =
            std::iter::from_fn(|| heap.pop_until(Instant::from_millis(5))).map(|(_, wake)| wake).collect();
        assert_eq!(order, "bdac");
        assert_eq!(heap.pop_until(Instant::from_millis(9)), Some((Instant::from_millis(9), 'e')));
    }
}
