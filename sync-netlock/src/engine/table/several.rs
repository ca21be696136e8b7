//! Claims of several names: in all their lines at a time, granted when all of them are free, and
//! nothing held before; or as soon as any one is free, and the other lines are left.
//!
//! A claim has a part in each line, which counts there as any claim does. The parts come to their
//! lines in one step, so of two claims the one that came first is ahead in every line that both
//! stand in: no two wait for each other.

use std::collections::HashMap;

use distsync_core::Mode;
use distsync_core::spi::{ClaimId, SessionId};
use foldhash::fast::RandomState;

use super::claims::Admission;
use super::{Arrival, LockTable};
use crate::engine::command::{Bound, Effect, Refusal, Reply, Requester};
use crate::engine::journal::{Change, Journal};
use crate::engine::line::{Claim, Part, Slot, key};

/// The parts of the claims of several names, the one that is found by the claim's id first.
pub(super) type Several = HashMap<ClaimId, Vec<Slot>, RandomState>;

/// What arrives with a command for several names.
#[derive(Clone, Copy)]
pub(super) struct ArrivalOfSeveral<'a> {
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
        arrival: ArrivalOfSeveral<'_>,
        effects: &mut Vec<Effect>,
    ) -> Reply {
        let max = self.limits.names_per_claim;
        if arrival.names.len() > max {
            return Reply::Refused(Refusal::TooMany {
                what: Bound::NamesPerClaim,
                max,
            });
        }
        // Once each, in the order given.
        let mut names: Vec<&str> = Vec::with_capacity(arrival.names.len());
        for name in arrival.names {
            if !names.contains(name) {
                names.push(name);
            }
        }
        if let [name] = *names {
            let (
                name,
                ArrivalOfSeveral {
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
        if let Some(found) = self.find_claim(arrival.claim) {
            return self.repeat_several(from, found, session, &names, arrival.any);
        }
        let arrival = ArrivalOfSeveral {
            names: &names,
            ..arrival
        };
        self.arrive_at_several(from, session, arrival, effects)
            .unwrap_or_else(Reply::Refused)
    }

    fn repeat_several(
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
        let lines: Vec<_> = parts
            .iter()
            .map(|part| self.claims[key(*part)].lock)
            .collect();
        let is_same = self.claims[key(found)].session == session
            && self.claims[key(found)].any == any
            && lines.len() == names.len()
            && names.iter().all(|name| {
                self.locks
                    .find(name)
                    .is_some_and(|line| lines.contains(&line))
            });
        if !is_same {
            return Reply::Refused(Refusal::ClaimTaken);
        }
        if let Some(token) = self.claims[key(found)].token() {
            return Reply::Granted { token };
        }
        self.claims[key(found)].requester = from;
        self.waiting(self.claims[key(found)].id, &lines)
    }

    /// Where a claim waits, of these lines.
    fn waiting(&self, id: ClaimId, lines: &[Slot]) -> Reply {
        let farthest = lines
            .iter()
            .map(|line| self.ahead(*line, id))
            .max()
            .unwrap_or_default();
        Reply::Waiting {
            position: farthest,
            holder: lines.iter().find_map(|line| self.holder(*line)),
        }
    }

    fn arrive_at_several(
        &mut self,
        from: Requester,
        session: Slot,
        arrival: ArrivalOfSeveral<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<Reply, Refusal> {
        let ArrivalOfSeveral {
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
        let mut lines = Vec::with_capacity(names.len());
        let admission = self
            .enter_all(names, &mut lines)
            .and_then(|()| self.admission(session, &lines, mode, waits, any));
        if !matches!(admission, Ok(Admission::AtOnce { .. } | Admission::InLine)) {
            lines.iter().for_each(|line| self.tidy(*line));
        }
        let token = match admission? {
            Admission::AtOnce { free } if any => {
                let claim = Claim::new(id, session, free, mode, from, value, self.now);
                return Ok(self.hold_any(claim, &lines, effects));
            }
            Admission::AtOnce { .. } => Some(self.tokens.next()),
            Admission::InLine => None,
            Admission::Busy { at } => {
                return Ok(Reply::Busy {
                    holder: self.holder(at),
                });
            }
        };
        let mut parts = Vec::with_capacity(lines.len());
        for line in &lines {
            let part = if parts.is_empty() {
                Part::First
            } else {
                Part::Further
            };
            let claim =
                Claim::new(id, session, *line, mode, from, value, self.now).of_part(part, any);
            parts.push(self.stand(claim, token));
        }
        self.several.insert(id, parts);
        for line in &lines {
            self.changed_now(*line, effects);
        }
        Ok(match token {
            Some(token) => Reply::Granted { token },
            None => self.waiting(id, &lines),
        })
    }

    /// A claim holds its name, which is free, and comes to no other.
    fn hold_any(&mut self, claim: Claim, lines: &[Slot], effects: &mut Vec<Effect>) -> Reply {
        let (free, token) = (claim.lock, self.tokens.next());
        self.stand(claim, Some(token));
        let name = self.locks[free].name.clone();
        self.changed_now(free, effects);
        lines.iter().for_each(|line| self.tidy(*line));
        Reply::GrantedAny { token, name }
    }

    /// Finds or makes all names.
    fn enter_all(&mut self, names: &[&str], lines: &mut Vec<Slot>) -> Result<(), Refusal> {
        for name in names {
            lines.push(self.lock_of(name.as_bytes(), self.revision)?);
        }
        Ok(())
    }

    /// All parts of a claim.
    pub(super) fn parts(&self, found: Slot) -> Vec<Slot> {
        let claim = &self.claims[key(found)];
        match claim.part {
            Part::Whole => vec![found],
            Part::First | Part::Further => self.several.get(&claim.id).cloned().unwrap_or_default(),
        }
    }

    /// A part is next in its line. Grants the claim if all of its parts are, and fit; their lines
    /// have to be settled too then.
    pub(super) fn grant_several(
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
            self.counters.waits.note(waited);
            more.push(self.claims[key(part)].lock);
        }
        effects.push(Effect {
            to: requester,
            reply: Reply::Granted { token },
        });
        true
    }

    /// A part is next in its line and fits, and it is enough.
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
        self.counters.waits.note(waited);
        effects.push(Effect {
            to,
            reply: Reply::GrantedAny { token, name },
        });
    }

    /// Of a claim's parts this one is left. Whose lines the others have left, which have to be
    /// settled.
    pub(super) fn choose(&mut self, chosen: Slot) -> Vec<Slot> {
        let parts = self.parts(chosen);
        let Claim { id, requester, .. } = self.claims[key(parts[0])];
        let others = parts.into_iter().filter(|part| *part != chosen);
        let left = others.map(|part| self.take_out(part).lock).collect();
        self.several.remove(&id);
        let claim = &mut self.claims[key(chosen)];
        claim.requester = requester;
        if std::mem::replace(&mut claim.part, Part::Whole) == Part::Further {
            self.put_in_index(id, chosen);
        }
        left
    }

    /// Takes a claim out of all its lines, which have to be settled afterwards.
    pub(super) fn take_out_several(&mut self, found: Slot) -> (Vec<Slot>, Claim) {
        let parts = self.parts(found);
        let lines = parts
            .iter()
            .map(|part| self.claims[key(*part)].lock)
            .collect();
        for part in &parts[1..] {
            self.take_out(*part);
        }
        let claim = self.take_out(parts[0]);
        self.journal.record(Change::Left { claim: claim.id });
        (lines, claim)
    }

    /// A claim that comes back from a journal once more is of several names.
    pub(super) fn join(&mut self, first: Slot, part: Slot) {
        let claim = &mut self.claims[key(first)];
        claim.part = Part::First;
        self.several
            .entry(claim.id)
            .or_insert_with(|| vec![first])
            .push(part);
    }
}
