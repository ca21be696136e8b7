//! Sessions: how they are opened and renewed, and when they are over.

use std::hash::BuildHasher;
use std::time::Duration;

use distsync_core::spi::{Secret, SessionId};

use super::{Freeze, LockTable, Opening, Reason};
use crate::engine::command::{NO_PRINCIPAL, Requester};
use crate::engine::journal::{Change, Journal};
use crate::engine::queue::{NONE, Slot, key, slot};
use crate::engine::refusal::{Bound, Refusal};
use crate::engine::reply::{Effect, Reply};
use crate::engine::session::Session;
use crate::engine::watchers::Watched;

impl<J: Journal> LockTable<J> {
    /// Ends sessions whose time is over. The rest is left to later visits if there are many: until
    /// then, these sessions count as ended everywhere.
    pub(super) fn expire(&mut self, effects: &mut Vec<Effect>) {
        while self.is_overdue() && self.backlog.take_step() {
            let Some(due) = self.deadlines.pop(self.now) else {
                return;
            };
            let session = &mut self.sessions[key(due)];
            if session.expires > self.now {
                session.armed = session.expires;
                self.deadlines.arm(session.armed, due);
            } else {
                self.counters.expiries += 1;
                self.end_or_isolate(due, Reason::Expired, effects);
            }
        }
    }

    /// Returns whether sessions may be due that are not ended yet.
    #[inline]
    pub(super) fn is_overdue(&self) -> bool {
        self.deadlines.first().is_some_and(|due| due <= self.now)
    }

    /// Returns whether a session counts as ended, because its time is over.
    #[inline]
    pub(super) fn has_expired(&self, index: Slot) -> bool {
        self.is_overdue() && self.sessions[key(index)].expires <= self.now
    }

    /// Returns whether a session is dead or counts as ended. One that isolates its client is
    /// neither.
    pub(super) fn is_over(&self, index: Slot) -> bool {
        self.sessions[key(index)].is_dead || self.has_expired(index)
    }

    pub(super) fn open(
        &mut self,
        connection: u64,
        id: SessionId,
        secret: Secret,
        opening: Opening<'_>,
        effects: &mut Vec<Effect>,
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
        self.end_if_expired(id, effects);
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

    /// Adds a session.
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
        self.sessions_end = self.sessions_end.max(key(index) + 1);
        self.deadlines.arm(armed, index);
        self.listed_sessions.insert((id, index));
        self.ttls.insert((terms.ttl, index));
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

    pub(super) fn lose_connection(&mut self, connection: u64, index: Slot) {
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
        if self.has_expired(self.recent) {
            return None;
        }
        Some(self.recent)
    }

    /// As [`find_session`](Self::find_session), but also finds a session whose time is over.
    pub(super) fn look_up_session(&self, id: SessionId) -> Option<Slot> {
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
