//! How a cluster begins: its first members find each other by their names and addresses.

use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{Error, ErrorKind, Result};
use futures_util::future::join_all;
use tracing::{info, warn};

use super::consensus::{Consensus, Member, NodeId, Rejected};
use super::node::Node;
use super::peers::{Unreachable, who_is};

/// How long to wait before the other nodes are asked again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the log says what the node waits for.
const SAY: Duration = Duration::from_secs(10);

/// What the other first members have said.
enum Found {
    /// All belong to no cluster yet. These are the voters of the first one, with this node.
    Unformed(Vec<(NodeId, Member)>),
    /// The cluster exists. It reaches this node by itself, or does not have it yet.
    Formed { has_this_node: bool },
}

/// Why a cluster cannot be formed now.
enum Obstacle {
    Unreachable(Unreachable),
    Invalid(Error),
}

impl From<Unreachable> for Obstacle {
    fn from(why: Unreachable) -> Self {
        Self::Unreachable(why)
    }
}

fn invalid(problem: String) -> Obstacle {
    Obstacle::Invalid(Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock"))
}

impl Node {
    /// Waits until this node belongs to a cluster. Forms the cluster with these first members, when
    /// all of them have answered at their addresses for other nodes. A node that is not one of them
    /// waits until it is added to the cluster.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if two of the first members have one name or one address, if
    /// another node has one of the addresses, or if the cluster has another node with the name of
    /// this one, because the folder of this node was emptied.
    ///
    /// # Cancel safety
    /// If the future is dropped, the cluster may be formed.
    pub async fn join(&self, first: &[Member]) -> Result<()> {
        let mut said = None;
        let mut say = |why: &str| {
            let now = clock::now();
            if said.is_none_or(|said| now.since(said) > SAY) {
                info!(why, "this node waits for its cluster");
                said = Some(now);
            }
        };
        let name = &self.links.identity().name;
        let forms = first.iter().map(|member| &member.name).min() == Some(name);
        while !self.belongs()? {
            match self.ask_all(first).await {
                Ok(Found::Unformed(voters)) if forms => match self.form(voters).await {
                    Ok(()) => info!(members = first.len(), "this node has formed the cluster"),
                    Err(Rejected::Stopped) => return Ok(()),
                    Err(why) => warn!(%why, "the cluster was not formed"),
                },
                Ok(Found::Unformed(_)) => say("the first of them by name forms it"),
                Ok(Found::Formed {
                    has_this_node: true,
                }) => say("the leader has not reached it"),
                Ok(Found::Formed { .. }) => say("it is not a member yet: add it"),
                Err(Obstacle::Unreachable(why)) => say(&why.0),
                Err(Obstacle::Invalid(error)) => return Err(error),
            }
            let pause = tokio::time::sleep(PAUSE);
            if self.stop.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Returns whether this node belongs to a cluster.
    fn belongs(&self) -> Result<bool> {
        let members = self.status().members;
        let (id, name) = (self.links.identity().id, &self.links.identity().name);
        let this = members.iter().find(|member| member.id == id);
        match this {
            Some(this) if this.member.name != *name => {
                let problem = format!(
                    "the data folder belongs to node {} of the cluster, and this node has the name {name}: correct \
                     the name or the folder",
                    this.member.name
                );
                Err(Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock"))
            }
            _ => Ok(!members.is_empty()),
        }
    }

    async fn ask_all(&self, first: &[Member]) -> std::result::Result<Found, Obstacle> {
        let identity = self.links.identity();
        let asked = first.iter().map(|member| async move {
            if member.name == identity.name {
                let clients = identity.clients.clone();
                return Ok((identity.id, clients, Vec::new(), member));
            }
            let welcome = who_is(identity, member).await?;
            if welcome.name != member.name {
                return Err(invalid(format!(
                    "node {} is at the address {} of node {}: correct the addresses of the first members",
                    welcome.name, member.address, member.name
                )));
            }
            Ok((welcome.node, welcome.clients, welcome.members, member))
        });
        // One that knows the cluster is enough, so those that do not answer count only after it.
        let mut voters = Vec::new();
        let mut missing = None;
        for answer in join_all(asked).await {
            let (id, clients, members, member) = match answer {
                Ok(answer) => answer,
                Err(Obstacle::Unreachable(why)) => {
                    missing = missing.or(Some(why));
                    continue;
                }
                Err(why) => return Err(why),
            };
            if members.is_empty() {
                let member = Member {
                    clients,
                    ..member.clone()
                };
                voters.push((id, member));
                continue;
            }
            let this = members.iter().find(|known| known.name == identity.name);
            return match this {
                Some(this) if this.id != identity.id => Err(invalid(format!(
                    "the cluster has a member {} with another id: the folder of this node was emptied or is the wrong \
                     one. Use the right folder, or remove the member and add this node under another name",
                    identity.name
                ))),
                this => Ok(Found::Formed {
                    has_this_node: this.is_some(),
                }),
            };
        }
        match missing {
            Some(why) => Err(why.into()),
            None => Ok(Found::Unformed(voters)),
        }
    }
}
