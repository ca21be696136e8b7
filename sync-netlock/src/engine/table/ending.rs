//! How sessions end.
//!
//! A session *dies* at once: its end is recorded, and nobody finds it or its claims any more. Its
//! claims are removed afterwards, in slices if they are many. Until then they stay in their queues,
//! but none of them is granted. Restoring the journal removes all of them at the end of the
//! session, which has the same effect.

use distsync_core::spi::{ClaimId, Gone, SessionId};

use super::backlog::Task;
use super::{LockTable, Reason};
use crate::engine::command::Requester;
use crate::engine::journal::{Change, Journal};
use crate::engine::queue::{Claim, NONE, Part, Slot, key, slot};
use crate::engine::refusal::{Bound, Refusal};
use crate::engine::reply::{Effect, Reply};

/// How many slots without waiters are passed in one step.
const SLOTS_PER_STEP: usize = 16;
/// How many requests can wait for the end of one session.
const CLOSERS_MAX: usize = 64;

impl<J: Journal> LockTable<J> {
    /// Does a slice of the work that is left.
    pub(super) fn work(&mut self, effects: &mut Vec<Effect>) {
        while !self.backlog.is_spent() {
            let Some(task) = self.backlog.pop() else {
                return;
            };
            let rest = match task {
                Task::End(session) => {
                    (!self.empty_dead(session, effects)).then_some(Task::End(session))
                }
                Task::Separate(separation) => {
                    self.separate(separation, effects).map(Task::Separate)
                }
                Task::Settle(queue) => {
                    self.settle_rest(queue, effects);
                    None
                }
                Task::SettleFrom(from) => self.settle_from(from, effects).map(Task::SettleFrom),
                Task::Disconnect(connection) => {
                    (!self.disconnect_some(connection)).then_some(Task::Disconnect(connection))
                }
                Task::Sweep(sweep) => self.sweep(sweep, effects).map(Task::Sweep),
            };
            if let Some(rest) = rest {
                self.backlog.push(rest);
            }
        }
    }

    pub(super) fn close(
        &mut self,
        from: Requester,
        id: SessionId,
        effects: &mut Vec<Effect>,
    ) -> Option<Reply> {
        self.end_if_expired(id, effects);
        if let Some(found) = self.find_session(id) {
            self.disarm(found);
            self.end(found, effects);
        }
        self.closed(from, id)
    }

    /// Ends a session for an operator. If its client has to be isolated, isolation begins instead.
    pub(super) fn end_session(
        &mut self,
        from: Requester,
        id: SessionId,
        effects: &mut Vec<Effect>,
    ) -> Option<Reply> {
        self.end_if_expired(id, effects);
        let Some(found) = self.find_session(id) else {
            return Some(Reply::Refused(self.unknown(id)));
        };
        self.disarm(found);
        self.end_or_isolate(found, Reason::Ended, effects);
        self.closed(from, id)
    }

    /// Returns the reply to a request that ends a session. `None` if claims of the session are
    /// left: the reply is sent when they are removed.
    pub(super) fn closed(&mut self, from: Requester, id: SessionId) -> Option<Reply> {
        match self.backlog.dead_ids.get(&id) {
            Some(dead) => {
                let closers = &mut self.sessions[key(*dead)].closers;
                if closers.len() >= CLOSERS_MAX {
                    return Some(Reply::Refused(Refusal::TooMany {
                        what: Bound::ReleasesAtOnce,
                        max: CLOSERS_MAX,
                    }));
                }
                closers.push(from);
                None
            }
            None => Some(Reply::Closed),
        }
    }

    fn disarm(&mut self, index: Slot) {
        self.deadlines
            .disarm(self.sessions[key(index)].armed, index);
    }

    /// Ends a session with this id whose time is over, if there is one.
    pub(super) fn end_if_expired(&mut self, id: SessionId, effects: &mut Vec<Effect>) {
        if self.is_overdue()
            && let Some(found) = self.look_up_session(id)
            && self.has_expired(found)
        {
            self.disarm(found);
            self.counters.expiries += 1;
            self.end_or_isolate(found, Reason::Expired, effects);
        }
    }

    /// Ends a session that expires or that an operator ends, and that has no deadline any more. If
    /// its client has to be isolated, the session keeps its held claims.
    pub(super) fn end_or_isolate(
        &mut self,
        index: Slot,
        reason: Reason,
        effects: &mut Vec<Effect>,
    ) {
        if self.needs_isolation(index) {
            let separation = self.begin_isolation(index, reason, effects);
            if let Some(rest) = self.separate(separation, effects) {
                self.backlog.push(Task::Separate(rest));
            }
        } else {
            self.end(index, effects);
        }
    }

    /// Ends a session that has no deadline any more.
    pub(super) fn end(&mut self, index: Slot, effects: &mut Vec<Effect>) {
        self.kill(index, effects);
        if !self.empty_dead(index, effects) {
            self.backlog.push(Task::End(index));
        }
    }

    /// Marks a session as dead. Its claims have to be removed.
    fn kill(&mut self, index: Slot, effects: &mut Vec<Effect>) {
        self.forget_id(index);
        let session = &mut self.sessions[key(index)];
        session.is_dead = true;
        let (id, ttl, listener) = (session.id, session.terms.ttl, session.listener.take());
        self.backlog.dead_claims += session.claim_count;
        self.backlog.dead_holders += session.held_count;
        for connection in std::mem::take(&mut session.connections) {
            self.attached.remove(&(connection, index));
        }
        self.backlog.dead_sessions += 1;
        self.backlog.ending += 1;
        self.backlog.dead_ids.insert(id, index);
        self.listed_sessions.remove(&(id, index));
        self.ttls.remove(&(ttl, index));
        self.journal.record(Change::Closed { session: id });
        if let Some(to) = listener {
            self.watchers.remove(to);
            effects.push(Effect {
                to,
                reply: Reply::Refused(Refusal::SessionUnknown),
            });
        }
    }

    /// Removes claims of a dead session, and the session after the last one. Returns whether it is
    /// removed.
    fn empty_dead(&mut self, index: Slot, effects: &mut Vec<Effect>) -> bool {
        let mut touched = Vec::new();
        while !self.sessions[key(index)].claims.is_empty() && self.backlog.take_step() {
            let head = self.sessions[key(index)].claims.head();
            self.discard_dead(head, &mut touched, effects);
        }
        // Only now, because a queue that becomes empty may then be removed.
        self.settle_all(touched, effects);
        if !self.sessions[key(index)].claims.is_empty() {
            return false;
        }
        let session = self.sessions.remove(key(index));
        self.shares.leave(session.share);
        self.backlog.dead_sessions -= 1;
        self.backlog.ending -= 1;
        if self.backlog.dead_ids.get(&session.id) == Some(&index) {
            self.backlog.dead_ids.remove(&session.id);
        }
        effects.extend(session.closers.into_iter().map(|to| Effect {
            to,
            reply: Reply::Closed,
        }));
        true
    }

    /// Removes a claim of a dead session from all its queues, which have to be settled. The end of
    /// the session is in the journal, so the end of the claim is not.
    fn discard_dead(&mut self, found: Slot, touched: &mut Vec<Slot>, effects: &mut Vec<Effect>) {
        let before = touched.len();
        let claim = self.remove_parts(found, touched);
        let parts = touched.len() - before;
        self.backlog.charge(parts - 1);
        self.backlog.dead_claims -= parts;
        if claim.holds() {
            self.backlog.dead_holders -= parts;
        } else {
            effects.push(Effect {
                to: claim.requester,
                reply: Reply::Gone {
                    why: Gone::SessionLost,
                },
            });
        }
    }

    pub(super) fn settle_all(&mut self, mut touched: Vec<Slot>, effects: &mut Vec<Effect>) {
        // A queue can be listed more than once. Settle it once, because that may remove its name.
        touched.sort_unstable();
        touched.dedup();
        for lock in touched {
            self.settle(lock, effects);
        }
    }

    /// Settles a queue that was left unsettled.
    fn settle_rest(&mut self, queue: Slot, effects: &mut Vec<Effect>) {
        self.locks.mark_settled(queue);
        self.backlog.charge(1);
        self.settle(queue, effects);
    }

    /// Settles queues that have waiters, from this slot on. Returns where to continue.
    pub(super) fn settle_from(&mut self, from: Slot, effects: &mut Vec<Effect>) -> Option<Slot> {
        let mut at = key(from);
        let end = self.locks.end();
        while at < end && self.frozen.is_none() {
            if !self.backlog.take_step() {
                return Some(slot(at));
            }
            let until = end.min(at + SLOTS_PER_STEP);
            while at < until {
                let queue = slot(at);
                at += 1;
                if self.locks.is_in_use(queue) && self.locks[queue].next != NONE {
                    self.settle(queue, effects);
                    break;
                }
            }
        }
        None
    }

    /// Returns whether the table may contain claims that must not be granted.
    #[inline]
    pub(super) fn may_have_doomed(&self) -> bool {
        self.backlog.ending > 0 || self.swept.is_some() || self.is_overdue()
    }

    /// Removes a waiting claim if it must not be granted: its session has ended, or an operator
    /// ends all claims of its name. Returns whether it was removed, and appends its other queues to
    /// `more`.
    pub(super) fn discard_doomed(
        &mut self,
        found: Slot,
        more: &mut Vec<Slot>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let claim = &self.claims[key(found)];
        let (index, queue) = (claim.session, claim.lock);
        let before = more.len();
        if self.has_ended(index, effects) {
            if self.sessions[key(index)].is_dead {
                self.discard_dead(found, more, effects);
            } else {
                let (queues, _) = self.leave(found, Gone::SessionLost, effects);
                more.extend(queues);
            }
        } else if self.is_swept(found) {
            self.discard_swept(found, more, effects);
        } else {
            return false;
        }
        // The caller settles this queue.
        let mut kept = before;
        for at in before..more.len() {
            if more[at] != queue {
                more.swap(kept, at);
                kept += 1;
            }
        }
        more.truncate(kept);
        true
    }

    /// Returns whether a session has ended, for its waiting claims. Ends it if its time is over.
    fn has_ended(&mut self, index: Slot, effects: &mut Vec<Effect>) -> bool {
        let session = &self.sessions[key(index)];
        if session.is_dead || session.is_isolating {
            return true;
        }
        if !self.has_expired(index) {
            return false;
        }
        self.disarm(index);
        self.counters.expiries += 1;
        // The caller is in the middle of a queue, so the claims are removed later.
        if self.needs_isolation(index) {
            let separation = self.begin_isolation(index, Reason::Expired, effects);
            self.backlog.push(Task::Separate(separation));
        } else {
            self.kill(index, effects);
            self.backlog.push(Task::End(index));
        }
        true
    }

    /// Frees the id of a claim whose session has ended, so that another session can use it.
    pub(super) fn free_claim_id(&mut self, id: ClaimId, effects: &mut Vec<Effect>) {
        let Some(found) = self.find_claim(id) else {
            return;
        };
        let (index, holds) = (
            self.claims[key(found)].session,
            self.claims[key(found)].holds(),
        );
        if !self.has_ended(index, effects) {
            return;
        }
        let mut touched = Vec::new();
        if self.sessions[key(index)].is_dead {
            self.discard_dead(found, &mut touched, effects);
        } else if !holds {
            touched = self.leave(found, Gone::SessionLost, effects).0;
        }
        self.settle_all(touched, effects);
    }

    /// Detaches a closed connection from all its sessions, and cancels its watches.
    pub(super) fn disconnect(&mut self, connection: u64) {
        if !self.disconnect_some(connection) {
            self.backlog.push(Task::Disconnect(connection));
        }
    }

    /// Does a slice of [`disconnect`](Self::disconnect). Returns whether it is complete.
    fn disconnect_some(&mut self, connection: u64) -> bool {
        let of_connection = (connection, 0)..=(connection, Slot::MAX);
        while let Some((_, index)) = self.attached.range(of_connection.clone()).next().copied() {
            if !self.backlog.take_step() {
                return false;
            }
            self.attached.remove(&(connection, index));
            self.lose_connection(connection, index);
        }
        while let Some(watcher) = self.watchers.any_of(connection) {
            if !self.backlog.take_step() {
                return false;
            }
            self.forget(watcher);
        }
        true
    }

    /// Removes a claim from all its queues, which are appended to `queues` and have to be settled.
    pub(super) fn remove_parts(&mut self, found: Slot, queues: &mut Vec<Slot>) -> Claim {
        if self.claims[key(found)].part == Part::Whole {
            let claim = self.remove_claim(found);
            queues.push(claim.lock);
            self.charge_news(claim.lock);
            return claim;
        }
        let before = queues.len();
        let parts = self.parts(found);
        for part in &parts[1..] {
            queues.push(self.remove_claim(*part).lock);
        }
        let claim = self.remove_claim(parts[0]);
        queues.push(claim.lock);
        for queue in &queues[before..] {
            self.charge_news(*queue);
        }
        claim
    }
}
