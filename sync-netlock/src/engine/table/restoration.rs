//! From a table to changes that make it again, and back; and the times at which nothing is granted.

use std::fmt;

use distsync_core::Token;
use distsync_core::spi::ClaimId;
use distsync_core::spi::clock::Moment;

use super::{LockTable, Opening};
use crate::engine::command::{Effect, Refusal, Requester};
use crate::engine::journal::{Change, Journal};
use crate::engine::line::{Claim, Part, Slot, key};

/// Why a table grants nothing for now. Renewals and releases go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// Grants of before a restart may have been forgotten, and their holders may still believe in
    /// them. New claims stand in line.
    Grace {
        /// When all of them have ended.
        until: Moment,
    },
    /// A grant could not be remembered. New claims and sessions are refused.
    Full,
}

/// A change that does not follow from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit(&'static str);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Misfit {}

impl<J: Journal> LockTable<J> {
    /// Tells the changes that make this table of an empty one.
    pub fn dump(&self, mut tell: impl FnMut(Change<'_>)) {
        for (_, session) in &self.sessions {
            let (id, secret, terms) = (session.id, session.secret, session.terms);
            let (client, isolation) = (&session.client, &session.isolation);
            let principal = self.shares.principal(session.share);
            tell(Change::Opened {
                session: id,
                secret,
                terms,
                client,
                isolation,
                principal,
            });
        }
        for lock in self.locks.iter() {
            for claim in lock.line.iter(&self.claims) {
                tell(Change::Arrived {
                    session: self.sessions[key(claim.session)].id,
                    claim: claim.id,
                    name: &lock.name,
                    mode: claim.mode,
                    value: &claim.value,
                    token: claim.token(),
                    any: claim.any && claim.part != Part::Whole,
                });
            }
        }
    }

    /// Repeats a change that was recorded earlier; it is not recorded again. Nobody is granted
    /// anything by it that was not before: see [`thaw`](Self::thaw). Sessions live for their whole
    /// TTL from `now`.
    ///
    /// # Errors
    /// The change does not fit the table.
    pub fn restore(&mut self, now: Moment, change: Change<'_>) -> Result<(), Misfit> {
        self.now = self.now.max(now);
        match change {
            Change::Opened {
                session,
                secret,
                terms,
                client,
                isolation,
                principal,
            } => {
                if self.find_session(session).is_some() {
                    return Err(Misfit("a session begins twice"));
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
            Change::Closed { session } => {
                let found = self
                    .find_session(session)
                    .ok_or(Misfit("an unknown session ends"))?;
                self.deadlines
                    .disarm(self.sessions[key(found)].armed, found);
                for lock in self.empty_session(found, &mut Vec::new()) {
                    self.tidy(lock);
                }
                self.remove_session(found);
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
                    .find_session(session)
                    .ok_or(Misfit("a claim of an unknown session"))?;
                let first = self.find_claim(claim);
                let lock = self.locks.enter_or_insert(name, self.revision);
                let arriving = Claim::new(
                    claim,
                    session,
                    lock,
                    mode,
                    Requester::NOBODY,
                    value,
                    self.now,
                )
                .of_part(Part::Whole, any);
                let index = match first {
                    None => self.put_in(arriving),
                    Some(first) if self.is_further(&arriving, first) => {
                        let index = self.put_in(arriving.of_part(Part::Further, any));
                        self.join(first, index);
                        index
                    }
                    Some(_) => return Err(Misfit("a claim arrives twice")),
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
                let parts = self.parts(self.restored(claim)?);
                let is_chosen =
                    |part: &&Slot| &*self.locks[self.claims[key(**part)].lock].name == name;
                let chosen = *parts
                    .iter()
                    .find(is_chosen)
                    .ok_or(Misfit("a claim holds where it never stood"))?;
                for line in self.choose(chosen) {
                    self.tidy(line);
                }
                self.restore_grant(chosen, token)?;
            }
            Change::Updated { claim, value } => {
                self.set_value(self.restored(claim)?, value);
            }
            Change::Left { claim } => {
                for part in self.parts(self.restored(claim)?).into_iter().rev() {
                    let line = self.take_out(part).lock;
                    self.tidy(line);
                }
            }
        }
        Ok(())
    }

    /// Whether what arrives is a part of a claim that is here already.
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

    fn restored(&self, claim: ClaimId) -> Result<Slot, Misfit> {
        self.find_claim(claim)
            .ok_or(Misfit("a change of an unknown claim"))
    }

    fn restore_grant(&mut self, index: Slot, token: Token) -> Result<(), Misfit> {
        let claim = &self.claims[key(index)];
        let lock = &self.locks[claim.lock];
        if lock.next != index || !lock.run.admits(claim.mode) {
            return Err(Misfit("a claim is granted that is not next in its line"));
        }
        self.begin_hold(index, token);
        self.tokens.follow(token);
        Ok(())
    }

    /// Grants nothing from now on, for this reason.
    pub fn freeze(&mut self, why: Freeze) {
        self.frozen = Some(why);
    }

    /// Why nothing is granted, if nothing is.
    #[must_use]
    pub fn frozen(&self) -> Option<Freeze> {
        self.frozen
    }

    /// Grants again, beginning with those who stand in line.
    pub fn thaw(&mut self, effects: &mut Vec<Effect>) {
        self.frozen = None;
        self.settle_all(self.locks.with_waiters(), effects);
    }

    /// A grace that is over by now ends.
    pub(super) fn end_grace(&mut self, effects: &mut Vec<Effect>) {
        if let Some(Freeze::Grace { until }) = self.frozen
            && until <= self.now
        {
            self.thaw(effects);
        }
    }

    /// Why a claim that would hold at once has to wait, or cannot come at all.
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
