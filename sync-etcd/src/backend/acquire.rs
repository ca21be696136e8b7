//! The transactions that queue a claim: at once if the queue is empty, behind others, or not at
//! all.

use distsync_core::spi::{Backend, Claim, Gone, Standing, order};
use distsync_core::{Error, ErrorKind, Mode, Result};
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnOpResponse};

use super::Etcd;
use crate::connection::Done;
use crate::error::Failure;
use crate::keys::{KeyEntry, key, lease, prefix, value};
use crate::queue::{
    QueueView, first_of, queue_in, queue_of, read_first, read_order, read_queue, token,
};

/// The outcome of the [fast path](Etcd::acquire_if_empty).
enum FastPath {
    /// The request is answered: the claim is granted, or its session has ended.
    Done(Standing),
    /// The queue was not empty, and the alternative was executed.
    Otherwise(Done),
}

/// Returns a condition that is true while no key has this prefix.
fn no_key_with(prefix: String) -> Compare {
    Compare::create_revision(prefix, CompareOp::Equal, 0).with_prefix()
}

impl Etcd {
    /// Fast path: if the queue is empty, creates the claim's key, which grants the lock at once.
    /// Otherwise executes `otherwise` in the same transaction.
    async fn acquire_if_empty(&self, claim: &Claim, otherwise: Vec<TxnOp>) -> Result<FastPath> {
        let take = Txn::new()
            .when([no_key_with(prefix(&claim.name))])
            .and_then([self.put(claim)])
            .or_else(otherwise);
        match self.members.transact(&claim.name, take).await {
            Ok(done) if done.response.succeeded() => {
                // The key's create revision is the revision of this transaction.
                let token = token(done.revision).ok_or(Failure::Answer("a negative revision"))?;
                Ok(FastPath::Done(Standing::Granted { token }))
            }
            Ok(done) => Ok(FastPath::Otherwise(done)),
            Err(failure) if failure.is_lease_gone() => Ok(FastPath::Done(Standing::Gone {
                why: Gone::SessionLost,
            })),
            Err(failure) => Err(failure.into()),
        }
    }

    pub(super) async fn join_queue(&self, claim: &Claim) -> Result<Standing> {
        let done = match self
            .acquire_if_empty(claim, vec![TxnOp::txn(self.join(claim, Vec::new()))])
            .await?
        {
            FastPath::Done(standing) => return Ok(standing),
            FastPath::Otherwise(done) => done,
        };
        let [TxnOpResponse::Txn(joined)] = &done.response.op_responses()[..] else {
            return Err(Failure::Answer("no nested transaction in the reply").into());
        };
        let queue = queue_in(joined, done.revision)?;
        if let Err(error) = self.check_permits(claim, &queue) {
            self.withdraw(claim).await?;
            return Err(error);
        }
        self.standing(claim, queue)
    }

    /// Acquires the name if no incompatible claim is queued. Otherwise creates no key.
    pub(super) async fn try_now(&self, claim: &Claim) -> Result<Standing> {
        let prefix = prefix(&claim.name);
        let extra = match claim.mode {
            Mode::Exclusive => {
                // The first claim is a holder. Reading the rest of a long queue would be wasted.
                return match self
                    .acquire_if_empty(claim, vec![read_first(&claim.name)])
                    .await?
                {
                    FastPath::Done(standing) => Ok(standing),
                    FastPath::Otherwise(done) => self.standing(claim, first_of(&done)?),
                };
            }
            Mode::Shared => vec![
                no_key_with(format!("{prefix}x-")),
                no_key_with(format!("{prefix}p")),
            ],
            Mode::Permit { .. } => return self.try_permit(claim).await,
        };
        match self
            .members
            .transact(&claim.name, self.join(claim, extra))
            .await
        {
            Ok(done) => self.standing(claim, queue_of(&done)?),
            Err(failure) if failure.is_lease_gone() => Ok(Standing::Gone {
                why: Gone::SessionLost,
            }),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Acquires a permit if one is free. Otherwise creates no key.
    ///
    /// A comparison in etcd cannot count: read the queue first, then create the key if no other key
    /// was created since. If one was, the reply has the new queue, and the decision is made again.
    /// Each repetition means that another claim has joined the queue, so a busy name ends it soon.
    async fn try_permit(&self, claim: &Claim) -> Result<Standing> {
        let read = Txn::new().and_then(read_queue(&claim.name));
        let mut queue = queue_of(&self.members.transact(&claim.name, read).await?)?;
        loop {
            self.check_permits(claim, &queue)?;
            let ahead = queue.entries.iter().map(|entry| entry.mode);
            let is_free = order::holders(ahead.chain([claim.mode])) > queue.entries.len();
            if !is_free || queue.entries.iter().any(|entry| entry.key == key(claim)) {
                return self.standing(claim, queue);
            }
            let unchanged =
                Compare::create_revision(prefix(&claim.name), CompareOp::Less, queue.revision + 1)
                    .with_prefix();
            let join = self.join(claim, vec![unchanged]);
            let done = match self.members.transact(&claim.name, join).await {
                Ok(done) => done,
                Err(failure) if failure.is_lease_gone() => {
                    return Ok(Standing::Gone {
                        why: Gone::SessionLost,
                    });
                }
                Err(failure) => return Err(failure.into()),
            };
            queue = queue_of(&done)?;
            if done.response.succeeded() {
                return self.standing(claim, queue);
            }
        }
    }

    fn standing(&self, claim: &Claim, queue: QueueView) -> Result<Standing> {
        let key = key(claim);
        Ok(match queue.of(&key) {
            order::Position::Granted => Standing::Granted {
                token: queue.token(&key)?,
            },
            order::Position::Behind { position, .. } => Standing::Waiting {
                position,
                holder: queue.holder,
            },
            order::Position::Absent => Standing::Busy {
                holder: queue.holder,
            },
        })
    }

    /// Checks that all queued claims agree on the number of permits.
    fn check_permits(&self, claim: &Claim, queue: &QueueView) -> Result<()> {
        match queue
            .entries
            .iter()
            .find(|entry| entry.mode.contradicts(claim.mode))
        {
            Some(KeyEntry { mode, .. }) => Err(Error::new(
                ErrorKind::InvalidOption,
                format!(
                    "this name is in use with {mode}: use the same number of permits everywhere"
                ),
            )
            .with_backend("etcd")),
            None => Ok(()),
        }
    }

    fn put(&self, claim: &Claim) -> TxnOp {
        let options = PutOptions::new().with_lease(lease(claim.session.id));
        TxnOp::put(
            key(claim),
            value(claim.id, &claim.client, &claim.value),
            Some(options),
        )
    }

    /// Creates the claim's key if it does not exist and `extra` is true, and reads the queue.
    fn join(&self, claim: &Claim, extra: Vec<Compare>) -> Txn {
        let mut compares = vec![Compare::create_revision(key(claim), CompareOp::Equal, 0)];
        compares.extend(extra);
        // The holder's entry is read only if no key was created: a granted claim has no use for it.
        let joined = [self.put(claim), read_order(&claim.name)];
        Txn::new()
            .when(compares)
            .and_then(joined)
            .or_else(read_queue(&claim.name))
    }
}
