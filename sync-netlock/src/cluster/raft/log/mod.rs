//! The log of a node: its vote, its entries, and how much of them is committed.
//!
//! The files are those of the log of a single server: frames with checksums, a folder that is
//! locked, and a note of how much was acknowledged. Every change of the vote and every append is
//! one frame, which is on the disk before it is acknowledged. When the log is long and most of it
//! is in a snapshot, a new log with the rest replaces it.
//!
//! There is one exception: openraft would sync an entry on the leader first, and send it to the
//! other nodes afterwards. A leader therefore acknowledges its own entries at once, and its network
//! holds up what the others have acknowledged until they are on its disk too ([`NodeLog::synced`]).
//! So no entry counts as committed before, provided that a majority needs another node.

mod recovery;
mod state;
mod synced;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::{Arc, Mutex};

use distsync_core::Result;
use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, locked};
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{ErrorSubject, ErrorVerb, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use super::convert;
use super::types::{Entry, LogId, StorageError, StoredMembership, Types, Vote};
use crate::cluster::consensus::{FRAME_MAX, Failure, NodeId};
use crate::cluster::proto::{self, record::Body};
use crate::storage::cluster::{Folder, Log, Tail, Unusable, boot_id, unusable};
use recovery::{VERSION, recover};
use state::Records;
pub(crate) use state::State;
use synced::Synced;
pub(crate) use writer::Disk;
use writer::{Files, Job, Writer};

#[cfg(test)]
pub(crate) type Hang = Box<dyn Fn() -> std::sync::mpsc::Sender<()> + Send + Sync>;

/// The log of a node. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct NodeLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    synced: Synced,
    writer: Writer,
    head: proto::Head,
    /// A log that is shorter than this is not replaced.
    log_bytes: u64,
}

impl NodeLog {
    /// Opens the log in a folder, or creates it for a new node of `cluster`. Returns the id of the
    /// node too.
    pub(crate) fn open(
        path: &Path,
        cluster: u128,
        log_bytes: u64,
        failure: Failure,
    ) -> Result<(Self, NodeId)> {
        Self::open_on(boot_id(), path, cluster, log_bytes, failure)
    }

    /// As [`open`](Self::open), on this boot of the kernel.
    fn open_on(
        boot: u128,
        path: &Path,
        cluster: u128,
        log_bytes: u64,
        failure: Failure,
    ) -> Result<(Self, NodeId)> {
        let explain = |why| unusable(path, why);
        let io = |error: io::Error| unusable(path, error.into());
        let folder = Folder::open(path).map_err(explain)?;
        let tail = Tail::open(&folder).map_err(io)?;
        let (mut generation, mut node, mut state) = (0, new_id(), State::default());
        if let Some((newest, bytes)) = folder.newest_log().map_err(io)? {
            generation = newest;
            let acknowledged = tail.of(newest).map_err(io)?;
            let (head, found) = recover(&bytes, boot, acknowledged)
                .map_err(|why| explain(Unusable::Invalid(why.to_string())))?;
            if *head.cluster != cluster.to_le_bytes() {
                let why = "it is the folder of a node of another cluster: use the folder of this one, or an empty one";
                return Err(explain(Unusable::Invalid(why.to_owned())));
            }
            (node, state) = (head.node, found);
        }
        let head = proto::Head {
            version: VERSION,
            boot: boot.to_le_bytes().to_vec().into(),
            cluster: cluster.to_le_bytes().to_vec().into(),
            node,
        };
        // A new log, so that nothing is appended after an interrupted write.
        let begun = (|| -> io::Result<Log> {
            let log = Log::begin(folder.next_log()?, &state.frames(head.clone()))?;
            tail.note(generation + 1, log.len())?;
            folder.install_next_log(generation + 1)?;
            folder.sync()?;
            folder.remove_logs_before(generation + 1)?;
            Ok(log)
        })();
        let files = Files {
            log: begun.map_err(io)?,
            folder,
            tail,
            generation: generation + 1,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            synced: Synced::default(),
            writer: Writer::start(files, failure).map_err(io)?,
            head,
            log_bytes,
        });
        Ok((Self { shared }, node))
    }

    /// Calls `look` with the content of the log.
    pub(crate) fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&locked(&self.shared.state))
    }

    /// Waits until all entries up to this index are on the disk. Those of a node that does not lead
    /// are as soon as they are acknowledged.
    pub(crate) async fn synced(&self, index: u64) {
        self.shared.synced.up_to(index).await;
    }

    /// Notes the membership of a snapshot, or that is known from elsewhere, unless the log has one.
    pub(crate) fn note_membership(&self, membership: &StoredMembership) {
        locked(&self.shared.state).note_membership(membership);
    }

    #[cfg(feature = "program")]
    /// Begins the log of a new node after the entry `last`, which its snapshot includes.
    pub(crate) async fn begin_after(&self, vote: Vote, last: LogId) -> io::Result<()> {
        self.change_and_wait(|state, records| {
            state.vote = Some(vote);
            state.purge(last);
            records.push(Body::Vote(convert::vote(&vote)));
            records.push(Body::Purged(convert::log_id(&last)));
        })
        .await
    }

    /// Returns what is known about the disk. It does not keep the log open.
    pub(crate) fn disk(&self) -> Arc<Disk> {
        self.shared.writer.disk()
    }

    /// Returns since when the disk has not completed a write or a sync, if it is in one.
    pub(crate) fn busy_since(&self) -> Option<Moment> {
        self.shared.writer.busy_since()
    }

    /// Changes the content of the log, and writes the records of the change. `done` is called when
    /// they are on the disk.
    fn change(&self, done: writer::Done, change: impl FnOnce(&mut State, &mut Records)) {
        self.change_with(|state, records| {
            change(state, records);
            (done, ())
        });
    }

    /// As [`change`](Self::change), where the change also decides what is called when it is on the
    /// disk.
    fn change_with<T>(
        &self,
        change: impl FnOnce(&mut State, &mut Records) -> (writer::Done, T),
    ) -> T {
        let mut records = Records::default();
        // The state is locked until the frame is given to the thread, so that frames are in the
        // order of the changes.
        let mut state = locked(&self.shared.state);
        let (done, value) = change(&mut state, &mut records);
        let frame = records.sealed();
        self.shared.writer.give(Job::Write { frame, done });
        value
    }

    /// As [`change`](Self::change), and waits until the change is on the disk.
    async fn change_and_wait(
        &self,
        change: impl FnOnce(&mut State, &mut Records),
    ) -> io::Result<()> {
        let (sender, written) = oneshot::channel();
        let done = Box::new(|result| {
            // The caller may be gone.
            let _ = sender.send(result);
        });
        self.change(done, change);
        written
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Has the node elected again before it leads, if it led when it ended. openraft would continue
    /// the term, and what the earlier run proposed could be committed after the table of this run
    /// was made. Returns whether it led.
    pub(crate) fn forget_leadership(&self, id: NodeId) -> bool {
        let mut state = locked(&self.shared.state);
        let has_led = state.leads(id);
        if let Some(vote) = &mut state.vote
            && has_led
        {
            // Nobody else was granted this vote, and the next one is of a higher term.
            vote.committed = false;
        }
        has_led
    }

    /// Returns a function that hangs the disk until its sender is dropped. It does not keep the log
    /// open.
    #[cfg(test)]
    pub(crate) fn hang(&self) -> Hang {
        let shared = Arc::downgrade(&self.shared);
        Box::new(move || {
            let (unblock, blocked) = std::sync::mpsc::channel();
            let shared = shared.upgrade().unwrap();
            let log = Self { shared };
            log.change(Box::new(move |_| blocked.recv().unwrap_or(())), |_, _| ());
            unblock
        })
    }

    /// Replaces the log if it is long, and most of it is not needed any more.
    fn replace_if_long(&self) {
        let state = locked(&self.shared.state);
        let needed = state.bytes();
        if self.shared.writer.length() > self.shared.log_bytes.max(needed * 2) {
            let frames = state.frames(self.shared.head.clone());
            self.shared.writer.give(Job::Replace { frames });
        }
    }
}

/// Draws the id of a new node.
fn new_id() -> NodeId {
    let low = ClaimId::random().bits() & u128::from(u64::MAX);
    NodeId::try_from(low).unwrap_or(1).max(1)
}

impl RaftLogReader<Types> for NodeLog {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> std::result::Result<Vec<Entry>, StorageError> {
        Ok(self.with_state(|state| state.range(range)))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> std::result::Result<Vec<Entry>, StorageError> {
        Ok(self.with_state(|state| state.first_of(start, end, FRAME_MAX as u64)))
    }
}

impl RaftLogStorage<Types> for NodeLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> std::result::Result<LogState<Types>, StorageError> {
        Ok(self.with_state(|state| LogState {
            last_purged_log_id: state.purged,
            last_log_id: state.last(),
        }))
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> std::result::Result<(), StorageError> {
        self.change_and_wait(|state, records| {
            state.vote = Some(*vote);
            records.push(Body::Vote(convert::vote(vote)));
        })
        .await
        .map_err(|error| StorageError::from_io_error(ErrorSubject::Vote, ErrorVerb::Write, error))
    }

    async fn read_vote(&mut self) -> std::result::Result<Option<Vote>, StorageError> {
        Ok(self.with_state(|state| state.vote))
    }

    async fn save_committed(
        &mut self,
        committed: Option<LogId>,
    ) -> std::result::Result<(), StorageError> {
        // The next frame contains it. A node that forgets it learns it from the leader.
        locked(&self.shared.state).committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> std::result::Result<Option<LogId>, StorageError> {
        Ok(self.with_state(|state| state.committed))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> std::result::Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let sent = self.change_with(|state, records| {
            if let Some(committed) = &state.committed {
                records.push(Body::Committed(convert::log_id(committed)));
            }
            let (mut first, mut last) = (None, 0);
            for entry in entries {
                last = entry.log_id.index;
                first = first.or(Some(last));
                records.push(Body::Entry(convert::entry(&entry)));
                state.append(entry);
            }
            // Of this node as a leader, whose entries no majority has without another node.
            let is_sent_first = state.leads(self.shared.head.node) && state.needs_others();
            match first {
                Some(first) if is_sent_first => {
                    (self.shared.synced.writing(first, last), Some(callback))
                }
                _ => (Box::new(|result| callback.log_io_completed(result)), None),
            }
        });
        if let Some(callback) = sent {
            callback.log_io_completed(Ok(()));
        }
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> std::result::Result<(), StorageError> {
        self.change_and_wait(|state, records| {
            state.truncate(since.index);
            records.push(Body::Truncated(convert::log_id(&since)));
        })
        .await
        .map_err(|error| StorageError::from_io_error(ErrorSubject::Logs, ErrorVerb::Delete, error))
    }

    async fn purge(&mut self, upto: LogId) -> std::result::Result<(), StorageError> {
        self.change_and_wait(|state, records| {
            state.purge(upto);
            records.push(Body::Purged(convert::log_id(&upto)));
        })
        .await
        .map_err(|error| {
            StorageError::from_io_error(ErrorSubject::Logs, ErrorVerb::Delete, error)
        })?;
        self.replace_if_long();
        Ok(())
    }
}
