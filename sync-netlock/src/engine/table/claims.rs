//! Claims of one name: how they come, stand, hold and end.

use std::hash::BuildHasher;
use std::time::Duration;

use distsync_core::spi::{ClaimId, Gone, Revision, SessionId, Withdrawn};
use distsync_core::{Mode, Token};

use super::{Arrival, Freeze, LockTable};
use crate::engine::command::{Bound, Effect, Refusal, Reply, Requester};
use crate::engine::journal::{Change, Journal};
use crate::engine::line::{Claim, InLine, NONE, Part, Slot, Thread, key, slot};

impl<J: Journal> LockTable<J> {
    pub(super) fn find_claim(&self, id: ClaimId) -> Option<Slot> {
        self.by_claim
            .find(self.hasher.hash_one(id), |slot| {
                self.claims[key(*slot)].id == id
            })
            .copied()
    }

    /// The claim of this id, if it belongs to this session.
    pub(super) fn find_own(&self, session: SessionId, id: ClaimId) -> Option<Slot> {
        let found = self.find_claim(id)?;
        let owner = &self.sessions[key(self.claims[key(found)].session)];
        (owner.id == session && !owner.is_isolating).then_some(found)
    }

    /// The name's slot for somebody who comes to it.
    pub(super) fn lock_of(&mut self, name: &[u8], revision: Revision) -> Result<Slot, Refusal> {
        let hash = self.locks.hash_one(name);
        if let Some(known) = self.locks.enter(name, hash) {
            return Ok(known);
        }
        // Names that are known are good names.
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
        if let Some(found) = self.find_claim(arrival.claim) {
            return self.repeat(from, found, session, arrival.name);
        }
        self.arrive(from, session, arrival, effects)
            .unwrap_or_else(Reply::Refused)
    }

    /// The claim is here already: the reply to an earlier request was lost, or its connection.
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
        let (id, lock) = (claim.id, claim.lock);
        Reply::Waiting {
            position: self.ahead(lock, id),
            holder: self.holder(lock),
        }
    }

    /// How many are ahead of a claim in a line.
    pub(super) fn ahead(&self, index: Slot, id: ClaimId) -> u32 {
        let ahead = self.locks[index]
            .line
            .iter(&self.claims)
            .take_while(|other| other.id != id)
            .count();
        u32::try_from(ahead).unwrap_or(u32::MAX)
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
        let token = match self.admission(session, &[index], mode, waits, false) {
            Ok(Admission::AtOnce { .. }) => Some(self.tokens.next()),
            Ok(Admission::InLine) => None,
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
        self.stand(
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

    /// What an arrival of this mode finds in these lines, all of which it wants, or any.
    #[inline]
    pub(super) fn admission(
        &self,
        session: Slot,
        lines: &[Slot],
        mode: Mode,
        waits: bool,
        any: bool,
    ) -> Result<Admission, Refusal> {
        for line in lines {
            if let Some(of) = self.locks[*line].other_permits(mode) {
                return Err(Refusal::PermitsDiffer { of });
            }
        }
        let is_free = |line: &Slot| self.locks[*line].admits(mode);
        let free = lines.iter().copied().find(is_free);
        let taken = if any && free.is_some() {
            None
        } else {
            lines.iter().find(|line| !is_free(line))
        };
        if let (Some(free), None, None) = (free, taken, self.frozen) {
            let joined = if any { &[free] } else { lines };
            self.check_queues(session, joined)?;
            return Ok(Admission::AtOnce { free });
        }
        if let Some(refusal) = self.refusal_when_frozen(waits || taken.is_some()) {
            return Err(refusal);
        }
        if let Some(at) = taken.filter(|_| !waits) {
            return Ok(Admission::Busy { at: *at });
        }
        self.check_queues(session, lines)?;
        Ok(Admission::InLine)
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

    /// Whether a session may have a claim like this, with so many names.
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

    /// A claim comes to the end of its line; with a token it holds.
    #[inline]
    pub(super) fn stand(&mut self, claim: Claim, token: Option<Token>) -> Slot {
        let session = self.sessions[key(claim.session)].id;
        let (name, value) = (&self.locks[claim.lock].name, &claim.value);
        let Claim { id, mode, any, .. } = claim;
        self.journal.record(Change::Arrived {
            session,
            claim: id,
            name,
            mode,
            value,
            token,
            any,
        });
        let index = self.put_in(claim);
        if let Some(token) = token {
            let waited = self.begin_hold(index, token);
            self.counters.waits.note(waited);
        }
        index
    }

    /// The next in a line holds from now on. How long it has waited.
    #[inline]
    pub(super) fn begin_hold(&mut self, index: Slot, token: Token) -> Duration {
        let claim = &mut self.claims[key(index)];
        let lock = &mut self.locks[claim.lock];
        lock.run.admit(claim.mode);
        lock.next = InLine::next(claim);
        self.holders += 1;
        claim.hold(token, self.now)
    }

    /// Puts a claim into the index, its session's list and its line; the mirror of
    /// [`take_out`](Self::take_out).
    #[inline]
    pub(super) fn put_in(&mut self, claim: Claim) -> Slot {
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
            self.put_in_index(id, index);
        }
        let session = &mut self.sessions[key(session)];
        session.claims.push(&mut self.claims, index);
        session.claim_count += 1;
        self.shares.claim_came(session.share, lock);
        let lock = &mut self.locks[lock];
        lock.line.push(&mut self.claims, index);
        lock.arrived(mode);
        if lock.next == NONE {
            lock.next = index;
        }
        index
    }

    #[inline]
    pub(super) fn put_in_index(&mut self, id: ClaimId, index: Slot) {
        let (claims, hasher) = (&self.claims, &self.hasher);
        let hash = |slot: &Slot| hasher.hash_one(claims[key(*slot)].id);
        self.by_claim
            .insert_unique(hasher.hash_one(id), index, hash);
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
            // Values are of any length: the room that is left is for releases.
            Some(_) if self.frozen == Some(Freeze::Full) => Reply::Refused(Refusal::StorageFull),
            Some(found) if self.claims[key(found)].holds() => {
                self.journal.record(Change::Updated { claim: id, value });
                for line in self.set_value(found, value) {
                    self.changed_now(line, effects);
                }
                Reply::Updated { held: true }
            }
            _ => Reply::Updated { held: false },
        }
    }

    /// A claim's new value; in whose lines it is seen.
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

    /// Ends one claim. Whoever waits for its grant hears why there will be none.
    pub(super) fn end_claim(
        &mut self,
        found: Slot,
        why: Gone,
        effects: &mut Vec<Effect>,
    ) -> Withdrawn {
        if self.claims[key(found)].part != Part::Whole {
            let (lines, withdrawn) = self.leave(found, why, effects);
            self.settle_all(lines, effects);
            return withdrawn;
        }
        let claim = self.take_out(found);
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

    /// As [`end_claim`](Self::end_claim), but for the settling of the lines that it has left.
    pub(super) fn leave(
        &mut self,
        found: Slot,
        why: Gone,
        effects: &mut Vec<Effect>,
    ) -> (Vec<Slot>, Withdrawn) {
        let (lines, claim) = self.take_out_several(found);
        if claim.holds() {
            return (lines, Withdrawn::Held);
        }
        effects.push(Effect {
            to: claim.requester,
            reply: Reply::Gone { why },
        });
        (lines, Withdrawn::Waiting)
    }

    pub(super) fn evict(&mut self, name: &str, id: ClaimId, effects: &mut Vec<Effect>) -> Reply {
        let stands = |part: &Slot| &*self.locks[self.claims[key(*part)].lock].name == name;
        let found = self
            .find_claim(id)
            .filter(|found| self.parts(*found).iter().any(stands));
        let Some(found) = found else {
            return Reply::Withdrawn(Withdrawn::Absent);
        };
        self.note_eviction(found, effects);
        Reply::Withdrawn(self.end_claim(found, Gone::Evicted, effects))
    }

    pub(super) fn release_all(&mut self, prefix: &str, effects: &mut Vec<Effect>) -> Reply {
        // All of them leave before others advance: no claim is granted that is about to end.
        let (mut claims, mut touched) = (0, Vec::new());
        for id in self.locks.claims_below(prefix, &self.claims) {
            if let Some(found) = self.find_claim(id) {
                self.note_eviction(found, effects);
                touched.extend(self.leave(found, Gone::Evicted, effects).0);
                claims += 1;
            }
        }
        self.settle_all(touched, effects);
        Reply::Released { claims }
    }

    /// A claim is about to end that is somebody else's: its session hears of it, if it holds.
    fn note_eviction(&mut self, found: Slot, effects: &mut Vec<Effect>) {
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

    /// Takes a claim out of its line, its session and the index. Its lock has to be settled
    /// afterwards.
    pub(super) fn take_out(&mut self, index: Slot) -> Claim {
        let claim = &self.claims[key(index)];
        let (lock, session, mode, holds) = (claim.lock, claim.session, claim.mode, claim.holds());
        let hash = self.hasher.hash_one(claim.id);
        if let Ok(found) = self.by_claim.find_entry(hash, |slot| *slot == index) {
            found.remove();
        }
        if claim.part == Part::First {
            self.several.remove(&claim.id);
        }
        let name = lock;
        let lock = &mut self.locks[name];
        if holds {
            self.holders -= 1;
            self.counters.holds.note(self.now.since(claim.since));
            lock.run.leave();
        } else if lock.next == index {
            lock.next = InLine::next(&self.claims[key(index)]);
        }
        lock.line.remove(&mut self.claims, index);
        lock.left(mode);
        let session = &mut self.sessions[key(session)];
        session.claims.remove(&mut self.claims, index);
        session.claim_count -= 1;
        self.shares.claim_left(session.share, name);
        self.claims.remove(key(index))
    }
}

/// How a claim comes to its lines.
pub(super) enum Admission {
    /// It holds: all of them are free, or any is. This one is the first that is.
    AtOnce { free: Slot },
    /// It waits.
    InLine,
    /// It does not come: this line is taken.
    Busy { at: Slot },
}
