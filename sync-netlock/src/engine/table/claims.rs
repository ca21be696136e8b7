//! Claims: how they are queued, granted, updated and ended.

use std::hash::BuildHasher;
use std::time::Duration;

use distsync_core::spi::{ClaimId, Gone, Revision, SessionId, Withdrawn};
use distsync_core::{Mode, Token};

use super::backlog::READ_PER_STEP;
use super::{Arrival, Freeze, LockTable};
use crate::engine::command::Requester;
use crate::engine::journal::{Change, Journal};
use crate::engine::queue::{Claim, InQueue, NONE, Part, Slot, Thread, key, slot};
use crate::engine::refusal::{Bound, Refusal};
use crate::engine::reply::{Effect, Reply};

/// How many claims are counted at most to tell a client its position. No queue is longer, unless a
/// host allows more claims of a name than by default.
const COUNTED_MAX: usize = 10_000;

impl<J: Journal> LockTable<J> {
    pub(super) fn find_claim(&self, id: ClaimId) -> Option<Slot> {
        self.by_claim.find(self.hasher.hash_one(id), |slot| {
            self.claims[key(slot)].id == id
        })
    }

    /// Returns the claim with this id, if it belongs to this session.
    pub(super) fn find_own(&self, session: SessionId, id: ClaimId) -> Option<Slot> {
        let found = self.find_claim(id)?;
        let index = self.claims[key(found)].session;
        let owner = &self.sessions[key(index)];
        let has_ended = owner.is_isolating || self.is_over(index);
        (owner.id == session && !has_ended).then_some(found)
    }

    /// Returns the slot of a name for a new claim or watcher. Adds the name if it does not exist.
    pub(super) fn lock_of(&mut self, name: &[u8], revision: Revision) -> Result<Slot, Refusal> {
        let hash = self.locks.hash_one(name);
        if let Some(known) = self.locks.enter(name, hash) {
            return Ok(known);
        }
        // An existing name was checked when it was added.
        let name = self.checked_name(name)?;
        let max = self.limits.names;
        if self.locks.len() >= max {
            return Err(Refusal::TooMany {
                what: Bound::Names,
                max,
            });
        }
        Ok(self.locks.insert(name, hash, revision))
    }

    pub(super) fn checked_name<'n>(&self, name: &'n [u8]) -> Result<&'n str, Refusal> {
        std::str::from_utf8(name)
            .ok()
            .filter(|name| !name.is_empty() && name.len() <= self.limits.name_bytes)
            .filter(|name| !name.chars().any(char::is_control))
            .ok_or(Refusal::NameInvalid)
    }

    pub(super) fn enqueue(
        &mut self,
        from: Requester,
        session: SessionId,
        arrival: Arrival<'_>,
        effects: &mut Vec<Effect>,
    ) -> Reply {
        let Some(session) = self.find_session(session) else {
            return Reply::Refused(self.unknown(session));
        };
        if self.may_have_doomed() {
            self.free_claim_id(arrival.claim, effects);
        }
        if let Some(found) = self.find_claim(arrival.claim) {
            return self.repeat(from, found, session, arrival.name);
        }
        self.arrive(from, session, arrival, effects)
            .unwrap_or_else(Reply::Refused)
    }

    /// Replies to a request that repeats an earlier one, whose reply or connection was lost.
    pub(super) fn repeat(
        &mut self,
        from: Requester,
        found: Slot,
        session: Slot,
        name: &[u8],
    ) -> Reply {
        let claim = &mut self.claims[key(found)];
        let is_same = claim.session == session && claim.part == Part::Whole;
        if !is_same || self.locks[claim.lock].name.as_bytes() != name {
            return Reply::Refused(Refusal::ClaimTaken);
        }
        if let Some(token) = claim.token() {
            return Reply::Granted { token };
        }
        claim.requester = from;
        let lock = claim.lock;
        Reply::Waiting {
            position: self.ahead(&[found]),
            holder: self.holder(lock),
        }
    }

    /// Returns the number of claims ahead of a claim, in the queue where that number is highest.
    /// `parts` are the parts of the claim in its queues. Stops counting after [`COUNTED_MAX`]
    /// claims.
    pub(super) fn ahead(&mut self, parts: &[Slot]) -> u32 {
        let mut parts = parts.to_vec();
        let (mut farthest, mut counted) = (0, 0);
        while counted < COUNTED_MAX {
            // One place ahead in each queue at a time.
            parts.retain_mut(|part| {
                *part = InQueue::previous(&self.claims[key(*part)]);
                *part != NONE
            });
            if parts.is_empty() {
                break;
            }
            counted += parts.len();
            farthest += 1;
        }
        self.backlog.charge(counted / READ_PER_STEP);
        farthest
    }

    pub(super) fn arrive(
        &mut self,
        from: Requester,
        session: Slot,
        arrival: Arrival<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<Reply, Refusal> {
        let Arrival {
            claim: id,
            name,
            mode,
            waits,
            value,
        } = arrival;
        self.check_claim(session, mode, value, 1)?;
        let index = self.lock_of(name, self.revision)?;
        let lock = &self.locks[index];
        let is_free = lock.admits(mode) && lock.other_permits(mode).is_none();
        let admission = if is_free && self.frozen.is_none() {
            // Most claims are for one free name.
            let checked = self.check_queues(session, &[index]);
            checked.map(|()| Admission::Granted { free: index })
        } else {
            self.admission(session, &[index], mode, waits, false)
        };
        let token = match admission {
            Ok(Admission::Granted { .. }) => Some(self.tokens.next()),
            Ok(Admission::Queued) => None,
            Ok(Admission::Busy { .. }) => {
                return Ok(Reply::Busy {
                    holder: self.holder(index),
                });
            }
            Err(refusal) => {
                self.tidy(index);
                return Err(refusal);
            }
        };
        self.add_claim(
            Claim::new(id, session, index, mode, from, value, self.now),
            token,
        );
        self.changed_now(index, effects);
        Ok(match token {
            Some(token) => Reply::Granted { token },
            None => Reply::Waiting {
                position: self.locks[index].claims - 1,
                holder: self.holder(index),
            },
        })
    }

    /// Determines whether a new claim is granted, queued or rejected, given the queues of all its
    /// names.
    #[inline]
    pub(super) fn admission(
        &self,
        session: Slot,
        queues: &[Slot],
        mode: Mode,
        waits: bool,
        any: bool,
    ) -> Result<Admission, Refusal> {
        for queue in queues {
            if let Some(of) = self.locks[*queue].other_permits(mode) {
                return Err(Refusal::PermitsDiffer { of });
            }
        }
        let is_free = |queue: &Slot| self.locks[*queue].admits(mode);
        let free = queues.iter().copied().find(is_free);
        let taken = if any && free.is_some() {
            None
        } else {
            queues.iter().find(|queue| !is_free(queue))
        };
        if let (Some(free), None, None) = (free, taken, self.frozen) {
            let joined = if any { &[free] } else { queues };
            self.check_queues(session, joined)?;
            return Ok(Admission::Granted { free });
        }
        if let Some(refusal) = self.refusal_when_frozen(waits || taken.is_some()) {
            return Err(refusal);
        }
        if let Some(at) = taken.filter(|_| !waits) {
            return Ok(Admission::Busy { at: *at });
        }
        self.check_queues(session, queues)?;
        Ok(Admission::Queued)
    }

    /// Checks that a session may add one claim to each of these queues.
    #[inline]
    fn check_queues(&self, session: Slot, queues: &[Slot]) -> Result<(), Refusal> {
        let max = self.limits.claims_per_name;
        let share = self.sessions[key(session)].share;
        for queue in queues {
            if self.locks[*queue].claims as usize >= max {
                return Err(Refusal::TooMany {
                    what: Bound::ClaimsPerName,
                    max,
                });
            }
            self.shares.check_name(share, *queue, &self.limits)?;
        }
        Ok(())
    }

    /// Checks that a session may have another claim of this mode and value, with this number of
    /// names.
    #[inline]
    pub(super) fn check_claim(
        &self,
        session: Slot,
        mode: Mode,
        value: &[u8],
        names: usize,
    ) -> Result<(), Refusal> {
        mode.validated().map_err(|_| Refusal::NoPermits)?;
        self.check_value(value)?;
        let max = self.limits.claims_per_session;
        let session = &self.sessions[key(session)];
        if session.claim_count + names > max {
            return Err(Refusal::TooMany {
                what: Bound::ClaimsPerSession,
                max,
            });
        }
        self.shares.check_claims(session.share, names, &self.limits)
    }

    /// Adds a new claim to the end of its queue. With a token, it is granted.
    #[inline]
    pub(super) fn add_claim(&mut self, claim: Claim, token: Option<Token>) -> Slot {
        let session = self.sessions[key(claim.session)].id;
        let (name, value) = (&self.locks[claim.lock].name, &claim.value);
        let Claim { id, mode, any, .. } = claim;
        let change = Change::Arrived {
            session,
            claim: id,
            name,
            mode,
            value,
            token,
            any,
        };
        if self.dump.will_reach(claim.lock) {
            self.journal.record_undumped(change);
        } else {
            self.journal.record(change);
        }
        let index = self.insert_claim(claim);
        if let Some(token) = token {
            let waited = self.begin_hold(index, token);
            self.counters.waits.record(waited);
        }
        index
    }

    /// Grants the first waiter of a queue, and returns how long it has waited.
    #[inline]
    pub(super) fn begin_hold(&mut self, index: Slot, token: Token) -> Duration {
        let claim = &mut self.claims[key(index)];
        let lock = &mut self.locks[claim.lock];
        lock.run.admit(claim.mode);
        lock.next = InQueue::next(claim);
        self.holders += 1;
        self.backlog.touch();
        self.sessions[key(claim.session)].held_count += 1;
        claim.hold(token, self.now)
    }

    /// Adds a claim to the index, the list of its session and its queue. The inverse of
    /// [`remove_claim`](Self::remove_claim).
    #[inline]
    pub(super) fn insert_claim(&mut self, claim: Claim) -> Slot {
        let Claim {
            id,
            session,
            lock,
            mode,
            part,
            ..
        } = claim;
        let index = slot(self.claims.insert(claim));
        if part != Part::Further {
            self.index_claim(id, index);
        }
        let session = &mut self.sessions[key(session)];
        session.claims.push(&mut self.claims, index);
        session.claim_count += 1;
        self.shares.claim_came(session.share, lock);
        self.locks.make_listed(lock);
        let lock = &mut self.locks[lock];
        lock.queue.push(&mut self.claims, index);
        lock.arrived(mode);
        if lock.next == NONE {
            lock.next = index;
        }
        index
    }

    #[inline]
    pub(super) fn index_claim(&mut self, id: ClaimId, index: Slot) {
        self.by_claim.insert(self.hasher.hash_one(id), index);
    }

    pub(super) fn check_value(&self, value: &[u8]) -> Result<(), Refusal> {
        if value.len() <= self.limits.value_bytes {
            return Ok(());
        }
        Err(Refusal::TooLong {
            max: self.limits.value_bytes,
        })
    }

    pub(super) fn update(
        &mut self,
        session: SessionId,
        id: ClaimId,
        value: &[u8],
        effects: &mut Vec<Effect>,
    ) -> Reply {
        if let Err(refusal) = self.check_value(value) {
            return Reply::Refused(refusal);
        }
        match self.find_own(session, id) {
            // The reserved space is for releases, and a value could use up much of it.
            Some(_) if self.frozen == Some(Freeze::Full) => Reply::Refused(Refusal::StorageFull),
            Some(found) if self.claims[key(found)].holds() => {
                self.journal.record(Change::Updated { claim: id, value });
                for queue in self.set_value(found, value) {
                    self.changed_now(queue, effects);
                }
                Reply::Updated { held: true }
            }
            _ => Reply::Updated { held: false },
        }
    }

    /// Sets the value of a claim. Returns the queues in which it is seen.
    pub(super) fn set_value(&mut self, found: Slot, value: &[u8]) -> Vec<Slot> {
        let parts = self.parts(found);
        let set = |part: Slot| {
            let claim = &mut self.claims[key(part)];
            claim.value = value.into();
            claim.lock
        };
        parts.into_iter().map(set).collect()
    }

    pub(super) fn withdraw(
        &mut self,
        session: SessionId,
        id: ClaimId,
        effects: &mut Vec<Effect>,
    ) -> Reply {
        let withdrawn = match self.find_own(session, id) {
            Some(found) => self.end_claim(found, Gone::Withdrawn, effects),
            None => Withdrawn::Absent,
        };
        Reply::Withdrawn(withdrawn)
    }

    /// Ends a claim, and replies to the request that waits for its grant.
    pub(super) fn end_claim(
        &mut self,
        found: Slot,
        why: Gone,
        effects: &mut Vec<Effect>,
    ) -> Withdrawn {
        if self.claims[key(found)].part != Part::Whole {
            let (queues, withdrawn) = self.leave(found, why, effects);
            self.settle_all(queues, effects);
            return withdrawn;
        }
        let claim = self.remove_claim(found);
        self.journal.record(Change::Left { claim: claim.id });
        if !claim.holds() {
            effects.push(Effect {
                to: claim.requester,
                reply: Reply::Gone { why },
            });
        }
        self.settle(claim.lock, effects);
        if claim.holds() {
            Withdrawn::Held
        } else {
            Withdrawn::Waiting
        }
    }

    /// As [`end_claim`](Self::end_claim), but without settling the queues, which are returned.
    pub(super) fn leave(
        &mut self,
        found: Slot,
        why: Gone,
        effects: &mut Vec<Effect>,
    ) -> (Vec<Slot>, Withdrawn) {
        let (queues, claim) = self.remove_all_parts(found);
        if claim.holds() {
            return (queues, Withdrawn::Held);
        }
        effects.push(Effect {
            to: claim.requester,
            reply: Reply::Gone { why },
        });
        (queues, Withdrawn::Waiting)
    }

    pub(super) fn evict(&mut self, name: &str, id: ClaimId, effects: &mut Vec<Effect>) -> Reply {
        let stands = |part: &Slot| &*self.locks[self.claims[key(*part)].lock].name == name;
        let has_ended = |found: Slot| self.is_over(self.claims[key(found)].session);
        let found = self
            .find_claim(id)
            .filter(|found| !has_ended(*found) && self.parts(*found).iter().any(stands));
        let Some(found) = found else {
            return Reply::Withdrawn(Withdrawn::Absent);
        };
        self.note_eviction(found, effects);
        Reply::Withdrawn(self.end_claim(found, Gone::Evicted, effects))
    }

    /// Counts an eviction, and reports it to the claim's session if the claim is held. Called
    /// before the claim ends.
    pub(super) fn note_eviction(&mut self, found: Slot, effects: &mut Vec<Effect>) {
        self.counters.evictions += 1;
        let claim = &self.claims[key(found)];
        let id = claim.id;
        if claim.holds() {
            let session = &mut self.sessions[key(claim.session)];
            session.evicted.push(id);
            if let Some(to) = session.listener.take() {
                self.watchers.remove(to);
                let evicted = std::mem::take(&mut session.evicted);
                effects.push(Effect {
                    to,
                    reply: Reply::Evictions(evicted),
                });
            }
        }
    }

    /// Removes a claim, or one part of it, from its queue, its session and the index. The queue has
    /// to be settled afterwards.
    pub(super) fn remove_claim(&mut self, index: Slot) -> Claim {
        let claim = &self.claims[key(index)];
        self.dump.leaves(claim, index);
        let (lock, session, mode, holds) = (claim.lock, claim.session, claim.mode, claim.holds());
        let hash = self.hasher.hash_one(claim.id);
        self.by_claim.remove(hash, index);
        if claim.part == Part::First {
            self.multi_claims.remove(&claim.id);
        }
        let name = lock;
        let lock = &mut self.locks[name];
        if holds {
            self.holders -= 1;
            self.counters.holds.record(self.now.since(claim.since));
            lock.run.leave();
        } else if lock.next == index {
            lock.next = InQueue::next(&self.claims[key(index)]);
        }
        lock.queue.remove(&mut self.claims, index);
        lock.left(mode);
        let session = &mut self.sessions[key(session)];
        session.claims.remove(&mut self.claims, index);
        session.claim_count -= 1;
        session.held_count -= usize::from(holds);
        self.shares.claim_left(session.share, name);
        self.backlog.touch();
        self.claims.remove(key(index))
    }
}

/// What happens to a new claim.
pub(super) enum Admission {
    /// It is granted at once. `free` is the first of its names that is free.
    Granted { free: Slot },
    /// It waits in the queues of all its names.
    Queued,
    /// It is not queued, because the name `at` is taken.
    Busy { at: Slot },
}
