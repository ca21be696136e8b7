//! From addresses to the server that takes our writes now.
//!
//! Asked anew for each connection: who leaves a server because it was demoted finds the one that took its place.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind as Upstream, RedisError, ServerErrorKind};
use sync_core::{Error, ErrorKind, Result};
use tracing::debug;

use crate::config::{Config, Peer, Topology};
use crate::error::Failure;

/// How long one step towards a server may take.
pub(crate) const STEP: Duration = Duration::from_secs(2);
/// How often a node of a Cluster may send us on to another.
const REDIRECTS: usize = 4;

/// Connects to the server that takes our writes, with these settings. Which one it is comes with it.
pub(crate) async fn connect(
    config: &Config,
    probe: &str,
    settings: &AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, String)> {
    let mut failures = Vec::new();
    for address in &config.addresses {
        let found = match &config.topology {
            Topology::Single => dial(config, address, settings).await.map(|found| (found, address.clone())),
            Topology::Sentinel { service } => by_sentinel(config, address, service, settings).await,
            Topology::Cluster => by_node(config, address, probe, settings).await,
        };
        match found {
            Ok(found) => return Ok(found),
            Err(error) => {
                debug!(address, %error, "no way to the server by this address");
                failures.push(error);
            }
        }
    }
    // The most telling failure: one that says that somebody is there, and something else is wrong.
    let telling = failures.iter().position(|error| error.kind() != ErrorKind::Unavailable).unwrap_or(0);
    Err(failures.swap_remove(telling))
}

async fn dial(
    config: &Config,
    address: &str,
    settings: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection> {
    let explain = |failure: Failure| Error::from(failure).of(address);
    let client = config.client(address, Peer::Server).map_err(explain)?;
    let connection = client.get_multiplexed_async_connection_with_config(settings).await;
    connection
        .map_err(|error| match error.is_io_error() && config.is_secure() && !error.is_connection_refusal() {
            true => Failure::Tls(error),
            false => Failure::Redis(error),
        })
        .map_err(explain)
}

async fn by_sentinel(
    config: &Config,
    sentinel: &str,
    service: &str,
    settings: &AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, String)> {
    let explain = |failure: Failure| Error::from(failure).of(sentinel);
    let asking =
        AsyncConnectionConfig::new().set_connection_timeout(Some(STEP)).set_response_timeout(Some(STEP));
    let client = config.client(sentinel, Peer::Sentinel).map_err(explain)?;
    let answer: Result<Option<(String, u16)>, RedisError> = async {
        let mut connection = client.get_multiplexed_async_connection_with_config(&asking).await?;
        redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service).query_async(&mut connection).await
    }
    .await;
    let Some((host, port)) = answer.map_err(Failure::from).map_err(explain)? else {
        return Err(explain(Failure::NoService(service.to_owned())));
    };
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut connection = dial(config, &address, settings).await?;
    // The Sentinels may not have noticed yet that it is a primary no more.
    let role: redis::Value =
        redis::cmd("ROLE").query_async(&mut connection).await.map_err(Failure::from).map_err(explain)?;
    match role {
        redis::Value::Array(role) if role.first() == Some(&redis::Value::BulkString(b"master".to_vec())) => {
            Ok((connection, address))
        }
        _ => Err(Error::from(Failure::Demoted).of(&address)),
    }
}

async fn by_node(
    config: &Config,
    node: &str,
    probe: &str,
    settings: &AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, String)> {
    let mut address = node.to_owned();
    for _ in 0..REDIRECTS {
        let mut connection = dial(config, &address, settings).await?;
        let probed: Result<redis::Value, _> =
            redis::cmd("HGET").arg(probe).arg("").query_async(&mut connection).await;
        let Err(error) = probed else { return Ok((connection, address)) };
        let Some((elsewhere, _)) = error.redirect_node() else {
            return Err(Error::from(Failure::from(error)).of(&address));
        };
        // A node that does not know its own name leaves the host out: it is the one that we ask.
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        address = match elsewhere.strip_prefix(':') {
            Some(port) => format!("{host}:{port}"),
            None => elsewhere.to_owned(),
        };
    }
    Err(Error::from(Failure::Demoted).of(&address))
}

/// Whether an error says that this server is not, or no more, the one that takes our writes.
pub(crate) fn is_elsewhere(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        Upstream::Server(
            ServerErrorKind::ReadOnly
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
        )
    )
}
