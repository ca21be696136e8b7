//! Finds the current primary from the configured addresses.
//!
//! The primary is determined anew for each connection, so a client that leaves a demoted server
//! finds its successor.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use distsync_core::spi::{SessionId, locked, race};
use distsync_core::{Error, ErrorKind, Result};
use futures_util::future::join_all;
use redis::{ErrorKind as Upstream, RedisError, ServerErrorKind};
use tracing::debug;

use crate::config::{Config, Peer, Topology};
use crate::dial::dial;
use crate::error::Failure;
use crate::subscriptions::Subscriptions;
use crate::wire::Wire;

/// The limit of redirects between the nodes of a Cluster.
const REDIRECTS: usize = 4;

/// The limit of known addresses. Those of the URL are always kept.
const LEARNED: usize = 16;

/// The known addresses: the one that answered last, those of the URL, then others that servers
/// reported.
#[derive(Debug)]
pub(crate) struct Known {
    addresses: Mutex<Vec<String>>,
    /// The number of connections so far. Each may be to a server that lacks the last writes of
    /// another.
    dialed: AtomicU64,
    /// The open connections, each with its server.
    open: Mutex<Vec<(String, Weak<Subscriptions>)>>,
}

impl Known {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            addresses: Mutex::new(config.addresses.clone()),
            dialed: AtomicU64::new(0),
            open: Mutex::default(),
        }
    }

    pub(crate) fn dialed(&self) -> u64 {
        self.dialed.load(Ordering::Acquire)
    }

    pub(crate) fn count_dial(&self) {
        self.dialed.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn opened(&self, server: &str, connection: &Arc<Subscriptions>) {
        let mut open = locked(&self.open);
        open.retain(|(_, other)| other.upgrade().is_some_and(|other| !other.is_lost()));
        open.push((server.to_owned(), Arc::downgrade(connection)));
    }

    /// Ends the subscriptions of this client and its keeper to the messages for a session.
    pub(crate) fn forget(&self, session: SessionId) {
        let open: Vec<_> = locked(&self.open)
            .iter()
            .filter_map(|(_, connection)| connection.upgrade())
            .collect();
        for connection in open {
            connection.forget(session);
        }
    }

    /// Abandons all connections of this client and its keeper to a server.
    pub(crate) fn leave(&self, server: &str) {
        let left = locked(&self.open)
            .extract_if(.., |(other, _)| other == server)
            .collect::<Vec<_>>();
        left.iter()
            .filter_map(|(_, connection)| connection.upgrade())
            .for_each(|connection| connection.lose());
    }

    fn learn(&self, good: &str, others: Vec<String>) {
        let mut known = locked(&self.addresses);
        if let Some(index) = known.iter().position(|address| address == good) {
            known[..=index].rotate_right(1);
        }
        for other in others {
            if !known.contains(&other) && known.len() < LEARNED {
                known.push(other);
            }
        }
    }
}

/// Connects to the primary, and returns the connection with its address. The addresses are tried
/// with staggered starts, so that one that does not answer causes only a short delay.
pub(crate) async fn connect(config: &Config, known: &Known, probe: &str) -> Result<(Wire, String)> {
    let addresses = locked(&known.addresses).clone();
    let found = race::first(&addresses, async |address| {
        let found = match &config.topology {
            Topology::Single => dial(config, address, Peer::Server)
                .await
                .map(|found| (found, address.clone(), Vec::new())),
            Topology::Sentinel { service } => by_sentinel(config, address, service).await,
            Topology::Cluster => by_node(config, address, probe).await,
        };
        found
            .map(|(wire, server, others)| (wire, server, others, address))
            .inspect_err(
                |error| debug!(address, %error, "cannot reach the primary by this address"),
            )
            .map_err(|error| error.with_address(address))
    });
    match found.await {
        Ok((wire, server, others, good)) => {
            known.learn(
                if config.topology == Topology::Cluster {
                    &server
                } else {
                    good
                },
                others,
            );
            Ok((wire, server))
        }
        // Prefer a failure that shows a problem other than an unreachable server.
        Err(mut failures) => {
            let telling = failures
                .iter()
                .position(|error| error.kind() != ErrorKind::Unavailable)
                .unwrap_or(0);
            Err(failures.swap_remove(telling))
        }
    }
}

/// The longest time that a renewal waits for the Sentinels to name the primary.
const VOTE: Duration = Duration::from_secs(1);

/// Returns whether most of the Sentinels that answer name another server than `server`. A server
/// that is partitioned from its Sentinels continues to serve clients that reach it, unaware of the
/// fail-over. Returns `false` without Sentinels, or if none answers within `patience`.
pub(crate) async fn is_replaced(
    config: &Config,
    known: &Known,
    server: &str,
    patience: Duration,
) -> bool {
    let Topology::Sentinel { service } = &config.topology else {
        return false;
    };
    let sentinels = locked(&known.addresses).clone();
    let votes = sentinels.iter().map(async |sentinel| {
        let vote = async {
            let mut wire = dial(config, sentinel, Peer::Sentinel).await.ok()?;
            Some(
                primary(&mut wire, service, config.connect_timeout)
                    .await
                    .ok()??
                    != server,
            )
        };
        tokio::time::timeout(patience.min(VOTE), vote).await.ok()?
    });
    let votes: Vec<bool> = join_all(votes).await.into_iter().flatten().collect();
    2 * votes.iter().filter(|is_another| **is_another).count() > votes.len()
}

/// Asks a Sentinel for the primary of a service. Returns `None` if it does not know the service.
async fn primary(
    wire: &mut Wire,
    service: &str,
    timeout: Duration,
) -> Result<Option<String>, Failure> {
    let mut ask = redis::cmd("SENTINEL");
    let asked = ask
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(service)
        .query_async(wire);
    let answer: Option<(String, u16)> = tokio::time::timeout(timeout, asked)
        .await
        .map_err(|_| Failure::Silent)??;
    Ok(answer.map(|(host, port)| join(&host, port)))
}

type Found = (Wire, String, Vec<String>);

/// Joins a host and a port.
fn join(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Asks for the other Sentinels of a service. Returns none if the request fails.
async fn sentinels(wire: &mut Wire, service: &str, timeout: Duration) -> Vec<String> {
    let asked = redis::cmd("SENTINEL")
        .arg("SENTINELS")
        .arg(service)
        .to_owned();
    let others: Vec<HashMap<String, String>> =
        match tokio::time::timeout(timeout, asked.query_async(wire)).await {
            Ok(Ok(others)) => others,
            _ => return Vec::new(),
        };
    let address = |other: &HashMap<String, String>| {
        Some(join(other.get("ip")?, other.get("port")?.parse().ok()?))
    };
    others.iter().filter_map(address).collect()
}

/// Asks for the nodes of a Cluster. Returns none if the request fails.
async fn nodes(wire: &mut Wire, asked: &str, timeout: Duration) -> Vec<String> {
    use redis::Value::{Array, BulkString, Int};

    let slots = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
    let Ok(Ok(Array(ranges))) = tokio::time::timeout(timeout, slots.query_async(wire)).await else {
        return Vec::new();
    };
    let own = asked
        .rsplit_once(':')
        .map_or("", |(host, _)| host)
        .trim_matches(['[', ']']);
    let mut found = Vec::new();
    for range in ranges {
        let Array(range) = range else { continue };
        for node in range.into_iter().skip(2) {
            let Array(node) = node else { continue };
            let (host, port) = match node.as_slice() {
                [BulkString(host), Int(port), ..] => {
                    (String::from_utf8_lossy(host).into_owned(), *port)
                }
                [redis::Value::Nil, Int(port), ..] => (String::new(), *port),
                _ => continue,
            };
            // A node that does not know its own address omits the host: it is the node that was
            // asked.
            let host = if host.is_empty() { own } else { &host };
            if let Ok(port) = u16::try_from(port)
                && host != "?"
            {
                let address = join(host, port);
                if !found.contains(&address) {
                    found.push(address);
                }
            }
        }
    }
    found
}

async fn by_sentinel(config: &Config, sentinel: &str, service: &str) -> Result<Found> {
    let explain = Error::from;
    let wants_password = |error: Error| match error.kind() {
        ErrorKind::Denied if config.credentials(Peer::Sentinel).password.is_none() => Error::new(
            ErrorKind::Denied,
            format!(
                "the Sentinel at {sentinel} requires a password: set the option `sentinel_password`"
            ),
        )
        .with_backend("redis")
        .with_source(error),
        _ => error,
    };
    let mut wire = dial(config, sentinel, Peer::Sentinel)
        .await
        .map_err(wants_password)?;
    let Some(address) = primary(&mut wire, service, config.connect_timeout)
        .await
        .map_err(explain)
        .map_err(wants_password)?
    else {
        return Err(explain(Failure::NoService(service.to_owned())));
    };
    let others = sentinels(&mut wire, service, config.connect_timeout).await;
    let mut wire = dial(config, &address, Peer::Server).await?;
    // The Sentinels may not have noticed yet that the server has been demoted.
    let role: redis::Value = redis::cmd("ROLE")
        .query_async(&mut wire)
        .await
        .map_err(Failure::from)
        .map_err(explain)?;
    match role {
        redis::Value::Array(role)
            if role.first() == Some(&redis::Value::BulkString(b"master".to_vec())) =>
        {
            Ok((wire, address, others))
        }
        _ => Err(Failure::Demoted.into()),
    }
}

async fn by_node(config: &Config, node: &str, probe: &str) -> Result<Found> {
    let mut address = node.to_owned();
    for _ in 0..REDIRECTS {
        let mut wire = dial(config, &address, Peer::Server).await?;
        let probed: Result<redis::Value, _> = redis::cmd("HGET")
            .arg(probe)
            .arg("")
            .query_async(&mut wire)
            .await;
        let is_here = match &probed {
            Ok(_) => true,
            // The slot is moving to another node, and this node serves it until all keys have
            // moved.
            Err(error) => error.kind() == Upstream::Server(ServerErrorKind::Ask),
        };
        if is_here {
            let others = nodes(&mut wire, &address, config.connect_timeout).await;
            return Ok((wire, address, others));
        }
        let Err(error) = probed else { continue };
        let Some((elsewhere, _)) = error.redirect_node() else {
            return Err(Failure::from(error).into());
        };
        // A node that does not know its own address omits the host: it is the node that was asked.
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        address = match elsewhere.strip_prefix(':') {
            Some(port) => format!("{host}:{port}"),
            None => elsewhere.to_owned(),
        };
    }
    Err(Failure::Demoted.into())
}

/// Returns whether an error says that this server is not the primary, or not any more.
pub(crate) fn is_elsewhere(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        Upstream::Server(
            ServerErrorKind::ReadOnly
                | ServerErrorKind::Moved
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
        )
    )
}
