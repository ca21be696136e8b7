//! The client of a netlock server. It keeps one pipelined connection, and makes a new one when the
//! connection breaks. All configured addresses lead to the same server.
//!
//! Sessions belong to the server and outlast connections. A new connection attaches to a session,
//! by its secret, before the first request that names it. The client repeats no request: the core
//! retries, which is safe because requests carry ids.

mod admin;
mod config;
mod connection;
#[cfg(all(test, feature = "server"))]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use distsync_core::spi::home::{Home, Turns};
use distsync_core::spi::{Backend, ClaimId, Credential, Departure, Session, locked, race};
use distsync_core::{Capabilities, Error, ErrorKind, Result};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::{TcpStream, lookup_host};
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

pub use admin::Admin;
#[cfg(feature = "program")]
pub(crate) use config::parse_table;
pub use config::{Config, DEFAULT_PORT};

use crate::backend::{Netlock, Transport};
use crate::engine::{Command, Reply};
use crate::stream::Stream;
use crate::wire::proto;
use connection::Connection;

/// How long to wait for the other addresses of a host after the first one has replied, to compare
/// their tables.
const COMPARE: Duration = Duration::from_millis(250);
/// The delay before the next address is tried beside those that have not replied yet.
const STAGGER: Duration = Duration::from_millis(100);

/// A client of a netlock server.
#[derive(Debug)]
pub struct Client {
    config: Arc<Config>,
    current: Mutex<Option<Arc<Connection>>>,
    /// Lets one caller connect while the others wait for it.
    dialing: Turns,
    /// The index of the address of the last connection, which is tried first.
    preferred: AtomicUsize,
    /// Whether the table survives a restart of the server. Unknown, and false, until the first
    /// connection. Shared with the client of the session keeper.
    is_durable: Arc<AtomicBool>,
    /// The last `Welcome.incarnation`, which changes when the server may have lost claims. Shared
    /// with the client of the session keeper.
    incarnation: Arc<AtomicU64>,
    /// Owns the driver tasks of the connections. Each ends with its connection.
    tasks: TaskTracker,
}

impl Client {
    /// Creates a client that connects when it is first used.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with(Arc::new(config), Arc::default(), Arc::default())
    }

    fn with(config: Arc<Config>, is_durable: Arc<AtomicBool>, incarnation: Arc<AtomicU64>) -> Self {
        Self {
            config,
            current: Mutex::new(None),
            dialing: Turns::default(),
            preferred: AtomicUsize::new(0),
            is_durable,
            incarnation,
            tasks: TaskTracker::new(),
        }
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
        let connection = self.dial_any().await?;
        *locked(&self.current) = Some(connection.clone());
        Ok(connection)
    }

    /// Connects to the first address that leads to the right table. Starts with the address of the
    /// last connection, and tries each further one [`STAGGER`] later, beside the earlier ones.
    async fn dial_any(&self) -> Result<Arc<Connection>> {
        let addresses = &self.config.addresses;
        if addresses.len() > 1 && self.config.table.is_none() {
            return Err(self.table_required().await);
        }
        let first = self.preferred.load(Ordering::Relaxed);
        let mut attempts: FuturesUnordered<_> = (0..addresses.len())
            .map(|offset| async move {
                tokio::time::sleep(STAGGER * u32::try_from(offset).unwrap_or(u32::MAX)).await;
                let index = (first + offset) % addresses.len();
                (index, self.dial(&addresses[index]).await)
            })
            .collect();
        let mut failures = Vec::new();
        while let Some((index, attempt)) = attempts.next().await {
            match attempt {
                Ok(candidate) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    debug!(address = addresses[index], "connected");
                    return Ok(self.adopt(candidate));
                }
                Err(error) => {
                    info!(address = addresses[index], %error, "cannot connect");
                    failures.push(error);
                }
            }
        }
        Err(most_specific(failures))
    }

    /// Checks that a server has the table that the configuration names, if it names one.
    fn check_table(&self, address: &str, welcome: &proto::Welcome) -> Result<()> {
        let Some(wanted) = self.config.table else {
            return Ok(());
        };
        let problem = match welcome.table.map(u128::from) {
            Some(found) if found == wanted => return Ok(()),
            Some(found) => format!(
                "the server at {address} has the table {found:032x} instead of {wanted:032x}, so it is another \
                 server, or was restarted without a data folder: correct the address or the option `table`"
            ),
            None => format!(
                "the server at {address} is too old to report the identity of its table: upgrade it, or give one \
                 address and omit the option `table`"
            ),
        };
        Err(Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock"))
    }

    /// Records what the server of a new connection reports, and returns the connection for use.
    fn adopt(&self, (candidate, welcome): (Candidate, proto::Welcome)) -> Arc<Connection> {
        let is_durable = welcome.durability() != proto::Durability::Memory;
        self.is_durable.store(is_durable, Ordering::Relaxed);
        self.incarnation
            .store(welcome.incarnation, Ordering::Release);
        candidate.select()
    }

    /// Returns the error for a configuration with more than one address and no table. Without the
    /// table, an address that does not answer now could lead to another server, where others hold
    /// the same locks. Connects to all addresses, so that the error can name the table, or the
    /// servers that differ.
    async fn table_required(&self) -> Error {
        let asked = self.config.addresses.iter().map(|address| async move {
            let table = self
                .dial(address)
                .await
                .ok()
                .and_then(|(_, welcome)| welcome.table);
            table.map(|table| (address, u128::from(table)))
        });
        let found: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        let problem = match &*found {
            [(one, table), rest @ ..] => match rest.iter().find(|(_, other)| other != table) {
                Some((other, another)) => format!(
                    "{one} has the table {table:032x} and {other} has {another:032x}, so they are two servers, \
                     which share no locks: give the addresses of one server"
                ),
                None => format!(
                    "several addresses need the option `table`, because an address that does not answer could lead \
                     to another server: if all of them lead to the server at {one}, add table={table:032x} to the \
                     URL, otherwise give one address"
                ),
            },
            [] => "several addresses need the option `table`, because an address that does not answer could lead to \
                   another server: add table=ID to the URL, with the ID that netlockd prints when it starts, or \
                   give one address"
                .to_owned(),
        };
        Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock")
    }

    /// Resolves an address, connects to it and greets the server.
    async fn dial(&self, address: &str) -> Result<(Candidate, proto::Welcome)> {
        let dialed = tokio::time::timeout(self.config.connect_timeout, async {
            let resolved = lookup_host(address)
                .await
                .map_err(|error| unreachable(address, "no connection").with_source(error))?;
            self.dial_resolved(address, resolved).await
        });
        dialed
            .await
            .unwrap_or_else(|_| Err(unreachable(address, "no greeting")))
    }

    /// Connects to one of the socket addresses of a host. Some may be unreachable, for example all
    /// of one address family, so a later one is tried beside an earlier one that is slow.
    ///
    /// If the configuration names no table, all addresses that reply soon must have the same one.
    async fn dial_resolved(
        &self,
        address: &str,
        resolved: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<(Candidate, proto::Welcome)> {
        let resolved: Vec<_> = resolved.into_iter().collect();
        if self.config.table.is_none() && resolved.len() > 1 {
            return self.dial_and_compare(address, resolved).await;
        }
        let dialed = race::first(resolved, |resolved| self.dial_at(address, resolved)).await;
        dialed.map_err(|failures| failure(address, failures))
    }

    /// Connects to all socket addresses of a host at once and returns the first connection that is
    /// greeted. Fails if another one is greeted within [`COMPARE`] after it and has another table.
    async fn dial_and_compare(
        &self,
        address: &str,
        resolved: Vec<SocketAddr>,
    ) -> Result<(Candidate, proto::Welcome)> {
        let dial = async |at| (at, self.dial_at(address, at).await);
        let mut attempts: FuturesUnordered<_> = resolved.into_iter().map(dial).collect();
        let mut failures = Vec::new();
        let (first_at, first) = loop {
            match attempts.next().await {
                Some((at, Ok(candidate))) => break (at, candidate),
                Some((_, Err(error))) => failures.push(error),
                None => return Err(failure(address, failures)),
            }
        };
        let table = first.1.table.map(u128::from).unwrap_or_default();
        let another = async {
            while let Some((at, attempt)) = attempts.next().await {
                if let Some(other) = attempt.ok().and_then(|(_, welcome)| welcome.table)
                    && u128::from(other) != table
                {
                    return Some((at, u128::from(other)));
                }
            }
            None
        };
        let Ok(Some((at, other))) = tokio::time::timeout(COMPARE, another).await else {
            return Ok(first);
        };
        let problem = format!(
            "{address} leads to {first_at} with the table {table:032x} and to {at} with {other:032x}, so they are \
             two servers, which share no locks: give the address of one of them, or add table=ID to the URL"
        );
        Err(Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock"))
    }

    async fn dial_at(
        &self,
        address: &str,
        resolved: SocketAddr,
    ) -> Result<(Candidate, proto::Welcome)> {
        let failed = |error| unreachable(address, "no connection").with_source(error);
        let stream = TcpStream::connect(resolved).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        #[cfg(feature = "tls")]
        let stream = match &self.config.tls {
            Some(tls) => {
                let versions = [&rustls::version::TLS13];
                let alpn = [crate::wire::ALPN];
                let shaken =
                    distsync_core::spi::tls::connect(tls, address, &versions, &alpn, stream).await;
                Stream::Tls(Box::new(
                    shaken
                        .map_err(|error| error.with_backend("netlock"))?
                        .into(),
                ))
            }
            None => Stream::Plain(stream),
        };
        #[cfg(not(feature = "tls"))]
        let stream = Stream::Plain(stream);
        // The file of the token may have changed since the last connection.
        let token = self.config.token.as_ref().map(Credential::latest);
        let connection = Arc::new(Connection::new(token.as_deref(), Home::here()?));
        self.tasks
            .spawn(connection::drive(connection.clone(), stream));
        let candidate = Candidate {
            connection: connection.clone(),
            selected: false,
        };
        let welcome = connection.greet().await?;
        self.check_table(address, &welcome)?;
        Ok((candidate, welcome))
    }
}

/// Returns the error for an address with no usable socket address.
fn failure(address: &str, failures: Vec<Error>) -> Error {
    match failures.is_empty() {
        true => unreachable(address, "no connection"),
        false => most_specific(failures),
    }
}

fn unreachable(address: &str, problem: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{problem} at {address}: is netlockd running there, and is the port right?"),
    )
    .with_backend("netlock")
    .retryable()
}

/// Returns the most helpful of the failures: one from a server that was reached, if there is one.
fn most_specific(mut failures: Vec<Error>) -> Error {
    let specific = failures
        .iter()
        .position(|error| error.kind() != ErrorKind::Unavailable);
    failures.swap_remove(specific.unwrap_or(0))
}

/// A new connection that may not be needed. Dropping it closes the connection, unless it was
/// selected.
struct Candidate {
    connection: Arc<Connection>,
    selected: bool,
}

impl Candidate {
    fn select(mut self) -> Arc<Connection> {
        self.selected = true;
        self.connection.clone()
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if !self.selected {
            self.connection.close("another connection is used".into());
        }
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
        Self::with(
            self.config.clone(),
            self.is_durable.clone(),
            self.incarnation.clone(),
        )
    }

    fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    async fn call<'a>(
        &'a self,
        session: Option<&'a Session>,
        command: Command<'a>,
    ) -> Result<Reply> {
        let connection = match self.current() {
            Some(connection) => connection,
            // Boxed, because every request would carry room for the rare case.
            None => Box::pin(self.connection()).await?,
        };
        connection
            .await_reply(connection.call(session, command))
            .await
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
