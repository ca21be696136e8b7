//! Ends all claims of the names that begin with a prefix, for an operator, in slices.

use distsync_core::spi::Gone;

use super::LockTable;
use super::backlog::Task;
use crate::engine::command::Requester;
use crate::engine::journal::Journal;
use crate::engine::queue::{InQueue, NONE, Slot, Thread, key};
use crate::engine::refusal::{Bound, Refusal};
use crate::engine::reply::{Effect, Reply};

/// How many sweeps can wait for earlier ones.
const SWEEPS_MAX: usize = 16;
/// How many names that are not ended are read in one step.
const READ_PER_STEP: usize = 32;

/// A request to end all claims below a prefix.
#[derive(Debug)]
pub(super) struct Sweep {
    from: Requester,
    prefix: Box<str>,
    is_begun: bool,
}

/// The state of the sweep that is underway. There is one at a time.
#[derive(Debug)]
pub(super) struct Swept {
    prefix: Box<str>,
    /// All names up to this one are done.
    done: Box<str>,
    /// The last token before the sweep. Claims that were granted later stay.
    last: u64,
    ended: u64,
}

impl Swept {
    fn is_pending(&self, name: &str) -> bool {
        name.starts_with(&*self.prefix) && *name > *self.done
    }
}

impl<J: Journal> LockTable<J> {
    pub(super) fn release_all(
        &mut self,
        from: Requester,
        prefix: &str,
        effects: &mut Vec<Effect>,
    ) -> Option<Reply> {
        if self.backlog.sweeps >= SWEEPS_MAX {
            return Some(Reply::Refused(Refusal::TooMany {
                what: Bound::ReleasesAtOnce,
                max: SWEEPS_MAX,
            }));
        }
        let mut sweep = Box::new(Sweep {
            from,
            prefix: prefix.into(),
            is_begun: false,
        });
        self.backlog.sweeps += 1;
        let reply = self.sweep_some(&mut sweep, effects);
        if reply.is_none() {
            self.backlog.push(Task::Sweep(sweep));
        }
        reply
    }

    /// Does a slice of a sweep. Returns it if it is not complete.
    pub(super) fn sweep(
        &mut self,
        mut sweep: Box<Sweep>,
        effects: &mut Vec<Effect>,
    ) -> Option<Box<Sweep>> {
        let Some(reply) = self.sweep_some(&mut sweep, effects) else {
            return Some(sweep);
        };
        effects.push(Effect {
            to: sweep.from,
            reply,
        });
        None
    }

    /// Does a slice of a sweep. Returns the reply if it is complete.
    fn sweep_some(&mut self, sweep: &mut Sweep, effects: &mut Vec<Effect>) -> Option<Reply> {
        if !sweep.is_begun {
            if self.swept.is_some() {
                // Another one is underway.
                self.backlog.charge(1);
                return None;
            }
            sweep.is_begun = true;
            self.swept = Some(Swept {
                prefix: sweep.prefix.clone(),
                done: "".into(),
                last: self.tokens.last().get(),
                ended: 0,
            });
        }
        while !self.backlog.is_spent() {
            let swept = self.swept.as_ref()?;
            let max = self.backlog.left();
            let (page, more) = self.locks.page(&swept.prefix, &swept.done, max);
            let mut touched = Vec::new();
            let is_complete = page
                .into_iter()
                .all(|queue| self.sweep_queue(queue, &mut touched, effects));
            self.settle_all(touched, effects);
            // Last, so that a slice makes progress even if it is short.
            self.backlog
                .charge(self.locks.read_by_page() / READ_PER_STEP);
            if is_complete && !more {
                let ended = self.swept.take()?.ended;
                self.backlog.sweeps -= 1;
                return Some(Reply::Released { claims: ended });
            }
        }
        None
    }

    /// Ends the claims of a queue. Returns whether all are ended.
    fn sweep_queue(
        &mut self,
        queue: Slot,
        touched: &mut Vec<Slot>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(last) = self.swept.as_ref().map(|swept| swept.last) else {
            return true;
        };
        // Reading a name is a step, too.
        self.backlog.charge(1);
        let mut at = self.locks[queue].queue.head();
        while at != NONE {
            let claim = &self.claims[key(at)];
            let next = InQueue::next(claim);
            let is_later = claim.token().is_some_and(|token| token.get() > last);
            if !is_later && !self.sessions[key(claim.session)].is_dead {
                if !self.backlog.take_step() {
                    return false;
                }
                self.discard_swept(at, touched, effects);
            }
            at = next;
        }
        if let Some(swept) = &mut self.swept {
            swept.done.clone_from(&self.locks[queue].name);
        }
        true
    }

    /// Returns whether a waiting claim is about to be ended by the sweep that is underway.
    pub(super) fn is_swept(&self, found: Slot) -> bool {
        let Some(swept) = &self.swept else {
            return false;
        };
        let name = |part: &Slot| &*self.locks[self.claims[key(*part)].lock].name;
        self.parts(found)
            .iter()
            .any(|part| swept.is_pending(name(part)))
    }

    /// Ends a claim for the sweep that is underway. Its queues have to be settled.
    pub(super) fn discard_swept(
        &mut self,
        found: Slot,
        touched: &mut Vec<Slot>,
        effects: &mut Vec<Effect>,
    ) {
        self.note_eviction(found, effects);
        touched.extend(self.leave(found, Gone::Evicted, effects).0);
        if let Some(swept) = &mut self.swept {
            swept.ended += 1;
        }
    }
}
