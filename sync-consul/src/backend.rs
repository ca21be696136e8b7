//! Claims on Consul: one transaction a step.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sync_core::backend::{
    Claim, ClaimId, Gone, Queue, Renewal, Revision, Session, SessionId, SessionSpec, Standing, Withdrawn,
};
use sync_core::order;
use sync_core::{Backend, Capabilities, Error, ErrorKind, LockName, Result};

use crate::config::Config;
use crate::error::Failure;
use crate::http::{Http, Pair, Scope, Step};
use crate::keys::{Place, key, prefix, read_line, value};

/// A backend on a Consul agent.
#[derive(Debug)]
pub struct Consul {
    config: Config,
    http: OnceLock<Http>,
}

/// Consul's form of a session's id.
fn uuid(session: SessionId) -> String {
    let hex = session.to_string();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Where a claim stands in a line.
fn place_of(line: &[Place], claim: ClaimId) -> Option<&Place> {
    line.iter().find(|place| place.entry.claim == claim)
}

fn order_of(line: &[Place]) -> Vec<(ClaimId, sync_core::Mode)> {
    line.iter().map(|place| (place.entry.claim, place.entry.mode)).collect()
}

impl Consul {
    /// A backend that connects when it is first used.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, http: OnceLock::new() }
    }

    fn http(&self) -> Result<&Http, Failure> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let fresh = Http::new(self.config.clone())?;
        Ok(self.http.get_or_init(|| fresh))
    }

    async fn read(&self, name: &LockName) -> Result<Vec<Place>, Failure> {
        let prefix = prefix(name);
        let pairs = self.http()?.transact(&[Step::get_tree(&prefix)]).await?;
        read_line(&prefix, &pairs)
    }

    fn standing(claim: &Claim, line: &[Place]) -> Result<Standing, Failure> {
        let holder = line.first().map(|place| Box::new(place.entry.clone()));
        Ok(match order::place(&order_of(line), claim.id) {
            order::Place::Granted => {
                let token = place_of(line, claim.id).and_then(|own| own.entry.token);
                Standing::Granted { token: token.ok_or_else(|| Failure::Answer("no token".to_owned()))? }
            }
            order::Place::Behind { position, .. } => Standing::Waiting { position, holder },
            order::Place::Absent => Standing::Busy { holder },
        })
    }

    /// Puts a claim in line and reads the line. Its key may be there from an earlier try of the same.
    async fn join(&self, claim: &Claim) -> Result<Vec<Place>, Failure> {
        let (own, prefix) = (key(claim), prefix(&claim.name));
        let lock = Step::lock(&own, &value(claim, &claim.value), &uuid(claim.session.id));
        let steps = [Step::check_not_exists(&own), lock, Step::get_tree(&prefix)];
        match self.http()?.transact(&steps).await {
            Ok(pairs) => read_line(&prefix, &pairs),
            Err(failure) if failure.is_there() => self.read(&claim.name).await,
            Err(failure) => Err(failure),
        }
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
            let line = self.read(name).await?;
            let Some(found) = place_of(&line, claim) else { return Ok(Withdrawn::Absent) };
            let tree = Some(Step::get_tree(&prefix));
            if let Some(pairs) = self.delete(tree, &found.key, found.modified).await? {
                return Ok(match order::place(&order_of(&read_line(&prefix, &pairs)?), claim) {
                    order::Place::Granted => Withdrawn::Held,
                    order::Place::Behind { .. } => Withdrawn::Waiting,
                    order::Place::Absent => Withdrawn::Absent,
                });
            }
        }
    }

    /// Takes a claim out of the line that it has just joined.
    async fn leave(&self, claim: &Claim, line: &[Place]) -> Result<(), Failure> {
        let left = match place_of(line, claim.id) {
            Some(own) => self.delete(None, &own.key, own.modified).await?,
            None => None,
        };
        if left.is_none() {
            self.remove(&claim.name, claim.id).await?;
        }
        Ok(())
    }

    /// Waits until one of `awaits` or the claim's own key has changed.
    async fn wait_on(&self, claim: &Claim, line: &[Place], awaits: &[ClaimId]) -> Result<(), Failure> {
        let http = self.http()?;
        if let ([one], Some(own)) = (awaits, place_of(line, claim.id))
            && let Some(one) = place_of(line, *one)
        {
            tokio::select! {
                read = http.read(Scope::Key(&one.key), Some(one.modified)) => read?,
                read = http.read(Scope::Key(&own.key), Some(own.modified)) => read?,
            };
            return Ok(());
        }
        // Any of several may end first: wait for a change of the line, as it was read now.
        let prefix = prefix(&claim.name);
        let seen = http.read(Scope::Tree(&prefix), None).await?;
        if read_line(&prefix, &seen.pairs)?.len() == line.len() {
            http.read(Scope::Tree(&prefix), Some(seen.index)).await?;
        }
        Ok(())
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
        // It would take a blocking query for each claim that is held.
        capabilities.reports_evictions = false;
        capabilities.seats = true;
        capabilities
    }

    fn twin(&self) -> Arc<dyn Backend> {
        Arc::new(Self::new(self.config.clone()))
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        let id = self.http()?.create_session(&spec.client, spec.ttl).await?;
        let bits = u128::from_str_radix(&id.replace('-', ""), 16).map_err(|_| Failure::Answer(id))?;
        Ok(Session { id: SessionId::from_bits(bits), secret: spec.secret, ttl: spec.ttl })
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        match self.http()?.renew_session(&uuid(session.id)).await {
            Ok(()) => Ok(Renewal::Renewed { ttl: session.ttl }),
            Err(failure) if failure.is_session_gone() => Ok(Renewal::Expired),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn close(&self, session: &Session) -> Result<()> {
        Ok(self.http()?.destroy_session(&uuid(session.id)).await?)
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        let line = match self.join(claim).await {
            Ok(line) => line,
            Err(failure) if failure.is_session_gone() => {
                return Ok(Standing::Gone { why: Gone::SessionLost });
            }
            Err(failure) => return Err(failure.into()),
        };
        if let Some(other) = line.iter().find(|place| place.entry.mode.contradicts(claim.mode)) {
            self.leave(claim, &line).await?;
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("this name is used with {}: all have to agree on the number", other.entry.mode),
            )
            .on("consul"));
        }
        match Self::standing(claim, &line)? {
            Standing::Waiting { holder, .. } if !claim.waits => {
                self.leave(claim, &line).await?;
                Ok(Standing::Busy { holder })
            }
            standing => Ok(standing),
        }
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        loop {
            // What a wake-up is worth is decided here, by the store: that the own key is there, and who is ahead.
            let line = self.read(&claim.name).await?;
            match order::place(&order_of(&line), claim.id) {
                order::Place::Granted => return Ok(Self::standing(claim, &line)?),
                order::Place::Absent => {
                    let lives = self.http()?.session_lives(&uuid(claim.session.id)).await?;
                    return Ok(Standing::Gone { why: if lives { Gone::Evicted } else { Gone::SessionLost } });
                }
                order::Place::Behind { awaits, .. } => self.wait_on(claim, &line, &awaits).await?,
            }
        }
    }

    async fn update(&self, claim: &Claim, bytes: Bytes) -> Result<bool> {
        loop {
            let line = self.read(&claim.name).await?;
            let Some(own) = place_of(&line, claim.id) else { return Ok(false) };
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
        // Who holds and never changed its value was written at its token.
        if let Some(token) = claim.token
            && self.delete(None, &key(claim), token.get()).await?.is_some()
        {
            return Ok(Withdrawn::Held);
        }
        Ok(self.remove(&claim.name, claim.id).await?)
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        Ok(self.remove(name, claim).await?)
    }

    async fn evictions(&self, _session: &Session) -> Result<Vec<ClaimId>> {
        Err(Error::new(ErrorKind::Unsupported, "Consul does not tell holders of their eviction").on("consul"))
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        let prefix = prefix(name);
        let read = self.http()?.read(Scope::Tree(&prefix), None).await?;
        let line = read_line(&prefix, &read.pairs)?;
        Ok(Queue {
            entries: line.into_iter().map(|place| place.entry).collect(),
            revision: Revision(read.index),
        })
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        let prefix = prefix(name);
        let read = self.http()?.read(Scope::Tree(&prefix), Some(after.0)).await?;
        let line = read_line(&prefix, &read.pairs)?;
        Ok(Queue {
            entries: line.into_iter().map(|place| place.entry).collect(),
            revision: Revision(read.index),
        })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        let mut names = Vec::new();
        for key in self.http()?.keys(prefix).await? {
            let path = key.rsplit_once('/').map_or(key.as_str(), |(path, _)| path);
            names.push(LockName::from_path(path)?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}
