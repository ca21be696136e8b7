//! Claims on Consul: one transaction a step.

mod acquire;
mod release;

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use distsync_core::spi::{Backend, Joining, order};
use distsync_core::spi::{
    Claim, ClaimId, Gone, Queue, Renewal, Revision, Session, SessionId, SessionSpec, Standing,
    Withdrawn,
};
use distsync_core::{Capabilities, Error, ErrorKind, LockName, Result};

use crate::config::Config;
use crate::error::Failure;
use crate::held::{self, Held};
use crate::http::{Http, Scope, Step};
use crate::keys::{self, key, prefix, tree_of, value};
use crate::locked::LockedKeys;
use crate::queue::QueueView;
use crate::watches::Watches;

/// The number of requests of holders at a time, and of requests that join a queue. By default an
/// agent serves 200 connections of one client address, and all processes of a machine share them.
/// Fewer cost throughput: 0.6 of the bare calls with 16 and 8, at 64 in flight.
const IN_FLIGHT: usize = 24;
/// The number of requests of waiters at a time.
const WAITERS_IN_FLIGHT: usize = 8;
/// The number of blocking queries at a time.
const QUERIES: usize = 16;
/// How many requests that join the queue of one name are under way at a time: fewer than may join
/// in total, so that a try and other names find room beside a crowd.
const JOINING: usize = 4;
/// The same for all names. Fewer than may be sent, for the same reason. A request waits here, where
/// the wait does not count towards its timeout, and not for its connection.
const JOINING_IN_TOTAL: usize = IN_FLIGHT - 1;

/// The most steps of a transaction.
const STEPS_MAX: usize = 64;

/// A backend on a Consul agent.
#[derive(Debug)]
pub struct Consul {
    config: Config,
    links: OnceLock<Links>,
    /// The locked keys, where there is a lock-delay. Shared with the keeper's instance.
    locked: Option<Arc<LockedKeys>>,
    /// Shared with the keeper's instance.
    held: Arc<Held>,
    watches: Watches,
    joining: Joining,
}

/// The limits on requests under way. Releases, renewals and inspections do not wait behind
/// acquires.
#[derive(Debug)]
struct Links {
    http: Http,
    /// For requests that join a queue, or try.
    arrivals: Arc<Http>,
    /// For requests of waiters. There are many, and they would delay the others.
    waiters: Http,
    /// For blocking queries.
    blocking: Arc<Http>,
}

/// Returns the id of a session in Consul's form.
fn uuid(session: SessionId) -> String {
    let hex = session.to_string();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

fn not_renewed() -> Error {
    let problem = "the leader of Consul did not find a session that exists, because it was just elected: try again";
    Error::new(ErrorKind::Unavailable, problem)
        .with_backend("consul")
        .retryable()
}

/// Returns the outcome for a claim whose request failed: gone, if its session is.
fn lost_or(failure: Failure) -> Result<Standing> {
    if failure.is_session_gone() {
        return Ok(Standing::Gone {
            why: Gone::SessionLost,
        });
    }
    Err(failure.into())
}

impl Consul {
    /// Returns a backend that connects when it is first used.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let locked = (!config.lock_delay.is_zero()).then(Arc::default);
        Self::with(config, locked, Arc::default())
    }

    fn with(config: Config, locked: Option<Arc<LockedKeys>>, held: Arc<Held>) -> Self {
        let (links, watches) = (OnceLock::new(), Watches::default());
        Self {
            config,
            links,
            locked,
            held,
            watches,
            joining: Joining::new(JOINING).with_total(JOINING_IN_TOTAL),
        }
    }

    fn links(&self) -> Result<&Links, Failure> {
        if let Some(links) = self.links.get() {
            return Ok(links);
        }
        let http = |in_flight| Http::new(self.config.clone(), in_flight);
        let fresh = Links {
            http: http(IN_FLIGHT)?,
            arrivals: Arc::new(http(IN_FLIGHT)?),
            waiters: http(WAITERS_IN_FLIGHT)?,
            blocking: Arc::new(http(QUERIES)?),
        };
        Ok(self.links.get_or_init(|| fresh))
    }

    pub(crate) fn http(&self) -> Result<&Http, Failure> {
        Ok(&self.links()?.http)
    }

    fn arrivals(&self) -> Result<&Arc<Http>, Failure> {
        Ok(&self.links()?.arrivals)
    }

    fn waiters(&self) -> Result<&Http, Failure> {
        Ok(&self.links()?.waiters)
    }

    async fn read(&self, http: &Http, name: &LockName) -> Result<QueueView, Failure> {
        let prefix = prefix(name);
        let pairs = http.transact(&[Step::get_tree(&prefix)]).await?;
        QueueView::read(&prefix, &pairs)
    }

    /// Reads the queue of the name whose keys begin with `prefix`, as observers see it.
    async fn look(&self, prefix: String) -> Result<Queue, Failure> {
        let read = self
            .http()?
            .read(&Scope::Tree(prefix.clone()), None)
            .await?;
        Ok(QueueView::read(&prefix, &read.pairs)?.queue(read.index))
    }

    /// Remembers a grant.
    fn noting(&self, claim: &Claim, standing: Standing) -> Standing {
        if let Standing::Granted { .. } = standing {
            self.held.add(claim);
        }
        standing
    }

    /// Forgets a claim that has ended: its key is no longer locked.
    fn forget(&self, claim: &Claim) {
        if let Some(locked) = &self.locked {
            locked.remove(claim.session.id, &key(claim));
        }
    }
}

#[async_trait]
impl Backend for Consul {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("consul");
        capabilities.ttl_min = Duration::from_secs(10);
        // Consul ends a session between one and two TTLs after its last renewal.
        capabilities.expiry_factor = 2;
        capabilities.expiry_slack = Duration::from_secs(1) + self.config.lock_delay;
        capabilities.key_slots = true;
        capabilities
    }

    fn for_keeper(&self) -> Arc<dyn Backend> {
        Arc::new(Self::with(
            self.config.clone(),
            self.locked.clone(),
            self.held.clone(),
        ))
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        let id = self.http()?.create_session(&spec.client, spec.ttl).await?;
        let bits =
            u128::from_str_radix(&id.replace('-', ""), 16).map_err(|_| Failure::Answer(id))?;
        Ok(Session {
            id: SessionId::from_bits(bits),
            secret: spec.secret,
            ttl: spec.ttl,
        })
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        match self.http()?.renew_session(&uuid(session.id)).await {
            Ok(()) => Ok(Renewal::Renewed { ttl: session.ttl }),
            // A leader that was just elected may not have read its whole log yet, and does not find
            // sessions. A consistent read waits until it has.
            Err(failure) if failure.is_session_gone() => {
                match self.http()?.session_lives(&uuid(session.id)).await? {
                    true => Err(not_renewed()),
                    false => Ok(Renewal::Expired),
                }
            }
            Err(failure) => Err(failure.into()),
        }
    }

    async fn close(&self, session: &Session) -> Result<()> {
        let locked = self.locked.as_ref().map(|locked| locked.of(session.id));
        for keys in locked.unwrap_or_default().chunks(STEPS_MAX) {
            let steps: Vec<_> = keys.iter().map(|key| Step::delete(key)).collect();
            self.http()?.transact(&steps).await?;
        }
        Ok(self.http()?.destroy_session(&uuid(session.id)).await?)
    }

    fn forget(&self, session: &Session) {
        if let Some(locked) = &self.locked {
            locked.forget(session.id);
        }
        self.held.forget(session.id);
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        let view = match self.arrive(claim).await {
            Ok(view) => view,
            Err(failure) => return lost_or(failure),
        };
        if let Some(other) = view
            .living()
            .find(|entry| entry.view.mode.contradicts(claim.mode))
        {
            self.leave(claim, &view).await?;
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!(
                    "this name is used with {}: use the same number of permits everywhere",
                    other.view.mode
                ),
            )
            .with_backend("consul"));
        }
        match view.standing(claim)? {
            Standing::Waiting { holder, .. } if !claim.waits => {
                self.leave(claim, &view).await?;
                Ok(Standing::Busy { holder })
            }
            standing => Ok(self.noting(claim, standing)),
        }
    }

    fn joining(&self) -> Option<&Joining> {
        Some(&self.joining)
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        loop {
            // The store decides after each wake-up: whether the key of the claim exists, and which
            // claims are ahead.
            let view = self.read(self.waiters()?, &claim.name).await?;
            match view.place(claim.id) {
                order::Position::Granted => return Ok(self.noting(claim, view.standing(claim)?)),
                order::Position::Absent => {
                    let lives = self
                        .waiters()?
                        .session_lives(&uuid(claim.session.id))
                        .await?;
                    return Ok(Standing::Gone {
                        why: if lives {
                            Gone::Evicted
                        } else {
                            Gone::SessionLost
                        },
                    });
                }
                order::Position::Behind { awaits, .. } => match self.sweep(claim, &view).await {
                    Ok(true) => {}
                    Ok(false) => self.wait_on(claim, &view, &awaits).await?,
                    Err(failure) => return lost_or(failure),
                },
            }
        }
    }

    async fn update(&self, claim: &Claim, bytes: Bytes) -> Result<bool> {
        loop {
            let view = self.read(self.http()?, &claim.name).await?;
            let Some(own) = view.find(claim.id) else {
                return Ok(false);
            };
            let lock = Step::lock(&own.key, &value(claim, &bytes), &uuid(claim.session.id));
            match self
                .http()?
                .transact(&[Step::check_index(&own.key, own.modified), lock])
                .await
            {
                Ok(_) => return Ok(true),
                Err(failure) if failure.is_session_gone() => return Ok(false),
                Err(failure) if failure.is_changed() => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        self.held.remove(claim);
        // The key of a holder that never changed its value was written at its token.
        let withdrawn = match claim.token {
            Some(token) if self.delete(None, &key(claim), token.get()).await?.is_some() => {
                Withdrawn::Held
            }
            _ => self.remove(&claim.name, claim.id).await?,
        };
        self.forget(claim);
        Ok(withdrawn)
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        Ok(self.remove(name, claim).await?)
    }

    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>> {
        loop {
            tokio::time::sleep(held::LOOK).await;
            let uuid = uuid(session.id);
            let missing = self
                .held
                .missing(self.http()?, session.id, &uuid, STEPS_MAX)
                .await?;
            if missing.is_empty() {
                continue;
            }
            // If the session has ended, all its claims are missing, which is no eviction.
            if self.http()?.session_lives(&uuid).await? {
                return Ok(missing);
            }
        }
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        Ok(self.look(prefix(name)).await?)
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        let prefix = prefix(name);
        let links = self.links()?;
        let waiting = self.watches.wait();
        let scope = Scope::Tree(prefix.clone());
        let mut newer = pin!(self.watches.newer(&links.blocking, scope, after.0));
        loop {
            tokio::select! {
                read = &mut newer => match read {
                    Some(read) => return Ok(QueueView::read(&prefix, &read.pairs)?.queue(read.index)),
                    None => return Ok(self.look(prefix).await?),
                },
                () = tokio::time::sleep(waiting.pause()) => {}
            }
            let queue = self.look(prefix.clone()).await?;
            if queue.revision != after {
                return Ok(queue);
            }
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        let mut names = Vec::new();
        for pair in self
            .http()?
            .read(&Scope::Tree(tree_of(prefix)), None)
            .await?
            .pairs
        {
            // Keys of lost sessions are no claims.
            if pair.session.is_some() {
                let path = pair
                    .key
                    .rsplit_once('/')
                    .map_or(&*pair.key, |(path, _)| path);
                names.push(keys::name(path)?);
            }
        }
        names.retain(|name: &LockName| name.path().starts_with(prefix));
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}
