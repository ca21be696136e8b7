//! Implements claims on one Redis server, with one script call for each step.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use distsync_core::spi::clock::{self, Moment};
use distsync_core::spi::{Backend, locked};
use distsync_core::spi::{
    Claim, ClaimId, Entry, Gone, Queue, Renewal, Revision, Session, SessionId, SessionSpec,
    Standing, Withdrawn,
};
use distsync_core::{Capabilities, Error, LockName, Result, Token};
use redis::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use crate::config::Config;
use crate::connection::{Connection, on_table};
use crate::error::Failure;
use crate::inbox::News;
use crate::keys::Channel;
use crate::scripts::Scripts;
use crate::steps::{Answer, Intent, Step, read_entry, read_standing, read_withdrawn};
use crate::topology::{self, Known};

/// The delay after the expiry of the holder's session before a waiter asks again.
const GRACE: Duration = Duration::from_millis(3);

/// The interval at which an observer reads a queue without notification. Redis does not publish
/// anything when a holder's session expires.
const WATCH_BEAT: Duration = Duration::from_secs(1);
/// The longest time that a dial can take, in connect timeouts: it may be redirected a few times.
/// One that takes longer is on a runtime that is not driven, so another dial is started.
const LONGEST_DIAL: u32 = 5;
/// How long a read marks the name as watched. This is longer than any pause between two reads.
const WATCHED: Duration = Duration::from_secs(5);

/// A backend on a Redis server.
pub struct Redis {
    config: Config,
    scripts: Arc<Scripts>,
    current: Mutex<Option<Arc<Connection>>>,
    known: Arc<Known>,
    /// The dial that all requests wait for while there is no connection.
    dialing: Mutex<Option<Dialing>>,
}

type DialOutcome = Option<Result<Arc<Connection>, Arc<Error>>>;

/// A dial, running in its own task.
struct Dialing {
    started: Moment,
    longest: Duration,
    outcome: watch::Receiver<DialOutcome>,
    _task: JoinSet<()>,
}

impl Dialing {
    fn start(config: &Config, known: &Arc<Known>, scripts: &Arc<Scripts>) -> Self {
        let (config, known, scripts) = (config.clone(), known.clone(), scripts.clone());
        let longest = config.connect_timeout * LONGEST_DIAL;
        let (told, outcome) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let opened = Connection::open(&config, &known, &scripts).await;
            if opened.is_ok() {
                known.count_dial();
            }
            told.send_replace(Some(opened.map(Arc::new).map_err(Arc::new)));
        });
        Self {
            started: clock::now(),
            longest,
            outcome,
            _task: task,
        }
    }

    /// Returns whether the dial is in progress on a runtime that seems to run, or has succeeded
    /// with a connection that still works.
    fn is_of_use(&self) -> bool {
        match &*self.outcome.borrow() {
            Some(Ok(connection)) => !connection.is_lost(),
            Some(Err(_)) => false,
            None => {
                self.outcome.has_changed().is_ok()
                    && clock::now().since(self.started) < self.longest
            }
        }
    }
}

/// Copies an error that several requests share.
fn copy(error: &Arc<Error>) -> Error {
    let mut copied = Error::new(error.kind(), error.message()).with_backend("redis");
    if let Some(source) = std::error::Error::source(error) {
        copied = copied.with_source(source.to_string());
    }
    if error.is_retryable() {
        copied.retryable()
    } else {
        copied
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// Creates a backend. It connects on first use.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let known = Arc::new(Known::new(&config));
        Self::with(config, known, Arc::new(Scripts::new()))
    }

    fn with(config: Config, known: Arc<Known>, scripts: Arc<Scripts>) -> Self {
        Self {
            config,
            scripts,
            known,
            current: Mutex::new(None),
            dialing: Mutex::new(None),
        }
    }

    fn current(&self) -> Option<Arc<Connection>> {
        locked(&self.current)
            .as_ref()
            .filter(|connection| !connection.is_lost())
            .cloned()
    }

    /// Returns whether a grant counts only once replicas have it.
    pub(crate) fn waits_for_replicas(&self) -> bool {
        self.config.replicas.is_some()
    }

    pub(crate) async fn connection(&self) -> Result<Arc<Connection>> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        // Dialing is rare and its future is large. Boxing keeps the future of each request small.
        Box::pin(self.dial()).await
    }

    /// Waits for the dial in progress, or starts one. The dial continues when the request that
    /// started it is cancelled: with a short TTL the timeout of a request can be shorter than a
    /// dial that has to wait for a dead address.
    async fn dial(&self) -> Result<Arc<Connection>> {
        let mut outcome = {
            let mut dialing = locked(&self.dialing);
            match &*dialing {
                Some(under_way) if under_way.is_of_use() => under_way.outcome.clone(),
                _ => {
                    let started = Dialing::start(&self.config, &self.known, &self.scripts);
                    dialing.insert(started).outcome.clone()
                }
            }
        };
        let ended = outcome
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|outcome| outcome.clone());
        // Without an outcome, the runtime of the dial has ended.
        let connection = ended.unwrap_or_else(|| Err(Arc::new(Failure::Lost.into())));
        let connection = connection.map_err(|error| copy(&error))?;
        *locked(&self.current) = Some(connection.clone());
        Ok(connection)
    }

    async fn end(&self, connection: &Connection, session: &str) -> Result<()> {
        let mut close = on_table(&self.scripts.close);
        let paths: Vec<String> = connection.run(close.arg(session)).await?;
        for path in paths {
            let mut settle = on_table(&self.scripts.settle);
            let _: i64 = connection.run(settle.arg(path)).await?;
        }
        Ok(())
    }

    /// Queues a claim, or finds it in the queue. `Intent::Look` only finds it.
    async fn ask(&self, connection: &Connection, claim: &Claim, intent: Intent) -> Result<Answer> {
        let answer = connection.step(Step::enqueue(claim, intent)).await?;
        Ok(read_standing(&answer)?)
    }

    /// Waits until enough replicas have a grant that was written on this connection. Releases the
    /// claim if too few replicas have it.
    async fn replicated(
        &self,
        connection: &Connection,
        claim: &Claim,
        token: Token,
    ) -> Result<Standing> {
        let Some(replicas) = self.config.replicas else {
            return Ok(Standing::Granted { token });
        };
        let have = Box::pin(connection.wait(replicas)).await?;
        if have >= replicas.count {
            return Ok(Standing::Granted { token });
        }
        self.withdraw(claim).await?;
        Err(Failure::FewReplicas {
            have,
            wanted: replicas.count,
        }
        .into())
    }

    /// Waits until enough replicas have a grant that another client's release has written. WAIT
    /// covers only writes of its own connection, so this renews the session first, which is a later
    /// write.
    async fn replicated_by_another(
        &self,
        connection: &Connection,
        claim: &Claim,
        token: Token,
    ) -> Result<Standing> {
        if self.config.replicas.is_some() && self.renew(&claim.session).await? == Renewal::Expired {
            return Ok(Standing::Gone {
                why: Gone::SessionLost,
            });
        }
        self.replicated(connection, claim, token).await
    }

    /// Reads the queue of a name, and marks the name as watched for the given time.
    async fn look(
        &self,
        connection: &Connection,
        name: &LockName,
        watched: Duration,
    ) -> Result<Queue> {
        let mut snapshot = on_table(&self.scripts.snapshot);
        snapshot.arg(name.path()).arg(micros(watched));
        let (revision, entries): (String, Vec<Value>) = connection.run(&snapshot).await?;
        let entries: Option<Vec<Entry>> = entries.iter().map(read_entry).collect();
        let entries =
            entries.ok_or_else(|| Failure::Answer("a record that is not valid".to_owned()))?;
        let revision: u64 = revision.parse().map_err(|_| Failure::Answer(revision))?;
        // The revision of an empty queue is that of the last change of any name. It is made odd, to
        // distinguish it from the revisions of queues that are not empty.
        Ok(Queue {
            revision: Revision(revision * 2 + u64::from(entries.is_empty())),
            entries,
        })
    }

    async fn withdraw_claim(
        &self,
        name: &LockName,
        claim: ClaimId,
        session: Option<SessionId>,
    ) -> Result<Withdrawn> {
        let answer = self
            .connection()
            .await?
            .step(Step::withdraw(name, claim, session))
            .await?;
        Ok(read_withdrawn(&answer)?)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Backend for Redis {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("redis");
        capabilities.expiry_slack = Duration::from_millis(50);
        // Replication is asynchronous, so a fail-over can lose a grant.
        capabilities.durable_grants = false;
        capabilities.survives_restart = true;
        // Lua scripts can read only the wall clock.
        capabilities.sessions_follow_wall_clock = true;
        capabilities
    }

    fn for_keeper(&self) -> Arc<dyn Backend> {
        Arc::new(Self::with(
            self.config.clone(),
            self.known.clone(),
            self.scripts.clone(),
        ))
    }

    fn incarnation(&self) -> u64 {
        self.known.dialed()
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        let connection = self.connection().await?;
        let mut open = on_table(&self.scripts.open);
        open.arg(spec.nonce.to_string()).arg(micros(spec.ttl));
        let dead: Vec<String> = connection.run(&open).await?;
        for session in dead {
            self.end(&connection, &session).await?;
        }
        Ok(Session {
            id: spec.nonce,
            secret: spec.secret,
            ttl: spec.ttl,
        })
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        let connection = self.connection().await?;
        let mut renew = on_table(&self.scripts.renew);
        renew.arg(session.id.to_string()).arg(micros(session.ttl));
        let replaced = topology::is_replaced(
            &self.config,
            &self.known,
            connection.server(),
            session.ttl / 6,
        );
        let (lives, is_replaced) = tokio::join!(connection.run::<bool>(&renew), replaced);
        if is_replaced {
            info!(
                server = connection.server(),
                "the Sentinels name another primary: leaving this server"
            );
            self.known.leave(connection.server());
            return Err(Failure::Demoted.into());
        }
        let lives = lives?;
        Ok(if lives {
            Renewal::Renewed { ttl: session.ttl }
        } else {
            Renewal::Expired
        })
    }

    async fn close(&self, session: &Session) -> Result<()> {
        let connection = self.connection().await?;
        let id = session.id.to_string();
        self.end(&connection, &id).await
    }

    fn forget(&self, session: &Session) {
        self.known.forget(session.id);
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        let connection = self.connection().await?;
        let intent = if claim.waits {
            Intent::Wait
        } else {
            Intent::Try
        };
        // If the channel was subscribed to before the claim is queued, no message can be missed,
        // and the waiter need not ask again.
        let is_subscribed =
            claim.waits && connection.is_subscribed(&Channel::Session(claim.session.id));
        let mark = is_subscribed.then(|| connection.inbox().mark());
        match self.ask(&connection, claim, intent).await? {
            Answer::Is(Standing::Granted { token }) => {
                self.replicated(&connection, claim, token).await
            }
            Answer::Is(standing) => Ok(standing),
            Answer::Waits { standing, expiry } => {
                let expecting =
                    mark.and_then(|mark| connection.inbox().expect_since(claim.id, mark));
                if let Some(expecting) = expecting {
                    expecting.keep(expiry);
                }
                Ok(standing)
            }
        }
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        let connection = self.connection().await?;
        let expecting = connection.inbox().expect(claim.id);
        let mut known = expecting.slot.take_expiry();
        connection
            .subscribe(Channel::Session(claim.session.id))
            .await?;
        loop {
            // Ask the server after subscribing and after each timeout. This also removes holders
            // whose sessions have expired.
            let expiry = match known.take() {
                Some(expiry) => expiry,
                None => match self.ask(&connection, claim, Intent::Look).await? {
                    Answer::Is(Standing::Granted { token }) => {
                        return self.replicated_by_another(&connection, claim, token).await;
                    }
                    Answer::Is(standing) => return Ok(standing),
                    Answer::Waits { expiry, .. } => expiry,
                },
            };
            // Redis does not publish the expiry of a session, so a waiter asks when the holder's
            // session would expire.
            tokio::select! {
                news = connection.at_home(expecting.slot.next()) => match news? {
                    News::Granted(token) => return self.replicated_by_another(&connection, claim, token).await,
                    News::Evicted => return Ok(Standing::Gone { why: Gone::Evicted }),
                    News::Lost => return Err(Failure::Lost.into()),
                },
                () = tokio::time::sleep(expiry + GRACE) => {}
            }
        }
    }

    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool> {
        let connection = self.connection().await?;
        let mut update = on_table(&self.scripts.update);
        update
            .arg(claim.name.path())
            .arg(claim.id.to_string())
            .arg(claim.session.id.to_string())
            .arg(&value[..]);
        connection.run(&update).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        self.withdraw_claim(&claim.name, claim.id, Some(claim.session.id))
            .await
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        self.withdraw_claim(name, claim, None).await
    }

    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>> {
        let connection = self.connection().await?;
        let id = session.id.to_string();
        let told = connection.inbox().listen(&id);
        connection.subscribe(Channel::Session(session.id)).await?;
        loop {
            let claims = connection.inbox().take_evictions(&id);
            if !claims.is_empty() {
                return Ok(claims);
            }
            if connection.is_lost() {
                return Err(Failure::Lost.into());
            }
            told.notified().await;
        }
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        self.look(&*self.connection().await?, name, Duration::ZERO)
            .await
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        let connection = self.connection().await?;
        let watch = connection.watch(name).await?;
        loop {
            let told = watch.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            let queue = self.look(&connection, name, WATCHED).await?;
            let is_still_empty = queue.entries.is_empty() && after.0 % 2 == 1;
            if queue.revision > after && !is_still_empty {
                return Ok(queue);
            }
            if connection.is_lost() {
                return Err(Failure::Lost.into());
            }
            tokio::select! {
                () = told => {}
                () = tokio::time::sleep(WATCH_BEAT) => {}
            }
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        let connection = self.connection().await?;
        let mut list = on_table(&self.scripts.list);
        let mut paths: Vec<String> = connection.run(list.arg(prefix)).await?;
        paths.sort_unstable();
        paths.iter().map(|path| LockName::from_path(path)).collect()
    }
}
