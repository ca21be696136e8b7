//! The settings of a cluster that make locks on it worse.

use distsync_core::Result;
use etcd_client::Client;

use crate::backend::Etcd;

/// The least number of members that survive the loss of one of them.
const MEMBERS: usize = 3;

impl Etcd {
    /// Returns the settings of the cluster that make locks on it worse, each as a problem and its
    /// remedy. Reports only what this client can see.
    ///
    /// # Errors
    /// [`Denied`](distsync_core::ErrorKind::Denied) if the user may not list the members, which
    /// locks do not need; [`Unavailable`](distsync_core::ErrorKind::Unavailable).
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn weaknesses(&self) -> Result<Vec<String>> {
        let members = self.members();
        let list = async |client: Client| client.cluster_client().member_list().await;
        let list = members.ask(list).await?;
        let voters = list.members().iter().filter(|member| !member.is_learner());
        let count = voters.count();
        let status = async |client: Client| client.maintenance_client().status().await;
        let status = members.ask(status).await?;
        let mut found = Vec::new();
        if count < MEMBERS {
            let members = if count == 1 { "member" } else { "members" };
            found.push(format!(
                "the cluster has {count} {members}, so the loss of one stops all locks: use {MEMBERS} or 5"
            ));
        }
        if !members.is_authenticated() {
            found.push(
                "etcd accepts requests without a user, so anyone who can reach it can break locks: enable authentication"
                    .to_owned(),
            );
        }
        let alarms = status.errors().iter();
        found.extend(
            alarms.map(|alarm| format!("etcd reports `{}`: look at its log", alarm.escape_debug())),
        );
        Ok(found)
    }
}
