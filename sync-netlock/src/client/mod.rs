//! The client of a netlock server: several addresses tried in turn, one pipelined connection, made again when it breaks.
//!
//! Sessions live at the server and outlast connections: a new connection attaches to them by their secret, ahead of the
//! first request that needs it. No request is repeated here; that is the core's, and safe by the ids.

mod admin;
mod config;
mod connection;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sync_core::backend::{ClaimId, Session};
use sync_core::{Backend, Capabilities, Error, ErrorKind, Result, locked};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

pub use admin::Admin;
pub use config::{Config, DEFAULT_PORT};

use crate::backend::{Carrier, Netlock};
use crate::engine::{Command, Reply};
use crate::stream::Stream;
use crate::wire::proto;
use connection::Connection;

/// How long one address may take to accept and to greet.
const DIAL: Duration = Duration::from_secs(2);

/// A client of a netlock server.
#[derive(Debug)]
pub struct Client {
    config: Arc<Config>,
    current: Mutex<Option<Arc<Connection>>>,
    /// One dials while the others wait for it.
    dialing: tokio::sync::Mutex<()>,
    /// The address that worked last.
    preferred: AtomicUsize,
    /// Whether the server keeps its table, as far as it has told one of us.
    keeps: Arc<AtomicBool>,
    /// Owns the tasks that carry the connections' bytes; each ends with its connection.
    tasks: TaskTracker,
}

impl Client {
    /// A client that connects when it is first used.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with(Arc::new(config), Arc::default())
    }

    fn with(config: Arc<Config>, keeps: Arc<AtomicBool>) -> Self {
        Self {
            config,
            current: Mutex::new(None),
            dialing: tokio::sync::Mutex::new(()),
            preferred: AtomicUsize::new(0),
            keeps,
            tasks: TaskTracker::new(),
        }
    }

    /// The backend over this client.
    #[must_use]
    pub fn backend(self) -> Arc<dyn Backend> {
        Arc::new(Netlock(self))
    }

    fn current(&self) -> Option<Arc<Connection>> {
        let current = locked(&self.current);
        current.as_ref().filter(|connection| !connection.is_closed()).cloned()
    }

    async fn connection(&self) -> Result<Arc<Connection>> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let _turn = self.dialing.lock().await;
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let connection = self.dial_any().await?;
        *locked(&self.current) = Some(connection.clone());
        Ok(connection)
    }

    /// Tries each address once, beginning with the one that worked last.
    async fn dial_any(&self) -> Result<Arc<Connection>> {
        let addresses = &self.config.addresses;
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for index in (0..addresses.len()).map(|offset| (first + offset) % addresses.len()) {
            match self.dial(&addresses[index]).await {
                Ok(connection) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    debug!(address = addresses[index], "connected");
                    return Ok(connection);
                }
                Err(error) => {
                    info!(address = addresses[index], %error, "cannot connect");
                    failures.push(error);
                }
            }
        }
        // The most telling failure: one that says that the server is there, and something else is wrong.
        let telling = failures.iter().position(|error| error.kind() != ErrorKind::Unavailable).unwrap_or(0);
        Err(failures.swap_remove(telling))
    }

    async fn dial(&self, address: &str) -> Result<Arc<Connection>> {
        let unreachable = |problem: &str| {
            Error::new(
                ErrorKind::Unavailable,
                format!("{problem} at {address}: is netlockd running there, and the port right?"),
            )
            .on("netlock")
            .retryable()
        };
        let greeted = tokio::time::timeout(DIAL, async {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| unreachable("no connection").because(error))?;
            stream.set_nodelay(true).map_err(|error| unreachable("no connection").because(error))?;
            #[cfg(feature = "tls")]
            let stream = match &self.config.tls {
                Some(tls) => {
                    let versions = [&rustls::version::TLS13];
                    let shaken =
                        sync_core::tls::connect(tls, address, &versions, &[crate::wire::ALPN], stream).await;
                    Stream::Tls(Box::new(shaken.map_err(|error| error.on("netlock"))?.into()))
                }
                None => Stream::Plain(stream),
            };
            #[cfg(not(feature = "tls"))]
            let stream = Stream::Plain(stream);
            let connection = Arc::new(Connection::new(self.config.token.as_deref()));
            self.tasks.spawn(connection::drive(connection.clone(), stream));
            let durability = connection.greet().await?;
            self.keeps.store(durability != proto::Durability::Memory, Ordering::Relaxed);
            Ok(connection)
        });
        greeted.await.unwrap_or_else(|_| Err(unreachable("no greeting")))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(connection) = self.current() {
            connection.close("the client was dropped".into());
        }
    }
}

impl Carrier for Client {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("netlock");
        let keeps = self.keeps.load(Ordering::Relaxed);
        capabilities.survives_restart = keeps;
        capabilities.durable_grants = keeps;
        capabilities.release_on_disconnect = true;
        capabilities.isolates = true;
        capabilities.several_at_once = true;
        capabilities
    }

    fn twin(&self) -> Self {
        Self::with(self.config.clone(), self.keeps.clone())
    }

    async fn call<'a>(&'a self, session: Option<&'a Session>, command: Command<'a>) -> Result<Reply> {
        let connection = match self.current() {
            Some(connection) => connection,
            None => self.connection().await?,
        };
        connection.call(session, command)?.await
    }

    async fn second(&self, claim: ClaimId) -> Result<Reply> {
        match self.current() {
            Some(connection) => connection.second(claim).await,
            None => Err(connection::broken("the connection was lost")),
        }
    }
}
