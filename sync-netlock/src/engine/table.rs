//! The lock table: sessions, names and claims, and what each command does to them.
//!
//! Invariants: the holders of a name are the head of its line ([`distsync_core::spi::order`]); a
//! claim is in exactly one line and one session's list; tokens rise.

mod claims;
mod isolation;
mod observation;
mod restoration;
mod sessions;
mod several;
mod shares;

pub use isolation::{Isolation, Reason};
pub use restoration::{Freeze, Misfit};

use std::collections::BTreeSet;
use std::sync::Arc;

use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, Revision};
use distsync_core::{Mode, Token};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;

use super::command::{Command, Effect, Reply, Requester, Terms};
use super::counters::Counters;
use super::deadlines::Deadlines;
use super::journal::{Change, Journal, NoJournal};
use super::limits::Limits;
use super::line::{Claim, NONE, Part, Slot, key};
use super::lock::Tokens;
use super::names::Names;
use super::session::Session;
use super::watchers::Watchers;
use isolation::Isolated;
use several::{ArrivalOfSeveral, Several};
use shares::Shares;

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
    principal: u64,
}

/// The table. See the [module](super).
#[derive(Debug)]
pub struct LockTable<J = NoJournal> {
    limits: Limits,
    now: Moment,
    tokens: Tokens,
    revision: Revision,
    /// The newest revision at which a name left the table: a watcher of an absent name that knows
    /// less may have missed it.
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
    shares: Shares,
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
            // Above all revisions of an earlier run, as tokens are: a watcher of before has missed
            // something.
            revision: Revision(last.get().max(1)),
            forgotten: Revision(last.get().max(1)),
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
            shares: Shares::default(),
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
            Some(Freeze::Grace { until }) => {
                Some(self.deadlines.first().map_or(until, |due| due.min(until)))
            }
            _ => self.deadlines.first(),
        }
    }

    /// Lets time pass until `now`, then does what `command` says. Never fails: refusals are
    /// replies. Returns the reply to the command itself, if it has one now; appends those to
    /// earlier commands, which are to be delivered first.
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
                self.open(from.connection, session, secret, opening)
            }
            Command::Attach { session, secret } => self.attach(from.connection, session, secret),
            Command::Detach { session } => self.detach(from.connection, session),
            Command::Renew { session } => self.renew(session),
            Command::Close { session } => self.close(session, effects),
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
                let arrival = ArrivalOfSeveral {
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
            Command::Inspect { name } => Reply::Queue(Arc::new(self.queue(name))),
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
            Command::Introduce { principal } => {
                self.shares.introduce(from.connection, principal);
                return None;
            }
            Command::Disconnected => {
                self.shares.forget(from.connection);
                self.disconnect(from.connection);
                for watcher in self.watchers.of_connection(from.connection) {
                    self.forget(watcher);
                }
                return None;
            }
            Command::Tick => return None,
        })
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
            let Some(claim) = self
                .claims
                .get(key(next))
                .filter(|claim| lock.run.admits(claim.mode))
            else {
                break;
            };
            if claim.part == Part::Whole {
                let (claim, to, token) = (claim.id, claim.requester, self.tokens.next());
                self.journal.record(Change::Granted { claim, token });
                let waited = self.begin_hold(next, token);
                self.counters.waits.note(waited);
                effects.push(Effect {
                    to,
                    reply: Reply::Granted { token },
                });
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
