//! Claims for more than one name. Such a claim waits in the queues of all its names. It is granted
//! when all of them are free, and holds none before. With `any`, it is granted as soon as one name
//! is free, and leaves the other queues.
//!
//! The claim has a part in each queue, which counts there like a claim of its own. All parts are
//! added in one step. Of two claims, the earlier one is therefore ahead in every queue that both
//! are in, so no two claims wait for each other (there is no deadlock).

use distsync_core::Mode;
use distsync_core::spi::{ClaimId, Entry, SessionId};

use super::claims::Admission;
use super::{Arrival, LockTable};
use crate::engine::command::Requester;
use crate::engine::journal::{Change, Journal};
use crate::engine::queue::{Claim, Part, Slot, key};
use crate::engine::refusal::{Bound, Refusal};
use crate::engine::reply::{Effect, Reply};
use crate::engine::split_map::SplitMap;

/// The parts of each claim for more than one name. The first part is the one in the index of
/// claims.
pub(super) type MultiClaims = SplitMap<ClaimId, Vec<Slot>>;

/// The fields of an `EnqueueAll` command, except the session.
#[derive(Clone, Copy)]
pub(super) struct MultiArrival<'a> {
    pub(super) claim: ClaimId,
    pub(super) names: &'a [&'a str],
    pub(super) any: bool,
    pub(super) mode: Mode,
    pub(super) waits: bool,
    pub(super) value: &'a [u8],
}

impl<J: Journal> LockTable<J> {
    pub(super) fn enqueue_all(
        &mut self,
        from: Requester,
        session: SessionId,
        arrival: MultiArrival<'_>,
        effects: &mut Vec<Effect>,
    ) -> Reply {
        let max = self.limits.names_per_claim;
        if arrival.names.len() > max {
            return Reply::Refused(Refusal::TooMany {
                what: Bound::NamesPerClaim,
                max,
            });
        }
        // Remove duplicates, and keep the given order.
        let mut names: Vec<&str> = Vec::with_capacity(arrival.names.len());
        for name in arrival.names {
            if !names.contains(name) {
                names.push(name);
            }
        }
        if let [name] = *names {
            let (
                name,
                MultiArrival {
                    claim,
                    mode,
                    waits,
                    value,
                    ..
                },
            ) = (name.as_bytes(), arrival);
            return self.enqueue(
                from,
                session,
                Arrival {
                    claim,
                    name,
                    mode,
                    waits,
                    value,
                },
                effects,
            );
        }
        let Some(session) = self.find_session(session) else {
            return Reply::Refused(self.unknown(session));
        };
        if self.may_have_doomed() {
            self.free_claim_id(arrival.claim, effects);
        }
        if let Some(found) = self.find_claim(arrival.claim) {
            return self.repeat_multi(from, found, session, &names, arrival.any);
        }
        let arrival = MultiArrival {
            names: &names,
            ..arrival
        };
        self.arrive_multi(from, session, arrival, effects)
            .unwrap_or_else(Reply::Refused)
    }

    fn repeat_multi(
        &mut self,
        from: Requester,
        found: Slot,
        session: Slot,
        names: &[&str],
        any: bool,
    ) -> Reply {
        let claim = &self.claims[key(found)];
        if any && claim.part == Part::Whole && claim.session == session {
            let name = &self.locks[claim.lock].name;
            return match claim.token() {
                Some(token) if names.contains(&&**name) => Reply::GrantedAny {
                    token,
                    name: name.clone(),
                },
                _ => Reply::Refused(Refusal::ClaimTaken),
            };
        }
        let parts = self.parts(found);
        let queues: Vec<_> = parts
            .iter()
            .map(|part| self.claims[key(*part)].lock)
            .collect();
        let is_same = self.claims[key(found)].session == session
            && self.claims[key(found)].any == any
            && queues.len() == names.len()
            && names.iter().all(|name| {
                self.locks
                    .find(name)
                    .is_some_and(|queue| queues.contains(&queue))
            });
        if !is_same {
            return Reply::Refused(Refusal::ClaimTaken);
        }
        if let Some(token) = self.claims[key(found)].token() {
            return Reply::Granted { token };
        }
        self.claims[key(found)].requester = from;
        Reply::Waiting {
            position: self.ahead(&parts),
            holder: self.any_holder(&queues),
        }
    }

    fn any_holder(&self, queues: &[Slot]) -> Option<Box<Entry>> {
        queues.iter().find_map(|queue| self.holder(*queue))
    }

    fn arrive_multi(
        &mut self,
        from: Requester,
        session: Slot,
        arrival: MultiArrival<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<Reply, Refusal> {
        let MultiArrival {
            claim: id,
            names,
            any,
            mode,
            waits,
            value,
        } = arrival;
        if names.is_empty() {
            return Err(Refusal::NameInvalid);
        }
        self.check_claim(session, mode, value, names.len())?;
        let mut queues = Vec::with_capacity(names.len());
        let admission = self
            .find_or_insert_all(names, &mut queues)
            .and_then(|()| self.admission(session, &queues, mode, waits, any));
        if !matches!(admission, Ok(Admission::Granted { .. } | Admission::Queued)) {
            queues.iter().for_each(|queue| self.tidy(*queue));
        }
        let token = match admission? {
            Admission::Granted { free } if any => {
                let claim = Claim::new(id, session, free, mode, from, value, self.now);
                return Ok(self.hold_any(claim, &queues, effects));
            }
            Admission::Granted { .. } => Some(self.tokens.next()),
            Admission::Queued => None,
            Admission::Busy { at } => {
                return Ok(Reply::Busy {
                    holder: self.holder(at),
                });
            }
        };
        let mut parts = Vec::with_capacity(queues.len());
        for queue in &queues {
            let part = if parts.is_empty() {
                Part::First
            } else {
                Part::Further
            };
            let claim =
                Claim::new(id, session, *queue, mode, from, value, self.now).of_part(part, any);
            parts.push(self.add_claim(claim, token));
        }
        self.multi_claims.insert(id, parts);
        for queue in &queues {
            self.changed_now(*queue, effects);
        }
        Ok(match token {
            Some(token) => Reply::Granted { token },
            None => {
                let ahead = |queue: &Slot| self.locks[*queue].claims - 1;
                Reply::Waiting {
                    position: queues.iter().map(ahead).max().unwrap_or_default(),
                    holder: self.any_holder(&queues),
                }
            }
        })
    }

    /// Grants a new claim the name that is free. The claim is added to no other queue.
    fn hold_any(&mut self, claim: Claim, queues: &[Slot], effects: &mut Vec<Effect>) -> Reply {
        let (free, token) = (claim.lock, self.tokens.next());
        self.add_claim(claim, Some(token));
        let name = self.locks[free].name.clone();
        self.changed_now(free, effects);
        queues.iter().for_each(|queue| self.tidy(*queue));
        Reply::GrantedAny { token, name }
    }

    /// Finds or adds all names.
    fn find_or_insert_all(
        &mut self,
        names: &[&str],
        queues: &mut Vec<Slot>,
    ) -> Result<(), Refusal> {
        for name in names {
            queues.push(self.lock_of(name.as_bytes(), self.revision)?);
        }
        Ok(())
    }

    /// Returns all parts of a claim.
    pub(super) fn parts(&self, found: Slot) -> Vec<Slot> {
        let claim = &self.claims[key(found)];
        match claim.part {
            Part::Whole => vec![found],
            Part::First | Part::Further => self
                .multi_claims
                .get(&claim.id)
                .cloned()
                .unwrap_or_default(),
        }
    }

    /// Grants a claim of which one part is the first waiter of its queue, if the same holds for all
    /// its parts and all names are free. Returns whether it was granted, and appends the queues
    /// that have to be settled to `more`.
    pub(super) fn grant_multi(
        &mut self,
        next: Slot,
        more: &mut Vec<Slot>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if self.claims[key(next)].any {
            self.grant_any(next, more, effects);
            return true;
        }
        let parts = self.parts(next);
        let is_next = |part: &Slot| {
            let claim = &self.claims[key(*part)];
            let lock = &self.locks[claim.lock];
            lock.next == *part && lock.run.admits(claim.mode)
        };
        if !parts.iter().all(is_next) {
            return false;
        }
        let token = self.tokens.next();
        let Claim { id, requester, .. } = self.claims[key(parts[0])];
        self.journal.record(Change::Granted { claim: id, token });
        for part in parts {
            let waited = self.begin_hold(part, token);
            self.counters.waits.record(waited);
            more.push(self.claims[key(part)].lock);
        }
        effects.push(Effect {
            to: requester,
            reply: Reply::Granted { token },
        });
        true
    }

    /// Grants a claim for any one of its names, of which one is free.
    fn grant_any(&mut self, next: Slot, more: &mut Vec<Slot>, effects: &mut Vec<Effect>) {
        more.extend(self.choose(next));
        let (claim, token) = (&self.claims[key(next)], self.tokens.next());
        let (to, name) = (claim.requester, self.locks[claim.lock].name.clone());
        self.journal.record(Change::Chosen {
            claim: claim.id,
            name: &name,
            token,
        });
        let waited = self.begin_hold(next, token);
        self.counters.waits.record(waited);
        effects.push(Effect {
            to,
            reply: Reply::GrantedAny { token, name },
        });
    }

    /// Reduces a claim to one of its parts. Returns the queues of the removed parts, which have to
    /// be settled.
    pub(super) fn choose(&mut self, chosen: Slot) -> Vec<Slot> {
        let parts = self.parts(chosen);
        let Claim { id, requester, .. } = self.claims[key(parts[0])];
        let others = parts.into_iter().filter(|part| *part != chosen);
        let left = others.map(|part| self.remove_claim(part).lock).collect();
        self.multi_claims.remove(&id);
        let claim = &mut self.claims[key(chosen)];
        claim.requester = requester;
        if std::mem::replace(&mut claim.part, Part::Whole) == Part::Further {
            self.index_claim(id, chosen);
        }
        left
    }

    /// Removes a claim from all its queues. Returns these queues, which have to be settled.
    pub(super) fn remove_all_parts(&mut self, found: Slot) -> (Vec<Slot>, Claim) {
        let mut queues = Vec::new();
        let claim = self.remove_parts(found, &mut queues);
        self.journal.record(Change::Left { claim: claim.id });
        (queues, claim)
    }

    /// Adds a part to a claim that is being restored.
    pub(super) fn add_part(&mut self, first: Slot, part: Slot) {
        let claim = &mut self.claims[key(first)];
        claim.part = Part::First;
        match self.multi_claims.get_mut(&claim.id) {
            Some(parts) => parts.push(part),
            None => self.multi_claims.insert(claim.id, vec![first, part]),
        }
    }
}
