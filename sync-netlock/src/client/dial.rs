//! Connecting to the server, or to the leader of a cluster.
//!
//! A member that does not lead refuses the greeting, and names the leader if it knows it. The
//! client connects to the leader at once. It asks the member again after a pause, because the named
//! leader may be dead, or an election may be under way.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::spi::home::Home;
use distsync_core::spi::{Credential, locked, race};
use distsync_core::{Error, ErrorKind, Result};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::{TcpStream, lookup_host};
use tracing::{debug, info};

use super::Client;
use super::connection::{self, Connection, Leader};
use crate::stream::Stream;
use crate::wire::proto;

/// How long to wait for the other addresses of a host after the first one has replied, to compare
/// their tables.
const COMPARE: Duration = Duration::from_millis(250);
/// The delay before the next address is tried beside those that have not replied yet.
const STAGGER: Duration = Duration::from_millis(100);
/// The first pause before a member that does not lead is asked again. The pause doubles each time,
/// up to the second value.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));

type Dialed = std::result::Result<(Candidate, proto::Welcome), Failure>;

/// Why a server cannot be used.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// If the server does not lead its cluster.
    leader: Option<Leader>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let leader = None;
        Self { error, leader }
    }
}

/// An attempt to reach the server at one address.
struct Attempt {
    address: String,
    /// How long to wait before it.
    delay: Duration,
    /// How long to wait before the next one at this address, if the server does not lead.
    pause: Duration,
}

impl Attempt {
    fn after(delay: Duration, address: String) -> Self {
        let pause = PAUSE.0;
        Self {
            address,
            delay,
            pause,
        }
    }

    fn again(self) -> Self {
        let (delay, pause) = (self.pause, (self.pause * 2).min(PAUSE.1));
        Self {
            delay,
            pause,
            ..self
        }
    }
}

impl Client {
    /// Connects to the first address that leads to the right table and, in a cluster, to the
    /// leader. Starts with the leader that the last server has named, or the address of the last
    /// connection, and tries each further one [`STAGGER`] later, beside the earlier ones. The
    /// members that the last leader has listed come after the configured addresses. Members that do
    /// not lead are asked again until the timeout for connecting has passed.
    pub(super) async fn dial_leader(&self) -> Result<Arc<Connection>> {
        let configured = &self.config.addresses;
        let named = locked(&self.current)
            .as_ref()
            .and_then(|last| last.leader())
            .map(|leader| leader.address);
        let mut is_cluster = named.is_some();
        let first = named
            .filter(|leader| !leader.is_empty())
            .or_else(|| locked(&self.preferred).clone());
        // The addresses after the last one come before those in front of it.
        let at = first
            .as_ref()
            .and_then(|first| configured.iter().position(|address| address == first));
        let (before, after) = configured.split_at(at.unwrap_or(0));
        let mut addresses: Vec<_> = first.into_iter().collect();
        let members = locked(&self.cluster.members).clone();
        for address in after.iter().chain(before).chain(&members) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let mut under_way: HashSet<_> = addresses.iter().cloned().collect();
        let mut attempts = FuturesUnordered::new();
        for (address, turn) in addresses.into_iter().zip(0..) {
            attempts.push(self.attempt(Attempt::after(STAGGER * turn, address)));
        }
        let end = clock::now().after(self.config.connect_timeout);
        let mut failures = Vec::new();
        while let Some((tried, dialed)) = attempts.next().await {
            match dialed {
                Ok((candidate, welcome)) => {
                    debug!(address = tried.address, "connected");
                    self.check_addresses(&tried.address, &welcome).await?;
                    is_cluster |= !welcome.members.is_empty();
                    if let Some(table) = welcome.table.filter(|_| is_cluster) {
                        self.cluster.table.get_or_init(|| table.into());
                        locked(&self.cluster.members).clone_from(&welcome.members);
                    }
                    *locked(&self.preferred) = Some(tried.address);
                    return Ok(self.adopt((candidate, welcome)));
                }
                Err(Failure { error, leader }) => {
                    info!(address = tried.address, %error, "cannot connect");
                    failures.push(error);
                    let Some(leader) = leader.filter(|_| clock::now() < end) else {
                        under_way.remove(&tried.address);
                        continue;
                    };
                    is_cluster = true;
                    let leader = leader.address;
                    if !leader.is_empty() && under_way.insert(leader.clone()) {
                        attempts.push(self.attempt(Attempt::after(Duration::ZERO, leader)));
                    }
                    attempts.push(self.attempt(tried.again()));
                }
            }
        }
        if configured.len() > 1 && !is_cluster && self.table().is_none() {
            return Err(self.table_required().await);
        }
        Err(most_specific(failures))
    }

    /// Returns the only table that the client accepts, if it is known.
    fn table(&self) -> Option<u128> {
        self.config
            .table
            .or_else(|| self.cluster.table.get().copied())
    }

    /// Checks that all configured addresses lead to the table of the server at `address`, unless
    /// the client knows the table. Addresses that the leader of a cluster lists lead to its
    /// members. Others have to answer: each could lead to another server.
    async fn check_addresses(&self, address: &str, welcome: &proto::Welcome) -> Result<()> {
        let configured = &self.config.addresses;
        if self.table().is_some() {
            return Ok(());
        }
        let Some(table) = welcome.table.filter(|_| !welcome.members.is_empty()) else {
            return match configured.len() {
                0 | 1 => Ok(()),
                _ => Err(self.table_required().await),
            };
        };
        let table = u128::from(table);
        let is_listed = |of: &&String| welcome.members.contains(of);
        let unlisted = configured
            .iter()
            .filter(|of| *of != address && !is_listed(of));
        let asked = unlisted.map(async |of| (of, self.table_at(of).await));
        for (other, found) in join_all(asked).await {
            let problem = match found {
                Some(found) if found == table => continue,
                Some(found) => format!(
                    "{address} has the table {table:032x} and {other} has {found:032x}, so they are two clusters or \
                     servers, which share no locks: give the addresses of one"
                ),
                None => format!(
                    "{other} does not answer, and the cluster at {address} has no member with this address, so it \
                     could lead to another server: remove the address, or add table={table:032x} to the URL"
                ),
            };
            return Err(Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock"));
        }
        Ok(())
    }

    /// Returns the table at an address, if a server answers there.
    async fn table_at(&self, address: &str) -> Option<u128> {
        match self.dial(address).await {
            Ok((_, welcome)) => welcome.table.map(Into::into),
            Err(failure) => failure.leader?.table,
        }
    }

    async fn attempt(&self, attempt: Attempt) -> (Attempt, Dialed) {
        tokio::time::sleep(attempt.delay).await;
        let dialed = self.dial(&attempt.address).await;
        (attempt, dialed)
    }

    /// Checks that a server has the table that the configuration names, or else the table of the
    /// cluster, if the client knows it.
    pub(super) fn check_table(&self, address: &str, welcome: &proto::Welcome) -> Result<()> {
        let Some(wanted) = self.table() else {
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
            let table = self.table_at(address).await;
            table.map(|table| (address, table))
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
    async fn dial(&self, address: &str) -> Dialed {
        let dialed = tokio::time::timeout(self.config.connect_timeout, async {
            let resolved = lookup_host(address)
                .await
                .map_err(|error| unreachable(address, "no connection").with_source(error))?;
            self.dial_resolved(address, resolved).await
        });
        dialed
            .await
            .unwrap_or_else(|_| Err(unreachable(address, "no greeting").into()))
    }

    /// Connects to one of the socket addresses of a host. Some may be unreachable, for example all
    /// of one address family, so a later one is tried beside an earlier one that is slow.
    ///
    /// If the configuration names no table, all addresses that reply soon must have the same one.
    pub(super) async fn dial_resolved(
        &self,
        address: &str,
        resolved: impl IntoIterator<Item = SocketAddr>,
    ) -> Dialed {
        let resolved: Vec<_> = resolved.into_iter().collect();
        if self.config.table.is_none() && resolved.len() > 1 {
            return self.dial_and_compare(address, resolved).await;
        }
        let dialed = race::first(resolved, |resolved| self.dial_at(address, resolved)).await;
        dialed.map_err(|failures| failure(address, failures))
    }

    /// Connects to all socket addresses of a host at once and returns the first connection that is
    /// greeted. Fails if another one is greeted within [`COMPARE`] after it and has another table.
    async fn dial_and_compare(&self, address: &str, resolved: Vec<SocketAddr>) -> Dialed {
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
        Err(Error::new(ErrorKind::InvalidOption, problem)
            .with_backend("netlock")
            .into())
    }

    /// Connects to a socket address, with TLS if the configuration says so.
    pub(super) async fn connect(&self, address: &str, resolved: SocketAddr) -> Result<Stream> {
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
        Ok(stream)
    }

    async fn dial_at(&self, address: &str, resolved: SocketAddr) -> Dialed {
        let stream = self.connect(address, resolved).await?;
        // The file of the token may have changed since the last connection.
        let token = self.config.token.as_ref().map(Credential::latest);
        let (home, cluster, ended) = (Home::here()?, self.cluster.clone(), self.ended.clone());
        let connection = Connection::new(token.as_deref(), home, cluster, ended);
        let connection = Arc::new(connection);
        self.tasks
            .spawn(connection::drive(connection.clone(), stream));
        let candidate = Candidate {
            connection: connection.clone(),
            selected: false,
        };
        let welcome = connection.greet().await.map_err(|error| Failure {
            error,
            leader: connection.leader(),
        })?;
        self.check_table(address, &welcome)?;
        Ok((candidate, welcome))
    }
}

/// Returns the failure for an address with no usable socket address. A member that knows the leader
/// comes first.
fn failure(address: &str, mut failures: Vec<Failure>) -> Failure {
    if failures.is_empty() {
        return unreachable(address, "no connection").into();
    }
    let member = failures.iter().enumerate().max_by_key(|(_, failure)| {
        let leader = failure.leader.as_ref();
        leader.map(|leader| !leader.address.is_empty())
    });
    match member.map(|(at, _)| at) {
        Some(at) if failures[at].leader.is_some() => failures.swap_remove(at),
        _ => most_specific(failures.into_iter().map(|failure| failure.error).collect()).into(),
    }
}

pub(super) fn unreachable(address: &str, problem: &str) -> Error {
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
pub(super) struct Candidate {
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
