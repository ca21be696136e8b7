//! The files of a node that does not run: those of a new node that begins with a table, and what
//! the files of a member say.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use distsync_core::{Error, ErrorKind, Result, Token};
use openraft::{CommittedLeaderId, EntryPayload};

use super::leadership::of_term;
use super::log::NodeLog;
use super::snapshots::{Content, Snapshots};
use super::types::{LogId, Membership, SnapshotMeta, StoredMembership, Vote};
use crate::cluster::consensus::{Failure, Member, NodeId};
use crate::cluster::machine::Machine;
use crate::storage::cluster::abort;

/// The file in a data folder says that its files are being replaced.
const UNFINISHED: &str = "unfinished";

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

/// Notes that the files of the folder are being replaced, or that they have been.
pub(crate) fn mark_unfinished(folder: &Path, is_unfinished: bool) -> io::Result<()> {
    let mark = folder.join(UNFINISHED);
    if is_unfinished {
        std::fs::File::create(mark)?.sync_all()?;
    } else {
        std::fs::remove_file(mark)?;
    }
    sync(folder)
}

/// Puts the files of a member that are in `from` into `folder`, and what was there into `old`.
pub(crate) fn install(folder: &Path, from: &Path, old: &Path) -> io::Result<()> {
    // The snapshot first: it can be used with the log before it, but not the other way round.
    for part in ["snapshots", "raft"] {
        let place = folder.join(part);
        if place.exists() {
            std::fs::rename(&place, old.join(part))?;
        }
        std::fs::rename(from.join(part), place)?;
    }
    sync(old)?;
    sync(folder)
}

pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}
