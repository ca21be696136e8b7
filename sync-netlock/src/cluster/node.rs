//! One node of a cluster.

mod hand_over;
mod replication;
pub(super) mod watches;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use distsync_core::{Error, ErrorKind, Result};
use openraft::error::ForwardToLeader;
use openraft::{Config, SnapshotPolicy};
use tokio::net::TcpListener;
use tokio::sync::{RwLock, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use super::consensus::{Failure, Member, NodeId, Rejected};
use super::machine::Machine;
use super::observed::Observed;
use super::options::{NodeOptions, Timing};
use super::peers::{Identity, Links, TlsSide, serve};
use super::raft::answers::Answers;
use super::raft::compaction;
use super::raft::confirmations::{self, Asked};
use super::raft::log::{Disk, NodeLog};
use super::raft::network::Network;
use super::raft::snapshots::Snapshots;
use super::raft::state_machine::StateMachine;
use super::raft::types::Raft;
use watches::{reread, watch_disk, watch_replication};

/// How far behind a learner may be to count as caught up, in entries.
const CAUGHT_UP: u64 = 64;

/// A running node, whose [`Consensus`](super::Consensus) is Raft.
///
/// Stop it by [`shutdown`](super::Consensus::shutdown). If it is only dropped, its connections end,
/// and the replication keeps the folder in use until the process ends.
pub struct Node {
    id: NodeId,
    address: SocketAddr,
    raft: Raft,
    pub(super) links: Arc<Links>,
    timing: Timing,
    confirmations: mpsc::UnboundedSender<Asked>,
    observed: Arc<Observed>,
    disk: Arc<Disk>,
    /// Whether the node hands its leadership over, and proposes nothing.
    steps_down: AtomicBool,
    /// Held for reading by each proposal that is under way.
    proposing: RwLock<()>,
    #[cfg(test)]
    pub(super) hang: super::raft::log::Hang,
    tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Returns the answer for a request that another node has to answer.
pub(crate) fn not_leader(forward: ForwardToLeader<NodeId, Member>) -> Rejected {
    Rejected::NotLeader {
        leader: forward.leader_id.zip(forward.leader_node),
    }
}

impl Node {
    /// Starts a node on its data folder, which is created if it is missing. A new node belongs to
    /// no cluster until one is [formed](super::Consensus::form) with it, or until it is
    /// [added](super::Consensus::add_learner) to one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the address or the certificates cannot be used.
    /// [`ErrorKind::Store`] or [`ErrorKind::Unavailable`] if the data folder cannot be used.
    ///
    /// # Cancel safety
    /// If the future is dropped, the node does not run. The folder may have been created.
    pub async fn start(options: NodeOptions, machine: Box<dyn Machine>) -> Result<Self> {
        let NodeOptions {
            cluster,
            name,
            folder,
            listen,
            tls,
            clients,
            timing,
            log_bytes,
            failure,
        } = options;
        let tls = tls.map(TlsSide::new).transpose()?;
        let (listener, address) = listen_at(&listen, tls.is_some()).await?;
        let stop = CancellationToken::new();
        let ends = stop.clone();
        let failure: Failure = Arc::new(move |error| {
            ends.cancel();
            failure(error);
        });
        let (log, id) = NodeLog::open(&folder.join("raft"), cluster, log_bytes, failure.clone())?;
        let has_led = log.forget_leadership(id);
        let (snapshots, newest) = Snapshots::open(&folder.join("snapshots"))?;
        let snapshots = Arc::new(snapshots);
        let machine = StateMachine::new(machine, snapshots.clone(), newest)?;
        let purged = log.with_state(|state| state.purged());
        if purged > machine.last() {
            let problem = format!(
                "the data folder {} cannot be used: entries of the log were removed, and the snapshot that includes \
                 them is missing: remove this node from the cluster, and add it as a new one with an empty folder",
                folder.display()
            );
            return Err(Error::new(ErrorKind::Store, problem).with_backend("netlock"));
        }
        let tasks = TaskTracker::new();
        let identity = Arc::new(Identity {
            cluster,
            id,
            name,
            tls,
            clients,
            #[cfg(test)]
            is_cut_off: tokio::sync::watch::Sender::new(false),
            #[cfg(test)]
            newest_version: super::peers::NEWEST_VERSION.into(),
        });
        let links = Links::new(
            identity.clone(),
            tasks.clone(),
            stop.clone(),
            timing.election_max,
        );
        let links = Arc::new(links);
        log.note_membership(&machine.membership());
        let network = Network {
            links: links.clone(),
            log: log.clone(),
            pause: timing.heartbeat,
        };
        let mut config = config(timing, cluster)?;
        // The others may have entries that this node had sent and not written. They would refuse
        // their votes, and its own would be missing when they are candidates in the same term.
        let lets_others_lead = has_led && log.with_state(|state| state.needs_others());
        config.enable_elect = !lets_others_lead;
        let config = Arc::new(config);
        let raft = Raft::new(id, config, network, log.clone(), machine.clone())
            .await
            .map_err(|why| {
                let problem = "cannot start the replication: see the cause";
                Error::new(ErrorKind::Store, problem).with_source(why)
            })?;
        info!(node = identity.name, id, %address, "the node runs");
        let (confirmations, asked) = mpsc::unbounded_channel();
        let run = |task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            let stop = stop.clone();
            tasks.spawn(async move { stop.run_until_cancelled(task).await });
        };
        let observed = Arc::new(Observed::default());
        let answers = Answers::new(raft.clone(), snapshots, observed.clone());
        run(Box::pin({
            let (observed, raft) = (observed.clone(), raft.clone());
            async move { observed.follow(&raft, id).await }
        }));
        run(Box::pin(serve(
            listener,
            identity.clone(),
            answers,
            tasks.clone(),
            stop.clone(),
        )));
        run(Box::pin(confirmations::serve(
            raft.clone(),
            asked,
            timing,
            observed.clone(),
        )));
        run(Box::pin(compaction::serve(
            raft.clone(),
            log.clone(),
            machine,
            log_bytes,
        )));
        let disk = log.disk();
        #[cfg(test)]
        let hang = log.hang();
        run(Box::pin(watch_disk(
            log,
            timing.election_max,
            failure.clone(),
        )));
        run(Box::pin(watch_replication(raft.clone(), failure)));
        if lets_others_lead {
            run(Box::pin(elect_later(raft.clone(), timing)));
        }
        run(Box::pin(reread(identity)));
        Ok(Self {
            id,
            address,
            raft,
            links,
            timing,
            confirmations,
            observed,
            disk,
            steps_down: AtomicBool::new(false),
            proposing: RwLock::default(),
            #[cfg(test)]
            hang,
            tasks,
            stop,
        })
    }

    /// Returns the id of the node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Returns the address at which other nodes reach this one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the node off from the others, or connects it again.
    #[cfg(test)]
    pub(super) fn cut_off(&self, is_cut_off: bool) {
        self.links.identity().is_cut_off.send_replace(is_cut_off);
    }

    /// Returns the last entry that is only in the snapshot.
    #[cfg(test)]
    pub(super) fn purged(&self) -> Option<u64> {
        self.raft.metrics().borrow().purged.map(|id| id.index)
    }

    fn check_stopped(&self) -> std::result::Result<(), Rejected> {
        if self.stop.is_cancelled() {
            return Err(Rejected::Stopped);
        }
        if self.steps_down.load(Ordering::Acquire) {
            return Err(Rejected::NotLeader { leader: None });
        }
        Ok(())
    }
}

/// Binds the port for the other nodes.
async fn listen_at(listen: &str, is_guarded: bool) -> Result<(TcpListener, SocketAddr)> {
    let explain = |error: Error| {
        error
            .with_operation("bind")
            .with_backend("netlock")
            .with_name(listen)
    };
    let unusable = |error| {
        let problem = "cannot listen for other nodes at this address: give host:port, and check that the port is free";
        explain(Error::new(ErrorKind::Unavailable, problem).with_source(error))
    };
    let listener = TcpListener::bind(listen).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    if !is_guarded && !address.ip().is_loopback() {
        let problem = "other machines can reach this address, and without TLS anyone who can reach the node can change \
                       the locks: configure certificates, or listen at 127.0.0.1";
        return Err(explain(Error::new(ErrorKind::InvalidOption, problem)));
    }
    Ok((listener, address))
}

fn config(timing: Timing, cluster: u128) -> Result<Config> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: format!("{cluster:032x}"),
        heartbeat_interval: millis(timing.heartbeat),
        election_timeout_min: millis(timing.election_min),
        election_timeout_max: millis(timing.election_max),
        // Both are decided by bytes, in `compaction`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: CAUGHT_UP,
        ..Config::default()
    };
    config.validate().map_err(|error| {
        let problem = "the times of heartbeats and elections do not fit: let elections take longer than a heartbeat";
        Error::new(ErrorKind::InvalidOption, problem).with_source(error)
    })
}

/// Makes the node a candidate after the others have had the time for an election.
async fn elect_later(raft: Raft, timing: Timing) {
    tokio::time::sleep(timing.election_max * 2).await;
    raft.runtime_config().elect(true);
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
