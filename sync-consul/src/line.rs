//! The line of a name, as a read has shown it.

use std::collections::HashMap;

use distsync_core::Token;
use distsync_core::spi::order;
use distsync_core::spi::{Claim, ClaimId, Entry, Queue, Revision, Standing};

use crate::error::Failure;
use crate::http::Pair;
use crate::keys;

/// One claim in a line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) key: String,
    pub(crate) created: u64,
    pub(crate) modified: u64,
    /// Its session has ended by itself, and had a lock-delay: it is over, and keeps its place until it is swept out.
    pub(crate) is_lost: bool,
    pub(crate) entry: Entry,
}

/// The claims of a name in the order of arrival, with tokens for those that hold.
#[derive(Debug, PartialEq)]
pub(crate) struct Line(Vec<Place>);

impl Line {
    /// The line of the name whose claims begin with `prefix`.
    pub(crate) fn read(prefix: &str, pairs: &[Pair]) -> Result<Self, Failure> {
        // A transaction shows a key once for each step that touched it, and without its value where it did not read.
        let mut shown: HashMap<&str, &Pair> = HashMap::with_capacity(pairs.len());
        for pair in pairs.iter().filter(|pair| pair.key.starts_with(prefix)) {
            let known = shown.entry(&pair.key).or_insert(pair);
            if known.value.is_none() {
                *known = pair;
            }
        }
        let mut places = shown.into_values().map(keys::read_place).collect::<Result<Vec<_>, _>>()?;
        places.sort_by_key(|place| place.created);
        let mut run = order::Run::default();
        for place in &mut places {
            if !run.admit(place.entry.mode) {
                break;
            }
            place.entry.token = Token::new(place.created);
        }
        Ok(Self(places))
    }

    /// A claim that lives.
    pub(crate) fn find(&self, claim: ClaimId) -> Option<&Place> {
        self.living().find(|place| place.entry.claim == claim)
    }

    pub(crate) fn at(&self, key: &str) -> Option<&Place> {
        self.0.iter().find(|place| place.key == key)
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = &Place> {
        self.0.iter().filter(|place| !place.is_lost)
    }

    pub(crate) fn lost(&self) -> impl Iterator<Item = &Place> {
        self.0.iter().filter(|place| place.is_lost)
    }

    /// Where a claim stands. Those that are lost are in its way until they are swept out.
    pub(crate) fn place(&self, claim: ClaimId) -> order::Position<&Place> {
        let Some(own) = self.find(claim) else { return order::Position::Absent };
        let modes: Vec<_> = self.0.iter().map(|place| (place, place.entry.mode)).collect();
        order::position(&modes, own)
    }

    pub(crate) fn standing(&self, claim: &Claim) -> Result<Standing, Failure> {
        let holder = self.0.first().map(|place| Box::new(place.entry.clone()));
        Ok(match self.place(claim.id) {
            order::Position::Granted => {
                let token = self.find(claim.id).and_then(|own| own.entry.token);
                Standing::Granted { token: token.ok_or_else(|| Failure::Answer("no token".to_owned()))? }
            }
            order::Position::Behind { position, .. } => Standing::Waiting { position, holder },
            order::Position::Absent => Standing::Busy { holder },
        })
    }

    /// What others see of it.
    pub(crate) fn queue(&self, index: u64) -> Queue {
        let entries = self.living().map(|place| place.entry.clone()).collect();
        Queue { entries, revision: Revision(index) }
    }
}
