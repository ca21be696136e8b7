//! The queue of a name, as a read has shown it.

use std::collections::HashMap;

use distsync_core::Token;
use distsync_core::spi::{Claim, ClaimId, Queue, Revision, Standing, order};

use crate::error::Failure;
use crate::http::Pair;
use crate::keys::{self, KeyEntry};

/// The claims of a name in order of arrival, with tokens for the holders.
#[derive(Debug, PartialEq)]
pub(crate) struct QueueView(Vec<KeyEntry>);

impl QueueView {
    /// Reads the queue of the name whose keys begin with `prefix`.
    pub(crate) fn read(prefix: &str, pairs: &[Pair]) -> Result<Self, Failure> {
        // A transaction returns a key once for each step that touched it, and without its value
        // where it did not read it.
        let mut shown: HashMap<&str, &Pair> = HashMap::with_capacity(pairs.len());
        for pair in pairs.iter().filter(|pair| pair.key.starts_with(prefix)) {
            let known = shown.entry(&pair.key).or_insert(pair);
            if known.value.is_none() {
                *known = pair;
            }
        }
        let mut entries = shown
            .into_values()
            .map(keys::read_entry)
            .collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(|entry| entry.created);
        let holders = order::holders(entries.iter().map(|entry| entry.view.mode));
        for entry in &mut entries[..holders] {
            entry.view.token = Token::new(entry.created);
        }
        Ok(Self(entries))
    }

    /// Returns the entry of a claim that has not ended.
    pub(crate) fn find(&self, claim: ClaimId) -> Option<&KeyEntry> {
        self.living().find(|entry| entry.view.claim == claim)
    }

    pub(crate) fn at(&self, key: &str) -> Option<&KeyEntry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = &KeyEntry> {
        self.0.iter().filter(|entry| !entry.is_lost)
    }

    pub(crate) fn lost(&self) -> impl Iterator<Item = &KeyEntry> {
        self.0.iter().filter(|entry| entry.is_lost)
    }

    /// Returns the position of a claim. Entries of lost sessions count until they are swept.
    pub(crate) fn place(&self, claim: ClaimId) -> order::Position<&KeyEntry> {
        let Some(own) = self.find(claim) else {
            return order::Position::Absent;
        };
        let modes: Vec<_> = self
            .0
            .iter()
            .map(|entry| (entry, entry.view.mode))
            .collect();
        order::position(&modes, own)
    }

    pub(crate) fn standing(&self, claim: &Claim) -> Result<Standing, Failure> {
        let holder = self.0.first().map(|entry| Box::new(entry.view.clone()));
        Ok(match self.place(claim.id) {
            order::Position::Granted => {
                let token = self.find(claim.id).and_then(|own| own.view.token);
                Standing::Granted {
                    token: token.ok_or_else(|| Failure::Answer("no token".to_owned()))?,
                }
            }
            order::Position::Behind { position, .. } => Standing::Waiting { position, holder },
            order::Position::Absent => Standing::Busy { holder },
        })
    }

    /// Returns what observers see.
    pub(crate) fn queue(&self, index: u64) -> Queue {
        let entries = self.living().map(|entry| entry.view.clone()).collect();
        Queue {
            entries,
            revision: Revision(index),
        }
    }
}
