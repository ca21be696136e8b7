//! Restores a table from changes, and freezes a table so that it grants nothing.

use std::fmt;

use distsync_core::Token;
use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, SessionId};

use super::backlog::Task;
use super::{LockTable, Opening};
use crate::engine::command::Requester;
use crate::engine::journal::{Change, Journal};
use crate::engine::queue::{Claim, NONE, Part, Slot, key};
use crate::engine::refusal::Refusal;
use crate::engine::reply::Effect;

/// Why a table grants nothing for now. Renewals and releases are still accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// A restart may have lost grants that clients still hold. New claims are queued.
    Grace {
        /// The time when the sessions of all such clients have ended.
        until: Moment,
    },
    /// The disk is full, so a grant could not be stored. New claims and sessions are refused.
    Full,
}

/// The error for a change that does not follow from the changes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidChange(&'static str);

impl fmt::Display for InvalidChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidChange {}

impl<J: Journal> LockTable<J> {
    /// Applies a change that was recorded earlier, without recording it again. Grants nothing that
    /// was not granted then; call [`thaw`](Self::thaw) after the last change. Restored sessions
    /// have their whole TTL from `now`.
    ///
    /// # Errors
    /// The change contradicts the state of the table.
    pub fn restore(&mut self, now: Moment, change: Change<'_>) -> Result<(), InvalidChange> {
        self.now = self.now.max(now);
        // A restored queue changes without a new revision.
        self.snapshots.clear();
        match change {
            Change::Opened {
                session,
                secret,
                terms,
                client,
                isolation,
                principal,
            } => {
                if self.look_up_restored(session).is_some() {
                    return Err(InvalidChange("a session is opened twice"));
                }
                self.begin_session(
                    session,
                    secret,
                    Opening {
                        terms,
                        client,
                        isolation,
                        principal,
                    },
                );
            }
            Change::Isolating { session, reason } => {
                let found = self
                    .look_up_session(session)
                    .ok_or(InvalidChange("an unknown session is isolated"))?;
                let armed = self.sessions[key(found)].armed;
                self.deadlines.disarm(armed, found);
                self.mark_isolating(found, reason);
            }
            Change::Isolated { session } => self.isolated.remember(session),
            Change::Closed { session } => {
                let found = self
                    .look_up_restored(session)
                    .ok_or(InvalidChange("an unknown session ends"))?;
                self.restore_end(found);
            }
            Change::Arrived {
                session,
                claim,
                name,
                mode,
                value,
                token,
                any,
            } => {
                let session = self
                    .look_up_restored(session)
                    .ok_or(InvalidChange("a claim of an unknown session"))?;
                let first = self.find_claim(claim);
                let lock = self.locks.enter_or_insert(name, self.revision);
                let arriving =
                    Claim::new(claim, session, lock, mode, Requester::HOST, value, self.now)
                        .of_part(Part::Whole, any);
                let index = match first {
                    None => self.insert_claim(arriving),
                    Some(first) if self.is_further(&arriving, first) => {
                        let index = self.insert_claim(arriving.of_part(Part::Further, any));
                        self.add_part(first, index);
                        index
                    }
                    Some(_) => return Err(InvalidChange("a claim arrives twice")),
                };
                if let Some(token) = token {
                    self.restore_grant(index, token)?;
                }
            }
            Change::Granted { claim, token } => {
                for part in self.parts(self.restored(claim)?) {
                    self.restore_grant(part, token)?;
                }
            }
            Change::Chosen { claim, name, token } => {
                let found = self.restored(claim)?;
                let chosen = self.part_in(found, name).ok_or(InvalidChange(
                    "a claim is granted a name that it did not request",
                ))?;
                for queue in self.choose(chosen) {
                    self.tidy(queue);
                }
                self.restore_grant(chosen, token)?;
            }
            Change::Updated { claim, value } => {
                self.set_value(self.restored(claim)?, value);
            }
            Change::Left { claim } => {
                for part in self.parts(self.restored(claim)?).into_iter().rev() {
                    let queue = self.remove_claim(part).lock;
                    self.tidy(queue);
                }
            }
        }
        Ok(())
    }

    /// As [`look_up_session`](Self::look_up_session), but also finds a session whose client is
    /// being isolated.
    fn look_up_restored(&self, id: SessionId) -> Option<Slot> {
        self.look_up_session(id).or_else(|| self.isolated.find(id))
    }

    /// Ends a session, and removes all its claims at once.
    fn restore_end(&mut self, index: Slot) {
        loop {
            let head = self.sessions[key(index)].claims.head();
            if head == NONE {
                break;
            }
            let queue = self.remove_claim(head).lock;
            self.tidy(queue);
        }
        self.forget_id(index);
        let session = self.sessions.remove(key(index));
        if session.is_isolating {
            self.isolated.end(session.id);
        }
        self.deadlines.disarm(session.armed, index);
        self.listed_sessions.remove(&(session.id, index));
        self.ttls.remove(&(session.terms.ttl, index));
        self.shares.leave(session.share);
    }

    /// As [`restore`](Self::restore), for the slices of a [dump](Self::dump_slice) and the changes
    /// between them. Changes of sessions and claims that the dump had not reached have no effect.
    ///
    /// # Errors
    /// The change contradicts the state of the table.
    pub fn restore_sliced(&mut self, now: Moment, change: Change<'_>) -> Result<(), InvalidChange> {
        let is_restored = match change {
            Change::Opened {
                session, secret, ..
            } => self
                .look_up_restored(session)
                .is_none_or(|found| self.sessions[key(found)].secret != secret),
            Change::Isolating { session, .. } => {
                // The dump may have begun before, so it does not name this session as isolated.
                self.isolated.remember(session);
                self.look_up_session(session).is_some()
            }
            Change::Closed { session } => self.look_up_restored(session).is_some(),
            Change::Arrived { .. } | Change::Isolated { .. } => true,
            Change::Granted { claim, .. }
            | Change::Updated { claim, .. }
            | Change::Left { claim } => self.find_claim(claim).is_some(),
            Change::Chosen { claim, name, .. } => match self.find_claim(claim) {
                Some(found) if self.part_in(found, name).is_none() => {
                    // The dump will emit the chosen part.
                    return self.restore(now, Change::Left { claim });
                }
                found => found.is_some(),
            },
        };
        if is_restored {
            self.restore(now, change)
        } else {
            Ok(())
        }
    }

    /// Returns the part of a claim in the queue of a name.
    fn part_in(&self, found: Slot, name: &str) -> Option<Slot> {
        let is_in = |part: &Slot| &*self.locks[self.claims[key(*part)].lock].name == name;
        self.parts(found).into_iter().find(is_in)
    }

    /// Returns whether an arriving claim is a further part of a claim that exists.
    fn is_further(&self, arriving: &Claim, first: Slot) -> bool {
        let claim = &self.claims[key(first)];
        claim.session == arriving.session
            && claim.mode == arriving.mode
            && claim.any == arriving.any
            && self
                .parts(first)
                .iter()
                .all(|part| self.claims[key(*part)].lock != arriving.lock)
    }

    fn restored(&self, claim: ClaimId) -> Result<Slot, InvalidChange> {
        self.find_claim(claim)
            .ok_or(InvalidChange("a change of an unknown claim"))
    }

    fn restore_grant(&mut self, index: Slot, token: Token) -> Result<(), InvalidChange> {
        let claim = &self.claims[key(index)];
        let lock = &self.locks[claim.lock];
        if lock.next != index || !lock.run.admits(claim.mode) {
            return Err(InvalidChange(
                "a claim is granted that is not first in its queue",
            ));
        }
        self.begin_hold(index, token);
        self.tokens.skip_to(token);
        Ok(())
    }

    /// Stops grants, for this reason.
    pub fn freeze(&mut self, why: Freeze) {
        self.frozen = Some(why);
    }

    /// Returns the reason why nothing is granted, if nothing is.
    #[must_use]
    pub fn frozen(&self) -> Option<Freeze> {
        self.frozen
    }

    /// Resumes grants, beginning with the claims that wait.
    /// If many claims wait, the rest of them is left to later visits.
    pub fn thaw(&mut self, effects: &mut Vec<Effect>) {
        self.frozen = None;
        if let Some(from) = self.settle_from(0, effects) {
            self.backlog.push(Task::SettleFrom(from));
        }
    }

    /// Ends the grace period if it is over.
    pub(super) fn end_grace(&mut self, effects: &mut Vec<Effect>) {
        if let Some(Freeze::Grace { until }) = self.frozen
            && until <= self.now
        {
            self.thaw(effects);
        }
    }

    /// Returns the refusal for a new claim while the table is frozen. `None` if the claim can wait.
    pub(super) fn refusal_when_frozen(&self, waits: bool) -> Option<Refusal> {
        match self.frozen? {
            Freeze::Full => Some(Refusal::StorageFull),
            Freeze::Grace { .. } if waits => None,
            Freeze::Grace { until } => Some(Refusal::Settling {
                left: until.since(self.now),
            }),
        }
    }
}
