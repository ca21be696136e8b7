//! The configuration of a node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::consensus::Failure;
use super::peers::PeerTls;
use crate::storage::cluster::abort;

/// How soon a node notices that the leader is gone.
///
/// A follower elects another leader when it has heard nothing of the present one for
/// `election_max` and a random time between `election_min` and `election_max` more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// How often a leader proves that it leads. Also the timeout of a message to another node.
    /// Default: 100 ms.
    pub heartbeat: Duration,
    /// Default: 300 ms.
    pub election_min: Duration,
    /// Default: 500 ms. A disk that does not complete a write within this time ends the node.
    pub election_max: Duration,
}

impl Timing {
    /// Returns a timing. Its values follow from the time of a heartbeat.
    #[must_use]
    pub fn of_heartbeat(heartbeat: Duration) -> Self {
        Self {
            heartbeat,
            election_min: heartbeat * 3,
            election_max: heartbeat * 5,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::of_heartbeat(Duration::from_millis(100))
    }
}

/// The configuration of a node.
#[derive(Clone)]
#[non_exhaustive]
pub struct NodeOptions {
    /// The identity of the cluster, and of its table.
    pub cluster: u128,
    /// The name of the node.
    pub name: String,
    /// The data folder.
    pub folder: PathBuf,
    /// Where other nodes reach this one, as `host:port`. Port 0 binds a free port.
    pub listen: String,
    /// The certificates. Without them, the node listens at loopback addresses only.
    pub tls: Option<PeerTls>,
    /// Where clients reach this node, as `host:port`. Default: where its server listens.
    pub clients: String,
    /// How soon the node notices that the leader is gone.
    pub timing: Timing,
    /// How many bytes of entries are kept before a snapshot replaces them. Default: 16 MiB.
    pub log_bytes: u64,
    /// What to do when the disk fails or hangs. Default: abort the process.
    pub failure: Failure,
}

impl NodeOptions {
    /// Returns options for a node of the cluster with this identity.
    #[must_use]
    pub fn new(cluster: u128, name: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        Self {
            cluster,
            name: name.into(),
            folder: folder.into(),
            listen: "127.0.0.1:0".to_owned(),
            tls: None,
            clients: String::new(),
            timing: Timing::default(),
            log_bytes: 16 << 20,
            failure: Arc::new(|error| abort(error)),
        }
    }

    /// Sets where other nodes reach this one.
    #[must_use]
    pub fn with_listen(mut self, listen: impl Into<String>) -> Self {
        self.listen = listen.into();
        self
    }

    /// Sets the certificates.
    #[must_use]
    pub fn with_tls(mut self, tls: PeerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets where clients reach this node.
    #[must_use]
    pub fn with_clients(mut self, clients: impl Into<String>) -> Self {
        self.clients = clients.into();
        self
    }

    /// Sets how soon the node notices that the leader is gone.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Sets how many bytes of entries are kept before a snapshot replaces them.
    #[must_use]
    pub fn with_log_bytes(mut self, bytes: u64) -> Self {
        self.log_bytes = bytes;
        self
    }

    /// Sets what to do when the disk fails or hangs.
    #[must_use]
    pub fn with_failure(mut self, failure: Failure) -> Self {
        self.failure = failure;
        self
    }
}

impl std::fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeOptions")
            .field("cluster", &self.cluster)
            .field("name", &self.name)
            .field("folder", &self.folder)
            .field("listen", &self.listen)
            .field("tls", &self.tls)
            .field("clients", &self.clients)
            .field("timing", &self.timing)
            .field("log_bytes", &self.log_bytes)
            .finish_non_exhaustive()
    }
}
