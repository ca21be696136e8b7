//! The client of a netlock server: several addresses of one server, one pipelined connection, made
//! again when it breaks.
//!
//! Sessions live at the server and outlast connections: a new connection attaches to them by their
//! secret, ahead of the first request that needs it. No request is repeated here; that is the
//! core's, and safe by the ids.

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
use distsync_core::spi::{Backend, ClaimId, Session, locked, race};
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

use crate::backend::{Carrier, Netlock};
use crate::engine::{Command, Reply};
use crate::stream::Stream;
use crate::wire::proto;
use connection::Connection;

/// How long one address may take to accept and to greet.
const DIAL: Duration = Duration::from_secs(2);
/// How long the other addresses of a name may take to greet after the first one, to be compared
/// with it.
const COMPARE: Duration = Duration::from_millis(250);
/// How long after one address the next one is dialed, if the first has not answered.
const STAGGER: Duration = Duration::from_millis(100);

/// A client of a netlock server.
#[derive(Debug)]
pub struct Client {
    config: Arc<Config>,
    current: Mutex<Option<Arc<Connection>>>,
    /// One dials while the others wait for it.
    dialing: Turns,
    /// The address that worked last.
    preferred: AtomicUsize,
    /// Whether the server keeps its table, as far as it has told one of us.
    keeps: Arc<AtomicBool>,
    /// The server's `Welcome.incarnation`: changes when it may have forgotten something.
    incarnation: Arc<AtomicU64>,
    /// Owns the tasks that carry the connections' bytes; each ends with its connection.
    tasks: TaskTracker,
}

impl Client {
    /// A client that connects when it is first used.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with(Arc::new(config), Arc::default(), Arc::default())
    }

    fn with(config: Arc<Config>, keeps: Arc<AtomicBool>, incarnation: Arc<AtomicU64>) -> Self {
        Self {
            config,
            current: Mutex::new(None),
            dialing: Turns::default(),
            preferred: AtomicUsize::new(0),
            keeps,
            incarnation,
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

    /// Dials the addresses, the one that worked last first and each next one a little later, and
    /// takes the first that leads to the right table.
    async fn dial_any(&self) -> Result<Arc<Connection>> {
        let addresses = &self.config.addresses;
        if addresses.len() > 1 && self.config.table.is_none() {
            return Err(self.unnamed_table().await);
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
                Ok(greeted) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    debug!(address = addresses[index], "connected");
                    return Ok(self.adopt(greeted));
                }
                Err(error) => {
                    info!(address = addresses[index], %error, "cannot connect");
                    failures.push(error);
                }
            }
        }
        Err(most_telling(failures))
    }

    /// Checks that a server has the table that the configuration names, if it names one.
    fn check_table(&self, address: &str, welcome: &proto::Welcome) -> Result<()> {
        let Some(wanted) = self.config.table else {
            return Ok(());
        };
        let problem = match welcome.table.map(u128::from) {
            Some(found) if found == wanted => return Ok(()),
            Some(found) => format!(
                "the server at {address} has the table {found:032x}, not {wanted:032x}: it is another server, or one \
                 without a data folder that was restarted; correct the address or the option `table`"
            ),
            None => format!(
                "the server at {address} is too old to say which table it has: upgrade it, or leave the option \
                 `table` out and give one address"
            ),
        };
        Err(Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock"))
    }

    /// Uses a connection from now on.
    fn adopt(&self, (greeted, welcome): (Greeted, proto::Welcome)) -> Arc<Connection> {
        let keeps = welcome.durability() != proto::Durability::Memory;
        self.keeps.store(keeps, Ordering::Relaxed);
        self.incarnation
            .store(welcome.incarnation, Ordering::Release);
        greeted.keep()
    }

    /// Says why several addresses need the name of the table: an address that does not answer now
    /// could be another server, whose locks others hold. Asks all of them, to name the table or the
    /// difference.
    async fn unnamed_table(&self) -> Error {
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
                    "{one} has the table {table:032x} and {other} has {another:032x}: they are two servers, which \
                     share no locks; give the addresses of one server"
                ),
                None => format!(
                    "several addresses are given, and a server that does not answer could be another one: if all of \
                     them lead to the server at {one}, add table={table:032x} to the URL; else give one address"
                ),
            },
            [] => "several addresses are given, and a server that does not answer could be another one: add table=ID \
                   to the URL, with the ID that netlockd prints at its start, or give one address"
                .to_owned(),
        };
        Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock")
    }

    /// Dials all that the address resolves to.
    async fn dial(&self, address: &str) -> Result<(Greeted, proto::Welcome)> {
        let greeted = tokio::time::timeout(DIAL, async {
            let resolved = lookup_host(address)
                .await
                .map_err(|error| unreachable(address, "no connection").with_source(error))?;
            self.dial_resolved(address, resolved).await
        });
        greeted
            .await
            .unwrap_or_else(|_| Err(unreachable(address, "no greeting")))
    }

    /// Dials a name that may have several addresses of both families, of which some may lead
    /// nowhere: tries a later one beside an earlier one that does not greet soon.
    ///
    /// If the configuration names no table, all addresses that greet soon must have the same one.
    async fn dial_resolved(
        &self,
        address: &str,
        resolved: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<(Greeted, proto::Welcome)> {
        let resolved: Vec<_> = resolved.into_iter().collect();
        if self.config.table.is_none() && resolved.len() > 1 {
            return self.dial_and_compare(address, resolved).await;
        }
        let greeted = race::first(resolved, |resolved| self.dial_at(address, resolved)).await;
        greeted.map_err(|failures| failure(address, failures))
    }

    /// Dials all addresses of a name at once. Returns the first connection that greets, unless
    /// another one greets within [`COMPARE`] after it and has another table.
    async fn dial_and_compare(
        &self,
        address: &str,
        resolved: Vec<SocketAddr>,
    ) -> Result<(Greeted, proto::Welcome)> {
        let dial = async |at| (at, self.dial_at(address, at).await);
        let mut attempts: FuturesUnordered<_> = resolved.into_iter().map(dial).collect();
        let mut failures = Vec::new();
        let (first_at, first) = loop {
            match attempts.next().await {
                Some((at, Ok(greeted))) => break (at, greeted),
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
            "{address} leads to {first_at} with the table {table:032x} and to {at} with {other:032x}: they are two \
             servers, which share no locks; give the address of one of them, or add table=ID to the URL"
        );
        Err(Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock"))
    }

    async fn dial_at(
        &self,
        address: &str,
        resolved: SocketAddr,
    ) -> Result<(Greeted, proto::Welcome)> {
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
        let connection = Arc::new(Connection::new(self.config.token.as_deref(), Home::here()?));
        self.tasks
            .spawn(connection::drive(connection.clone(), stream));
        let greeted = Greeted {
            connection: connection.clone(),
            kept: false,
        };
        let welcome = connection.greet().await?;
        self.check_table(address, &welcome)?;
        Ok((greeted, welcome))
    }
}

/// The error for a name of which no address could be used.
fn failure(address: &str, failures: Vec<Error>) -> Error {
    match failures.is_empty() {
        true => unreachable(address, "no connection"),
        false => most_telling(failures),
    }
}

fn unreachable(address: &str, problem: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{problem} at {address}: is netlockd running there, and the port right?"),
    )
    .with_backend("netlock")
    .retryable()
}

/// Returns a failure that says that the server is there and something else is wrong, if there is
/// one.
fn most_telling(mut failures: Vec<Error>) -> Error {
    let telling = failures
        .iter()
        .position(|error| error.kind() != ErrorKind::Unavailable);
    failures.swap_remove(telling.unwrap_or(0))
}

/// A new connection, closed when dropped unless it is kept.
struct Greeted {
    connection: Arc<Connection>,
    kept: bool,
}

impl Greeted {
    fn keep(mut self) -> Arc<Connection> {
        self.kept = true;
        self.connection.clone()
    }
}

impl Drop for Greeted {
    fn drop(&mut self) {
        if !self.kept {
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

    fn for_keeper(&self) -> Self {
        Self::with(
            self.config.clone(),
            self.keeps.clone(),
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
            None => self.connection().await?,
        };
        connection.at_home(connection.call(session, command)?).await
    }

    async fn second(&self, claim: ClaimId) -> Result<Reply> {
        match self.current() {
            Some(connection) => connection.at_home(connection.second(claim)).await,
            None => Err(connection::broken("the connection was lost")),
        }
    }
}
