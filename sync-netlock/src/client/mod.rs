//! The client of a netlock server. It keeps one pipelined connection, and makes a new one when the
//! connection breaks. All configured addresses lead to the same server, or to the members of one
//! cluster. The client follows the leader of a cluster.
//!
//! Sessions belong to the server and outlast connections. A new connection attaches to a session,
//! by its secret, before the first request that names it. The client repeats no request: the core
//! retries, which is safe because requests carry ids.

mod admin;
mod call;
mod cluster;
mod config;
mod connection;
mod dial;
#[cfg(all(test, feature = "server"))]
mod tests;

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use distsync_core::spi::home::Turns;
use distsync_core::spi::{Backend, ClaimId, Departure, Session, SessionId, locked};
use distsync_core::{Capabilities, Result};
use tokio_util::task::TaskTracker;

pub use admin::Admin;
#[cfg(feature = "program")]
pub(crate) use config::parse_table;
pub use config::{Config, DEFAULT_PORT};

use crate::backend::{Netlock, Transport};
use crate::engine::{Command, Reply};
use call::Call;
use connection::Connection;

/// A client of a netlock server.
#[derive(Debug)]
pub struct Client {
    config: Arc<Config>,
    current: Mutex<Option<Arc<Connection>>>,
    /// Lets one caller connect while the others wait for it.
    dialing: Turns,
    /// The address of the last connection, which is tried first.
    preferred: Mutex<Option<String>>,
    /// The cluster, once a member has answered. Shared with the client of the session keeper.
    cluster: Arc<KnownCluster>,
    /// Whether the table survives a restart of the server. Unknown, and false, until the first
    /// connection. Shared with the client of the session keeper.
    is_durable: Arc<AtomicBool>,
    /// The last `Welcome.incarnation`, which changes when the server may have lost claims. Shared
    /// with the client of the session keeper.
    incarnation: Arc<AtomicU64>,
    /// Sessions that have ended, and that the connection may have numbers for.
    ended: Ended,
    /// In the client of the session keeper: the same of the client of the callers.
    ended_for_callers: Option<Ended>,
    /// Owns the driver tasks of the connections. Each ends with its connection.
    tasks: TaskTracker,
}

/// Sessions that have ended.
type Ended = Arc<Mutex<Vec<SessionId>>>;

/// What a client knows about the cluster that it uses.
#[derive(Debug, Default)]
struct KnownCluster {
    /// The table of the cluster. The client accepts no other one.
    table: OnceLock<u128>,
    /// Where clients reach the members, as the leader said last.
    members: Mutex<Vec<String>>,
}

impl Client {
    /// Creates a client that connects when it is first used.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
            current: Mutex::new(None),
            dialing: Turns::default(),
            preferred: Mutex::new(None),
            cluster: Arc::default(),
            is_durable: Arc::default(),
            incarnation: Arc::default(),
            ended: Ended::default(),
            ended_for_callers: None,
            tasks: TaskTracker::new(),
        }
    }

    /// Returns a function that returns where the members of the cluster are, as this client knows.
    #[cfg(all(test, feature = "cluster"))]
    pub(crate) fn known_members(&self) -> impl Fn() -> Vec<String> + use<> {
        let cluster = self.cluster.clone();
        move || locked(&cluster.members).clone()
    }

    /// Returns a backend over this client.
    #[must_use]
    pub fn backend(self) -> Arc<dyn Backend> {
        Arc::new(Netlock(self))
    }

    fn current(&self) -> Option<Arc<Connection>> {
        let current = locked(&self.current);
        current
            .as_ref()
            .filter(|connection| !connection.is_closed())
            .cloned()
    }

    async fn connection(&self) -> Result<Arc<Connection>> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let _turn = self.dialing.turn().await?;
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let connection = self.dial_leader().await?;
        *locked(&self.current) = Some(connection.clone());
        Ok(connection)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(connection) = self.current() {
            connection.close("the client was dropped".into());
        }
    }
}

impl Transport for Client {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("netlock");
        let is_durable = self.is_durable.load(Ordering::Relaxed);
        capabilities.survives_restart = is_durable;
        capabilities.durable_grants = is_durable;
        capabilities.release_on_disconnect = true;
        capabilities.checks_secrets = true;
        capabilities.isolates = true;
        capabilities.several_at_once = true;
        capabilities
    }

    fn for_keeper(&self) -> Self {
        Self {
            config: self.config.clone(),
            current: Mutex::new(None),
            dialing: Turns::default(),
            preferred: Mutex::new(locked(&self.preferred).clone()),
            cluster: self.cluster.clone(),
            is_durable: self.is_durable.clone(),
            incarnation: self.incarnation.clone(),
            ended: Ended::default(),
            ended_for_callers: Some(self.ended.clone()),
            tasks: TaskTracker::new(),
        }
    }

    fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    fn forget(&self, session: SessionId) {
        for ended in self.ended_for_callers.iter().chain([&self.ended]) {
            locked(ended).push(session);
        }
    }

    fn call<'a>(
        &'a self,
        session: Option<&'a Session>,
        command: Command<'a>,
    ) -> impl Future<Output = Result<Reply>> + Send + 'a {
        Call::New(self, session, command)
    }

    fn depart(&self, departure: Departure) {
        if let Some(connection) = self.current() {
            connection.depart(departure);
        }
    }

    fn give_back_departures(&self) {
        // The departures of an earlier connection were dropped when it was closed.
        if let Some(connection) = self.current() {
            connection.give_back_departures();
        }
    }

    async fn second_reply(&self, claim: ClaimId) -> Result<Reply> {
        match self.current() {
            Some(connection) => connection.await_reply(connection.second_reply(claim)).await,
            None => Err(connection::lost("the connection was lost")),
        }
    }
}
