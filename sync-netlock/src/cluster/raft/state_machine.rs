//! Applies committed entries to the table of the node.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use distsync_core::Result;
use distsync_core::spi::locked;
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{
    AnyError, EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder,
    StorageIOError,
};
use tracing::info;

use super::leadership::of_term;
use super::snapshots::{Content, SnapshotFile, Snapshots};
use super::types::{Entry, LogId, SnapshotMeta, StorageError, StoredMembership, Types};
use crate::cluster::consensus::NodeId;
use crate::cluster::machine::Machine;

/// The table of the node, and what of the log is in it. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct StateMachine {
    applied: Arc<Mutex<Applied>>,
    snapshots: Arc<Snapshots>,
}

#[derive(Debug)]
struct Applied {
    machine: Box<dyn Machine>,
    last: Option<LogId>,
    membership: StoredMembership,
    /// The number of snapshots built by this run.
    built: u64,
}

impl StateMachine {
    /// Creates a state machine that continues from the newest snapshot.
    pub(crate) fn new(
        mut machine: Box<dyn Machine>,
        snapshots: Arc<Snapshots>,
        newest: Option<Content>,
    ) -> Result<Self> {
        let (mut last, mut membership) = (None, StoredMembership::default());
        if let Some(Content {
            meta,
            last_token,
            dump,
        }) = newest
        {
            machine.load(&dump, last_token).map_err(|why| {
                let problem = "the snapshot of this node cannot be used: remove the node from the cluster, and add it \
                               as a new one with an empty folder";
                distsync_core::Error::new(distsync_core::ErrorKind::Store, problem).with_source(why)
            })?;
            (last, membership) = (meta.last_log_id, meta.last_membership);
        }
        let applied = Applied {
            machine,
            last,
            membership,
            built: 0,
        };
        Ok(Self {
            applied: Arc::new(Mutex::new(applied)),
            snapshots,
        })
    }

    /// Returns the last entry in the table.
    pub(crate) fn last(&self) -> Option<LogId> {
        locked(&self.applied).last
    }

    /// Returns the membership that was applied last.
    pub(crate) fn membership(&self) -> StoredMembership {
        locked(&self.applied).membership.clone()
    }

    /// Returns the last entry in the newest snapshot.
    pub(crate) fn last_in_snapshot(&self) -> Option<LogId> {
        self.snapshots
            .newest()
            .and_then(|(meta, _)| meta.last_log_id)
    }
}

fn snapshot_error(verb: ErrorVerb, error: &io::Error) -> StorageError {
    StorageIOError::<NodeId>::new(ErrorSubject::Snapshot(None), verb, AnyError::new(error)).into()
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> std::result::Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = locked(&self.applied);
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> std::result::Result<Vec<()>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut replies = Vec::new();
        let mut applied = locked(&self.applied);
        for entry in entries {
            let id = entry.log_id;
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(changes) => {
                    if let Some(frame) = of_term(id.leader_id.term, &changes) {
                        applied
                            .machine
                            .apply(id.index, frame)
                            .map_err(|why| StorageIOError::apply(id, AnyError::new(&why)))?;
                    }
                }
                EntryPayload::Membership(membership) => {
                    applied.membership = StoredMembership::new(Some(id), membership);
                }
            }
            applied.last = Some(id);
            replies.push(());
        }
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let mut applied = locked(&self.applied);
        applied.built += 1;
        let last = applied
            .last
            .map_or_else(|| "0".to_owned(), |last| last.to_string());
        let content = Content {
            meta: SnapshotMeta {
                last_log_id: applied.last,
                last_membership: applied.membership.clone(),
                snapshot_id: format!("{last}-{}", applied.built),
            },
            last_token: applied.machine.last_token(),
            dump: Bytes::from(applied.machine.dump()),
        };
        Builder {
            content: Arc::new(content),
            snapshots: self.snapshots.clone(),
        }
    }

    async fn begin_receiving_snapshot(
        &mut self,
    ) -> std::result::Result<Box<SnapshotFile>, StorageError> {
        self.snapshots
            .receive()
            .map(Box::new)
            .map_err(|error| snapshot_error(ErrorVerb::Write, &error))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<SnapshotFile>,
    ) -> std::result::Result<(), StorageError> {
        let (meta, snapshots) = (meta.clone(), self.snapshots.clone());
        let applied = self.applied.clone();
        let install = move || -> io::Result<()> {
            let mut content = Content::decode(snapshot.read()?)?;
            // The leader's word, which may name the snapshot in another way than the file does.
            content.meta = meta;
            let mut applied = locked(&applied);
            applied
                .machine
                .load(&content.dump, content.last_token)
                .map_err(io::Error::other)?;
            // Before it is on the disk, nothing may be removed from the log.
            snapshots.store(&content)?;
            applied.last = content.meta.last_log_id;
            applied.membership = content.meta.last_membership;
            let index = applied.last.map(|id| id.index);
            info!(index, "the snapshot of the leader was installed");
            Ok(())
        };
        tokio::task::spawn_blocking(install)
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| snapshot_error(ErrorVerb::Write, &error))
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> std::result::Result<Option<Snapshot<Types>>, StorageError> {
        Ok(self.snapshots.newest().map(|(meta, file)| Snapshot {
            meta,
            snapshot: Box::new(file),
        }))
    }
}

/// Writes a snapshot of the table to the disk. The table was dumped when this was created.
#[derive(Debug)]
pub(crate) struct Builder {
    content: Arc<Content>,
    snapshots: Arc<Snapshots>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> std::result::Result<Snapshot<Types>, StorageError> {
        let (content, snapshots) = (self.content.clone(), self.snapshots.clone());
        let meta = content.meta.clone();
        let file = tokio::task::spawn_blocking(move || snapshots.store(&content))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| snapshot_error(ErrorVerb::Write, &error))?;
        Ok(Snapshot {
            meta,
            snapshot: Box::new(file),
        })
    }
}
