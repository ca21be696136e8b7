//! Claims on Consul: one transaction a step.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use distsync_core::spi::Backend;
use distsync_core::spi::Joining;
use distsync_core::spi::order;
use distsync_core::spi::{
    Claim, ClaimId, Gone, Queue, Renewal, Revision, Session, SessionId, SessionSpec, Standing, Withdrawn,
};
use distsync_core::{Capabilities, Error, ErrorKind, LockName, Result};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::error::Failure;
use crate::held::{self, Held};
use crate::http::{Http, Pair, Scope, Step};
use crate::keys::{self, key, prefix, tree_of, value};
use crate::line::{Line, Place};
use crate::locked::LockedKeys;
use crate::watches::Watches;

/// How often a waiter asks whether the lock-delay of a holder that was lost is over: nobody tells.
const DELAY_LOOK: Duration = Duration::from_millis(250);

/// Requests at a time, beside blocking queries: an agent serves 200 connections for each client address by default.
const IN_FLIGHT: usize = 16;
/// How many requests that join the queue of one name are under way at the same time: fewer than may join at all, so that a try, or
/// another name, finds room beside a crowd.
const JOINING: usize = 4;

/// As many steps as a transaction takes.
const STEPS_MAX: usize = 64;

/// A backend on a Consul agent.
#[derive(Debug)]
pub struct Consul {
    config: Config,
    links: OnceLock<Links>,
    /// With a lock-delay. The keeper's instance has the same.
    locked: Option<Arc<LockedKeys>>,
    /// The keeper's instance has the same.
    held: Arc<Held>,
    watches: Watches,
    joining: Joining,
}

/// The requests under way. Nothing that releases, renews or inspects waits behind those who acquire.
#[derive(Debug)]
struct Links {
    http: Http,
    /// For those who join a queue, or try.
    arrivals: Http,
    /// For what those in a queue ask. They are many, and would keep the others waiting.
    waiters: Http,
    /// For blocking queries.
    blocking: Arc<Http>,
}

/// Consul's form of a session's id.
fn uuid(session: SessionId) -> String {
    let hex = session.to_string();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A claim whose request failed is gone if its session is.
fn lost_or(failure: Failure) -> Result<Standing> {
    if failure.is_session_gone() {
        return Ok(Standing::Gone { why: Gone::SessionLost });
    }
    Err(failure.into())
}

impl Consul {
    /// A backend that connects when it is first used.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let locked = (!config.lock_delay.is_zero()).then(Arc::default);
        Self::with(config, locked, Arc::default())
    }

    fn with(config: Config, locked: Option<Arc<LockedKeys>>, held: Arc<Held>) -> Self {
        let (links, watches) = (OnceLock::new(), Watches::default());
        Self { config, links, locked, held, watches, joining: Joining::new(JOINING) }
    }

    fn links(&self) -> Result<&Links, Failure> {
        if let Some(links) = self.links.get() {
            return Ok(links);
        }
        let http = |in_flight| Http::new(self.config.clone(), in_flight);
        let fresh = Links {
            http: http(IN_FLIGHT)?,
            arrivals: http(IN_FLIGHT / 2)?,
            waiters: http(IN_FLIGHT / 2)?,
            blocking: Arc::new(http(IN_FLIGHT)?),
        };
        Ok(self.links.get_or_init(|| fresh))
    }

    fn http(&self) -> Result<&Http, Failure> {
        Ok(&self.links()?.http)
    }

    fn arrivals(&self) -> Result<&Http, Failure> {
        Ok(&self.links()?.arrivals)
    }

    fn waiters(&self) -> Result<&Http, Failure> {
        Ok(&self.links()?.waiters)
    }

    async fn read(&self, http: &Http, name: &LockName) -> Result<Line, Failure> {
        let prefix = prefix(name);
        let pairs = http.transact(&[Step::get_tree(&prefix)]).await?;
        Line::read(&prefix, &pairs)
    }

    /// The line of the name whose claims begin with `prefix`, as others see it.
    async fn look(&self, prefix: String) -> Result<Queue, Failure> {
        let read = self.http()?.read(&Scope::Tree(prefix.clone()), None).await?;
        Ok(Line::read(&prefix, &read.pairs)?.queue(read.index))
    }

    /// What a session that ends may have locked.
    fn take_locked(&self, session: SessionId) -> Vec<String> {
        self.locked.as_ref().map(|locked| locked.take(session)).unwrap_or_default()
    }

    /// Takes note of a grant.
    fn noting(&self, claim: &Claim, standing: Standing) -> Standing {
        if let Standing::Granted { .. } = standing {
            self.held.add(claim);
        }
        standing
    }

    /// A claim is over: its key is not locked any more.
    fn forget(&self, claim: &Claim) {
        if let Some(locked) = &self.locked {
            locked.remove(claim.session.id, &key(claim));
        }
    }

    /// Puts a claim in line and reads the line. Its key may be there from an earlier try of the same.
    async fn join(&self, claim: &Claim) -> Result<Line, Failure> {
        let (own, prefix) = (key(claim), prefix(&claim.name));
        if let Some(locked) = &self.locked {
            locked.add(claim.session.id, &own);
        }
        let lock = Step::lock(&own, &value(claim, &claim.value), &uuid(claim.session.id));
        let steps = [Step::check_not_exists(&own), lock, Step::get_tree(&prefix)];
        loop {
            match self.arrivals()?.transact(&steps).await {
                Err(failure) if failure.is_there() => {}
                pairs => return Line::read(&prefix, &pairs?),
            }
            let line = self.read(self.arrivals()?, &claim.name).await?;
            match line.at(&own) {
                Some(same) if same.entry.claim == claim.id && !same.is_lost => return Ok(line),
                // A claim that is over sat here: its request came late, or an operator has unlocked its key.
                Some(left) => drop(self.delete(None, &own, left.modified).await?),
                None => {}
            }
        }
    }

    /// Joins the line, and sweeps it.
    async fn arrive(&self, claim: &Claim) -> Result<Line, Failure> {
        let mut line = self.join(claim).await?;
        while self.sweep(claim, &line).await? {
            line = self.read(self.arrivals()?, &claim.name).await?;
        }
        Ok(line)
    }

    /// Deletes what lost sessions have left in a line, and says whether anything has gone. What held has to be locked once
    /// more for that, which Consul refuses until the lock-delay is over.
    async fn sweep(&self, claim: &Claim, line: &Line) -> Result<bool, Failure> {
        let mut has_gone = false;
        for place in line.lost() {
            let mut steps = vec![Step::check_index(&place.key, place.modified)];
            if place.entry.token.is_some() {
                steps.push(Step::lock(&place.key, b"", &uuid(claim.session.id)));
            }
            steps.push(Step::delete(&place.key));
            match self.arrivals()?.transact(&steps).await {
                Err(failure) if failure.is_delayed() => {}
                Err(failure) if !failure.is_changed() => return Err(failure),
                _ => has_gone = true,
            }
        }
        Ok(has_gone)
    }

    /// Deletes a key if it was last written at `index`, and gives what `first` has read before. `None`: it was not.
    async fn delete(&self, first: Option<Step>, key: &str, index: u64) -> Result<Option<Vec<Pair>>, Failure> {
        let steps: Vec<_> =
            first.into_iter().chain([Step::check_index(key, index), Step::delete(key)]).collect();
        match self.http()?.transact(&steps).await {
            Ok(pairs) => Ok(Some(pairs)),
            Err(failure) if failure.is_changed() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Deletes a claim's key, wherever it stands, and says what the claim was.
    async fn remove(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn, Failure> {
        let prefix = prefix(name);
        loop {
            let line = self.read(self.http()?, name).await?;
            let Some(found) = line.find(claim) else { return Ok(Withdrawn::Absent) };
            let tree = Some(Step::get_tree(&prefix));
            if let Some(pairs) = self.delete(tree, &found.key, found.modified).await? {
                return Ok(Line::read(&prefix, &pairs)?.place(claim).into());
            }
        }
    }

    /// Takes a claim out of the line that it has just joined.
    async fn leave(&self, claim: &Claim, line: &Line) -> Result<(), Failure> {
        let left = match line.find(claim.id) {
            Some(own) => self.delete(None, &own.key, own.modified).await?,
            None => None,
        };
        if left.is_none() {
            self.remove(&claim.name, claim.id).await?;
        }
        self.forget(claim);
        Ok(())
    }

    /// Waits until one of `awaits` or the claim's own key may have changed.
    async fn wait_on(&self, claim: &Claim, line: &Line, awaits: &[&Place]) -> Result<(), Failure> {
        if awaits.iter().any(|place| place.is_lost) {
            tokio::time::sleep(DELAY_LOOK).await;
            return Ok(());
        }
        let links = self.links()?;
        let (scope, after) = match awaits {
            [one] => (Scope::Key(one.key.clone()), one.modified),
            // Any of several may end first: wait for a change of the line, as it was read now.
            _ => {
                let prefix = prefix(&claim.name);
                let scope = Scope::Tree(prefix.clone());
                let seen = links.waiters.read(&scope, None).await?;
                if Line::read(&prefix, &seen.pairs)? != *line {
                    return Ok(());
                }
                (scope, seen.index)
            }
        };
        let same: Vec<_> = awaits
            .iter()
            .copied()
            .chain(line.find(claim.id))
            .map(|place| Step::check_index(&place.key, place.modified))
            .collect();
        let waiting = self.watches.wait();
        let mut newer = pin!(self.watches.newer(&links.blocking, scope, after));
        loop {
            tokio::select! {
                _ = &mut newer => return Ok(()),
                () = tokio::time::sleep(waiting.pause()) => {}
            }
            // There may be no slot for a query yet, and the query does not show that an operator has ended this claim.
            for steps in same.chunks(STEPS_MAX) {
                match links.waiters.transact(steps).await {
                    Err(failure) if failure.is_changed() => return Ok(()),
                    answer => drop(answer?),
                }
            }
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
        Arc::new(Self::with(self.config.clone(), self.locked.clone(), self.held.clone()))
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        let id = self.http()?.create_session(&spec.client, spec.ttl).await?;
        let bits = u128::from_str_radix(&id.replace('-', ""), 16).map_err(|_| Failure::Answer(id))?;
        Ok(Session { id: SessionId::from_bits(bits), secret: spec.secret, ttl: spec.ttl })
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        match self.http()?.renew_session(&uuid(session.id)).await {
            Ok(()) => Ok(Renewal::Renewed { ttl: session.ttl }),
            Err(failure) if failure.is_session_gone() => {
                self.take_locked(session.id);
                self.held.forget(session.id);
                Ok(Renewal::Expired)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    async fn close(&self, session: &Session) -> Result<()> {
        self.held.forget(session.id);
        for keys in self.take_locked(session.id).chunks(STEPS_MAX) {
            let steps: Vec<_> = keys.iter().map(|key| Step::delete(key)).collect();
            self.http()?.transact(&steps).await?;
        }
        Ok(self.http()?.destroy_session(&uuid(session.id)).await?)
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        let line = match self.arrive(claim).await {
            Ok(line) => line,
            Err(failure) => return lost_or(failure),
        };
        if let Some(other) = line.living().find(|place| place.entry.mode.contradicts(claim.mode)) {
            self.leave(claim, &line).await?;
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("this name is used with {}: all have to agree on the number", other.entry.mode),
            )
            .with_backend("consul"));
        }
        match line.standing(claim)? {
            Standing::Waiting { holder, .. } if !claim.waits => {
                self.leave(claim, &line).await?;
                Ok(Standing::Busy { holder })
            }
            standing => Ok(self.noting(claim, standing)),
        }
    }

    fn joining(&self, name: &LockName) -> Option<&Semaphore> {
        self.joining.of(name)
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        loop {
            // What a wake-up is worth is decided here, by the store: that the own key is there, and who is ahead.
            let line = self.read(self.waiters()?, &claim.name).await?;
            match line.place(claim.id) {
                order::Position::Granted => return Ok(self.noting(claim, line.standing(claim)?)),
                order::Position::Absent => {
                    let lives = self.waiters()?.session_lives(&uuid(claim.session.id)).await?;
                    return Ok(Standing::Gone { why: if lives { Gone::Evicted } else { Gone::SessionLost } });
                }
                order::Position::Behind { awaits, .. } => match self.sweep(claim, &line).await {
                    Ok(true) => {}
                    Ok(false) => self.wait_on(claim, &line, &awaits).await?,
                    Err(failure) => return lost_or(failure),
                },
            }
        }
    }

    async fn update(&self, claim: &Claim, bytes: Bytes) -> Result<bool> {
        loop {
            let line = self.read(self.http()?, &claim.name).await?;
            let Some(own) = line.find(claim.id) else { return Ok(false) };
            let lock = Step::lock(&own.key, &value(claim, &bytes), &uuid(claim.session.id));
            match self.http()?.transact(&[Step::check_index(&own.key, own.modified), lock]).await {
                Ok(_) => return Ok(true),
                Err(failure) if failure.is_session_gone() => return Ok(false),
                Err(failure) if failure.is_changed() => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        self.held.remove(claim);
        // Who holds and never changed its value was written at its token.
        let withdrawn = match claim.token {
            Some(token) if self.delete(None, &key(claim), token.get()).await?.is_some() => Withdrawn::Held,
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
            let missing = self.held.missing(self.http()?, session.id, &uuid, STEPS_MAX).await?;
            if missing.is_empty() {
                continue;
            }
            // If the session has ended, all that it held is missing, and that is no eviction.
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
                    Some(read) => return Ok(Line::read(&prefix, &read.pairs)?.queue(read.index)),
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
        for pair in self.http()?.read(&Scope::Tree(tree_of(prefix)), None).await?.pairs {
            // What a lost session has left is no claim any more.
            if pair.session.is_some() {
                let path = pair.key.rsplit_once('/').map_or(&*pair.key, |(path, _)| path);
                names.push(keys::name(path)?);
            }
        }
        names.retain(|name: &LockName| name.path().starts_with(prefix));
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}
