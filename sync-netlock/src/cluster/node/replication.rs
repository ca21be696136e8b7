//! The node as the consensus of its server.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use distsync_core::spi::clock;
use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};
use tokio::sync::oneshot;
use tracing::error;

use super::{CAUGHT_UP, Node, not_leader};
use crate::cluster::consensus::{
    Confirmed, Consensus, FRAME_MAX, Member, MemberState, NodeId, Rejected, Status,
};
use crate::cluster::observed::Observations;
use crate::cluster::peers::who_is;
use crate::cluster::raft::leadership::in_term;

/// How long a promotion waits until the learner has caught up, in election timeouts: 8 s.
const CATCH_UP: u32 = 16;

/// Why a learner cannot be promoted.
const SILENT: &str =
    "it does not answer: check that it runs, and that the members reach its address";

fn not_promoted(id: NodeId, why: &str) -> Rejected {
    Rejected::Membership(format!("node {id:016x} cannot be promoted, because {why}"))
}

impl Node {
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
                Some((false, None)) => SILENT.to_owned(),
            };
            return Err(not_promoted(id, &why));
        }
    }

    /// Checks that a learner runs. One that had caught up before it died is not behind.
    async fn answers(&self, id: NodeId) -> std::result::Result<(), Rejected> {
        let members = self.status().members;
        let Some(learner) = members.into_iter().find(|of| of.id == id) else {
            return Ok(());
        };
        let asked = who_is(self.links.identity(), &learner.member);
        let why = match tokio::time::timeout(self.timing.election_max * 2, asked).await {
            Ok(Ok(found)) if found.node == id => return Ok(()),
            Ok(Ok(found)) => format!(
                "node {:016x} is at its address: start the learner with its own folder",
                found.node
            ),
            Ok(Err(why)) => format!("{why}: start it, and check that the members reach it"),
            Err(_) => SILENT.to_owned(),
        };
        Err(not_promoted(id, &why))
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
        let length = frame.len();
        if length > FRAME_MAX {
            return Err(Rejected::TooLong { length });
        }
        // A leader that hands over waits for it.
        let _proposing = self.proposing.read().await;
        // It may have begun to meanwhile.
        self.check_stopped()?;
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

    async fn led_by_another(&self) {
        let mut metrics = self.raft.metrics();
        let led =
            metrics.wait_for(|metrics| metrics.current_leader.is_some_and(|id| id != self.id));
        let _ = self.stop.run_until_cancelled(led).await;
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

    fn membership(&self) -> u64 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let entry = metrics.membership_config.log_id().as_ref();
        entry.map_or(0, |entry| entry.index)
    }

    fn observations(&self) -> Observations {
        Observations {
            writes: self.disk.writes(),
            ..self.observed.read()
        }
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
        self.answers(id).await?;
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
        self.hand_over().await
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
