//! Who was woken since the driver's last turn: one waker for each slot, one list of them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

/// Slots that were woken since the last turn.
#[derive(Default)]
pub(super) struct Ready {
    list: Mutex<ReadyList>,
}

#[derive(Default)]
struct ReadyList {
    indices: Vec<usize>,
    driver: Option<Waker>,
}

/// Wakes one slot.
pub(super) struct SlotWake {
    pub(super) index: usize,
    pub(super) ready: Arc<Ready>,
    /// It is on the list.
    pub(super) is_queued: AtomicBool,
}

impl Ready {
    /// Remembers whom to wake when the list gets its first.
    pub(super) fn register(&self, waker: &Waker) {
        let mut list = self.lock();
        if !list.driver.as_ref().is_some_and(|old| old.will_wake(waker)) {
            list.driver = Some(waker.clone());
        }
    }

    /// Appends the woken slots to `indices`.
    pub(super) fn take(&self, indices: &mut Vec<usize>) {
        indices.append(&mut self.lock().indices);
    }

    fn lock(&self) -> MutexGuard<'_, ReadyList> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for SlotWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut list = self.ready.lock();
        list.indices.push(self.index);
        // Whoever came first has woken the driver.
        if list.indices.len() == 1
            && let Some(driver) = &list.driver
        {
            driver.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_woken_slot_is_listed_once_and_wakes_the_driver_once() {
        struct Count(std::sync::atomic::AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let count = Arc::new(Count(std::sync::atomic::AtomicUsize::new(0)));
        let ready = Arc::new(Ready::default());
        ready.register(&Waker::from(Arc::clone(&count)));
        let slots: Vec<_> = (0..3)
            .map(|index| Arc::new(SlotWake { index, ready: Arc::clone(&ready), is_queued: false.into() }))
            .collect();
        for slot in slots.iter().chain(&slots) {
            slot.wake_by_ref();
        }
        let mut indices = Vec::new();
        ready.take(&mut indices);
        assert_eq!(indices, [0, 1, 2]);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
