//! How much of the table each principal uses.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use slab::Slab;

use super::claim_counts::ClaimCounts;
use crate::engine::command::NO_PRINCIPAL;
use crate::engine::limits::Limits;
use crate::engine::queue::{Slot, key, slot};
use crate::engine::refusal::{Bound, Refusal};

/// What one principal uses.
#[derive(Debug)]
struct Share {
    principal: u64,
    sessions: usize,
    claims: usize,
}

/// The shares of all principals that have a session.
#[derive(Debug, Default)]
pub(super) struct Shares {
    all: Slab<Share>,
    by_principal: HashMap<u64, Slot, RandomState>,
    by_name: ClaimCounts,
    /// Principals by connection.
    connections: HashMap<u64, u64, RandomState>,
}

impl Shares {
    pub(super) fn introduce(&mut self, connection: u64, principal: u64) {
        self.connections.insert(connection, principal);
    }

    pub(super) fn forget(&mut self, connection: u64) {
        self.connections.remove(&connection);
    }

    pub(super) fn principal_of(&self, connection: u64) -> u64 {
        self.connections
            .get(&connection)
            .copied()
            .unwrap_or(NO_PRINCIPAL)
    }

    /// Returns the principal of a share, or [`NO_PRINCIPAL`] if there is none.
    pub(super) fn principal(&self, share: Option<Slot>) -> u64 {
        share.map_or(NO_PRINCIPAL, |share| self.all[key(share)].principal)
    }

    /// Checks that a principal may have one more session.
    pub(super) fn check_session(&self, principal: u64, limits: &Limits) -> Result<(), Refusal> {
        let sessions = self
            .by_principal
            .get(&principal)
            .map_or(0, |share| self.all[key(*share)].sessions);
        let max = limits.sessions_per_principal;
        if sessions >= max {
            return Err(Refusal::TooMany {
                what: Bound::SessionsPerPrincipal,
                max,
            });
        }
        Ok(())
    }

    /// Checks that the principal of a share may have so many more claims.
    #[inline]
    pub(super) fn check_claims(
        &self,
        share: Option<Slot>,
        more: usize,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let Some(share) = share else { return Ok(()) };
        let max = limits.claims_per_principal;
        if self.all[key(share)].claims + more > max {
            return Err(Refusal::TooMany {
                what: Bound::ClaimsPerPrincipal,
                max,
            });
        }
        Ok(())
    }

    /// Checks that the principal of a share may have one more claim on this name.
    #[inline]
    pub(super) fn check_name(
        &self,
        share: Option<Slot>,
        name: Slot,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let Some(share) = share else { return Ok(()) };
        let max = limits.claims_per_name_and_principal;
        let claims = self.by_name.get(name, share);
        if claims >= max {
            return Err(Refusal::TooMany {
                what: Bound::ClaimsPerNameAndPrincipal,
                max,
            });
        }
        Ok(())
    }

    /// Counts a new session, and returns the share of its principal.
    pub(super) fn enter(&mut self, principal: u64) -> Option<Slot> {
        if principal == NO_PRINCIPAL {
            return None;
        }
        let all = &mut self.all;
        let new = || {
            slot(all.insert(Share {
                principal,
                sessions: 0,
                claims: 0,
            }))
        };
        let share = *self.by_principal.entry(principal).or_insert_with(new);
        self.all[key(share)].sessions += 1;
        Some(share)
    }

    /// Counts a session that has ended, after its claims.
    pub(super) fn leave(&mut self, share: Option<Slot>) {
        let Some(index) = share else { return };
        let share = &mut self.all[key(index)];
        share.sessions -= 1;
        if share.sessions == 0 {
            let Share { principal, .. } = self.all.remove(key(index));
            self.by_principal.remove(&principal);
        }
    }

    /// Counts a claim that is added to the queue of a name.
    #[inline]
    pub(super) fn claim_came(&mut self, share: Option<Slot>, name: Slot) {
        if let Some(share) = share {
            self.all[key(share)].claims += 1;
            self.by_name.add(name, share);
        }
    }

    /// Counts a claim that is removed from the queue of a name.
    #[inline]
    pub(super) fn claim_left(&mut self, share: Option<Slot>, name: Slot) {
        if let Some(share) = share {
            self.all[key(share)].claims -= 1;
            self.by_name.remove(name, share);
        }
    }
}
