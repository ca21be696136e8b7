//! The transactions that end a claim, and what they have found.

use distsync_core::spi::{Claim, ClaimId, Gone, Withdrawn};
use distsync_core::{LockName, Result, Token};
use etcd_client::{Client, Compare, GetOptions, Txn, TxnOp};
use tracing::warn;

use super::Etcd;
use crate::keys::{belongs_to, created_at, lease, read_claim};
use crate::queue::{queue_of, read_order};
use crate::watch::Deleted;

impl Etcd {
    /// Releases a held claim by its fencing token, in one transaction and without reading the
    /// queue. Returns the outcome and the revision of the transaction.
    pub(super) async fn release(
        &self,
        claim: &Claim,
        key: &str,
        token: Token,
    ) -> Result<(Withdrawn, i64)> {
        let same = created_at(key, token);
        let delete = TxnOp::delete(key, None);
        let done = self
            .members
            .transact(&claim.name, Txn::new().when([same]).and_then([delete]))
            .await?;
        if done.response.succeeded() {
            return Ok((Withdrawn::Held, done.revision));
        }
        // A request of this claim that etcd executed late may have created the key again.
        let (_, revision) = self.remove(claim, key).await?;
        Ok((Withdrawn::Absent, revision))
    }

    /// Deletes the key of a claim that is not known to be granted, and returns whether it was held,
    /// waiting or absent. The delete is guarded by the id in the key's value, so a later claim that
    /// reuses the same key is left alone.
    pub(super) async fn remove(&self, claim: &Claim, key: &str) -> Result<(Withdrawn, i64)> {
        self.delete(&claim.name, key, belongs_to(key, claim.id))
            .await
    }

    /// Deletes a key if the conditions `same` are true. Returns whether its claim was held, waiting
    /// or absent, and the revision of the transaction.
    pub(super) async fn delete(
        &self,
        name: &LockName,
        key: &str,
        same: impl Into<Vec<Compare>>,
    ) -> Result<(Withdrawn, i64)> {
        let delete = TxnOp::delete(key, None);
        let done = self
            .members
            .transact(
                name,
                Txn::new().when(same).and_then([read_order(name), delete]),
            )
            .await?;
        if !done.response.succeeded() {
            return Ok((Withdrawn::Absent, done.revision));
        }
        Ok((queue_of(&done)?.of(key).into(), done.revision))
    }

    /// Returns the claim whose key was deleted, or `None` if the revision before the deletion has
    /// been compacted.
    pub(super) async fn claim_of(&self, deleted: Deleted) -> Result<Option<ClaimId>> {
        let before = GetOptions::new().with_revision(deleted.revision - 1);
        let key = deleted.key.clone();
        match self
            .members
            .ask(async |client: Client| client.kv_client().get(key, Some(before)).await)
            .await
        {
            Ok(found) => Ok(found.kvs().first().and_then(|kv| read_claim(kv.value()))),
            Err(failure) if failure.is_compacted() => {
                warn!(
                    key = deleted.key,
                    "a claim was evicted, but etcd was compacted before its id could be read"
                );
                Ok(None)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Finds out why a claim's key is gone: its session has ended, or it was evicted.
    pub(super) async fn why_gone(&self, claim: &Claim) -> Result<Gone> {
        let lease = lease(claim.session.id);
        let ask = async |client: Client| client.lease_client().time_to_live(lease, None).await;
        match self.members.ask(ask).await {
            Ok(left) if left.ttl() > 0 => Ok(Gone::Evicted),
            Ok(_) => Ok(Gone::SessionLost),
            Err(failure) => Err(failure.into()),
        }
    }
}
