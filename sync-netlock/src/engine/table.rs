//! The lock table: sessions, names and claims, and what each command does to them.
//!
//! Invariants:
//!
//! - The holders of a name are the head of its queue ([`distsync_core::spi::order`]).
//! - A claim has one entry in the queue of each of its names, and each entry is in the list of the
//!   claim's session.
//! - A claim is held in all its queues or in none.
//! - Tokens rise.

mod backlog;
mod claim_counts;
mod claims;
mod dump;
mod ending;
mod isolation;
mod multi;
mod observation;
mod restoration;
mod sessions;
mod shares;
mod sweep;

pub use backlog::SLICE_PAUSE;
pub use isolation::{Isolation, Reason};
pub use restoration::{Freeze, InvalidChange};

use std::collections::BTreeSet;
use std::time::Duration;

use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, Revision, SessionId};
use distsync_core::{Mode, Token};
use foldhash::fast::RandomState;
use slab::Slab;

use super::command::{Command, Requester, Terms};
use super::counters::Counters;
use super::deadlines::Deadlines;
use super::hash_index::HashIndex;
use super::journal::{Change, Journal, NoJournal};
use super::limits::Limits;
use super::lock::Tokens;
use super::names::Names;
use super::queue::{Claim, NONE, Part, Slot, key, slab};
use super::reply::{Effect, Reply};
use super::session::Session;
use super::snapshot::RecentSnapshots;
use super::watchers::Watchers;
use backlog::{Backlog, Task};
use dump::DumpCursor;
use isolation::Isolated;
use multi::{MultiArrival, MultiClaims};
use shares::Shares;
use sweep::Swept;

/// The contents of a table, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open sessions.
    pub sessions: usize,
    /// Names with a claim or a watcher.
    pub names: usize,
    /// Claims, held or waiting. A claim for more than one name counts once for each.
    pub claims: usize,
    /// Claims that are held, counted likewise.
    pub holders: usize,
}

/// The fields of an `Enqueue` command, except the session.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    claim: ClaimId,
    name: &'a [u8],
    mode: Mode,
    waits: bool,
    value: &'a [u8],
}

/// The fields of an `Open` command, except the id and the secret of the session.
#[derive(Clone, Copy)]
struct Opening<'a> {
    terms: Terms,
    client: &'a str,
    isolation: &'a [u8],
    principal: u64,
}

/// The lock table. See the [module](super).
#[derive(Debug)]
pub struct LockTable<J = NoJournal> {
    limits: Limits,
    now: Moment,
    tokens: Tokens,
    revision: Revision,
    /// The newest revision of a name that was removed. A watcher of an absent name that knows only
    /// an older one may have missed a change.
    removed_revision: Revision,
    sessions: Slab<Session>,
    /// A number that is above the slots of all sessions.
    sessions_end: usize,
    locks: Names,
    claims: Slab<Claim>,
    multi_claims: MultiClaims,
    /// Contains slots and parts of hashes, like `by_claim`. The ids are in the slabs.
    by_session: HashIndex,
    /// The session that was found last. Most commands are of the same session as the one before.
    recent: Slot,
    by_claim: HashIndex,
    /// Hashes ids. No behaviour depends on the order of an index.
    hasher: RandomState,
    deadlines: Deadlines,
    watchers: Watchers,
    snapshots: RecentSnapshots,
    /// Names whose watchers are notified at the end of the batch, if there is a batch.
    news: Option<Vec<Slot>>,
    /// Pairs of a connection and a session that it is attached to.
    attached: BTreeSet<(u64, Slot)>,
    /// The sessions that are open or being isolated, in the order of their ids.
    listed_sessions: BTreeSet<(SessionId, Slot)>,
    /// The TTLs of these sessions.
    ttls: BTreeSet<(Duration, Slot)>,
    backlog: Backlog,
    /// The names whose claims are being ended for an operator, if there are any.
    swept: Option<Swept>,
    shares: Shares,
    holders: usize,
    counters: Counters,
    isolated: Isolated,
    dump: DumpCursor,
    /// The reason why nothing is granted, if nothing is.
    frozen: Option<Freeze>,
    journal: J,
}

impl LockTable {
    /// Creates an empty table whose tokens are above `last`, without a journal.
    #[must_use]
    pub fn new(limits: Limits, last: Token) -> Self {
        Self::with_journal(limits, last, NoJournal)
    }
}

impl<J: Journal> LockTable<J> {
    /// Creates an empty table whose tokens are above `last`, and which records changes in
    /// `journal`.
    #[must_use]
    pub fn with_journal(limits: Limits, last: Token, journal: J) -> Self {
        Self {
            limits,
            now: Moment::default(),
            tokens: Tokens::after(last),
            // Start above all revisions of an earlier run, so that its watchers learn that they may
            // have missed changes.
            revision: Revision(last.get().max(1)),
            removed_revision: Revision(last.get().max(1)),
            sessions: slab(),
            sessions_end: 0,
            locks: Names::default(),
            claims: slab(),
            multi_claims: MultiClaims::default(),
            by_session: HashIndex::default(),
            recent: NONE,
            by_claim: HashIndex::default(),
            hasher: RandomState::default(),
            deadlines: Deadlines::default(),
            watchers: Watchers::default(),
            snapshots: RecentSnapshots::default(),
            news: None,
            attached: BTreeSet::new(),
            listed_sessions: BTreeSet::new(),
            ttls: BTreeSet::new(),
            backlog: Backlog::default(),
            swept: None,
            shares: Shares::default(),
            holders: 0,
            counters: Counters::default(),
            isolated: Isolated::default(),
            dump: DumpCursor::default(),
            frozen: None,
            journal,
        }
    }

    /// Returns the numbers of sessions, names and claims. Ended sessions and their claims do not
    /// count, even while they are being removed.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            sessions: self.sessions.len() - self.backlog.dead_sessions,
            names: self.locks.len(),
            claims: self.claims.len() - self.backlog.dead_claims,
            holders: self.holders - self.backlog.dead_holders,
        }
    }

    /// Returns the counters since the table was created.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Returns the last token granted.
    #[must_use]
    pub fn last_token(&self) -> Token {
        self.tokens.last()
    }

    /// Returns the journal.
    pub fn journal(&mut self) -> &mut J {
        &mut self.journal
    }

    /// Grants only tokens above `last` from now on.
    pub fn skip_tokens_to(&mut self, last: Token) {
        self.tokens.skip_to(last);
    }

    /// Uses only revisions above `last` from now on. For a table without names.
    pub fn skip_revisions_to(&mut self, last: Revision) {
        self.revision = self.revision.max(last);
        self.removed_revision = self.removed_revision.max(last);
    }

    /// Returns when [`apply`](Self::apply) has to be called next, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        if !self.backlog.is_empty() {
            return Some(self.now);
        }
        match self.frozen {
            Some(Freeze::Grace { until }) => {
                Some(self.deadlines.first().map_or(until, |due| due.min(until)))
            }
            _ => self.deadlines.first(),
        }
    }

    /// Begins a visit: a series of commands without a pause for others. A visit does a bounded
    /// amount of the work that an end of many claims causes, and leaves the rest to later ones.
    pub fn begin_visit(&mut self) {
        self.backlog.begin_visit();
    }

    /// Returns whether a visit has done enough work. The host should end it, so that no other
    /// caller waits long for the table.
    #[must_use]
    pub fn is_visit_long(&self) -> bool {
        self.backlog.is_spent()
    }

    /// Returns whether work is left for [`Tick`](Command::Tick)s at the present time. The host
    /// should send them soon, each in a visit of its own.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty() || self.is_overdue()
    }

    /// Returns how many claims were removed or granted in this visit.
    #[cfg(test)]
    pub(super) fn touched(&self) -> usize {
        self.backlog.touched
    }

    /// Sets the number of steps of one visit. For tests, whose tables are small.
    #[cfg(test)]
    pub(super) fn set_slice(&mut self, steps: u32) {
        self.backlog.set_slice(steps);
    }

    /// Advances the time to `now`, then executes a command. Returns the reply to the command, if it
    /// has one now. Appends replies to earlier commands to `effects`; they have to be delivered
    /// before the returned reply. Refusals are replies.
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
            Command::Open {
                session,
                secret,
                terms,
                client,
                isolation,
            } => {
                let principal = self.shares.principal_of(from.connection);
                let opening = Opening {
                    terms,
                    client,
                    isolation,
                    principal,
                };
                self.open(from.connection, session, secret, opening, effects)
            }
            Command::Attach { session, secret } => self.attach(from.connection, session, secret),
            Command::Detach { session } => self.detach(from.connection, session),
            Command::Renew { session } => self.renew(session),
            Command::Close { session } => return self.close(from, session, effects),
            Command::Enqueue {
                session,
                claim,
                name,
                mode,
                waits,
                value,
            } => self.enqueue(
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
            ),
            Command::EnqueueAll {
                session,
                claim,
                names,
                any,
                mode,
                waits,
                value,
            } => {
                let arrival = MultiArrival {
                    claim,
                    names,
                    any,
                    mode,
                    waits,
                    value,
                };
                self.enqueue_all(from, session, arrival, effects)
            }
            Command::Update {
                session,
                claim,
                value,
            } => self.update(session, claim, value, effects),
            Command::Withdraw { session, claim } => self.withdraw(session, claim, effects),
            Command::Evict { name, claim } => self.evict(name, claim, effects),
            Command::Evictions { session } => return self.evictions(from, session),
            Command::Inspect { name } => Reply::Queue(self.queue(name)),
            Command::Changed { name, after } => return self.changed(from, name, after, effects),
            Command::List { prefix, after } => self.list(prefix, after),
            Command::EndSession { session } => return self.end_session(from, session, effects),
            Command::ConfirmIsolated { session } => {
                return self.confirm_isolated(from, session, effects);
            }
            Command::ReleaseAll { prefix } => return self.release_all(from, prefix, effects),
            Command::Sessions { after } => self.list_sessions(after),
            Command::Forget { request } => {
                self.forget(Requester { request, ..from });
                return None;
            }
            Command::Introduce { principal } => {
                self.shares.introduce(from.connection, principal);
                return None;
            }
            Command::Disconnected => {
                self.shares.forget(from.connection);
                self.disconnect(from.connection);
                return None;
            }
            Command::Tick => {
                self.work(effects);
                return None;
            }
        })
    }

    /// Grants waiting claims and notifies watchers, after claims have left the queue of a name.
    /// Grants at least the first waiter that can be granted. Others may be left to a later visit.
    #[inline]
    fn settle(&mut self, index: Slot, effects: &mut Vec<Effect>) {
        // Other queues that have changed, because a claim for more than one name was granted.
        let mut more = Vec::new();
        self.settle_queue(index, true, &mut more, effects);
        while let Some(queue) = more.pop() {
            self.settle_queue(queue, false, &mut more, effects);
        }
    }

    /// Settles one queue. The first step is taken in any case if it `is_due`.
    fn settle_queue(
        &mut self,
        index: Slot,
        mut is_due: bool,
        more: &mut Vec<Slot>,
        effects: &mut Vec<Effect>,
    ) {
        // The name may have been settled and removed before.
        if !self.locks.is_in_use(index) {
            return;
        }
        while self.frozen.is_none() {
            let lock = &self.locks[index];
            let next = lock.next;
            let Some(claim) = self
                .claims
                .get(key(next))
                .filter(|claim| lock.run.admits(claim.mode))
            else {
                break;
            };
            let part = claim.part;
            if !std::mem::take(&mut is_due) && !self.backlog.take_step() {
                self.settle_later(index);
                break;
            }
            if self.may_have_doomed() && self.discard_doomed(next, more, effects) {
                continue;
            }
            if part == Part::Whole {
                let claim = &self.claims[key(next)];
                let (claim, to, token) = (claim.id, claim.requester, self.tokens.next());
                self.journal.record(Change::Granted { claim, token });
                let waited = self.begin_hold(next, token);
                self.counters.waits.record(waited);
                effects.push(Effect {
                    to,
                    reply: Reply::Granted { token },
                });
            } else if !self.grant_multi(next, more, effects) {
                break;
            }
        }
        self.changed_now(index, effects);
        self.tidy(index);
    }

    /// Leaves the rest of the grants of a queue to a later visit.
    fn settle_later(&mut self, index: Slot) {
        if !std::mem::replace(&mut self.locks[index].is_unsettled, true) {
            self.backlog.push(Task::Settle(index));
        }
    }

    /// Marks a name as idle if it has become unused.
    fn tidy(&mut self, index: Slot) {
        if let Some(removed) = self.locks.leave(index) {
            self.removed_revision = self.removed_revision.max(removed.revision);
        }
    }
}
