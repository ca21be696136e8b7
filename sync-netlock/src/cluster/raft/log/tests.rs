//! The suite of `openraft` for storage, and logs that are cut or damaged at every byte.

mod leading;
mod losing_disk;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::testing::{StoreBuilder, Suite, blank_ent, log_id};
use tempfile::TempDir;

use super::recovery::{Unusable, recover};
use super::*;
use crate::cluster::machine::Replica;
use crate::cluster::raft::snapshots::Snapshots;
use crate::cluster::raft::state_machine::StateMachine;
use crate::engine::Limits;

const CLUSTER: u128 = 7;

fn failure() -> Failure {
    Arc::new(|error| panic!("{error}"))
}

struct Builder;

impl StoreBuilder<Types, NodeLog, StateMachine, TempDir> for Builder {
    async fn build(&self) -> std::result::Result<(TempDir, NodeLog, StateMachine), StorageError> {
        let place = tempfile::tempdir().unwrap();
        // A log with this limit is replaced by each purge.
        let (log, _) = NodeLog::open(&place.path().join("log"), CLUSTER, 0, failure()).unwrap();
        let (snapshots, newest) = Snapshots::open(&place.path().join("snapshots")).unwrap();
        let machine = Box::new(Replica::new(Limits::default()));
        let machine = StateMachine::new(machine, Arc::new(snapshots), newest).unwrap();
        Ok((place, log, machine))
    }
}

#[test]
fn the_suite_of_openraft_passes() {
    Suite::test_all(Builder).unwrap();
}

/// What a log says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: Vec<Entry>,
}

async fn said(log: &mut NodeLog) -> Said {
    Said {
        vote: log.read_vote().await.unwrap(),
        purged: log.get_log_state().await.unwrap().last_purged_log_id,
        entries: log.try_get_log_entries(..).await.unwrap(),
    }
}

fn open(path: &Path, boot: u128) -> Result<(NodeLog, NodeId)> {
    NodeLog::open_on(boot, path, CLUSTER, u64::MAX, failure())
}

fn newest(path: &Path) -> std::path::PathBuf {
    let mut logs: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("log-")
        })
        .collect();
    logs.sort();
    logs.pop().unwrap()
}

/// Returns what a log says after a power failure that left these bytes.
fn after_failure(bytes: &[u8]) -> Said {
    let (_, state) = recover(bytes, 2, None).unwrap();
    Said {
        vote: state.vote,
        purged: state.purged,
        entries: state.range(..),
    }
}

fn changes(term: u64, index: u64) -> Entry {
    Entry {
        log_id: log_id(term, 1, index),
        payload: openraft::EntryPayload::Normal(vec![0xa5; 40].into()),
    }
}

/// Returns what was written to the newest log, without the space that is reserved after it.
fn written(log: &NodeLog, path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(newest(path)).unwrap();
    bytes.truncate(usize::try_from(log.shared.writer.length()).unwrap());
    bytes
}

/// Every write is cut at every byte, or its end is lost and later bytes are on the disk. What was
/// acknowledged before it is there, and it is there whole or not at all.
#[tokio::test]
async fn a_power_failure_during_a_write_loses_nothing_before_it() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    let (mut log, _) = open(path, 1).unwrap();
    let mut before = (written(&log, path), said(&mut log).await);
    for step in 0..8 {
        match step {
            0 => log.save_vote(&Vote::new(1, 1)).await.unwrap(),
            1 => log
                .blocking_append([blank_ent::<Types>(1, 1, 0)])
                .await
                .unwrap(),
            2 => log
                .blocking_append([changes(1, 1), changes(1, 2), changes(1, 3)])
                .await
                .unwrap(),
            3 => log.save_vote(&Vote::new_committed(2, 1)).await.unwrap(),
            4 => log.truncate(log_id(1, 1, 2)).await.unwrap(),
            5 => log
                .blocking_append([changes(2, 2), changes(2, 3)])
                .await
                .unwrap(),
            6 => log.purge(log_id(1, 1, 1)).await.unwrap(),
            _ => log.blocking_append([changes(2, 4)]).await.unwrap(),
        }
        let after = (written(&log, path), said(&mut log).await);
        assert!(
            after.0.starts_with(&before.0) && after.0 != before.0,
            "step {step}"
        );
        let start = before.0.len();
        for cut in start..=after.0.len() {
            let found = after_failure(&after.0[..cut]);
            let is_whole = cut == after.0.len();
            assert_eq!(
                found,
                if is_whole {
                    after.1.clone()
                } else {
                    before.1.clone()
                },
                "step {step}, cut at {cut}"
            );
            // The disk wrote the end of the frame and not its start.
            if cut > start && !is_whole {
                let mut holed = after.0.clone();
                holed[start..cut].fill(0);
                assert_eq!(
                    after_failure(&holed),
                    before.1,
                    "step {step}, hole to {cut}"
                );
            }
        }
        before = after;
    }
}

/// While one log replaces another, both exist, and the next one may be unfinished.
#[tokio::test]
async fn a_power_failure_while_a_log_is_replaced_loses_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    let (mut log, _) = NodeLog::open_on(1, path, CLUSTER, 0, failure()).unwrap();
    log.save_vote(&Vote::new(3, 1)).await.unwrap();
    for index in 0..12 {
        log.blocking_append([changes(1, index)]).await.unwrap();
    }
    let old = (
        newest(path),
        fs::read(newest(path)).unwrap(),
        said(&mut log).await,
    );
    log.purge(log_id(1, 1, 10)).await.unwrap();
    let expected = said(&mut log).await;
    drop(log);
    let new = (newest(path), fs::read(newest(path)).unwrap());
    assert_ne!(old.0, new.0, "the log was replaced");
    // Cut before the rename, and after it.
    for cut in [0, 1, 30, 200, new.1.len()] {
        let logs = [
            (&old, "log.next", &new.1[..cut]),
            (&old, "log-9", &new.1[..]),
        ];
        let [before, after] = logs.map(|(old, name, bytes)| async move {
            let place = tempfile::tempdir().unwrap();
            fs::write(place.path().join("log-1"), &old.1).unwrap();
            fs::write(place.path().join(name), bytes).unwrap();
            let (mut log, _) = open(place.path(), 2).unwrap();
            said(&mut log).await
        });
        assert_eq!(before.await, old.2);
        assert_eq!(after.await, expected);
    }
}

#[tokio::test]
async fn a_log_is_the_same_after_each_restart_and_keeps_the_id_of_its_node() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, node) = open(place.path(), 1).unwrap();
    let mut expected = said(&mut log).await;
    for (boot, index) in [1, 1, 2, 3, 3].into_iter().zip(0..) {
        drop(log);
        let opened = open(place.path(), boot).unwrap();
        log = opened.0;
        assert_eq!(opened.1, node);
        assert_eq!(said(&mut log).await, expected);
        log.save_vote(&Vote::new(index, 1)).await.unwrap();
        log.blocking_append([changes(1, index)]).await.unwrap();
        expected = said(&mut log).await;
    }
    let (_, other) = open(&place.path().join("other"), 1).unwrap();
    assert_ne!(node, other);
}

#[tokio::test]
async fn a_folder_of_another_cluster_is_refused() {
    let place = tempfile::tempdir().unwrap();
    drop(open(place.path(), 1).unwrap());
    let refused = NodeLog::open(place.path(), CLUSTER + 1, 0, failure()).unwrap_err();
    assert!(refused.to_string().contains("another cluster"), "{refused}");
}

#[tokio::test]
async fn a_log_that_lost_acknowledged_entries_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = open(place.path(), 1).unwrap();
    log.blocking_append([changes(1, 0)]).await.unwrap();
    let first = written(&log, place.path());
    log.blocking_append([changes(1, 1)]).await.unwrap();
    let second = written(&log, place.path());
    let acknowledged = Some(second.len() as u64);
    assert!(recover(&second, 1, acknowledged).is_ok());
    // On the same boot, the system has kept all that was written.
    for cut in first.len()..second.len() {
        let lost = recover(&second[..cut], 1, acknowledged).unwrap_err();
        assert_eq!(lost, Unusable::LostTail { at: first.len() });
    }
    // After a power failure, a damaged frame before a valid one is no interrupted write.
    let mut damaged = second.clone();
    damaged[first.len() - 3] ^= 1;
    assert!(matches!(
        recover(&damaged, 2, None),
        Err(Unusable::Damaged { .. })
    ));
}

/// A disk that fails for good: nothing is acknowledged any more, and the node is told to end.
#[tokio::test]
async fn a_write_that_fails_is_not_acknowledged_and_ends_the_node() {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let file = memfd_create("log", MemfdFlags::ALLOW_SEALING).unwrap();
    let log = Log::begin(fs::File::from(file), b"begun").unwrap();
    let sealed = log.file();
    let files = Files {
        tail: Tail::open(&folder).unwrap(),
        folder,
        log,
        generation: 1,
    };
    let (failed, mut failures) = tokio::sync::mpsc::unbounded_channel();
    let failure: Failure = Arc::new(move |error| failed.send(error.kind()).unwrap());
    let writer = Writer::start(files, failure).unwrap();
    let write = async || {
        let (sender, written) = oneshot::channel();
        let done: writer::Done = Box::new(|result| sender.send(result).unwrap());
        writer.give(Job::Write {
            frame: vec![1; 10],
            done,
        });
        written.await.unwrap()
    };
    write().await.unwrap();
    fcntl_add_seals(&sealed, SealFlags::WRITE).unwrap();
    assert_eq!(
        write().await.unwrap_err().kind(),
        io::ErrorKind::PermissionDenied
    );
    assert_eq!(failures.recv().await, Some(io::ErrorKind::PermissionDenied));
    // Also if the disk would take it: a frame before it is missing.
    writer.give(Job::Replace {
        frames: vec![1; 10],
    });
    write().await.unwrap_err();
    assert!(failures.try_recv().is_err(), "the disk is not used again");
}

#[tokio::test]
async fn a_disk_that_hangs_ends_the_node() {
    let place = tempfile::tempdir().unwrap();
    let (log, _) = open(place.path(), 1).unwrap();
    let patience = std::time::Duration::from_secs(1);
    let (failed, mut failures) = tokio::sync::mpsc::unbounded_channel();
    let failure: Failure = Arc::new(move |error| failed.send(error.kind()).unwrap());
    let watch = crate::cluster::node::watches::watch_disk(log.clone(), patience, failure);
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let hang = async {
        // An idle disk does not count, and neither does one that works.
        for _ in 0..3 {
            log.change_and_wait(|_, _| ()).await.unwrap();
            tokio::time::sleep(patience / 8).await;
        }
        assert!(failures.try_recv().is_err());
        log.change(Box::new(move |_| blocked.recv().unwrap_or(())), |_, _| ());
        failures.recv().await
    };
    let (_, found) = tokio::join!(watch, hang);
    assert_eq!(found, Some(io::ErrorKind::TimedOut));
    drop(unblock);
}
