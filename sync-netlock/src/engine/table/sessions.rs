//! Sessions: how they are opened, renewed and ended.

use std::hash::BuildHasher;
use std::time::Duration;

use distsync_core::spi::{Gone, Secret, SessionId};

use super::{Freeze, LockTable, Opening, Reason};
use crate::engine::command::{NO_PRINCIPAL, Requester};
use crate::engine::journal::{Change, Journal};
use crate::engine::queue::{NONE, Part, Slot, key, slot};
use crate::engine::refusal::{Bound, Refusal};
use crate::engine::reply::{Effect, Reply};
use crate::engine::session::Session;
use crate::engine::watchers::Watched;

impl<J: Journal> LockTable<J> {
    pub(super) fn expire(&mut self, effects: &mut Vec<Effect>) {
        if self.deadlines.first().is_none_or(|due| due > self.now) {
            return;
        }
        let mut ending = Vec::new();
        while let Some(due) = self.deadlines.pop(self.now) {
            let session = &mut self.sessions[key(due)];
            if session.expires > self.now {
                session.armed = session.expires;
                self.deadlines.arm(session.armed, due);
            } else {
                ending.push(due);
            }
        }
        self.counters.expiries += ending.len() as u64;
        self.end_or_isolate(&ending, Reason::Expired, effects);
    }

    pub(super) fn open(
        &mut self,
        connection: u64,
        id: SessionId,
        secret: Secret,
        opening: Opening<'_>,
    ) -> Reply {
        let Opening {
            terms,
            client,
            isolation,
            principal,
        } = opening;
        let (min, max) = (self.limits.ttl_min, self.limits.ttl_max);
        if terms.ttl < min || terms.ttl > max {
            return Reply::Refused(Refusal::TtlOutOfRange { min, max });
        }
        for (length, max) in [
            (client.len(), self.limits.client_bytes),
            (isolation.len(), self.limits.isolation_bytes),
        ] {
            if length > max {
                return Reply::Refused(Refusal::TooLong { max });
            }
        }
        if let Some(found) = self.find_session(id) {
            // The request repeats an earlier one, whose reply was lost.
            return if self.sessions[key(found)].secret == secret {
                self.connect(connection, found);
                Reply::Opened {
                    ttl: self.touch(found),
                }
            } else {
                Reply::Refused(Refusal::SessionUnknown)
            };
        }
        if let Refusal::Isolated = self.unknown(id) {
            return Reply::Refused(Refusal::Isolated);
        }
        if principal != NO_PRINCIPAL
            && let Err(refusal) = self.shares.check_session(principal, &self.limits)
        {
            return Reply::Refused(refusal);
        }
        if self.sessions.len() >= self.limits.sessions {
            return Reply::Refused(Refusal::TooMany {
                what: Bound::Sessions,
                max: self.limits.sessions,
            });
        }
        if let Some(Freeze::Full) = self.frozen {
            return Reply::Refused(Refusal::StorageFull);
        }
        let begun = self.begin_session(id, secret, opening);
        self.journal.record(Change::Opened {
            session: id,
            secret,
            terms,
            client,
            isolation,
            principal,
        });
        self.connect(connection, begun);
        Reply::Opened { ttl: terms.ttl }
    }

    /// Adds a session. The inverse of [`remove_session`](Self::remove_session).
    pub(super) fn begin_session(
        &mut self,
        id: SessionId,
        secret: Secret,
        opening: Opening<'_>,
    ) -> Slot {
        let Opening {
            terms,
            client,
            isolation,
            principal,
        } = opening;
        let mut session = Session::new(id, secret, terms, client, isolation, self.now);
        session.share = self.shares.enter(principal);
        let armed = session.armed;
        let index = slot(self.sessions.insert(session));
        self.deadlines.arm(armed, index);
        let hash = self.hasher.hash_one(id);
        self.by_session.insert(hash, index);
        index
    }

    /// Attaches a connection to a session. Renews the session if it was about to end because it had
    /// no connection.
    fn connect(&mut self, connection: u64, index: Slot) {
        if self.attached.insert((connection, index)) {
            let session = &mut self.sessions[key(index)];
            session.connections.push(connection);
            if session.terms.release_on_disconnect && session.connections.len() == 1 {
                self.touch(index);
            }
        }
    }

    pub(super) fn detach(&mut self, connection: u64, id: SessionId) -> Reply {
        match self.find_session(id) {
            Some(found) => {
                if self.attached.remove(&(connection, found)) {
                    self.lose_connection(connection, found);
                }
                Reply::Detached
            }
            None => Reply::Refused(self.unknown(id)),
        }
    }

    /// Detaches a closed connection from all its sessions.
    pub(super) fn disconnect(&mut self, connection: u64) {
        let of_connection = (connection, 0)..=(connection, Slot::MAX);
        let sessions: Vec<Slot> = self
            .attached
            .range(of_connection)
            .map(|(_, index)| *index)
            .collect();
        for index in sessions {
            self.attached.remove(&(connection, index));
            self.lose_connection(connection, index);
        }
    }

    fn lose_connection(&mut self, connection: u64, index: Slot) {
        let session = &mut self.sessions[key(index)];
        session.connections.retain(|other| *other != connection);
        // A session that is isolating has ended already, and has no deadline.
        if !session.connections.is_empty()
            || !session.terms.release_on_disconnect
            || session.is_isolating
        {
            return;
        }
        let ends = self.now.after(self.limits.reconnect_grace);
        if ends < session.expires {
            session.expires = ends;
            self.deadlines.disarm(session.armed, index);
            session.armed = ends;
            self.deadlines.arm(ends, index);
        }
    }

    pub(super) fn find_session(&mut self, id: SessionId) -> Option<Slot> {
        if self
            .sessions
            .get(key(self.recent))
            .is_none_or(|session| session.id != id)
        {
            self.recent = self.look_up_session(id)?;
        }
        Some(self.recent)
    }

    fn look_up_session(&self, id: SessionId) -> Option<Slot> {
        self.by_session.find(self.hasher.hash_one(id), |slot| {
            self.sessions[key(slot)].id == id
        })
    }

    pub(super) fn attach(&mut self, connection: u64, id: SessionId, secret: Secret) -> Reply {
        match self.find_session(id) {
            Some(found) if self.sessions[key(found)].secret == secret => {
                self.connect(connection, found);
                Reply::Attached
            }
            _ => Reply::Refused(self.unknown(id)),
        }
    }

    /// Renews a session, and returns its TTL. Never shortens the time that is left.
    fn touch(&mut self, index: Slot) -> Duration {
        let session = &mut self.sessions[key(index)];
        session.expires = session.expires.max(self.now.after(session.terms.ttl));
        session.terms.ttl
    }

    pub(super) fn renew(&mut self, id: SessionId) -> Reply {
        match self.find_session(id) {
            Some(found) => Reply::Renewed {
                ttl: self.touch(found),
            },
            None => Reply::Refused(self.unknown(id)),
        }
    }

    pub(super) fn close(&mut self, id: SessionId, effects: &mut Vec<Effect>) -> Reply {
        if let Some(found) = self.find_session(id) {
            self.deadlines
                .disarm(self.sessions[key(found)].armed, found);
            self.end_sessions(&[found], effects);
        }
        Reply::Closed
    }

    /// Ends a session for an operator. If its client has to be isolated, isolation begins instead.
    pub(super) fn end_session(&mut self, id: SessionId, effects: &mut Vec<Effect>) -> Reply {
        let Some(found) = self.find_session(id) else {
            return Reply::Refused(self.unknown(id));
        };
        self.deadlines
            .disarm(self.sessions[key(found)].armed, found);
        self.end_or_isolate(&[found], Reason::Ended, effects);
        Reply::Closed
    }

    /// Ends sessions whose deadlines are removed. All their claims are removed before the queues
    /// are settled, so that no claim of an ended session is granted.
    pub(super) fn end_sessions(&mut self, ending: &[Slot], effects: &mut Vec<Effect>) {
        let touched = ending
            .iter()
            .flat_map(|index| self.end_one(*index, effects))
            .collect();
        self.settle_all(touched, effects);
    }

    /// As [`end_sessions`](Self::end_sessions), for sessions that expire or that an operator ends.
    /// If a client has to be isolated, its session keeps its held claims.
    fn end_or_isolate(&mut self, ending: &[Slot], reason: Reason, effects: &mut Vec<Effect>) {
        let mut touched = Vec::new();
        for index in ending {
            touched.extend(if self.needs_isolation(*index) {
                self.begin_isolation(*index, reason, effects)
            } else {
                self.end_one(*index, effects)
            });
        }
        self.settle_all(touched, effects);
    }

    /// Ends a session. Returns the queues that its claims have left, which have to be settled.
    fn end_one(&mut self, index: Slot, effects: &mut Vec<Effect>) -> Vec<Slot> {
        let touched = self.empty_session(index, effects);
        self.forget_session(index, effects);
        touched
    }

    pub(super) fn settle_all(&mut self, mut touched: Vec<Slot>, effects: &mut Vec<Effect>) {
        // A queue can be listed more than once. Settle it once, because that may remove its name.
        touched.sort_unstable();
        touched.dedup();
        for lock in touched {
            self.settle(lock, effects);
        }
    }

    /// Removes all claims of a session. Returns their queues.
    pub(super) fn empty_session(&mut self, index: Slot, effects: &mut Vec<Effect>) -> Vec<Slot> {
        let mut touched = Vec::new();
        loop {
            let head = self.sessions[key(index)].claims.head();
            if head == NONE {
                return touched;
            }
            let claim = self.remove_claim(head);
            if !claim.holds() && claim.part != Part::Further {
                effects.push(Effect {
                    to: claim.requester,
                    reply: Reply::Gone {
                        why: Gone::SessionLost,
                    },
                });
            }
            touched.push(claim.lock);
        }
    }

    fn forget_session(&mut self, index: Slot, effects: &mut Vec<Effect>) {
        let session = self.remove_session(index);
        self.journal.record(Change::Closed {
            session: session.id,
        });
        if let Some(to) = session.listener {
            self.watchers.remove(to);
            effects.push(Effect {
                to,
                reply: Reply::Refused(Refusal::SessionUnknown),
            });
        }
    }

    /// Removes a session that has no claims.
    pub(super) fn remove_session(&mut self, index: Slot) -> Session {
        self.forget_id(index);
        let session = self.sessions.remove(key(index));
        self.shares.leave(session.share);
        for connection in &session.connections {
            self.attached.remove(&(*connection, index));
        }
        session
    }

    /// Removes a session from the index of ids.
    pub(super) fn forget_id(&mut self, index: Slot) {
        let hash = self.hasher.hash_one(self.sessions[key(index)].id);
        self.by_session.remove(hash, index);
        self.recent = NONE;
    }

    pub(super) fn evictions(&mut self, from: Requester, id: SessionId) -> Option<Reply> {
        let Some(found) = self.find_session(id) else {
            return Some(Reply::Refused(self.unknown(id)));
        };
        // A request that repeats the id of an earlier one replaces it.
        self.forget(from);
        let session = &mut self.sessions[key(found)];
        if !session.evicted.is_empty() {
            return Some(Reply::Evictions(std::mem::take(&mut session.evicted)));
        }
        if let Some(replaced) = session.listener.replace(from) {
            self.watchers.remove(replaced);
        }
        let principal = self.shares.principal_of(from.connection);
        self.watchers
            .insert(from, principal, Watched::Session(found));
        None
    }
}
