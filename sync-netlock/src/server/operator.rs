//! The cluster of a member, as operators see and change it.

use std::time::Duration;

use tracing::info;

use super::member::Member;
use super::metrics::ClusterSnapshot;
use crate::cluster::{MemberState, Rejected};
use crate::wire::proto;
use crate::wire::proto::change_cluster::Change;

/// How long a change may take. A change that takes longer may still be made later.
const PATIENCE: Duration = Duration::from_secs(10);

/// A member that has heard nothing of the leader for this long takes no part. Longer than an
/// election.
const HEARD: Duration = Duration::from_secs(3);
/// A member that is behind by more entries takes no part.
const LAG: u64 = 1_024;

fn impossible<T>(why: impl Into<String>) -> Result<T, Rejected> {
    Err(Rejected::Membership(why.into()))
}

impl Member {
    /// Returns what this server knows about its cluster.
    pub(super) fn describe(&self) -> proto::Cluster {
        let status = self.consensus.status();
        let described = |of: MemberState| proto::ClusterMember {
            id: of.id,
            name: of.member.name,
            address: of.member.address,
            clients: of.member.clients,
            is_voter: of.is_voter,
            matched_index: of.matched.unwrap_or(0),
        };
        let mut members: Vec<_> = status.members.into_iter().map(described).collect();
        members.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        proto::Cluster {
            node: self.consensus.id(),
            term: status.term,
            leader: status.leader.unwrap_or(0),
            last_index: status.last_index.unwrap_or(0),
            applied_index: status.applied.unwrap_or(0),
            members,
        }
    }

    /// Returns what this member reports about the cluster.
    pub(super) fn snapshot(&self) -> ClusterSnapshot {
        let (status, seen) = (self.consensus.status(), self.consensus.observations());
        let leads = !self.leads_in(0);
        let applied = status.applied.unwrap_or(0);
        let last_index = status.last_index.unwrap_or(0);
        let this = self.consensus.id();
        let leader = status
            .members
            .iter()
            .find(|of| Some(of.id) == status.leader);
        let committed = match status.leader == Some(this) {
            true => last_index,
            false => seen.committed_by_leader.unwrap_or(applied),
        };
        let lag = committed.saturating_sub(applied);
        let is_heard = seen.heard.is_some_and(|heard| heard < HEARD);
        let follows = leader.is_some() && is_heard && lag <= LAG;
        let lags = status.members.iter().filter_map(|of| {
            let matched = of.matched.filter(|_| of.id != this)?;
            Some((of.member.name.clone(), last_index.saturating_sub(matched)))
        });
        ClusterSnapshot {
            term: status.term,
            leads,
            leader: leader.map(|of| (of.member.name.clone(), of.member.clients.clone())),
            voters: status.members.iter().filter(|of| of.is_voter).count(),
            members: status.members.len(),
            last_index,
            lag,
            member_lags: lags.collect(),
            elections: seen.elections,
            confirmations: seen.confirmations,
            failed_confirmations: seen.failed_confirmations,
            heard: seen.heard,
            takes_part: leads || follows,
        }
    }

    /// Changes the cluster, one change at a time.
    pub(super) async fn change(&self, change: &Change) -> Result<(), Rejected> {
        // Another member can make the change, so its name comes before all other reasons.
        self.consensus.confirm().await?;
        let Ok(_only) = self.changing.try_lock() else {
            return impossible("another change of the cluster is under way: wait until it is over");
        };
        let settling = self.settling();
        if !settling.is_zero() {
            // The next leader would not know that it may grant nothing.
            return impossible(format!(
                "the cluster was recovered, and grants and changes nothing for {settling:?} after its start: wait \
                 until `/readyz` says that it is ready"
            ));
        }
        let changed = match change {
            Change::Add(add) => tokio::time::timeout(PATIENCE, self.add(add)).await,
            Change::Promote(name) => {
                let id = self.named(name)?.id;
                tokio::time::timeout(PATIENCE, self.consensus.promote(id)).await
            }
            Change::Remove(name) => {
                let id = self.named(name)?.id;
                tokio::time::timeout(PATIENCE, self.consensus.remove(id)).await
            }
            Change::StepDown(_) => Ok(self.consensus.step_down().await),
        };
        let Ok(changed) = changed else {
            return impossible(format!(
                "no majority has confirmed the change within {} s: check with `status` which members are missing, and \
                 whether the change was made later",
                PATIENCE.as_secs()
            ));
        };
        if changed.is_ok() {
            info!(?change, "the cluster was changed");
        }
        changed
    }

    fn named(&self, name: &str) -> Result<MemberState, Rejected> {
        let members = self.consensus.status().members;
        let mut names: Vec<_> = members.iter().map(|of| of.member.name.clone()).collect();
        names.sort_unstable();
        match members.into_iter().find(|of| of.member.name == name) {
            Some(found) => Ok(found),
            None => impossible(format!(
                "the cluster has no member `{name}`: its members are {}",
                names.join(", ")
            )),
        }
    }

    async fn add(&self, add: &proto::AddMember) -> Result<(), Rejected> {
        let proto::AddMember { name, address } = add;
        let members = self.consensus.status().members;
        let taken = |of: &&MemberState| of.member.name == *name || of.member.address == *address;
        if let Some(taken) = members.iter().find(taken) {
            return impossible(format!(
                "the member {} at {} has this name or this address: give the new node others, or remove that member \
                 first",
                taken.member.name, taken.member.address
            ));
        }
        let (id, member) = self.consensus.find(name, address).await?;
        // Returns when the node has caught up. If that takes long, it goes on in the background.
        let added = self.consensus.add_learner(id, member);
        match tokio::time::timeout(PATIENCE / 2, added).await {
            Ok(added) => added,
            Err(_) if self.named(name).is_ok() => Ok(()),
            Err(_) => impossible(
                "no majority has confirmed the change in time: check with `status` which members are missing",
            ),
        }
    }
}
