//! From addresses to the server that takes our writes now.
//!
//! Asked anew for each connection: who leaves a server because it was demoted finds the one that took its place.

use redis::{ErrorKind as Upstream, RedisError, ServerErrorKind};
use sync_core::{Error, ErrorKind, Result};
use tracing::debug;

use crate::config::{Config, Peer, Topology};
use crate::dial::{PATIENCE, dial};
use crate::error::Failure;
use crate::wire::Wire;

/// How often a node of a Cluster may send us on to another.
const REDIRECTS: usize = 4;

/// Connects to the server that takes our writes. Which one it is comes with it.
pub(crate) async fn connect(config: &Config, probe: &str) -> Result<(Wire, String)> {
    let mut failures = Vec::new();
    for address in &config.addresses {
        let found = match &config.topology {
            Topology::Single => {
                dial(config, address, Peer::Server).await.map(|found| (found, address.clone()))
            }
            Topology::Sentinel { service } => by_sentinel(config, address, service).await,
            Topology::Cluster => by_node(config, address, probe).await,
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

async fn by_sentinel(config: &Config, sentinel: &str, service: &str) -> Result<(Wire, String)> {
    let explain = |failure: Failure| Error::from(failure).of(sentinel);
    let mut wire = dial(config, sentinel, Peer::Sentinel).await?;
    let mut asked = redis::cmd("SENTINEL");
    let asked = asked.arg("GET-MASTER-ADDR-BY-NAME").arg(service).query_async(&mut wire);
    let answer: Result<Option<(String, u16)>, Failure> =
        tokio::time::timeout(PATIENCE, asked).await.map_or(Err(Failure::Silent), |answer| Ok(answer?));
    let Some((host, port)) = answer.map_err(explain)? else {
        return Err(explain(Failure::NoService(service.to_owned())));
    };
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut wire = dial(config, &address, Peer::Server).await?;
    // The Sentinels may not have noticed yet that it is a primary no more.
    let role: redis::Value =
        redis::cmd("ROLE").query_async(&mut wire).await.map_err(Failure::from).map_err(explain)?;
    match role {
        redis::Value::Array(role) if role.first() == Some(&redis::Value::BulkString(b"master".to_vec())) => {
            Ok((wire, address))
        }
        _ => Err(Error::from(Failure::Demoted).of(&address)),
    }
}

async fn by_node(config: &Config, node: &str, probe: &str) -> Result<(Wire, String)> {
    let mut address = node.to_owned();
    for _ in 0..REDIRECTS {
        let mut wire = dial(config, &address, Peer::Server).await?;
        let probed: Result<redis::Value, _> =
            redis::cmd("HGET").arg(probe).arg("").query_async(&mut wire).await;
        let Err(error) = probed else { return Ok((wire, address)) };
        // The slot is moving away from here, and this node serves it until all keys have moved.
        if error.kind() == Upstream::Server(ServerErrorKind::Ask) {
            return Ok((wire, address));
        }
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
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
        )
    )
}
