//! netlockd as a member of a cluster: its settings, and what it does besides serving.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distsync_core::spi::Secret;
use distsync_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::cluster::{Consensus, Member, Node, NodeOptions, PeerTls, Rejected, offline};

/// The section `cluster`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClusterSettings {
    /// The name of this node, which no other node has or had.
    name: String,
    /// Where the other nodes reach this one, as host:port.
    listen: String,
    /// Where clients reach this node, as host:port. Default: the address for clients.
    advertise: Option<String>,
    /// The first members, as NAME=HOST:PORT. All of them have the same list.
    peers: Vec<String>,
    /// The certificate of the node, which names it, its key, and the authority of all nodes. They
    /// are optional if all nodes are on this machine.
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

/// How netlockd becomes a member.
pub(super) struct Membership {
    pub(super) node: NodeOptions,
    pub(super) first: Vec<Member>,
}

fn invalid(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, problem.into())
}

impl ClusterSettings {
    /// Returns the name of the node.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Checks the section together with the settings on which it depends, and the data folder.
    pub(super) fn membership(
        &self,
        listen: &str,
        table: Option<u128>,
        data_dir: Option<&Path>,
    ) -> Result<Membership> {
        let membership = self.checked(listen, table, data_dir)?;
        let folder = &membership.node.folder;
        let problem = if offline::is_unfinished(folder) {
            "was not completely replaced: repeat the command `netlockd cluster`"
        } else if offline::is_single(folder) {
            "has the table of a single server: run `netlockd cluster init` with these settings, or give an empty \
             folder"
        } else {
            return Ok(membership);
        };
        Err(invalid(format!(
            "the data folder {} {problem}",
            folder.display()
        )))
    }

    /// Checks the section together with the settings on which it depends.
    pub(super) fn checked(
        &self,
        listen: &str,
        table: Option<u128>,
        data_dir: Option<&Path>,
    ) -> Result<Membership> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.len() <= 63
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        };
        if !is_name(&self.name) {
            return Err(invalid(format!(
                "`cluster.name` is `{}`: give this node a name of letters, digits, `-` and `.`, which no other node \
                 has",
                self.name
            )));
        }
        if self.listen.is_empty() {
            return Err(invalid(
                "`cluster.listen` is missing: give the address for the other nodes, as host:port",
            ));
        }
        let table = table.ok_or_else(|| {
            invalid(format!(
                "`table` is missing, which identifies the cluster: give all nodes the same one, such as {:032x}",
                Secret::random().expose()
            ))
        })?;
        let folder = data_dir.ok_or_else(|| {
            invalid("`data_dir` is missing, and a member of a cluster keeps its table on the disk: give a folder")
        })?;
        let first = self.first(&is_name)?;
        let clients = self.advertise.clone().unwrap_or_else(|| listen.to_owned());
        if ["0.0.0.0:", "[::]:"]
            .iter()
            .any(|any| clients.starts_with(any))
        {
            return Err(invalid(format!(
                "clients cannot connect to `{clients}`: give the address at which they reach this node as \
                 `cluster.advertise`"
            )));
        }
        let mut node = NodeOptions::new(table, &self.name, folder).with_listen(&self.listen);
        if !clients.ends_with(":0") {
            node = node.with_clients(clients);
        }
        match (&self.cert, &self.key, &self.ca) {
            (Some(certificate), Some(key), Some(authority)) => {
                node = node.with_tls(PeerTls {
                    certificate: certificate.clone(),
                    key: key.clone(),
                    authority: authority.clone(),
                });
            }
            (None, None, None) => {}
            _ => {
                return Err(invalid(
                    "TLS between the nodes is incomplete: give `cluster.cert`, `cluster.key` and `cluster.ca`",
                ));
            }
        }
        Ok(Membership { node, first })
    }

    fn first(&self, is_name: &dyn Fn(&str) -> bool) -> Result<Vec<Member>> {
        let (mut first, mut names, mut addresses) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for peer in &self.peers {
            let parsed = peer.split_once('=').filter(|(name, address)| {
                let port = address
                    .rsplit_once(':')
                    .map(|(_, port)| port.parse::<u16>());
                is_name(name) && matches!(port, Some(Ok(1..)))
            });
            let Some((name, address)) = parsed else {
                return Err(invalid(format!(
                    "`cluster.peers` has `{peer}`: write it as NAME=HOST:PORT"
                )));
            };
            if !names.insert(name) || !addresses.insert(address) {
                return Err(invalid(format!(
                    "`cluster.peers` has the name or the address of `{peer}` twice: give each node its own"
                )));
            }
            first.push(Member {
                name: name.to_owned(),
                address: address.to_owned(),
                clients: String::new(),
            });
        }
        if first.is_empty() {
            return Err(invalid(
                "`cluster.peers` is empty: give the first members, this node included, as NAME=HOST:PORT",
            ));
        }
        if !names.contains(self.name.as_str()) {
            info!("this node is not one of `cluster.peers`, so it waits until it is added");
        }
        if let Some(why) = super::operate_cluster::warning(first.len()) {
            warn!("{why}");
        }
        Ok(first)
    }
}

/// Hands the leadership over before the server stops, if this node leads.
pub(super) async fn hand_over(node: &Arc<Node>) {
    match node.step_down().await {
        Ok(()) => info!("another node leads now"),
        Err(Rejected::NotLeader { .. }) => {}
        Err(why) => warn!(%why, "the leadership was not handed over"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(all: &[&str]) -> ClusterSettings {
        ClusterSettings {
            name: "a".to_owned(),
            listen: "127.0.0.1:1".to_owned(),
            peers: all.iter().map(|&peer| peer.to_owned()).collect(),
            ..ClusterSettings::default()
        }
    }

    #[test]
    fn every_error_names_the_setting_and_the_remedy() {
        let place = tempfile::tempdir().unwrap();
        let three = || peers(&["a=h:1", "b=h:2", "c=h:3"]);
        let folder = Some(place.path());
        let membership = three().membership("h:7", Some(1), folder).unwrap();
        assert_eq!(membership.node.clients, "h:7");
        assert_eq!(membership.first[2].address, "h:3");
        let change = |change: fn(&mut ClusterSettings)| {
            let mut settings = three();
            change(&mut settings);
            settings
        };
        for (settings, reason) in [
            (
                change(|s| s.name = "a b".to_owned()),
                "`cluster.name` is `a b`",
            ),
            (change(|s| s.listen.clear()), "`cluster.listen` is missing"),
            (change(|s| s.cert = Some("c".into())), "`cluster.ca`"),
            (peers(&[]), "`cluster.peers` is empty"),
            (peers(&["a"]), "`a`: write it as NAME=HOST:PORT"),
            (peers(&["a=h:0"]), "`a=h:0`: write it"),
            (peers(&["a=h:1", "a=h:2"]), "`a=h:2` twice"),
            (peers(&["a=h:1", "b=h:1"]), "`b=h:1` twice"),
        ] {
            let error = settings.membership("h:7", Some(1), folder).err().unwrap();
            assert!(error.to_string().contains(reason), "{error}");
        }
        let failed = |listen, table, folder| {
            let failed = three().membership(listen, table, folder);
            failed.err().unwrap().to_string()
        };
        assert!(failed("h:7", None, folder).contains("`table` is missing"));
        assert!(failed("h:7", Some(1), None).contains("`data_dir` is missing"));
        assert!(failed("0.0.0.0:7", Some(1), folder).contains("`cluster.advertise`"));
        std::fs::write(place.path().join("notes"), "").unwrap();
        assert!(failed("h:7", Some(1), folder).contains("single server"));
    }
}
