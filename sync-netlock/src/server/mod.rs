//! The lock server as a library: bind it to a port, and run it.
//!
//! One mutex protects the table. Each connection is one task, on one of the workers. It reads the
//! bytes that have arrived, applies all complete requests in one visit to the table, and writes all
//! replies at once. Replies for other connections go into the outboxes of those. One more task ends
//! sessions on time.

mod access;
mod audit;
mod connection;
mod hub;
mod isolator;
#[cfg(feature = "cluster")]
mod member;
mod metrics;
#[cfg(feature = "cluster")]
mod operator;
mod options;
mod principal_counts;
#[cfg(feature = "tls")]
mod tls;
mod workers;

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
use workers::{Place, Workers};

/// How long connections may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(2);

/// A server that is bound to its port and does not run yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    hub: Arc<Hub>,
    #[cfg(feature = "cluster")]
    node: Option<Arc<crate::cluster::Node>>,
}

impl Server {
    /// Binds to `address` (`host:port`). Port 0 binds a free port.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the address is invalid, or if other machines can reach it
    /// and the options do not allow that. [`ErrorKind::Unavailable`] if the port is in use or
    /// cannot be bound.
    ///
    /// # Cancel safety
    /// Safe: if the future is dropped, nothing is bound.
    pub async fn bind(address: &str, options: ServerOptions) -> Result<Self> {
        let explain = |error: Error| {
            error
                .with_operation("bind")
                .with_backend("netlock")
                .with_name(address)
        };
        let addresses = resolve(address, &options).await.map_err(explain)?;
        let listener = TcpListener::bind(&*addresses).await.map_err(|error| {
            let problem = "cannot listen at this address: is the port in use?";
            explain(Error::new(ErrorKind::Unavailable, problem).with_source(error))
        })?;
        Self::on(listener, options).map_err(explain)
    }

    /// Checks whether a server could [bind](Self::bind) with these options. Reads all files that
    /// the options name and the data folder, and changes nothing. Binds no port and locks no
    /// folder, so a server may run with the same options at the same time.
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
        options.check_workers()?;
        Hub::check(options)
    }

    /// Creates a server on a bound socket, for example one inherited from a supervisor. Does not
    /// check whether other machines can reach the socket.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a number of workers that cannot be used.
    /// [`ErrorKind::Unavailable`] if the socket is closed. [`ErrorKind::Store`] or
    /// [`Unavailable`](ErrorKind::Unavailable) if the data folder cannot be used.
    pub fn on(listener: TcpListener, options: ServerOptions) -> Result<Self> {
        options.check_workers()?;
        let address = listener.local_addr().map_err(|error| {
            let problem = "the socket is closed: pass one that listens";
            Error::new(ErrorKind::Unavailable, problem).with_source(error)
        })?;
        Ok(Self {
            listener,
            address,
            hub: Arc::new(Hub::new(options)?),
            #[cfg(feature = "cluster")]
            node: None,
        })
    }

    /// Binds a member of a cluster, and starts its node. Until the node leads, the server refuses
    /// all clients, and tells them where the leader is.
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind) and of [`Node::start`](crate::cluster::Node::start).
    /// [`ErrorKind::InvalidOption`] if the options have storage, because a member stores its table
    /// in the folder of its node.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing runs. The folder of the node may have been created.
    #[cfg(feature = "cluster")]
    pub async fn member(
        address: &str,
        options: ServerOptions,
        node: crate::cluster::NodeOptions,
    ) -> Result<Self> {
        let explain = |error: Error| {
            error
                .with_operation("bind")
                .with_backend("netlock")
                .with_name(address)
        };
        options.check_workers()?;
        let options = member::options(options, node.cluster).map_err(explain)?;
        let addresses = resolve(address, &options).await.map_err(explain)?;
        let listener = TcpListener::bind(&*addresses).await.map_err(|error| {
            let problem = "cannot listen at this address: is the port in use?";
            explain(Error::new(ErrorKind::Unavailable, problem).with_source(error))
        })?;
        let address = listener.local_addr().map_err(|error| {
            explain(Error::new(ErrorKind::Unavailable, "the socket is closed").with_source(error))
        })?;
        let mut node = node;
        if node.clients.is_empty() {
            node.clients = address.to_string();
        }
        let (hub, node) = member::start(options, node).await?;
        Ok(Self {
            listener,
            address,
            hub: Arc::new(hub),
            node: Some(node),
        })
    }

    /// Returns the node of a member of a cluster.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn node(&self) -> Option<Arc<crate::cluster::Node>> {
        self.node.clone()
    }

    /// Returns the address at which the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the identity of the table, for the option `table` of a client's URL.
    #[must_use]
    pub fn table(&self) -> String {
        format!("{:032x}", self.hub.table)
    }

    /// Returns an observer, which can be used while the server runs.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer {
            hub: self.hub.clone(),
        }
    }

    /// Serves until `stop` is cancelled, then closes all connections and returns. Sessions and
    /// locks are lost, unless the options have storage. With storage, a failed write to the disk
    /// aborts the process.
    ///
    /// # Cancel safety
    /// If the future is dropped, the server and its connections end at once.
    pub async fn run(self, stop: CancellationToken) {
        info!(address = %self.address, "listening");
        let mut connections = JoinSet::new();
        let mut workers = Workers::start(self.hub.options.workers);
        connections.spawn(hub::expire(self.hub.clone()));
        connections.spawn(isolator::serve(self.hub.clone()));
        #[cfg(feature = "cluster")]
        connections.spawn(member::serve(self.hub.clone()));
        let mut files =
            tokio::time::interval(self.hub.options.reread.max(Duration::from_millis(1)));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = files.tick() => self.hub.reread(),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.accept(stream, peer, &mut connections, &workers),
                    Err(error) => {
                        // Most likely, the process is out of file descriptors. Wait until some are
                        // freed.
                        warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                number = workers.ended() => workers.restart(number),
                Some(_) = connections.join_next() => {}
            }
        }
        self.hub.stop();
        let drained = tokio::time::timeout(DRAIN, async {
            while connections.join_next().await.is_some() {}
            workers.drain().await;
        });
        if drained.await.is_err() {
            warn!(
                left = workers.connections(),
                "connections did not end in time and are aborted"
            );
            connections.shutdown().await;
        }
        drop(workers);
        self.hub.end();
        #[cfg(feature = "cluster")]
        if let Some(node) = &self.node {
            crate::cluster::Consensus::shutdown(&**node).await;
        }
        info!("stopped");
    }

    fn accept(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        connections: &mut JoinSet<()>,
        workers: &Workers,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "connection lost at once");
            return;
        }
        let Some(registration) = self.hub.enter() else {
            warn!(%peer, "refused: too many connections");
            connections.spawn(connection::reject(stream));
            return;
        };
        let hub = self.hub.clone();
        let (place, seat) = workers.place();
        let serve = async move |stream| {
            connection::accept(hub, registration, stream, peer).await;
            drop(seat);
        };
        let jobs = match place {
            Place::Here => {
                connections.spawn(serve(stream));
                return;
            }
            Place::Thread(jobs) => jobs,
        };
        // The socket moves from the runtime that accepted it to that of the worker.
        let lost = move |error| warn!(%peer, %error, "cannot serve a connection");
        match stream.into_std() {
            Ok(stream) => {
                let job = move |connections: &mut JoinSet<()>| match TcpStream::from_std(stream) {
                    Ok(stream) => {
                        connections.spawn(serve(stream));
                    }
                    Err(error) => lost(error),
                };
                // An error means that the thread has just ended, which closes the connection.
                let _ = jobs.send(Box::new(job));
            }
            Err(error) => lost(error),
        }
    }
}

/// Resolves the address to listen at, and checks that the options allow it.
async fn resolve(address: &str, options: &ServerOptions) -> Result<Vec<SocketAddr>> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address)
        .await
        .map_err(|error| {
            let problem = "invalid address to listen at: give host:port";
            Error::new(ErrorKind::InvalidOption, problem).with_source(error)
        })?
        .collect();
    let is_remote = addresses.iter().any(|address| !address.ip().is_loopback());
    if is_remote && !options.allow_remote && !options.is_guarded() {
        let problem = "other machines can reach this address, and without TLS and authentication anyone who can reach \
                       the server can take and break locks: listen at 127.0.0.1, set up both, or allow insecure \
                       remote clients explicitly";
        return Err(Error::new(ErrorKind::InvalidOption, problem));
    }
    Ok(addresses)
}

/// Observes a running server.
#[derive(Clone, Debug)]
pub struct Observer {
    hub: Arc<Hub>,
}

impl Observer {
    /// Returns the numbers of sessions, names and claims.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.hub.stats()
    }

    /// Returns the metrics in the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.hub.snapshot().into_text()
    }

    /// Returns whether the server grants locks. It does not during a grace period, or when its disk
    /// is full.
    #[must_use]
    pub fn grants(&self) -> bool {
        self.hub.grants()
    }

    /// Returns whether the server grants locks, and a text for an operator that says why not. In a
    /// cluster, only the leader grants locks. The text says who leads.
    ///
    /// # Errors
    /// The text, if the server does not grant locks.
    pub fn readiness(&self) -> std::result::Result<String, String> {
        let grants = self.grants();
        match self.hub.cluster() {
            _ if grants => Ok("ready".to_owned()),
            Some(cluster) if !cluster.leads => Err(match (cluster.leader, cluster.heard) {
                (Some((name, clients)), Some(heard)) => format!(
                    "this server follows {name} at {clients}, is {} entries behind, and heard from it {} ms ago: \
                     clients use that server",
                    cluster.lag,
                    heard.as_millis()
                ),
                (Some((name, clients)), None) => {
                    format!("{name} at {clients} leads, and this server does not serve clients")
                }
                (None, _) => "this server knows of no leader: see the log".to_owned(),
            }),
            _ => Err("no locks are granted for now: see the log for the reason".to_owned()),
        }
    }

    /// Returns whether the server does its part: a member of a cluster leads, or follows the leader
    /// closely. A single server grants locks.
    #[must_use]
    pub fn takes_part(&self) -> bool {
        match self.hub.cluster() {
            Some(cluster) => cluster.takes_part,
            None => self.grants(),
        }
    }

    /// Reads the certificate and the file of tokens again, if they have changed. The server does so
    /// itself every [`ServerOptions::reread`]. If a new file cannot be used, the server logs that
    /// and continues with the old one. Connections whose token was removed are closed.
    pub fn reread(&self) {
        self.hub.reread();
    }
}
