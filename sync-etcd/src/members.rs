//! Chooses the member of the cluster that serves requests and watches.

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

/// The members of the cluster. One of them serves all requests until it fails, then the next one
/// does.
#[derive(Debug)]
pub(crate) struct Members {
    config: Config,
    current: Mutex<Option<Arc<Connection>>>,
    /// Lets one request connect while the others wait for its connection.
    connecting: Turns,
    shared: Arc<Shared>,
    /// Owns the tasks that drive the watches; each ends with its stream.
    tasks: TaskTracker,
}

/// The state that a backend shares with its keeper instance.
#[derive(Debug, Default)]
struct Shared {
    /// The endpoint to try first: the one that served last.
    preferred: AtomicUsize,
    /// One watch for each namespace. The backend that needed it first owns its task.
    watches: Mutex<HashMap<String, Arc<Watch>>>,
    /// Lets one request open a watch while the others wait for it.
    opening: Turns,
}

impl Members {
    /// Creates the members without connecting. The first request connects.
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

    /// Returns the same members with a connection of their own.
    pub(crate) fn for_keeper(&self) -> Self {
        Self::with(self.config.clone(), self.shared.clone())
    }

    /// Returns whether this client authenticates itself.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.config.has_permissions()
    }

    async fn connection(&self) -> Result<Arc<Connection>, Failure> {
        if let Some(connection) = &*locked(&self.current) {
            return Ok(connection.clone());
        }
        // Connecting is rare and its future is large. Boxing keeps the future of each request
        // small.
        Box::pin(self.connect()).await
    }

    async fn connect(&self) -> Result<Arc<Connection>, Failure> {
        let _turn = self.connecting.turn().await?;
        if let Some(connection) = &*locked(&self.current) {
            return Ok(connection.clone());
        }
        let preferred = self.shared.preferred.load(Ordering::Relaxed);
        let connection = Arc::new(Connection::open(&self.config, preferred, &self.tasks).await?);
        self.shared
            .preferred
            .store(connection.endpoint, Ordering::Relaxed);
        *locked(&self.current) = Some(connection.clone());
        Ok(connection)
    }

    /// Sends one request to the current member. If the member is out of service, later requests go
    /// to the next member.
    pub(crate) async fn ask<T, E: Into<Failure>, F: Future<Output = Result<T, E>>>(
        &self,
        request: impl FnOnce(Client) -> F,
    ) -> Result<T, Failure> {
        let connection = self.connection().await?;
        let answer = connection
            .answer(request(connection.client().clone()))
            .await;
        self.judged(&connection, answer)
    }

    /// Renews a lease.
    pub(crate) async fn keep_alive(&self, lease: i64) -> Result<(), Failure> {
        let renew = async |client: Client| client.lease_client().keep_alive(lease).await;
        let (requests, mut replies) = self.ask(renew).await?;
        // Let etcd end the stream. Dropping it would reset it, and the client of HTTP/2 closes a
        // connection on which it finds too many replies to streams that were reset.
        drop(requests);
        self.tasks
            .spawn(async move { while let Ok(Some(_)) = replies.message().await {} });
        Ok(())
    }

    /// Executes one step of a name.
    pub(crate) async fn transact(&self, name: &LockName, txn: Txn) -> Result<Done, Failure> {
        let connection = self.connection().await?;
        let (serving, name) = (connection.clone(), name.clone());
        let step = async move { serving.answer(serving.step(name, txn)).await };
        // etcd does not execute all requests that are cancelled on their way. For a claim whose
        // caller was cancelled, the keeper would repeat the withdrawal for a quarter of an hour.
        let done = connection.to_its_end(step).await;
        self.judged(&connection, done)
    }

    /// Leaves the connection if its answer shows that it cannot serve, and returns the answer.
    fn judged<T>(
        &self,
        connection: &Arc<Connection>,
        answer: Result<T, Failure>,
    ) -> Result<T, Failure> {
        let answer = answer.map_err(|failure| {
            if failure.is_rejected_login() && connection.has_old_password(&self.config) {
                Failure::OldPassword
            } else {
                failure
            }
        });
        self.leave_if_out_of_service(connection, &answer);
        answer
    }

    fn leave_if_out_of_service<T>(
        &self,
        connection: &Arc<Connection>,
        answer: &Result<T, Failure>,
    ) {
        let Err(failure) = answer else { return };
        if !failure.is_out_of_service() {
            return;
        }
        if locked(&self.current)
            .take_if(|current| Arc::ptr_eq(current, connection))
            .is_none()
        {
            return;
        }
        let next = (connection.endpoint + 1) % self.config.endpoints.len();
        let _ = self.shared.preferred.compare_exchange(
            connection.endpoint,
            next,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        // A watch on a member that does not respond reports nothing either.
        if let Failure::Silent | Failure::Connection(_) = failure {
            let watches = std::mem::take(&mut *locked(&self.shared.watches));
            watches.values().for_each(|watch| watch.lose());
        }
    }

    /// Returns the watch of a namespace, given the prefix of its keys. Opens it if necessary.
    pub(crate) async fn watch(&self, prefix: &str) -> Result<Arc<Watch>, Failure> {
        let current = || {
            locked(&self.shared.watches)
                .get(prefix)
                .filter(|watch| !watch.is_lost())
                .cloned()
        };
        if let Some(watch) = current() {
            return Ok(watch);
        }
        let _turn = self.shared.opening.turn().await?;
        if let Some(watch) = current() {
            return Ok(watch);
        }
        let (watch, stream) = self
            .ask(|client| Watch::open(client.watch_client(), prefix))
            .await?;
        self.tasks.spawn(watch.clone().drive(stream));
        locked(&self.shared.watches).insert(prefix.to_owned(), watch.clone());
        Ok(watch)
    }
}
