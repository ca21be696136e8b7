//! Claims in a SQLite file: one transaction a step.

use std::sync::Arc;
use std::time::Duration;

use distsync::spi::order::Run;
use distsync::spi::{
    Backend, Bytes, Claim, ClaimId, Entry, Gone, Queue, Renewal, Revision, Session, SessionSpec,
    Standing, Withdrawn, async_trait,
};
use distsync::{Capabilities, LockName, Moment, Result};
use rusqlite::Connection;

use crate::config::Config;
use crate::database::Database;
use crate::error::Failure;
use crate::rows;

/// A backend on a SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    config: Config,
    database: Database,
}

impl Sqlite {
    /// Returns a backend that opens the file when it is first used.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let database = Database::start(&config);
        Self { config, database }
    }
}

/// Returns what a claim was that is removed.
fn withdrawn(held: bool) -> Withdrawn {
    if held {
        Withdrawn::Held
    } else {
        Withdrawn::Waiting
    }
}

/// Returns the state of a claim in its queue; `None` if it is not there.
fn standing(queue: &[Entry], claim: ClaimId) -> Option<Standing> {
    let position = queue.iter().position(|entry| entry.claim == claim)?;
    Some(match queue[position].token {
        Some(token) => Standing::Granted { token },
        None => Standing::Waiting {
            position: u32::try_from(position).unwrap_or(u32::MAX),
            holder: holder(queue),
        },
    })
}

fn holder(queue: &[Entry]) -> Option<Box<Entry>> {
    queue.first().cloned().map(Box::new)
}

/// Adds a claim to its queue unless it is there, and returns its state.
fn enqueue(file: &Connection, claim: &Claim, now: Moment) -> Result<Standing, Failure> {
    let gone = Standing::Gone {
        why: Gone::SessionLost,
    };
    if !rows::lives(file, &claim.session)? {
        return Ok(gone);
    }
    let queue = rows::queue(file, claim.name.path(), now)?;
    if let Some(standing) = standing(&queue, claim.id) {
        return Ok(standing);
    }
    if let Some(other) = queue
        .iter()
        .find(|entry| entry.mode.contradicts(claim.mode))
    {
        return Err(Failure::Permits(other.mode));
    }
    let mut run = Run::default();
    let fits = queue.iter().all(|entry| run.admit(entry.mode)) && run.admits(claim.mode);
    if !fits && !claim.waits {
        return Ok(Standing::Busy {
            holder: holder(&queue),
        });
    }
    rows::insert(file, claim, now)?;
    let queue = rows::queue(file, claim.name.path(), now)?;
    Ok(standing(&queue, claim.id).unwrap_or(gone))
}

/// Returns the state of a claim that was in its queue.
fn state(file: &Connection, claim: &Claim, now: Moment) -> Result<Standing, Failure> {
    let queue = rows::queue(file, claim.name.path(), now)?;
    Ok(match standing(&queue, claim.id) {
        Some(standing) => standing,
        None if rows::lives(file, &claim.session)? => Standing::Gone { why: Gone::Evicted },
        None => Standing::Gone {
            why: Gone::SessionLost,
        },
    })
}

#[async_trait]
impl Backend for Sqlite {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("sqlite");
        // A renewal waits for the steps of other processes, each of which writes to the disk.
        capabilities.ttl_min = Duration::from_secs(1);
        // A waiter's thread ends an expired session at its next look.
        capabilities.expiry_slack = self.config.poll + Duration::from_millis(100);
        capabilities.checks_secrets = true;
        capabilities
    }

    fn for_keeper(&self) -> Arc<dyn Backend> {
        Arc::new(Self::new(self.config.clone()))
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        let session = Session {
            id: spec.nonce,
            secret: spec.secret,
            ttl: spec.ttl,
        };
        let step = move |file: &Connection, now: Moment| {
            rows::open(file, &session, now.after(session.ttl))
        };
        self.database.write(step).await?;
        Ok(session)
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        let session = *session;
        let step = move |file: &Connection, now: Moment| {
            rows::renew(file, &session, now.after(session.ttl))
        };
        Ok(match self.database.write(step).await? {
            true => Renewal::Renewed { ttl: session.ttl },
            false => Renewal::Expired,
        })
    }

    async fn close(&self, session: &Session) -> Result<()> {
        let session = *session;
        let step = move |file: &Connection, now| match rows::lives(file, &session)? {
            true => rows::end(file, rows::id(&session), now),
            false => Ok(()),
        };
        self.database.write(step).await
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        let claim = claim.clone();
        self.database
            .write(move |file, now| enqueue(file, &claim, now))
            .await
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        let mut changes = self.database.changes();
        loop {
            let claim = claim.clone();
            let state = self
                .database
                .read(move |file, now| state(file, &claim, now))
                .await?;
            if !matches!(state, Standing::Waiting { .. }) {
                return Ok(state);
            }
            changes.next().await?;
        }
    }

    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool> {
        let claim = claim.clone();
        self.database
            .write(move |file, _| {
                Ok(rows::lives(file, &claim.session)? && rows::update(file, &claim, &value)?)
            })
            .await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        let claim = claim.clone();
        let step = move |file: &Connection, now| {
            if !rows::lives(file, &claim.session)? {
                return Ok(Withdrawn::Absent);
            }
            let removed = rows::remove(file, &claim.name, claim.id, now)?;
            Ok(removed.map_or(Withdrawn::Absent, |(_, held)| withdrawn(held)))
        };
        self.database.write(step).await
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        let name = name.clone();
        let step = move |file: &Connection, now| {
            let Some((session, held)) = rows::remove(file, &name, claim, now)? else {
                return Ok(Withdrawn::Absent);
            };
            rows::note_eviction(file, session, claim)?;
            Ok(withdrawn(held))
        };
        self.database.write(step).await
    }

    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>> {
        let (session, mut changes) = (*session, self.database.changes());
        loop {
            let has_any = move |file: &Connection, _| rows::has_evictions(file, &session);
            if self.database.read(has_any).await? {
                let take = move |file: &Connection, _| rows::take_evictions(file, &session);
                return self.database.write(take).await;
            }
            changes.next().await?;
        }
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        let name = name.clone();
        let step = move |file: &Connection, now| {
            let version = u64::try_from(rows::version(file)?).unwrap_or(0);
            let entries = rows::queue(file, name.path(), now)?;
            Ok(Queue {
                entries,
                revision: Revision(version),
            })
        };
        self.database.read(step).await
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        let mut changes = self.database.changes();
        loop {
            let queue = self.queue(name).await?;
            if queue.revision > after {
                return Ok(queue);
            }
            changes.next().await?;
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        let prefix = prefix.to_owned();
        let paths = self
            .database
            .read(move |file, _| rows::paths(file, &prefix))
            .await?;
        paths.iter().map(|path| LockName::from_path(path)).collect()
    }
}
