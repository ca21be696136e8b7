//! Implements claims on etcd, with one transaction for each step.

mod acquire;
mod release;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use distsync_core::spi::{Backend, Joining, locked, order};
use distsync_core::spi::{
    Claim, ClaimId, Queue, Renewal, Revision, Session, SessionId, SessionSpec, Standing, Withdrawn,
};
use distsync_core::{Capabilities, LockName, Result};
use etcd_client::{
    Client, Compare, CompareOp, GetOptions, KeyValue, LeaseGrantOptions, PutOptions, SortOrder,
    SortTarget, Txn, TxnOp, WatchOptions,
};
use tokio::sync::watch;

use crate::config::Config;
use crate::error::Failure;
use crate::keys::{
    created_at, key, lease, lease_of, namespace, prefix, read_entry, read_key_entry, value,
};
use crate::leaving::Leaving;
use crate::members::Members;
use crate::queue::{QueueView, in_order, queue_of, read_order, token};

/// The number of requests that may join or read the queue of one name at the same time. Each reply
/// contains the whole queue, so without a limit a large queue at one name would keep etcd busy for
/// longer than the timeout of a request.
const JOINING: usize = 8;

/// A backend on an etcd cluster.
#[derive(Debug)]
pub struct Etcd {
    members: Members,
    shared: Arc<Shared>,
    /// The revision up to which each session has been told about evictions.
    heard: Mutex<HashMap<SessionId, i64>>,
}

/// The state that a backend shares with its [keeper instance](Backend::for_keeper).
#[derive(Debug)]
struct Shared {
    leaving: Leaving,
    /// The prefix of the namespace that this client uses, known from its first claim. Only this
    /// prefix is watched, because the client's role may not allow more.
    namespace: watch::Sender<Option<String>>,
    joining: Joining,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            leaving: Leaving::default(),
            namespace: watch::Sender::default(),
            joining: Joining::new(JOINING),
        }
    }
}

impl Etcd {
    /// Creates a backend. It connects on first use.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with(Members::new(config), Arc::default())
    }

    fn with(members: Members, shared: Arc<Shared>) -> Self {
        Self {
            members,
            shared,
            heard: Mutex::default(),
        }
    }

    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    async fn read(&self, name: &LockName) -> Result<QueueView, Failure> {
        queue_of(
            &self
                .members
                .transact(name, Txn::new().and_then([read_order(name)]))
                .await?,
        )
    }

    /// Reads a queue for a waiter. At most [`JOINING`] waiters of a name read at the same time.
    async fn read_in_turn(&self, name: &LockName) -> Result<QueueView, Failure> {
        let _turn = self.shared.joining.permit(name).await;
        self.read(name).await
    }

    /// Returns the TTL with which a lease was granted.
    async fn ttl_of(&self, lease: i64) -> Result<i64, Failure> {
        let ask = async |client: Client| client.lease_client().time_to_live(lease, None).await;
        let left = self.members.ask(ask).await?;
        if left.ttl() <= 0 {
            return Err(Failure::Answer("a lease that exists and has expired"));
        }
        Ok(left.granted_ttl())
    }

    /// Reads a queue with its values, and returns it with the revision of the read.
    async fn read_all(&self, name: &LockName) -> Result<(Vec<KeyValue>, i64)> {
        let prefix = prefix(name);
        let mut response = self
            .members
            .ask(async |client: Client| client.kv_client().get(prefix, Some(in_order())).await)
            .await?;
        let revision = response.header().map_or(0, |header| header.revision());
        Ok((response.take_kvs(), revision))
    }
}

#[async_trait]
impl Backend for Etcd {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("etcd");
        // The shortest TTL that etcd grants with its default election timeout, in whole seconds.
        capabilities.ttl_min = Duration::from_secs(2);
        capabilities.raises_short_ttl = true;
        // etcd checks for expired leases every 0.5 s, and the TTL is rounded up to a whole second.
        capabilities.expiry_slack = Duration::from_millis(1_500);
        capabilities.key_slots = true;
        capabilities
    }

    fn for_keeper(&self) -> Arc<dyn Backend> {
        Arc::new(Self::with(self.members.for_keeper(), self.shared.clone()))
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        let seconds =
            i64::try_from(spec.ttl.as_nanos().div_ceil(1_000_000_000)).unwrap_or(i64::MAX);
        // The client chooses the id, so that a retry does not open a second session.
        let id = i64::try_from(spec.nonce.bits() >> 65).unwrap_or(0).max(1);
        let options = LeaseGrantOptions::new().with_id(id);
        let grant =
            async |client: Client| client.lease_client().grant(seconds, Some(options)).await;
        let ttl = match self.members.ask(grant).await {
            Ok(granted) => granted.ttl(),
            // An earlier attempt opened the session, and its reply was lost.
            Err(failure) if failure.is_lease_there() => self.ttl_of(id).await?,
            Err(failure) => return Err(failure.into()),
        };
        let bits = u128::try_from(id).map_err(|_| Failure::Answer("a negative lease"))?;
        let ttl = Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
        Ok(Session {
            id: SessionId::from_bits(bits),
            secret: spec.secret,
            ttl,
        })
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        let lease = lease(session.id);
        match self.members.keep_alive(lease).await {
            Ok(_) => Ok(Renewal::Renewed { ttl: session.ttl }),
            Err(failure) if failure.is_lease_gone() => Ok(Renewal::Expired),
            Err(failure) => Err(failure.into()),
        }
    }

    fn forget(&self, session: &Session) {
        locked(&self.heard).remove(&session.id);
        self.shared.leaving.forget(session.id);
    }

    async fn close(&self, session: &Session) -> Result<()> {
        let lease = lease(session.id);
        match self
            .members
            .ask(async |client: Client| client.lease_client().revoke(lease).await)
            .await
        {
            Err(failure) if !failure.is_lease_gone() => Err(failure.into()),
            _ => Ok(()),
        }
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        if self.shared.namespace.borrow().is_none() {
            self.shared
                .namespace
                .send_replace(Some(namespace(&claim.name)));
        }
        if claim.waits {
            self.join_queue(claim).await
        } else {
            self.try_now(claim).await
        }
    }

    fn joining(&self) -> Option<&Joining> {
        Some(&self.shared.joining)
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        let own = key(claim);
        let watch = self.members.watch(&namespace(&claim.name)).await?;
        let mut queue = self.read_in_turn(&claim.name).await?;
        loop {
            let awaits = match queue.of(&own) {
                order::Position::Granted => {
                    return Ok(Standing::Granted {
                        token: queue.token(&own)?,
                    });
                }
                order::Position::Absent => {
                    return Ok(Standing::Gone {
                        why: self.why_gone(claim).await?,
                    });
                }
                order::Position::Behind { awaits, .. } => awaits,
            };
            let awaited = awaits
                .into_iter()
                .chain([&*own])
                .map(str::to_owned)
                .collect();
            let registered = watch.register(awaited, queue.revision);
            watch.at_home(registered.told.notified()).await;
            if watch.is_lost() {
                return Err(Failure::WatchLost.into());
            }
            // Later claims are queued behind this one, and deleted claims do not return, so the
            // deletions alone determine the position.
            queue = match watch.gone_since(queue.revision) {
                Some((gone, revision)) => queue.without(&gone, revision),
                None => self.read_in_turn(&claim.name).await?,
            };
        }
    }

    async fn update(&self, claim: &Claim, bytes: Bytes) -> Result<bool> {
        let own = key(claim);
        let options = PutOptions::new().with_ignore_lease();
        let same = match claim.token {
            Some(token) => created_at(&own, token),
            None => Compare::create_revision(own.clone(), CompareOp::Greater, 0),
        };
        let put = TxnOp::put(own, value(claim.id, &claim.client, &bytes), Some(options));
        let done = self
            .members
            .transact(&claim.name, Txn::new().when([same]).and_then([put]))
            .await?;
        Ok(done.response.succeeded())
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        let key = key(claim);
        let departure = self.shared.leaving.begin(claim.id, &key);
        let (withdrawn, revision) = match claim.token {
            Some(token) => self.release(claim, &key, token).await?,
            None => self.remove(claim, &key).await?,
        };
        if withdrawn != Withdrawn::Absent {
            departure.deleted(revision);
        }
        Ok(withdrawn)
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        for kv in self.read_all(name).await?.0 {
            if read_entry(&kv, None)?.claim == claim {
                let key = read_key_entry(&kv)?.key;
                let same =
                    Compare::create_revision(key.clone(), CompareOp::Equal, kv.create_revision());
                return Ok(self.delete(name, &key, [same]).await?.0);
            }
        }
        Ok(Withdrawn::Absent)
    }

    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>> {
        let mut known = self.shared.namespace.subscribe();
        let known = known
            .wait_for(Option::is_some)
            .await
            .map(|namespace| namespace.clone());
        let watch = self
            .members
            .watch(&known.ok().flatten().unwrap_or_default())
            .await?;
        // Continue where the last call stopped, if the watch remembers all deletions since then.
        let mut seen = locked(&self.heard)
            .get(&session.id)
            .copied()
            .unwrap_or_default();
        if !watch.knows(seen) {
            seen = watch.seen();
        }
        loop {
            let told = watch.any.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            let mut evicted = Vec::new();
            for gone in watch.since(seen) {
                seen = seen.max(gone.revision);
                if lease_of(&gone.key) == Some(lease(session.id))
                    && !self.shared.leaving.explains(&gone.key, gone.revision)
                {
                    evicted.extend(self.claim_of(gone).await?);
                }
            }
            locked(&self.heard).insert(session.id, seen);
            if !evicted.is_empty() {
                return Ok(evicted);
            }
            if watch.is_lost() {
                return Err(Failure::WatchLost.into());
            }
            watch.at_home(told).await;
        }
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        let (kvs, revision) = self.read_all(name).await?;
        let modes = kvs
            .iter()
            .map(|kv| Ok(read_key_entry(kv)?.mode))
            .collect::<Result<Vec<_>>>()?;
        let holders = order::holders(modes);
        let read = |(index, kv): (usize, &KeyValue)| {
            let token = (index < holders).then(|| token(kv.create_revision()));
            Ok(read_entry(kv, token.flatten())?)
        };
        let entries = kvs.iter().enumerate().map(read).collect::<Result<_>>()?;
        Ok(Queue {
            entries,
            revision: Revision(u64::try_from(revision).unwrap_or(0)),
        })
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        let start = i64::try_from(after.0).unwrap_or(i64::MAX).saturating_add(1);
        let options = WatchOptions::new().with_prefix().with_start_revision(start);
        let prefix = prefix(name);
        let mut stream = self
            .members
            .ask(async |client: Client| client.watch_client().watch(prefix, Some(options)).await)
            .await?;
        loop {
            let response = stream
                .message()
                .await
                .map_err(Failure::from)?
                .ok_or(Failure::WatchLost)?;
            // Revisions have started again: this etcd was emptied, or restored from a backup.
            let went_back = response
                .header()
                .is_some_and(|header| header.revision() < start - 1);
            // The watch is also cancelled if `start` is compacted. Either way the current queue is
            // the answer.
            if went_back || response.canceled() || !response.events().is_empty() {
                return self.queue(name).await;
            }
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        let options = GetOptions::new()
            .with_prefix()
            .with_keys_only()
            .with_sort(SortTarget::Key, SortOrder::Ascend);
        let prefix = prefix.to_owned();
        let response = self
            .members
            .ask(async |client: Client| client.kv_client().get(prefix, Some(options)).await)
            .await?;
        let mut names = Vec::new();
        for kv in response.kvs() {
            let entry = read_key_entry(kv)?;
            let path = entry.key.rsplit_once('/').map_or("", |(path, _)| path);
            names.push(LockName::from_path(path)?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}
