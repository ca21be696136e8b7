//! A leader that hands over.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use tokio::time::timeout;
use tracing::{info, warn};

use super::Node;
use crate::cluster::consensus::{Consensus, Member, MemberState, NodeId, Rejected};
use crate::cluster::peers::{HAND_OVER_VERSION, Unreachable};
use crate::cluster::proto::{Elect, HandOver, request};
use crate::cluster::raft::hand_over::give_up;

/// How long a leader that hands over waits for a voter that has all entries, in heartbeats.
const CATCH_UP: u32 = 3;

impl Node {
    pub(super) async fn hand_over(&self) -> Result<(), Rejected> {
        let term = self.confirm().await?.term;
        if self.other_voters().is_empty() {
            let why = "there is no other voter: add one first";
            return Err(Rejected::Membership(why.to_owned()));
        }
        let _paused = Paused::new(self);
        let successor = timeout(self.timing.heartbeat * CATCH_UP, self.successor()).await;
        match successor {
            Ok(Ok((id, member))) => self.hand_over_to(term, id, &member).await?,
            Ok(Err(why)) => return Err(why),
            Err(_) => self.fall_silent().await,
        }
        let mut metrics = self.raft.metrics();
        let is_deposed = metrics.wait_for(|metrics| {
            metrics.current_term > term
                && metrics
                    .current_leader
                    .is_some_and(|leader| leader != self.id)
        });
        match timeout(self.timing.election_max * 4, is_deposed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Rejected::Stopped),
            Err(_) => Err(Rejected::Membership(
                "no other voter has taken over in time: check that they can reach each other"
                    .to_owned(),
            )),
        }
    }

    fn other_voters(&self) -> Vec<MemberState> {
        let members = self.status().members.into_iter();
        members
            .filter(|member| member.is_voter && member.id != self.id)
            .collect()
    }

    /// Waits until all that was proposed is committed, and another voter that can be handed over to
    /// has all entries. Returns that voter.
    async fn successor(&self) -> Result<(NodeId, Member), Rejected> {
        let _none_is_under_way = self.proposing.write().await;
        let mut metrics = self.raft.metrics();
        let has_all = |metrics: &openraft::RaftMetrics<NodeId, Member>| {
            let last = metrics.last_log_index;
            let membership = metrics.membership_config.membership();
            let matched = metrics.replication.as_ref()?.iter();
            let complete = matched.filter(|(_, id)| id.map(|id| id.index) >= last);
            let voters: Vec<_> = membership.voter_ids().collect();
            let mut others = complete
                .filter(|(id, _)| **id != self.id && voters.contains(id))
                .filter_map(|(id, _)| Some((*id, membership.get_node(id)?.clone())));
            // A node that is gone had all entries, perhaps, and is not connected.
            others.find(|(id, member)| self.links.to(*id, member).version() >= HAND_OVER_VERSION)
        };
        let mut successor = None;
        let found = metrics.wait_for(|metrics| {
            successor = has_all(metrics);
            successor.is_some()
        });
        found.await.map_err(|_| Rejected::Stopped)?;
        successor.ok_or(Rejected::Stopped)
    }

    /// Has all voters give this leader up, and the successor elected.
    async fn hand_over_to(
        &self,
        term: u64,
        successor: NodeId,
        member: &Member,
    ) -> Result<(), Rejected> {
        info!(
            term,
            successor = member.name,
            "this node hands its leadership over"
        );
        let ask = |id, member: &Member| {
            let body = request::Body::HandOver(HandOver { term, successor });
            let link = self.links.to(id, member);
            timeout(self.timing.heartbeat, async move {
                match link.version() >= HAND_OVER_VERSION {
                    true => link.call(body).await,
                    false => Err(Unreachable(UNABLE.to_owned())),
                }
            })
        };
        // The successor asks for the votes, so it comes last. A voter that does not answer may
        // refuse its vote, and follows the successor later.
        let others = self.other_voters().into_iter();
        let others: Vec<_> = others.filter(|voter| voter.id != successor).collect();
        join_all(others.iter().map(|voter| ask(voter.id, &voter.member))).await;
        // This node does not lead any more from here on.
        let given_up = give_up(&self.raft, term, successor).await;
        given_up.map_err(|_| Rejected::Stopped)?;
        match ask(successor, member).await {
            Ok(Ok(_)) => {}
            Ok(Err(why)) => warn!(%why, "the successor did not take over: the voters elect one"),
            Err(_) => warn!("the successor does not answer: the voters elect one"),
        }
        Ok(())
    }

    /// Hands over in the way of version 1 of the protocol: the other voters do not vote while they
    /// believe in this leader, so it sends them nothing until they do not.
    async fn fall_silent(&self) {
        tokio::time::sleep(self.timing.election_max + self.timing.heartbeat).await;
        let best = self.other_voters().into_iter();
        let Some(best) = best.max_by_key(|member| member.matched) else {
            return;
        };
        // If the request is lost, the voter elects itself a little later.
        let link = self.links.to(best.id, &best.member);
        let asked = link.call(request::Body::Elect(Elect {}));
        let _ = timeout(self.timing.heartbeat, asked).await;
    }
}

/// Why a voter is not asked to take over at once.
const UNABLE: &str = "it is not connected, or its version of the protocol is older";

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
