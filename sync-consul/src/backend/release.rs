//! The steps that end a claim.

use distsync_core::spi::{Claim, ClaimId, Withdrawn};
use distsync_core::{LockName, Result};

use super::Consul;
use crate::error::Failure;
use crate::http::{Pair, Step};
use crate::keys::prefix;
use crate::queue::QueueView;

impl Consul {
    /// Deletes a key if it was last written at `index`, and returns what `first` has read before.
    /// Returns `None` if it was written meanwhile.
    pub(super) async fn delete(
        &self,
        first: Option<Step>,
        key: &str,
        index: u64,
    ) -> Result<Option<Vec<Pair>>, Failure> {
        let steps: Vec<_> = first
            .into_iter()
            .chain([Step::check_index(key, index), Step::delete(key)])
            .collect();
        match self.http()?.transact(&steps).await {
            Ok(pairs) => Ok(Some(pairs)),
            Err(failure) if failure.is_changed() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Deletes the key of a claim, and returns whether the claim held, waited or was absent.
    pub(super) async fn remove(
        &self,
        name: &LockName,
        claim: ClaimId,
    ) -> Result<Withdrawn, Failure> {
        let prefix = prefix(name);
        loop {
            let view = self.read(self.http()?, name).await?;
            let Some(found) = view.find(claim) else {
                return Ok(Withdrawn::Absent);
            };
            let tree = Some(Step::get_tree(&prefix));
            if let Some(pairs) = self.delete(tree, &found.key, found.modified).await? {
                return Ok(QueueView::read(&prefix, &pairs)?.place(claim).into());
            }
        }
    }

    /// Removes a claim from the queue that it has just joined.
    pub(super) async fn leave(&self, claim: &Claim, view: &QueueView) -> Result<(), Failure> {
        let left = match view.find(claim.id) {
            Some(own) => self.delete(None, &own.key, own.modified).await?,
            None => None,
        };
        if left.is_none() {
            self.remove(&claim.name, claim.id).await?;
        }
        self.forget(claim);
        Ok(())
    }
}
