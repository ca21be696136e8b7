//! The tasks that wait for an event of a session.
//!
//! Nearly every request of a client is such a task, for the length of one round trip. A slot in a
//! slab costs it two short locks and no allocation.

use std::sync::Mutex;
use std::task::{Context, Waker};

use slab::Slab;

use crate::spi::mutex::locked;

/// The wakers of the waiting tasks.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<Slab<Waker>>);

impl Waiters {
    /// Returns a waiter, which is not registered yet.
    pub(super) fn waiter(&self) -> Waiter<'_> {
        Waiter {
            waiters: self,
            slot: None,
        }
    }

    /// Wakes all registered tasks. They stay registered.
    pub(super) fn wake(&self) {
        let wakers: Vec<Waker> = locked(&self.0)
            .iter()
            .map(|(_, waker)| waker.clone())
            .collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// One waiting task. Dropping it removes the registration.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    slot: Option<usize>,
}

impl Waiter<'_> {
    /// Registers the current task. An event after this call wakes it, so the caller looks for
    /// earlier events after this call.
    pub(super) fn register(&mut self, cx: &Context<'_>) {
        let mut wakers = locked(&self.waiters.0);
        match self.slot {
            Some(slot) => wakers[slot].clone_from(cx.waker()),
            None => self.slot = Some(wakers.insert(cx.waker().clone())),
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let waker = locked(&self.waiters.0).remove(slot);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waiter_is_woken_from_its_registration_to_its_end() {
        let (waiters, count) = (Waiters::default(), Arc::new(Count::default()));
        let woken = || count.0.load(Ordering::Relaxed);
        let waker = Waker::from(count.clone());
        let cx = Context::from_waker(&waker);
        let mut waiter = waiters.waiter();
        waiters.wake();
        assert_eq!(woken(), 0);
        waiter.register(&cx);
        waiter.register(&cx);
        waiters.wake();
        waiters.wake();
        assert_eq!(woken(), 2);
        drop(waiter);
        waiters.wake();
        assert_eq!(woken(), 2);
        assert!(locked(&waiters.0).is_empty());
    }
}
