//! `netlockd cluster init` and `netlockd cluster recover`: they make a data folder that of the only
//! member of a cluster. The server of the folder must not run.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use distsync_core::{Error, ErrorKind, Result};

use super::cluster::ClusterSettings;
use super::cluster_operation::FolderOperation;
use super::settings::Settings;
use crate::cluster::{
    Machine, Member, NodeId, Position, Recovered, Replacement, SharedReplica, dump_of, offline,
};
use crate::engine::{Freeze, Limits};
use crate::epoch;
use crate::storage::{Durability, Storage, StorageOptions};

/// The revisions of queues follow from the index, and those of the lost members may be higher than
/// this node knows. No cluster makes so many entries unnoticed.
const LOST_ENTRIES: u64 = 1 << 30;

const COMPLETED: &str = "completed an earlier command";
const START: &str = "start it, and add new members with empty folders when it grants locks again";

fn invalid(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, problem.into()).with_backend("netlock")
}

/// The settings of the member that the folder will have.
struct Place<'a> {
    settings: &'a Settings,
    cluster: &'a ClusterSettings,
    folder: PathBuf,
    limits: Limits,
}

/// Executes a command, and returns its output.
pub(super) async fn execute(
    settings: &Settings,
    operation: FolderOperation,
) -> Result<Vec<String>> {
    let cluster = settings.cluster.as_ref().ok_or_else(|| {
        invalid("the section `cluster` is missing: give the settings with which the member will be started")
    })?;
    let folder = settings
        .data_dir
        .clone()
        .ok_or_else(|| invalid("`data_dir` is missing: give the data folder"))?;
    let place = Place {
        settings,
        cluster,
        folder,
        limits: settings.server_options()?.limits,
    };
    match operation {
        FolderOperation::Init => place.init().await,
        FolderOperation::Recover { yes, longest_ttl } => place.recover(yes, longest_ttl).await,
    }
}

impl Place<'_> {
    fn failed(&self, error: io::Error) -> Error {
        let problem = format!(
            "cannot replace the files of the data folder {}: correct the cause, and repeat the command",
            self.folder.display()
        );
        let error = Error::new(ErrorKind::Store, problem).with_source(error);
        error.with_backend("netlock")
    }

    /// Returns this node as the other members will know it.
    fn member(&self, table: u128) -> Result<Member> {
        let membership =
            self.cluster
                .checked(&self.settings.listen, Some(table), Some(&self.folder))?;
        let name = &membership.node.name;
        let this = membership.first.into_iter().find(|of| of.name == *name);
        let mut member = this.ok_or_else(|| {
            invalid(format!(
                "`cluster.peers` does not have this node, {name}: add it with the address at which other nodes will \
                 reach it"
            ))
        })?;
        member.clients = membership.node.clients;
        if member.clients.is_empty() {
            return Err(invalid(
                "clients cannot connect to port 0: give the address at which they reach this node as \
                 `cluster.advertise`",
            ));
        }
        Ok(member)
    }

    async fn init(&self) -> Result<Vec<String>> {
        let folder = &self.folder;
        let given = self.settings.table()?;
        // Before anything is changed.
        let mut member = self.member(given.unwrap_or_default())?;
        let kept = folder.join("single-server");
        let is_unfinished = offline::is_unfinished(folder);
        if is_unfinished && (self.complete()? || kept.exists()) {
            self.put_aside(&kept).map_err(|error| self.failed(error))?;
            return Ok(vec![COMPLETED.to_owned()]);
        }
        if offline::is_member(folder) && !is_unfinished {
            return Err(invalid(format!(
                "the data folder {} is that of a member already: start netlockd with it",
                folder.display()
            )));
        }
        if !offline::is_single(folder) {
            return Err(invalid(format!(
                "the data folder {} has no table of a single server: correct the folder, or start the first members \
                 with empty folders",
                folder.display()
            )));
        }
        let options = StorageOptions {
            folder: folder.clone(),
            durability: Durability::Fsync,
            log_bytes: self.settings.log_bytes,
        };
        let (table, storage) = Storage::open(&options, &self.limits)?;
        let identity = storage.identity(given)?;
        let is_settling = matches!(table.frozen(), Some(Freeze::Grace { .. }));
        let recovered = Recovered {
            incarnation: storage.incarnation(),
            settling: if is_settling {
                storage.longest_ttl()
            } else {
                Duration::ZERO
            },
        };
        member = self.member(identity).unwrap_or(member);
        let stats = table.stats();
        let position = Position { term: 1, index: 1 };
        let made = Made {
            identity,
            member,
            position,
            recovered,
            last_token: table.last_token(),
        };
        let id = self.replace(made, dump_of(&table)).await?;
        drop(storage);
        self.put_aside(&kept).map_err(|error| self.failed(error))?;
        Ok(vec![
            format!(
                "the folder is that of member {} now, with the id {id:016x}, {} sessions and {} claims",
                self.cluster.name(),
                stats.sessions,
                stats.claims
            ),
            format!("table {identity:032x}: set `table` to it on all members"),
            format!(
                "the files of the single server are in {}: remove them when the cluster runs",
                kept.display()
            ),
        ])
    }

    /// Moves the files of the single server away, so that nothing can use them by mistake.
    fn put_aside(&self, kept: &Path) -> io::Result<()> {
        std::fs::create_dir_all(kept)?;
        offline::sync(&self.folder)?;
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_single = name.to_str().is_some_and(|name| {
                ["lock", "tail", "table", "notes", "notes.next"].contains(&name)
                    || name.starts_with("log")
            });
            if is_single {
                std::fs::rename(entry.path(), kept.join(name))?;
            }
        }
        offline::sync(kept)?;
        Replacement::finish(&self.folder)
    }

    /// Completes the replacement of the files that an interrupted command has begun. Returns
    /// whether there was one.
    fn complete(&self) -> Result<bool> {
        let begun = Replacement::begun(&self.folder).map_err(|error| self.failed(error))?;
        let Some(replacement) = begun else {
            return Ok(false);
        };
        let installed = replacement.install(&self.folder);
        installed.map_err(|error| self.failed(error))?;
        Ok(true)
    }

    async fn recover(&self, yes: bool, longest_ttl: Option<Duration>) -> Result<Vec<String>> {
        let folder = &self.folder;
        let table = self.settings.table()?.ok_or_else(|| {
            invalid(
                "`table` is missing, which identifies the cluster: give the settings of the member",
            )
        })?;
        let member = self.member(table)?;
        if !offline::is_member(folder) || offline::is_single(folder) {
            return Err(invalid(format!(
                "the data folder {} is not that of a member of a cluster: correct the folder",
                folder.display()
            )));
        }
        if offline::is_unfinished(folder) && self.complete()? {
            Replacement::finish(folder).map_err(|error| self.failed(error))?;
            return Ok(vec![COMPLETED.to_owned(), START.to_owned()]);
        }
        let mut replica = SharedReplica::new(self.limits.clone());
        let found = offline::read(folder, table, &mut replica)?;
        let this = found.members.get(&found.id).map(|this| &this.name);
        let is_unfinished = offline::is_unfinished(folder);
        if !is_unfinished && this.is_none() {
            return Err(invalid(
                "this node is no member of a cluster, so it has nothing to recover: use the data folder of a member",
            ));
        }
        if let Some(name) = this.filter(|name| **name != member.name) {
            return Err(invalid(format!(
                "the data folder belongs to node {name} of the cluster, and this node has the name {}: correct the \
                 name or the folder",
                member.name
            )));
        }
        let others = found.members.iter().filter(|(id, _)| **id != found.id);
        let mut others: Vec<_> = others.map(|(_, other)| other.name.clone()).collect();
        others.sort_unstable();
        if others.is_empty() && !is_unfinished {
            return Err(invalid(
                "this node is the only member of its cluster: start it",
            ));
        }
        let settling = longest_ttl.unwrap_or(self.limits.ttl_max);
        let risks = format!(
            "it removes the members {} from the cluster. Locks and sessions that only they had stored are lost, and \
             released locks may be held again until their sessions end. {} of the last entries of this node may never \
             have been confirmed. Nothing is granted for {} after the start, and no member can be added in this time",
            others.join(", "),
            found.uncommitted,
            humantime::format_duration(settling)
        );
        if !yes {
            return Err(invalid(format!(
                "`recover` is for a majority that is lost for ever: {risks}. The last entry of this node is {} of term \
                 {}: use the member with the highest term and, among these, the last entry. Destroy the data folders \
                 of the others first: if they are started again, there are two clusters with the same locks. Then \
                 repeat the command with --yes",
                found.position.index, found.last_term
            )));
        }
        let before = Recovered::read(folder).map_err(|error| self.failed(error))?;
        let last = replica.last_token();
        let next_epoch = epoch::of(last) + 1;
        let made = Made {
            identity: table,
            member,
            position: Position {
                term: found.position.term + 1,
                index: found.position.index + LOST_ENTRIES,
            },
            recovered: Recovered {
                incarnation: epoch::now().max(before.incarnation + 1),
                settling,
            },
            last_token: epoch::floor_of(epoch::now().max(next_epoch)).max(last),
        };
        let id = self.replace(made, replica.dump()).await?;
        Replacement::finish(folder).map_err(|error| self.failed(error))?;
        Ok(vec![
            format!(
                "this node is the only member of the cluster now, with the id {id:016x}: {risks}"
            ),
            START.to_owned(),
        ])
    }

    /// Replaces the files of the folder by those of the only member of a cluster. They stay marked
    /// as unfinished.
    async fn replace(&self, made: Made, dump: Vec<u8>) -> Result<NodeId> {
        let folder = &self.folder;
        let replacement = Replacement::of(folder);
        let new = &replacement.new;
        let failed = |error| self.failed(error);
        offline::remove_left(folder)
            .and_then(|()| std::fs::create_dir(new))
            .map_err(failed)?;
        let Made {
            identity,
            member,
            position,
            recovered,
            last_token,
        } = made;
        let id = offline::create(new, identity, member, position, dump, last_token).await?;
        recovered
            .write(new)
            .and_then(|()| replacement.begin(folder))
            .and_then(|()| replacement.install(folder))
            .map_err(failed)?;
        Ok(id)
    }
}

/// What the new member has.
struct Made {
    identity: u128,
    member: Member,
    position: Position,
    recovered: Recovered,
    last_token: distsync_core::Token,
}
