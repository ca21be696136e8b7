//! Converts a table to changes: at once, or in slices while the table changes.
//!
//! A dump in slices emits the sessions first, and then the queue of one name after the other. The
//! table changes between two slices. All its changes are recorded during the dump, except the
//! arrivals in queues that the dump has not reached: it will emit these claims itself. A change of
//! a claim that the dump has not reached is recorded too. It is without effect when it is restored,
//! because the claim is unknown then.

use super::LockTable;
use crate::engine::journal::{Change, Journal};
use crate::engine::lock::Lock;
use crate::engine::queue::{Claim, InQueue, NONE, Part, Slot, Thread, key};
use crate::engine::session::Session;

/// The position of a dump in slices.
#[derive(Debug)]
pub(super) struct DumpCursor {
    /// The next session.
    session: Slot,
    /// The next name. [`NONE`] if no dump is underway.
    name: Slot,
    /// The next claim in the queue of that name. [`NONE`] if none of its claims was emitted.
    claim: Slot,
}

impl Default for DumpCursor {
    fn default() -> Self {
        Self {
            session: NONE,
            name: NONE,
            claim: NONE,
        }
    }
}

impl DumpCursor {
    /// Returns whether a dump that is underway will emit a claim that arrives in this queue now.
    #[inline]
    pub(super) fn will_reach(&self, name: Slot) -> bool {
        name >= self.name
    }

    /// Notes that a claim is about to leave its queue.
    #[inline]
    pub(super) fn leaves(&mut self, claim: &Claim, index: Slot) {
        if index == self.claim {
            self.go_on_at(InQueue::next(claim));
        }
    }

    /// Continues with this claim, or with the next name if there is none.
    fn go_on_at(&mut self, claim: Slot) {
        self.claim = claim;
        if claim == NONE {
            self.name += 1;
        }
    }
}

impl<J: Journal> LockTable<J> {
    /// Emits the changes that create this table from an empty one.
    pub fn dump(&self, mut emit: impl FnMut(Change<'_>)) {
        self.dump_remembered(&mut emit);
        for (_, session) in &self.sessions {
            self.dump_session(session, &mut emit);
        }
        for lock in self.locks.iter() {
            for claim in lock.queue.iter(&self.claims) {
                if !self.is_dead(claim) {
                    emit(self.arrived(lock, claim));
                }
            }
        }
    }

    /// Begins a dump in slices. Ends one that is underway.
    pub fn begin_dump(&mut self) {
        self.dump = DumpCursor {
            session: 0,
            name: 0,
            claim: NONE,
        };
    }

    /// Ends a dump in slices before it is complete.
    pub fn cancel_dump(&mut self) {
        self.dump = DumpCursor::default();
    }

    /// Emits the next slice of a dump: at most `steps` sessions, names and claims. Returns whether
    /// the dump is complete. Apply the slices and the changes between them with
    /// [`restore_sliced`](Self::restore_sliced), in their order.
    pub fn dump_slice(&mut self, steps: usize, mut emit: impl FnMut(Change<'_>)) -> bool {
        let mut cursor = std::mem::take(&mut self.dump);
        let mut left = steps;
        if cursor.session == 0 {
            self.dump_remembered(&mut emit);
        }
        while left > 0 && key(cursor.session) < self.sessions_end {
            if let Some(session) = self.sessions.get(key(cursor.session)) {
                self.dump_session(session, &mut emit);
            }
            cursor.session += 1;
            left -= 1;
        }
        while left > 0 && key(cursor.name) < self.locks.end() {
            left -= 1;
            let lock = self.locks.get(cursor.name);
            let first = match cursor.claim {
                NONE => lock.map_or(NONE, |lock| lock.queue.head()),
                claim => claim,
            };
            let (Some(lock), Some(claim)) = (lock, self.claims.get(key(first))) else {
                cursor.go_on_at(NONE);
                continue;
            };
            if !self.is_dead(claim) {
                emit(self.arrived(lock, claim));
            }
            cursor.go_on_at(InQueue::next(claim));
        }
        let is_complete = left > 0;
        if !is_complete {
            self.dump = cursor;
        }
        is_complete
    }

    /// Emits the sessions whose clients were isolated. They are few.
    fn dump_remembered(&self, emit: &mut impl FnMut(Change<'_>)) {
        for session in self.isolated.remembered() {
            emit(Change::Isolated { session });
        }
    }

    fn dump_session(&self, session: &Session, emit: &mut impl FnMut(Change<'_>)) {
        if session.is_dead {
            return;
        }
        emit(self.opened(session));
        if let Some(reason) = self.isolated.reason(session.id) {
            emit(Change::Isolating {
                session: session.id,
                reason,
            });
        }
    }

    /// Returns whether the session of a claim has ended, which is in the journal.
    pub(super) fn is_dead(&self, claim: &Claim) -> bool {
        self.sessions[key(claim.session)].is_dead
    }

    fn opened<'a>(&self, session: &'a Session) -> Change<'a> {
        Change::Opened {
            session: session.id,
            secret: session.secret,
            terms: session.terms,
            client: &session.client,
            isolation: &session.isolation,
            principal: self.shares.principal(session.share),
        }
    }

    fn arrived<'a>(&self, lock: &'a Lock, claim: &'a Claim) -> Change<'a> {
        Change::Arrived {
            session: self.sessions[key(claim.session)].id,
            claim: claim.id,
            name: &lock.name,
            mode: claim.mode,
            value: &claim.value,
            token: claim.token(),
            any: claim.any && claim.part != Part::Whole,
        }
    }
}
