//! One node of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use distsync_core::spi::clock;
use distsync_core::{Error, ErrorKind, Result};
use openraft::error::{
    ChangeMembershipError, ClientWriteError, Fatal, ForwardToLeader, InitializeError, RaftError,
};
use openraft::{ChangeMembers, Config, SnapshotPolicy};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use super::consensus::{
    Confirmed, Consensus, FRAME_MAX, Failure, Member, MemberState, NodeId, Rejected, Status,
};
use super::machine::Machine;
use super::observed::{Observations, Observed};
use super::options::{NodeOptions, Timing};
use super::peers::{Identity, Links, TlsSide, serve, who_is};
use super::proto::{Elect, request};
use super::raft::answers::Answers;
use super::raft::compaction;
use super::raft::confirmations::{self, Asked};
use super::raft::leadership::in_term;
use super::raft::log::NodeLog;
use super::raft::network::Network;
use super::raft::snapshots::Snapshots;
use super::raft::state_machine::StateMachine;
use super::raft::types::Raft;

/// How far behind a learner may be to count as caught up, in entries.
const CAUGHT_UP: u64 = 64;
/// How long a promotion waits until the learner has caught up, in election timeouts: 8 s.
const CATCH_UP: u32 = 16;
/// How often the files of the certificates are checked for changes.
const REREAD: Duration = Duration::from_secs(10);

/// A running node, whose [`Consensus`] is Raft.
///
/// Stop it by [`shutdown`](Consensus::shutdown). If it is only dropped, its connections end, and
/// the replication keeps the folder in use until the process ends.
pub struct Node {
    id: NodeId,
    address: SocketAddr,
    raft: Raft,
    pub(super) links: Arc<Links>,
    timing: Timing,
    confirmations: mpsc::UnboundedSender<Asked>,
    observed: Arc<Observed>,
    /// Whether the node hands its leadership over, and proposes nothing.
    steps_down: AtomicBool,
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
    /// no cluster until one is [formed](Consensus::form) with it, or until it is
    /// [added](Consensus::add_learner) to one.
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
        log.forget_leadership(id);
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
        });
        let links = Links::new(
            identity.clone(),
            tasks.clone(),
            stop.clone(),
            timing.election_max,
        );
        let links = Arc::new(links);
        let network = Network {
            links: links.clone(),
            pause: timing.heartbeat,
        };
        let config = Arc::new(config(timing, cluster)?);
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
        run(Box::pin(watch_disk(
            log,
            timing.election_max,
            failure.clone(),
        )));
        run(Box::pin(watch_replication(raft.clone(), failure)));
        run(Box::pin(reread(identity)));
        Ok(Self {
            id,
            address,
            raft,
            links,
            timing,
            confirmations,
            observed,
            steps_down: AtomicBool::new(false),
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

    /// Waits until a learner has caught up. A voter that lags would only make commits slower, and
    /// could stop them when another voter fails.
    async fn caught_up(&self, id: NodeId) -> std::result::Result<(), Rejected> {
        let patience = self.timing.election_max * CATCH_UP;
        let lag = |status: &Status| {
            let member = status.members.iter().find(|member| member.id == id)?;
            let last = status.last_index.unwrap_or(0);
            let matched = member.matched.map(|matched| last.saturating_sub(matched));
            Some((member.is_voter, matched))
        };
        let deadline = clock::now().after(patience);
        loop {
            self.check_stopped()?;
            let status = self.status();
            let why = match lag(&status) {
                None => "it is not a learner: add it first".to_owned(),
                Some((true, _)) => "it votes already".to_owned(),
                Some((false, Some(lag))) if lag <= CAUGHT_UP => return Ok(()),
                _ if status.leader != Some(self.id) => {
                    return Err(Rejected::NotLeader { leader: None });
                }
                Some((false, _)) if clock::now() < deadline => {
                    tokio::time::sleep(self.timing.heartbeat).await;
                    continue;
                }
                Some((false, Some(lag))) => {
                    format!("it is {lag} entries behind: promote it when it has caught up")
                }
                Some((false, None)) => {
                    "it has not answered: check that it runs, and that the members reach its address"
                        .to_owned()
                }
            };
            let why = format!("node {id:016x} cannot be promoted, because {why}");
            return Err(Rejected::Membership(why));
        }
    }

    async fn change(
        &self,
        change: ChangeMembers<NodeId, Member>,
    ) -> std::result::Result<(), Rejected> {
        self.check_stopped()?;
        let changed = self.raft.change_membership(change, true).await;
        changed.map(drop).map_err(rejected)
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

/// Ends the node when its disk hangs. The other nodes elect another leader, and this one must not
/// come back and act on what it believed before.
pub(super) async fn watch_disk(log: NodeLog, patience: Duration, failure: Failure) {
    loop {
        tokio::time::sleep(patience / 4).await;
        let now = clock::now();
        if log
            .busy_since()
            .is_some_and(|since| now.since(since) > patience)
        {
            error!(
                ?patience,
                "the disk of the data folder hangs: this node ends"
            );
            failure(&std::io::ErrorKind::TimedOut.into());
            return;
        }
    }
}

/// Ends the node when the replication has failed, for example because an entry cannot be applied.
async fn watch_replication(raft: Raft, failure: Failure) {
    let mut metrics = raft.metrics();
    let failed = metrics.wait_for(|metrics| metrics.running_state.is_err());
    if let Ok(metrics) = failed.await
        && let Err(why) = &metrics.running_state
        && *why != Fatal::Stopped
    {
        error!(%why, "the replication has failed: this node ends");
        failure(&std::io::Error::other(why.to_string()));
    }
}

async fn reread(identity: Arc<Identity>) {
    while let Some(tls) = &identity.tls {
        tokio::time::sleep(REREAD).await;
        tls.reread();
    }
}

fn rejected(error: RaftError<NodeId, ClientWriteError<NodeId, Member>>) -> Rejected {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => not_leader(forward),
        RaftError::APIError(ClientWriteError::ChangeMembershipError(why)) => {
            Rejected::Membership(match why {
                ChangeMembershipError::InProgress(_) => {
                    "another change of the membership is under way: wait until it is over"
                        .to_owned()
                }
                ChangeMembershipError::EmptyMembership(_) => {
                    "the last voter cannot be removed: stop the cluster instead".to_owned()
                }
                ChangeMembershipError::LearnerNotFound(missing) => {
                    format!(
                        "node {:016x} is not a learner: add it first",
                        missing.node_id
                    )
                }
            })
        }
        RaftError::Fatal(_) => Rejected::Stopped,
    }
}

#[async_trait]
impl Consensus for Node {
    async fn form(&self, voters: Vec<(NodeId, Member)>) -> std::result::Result<(), Rejected> {
        self.check_stopped()?;
        let count = voters.len();
        let names: BTreeSet<_> = voters.iter().map(|(_, member)| &member.name).collect();
        let ids: BTreeSet<_> = voters.iter().map(|(id, _)| id).collect();
        if names.len() < count || ids.len() < count {
            let why = "two of the first members have one name or one id: give each node a name and a folder of its own";
            return Err(Rejected::Membership(why.to_owned()));
        }
        let voters: BTreeMap<NodeId, Member> = voters.into_iter().collect();
        self.raft
            .initialize(voters)
            .await
            .map_err(|error| match error {
                RaftError::APIError(InitializeError::NotAllowed(_)) => {
                    Rejected::Membership("this node belongs to a cluster already".to_owned())
                }
                RaftError::APIError(InitializeError::NotInMembers(_)) => Rejected::Membership(
                    "this node is not one of the first members: form the cluster on one that is"
                        .to_owned(),
                ),
                RaftError::Fatal(_) => Rejected::Stopped,
            })
    }

    async fn propose(&self, term: u64, frame: Bytes) -> std::result::Result<u64, Rejected> {
        self.check_stopped()?;
        let length = frame.len();
        if length > FRAME_MAX {
            return Err(Rejected::TooLong { length });
        }
        let proposed = self
            .stop
            .run_until_cancelled(self.raft.client_write(in_term(term, &frame)))
            .await;
        let written = proposed.ok_or(Rejected::Stopped)?.map_err(rejected)?;
        if written.log_id.leader_id.term != term {
            // The entry has changed nothing.
            return Err(Rejected::NotLeader { leader: None });
        }
        Ok(written.log_id.index)
    }

    async fn confirm(&self) -> std::result::Result<Confirmed, Rejected> {
        self.check_stopped()?;
        let (asked, confirmed) = oneshot::channel();
        self.confirmations
            .send(asked)
            .map_err(|_| Rejected::Stopped)?;
        confirmed.await.unwrap_or(Err(Rejected::Stopped))
    }

    fn id(&self) -> NodeId {
        self.id
    }

    async fn elected(&self, after: u64) -> std::result::Result<u64, Rejected> {
        let mut metrics = self.raft.metrics();
        let elected = metrics.wait_for(|metrics| {
            metrics.current_term > after && metrics.current_leader == Some(self.id)
        });
        match self.stop.run_until_cancelled(elected).await {
            Some(Ok(metrics)) => Ok(metrics.current_term),
            _ => Err(Rejected::Stopped),
        }
    }

    async fn deposed(&self, term: u64) {
        let mut metrics = self.raft.metrics();
        let deposed = metrics.wait_for(|metrics| {
            metrics.current_term > term || metrics.current_leader.is_some_and(|id| id != self.id)
        });
        let _ = self.stop.run_until_cancelled(deposed).await;
    }

    async fn applied(&self, index: u64) -> std::result::Result<(), Rejected> {
        let mut metrics = self.raft.metrics();
        let applied = metrics.wait_for(|metrics| {
            metrics
                .last_applied
                .is_some_and(|applied| applied.index >= index)
        });
        match self.stop.run_until_cancelled(applied).await {
            Some(Ok(_)) => Ok(()),
            _ => Err(Rejected::Stopped),
        }
    }

    fn status(&self) -> Status {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let matched = |id| metrics.replication.as_ref()?.get(id)?.map(|id| id.index);
        Status {
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_index: metrics.last_log_index,
            applied: metrics.last_applied.map(|id| id.index),
            members: membership
                .nodes()
                .map(|(id, member)| MemberState {
                    id: *id,
                    member: member.clone(),
                    is_voter: voters.contains(id),
                    matched: matched(id),
                })
                .collect(),
        }
    }

    fn observations(&self) -> Observations {
        self.observed.read()
    }

    async fn find(
        &self,
        name: &str,
        address: &str,
    ) -> std::result::Result<(NodeId, Member), Rejected> {
        let mut member = Member {
            name: name.to_owned(),
            address: address.to_owned(),
            clients: String::new(),
        };
        let why = match who_is(self.links.identity(), &member).await {
            Ok(found) if found.name != name => format!(
                "node {} is at {address} instead of {name}: correct the name or the address",
                found.name
            ),
            Ok(found) if !found.members.is_empty() => format!(
                "node {name} at {address} belongs to a cluster already: give it an empty folder"
            ),
            Ok(found) => {
                member.clients = found.clients;
                return Ok((found.node, member));
            }
            Err(why) => format!("{why}: start the node, and check the name and the address"),
        };
        Err(Rejected::Membership(why))
    }

    async fn add_learner(&self, id: NodeId, member: Member) -> std::result::Result<(), Rejected> {
        self.check_stopped()?;
        let of_another = |known: &MemberState| {
            known.id != id
                && (known.member.name == member.name || known.member.address == member.address)
        };
        if let Some(known) = self.status().members.into_iter().find(of_another) {
            return Err(Rejected::Membership(format!(
                "node {:016x} has the name {} and the address {} already: remove it first, or choose others",
                known.id, known.member.name, known.member.address
            )));
        }
        let added = self.raft.add_learner(id, member, true).await;
        added.map(drop).map_err(rejected)
    }

    async fn promote(&self, id: NodeId) -> std::result::Result<(), Rejected> {
        self.caught_up(id).await?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id])))
            .await
    }

    async fn remove(&self, id: NodeId) -> std::result::Result<(), Rejected> {
        if id == self.id {
            // Without its leader, the cluster could be left with none.
            let why =
                "this node leads: let it step down first, and ask the next leader to remove it";
            return Err(Rejected::Membership(why.to_owned()));
        }
        // First a learner, then nothing. Each step is safe if the next one is not made.
        self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id])))
            .await?;
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])))
            .await
    }

    async fn step_down(&self) -> std::result::Result<(), Rejected> {
        let term = self.confirm().await?.term;
        let best = self
            .status()
            .members
            .into_iter()
            .filter(|member| member.is_voter && member.id != self.id)
            .max_by_key(|member| member.matched);
        let Some(best) = best else {
            let why = "there is no other voter: add one first";
            return Err(Rejected::Membership(why.to_owned()));
        };
        let _paused = Paused::new(self);
        // The other voters do not vote while they believe in this leader.
        tokio::time::sleep(self.timing.election_max + self.timing.heartbeat).await;
        // If the request is lost, the voter elects itself a little later.
        let link = self.links.to(best.id, &best.member);
        let _ = tokio::time::timeout(
            self.timing.heartbeat,
            link.call(request::Body::Elect(Elect {})),
        )
        .await;
        let mut metrics = self.raft.metrics();
        let is_deposed = metrics.wait_for(|metrics| {
            metrics.current_term > term
                && metrics
                    .current_leader
                    .is_some_and(|leader| leader != self.id)
        });
        match tokio::time::timeout(self.timing.election_max * 4, is_deposed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Rejected::Stopped),
            Err(_) => Err(Rejected::Membership(
                "no other voter has taken over in time: check that they can reach each other"
                    .to_owned(),
            )),
        }
    }

    async fn shutdown(&self) {
        // Before the connections end, so that the other nodes are not asked for votes.
        let stopped =
            tokio::time::timeout(self.timing.election_max * 4, self.raft.shutdown()).await;
        if stopped.is_err() {
            error!(
                "the replication did not stop in time, because the disk of the data folder hangs"
            );
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A leader that is quiet while it hands over. Dropping it ends that.
struct Paused<'a>(&'a Node);

impl<'a> Paused<'a> {
    fn new(node: &'a Node) -> Self {
        node.steps_down.store(true, Ordering::Release);
        node.raft.runtime_config().heartbeat(false);
        node.raft.runtime_config().elect(false);
        Self(node)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.raft.runtime_config().heartbeat(true);
        self.0.raft.runtime_config().elect(true);
        self.0.steps_down.store(false, Ordering::Release);
    }
}
