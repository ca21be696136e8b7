//! The lock server as a library: bind it to a port, and run it.
//!
//! One table behind one mutex. Each connection is one task: it reads what there is, applies all
//! complete requests in one visit to the table, and writes all answers at once. Answers for other
//! connections go into their outboxes. One more task lets sessions end on time.

mod access;
mod audit;
mod connection;
mod hub;
mod isolator;
mod metrics;
mod options;
mod per_principal;
#[cfg(feature = "tls")]
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use distsync_core::{Error, ErrorKind, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use access::{Access, Permission, Verb, token_line};
pub use options::{IsolationOptions, OnFailure, ServerOptions};
#[cfg(feature = "tls")]
pub use tls::ServerTls;

use crate::engine::Stats;
use hub::Hub;

/// How long connections get to end once the server stops.
const DRAIN: Duration = Duration::from_secs(2);

/// A server that is bound to its port, and not running yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    hub: Arc<Hub>,
}

impl Server {
    /// Binds to `address` (`host:port`; port 0 takes a free one).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if it is no address, or one that others can reach and the
    /// options do not say so; [`ErrorKind::Unavailable`] if the port is in use or may not be bound.
    ///
    /// # Cancel safety
    /// Safe: dropped, nothing is bound.
    pub async fn bind(address: &str, options: ServerOptions) -> Result<Self> {
        let explain = |error: Error| {
            error
                .with_operation("bind")
                .with_backend("netlock")
                .with_name(address)
        };
        let addresses = resolve(address, &options).await.map_err(explain)?;
        let listener = TcpListener::bind(&*addresses).await.map_err(|error| {
            let problem = "cannot listen here: is the port in use?";
            explain(Error::new(ErrorKind::Unavailable, problem).with_source(error))
        })?;
        Self::on(listener, options).map_err(explain)
    }

    /// Looks whether a server could [bind](Self::bind) with these options, and changes nothing:
    /// reads every file that they name, and the data folder. Binds no port and locks no folder, so
    /// a server may be running with the same options.
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind), except for a port or a folder in use.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn check(address: &str, options: &ServerOptions) -> Result<()> {
        resolve(address, options).await.map_err(|error| {
            error
                .with_operation("bind")
                .with_backend("netlock")
                .with_name(address)
        })?;
        Hub::check(options)
    }

    /// A server on a socket that is bound already: one inherited from a supervisor, say. Who can
    /// reach it is the caller's care.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the socket is none any more; [`ErrorKind::Store`] or
    /// [`Unavailable`](ErrorKind::Unavailable) if the data folder cannot be used.
    pub fn on(listener: TcpListener, options: ServerOptions) -> Result<Self> {
        let address = listener.local_addr().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the socket is gone").with_source(error)
        })?;
        Ok(Self {
            listener,
            address,
            hub: Arc::new(Hub::new(options)?),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The identity of its table, as the option `table` of a client's URL has it.
    #[must_use]
    pub fn table(&self) -> String {
        format!("{:032x}", self.hub.table)
    }

    /// How much is in its table; also while it runs.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer {
            hub: self.hub.clone(),
        }
    }

    /// Serves until `stop`, then closes all connections and returns. What was held is lost, unless
    /// the options say where it is kept. A disk that fails then ends the process.
    ///
    /// # Cancel safety
    /// Dropped, the server and its connections end at once.
    pub async fn run(self, stop: CancellationToken) {
        info!(address = %self.address, "listening");
        let mut connections = JoinSet::new();
        connections.spawn(hub::expire(self.hub.clone()));
        connections.spawn(isolator::serve(self.hub.clone()));
        let mut files =
            tokio::time::interval(self.hub.options.reread.max(Duration::from_millis(1)));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = files.tick() => self.hub.reread(),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.welcome(stream, peer, &mut connections),
                    Err(error) => {
                        // Out of file descriptors, most likely: those in use will free some.
                        warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        self.hub.stop();
        let drained = tokio::time::timeout(DRAIN, async {
            while connections.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            warn!(
                left = connections.len(),
                "connections did not end in time: cut"
            );
            connections.shutdown().await;
        }
        self.hub.end();
        info!("stopped");
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "connection lost at once");
            return;
        }
        let place = self.hub.enter();
        if place.is_none() {
            warn!(%peer, "refused: too many connections");
        }
        let hub = self.hub.clone();
        connections.spawn(async move {
            match place {
                Some(place) => connection::welcome(hub, place, stream, peer).await,
                None => connection::turn_away(stream).await,
            }
        });
    }
}

/// Where to listen, if these options allow it.
async fn resolve(address: &str, options: &ServerOptions) -> Result<Vec<SocketAddr>> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address)
        .await
        .map_err(|error| {
            let problem = "this is no address to listen at: give host:port";
            Error::new(ErrorKind::InvalidOption, problem).with_source(error)
        })?
        .collect();
    let is_remote = addresses.iter().any(|address| !address.ip().is_loopback());
    if is_remote && !options.allow_remote && !options.is_guarded() {
        let problem = "other machines can reach this address, and without TLS and authentication whoever reaches the \
                       server can take and break locks: listen at 127.0.0.1, set up both, or allow insecure remote \
                       clients explicitly";
        return Err(Error::new(ErrorKind::InvalidOption, problem));
    }
    Ok(addresses)
}

/// Looks at a server from outside.
#[derive(Clone, Debug)]
pub struct Observer {
    hub: Arc<Hub>,
}

impl Observer {
    /// How much is in the table.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.hub.stats()
    }

    /// What it does and has done, in the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.hub.reading().into_text()
    }

    /// Whether it grants locks: not for a while after a power failure, nor with a full disk.
    #[must_use]
    pub fn grants(&self) -> bool {
        self.hub.grants()
    }

    /// Reads the server's certificate and its file of tokens again, if they have changed; the
    /// server does so by itself in [`ServerOptions::reread`]. What cannot be used is logged, and
    /// changes nothing. Connections whose token is gone are closed.
    pub fn reread(&self) {
        self.hub.reread();
    }
}
