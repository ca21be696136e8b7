//! Connects to a server: TCP, TLS if configured, and authentication.

use std::net::SocketAddr;
use std::time::Duration;

use distsync_core::Result;
use distsync_core::spi::{race, tls};
use redis::RedisResult;
use tokio::net::{TcpStream, lookup_host};

use crate::config::{Config, Peer};
use crate::error::Failure;
use crate::wire::Wire;

/// Connects to the server at `address`, `host:port`.
pub(crate) async fn dial(config: &Config, address: &str, peer: Peer) -> Result<Wire> {
    let reached = tokio::time::timeout(config.connect_timeout, reach(config, address, peer)).await;
    let silent = |_| {
        Err(if config.tls.is_some() {
            tls::broken(address)
        } else {
            Failure::Silent.into()
        })
    };
    reached
        .unwrap_or_else(silent)
        .map_err(|error| error.with_backend("redis"))
}

/// Resolves the address and connects. A name may have several addresses of both families, and some
/// may be unreachable. The resolver puts the preferred one first, and a later one is tried beside
/// an earlier one that is slow.
async fn reach(config: &Config, address: &str, peer: Peer) -> Result<Wire> {
    let resolved: Vec<SocketAddr> = lookup_host(address)
        .await
        .map_err(|error| Failure::Redis(error.into()))?
        .collect();
    let reached = race::first(resolved, |resolved| {
        reach_at(config, address, resolved, peer)
    })
    .await;
    reached.map_err(|failures| {
        failures
            .into_iter()
            .next()
            .unwrap_or_else(|| Failure::Lost.into())
    })
}

async fn reach_at(
    config: &Config,
    address: &str,
    resolved: SocketAddr,
    peer: Peer,
) -> Result<Wire> {
    // The connection is blocked while it waits for replicas.
    let busy = config
        .replicas
        .map_or(Duration::ZERO, |replicas| replicas.timeout);
    let stream = TcpStream::connect(resolved)
        .await
        .map_err(|error| Failure::Redis(error.into()))?;
    stream
        .set_nodelay(true)
        .map_err(|error| Failure::Redis(error.into()))?;
    let mut wire = match &config.tls {
        Some(tls) => Wire::start(
            tls::connect(
                &tls.latest(),
                address,
                rustls::DEFAULT_VERSIONS,
                &[],
                stream,
            )
            .await?,
            busy,
        ),
        None => Wire::start(stream, busy),
    };
    match greet(config, peer, &mut wire).await {
        Ok(()) => Ok(wire),
        // With TLS 1.3 a server rejects the client's certificate only now, or closes the
        // connection.
        Err(error) if config.tls.is_some() && error.is_io_error() => {
            Err(tls::failed(address, error))
        }
        Err(error) => Err(Failure::Redis(error).into()),
    }
}

/// Authenticates, and selects the protocol version and the database.
async fn greet(config: &Config, peer: Peer, wire: &mut Wire) -> RedisResult<()> {
    let credentials = config.credentials(peer);
    let mut hello = redis::cmd("HELLO");
    hello.arg(3);
    if let Some(password) = &credentials.password {
        hello
            .arg("AUTH")
            .arg(credentials.user.as_deref().unwrap_or("default"))
            // The file of the password may have changed since the last connection.
            .arg(&*password.latest());
    }
    let () = hello.query_async(wire).await?;
    match (peer, config.db) {
        (Peer::Server, db @ 1..) => redis::cmd("SELECT").arg(db).query_async(wire).await,
        _ => Ok(()),
    }
}
