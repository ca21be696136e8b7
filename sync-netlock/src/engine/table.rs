//! The lock table: sessions, names and claims, and what each command does to them.
//!
//! Invariants: the holders of a name are the head of its line ([`sync_core::order`]); a claim is in exactly one line and
//! one session's list; tokens rise.

mod isolation;
mod observation;
mod restoration;
mod sessions;
mod several;

pub use isolation::{Isolation, Reason};
pub use restoration::{Freeze, Misfit};

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;
use sync_core::backend::{ClaimId, Gone, Revision, SessionId, Withdrawn};
use sync_core::clock::Moment;
use sync_core::{Mode, Token};

use super::command::{Bound, Command, Effect, Refusal, Reply, Requester, Terms};
use super::counters::Counters;
use super::deadlines::Deadlines;
use super::journal::{Change, Journal, NoJournal};
use super::limits::Limits;
use super::line::{Claim, InLine, NONE, Part, Slot, Thread, key, slot};
use super::lock::Tokens;
use super::names::Names;
use super::session::Session;
use super::watchers::Watchers;
use isolation::Isolated;
use several::{Admission, ArrivalOfSeveral, Several};

/// How much is in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open sessions.
    pub sessions: usize,
    /// Names with a claim or a watcher.
    pub names: usize,
    /// Claims, held or waiting.
    pub claims: usize,
    /// Claims that hold.
    pub holders: usize,
}

/// What arrives with an enqueue command.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    claim: ClaimId,
    name: &'a [u8],
    mode: Mode,
    waits: bool,
    value: &'a [u8],
}

/// What arrives with an open command, beside the session's id and secret.
#[derive(Clone, Copy)]
struct Opening<'a> {
    terms: Terms,
    client: &'a str,
    isolation: &'a [u8],
}

/// The table. See the [module](super).
#[derive(Debug)]
pub struct LockTable<J = NoJournal> {
    limits: Limits,
    now: Moment,
    tokens: Tokens,
    revision: Revision,
    /// The newest revision at which a name left the table: a watcher of an absent name that knows less may have missed it.
    forgotten: Revision,
    sessions: Slab<Session>,
    locks: Names,
    claims: Slab<Claim>,
    several: Several,
    /// Slots only: the keys stand in the slabs.
    by_session: HashTable<Slot>,
    /// The session found last: commands come in batches of one session.
    recent: Slot,
    by_claim: HashTable<Slot>,
    /// For ids. No behaviour depends on the order of an index.
    hasher: RandomState,
    deadlines: Deadlines,
    watchers: Watchers,
    /// Which connections have which sessions.
    attached: BTreeSet<(u64, Slot)>,
    holders: usize,
    counters: Counters,
    isolated: Isolated,
    /// Nothing is granted while this is set.
    frozen: Option<Freeze>,
    journal: J,
}

impl LockTable {
    /// An empty table whose first token follows `last`, and that nobody keeps.
    #[must_use]
    pub fn new(limits: Limits, last: Token) -> Self {
        Self::with_journal(limits, last, NoJournal)
    }
}

impl<J: Journal> LockTable<J> {
    /// An empty table whose first token follows `last`, and whose changes `journal` hears of.
    #[must_use]
    pub fn with_journal(limits: Limits, last: Token, journal: J) -> Self {
        Self {
            limits,
            now: Moment::default(),
            tokens: Tokens::after(last),
            revision: Revision(1),
            forgotten: Revision(1),
            sessions: Slab::new(),
            locks: Names::default(),
            claims: Slab::new(),
            several: Several::default(),
            by_session: HashTable::new(),
            recent: NONE,
            by_claim: HashTable::new(),
            hasher: RandomState::default(),
            deadlines: Deadlines::default(),
            watchers: Watchers::default(),
            attached: BTreeSet::new(),
            holders: 0,
            counters: Counters::default(),
            isolated: Isolated::default(),
            frozen: None,
            journal,
        }
    }

    /// How much is in it.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            sessions: self.sessions.len(),
            names: self.locks.len(),
            claims: self.claims.len(),
            holders: self.holders,
        }
    }

    /// What it has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The last token granted.
    #[must_use]
    pub fn last_token(&self) -> Token {
        self.tokens.last()
    }

    /// Who hears of the changes.
    pub fn journal(&mut self) -> &mut J {
        &mut self.journal
    }

    /// No token up to this one is granted any more.
    pub fn follow(&mut self, last: Token) {
        self.tokens.follow(last);
    }

    /// When [`apply`](Self::apply) has to be called next, if nothing is asked before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        match self.frozen {
            Some(Freeze::Grace { until }) => Some(self.deadlines.first().map_or(until, |due| due.min(until))),
            _ => self.deadlines.first(),
        }
    }

    /// Lets time pass until `now`, then does what `command` says. Never fails: refusals are replies. Returns the reply to
    /// the command itself, if it has one now; appends those to earlier commands, which are to be delivered first.
    pub fn apply(
        &mut self,
        now: Moment,
        from: Requester,
        command: Command<'_>,
        effects: &mut Vec<Effect>,
    ) -> Option<Reply> {
        self.now = self.now.max(now);
        self.expire(effects);
        if self.frozen.is_some() {
            self.end_grace(effects);
        }
        Some(match command {
            Command::Open { session, secret, terms, client, isolation } => {
                self.open(from.connection, session, secret, Opening { terms, client, isolation })
            }
            Command::Attach { session, secret } => self.attach(from.connection, session, secret),
            Command::Detach { session } => self.detach(from.connection, session),
            Command::Renew { session } => self.renew(session),
            Command::Close { session } => self.close(session, effects),
            Command::Enqueue { session, claim, name, mode, waits, value } => {
                self.enqueue(from, session, Arrival { claim, name, mode, waits, value }, effects)
            }
            Command::EnqueueSeveral { session, claim, names, any, mode, waits, value } => {
                let arrival = ArrivalOfSeveral { claim, names, any, mode, waits, value };
                self.enqueue_several(from, session, arrival, effects)
            }
            Command::Update { session, claim, value } => self.update(session, claim, value, effects),
            Command::Withdraw { session, claim } => self.withdraw(session, claim, effects),
            Command::Evict { name, claim } => self.evict(name, claim, effects),
            Command::Evictions { session } => return self.evictions(from, session),
            Command::Inspect { name } => Reply::Queue(Box::new(self.queue(name))),
            Command::Changed { name, after } => return self.changed(from, name, after),
            Command::List { prefix, after } => self.list(prefix, after),
            Command::EndSession { session } => self.end_session(session, effects),
            Command::ConfirmIsolated { session } => self.confirm_isolated(session, effects),
            Command::ReleaseAll { prefix } => self.release_all(prefix, effects),
            Command::Sessions { after } => self.list_sessions(after),
            Command::Forget { request } => {
                self.forget(Requester { request, ..from });
                return None;
            }
            Command::Disconnected => {
                self.disconnect(from.connection);
                for watcher in self.watchers.of_connection(from.connection) {
                    self.forget(watcher);
                }
                return None;
            }
            Command::Tick => return None,
        })
    }

    fn find_claim(&self, id: ClaimId) -> Option<Slot> {
        self.by_claim.find(self.hasher.hash_one(id), |slot| self.claims[key(*slot)].id == id).copied()
    }

    /// The claim of this id, if it belongs to this session.
    fn find_own(&self, session: SessionId, id: ClaimId) -> Option<Slot> {
        let found = self.find_claim(id)?;
        let owner = &self.sessions[key(self.claims[key(found)].session)];
        (owner.id == session && !owner.is_isolating).then_some(found)
    }

    /// The name's slot for somebody who comes to it.
    fn lock_of(&mut self, name: &[u8], revision: Revision) -> Result<Slot, Refusal> {
        let hash = self.locks.hash_one(name);
        if let Some(known) = self.locks.enter(name, hash) {
            return Ok(known);
        }
        // Names that are known are good names.
        let name = self.checked_name(name)?;
        let max = self.limits.names;
        if self.locks.len() >= max {
            return Err(Refusal::TooMany { what: Bound::Names, max });
        }
        Ok(self.locks.insert(name, hash, revision))
    }

    fn checked_name<'n>(&self, name: &'n [u8]) -> Result<&'n str, Refusal> {
        std::str::from_utf8(name)
            .ok()
            .filter(|name| !name.is_empty() && name.len() <= self.limits.name_bytes)
            .filter(|name| !name.chars().any(char::is_control))
            .ok_or(Refusal::NameInvalid)
    }

    fn enqueue(
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
        self.arrive(from, session, arrival, effects).unwrap_or_else(Reply::Refused)
    }

    /// The claim is here already: the reply to an earlier request was lost, or its connection.
    fn repeat(&mut self, from: Requester, found: Slot, session: Slot, name: &[u8]) -> Reply {
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
        Reply::Waiting { position: self.ahead(lock, id), holder: self.holder(lock) }
    }

    /// How many are ahead of a claim in a line.
    fn ahead(&self, index: Slot, id: ClaimId) -> u32 {
        let ahead = self.locks[index].line.iter(&self.claims).take_while(|other| other.id != id).count();
        u32::try_from(ahead).unwrap_or(u32::MAX)
    }

    fn arrive(
        &mut self,
        from: Requester,
        session: Slot,
        arrival: Arrival<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<Reply, Refusal> {
        let Arrival { claim: id, name, mode, waits, value } = arrival;
        self.check_claim(session, mode, value, 1)?;
        let index = self.lock_of(name, self.revision)?;
        let token = match self.admission(&[index], mode, waits, false) {
            Ok(Admission::AtOnce) => Some(self.tokens.next()),
            Ok(Admission::InLine) => None,
            Ok(Admission::Busy { .. }) => return Ok(Reply::Busy { holder: self.holder(index) }),
            Err(refusal) => {
                self.tidy(index);
                return Err(refusal);
            }
        };
        self.stand(Claim::new(id, session, index, mode, from, value, self.now), token);
        self.changed_now(index, effects);
        Ok(match token {
            Some(token) => Reply::Granted { token },
            None => Reply::Waiting { position: self.locks[index].claims - 1, holder: self.holder(index) },
        })
    }

    /// Whether a session may have a claim like this, with so many names.
    #[inline]
    fn check_claim(&self, session: Slot, mode: Mode, value: &[u8], names: usize) -> Result<(), Refusal> {
        mode.validated().map_err(|_| Refusal::NoPermits)?;
        self.check_value(value)?;
        let max = self.limits.claims_per_session;
        if self.sessions[key(session)].claim_count + names > max {
            return Err(Refusal::TooMany { what: Bound::ClaimsPerSession, max });
        }
        Ok(())
    }

    /// A claim comes to the end of its line; with a token it holds.
    #[inline]
    fn stand(&mut self, claim: Claim, token: Option<Token>) -> Slot {
        let session = self.sessions[key(claim.session)].id;
        let (name, value) = (&self.locks[claim.lock].name, &claim.value);
        let Claim { id, mode, any, .. } = claim;
        self.journal.record(Change::Arrived { session, claim: id, name, mode, value, token, any });
        let index = self.put_in(claim);
        if let Some(token) = token {
            let waited = self.begin_hold(index, token);
            self.counters.waits.note(waited);
        }
        index
    }

    /// The next in a line holds from now on. How long it has waited.
    #[inline]
    fn begin_hold(&mut self, index: Slot, token: Token) -> Duration {
        let claim = &mut self.claims[key(index)];
        let lock = &mut self.locks[claim.lock];
        lock.run.admit(claim.mode);
        lock.next = InLine::next(claim);
        self.holders += 1;
        claim.hold(token, self.now)
    }

    /// Puts a claim into the index, its session's list and its line; the mirror of [`take_out`](Self::take_out).
    #[inline]
    fn put_in(&mut self, claim: Claim) -> Slot {
        let Claim { id, session, lock, mode, part, .. } = claim;
        let index = slot(self.claims.insert(claim));
        if part != Part::Further {
            self.put_in_index(id, index);
        }
        let session = &mut self.sessions[key(session)];
        session.claims.push(&mut self.claims, index);
        session.claim_count += 1;
        let lock = &mut self.locks[lock];
        lock.line.push(&mut self.claims, index);
        lock.arrived(mode);
        if lock.next == NONE {
            lock.next = index;
        }
        index
    }

    #[inline]
    fn put_in_index(&mut self, id: ClaimId, index: Slot) {
        let (claims, hasher) = (&self.claims, &self.hasher);
        let hash = |slot: &Slot| hasher.hash_one(claims[key(*slot)].id);
        self.by_claim.insert_unique(hasher.hash_one(id), index, hash);
    }

    fn check_value(&self, value: &[u8]) -> Result<(), Refusal> {
        if value.len() <= self.limits.value_bytes {
            return Ok(());
        }
        Err(Refusal::TooLong { max: self.limits.value_bytes })
    }

    fn update(&mut self, session: SessionId, id: ClaimId, value: &[u8], effects: &mut Vec<Effect>) -> Reply {
        if let Err(refusal) = self.check_value(value) {
            return Reply::Refused(refusal);
        }
        match self.find_own(session, id) {
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
    fn set_value(&mut self, found: Slot, value: &[u8]) -> Vec<Slot> {
        let parts = self.parts(found);
        let set = |part: Slot| {
            let claim = &mut self.claims[key(part)];
            claim.value = value.into();
            claim.lock
        };
        parts.into_iter().map(set).collect()
    }

    fn withdraw(&mut self, session: SessionId, id: ClaimId, effects: &mut Vec<Effect>) -> Reply {
        let withdrawn = match self.find_own(session, id) {
            Some(found) => self.end_claim(found, Gone::Withdrawn, effects),
            None => Withdrawn::Absent,
        };
        Reply::Withdrawn(withdrawn)
    }

    /// Ends one claim. Whoever waits for its grant hears why there will be none.
    fn end_claim(&mut self, found: Slot, why: Gone, effects: &mut Vec<Effect>) -> Withdrawn {
        if self.claims[key(found)].part != Part::Whole {
            return self.end_several(found, why, effects);
        }
        let claim = self.take_out(found);
        self.journal.record(Change::Left { claim: claim.id });
        if !claim.holds() {
            effects.push(Effect { to: claim.requester, reply: Reply::Gone { why } });
        }
        self.settle(claim.lock, effects);
        if claim.holds() { Withdrawn::Held } else { Withdrawn::Waiting }
    }

    fn evict(&mut self, name: &str, id: ClaimId, effects: &mut Vec<Effect>) -> Reply {
        let stands = |part: &Slot| &*self.locks[self.claims[key(*part)].lock].name == name;
        let found = self.find_claim(id).filter(|found| self.parts(*found).iter().any(stands));
        let Some(found) = found else { return Reply::Withdrawn(Withdrawn::Absent) };
        Reply::Withdrawn(self.evict_found(found, effects))
    }

    fn release_all(&mut self, prefix: &str, effects: &mut Vec<Effect>) -> Reply {
        // Those in line first, last come first: nobody is granted what he is about to lose.
        let mut ending = self.locks.claims_below(prefix, &self.claims);
        ending.reverse();
        let mut claims = 0;
        for id in ending {
            if let Some(found) = self.find_claim(id) {
                self.evict_found(found, effects);
                claims += 1;
            }
        }
        Reply::Released { claims }
    }

    /// Ends a claim that is somebody else's.
    fn evict_found(&mut self, found: Slot, effects: &mut Vec<Effect>) -> Withdrawn {
        self.counters.evictions += 1;
        let claim = &self.claims[key(found)];
        let id = claim.id;
        if claim.holds() {
            let session = &mut self.sessions[key(claim.session)];
            session.evicted.push(id);
            if let Some(to) = session.listener.take() {
                self.watchers.remove(to);
                let evicted = std::mem::take(&mut session.evicted);
                effects.push(Effect { to, reply: Reply::Evictions(evicted) });
            }
        }
        self.end_claim(found, Gone::Evicted, effects)
    }

    /// Takes a claim out of its line, its session and the index. Its lock has to be settled afterwards.
    fn take_out(&mut self, index: Slot) -> Claim {
        let claim = &self.claims[key(index)];
        let (lock, session, mode, holds) = (claim.lock, claim.session, claim.mode, claim.holds());
        let hash = self.hasher.hash_one(claim.id);
        if let Ok(found) = self.by_claim.find_entry(hash, |slot| *slot == index) {
            found.remove();
        }
        if claim.part == Part::First {
            self.several.remove(&claim.id);
        }
        let lock = &mut self.locks[lock];
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
        self.claims.remove(key(index))
    }

    /// After claims have left a line: grants to those who fit now, and tells watchers.
    #[inline]
    fn settle(&mut self, index: Slot, effects: &mut Vec<Effect>) {
        // Other lines, that have changed by a grant of several names.
        let mut more = Vec::new();
        self.settle_line(index, &mut more, effects);
        while let Some(line) = more.pop() {
            self.settle_line(line, &mut more, effects);
        }
    }

    fn settle_line(&mut self, index: Slot, more: &mut Vec<Slot>, effects: &mut Vec<Effect>) {
        // It may have been settled before, and deserted since.
        if !self.locks.is_in_use(index) {
            return;
        }
        while self.frozen.is_none() {
            let lock = &self.locks[index];
            let next = lock.next;
            let Some(claim) = self.claims.get(key(next)).filter(|claim| lock.run.admits(claim.mode)) else {
                break;
            };
            if claim.part == Part::Whole {
                let (claim, to, token) = (claim.id, claim.requester, self.tokens.next());
                self.journal.record(Change::Granted { claim, token });
                let waited = self.begin_hold(next, token);
                self.counters.waits.note(waited);
                effects.push(Effect { to, reply: Reply::Granted { token } });
            } else if !self.grant_several(next, more, effects) {
                break;
            }
        }
        self.changed_now(index, effects);
        self.tidy(index);
    }

    /// Somebody has left a name.
    fn tidy(&mut self, index: Slot) {
        if let Some(gone) = self.locks.leave(index) {
            self.forgotten = self.forgotten.max(gone.revision);
        }
    }
}
