//! One connection to the server that takes our writes: what is asked on it, and what is heard on it.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use distsync_core::spi::SessionId;
use distsync_core::spi::batch::{BatchTransport, Batcher};
use distsync_core::spi::home::Home;
use distsync_core::spi::locked;
use distsync_core::{LockName, Result};
use foldhash::fast::RandomState;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, ScriptInvocation, ServerErrorKind, Value};
use tracing::debug;

use crate::config::{Config, Replicas};
use crate::error::{Failure, is_replica};
use crate::inbox::Inbox;
use crate::resp::{self, Words};
use crate::scripts::Scripts;
use crate::steps::{Step, refusal};
use crate::topology::{self, Known};
use crate::wire::Wire;

/// All keys lie in one hash slot.
const TABLE: &str = "distsync:{0}:table";
/// Channels are no keys; they begin alike, so that an ACL can name both.
pub(crate) const CHANNELS: &str = "distsync:{0}:on:";

/// What can be heard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Channel {
    /// What becomes of a session's claims.
    Session(SessionId),
    /// That the line of a name has changed.
    Watch(LockName),
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session) => write!(f, "{CHANNELS}{session}"),
            Self::Watch(name) => write!(f, "{CHANNELS}watch:{}", name.path()),
        }
    }
}

/// A connection. It is of no more use once it is [lost](Self::is_lost).
pub(crate) struct Connection {
    transport: Transport,
    heard: Mutex<HashSet<Channel, RandomState>>,
    steps: Batcher<Transport>,
    /// Where the tasks of this connection run.
    home: Home,
    /// `host:port` of the server.
    server: String,
}

/// What commands and steps travel by.
#[derive(Clone)]
struct Transport {
    wire: Wire,
    scripts: Arc<Scripts>,
    /// What a run of steps begins with.
    run: Words,
}

impl Transport {
    fn new(wire: Wire, scripts: Arc<Scripts>) -> Self {
        let mut run = Words::default();
        for word in ["EVALSHA", scripts.steps.get_hash(), "1", TABLE] {
            run.word(word.as_bytes());
        }
        Self { wire, scripts, run }
    }

    /// A connection that breaks is given up.
    fn noting<T>(&self, result: RedisResult<T>) -> Result<T, Failure> {
        Ok(result.inspect_err(|error| {
            if error.is_io_error() || error.is_unrecoverable_error() || topology::is_elsewhere(error) {
                self.wire.inbox().lose();
            }
        })?)
    }

    /// Runs steps in one script: the answer to one, or a list of several.
    async fn run_steps(&self, steps: &[Step]) -> Result<Value, Failure> {
        let ask = || {
            let words = std::iter::once(&self.run).chain(steps.iter().map(Step::words));
            self.wire.ask(|to| resp::write_command(to, words))
        };
        let mut answer = ask().await;
        if matches!(&answer, Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            answer = match self.scripts.steps.load_async(&mut self.wire.clone()).await {
                Ok(_) => ask().await,
                Err(error) => Err(error),
            };
        }
        self.noting(answer)
    }
}

impl BatchTransport for Transport {
    type Request = Step;
    type Answer = Result<Value, Failure>;

    async fn send_all(&self, steps: Vec<Step>) -> Vec<Self::Answer> {
        let failure = match self.run_steps(&steps).await {
            Ok(Value::Array(answers)) if answers.len() == steps.len() => {
                return answers.into_iter().map(Ok).collect();
            }
            Ok(other) => Failure::Answer(format!("{other:?}")),
            Err(failure) => failure,
        };
        steps.iter().map(|_| Err(failure.clone())).collect()
    }

    async fn send(&self, step: Step) -> Self::Answer {
        self.run_steps(&[step]).await
    }
}

/// A script, with the key that all of them have.
pub(crate) fn on_table(script: &redis::Script) -> ScriptInvocation<'_> {
    script.key(TABLE)
}

impl Connection {
    pub(crate) async fn open(config: &Config, known: &Known, scripts: &Arc<Scripts>) -> Result<Self> {
        let (wire, server) = topology::connect(config, known, TABLE).await?;
        known.opened(&server, wire.inbox());
        warn_of_eviction(wire.clone(), &server).await;
        // So that the first steps need not be sent again. Who may not load it is told so when it is missing.
        let _ = scripts.steps.load_async(&mut wire.clone()).await;
        let transport = Transport::new(wire, scripts.clone());
        let home = Home::here()?;
        Ok(Self {
            steps: Batcher::start(transport.clone()),
            transport,
            heard: Mutex::default(),
            home,
            server,
        })
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.inbox().is_lost()
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        self.transport.wire.inbox()
    }

    /// Waits for something that the tasks of this connection bring. It is lost if they do not run.
    pub(crate) async fn at_home<T>(&self, request: impl Future<Output = T>) -> Result<T> {
        self.home.answer(request).await.inspect_err(|_| self.inbox().lose())
    }

    /// A step of a claim, carried with those of others.
    pub(crate) async fn step(&self, step: Step) -> Result<Value> {
        let answer = self.at_home(self.steps.ask(step)).await?.unwrap_or(Err(Failure::Lost))?;
        if let Some(detail) = refusal(&answer).filter(|detail| is_replica(detail)) {
            debug!(detail, "the server became a replica");
            self.inbox().lose();
        }
        Ok(answer)
    }

    /// Runs any other script.
    pub(crate) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        let mut wire = self.transport.wire.clone();
        Ok(self.transport.noting(self.at_home(script.invoke_async(&mut wire)).await?)?)
    }

    /// How many replicas have what this connection has written, after waiting for as many as are wanted.
    pub(crate) async fn wait(&self, replicas: Replicas) -> Result<u32> {
        let mut wait = Cmd::new();
        wait.arg("WAIT")
            .arg(replicas.count)
            .arg(u64::try_from(replicas.timeout.as_millis()).unwrap_or(u64::MAX));
        let mut wire = self.transport.wire.clone();
        Ok(self.at_home(wait.query_async(&mut wire)).await?.map_err(Failure::from)?)
    }

    /// Hears from now on what is published on a channel.
    pub(crate) async fn subscribe(&self, channel: Channel) -> Result<()> {
        if !self.hears(&channel) {
            let name = channel.to_string();
            self.at_home(self.transport.wire.subscribe(&name)).await?.map_err(Failure::from)?;
            locked(&self.heard).insert(channel);
        }
        Ok(())
    }

    pub(crate) fn hears(&self, channel: &Channel) -> bool {
        locked(&self.heard).contains(channel)
    }
}

/// A server that may drop any key when its memory is full may drop locks. Who may not ask is not told.
async fn warn_of_eviction(mut wire: Wire, address: &str) {
    let Ok(memory) = redis::cmd("INFO").arg("memory").query_async::<String>(&mut wire).await else {
        return;
    };
    let policy = memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).unwrap_or_default();
    if policy.trim().starts_with("allkeys") {
        tracing::warn!(
            address,
            policy = policy.trim(),
            "this Redis may evict locks when its memory is full: set maxmemory-policy to noeviction or volatile-*"
        );
    }
}
