//! Claims on Redis: one script a step, on one server.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, ScriptInvocation, Value};
use sync_core::backend::{
    Claim, ClaimId, Entry, Gone, Queue, Renewal, Revision, Session, SessionId, SessionSpec, Standing,
    Withdrawn,
};
use sync_core::{Backend, Capabilities, Error, ErrorKind, LockName, Mode, Result, Token};

use crate::config::{Config, Replicas};
use crate::error::Failure;
use crate::inbox::{Inbox, News};
use crate::scripts::Scripts;
use crate::topology;

/// All keys of the one bucket lie in one hash slot.
const KEYS: &str = "distsync:{0}:";
/// Channels are no keys; they begin alike, so that an ACL can name both.
const CHANNELS: &str = "distsync:{0}:on:";

/// A waiter asks again a little after the holder's session would end.
const GRACE: Duration = Duration::from_millis(3);

/// A backend on a Redis server.
pub struct Redis {
    config: Config,
    scripts: Arc<Scripts>,
    current: Mutex<Option<Line>>,
    /// One dials while the others wait for it.
    dialing: tokio::sync::Mutex<()>,
}

/// One connection, and what is published on it.
#[derive(Clone)]
struct Line {
    connection: MultiplexedConnection,
    inbox: Arc<Inbox>,
    channels: Arc<Mutex<HashSet<String>>>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Redis {
    /// A backend that connects when it is first used.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with(config, Arc::new(Scripts::new()))
    }

    fn with(config: Config, scripts: Arc<Scripts>) -> Self {
        Self { config, scripts, current: Mutex::new(None), dialing: tokio::sync::Mutex::new(()) }
    }

    fn current(&self) -> Option<Line> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|line| !line.inbox.is_lost()).cloned()
    }

    async fn line(&self) -> Result<Line> {
        if let Some(line) = self.current() {
            return Ok(line);
        }
        let _turn = self.dialing.lock().await;
        if let Some(line) = self.current() {
            return Ok(line);
        }
        let line = self.dial().await?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.clone());
        Ok(line)
    }

    async fn dial(&self) -> Result<Line> {
        let inbox = Arc::new(Inbox::default());
        let heard = inbox.clone();
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(topology::STEP))
            // The core bounds every request itself.
            .set_response_timeout(None)
            .set_push_sender(move |push: redis::PushInfo| {
                heard.take(CHANNELS, &push);
                Ok::<(), redis::aio::SendError>(())
            });
        let (connection, address) = topology::connect(&self.config, &key("sessions"), &settings).await?;
        self.warn_of_eviction(connection.clone(), &address).await;
        Ok(Line { connection, inbox, channels: Arc::default() })
    }

    /// A server that may drop any key when its memory is full may drop locks. Who may not ask is not told.
    async fn warn_of_eviction(&self, mut connection: MultiplexedConnection, address: &str) {
        let Ok(memory) = redis::cmd("INFO").arg("memory").query_async::<String>(&mut connection).await else {
            return;
        };
        let policy =
            memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).unwrap_or_default();
        if policy.trim().starts_with("allkeys") {
            tracing::warn!(
                address,
                policy = policy.trim(),
                "this Redis may evict locks when its memory is full: set maxmemory-policy to noeviction or volatile-*"
            );
        }
    }

    /// Runs a script; a connection that breaks is given up.
    async fn run<T: FromRedisValue>(&self, line: &Line, script: &ScriptInvocation<'_>) -> Result<T> {
        let mut connection = line.connection.clone();
        script.invoke_async(&mut connection).await.map_err(|error| {
            if error.is_io_error() || error.is_unrecoverable_error() || topology::is_elsewhere(&error) {
                line.inbox.lose();
            }
            Failure::from(error).into()
        })
    }

    /// Hears what is published on a channel from now on.
    async fn subscribe(&self, line: &Line, channel: String) -> Result<()> {
        if self.hears(line, &channel) {
            return Ok(());
        }
        let mut connection = line.connection.clone();
        connection.subscribe(&channel).await.map_err(Failure::from)?;
        line.channels.lock().unwrap_or_else(PoisonError::into_inner).insert(channel);
        Ok(())
    }

    fn hears(&self, line: &Line, channel: &str) -> bool {
        line.channels.lock().unwrap_or_else(PoisonError::into_inner).contains(channel)
    }

    async fn end(&self, line: &Line, session: &str) -> Result<()> {
        let mut close = self.scripts.close.prepare_invoke();
        close.key(key("sessions")).key(key(&format!("held:{session}"))).arg(session);
        let paths: Vec<String> = self.run(line, &close).await?;
        for path in paths {
            let settle = on_line(&self.scripts.settle, &path);
            let _: i64 = self.run(line, &settle).await?;
        }
        Ok(())
    }

    /// Puts a claim in line or finds it there; `Intent::Look` only finds.
    async fn ask(&self, line: &Line, claim: &Claim, intent: Intent) -> Result<Answer> {
        let (mode, of) = from_mode(claim.mode);
        let mut enqueue = on_line(&self.scripts.enqueue, claim.name.path());
        enqueue
            .arg(claim.id.to_string())
            .arg(claim.session.id.to_string())
            .arg(mode)
            .arg(of)
            .arg(intent as u8)
            .arg(&*claim.client)
            .arg(&claim.value[..]);
        let answer: Vec<Value> = self.run(line, &enqueue).await?;
        match permits_differ(&answer) {
            Some(error) => Err(error),
            None => Ok(read_standing(&answer)?),
        }
    }

    /// A grant that this connection has written, once enough replicas have it; too few, and it is given back.
    async fn replicated(&self, line: &Line, claim: &Claim, token: Token) -> Result<Standing> {
        let Some(Replicas { count, timeout }) = self.config.replicas else {
            return Ok(Standing::Granted { token });
        };
        let mut wait = redis::cmd("WAIT");
        wait.arg(count).arg(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let have: u32 = wait.query_async(&mut line.connection.clone()).await.map_err(Failure::from)?;
        if have >= count {
            return Ok(Standing::Granted { token });
        }
        self.withdraw_as(&claim.name, claim.id, &claim.session.id.to_string()).await?;
        Err(Failure::FewReplicas { have, wanted: count }.into())
    }

    /// A grant that another's release has written. Replicas are waited for after a write of our own, which comes later:
    /// a renewal.
    async fn replicated_by_another(&self, line: &Line, claim: &Claim, token: Token) -> Result<Standing> {
        if self.config.replicas.is_some() && self.renew(&claim.session).await? == Renewal::Expired {
            return Ok(Standing::Gone { why: Gone::SessionLost });
        }
        self.replicated(line, claim, token).await
    }

    async fn withdraw_as(&self, name: &LockName, claim: ClaimId, session: &str) -> Result<Withdrawn> {
        let line = self.line().await?;
        let mut withdraw = on_line(&self.scripts.withdraw, name.path());
        withdraw.arg(claim.to_string()).arg(session);
        let found: String = self.run(&line, &withdraw).await?;
        match found.as_str() {
            "held" => Ok(Withdrawn::Held),
            "waiting" => Ok(Withdrawn::Waiting),
            "absent" => Ok(Withdrawn::Absent),
            other => Err(Failure::Answer(other.to_owned()).into()),
        }
    }
}

/// Where a session hears of its claims.
fn channel(session: SessionId) -> String {
    format!("{CHANNELS}{session}")
}

fn key(what: &str) -> String {
    format!("{KEYS}{what}")
}

/// A script on one name's line, with the keys and the first arguments that all of them have.
fn on_line<'a>(script: &'a redis::Script, path: &str) -> ScriptInvocation<'a> {
    let mut invocation = script.prepare_invoke();
    invocation.key(key("tick")).key(key("sessions")).key(key("names")).arg(path).arg(KEYS);
    invocation
}

fn from_mode(mode: Mode) -> (&'static str, u16) {
    match mode {
        Mode::Exclusive => ("exclusive", 0),
        Mode::Shared => ("shared", 0),
        Mode::Permit { of } => ("permit", of),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What `enqueue.lua` is to do with a claim that is not in line.
#[derive(Clone, Copy)]
enum Intent {
    /// Take the name if it is free.
    Try = 0,
    /// Stand in line.
    Wait = 1,
    /// Nothing: somebody has ended it.
    Look = 2,
}

/// What `enqueue.lua` answers.
enum Answer {
    Is(Standing),
    /// In line; and when the holder's session ends without a renewal.
    Waits {
        standing: Standing,
        expiry: Duration,
    },
}

fn unknown(answer: &[Value]) -> Failure {
    Failure::Answer(format!("{answer:?}"))
}

fn read_standing(answer: &[Value]) -> Result<Answer, Failure> {
    let word = |index: usize| -> Result<String, Failure> {
        let value = answer.get(index).ok_or_else(|| unknown(answer))?;
        Ok(String::from_redis_value_ref(value).map_err(redis::RedisError::from)?)
    };
    let number = |index: usize| word(index)?.parse::<u64>().map_err(|_| unknown(answer));
    Ok(match word(0)?.as_str() {
        "granted" => {
            let token = Token::new(number(1)?).ok_or_else(|| unknown(answer))?;
            Answer::Is(Standing::Granted { token })
        }
        "waiting" => Answer::Waits {
            standing: Standing::Waiting {
                position: u32::try_from(number(1)?).unwrap_or(u32::MAX),
                holder: answer.get(3).and_then(read_entry).map(Box::new),
            },
            expiry: Duration::from_micros(number(2)?),
        },
        "busy" => Answer::Is(Standing::Busy { holder: answer.get(1).and_then(read_entry).map(Box::new) }),
        "evicted" => Answer::Is(Standing::Gone { why: Gone::Evicted }),
        "gone" => Answer::Is(Standing::Gone { why: Gone::SessionLost }),
        _ => return Err(unknown(answer)),
    })
}

fn read_entry(value: &Value) -> Option<Entry> {
    let Value::Array(fields) = value else { return None };
    let text = |index: usize| String::from_redis_value_ref(fields.get(index)?).ok();
    let of = text(3)?.parse().ok()?;
    Some(Entry {
        claim: text(0)?.parse().ok()?,
        age: None,
        is_isolating: false,
        token: text(1)?.parse().ok().and_then(Token::new),
        mode: match text(2)?.as_str() {
            "exclusive" => Mode::Exclusive,
            "shared" => Mode::Shared,
            "permit" => Mode::Permit { of },
            _ => return None,
        },
        client: text(4)?,
        value: Vec::<u8>::from_redis_value_ref(fields.get(5)?).ok()?.into(),
    })
}

fn permits_differ(answer: &[Value]) -> Option<Error> {
    let [Value::BulkString(word), Value::Int(force)] = answer else { return None };
    (word == b"permits").then(|| {
        Error::new(
            ErrorKind::InvalidOption,
            format!(
                "a semaphore of {force} permits is in use under this name: all have to agree on the number"
            ),
        )
        .on("redis")
    })
}

#[async_trait]
impl Backend for Redis {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("redis");
        capabilities.expiry_slack = Duration::from_millis(50);
        // Replication is asynchronous: a fail-over can lose a grant.
        capabilities.durable_grants = false;
        capabilities.survives_restart = true;
        capabilities
    }

    fn twin(&self) -> Arc<dyn Backend> {
        Arc::new(Self::with(self.config.clone(), self.scripts.clone()))
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        let line = self.line().await?;
        let mut open = self.scripts.open.prepare_invoke();
        open.key(key("sessions"))
            .key(key("names"))
            .key(key("sweep"))
            .arg(spec.nonce.to_string())
            .arg(micros(spec.ttl));
        let dead: Vec<String> = self.run(&line, &open).await?;
        for session in dead {
            self.end(&line, &session).await?;
        }
        Ok(Session { id: spec.nonce, secret: spec.secret, ttl: spec.ttl })
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        let line = self.line().await?;
        let mut renew = self.scripts.renew.prepare_invoke();
        renew.key(key("sessions")).arg(session.id.to_string()).arg(micros(session.ttl));
        let lives: bool = self.run(&line, &renew).await?;
        Ok(if lives { Renewal::Renewed { ttl: session.ttl } } else { Renewal::Expired })
    }

    async fn close(&self, session: &Session) -> Result<()> {
        let line = self.line().await?;
        let id = session.id.to_string();
        self.end(&line, &id).await?;
        line.inbox.forget_session(&id);
        Ok(())
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        let line = self.line().await?;
        let intent = if claim.waits { Intent::Wait } else { Intent::Try };
        // Heard from before the claim is in line, so that nobody has to look again.
        let heard = claim.waits && self.hears(&line, &channel(claim.session.id));
        let expecting = if heard { line.inbox.anticipate(claim.id) } else { None };
        match self.ask(&line, claim, intent).await? {
            Answer::Is(Standing::Granted { token }) => self.replicated(&line, claim, token).await,
            Answer::Is(standing) => Ok(standing),
            Answer::Waits { standing, expiry } => {
                if let Some(expecting) = expecting {
                    expecting.keep(expiry);
                }
                Ok(standing)
            }
        }
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        let line = self.line().await?;
        let expecting = line.inbox.expect(claim.id);
        let mut known = expecting.slot.take_expiry();
        self.subscribe(&line, channel(claim.session.id)).await?;
        loop {
            // After subscribing, and after every doubt: the store's word, which also takes the dead out of the way.
            let expiry = match known.take() {
                Some(expiry) => expiry,
                None => match self.ask(&line, claim, Intent::Look).await? {
                    Answer::Is(Standing::Granted { token }) => {
                        return self.replicated_by_another(&line, claim, token).await;
                    }
                    Answer::Is(standing) => return Ok(standing),
                    Answer::Waits { expiry, .. } => expiry,
                },
            };
            // Redis tells nobody that a session has ended, so a waiter asks when the holder's would.
            tokio::select! {
                news = expecting.slot.next() => match news {
                    News::Granted(token) => return self.replicated_by_another(&line, claim, token).await,
                    News::Evicted => return Ok(Standing::Gone { why: Gone::Evicted }),
                    News::Lost => return Err(Failure::Lost.into()),
                },
                () = tokio::time::sleep(expiry + GRACE) => {}
            }
        }
    }

    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool> {
        let line = self.line().await?;
        let session = claim.session.id.to_string();
        let mut update = on_line(&self.scripts.update, claim.name.path());
        update.arg(claim.id.to_string()).arg(&session).arg(&value[..]);
        self.run(&line, &update).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        self.withdraw_as(&claim.name, claim.id, &claim.session.id.to_string()).await
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        self.withdraw_as(name, claim, "*").await
    }

    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>> {
        let line = self.line().await?;
        let id = session.id.to_string();
        let told = line.inbox.listen(&id);
        self.subscribe(&line, channel(session.id)).await?;
        loop {
            let claims = line.inbox.take_evictions(&id);
            if !claims.is_empty() {
                return Ok(claims);
            }
            if line.inbox.is_lost() {
                return Err(Failure::Lost.into());
            }
            told.notified().await;
        }
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        let line = self.line().await?;
        let queue = on_line(&self.scripts.queue, name.path());
        let (revision, entries): (String, Vec<Value>) = self.run(&line, &queue).await?;
        let entries: Option<Vec<Entry>> = entries.iter().map(read_entry).collect();
        let entries = entries.ok_or_else(|| Failure::Answer("a record that is none of ours".to_owned()))?;
        let revision: u64 = revision.parse().map_err(|_| Failure::Answer(revision))?;
        // Where nobody is, the revision is that of the last change of any name. It is odd then, to be told from others.
        Ok(Queue { revision: Revision(revision * 2 + u64::from(entries.is_empty())), entries })
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        let line = self.line().await?;
        let watch = line.inbox.watch(name.path());
        self.subscribe(&line, format!("{CHANNELS}watch:{}", name.path())).await?;
        loop {
            let told = watch.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            let queue = self.queue(name).await?;
            let nobody_as_before = queue.entries.is_empty() && after.0 % 2 == 1;
            if queue.revision > after && !nobody_as_before {
                return Ok(queue);
            }
            if line.inbox.is_lost() {
                return Err(Failure::Lost.into());
            }
            // A holder may die without a word: look now and then.
            tokio::select! {
                () = told => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        let line = self.line().await?;
        let mut list = self.scripts.list.prepare_invoke();
        list.key(key("sessions")).key(key("names")).arg(prefix);
        let mut paths: Vec<String> = self.run(&line, &list).await?;
        paths.sort_unstable();
        paths.iter().map(|path| LockName::from_path(path)).collect()
    }
}
