//! A connection to the primary, for requests and subscriptions.

use std::sync::Arc;

use distsync_core::spi::batch::{BatchTransport, Batcher};
use distsync_core::spi::home::Home;
use distsync_core::{LockName, Result};
use redis::{
    Cmd, ErrorKind, FromRedisValue, RedisResult, ScriptInvocation, ServerErrorKind, Value,
};
use tokio::sync::Notify;
use tracing::debug;

use crate::config::{Config, Replicas};
use crate::error::{Failure, is_replica};
use crate::inbox::Inbox;
use crate::keys::{Channel, TABLE};
use crate::resp::{self, Words};
use crate::scripts::Scripts;
use crate::steps::{Step, refusal};
use crate::subscriptions::Subscriptions;
use crate::topology::{self, Known};
use crate::wire::Wire;

/// A connection. It cannot be used any more once it is [lost](Self::is_lost).
pub(crate) struct Connection {
    transport: Transport,
    subscriptions: Arc<Subscriptions>,
    steps: Batcher<Transport>,
    /// The runtime on which the tasks of this connection run.
    home: Home,
    /// `host:port` of the server.
    server: String,
}

/// Sends commands and batches of steps.
#[derive(Clone)]
struct Transport {
    wire: Wire,
    scripts: Arc<Scripts>,
    /// The first arguments of a command that runs steps.
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

    /// Marks the connection as lost if an error shows that it is broken, or no longer to the
    /// primary.
    fn noting<T>(&self, result: RedisResult<T>) -> Result<T, Failure> {
        Ok(result.inspect_err(|error| {
            if error.is_io_error()
                || error.is_unrecoverable_error()
                || topology::is_elsewhere(error)
            {
                self.wire.inbox().lose();
            }
        })?)
    }

    /// Runs steps in one script call. Returns the reply to a single step, or a list of replies.
    async fn run_steps(&self, steps: &[Step]) -> Result<Value, Failure> {
        let ask = || {
            let words = std::iter::once(&self.run).chain(steps.iter().map(Step::words));
            self.wire.ask(|to| resp::write_command(to, words))
        };
        let mut answer = ask().await;
        if matches!(&answer, Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
        {
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

/// Prepares a call of a script with the key that all scripts take.
pub(crate) fn on_table(script: &redis::Script) -> ScriptInvocation<'_> {
    script.key(TABLE)
}

impl Connection {
    pub(crate) async fn open(
        config: &Config,
        known: &Known,
        scripts: &Arc<Scripts>,
    ) -> Result<Self> {
        let (wire, server) = topology::connect(config, known, TABLE).await?;
        let subscriptions = Arc::new(Subscriptions::new(wire.clone()));
        known.opened(&server, &subscriptions);
        warn_of_eviction(wire.clone(), &server).await;
        // Load the script now, so that the first steps need not be sent twice. A missing permission
        // is reported when a step finds that the script is not loaded.
        let _ = scripts.steps.load_async(&mut wire.clone()).await;
        let transport = Transport::new(wire, scripts.clone());
        let home = Home::here()?;
        Ok(Self {
            steps: Batcher::start(transport.clone()),
            transport,
            subscriptions,
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

    /// Waits for a result of this connection's tasks. The connection is lost if their runtime is
    /// not driven.
    pub(crate) async fn at_home<T>(&self, request: impl Future<Output = T>) -> Result<T> {
        self.home
            .answer(request)
            .await
            .inspect_err(|_| self.inbox().lose())
    }

    /// Executes one step of a claim, batched with those of other tasks.
    pub(crate) async fn step(&self, step: Step) -> Result<Value> {
        let answer = self
            .at_home(self.steps.ask(step))
            .await?
            .unwrap_or(Err(Failure::Lost))?;
        if let Some(detail) = refusal(&answer).filter(|detail| is_replica(detail)) {
            debug!(detail, "the server became a replica");
            self.inbox().lose();
        }
        Ok(answer)
    }

    /// Runs a script that is not batched.
    pub(crate) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        let mut wire = self.transport.wire.clone();
        Ok(self
            .transport
            .noting(self.at_home(script.invoke_async(&mut wire)).await?)?)
    }

    /// Waits until the wanted number of replicas have all writes of this connection, or for the
    /// timeout. Returns the number of replicas that have them.
    pub(crate) async fn wait(&self, replicas: Replicas) -> Result<u32> {
        let mut wait = Cmd::new();
        wait.arg("WAIT")
            .arg(replicas.count)
            .arg(u64::try_from(replicas.timeout.as_millis()).unwrap_or(u64::MAX));
        self.command(&wait).await
    }

    /// Executes a command that is no step of a claim.
    pub(crate) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let mut wire = self.transport.wire.clone();
        Ok(self
            .at_home(command.query_async(&mut wire))
            .await?
            .map_err(Failure::from)?)
    }

    /// Subscribes to a channel.
    pub(crate) async fn subscribe(&self, channel: Channel) -> Result<()> {
        Ok(self.at_home(self.subscriptions.add(channel)).await??)
    }

    pub(crate) fn is_subscribed(&self, channel: &Channel) -> bool {
        self.subscriptions.has(channel)
    }

    /// Subscribes to the changes of a name's queue. The subscription lasts at least as long as
    /// there is a reference to the returned notification.
    pub(crate) async fn watch(&self, name: &LockName) -> Result<Arc<Notify>> {
        let told = self.subscriptions.watch(name);
        self.subscribe(Channel::Watch(name.path().to_owned()))
            .await?;
        Ok(told)
    }
}

/// Warns if the server may evict keys, and so locks, when its memory is full. Does nothing if the
/// user lacks the permission to ask.
async fn warn_of_eviction(mut wire: Wire, address: &str) {
    let Ok(memory) = redis::cmd("INFO")
        .arg("memory")
        .query_async::<String>(&mut wire)
        .await
    else {
        return;
    };
    let policy = memory
        .lines()
        .find_map(|line| line.strip_prefix("maxmemory_policy:"))
        .unwrap_or_default();
    if policy.trim().starts_with("allkeys") {
        tracing::warn!(
            address,
            policy = policy.trim(),
            "this Redis may evict locks when its memory is full: set maxmemory-policy to noeviction or volatile-*"
        );
    }
}
