//! Isolation: a session that ends while it holds claims keeps them until its client is isolated,
//! which means that the client can do nothing more. Known elsewhere as node fencing (STONITH).

use std::collections::{HashMap, HashSet, VecDeque};

use distsync_core::Token;
use distsync_core::spi::{Gone, SessionId};
use foldhash::fast::RandomState;

use super::LockTable;
use super::backlog::Task;
use crate::engine::command::Requester;
use crate::engine::journal::{Change, Journal};
use crate::engine::queue::{Slot, key};
use crate::engine::refusal::Refusal;
use crate::engine::reply::{Effect, Reply};

/// How many isolated sessions are remembered, so that their clients learn of it when they return.
const REMEMBERED: usize = 10_000;

/// Why a client is isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its session was not renewed in time, or its last connection was closed.
    Expired,
    /// An operator ended its session.
    Ended,
}

/// A client that has to be isolated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// Its session, which also names this isolation.
    pub session: SessionId,
    /// The name of the client, as the client gave it.
    pub client: String,
    /// How the client can be isolated, as the client gave it.
    pub info: Vec<u8>,
    /// Why the client is isolated.
    pub reason: Reason,
    /// The names that it holds, with their tokens and values.
    pub locks: Vec<(String, Token, Vec<u8>)>,
}

/// The waiting claims of a session are being removed, and its held claims are being noted.
#[derive(Debug)]
pub(super) struct Separation {
    session: Slot,
    isolation: Isolation,
}

/// The requester of a held claim that is noted in an isolation. A held claim needs no other one.
const NOTED: Requester = Requester {
    connection: 0,
    request: 1,
};

/// The sessions whose clients are being or were isolated.
#[derive(Debug, Default)]
pub(super) struct Isolated {
    /// Whether clients are isolated at all.
    enabled: bool,
    /// Clients that were not handed to the host yet.
    pending: Vec<Isolation>,
    /// Sessions that still hold claims, by id, and why their clients are isolated.
    underway: HashMap<SessionId, (Slot, Reason), RandomState>,
    /// The most recent isolated sessions.
    known: HashSet<SessionId, RandomState>,
    /// The sessions of `known`, the oldest first.
    order: VecDeque<SessionId>,
}

impl Isolated {
    /// Remembers that the client of a session is being or was isolated.
    pub(super) fn remember(&mut self, id: SessionId) {
        if !self.known.insert(id) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Returns the remembered sessions, the oldest first.
    pub(super) fn remembered(&self) -> impl Iterator<Item = SessionId> {
        self.order.iter().copied()
    }

    /// Returns the slot of a session whose client is being isolated.
    pub(super) fn find(&self, id: SessionId) -> Option<Slot> {
        self.underway.get(&id).map(|(slot, _)| *slot)
    }

    /// Returns why the client of a session is being isolated.
    pub(super) fn reason(&self, id: SessionId) -> Option<Reason> {
        self.underway.get(&id).map(|(_, reason)| *reason)
    }

    /// Removes a session that is closed.
    pub(super) fn end(&mut self, id: SessionId) -> Option<Slot> {
        self.underway.remove(&id).map(|(slot, _)| slot)
    }
}

impl<J: Journal> LockTable<J> {
    /// Enables isolation. A session whose client said how it can be isolated then keeps its held
    /// claims when it ends, until
    /// [`ConfirmIsolated`](crate::engine::Command::ConfirmIsolated).
    pub fn enable_isolation(&mut self) {
        self.isolated.enabled = true;
    }

    /// Takes the clients that have to be isolated and were not taken before.
    pub fn take_isolations(&mut self) -> Vec<Isolation> {
        let mut pending = std::mem::take(&mut self.isolated.pending);
        // An operator may have confirmed it before it was taken.
        pending.retain(|isolation| self.is_isolating(isolation.session));
        pending
    }

    /// Returns whether there are clients to [take](Self::take_isolations).
    #[must_use]
    pub fn has_isolations(&self) -> bool {
        !self.isolated.pending.is_empty()
    }

    /// Returns whether a session that ends has to keep its held claims until its client is
    /// isolated.
    pub(super) fn needs_isolation(&self, index: Slot) -> bool {
        let session = &self.sessions[key(index)];
        self.isolated.enabled && !session.isolation.is_empty() && session.held_count > 0
    }

    /// Ends a session for its client, and keeps its held claims. Its waiting claims have to be
    /// [separated](Self::separate) from them. None of them is granted.
    pub(super) fn begin_isolation(
        &mut self,
        index: Slot,
        reason: Reason,
        effects: &mut Vec<Effect>,
    ) -> Box<Separation> {
        let session = &mut self.sessions[key(index)];
        let id = session.id;
        if let Some(to) = session.listener.take() {
            self.watchers.remove(to);
            effects.push(Effect {
                to,
                reply: Reply::Refused(Refusal::Isolated),
            });
        }
        self.mark_isolating(index, reason);
        self.journal.record(Change::Isolating {
            session: id,
            reason,
        });
        self.separation(index, reason)
    }

    /// Marks a session without a deadline as ended for its client.
    pub(super) fn mark_isolating(&mut self, index: Slot, reason: Reason) {
        self.forget_id(index);
        // Its claims look different from now on, although their queues are unchanged.
        self.snapshots.clear();
        let session = &mut self.sessions[key(index)];
        session.is_isolating = true;
        self.isolated.underway.insert(session.id, (index, reason));
        self.isolated.remember(session.id);
    }

    /// Begins to separate the waiting claims of a session from the held ones.
    fn separation(&mut self, index: Slot, reason: Reason) -> Box<Separation> {
        self.backlog.ending += 1;
        let session = &self.sessions[key(index)];
        Box::new(Separation {
            session: index,
            isolation: Isolation {
                session: session.id,
                client: session.client.to_string(),
                info: session.isolation.to_vec(),
                reason,
                locks: Vec::with_capacity(session.held_count),
            },
        })
    }

    /// Continues the isolations that had begun in a table which was restored. Nothing may be
    /// granted before.
    pub fn resume_isolations(&mut self) {
        let underway: Vec<_> = self.isolated.underway.values().copied().collect();
        for (index, reason) in underway {
            let separation = self.separation(index, reason);
            self.backlog.push(Task::Separate(separation));
        }
    }

    /// Returns whether the client of a session is being isolated.
    #[must_use]
    pub fn is_isolating(&self, session: SessionId) -> bool {
        self.isolated.find(session).is_some()
    }

    /// Removes waiting claims of a session whose client has to be isolated, and notes the held
    /// ones. Hands the client to the host after the last claim. Returns what is left to do.
    pub(super) fn separate(
        &mut self,
        mut separation: Box<Separation>,
        effects: &mut Vec<Effect>,
    ) -> Option<Box<Separation>> {
        let index = separation.session;
        let is_underway = self.isolated.find(separation.isolation.session) == Some(index);
        let mut touched = Vec::new();
        let mut is_complete = true;
        loop {
            if !is_underway {
                break;
            }
            let session = &mut self.sessions[key(index)];
            let head = session.claims.head();
            let Some(claim) = self.claims.get_mut(key(head)) else {
                break;
            };
            // Noted claims are at the end of the list.
            if claim.requester == NOTED {
                break;
            }
            if !self.backlog.take_step() {
                is_complete = false;
                break;
            }
            let Some(token) = claim.token() else {
                touched.extend(self.leave(head, Gone::SessionLost, effects).0);
                continue;
            };
            claim.requester = NOTED;
            let name = self.locks[claim.lock].name.to_string();
            separation
                .isolation
                .locks
                .push((name, token, claim.value.to_vec()));
            session.claims.remove(&mut self.claims, head);
            session.claims.push(&mut self.claims, head);
        }
        self.settle_all(touched, effects);
        if !is_complete {
            return Some(separation);
        }
        self.backlog.ending -= 1;
        if is_underway {
            self.isolated.pending.push(separation.isolation);
        }
        None
    }

    /// Ends a session whose client was isolated, which releases its claims.
    pub(super) fn confirm_isolated(
        &mut self,
        from: Requester,
        id: SessionId,
        effects: &mut Vec<Effect>,
    ) -> Option<Reply> {
        let Some(index) = self.isolated.end(id) else {
            return Some(Reply::Refused(Refusal::SessionUnknown));
        };
        self.end(index, effects);
        self.closed(from, id)
    }

    /// Returns the reason why there is no session with this id, or why a session with this id
    /// counts as ended.
    pub(super) fn unknown(&self, id: SessionId) -> Refusal {
        let is_due = || {
            self.look_up_session(id)
                .is_some_and(|index| self.needs_isolation(index))
        };
        let is_known = self.isolated.known.contains(&id) || self.isolated.find(id).is_some();
        if is_known || is_due() {
            Refusal::Isolated
        } else {
            Refusal::SessionUnknown
        }
    }

    /// Returns the number of clients that are being isolated.
    #[must_use]
    pub fn isolating(&self) -> usize {
        self.isolated.underway.len()
    }
}
