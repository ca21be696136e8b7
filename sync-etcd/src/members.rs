//! Which member of the cluster is asked, and what is watched by it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use distsync_core::LockName;
use distsync_core::spi::home::Turns;
use distsync_core::spi::locked;
use etcd_client::{Client, Txn};
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connection::{Connection, Done};
use crate::error::Failure;
use crate::watch::Watch;

/// The members, of which one serves at a time: the next one once it does not any more.
#[derive(Debug)]
pub(crate) struct Members {
    config: Config,
    current: Mutex<Option<Arc<Connection>>>,
    /// One connects while the others wait for it.
    connecting: Turns,
    shared: Arc<Shared>,
    /// Owns the tasks that drive the watches; each ends with its stream.
    tasks: TaskTracker,
}

/// What a backend and its twin share.
#[derive(Debug, Default)]
struct Shared {
    /// The endpoint to begin with: the one that served last.
    preferred: AtomicUsize,
    /// One watch a namespace, driven by whoever needed it first.
    watches: Mutex<HashMap<String, Arc<Watch>>>,
    /// One opens a watch while the others wait for it.
    opening: Turns,
}

impl Members {
    /// Connects when it is first used.
    pub(crate) fn new(config: Config) -> Self {
        Self::with(config, Arc::default())
    }

    fn with(config: Config, shared: Arc<Shared>) -> Self {
        Self {
            config,
            current: Mutex::default(),
            connecting: Turns::default(),
            shared,
            tasks: TaskTracker::new(),
        }
    }

    /// The same members, over a connection of its own.
    pub(crate) fn for_keeper(&self) -> Self {
        Self::with(self.config.clone(), self.shared.clone())
    }

    async fn connection(&self) -> Result<Arc<Connection>, Failure> {
        if let Some(connection) = &*locked(&self.current) {
            return Ok(connection.clone());
        }
        // Rare, and large: boxed, so that each call does not carry room for it.
        Box::pin(self.connect()).await
    }

    async fn connect(&self) -> Result<Arc<Connection>, Failure> {
        let _turn = self.connecting.turn().await?;
        if let Some(connection) = &*locked(&self.current) {
            return Ok(connection.clone());
        }
        let preferred = self.shared.preferred.load(Ordering::Relaxed);
        let connection = Arc::new(Connection::open(&self.config, preferred, &self.tasks).await?);
        self.shared.preferred.store(connection.endpoint, Ordering::Relaxed);
        *locked(&self.current) = Some(connection.clone());
        Ok(connection)
    }

    /// Makes one request of a client. Another member is asked from the next one on if this one does not serve.
    pub(crate) async fn ask<T, E: Into<Failure>, F: Future<Output = Result<T, E>>>(
        &self,
        request: impl FnOnce(Client) -> F,
    ) -> Result<T, Failure> {
        let connection = self.connection().await?;
        let answer = connection.answer(request(connection.client().clone())).await;
        self.leave_if_out_of_service(&connection, &answer);
        answer
    }

    /// Does one step of a name.
    pub(crate) async fn transact(&self, name: &LockName, txn: Txn) -> Result<Done, Failure> {
        let connection = self.connection().await?;
        let done = connection.answer(connection.step(name, txn)).await;
        self.leave_if_out_of_service(&connection, &done);
        done
    }

    fn leave_if_out_of_service<T>(&self, connection: &Arc<Connection>, answer: &Result<T, Failure>) {
        let Err(failure) = answer else { return };
        if !failure.is_out_of_service() {
            return;
        }
        if locked(&self.current).take_if(|current| Arc::ptr_eq(current, connection)).is_none() {
            return;
        }
        let next = (connection.endpoint + 1) % self.config.endpoints.len();
        let _ = self.shared.preferred.compare_exchange(
            connection.endpoint,
            next,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        // A watch by a member that stands still says nothing either.
        if let Failure::Silent | Failure::Connection(_) = failure {
            let watches = std::mem::take(&mut *locked(&self.shared.watches));
            watches.values().for_each(|watch| watch.lose());
        }
    }

    /// The watch of a namespace, by the prefix of its keys.
    pub(crate) async fn watch(&self, prefix: &str) -> Result<Arc<Watch>, Failure> {
        let current = || locked(&self.shared.watches).get(prefix).filter(|watch| !watch.is_lost()).cloned();
        if let Some(watch) = current() {
            return Ok(watch);
        }
        let _turn = self.shared.opening.turn().await?;
        if let Some(watch) = current() {
            return Ok(watch);
        }
        let (watch, stream) = self.ask(|client| Watch::open(client.watch_client(), prefix)).await?;
        self.tasks.spawn(watch.clone().drive(stream));
        locked(&self.shared.watches).insert(prefix.to_owned(), watch.clone());
        Ok(watch)
    }
}
