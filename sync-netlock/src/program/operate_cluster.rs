//! The commands for the operator of a cluster: `netlockd admin cluster status` and so on.

use clap::Subcommand;
use distsync_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::client::Admin;
use crate::wire::proto::change_cluster::Change;
use crate::wire::proto::{AddMember, Cluster, ClusterMember, StepDown};

/// A command for a cluster.
#[derive(Debug, Subcommand)]
pub(super) enum ClusterOperation {
    /// Show the members, which of them leads, and how far the others are behind.
    Status {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Add a node that runs and belongs to no cluster. It receives all changes and does not vote
    /// until it is promoted.
    Add {
        /// The name of the node, and where the members reach it, as NAME=HOST:PORT.
        #[arg(value_name = "NAME=HOST:PORT")]
        node: String,
    },
    /// Make a member vote that was added. Waits a few seconds until it has caught up.
    Promote {
        /// The name of the member.
        name: String,
    },
    /// Remove a member. Stop it afterwards, and do not use its data folder again.
    Remove {
        /// The name of the member.
        name: String,
    },
    /// Let another member lead.
    StepDown,
}

/// Executes a command, and returns its output.
pub(super) async fn execute(admin: &Admin, operation: ClusterOperation) -> Result<Vec<String>> {
    let is_change = !matches!(operation, ClusterOperation::Status { .. });
    let (mut lines, cluster) = match operation {
        ClusterOperation::Status { json } => {
            let cluster = admin.cluster().await?;
            if json {
                return Ok(vec![to_json(&cluster)?]);
            }
            (status(&cluster), cluster)
        }
        ClusterOperation::Add { node } => {
            let Some((name, address)) = node.split_once('=').filter(|(_, at)| at.contains(':'))
            else {
                let problem = format!("`{node}` names no node: write it as NAME=HOST:PORT");
                return Err(Error::new(ErrorKind::InvalidOption, problem));
            };
            let add = AddMember {
                name: name.to_owned(),
                address: address.to_owned(),
            };
            let cluster = admin.change_cluster(Change::Add(add)).await?;
            let behind = cluster
                .members
                .iter()
                .find(|member| member.name == name)
                .map_or_else(|| "unknown".to_owned(), |member| behind(&cluster, member));
            let line = format!("added {name}, which does not vote yet: behind {behind}");
            (vec![line], cluster)
        }
        ClusterOperation::Promote { name } => {
            let cluster = admin.change_cluster(Change::Promote(name.clone())).await?;
            (vec![format!("{name} votes now")], cluster)
        }
        ClusterOperation::Remove { name } => {
            let cluster = admin.change_cluster(Change::Remove(name.clone())).await?;
            let line = format!("removed {name}: stop it, and do not use its data folder again");
            (vec![line], cluster)
        }
        ClusterOperation::StepDown => {
            let cluster = admin.change_cluster(Change::StepDown(StepDown {})).await?;
            let leader = leader(&cluster).map_or("another member", |leader| &leader.name);
            (vec![format!("{leader} leads now")], cluster)
        }
    };
    if is_change && let Some(warning) = warning(voters(&cluster)) {
        lines.push(format!("warning: {warning}"));
    }
    Ok(lines)
}

/// Returns why a cluster should not have this number of voters.
pub(super) fn warning(voters: usize) -> Option<String> {
    let survived = voters.saturating_sub(1) / 2;
    match voters {
        1 | 2 => Some(format!(
            "a cluster with {voters} of {voters} voters stops when one of them fails: use 3 or 5"
        )),
        even if even > 0 && even % 2 == 0 => Some(format!(
            "a cluster with {even} voters survives {survived} failures, as one with {} does: use an odd number",
            even - 1
        )),
        _ => None,
    }
}

fn voters(cluster: &Cluster) -> usize {
    let voters = cluster.members.iter().filter(|member| member.is_voter);
    voters.count()
}

fn leader(cluster: &Cluster) -> Option<&ClusterMember> {
    let leads = |member: &&ClusterMember| member.id == cluster.leader;
    cluster.members.iter().find(leads)
}

/// Returns by how many entries a member is behind the leader, if that is known.
fn lag(cluster: &Cluster, member: &ClusterMember) -> Option<u64> {
    if member.id == cluster.node {
        return Some(cluster.last_index.saturating_sub(cluster.applied_index));
    }
    let is_known = cluster.leader == cluster.node && member.matched_index > 0;
    is_known.then(|| cluster.last_index.saturating_sub(member.matched_index))
}

fn behind(cluster: &Cluster, member: &ClusterMember) -> String {
    lag(cluster, member).map_or_else(|| "unknown".to_owned(), |lag| lag.to_string())
}

fn status(cluster: &Cluster) -> Vec<String> {
    if cluster.members.is_empty() {
        let line = "leader unknown: this node belongs to no cluster yet, because its first members have not all \
                    answered, or because it was not added";
        return vec![line.to_owned()];
    }
    let name = leader(cluster).map_or("unknown", |leader| &leader.name);
    let mut lines = vec![format!(
        "leader {name} term {} entries {} voters {}",
        cluster.term,
        cluster.last_index,
        voters(cluster)
    )];
    lines.extend(cluster.members.iter().map(|member| {
        let role = role(cluster, member);
        let behind = behind(cluster, member);
        let clients = match &*member.clients {
            "" => "unknown",
            known => known,
        };
        format!(
            "{} {:016x} {role} behind {behind} clients {clients} peers {}",
            member.name, member.id, member.address
        )
    }));
    lines.extend(warning(voters(cluster)).map(|warning| format!("warning: {warning}")));
    lines
}

fn role(cluster: &Cluster, member: &ClusterMember) -> &'static str {
    match member.is_voter {
        _ if member.id == cluster.leader => "leader",
        true => "follower",
        false => "learner",
    }
}

#[derive(Serialize)]
struct StatusJson<'a> {
    leader: Option<&'a str>,
    term: u64,
    entries: u64,
    members: Vec<MemberJson<'a>>,
    warning: Option<String>,
}

#[derive(Serialize)]
struct MemberJson<'a> {
    name: &'a str,
    id: String,
    role: &'static str,
    votes: bool,
    behind: Option<u64>,
    clients: &'a str,
    peers: &'a str,
}

fn to_json(cluster: &Cluster) -> Result<String> {
    let member = |member: &'_ ClusterMember| (lag(cluster, member), role(cluster, member));
    let members = cluster.members.iter().map(|of| {
        let (behind, role) = member(of);
        MemberJson {
            name: &of.name,
            id: format!("{:016x}", of.id),
            role,
            votes: of.is_voter,
            behind,
            clients: &of.clients,
            peers: &of.address,
        }
    });
    let status = StatusJson {
        leader: leader(cluster).map(|leader| &*leader.name),
        term: cluster.term,
        entries: cluster.last_index,
        members: members.collect(),
        warning: warning(voters(cluster)),
    };
    serde_json::to_string(&status).map_err(|error| {
        Error::new(ErrorKind::Protocol, "the status is no JSON").with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_survive_no_more_failures_are_warned_of() {
        for voters in [1, 2, 4, 6] {
            assert!(warning(voters).is_some(), "{voters}");
        }
        for voters in [3, 5, 7] {
            assert_eq!(warning(voters), None);
        }
    }
}
