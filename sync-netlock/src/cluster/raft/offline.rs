//! The files of a node that does not run: those of a new node that begins with a table, and what
//! the files of a member say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use distsync_core::spi::Secret;
use distsync_core::{Error, ErrorKind, Result, Token};
use openraft::{CommittedLeaderId, EntryPayload};

use super::leadership::of_term;
use super::log::NodeLog;
use super::snapshots::{Content, Snapshots};
use super::types::{LogId, Membership, SnapshotMeta, StoredMembership, Vote};
use crate::cluster::consensus::{Failure, Member, NodeId};
use crate::cluster::machine::Machine;
use crate::cluster::recovered;
use crate::storage::cluster::abort;

/// The file in a data folder says that its files are being replaced.
const UNFINISHED: &str = "unfinished";
/// How the name of a folder with new files begins.
const NEW: &str = "new-";

/// What a table is known to contain.
pub(crate) struct Position {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// What the files of a member say.
pub(crate) struct Found {
    pub(crate) position: Position,
    /// The term of its last entry.
    pub(crate) last_term: u64,
    /// How many of its last entries it does not know to be committed.
    pub(crate) uncommitted: u64,
    pub(crate) id: NodeId,
    pub(crate) members: BTreeMap<NodeId, Member>,
}

fn explain(folder: &Path, error: io::Error) -> Error {
    let problem = format!("cannot write the data folder {}", folder.display());
    Error::new(ErrorKind::Store, problem)
        .with_backend("netlock")
        .with_source(error)
}

fn failure() -> Failure {
    Arc::new(|error| abort(error))
}

/// Reads the files of a member into `machine`: its snapshot, and all entries of its log. Those that
/// it does not know to be committed are included, because clients may have been told of them.
pub(crate) fn read(folder: &Path, cluster: u128, machine: &mut dyn Machine) -> Result<Found> {
    let wrong = |why: String| {
        let problem = format!("the data folder {} cannot be used: {why}", folder.display());
        Error::new(ErrorKind::Store, problem).with_backend("netlock")
    };
    let (log, id) = NodeLog::open(&folder.join("raft"), cluster, u64::MAX, failure())?;
    let (_snapshots, newest) = Snapshots::open(&folder.join("snapshots"))?;
    let (mut last, mut membership) = (None, StoredMembership::default());
    if let Some(newest) = newest {
        machine
            .load(&newest.dump, newest.last_token)
            .map_err(|why| wrong(why.to_string()))?;
        (last, membership) = (newest.meta.last_log_id, newest.meta.last_membership);
    }
    let (vote, committed, entries) = log.with_state(|state| state.after(last));
    let in_snapshot = last.map_or(0, |last| last.index);
    for entry in entries {
        let at = entry.log_id;
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(changes) => {
                if let Some(frame) = of_term(at.leader_id.term, &changes) {
                    machine
                        .apply(at.index, frame)
                        .map_err(|why| wrong(why.to_string()))?;
                }
            }
            EntryPayload::Membership(changed) => {
                membership = StoredMembership::new(Some(at), changed);
            }
        }
        last = Some(at);
    }
    let index = last.map_or(0, |last| last.index);
    let term = vote.map_or(0, |vote| vote.leader_id.term);
    let last_term = last.map_or(0, |last| last.leader_id.term);
    let committed = committed.map_or(0, |committed| committed.index);
    let nodes = membership.membership().nodes();
    Ok(Found {
        position: Position {
            term: term.max(last_term),
            index,
        },
        last_term,
        uncommitted: index.saturating_sub(committed.max(in_snapshot)),
        id,
        members: nodes.map(|(id, member)| (*id, member.clone())).collect(),
    })
}

/// Creates the files of a new node, which is the only member of its cluster and has this table.
/// `position` is that of the table's last entry. Returns the id of the node.
pub(crate) async fn create(
    folder: &Path,
    cluster: u128,
    member: Member,
    position: Position,
    dump: Vec<u8>,
    last_token: Token,
) -> Result<NodeId> {
    let (log, id) = NodeLog::open(&folder.join("raft"), cluster, u64::MAX, failure())?;
    let (snapshots, _) = Snapshots::open(&folder.join("snapshots"))?;
    let Position { term, index } = position;
    let last = LogId::new(CommittedLeaderId::new(term, id), index);
    let voters = vec![BTreeSet::from([id])];
    let membership = Membership::new(voters, BTreeMap::from([(id, member)]));
    let content = Content {
        meta: SnapshotMeta {
            last_log_id: Some(last),
            last_membership: StoredMembership::new(Some(last), membership),
            snapshot_id: format!("{last}-0"),
        },
        last_token,
        dump: Bytes::from(dump),
    };
    snapshots
        .store(&content)
        .map_err(|error| explain(folder, error))?;
    log.begin_after(Vote::new(term, id), last)
        .await
        .map_err(|error| explain(folder, error))?;
    Ok(id)
}

/// Returns whether the files of the folder are those of a member.
pub(crate) fn is_member(folder: &Path) -> bool {
    folder.join("raft").exists() || folder.join("snapshots").exists()
}

/// Returns whether the folder has files of a single server.
pub(crate) fn is_single(folder: &Path) -> bool {
    folder.join("notes").exists() || folder.join("table").exists()
}

/// Returns whether a replacement of the files was interrupted.
pub(crate) fn is_unfinished(folder: &Path) -> bool {
    folder.join(UNFINISHED).exists()
}

/// The replacement of the files of a folder. It is noted in the folder before it begins, so that it
/// can be completed after an interruption.
#[derive(Debug)]
pub(crate) struct Replacement {
    /// Has the new files.
    pub(crate) new: PathBuf,
    /// Gets the replaced ones.
    pub(crate) old: PathBuf,
}

impl Replacement {
    /// Returns a replacement with new names.
    pub(crate) fn of(folder: &Path) -> Self {
        let mark = Secret::random().expose();
        Self {
            new: folder.join(format!("{NEW}{mark:032x}")),
            old: folder.join(format!("replaced-{mark:032x}")),
        }
    }

    /// Returns the replacement that was begun in a folder, and not completed.
    pub(crate) fn begun(folder: &Path) -> io::Result<Option<Self>> {
        let text = match std::fs::read_to_string(folder.join(UNFINISHED)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Without the names, it was interrupted before anything was replaced.
        let mut names = text.split_terminator('\n').map(|name| folder.join(name));
        Ok(match (names.next(), names.next(), text.ends_with('\n')) {
            (Some(new), Some(old), true) => Some(Self { new, old }),
            _ => None,
        })
    }

    /// Notes that it begins. The new files are complete.
    pub(crate) fn begin(&self, folder: &Path) -> io::Result<()> {
        let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
        let mut mark = File::create(folder.join(UNFINISHED))?;
        write!(mark, "{}\n{}\n", name(&self.new), name(&self.old))?;
        mark.sync_all()?;
        sync(folder)
    }

    /// Replaces the files, also after an earlier attempt was interrupted.
    pub(crate) fn install(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(&self.old)?;
        for part in [recovered::FILE, "snapshots", "raft"] {
            let (from, place) = (self.new.join(part), folder.join(part));
            if !from.exists() {
                // It is installed.
                continue;
            }
            if place.exists() {
                std::fs::rename(&place, self.old.join(part))?;
            }
            std::fs::rename(from, place)?;
        }
        sync(&self.old)?;
        sync(folder)?;
        // Of a single server, there was nothing to replace.
        let _ = std::fs::remove_dir(&self.old);
        match std::fs::remove_dir(&self.new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Notes that the files of the folder are complete.
    pub(crate) fn finish(folder: &Path) -> io::Result<()> {
        std::fs::remove_file(folder.join(UNFINISHED))?;
        sync(folder)
    }
}

/// Removes new files that an interrupted command has left, and that no replacement needs.
pub(crate) fn remove_left(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(NEW) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
