//! One connection to the server that takes our writes: what is asked on it, and what is heard on it.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use foldhash::fast::RandomState;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, RedisResult, ScriptInvocation, ServerErrorKind,
    Value,
};
use sync_core::backend::SessionId;
use sync_core::batch::Batcher;
use sync_core::{LockName, Result};

use crate::config::{Config, Replicas};
use crate::error::Failure;
use crate::inbox::{Inbox, locked};
use crate::scripts::Scripts;
use crate::steps::Step;
use crate::topology;

/// All keys lie in one hash slot.
const TABLE: &str = "distsync:{0}:table";
/// Channels are no keys; they begin alike, so that an ACL can name both.
const CHANNELS: &str = "distsync:{0}:on:";

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
    wire: Wire,
    heard: Mutex<HashSet<Channel, RandomState>>,
    steps: Batcher<Step, Result<Value, Failure>>,
}

#[derive(Clone)]
struct Wire {
    connection: MultiplexedConnection,
    inbox: Arc<Inbox>,
}

impl Wire {
    /// Runs a script.
    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Failure> {
        let mut connection = self.connection.clone();
        self.noting(script.invoke_async(&mut connection).await)
    }

    /// A connection that breaks is given up.
    fn noting<T>(&self, result: RedisResult<T>) -> Result<T, Failure> {
        Ok(result.inspect_err(|error| {
            if error.is_io_error() || error.is_unrecoverable_error() || topology::is_elsewhere(error) {
                self.inbox.lose();
            }
        })?)
    }

    /// Runs steps together, and gives the answer to each.
    async fn carry(mut self, scripts: Arc<Scripts>, steps: Vec<Step>) -> Vec<Result<Value, Failure>> {
        let mut command = Cmd::new();
        command.arg("EVALSHA").arg(scripts.steps.get_hash()).arg(1).arg(TABLE);
        steps.iter().for_each(|step| step.add_to(&mut command));
        let mut answer = command.query_async::<Vec<Value>>(&mut self.connection).await;
        if matches!(&answer, Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            answer = match scripts.steps.load_async(&mut self.connection).await {
                Ok(_) => command.query_async(&mut self.connection).await,
                Err(error) => Err(error),
            };
        }
        match self.noting(answer) {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(failure) => steps.iter().map(|_| Err(failure.clone())).collect(),
        }
    }
}

/// A script, with the key that all of them have.
pub(crate) fn on_table(script: &redis::Script) -> ScriptInvocation<'_> {
    script.key(TABLE)
}

impl Connection {
    pub(crate) async fn open(config: &Config, scripts: &Arc<Scripts>) -> Result<Self> {
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
        let (connection, address) = topology::connect(config, TABLE, &settings).await?;
        warn_of_eviction(connection.clone(), &address).await;
        let wire = Wire { connection, inbox };
        let (carrying, scripts) = (wire.clone(), scripts.clone());
        let steps = Batcher::start(move |steps| carrying.clone().carry(scripts.clone(), steps));
        Ok(Self { wire, heard: Mutex::default(), steps })
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.wire.inbox.is_lost()
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.wire.inbox
    }

    /// A step of a claim, carried with those of others.
    pub(crate) async fn step(&self, step: Step) -> Result<Value, Failure> {
        self.steps.ask(step).await.unwrap_or(Err(Failure::Lost))
    }

    /// Runs any other script.
    pub(crate) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        Ok(self.wire.run(script).await?)
    }

    /// How many replicas have what this connection has written, after waiting for as many as are wanted.
    pub(crate) async fn wait(&self, replicas: Replicas) -> Result<u32> {
        let mut wait = Cmd::new();
        wait.arg("WAIT")
            .arg(replicas.count)
            .arg(u64::try_from(replicas.timeout.as_millis()).unwrap_or(u64::MAX));
        Ok(wait.query_async(&mut self.wire.connection.clone()).await.map_err(Failure::from)?)
    }

    /// Hears from now on what is published on a channel.
    pub(crate) async fn subscribe(&self, channel: Channel) -> Result<()> {
        if !self.hears(&channel) {
            let mut connection = self.wire.connection.clone();
            connection.subscribe(channel.to_string()).await.map_err(Failure::from)?;
            locked(&self.heard).insert(channel);
        }
        Ok(())
    }

    pub(crate) fn hears(&self, channel: &Channel) -> bool {
        locked(&self.heard).contains(channel)
    }
}

/// A server that may drop any key when its memory is full may drop locks. Who may not ask is not told.
async fn warn_of_eviction(mut connection: MultiplexedConnection, address: &str) {
    let Ok(memory) = redis::cmd("INFO").arg("memory").query_async::<String>(&mut connection).await else {
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
