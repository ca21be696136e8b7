//! Work that is too long for one visit to the table. It is done in slices, one a visit, so that no
//! request waits for all of it.
//!
//! A step is the removal or the grant of one claim, or work that takes about as long. A visit has a
//! number of steps. Work that is left when they are used up becomes a task.

use std::collections::VecDeque;
use std::time::Duration;

use distsync_core::spi::SessionId;

use super::isolation::Separation;
use super::sweep::Sweep;
use crate::engine::queue::Slot;
use crate::engine::split_map::SplitMap;

/// The number of steps of a visit. A step takes 1 to 3 us at a million claims, so a visit takes
/// about 1 ms.
const STEPS: u32 = 500;
/// The pause that a host makes between two slices. A thread that waits for the table needs some
/// time to wake up.
pub const SLICE_PAUSE: Duration = Duration::from_micros(100);
/// How many claims of a queue, or entries of a list, are read in one step.
pub(super) const READ_PER_STEP: usize = 16;

/// Work that is left for later visits.
#[derive(Debug)]
pub(super) enum Task {
    /// Removes the claims of an ended session.
    End(Slot),
    /// Removes the waiting claims of a session whose client has to be isolated.
    Separate(Box<Separation>),
    /// Settles one queue.
    Settle(Slot),
    /// Settles all queues, from this slot on.
    SettleFrom(Slot),
    /// Detaches a closed connection from its sessions, and cancels its watches.
    Disconnect(u64),
    /// Ends all claims below a prefix.
    Sweep(Box<Sweep>),
}

#[derive(Debug)]
pub(super) struct Backlog {
    /// The steps of one visit.
    slice: u32,
    /// The steps that are left in this visit.
    left: u32,
    /// Each task gets a slice in turn, so that a short one does not wait for a long one.
    tasks: VecDeque<Task>,
    /// Ended sessions that still have claims, by id.
    pub(super) dead_ids: SplitMap<SessionId, Slot>,
    /// The number of sessions that have ended, or whose client has to be isolated, and that may
    /// still have claims that must not be granted.
    pub(super) ending: usize,
    /// Ended sessions whose claims are not all removed.
    pub(super) dead_sessions: usize,
    /// Their claims.
    pub(super) dead_claims: usize,
    /// Those of them that were held.
    pub(super) dead_holders: usize,
    /// The sweeps that are not complete.
    pub(super) sweeps: usize,
    /// The claims that were removed or granted in this visit.
    #[cfg(test)]
    pub(super) touched: usize,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            slice: STEPS,
            left: STEPS,
            tasks: VecDeque::new(),
            dead_ids: SplitMap::default(),
            ending: 0,
            dead_sessions: 0,
            dead_claims: 0,
            dead_holders: 0,
            sweeps: 0,
            #[cfg(test)]
            touched: 0,
        }
    }
}

impl Backlog {
    /// Sets the number of steps of one visit.
    #[cfg(test)]
    pub(super) fn set_slice(&mut self, steps: u32) {
        self.slice = steps;
        self.left = steps;
    }

    /// Begins a visit.
    pub(super) fn begin_visit(&mut self) {
        self.left = self.slice;
        #[cfg(test)]
        {
            self.touched = 0;
        }
    }

    /// Counts a claim that is removed or granted, for tests.
    #[inline]
    pub(super) fn touch(&mut self) {
        #[cfg(test)]
        {
            self.touched += 1;
        }
    }

    /// Takes a step, if the visit has one left.
    pub(super) fn take_step(&mut self) -> bool {
        let has_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_left
    }

    /// Takes the steps of work that is done in any case.
    pub(super) fn charge(&mut self, steps: usize) {
        self.left = self
            .left
            .saturating_sub(u32::try_from(steps).unwrap_or(u32::MAX));
    }

    /// Returns the number of steps that are left in this visit.
    pub(super) fn left(&self) -> usize {
        self.left as usize
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }

    pub(super) fn push(&mut self, task: Task) {
        self.tasks.push_back(task);
    }

    pub(super) fn pop(&mut self) -> Option<Task> {
        self.tasks.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}
