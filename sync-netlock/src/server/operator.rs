//! The cluster of a member, as operators see and change it.

use std::time::Duration;

use tracing::info;

use super::member::Member;
use crate::cluster::{MemberState, Rejected};
use crate::wire::proto;
use crate::wire::proto::change_cluster::Change;

/// How long a change may take. A change that takes longer may still be made later.
const PATIENCE: Duration = Duration::from_secs(10);

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
