//! Sessions that ended by themselves and hold on: until somebody has made sure that their client
//! can do nothing more.

use std::collections::{HashSet, VecDeque};

use distsync_core::Token;
use distsync_core::spi::{Gone, SessionId};
use foldhash::fast::RandomState;

use super::LockTable;
use crate::engine::command::{Effect, Refusal, Reply};
use crate::engine::journal::Journal;
use crate::engine::line::{Claim, Slot, key};

/// How many isolated clients are remembered, so that they are told.
const REMEMBERED: usize = 10_000;

/// Why a client is isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its session was not renewed in time, or its last connection was gone.
    Expired,
    /// An operator ended its session.
    Ended,
}

/// A client that somebody has to isolate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// Its session, which also names this isolation.
    pub session: SessionId,
    /// Who it is, in its own words.
    pub client: String,
    /// How it can be isolated, in its own words.
    pub info: Vec<u8>,
    /// Why.
    pub reason: Reason,
    /// What it holds: names, tokens, values.
    pub locks: Vec<(String, Token, Vec<u8>)>,
}

/// Who is being isolated, and who was.
#[derive(Debug, Default)]
pub(super) struct Isolated {
    /// Whether sessions that say how are isolated at all.
    enabled: bool,
    /// Not handed to the host yet.
    pending: Vec<(Slot, Reason)>,
    /// Whose sessions still hold.
    underway: Vec<Slot>,
    known: HashSet<SessionId, RandomState>,
    order: VecDeque<SessionId>,
}

impl<J: Journal> LockTable<J> {
    /// From now on sessions that say how they can be isolated hold on when they end by themselves,
    /// until [`confirm_isolated`](crate::engine::Command::ConfirmIsolated).
    pub fn enable_isolation(&mut self) {
        self.isolated.enabled = true;
    }

    /// Takes the clients that have to be isolated since the last time.
    pub fn take_isolations(&mut self) -> Vec<Isolation> {
        let pending = std::mem::take(&mut self.isolated.pending);
        pending
            .into_iter()
            .map(|(index, reason)| self.isolation(index, reason))
            .collect()
    }

    /// Whether there are any.
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

    /// Whether a session that ends by itself may not give up what it holds before its client is
    /// isolated.
    pub(super) fn has_to_be_isolated(&self, index: Slot) -> bool {
        let session = &self.sessions[key(index)];
        self.isolated.enabled
            && !session.isolation.is_empty()
            && session.claims.iter(&self.claims).any(Claim::holds)
    }

    /// The session ends for its client, and holds on: it leaves the lines in which it waits.
    /// Returns whose lines have changed, which have to be settled.
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

    /// The client can do nothing more: what it held goes to others.
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

    /// Why there is no session of this id.
    pub(super) fn unknown(&self, id: SessionId) -> Refusal {
        if self.isolated.known.contains(&id) {
            Refusal::Isolated
        } else {
            Refusal::SessionUnknown
        }
    }

    /// How many clients are being isolated.
    #[must_use]
    pub fn isolating(&self) -> usize {
        self.isolated.underway.len()
    }
}
