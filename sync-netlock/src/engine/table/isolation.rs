//! Isolation: a session that ends while it holds claims keeps them until its client is isolated,
//! which means that the client can do nothing more. Known elsewhere as node fencing (STONITH).

use std::collections::{HashSet, VecDeque};

use distsync_core::Token;
use distsync_core::spi::{Gone, SessionId};
use foldhash::fast::RandomState;

use super::LockTable;
use crate::engine::journal::Journal;
use crate::engine::queue::{Claim, Slot, key};
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

/// The sessions whose clients are being or were isolated.
#[derive(Debug, Default)]
pub(super) struct Isolated {
    /// Whether clients are isolated at all.
    enabled: bool,
    /// Sessions that were not handed to the host yet.
    pending: Vec<(Slot, Reason)>,
    /// Sessions that still hold claims.
    underway: Vec<Slot>,
    /// The most recent isolated sessions.
    known: HashSet<SessionId, RandomState>,
    /// The sessions of `known`, the oldest first.
    order: VecDeque<SessionId>,
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
        let pending = std::mem::take(&mut self.isolated.pending);
        pending
            .into_iter()
            .map(|(index, reason)| self.isolation(index, reason))
            .collect()
    }

    /// Returns whether there are clients to [take](Self::take_isolations).
    #[must_use]
    pub fn has_isolations(&self) -> bool {
        !self.isolated.pending.is_empty()
    }

    fn isolation(&self, index: Slot, reason: Reason) -> Isolation {
        let session = &self.sessions[key(index)];
        let lock = |claim: &Claim| {
            let name = self.locks[claim.lock].name.to_string();
            claim
                .token()
                .map(|token| (name, token, claim.value.to_vec()))
        };
        Isolation {
            session: session.id,
            client: session.client.to_string(),
            info: session.isolation.to_vec(),
            reason,
            locks: session.claims.iter(&self.claims).filter_map(lock).collect(),
        }
    }

    /// Returns whether a session that ends has to keep its held claims until its client is
    /// isolated.
    pub(super) fn needs_isolation(&self, index: Slot) -> bool {
        let session = &self.sessions[key(index)];
        self.isolated.enabled
            && !session.isolation.is_empty()
            && session.claims.iter(&self.claims).any(Claim::holds)
    }

    /// Ends a session for its client, and keeps its held claims. Its waiting claims are removed.
    /// Returns the queues that have to be settled.
    pub(super) fn begin_isolation(
        &mut self,
        index: Slot,
        reason: Reason,
        effects: &mut Vec<Effect>,
    ) -> Vec<Slot> {
        let claims = self.sessions[key(index)].claims.iter(&self.claims);
        let (touched, ids): (Vec<Slot>, Vec<_>) =
            claims.map(|claim| (claim.lock, claim.id)).unzip();
        for id in ids {
            let found = self
                .find_claim(id)
                .filter(|found| !self.claims[key(*found)].holds());
            if let Some(found) = found {
                self.leave(found, Gone::SessionLost, effects);
            }
        }
        self.forget_id(index);
        let session = &mut self.sessions[key(index)];
        session.is_isolating = true;
        let id = session.id;
        if let Some(to) = session.listener.take() {
            self.watchers.remove(to);
            effects.push(Effect {
                to,
                reply: Reply::Refused(Refusal::Isolated),
            });
        }
        self.isolated.pending.push((index, reason));
        self.isolated.underway.push(index);
        self.isolated.known.insert(id);
        self.isolated.order.push_back(id);
        if self.isolated.order.len() > REMEMBERED
            && let Some(oldest) = self.isolated.order.pop_front()
        {
            self.isolated.known.remove(&oldest);
        }
        touched
    }

    /// Ends a session whose client was isolated, which releases its claims.
    pub(super) fn confirm_isolated(&mut self, id: SessionId, effects: &mut Vec<Effect>) -> Reply {
        let found = self
            .isolated
            .underway
            .iter()
            .position(|index| self.sessions[key(*index)].id == id);
        let Some(found) = found else {
            return Reply::Refused(Refusal::SessionUnknown);
        };
        let index = self.isolated.underway.swap_remove(found);
        self.isolated
            .pending
            .retain(|(pending, _)| *pending != index);
        self.end_sessions(&[index], effects);
        Reply::Closed
    }

    /// Returns the reason why there is no session with this id.
    pub(super) fn unknown(&self, id: SessionId) -> Refusal {
        if self.isolated.known.contains(&id) {
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
