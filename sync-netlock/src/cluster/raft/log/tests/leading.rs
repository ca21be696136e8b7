//! The log of a leader, whose entries are sent while they are written.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::cluster::raft::types::Membership;

const SHORT: Duration = Duration::from_millis(200);

fn membership(index: u64, voters: &[NodeId]) -> Entry {
    let nodes: BTreeMap<NodeId, crate::cluster::Member> =
        voters.iter().map(|id| (*id, Default::default())).collect();
    Entry {
        log_id: log_id(1, 1, index),
        payload: openraft::EntryPayload::Membership(Membership::new(
            vec![voters.iter().copied().collect()],
            nodes,
        )),
    }
}

/// Returns whether an append is acknowledged while the disk hangs.
async fn is_sent_first(log: &mut NodeLog, entry: Entry) -> bool {
    let index = entry.log_id.index;
    let unblock = log.hang()();
    let mut appending = log.clone();
    let mut append = std::pin::pin!(appending.blocking_append([entry]));
    let sent = timeout(SHORT, &mut append).await;
    let is_sent = sent.is_ok();
    if is_sent {
        assert!(
            timeout(SHORT, log.synced(index)).await.is_err(),
            "it is not on the disk"
        );
        assert!(
            timeout(SHORT, log.synced(index - 1)).await.is_ok(),
            "those before it are"
        );
    }
    drop(unblock);
    if !is_sent {
        append.await.unwrap();
    }
    timeout(SHORT * 50, log.synced(index)).await.unwrap();
    is_sent
}

#[tokio::test]
async fn only_a_leader_with_other_voters_sends_before_it_has_written() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, node) = open(place.path(), 1).unwrap();
    log.blocking_append([membership(0, &[node, node ^ 1])])
        .await
        .unwrap();
    for (vote, leads) in [
        (Vote::new(1, node), false),
        (Vote::new_committed(1, node), true),
        (Vote::new_committed(2, node ^ 1), false),
        (Vote::new_committed(3, node), true),
    ] {
        log.save_vote(&vote).await.unwrap();
        let index = log.with_state(|state| state.last()).unwrap().index + 1;
        let is_sent = is_sent_first(&mut log, changes(1, index)).await;
        assert_eq!(is_sent, leads, "{vote}");
    }
    // As soon as the entry is in the log, its membership counts.
    let index = log.with_state(|state| state.last()).unwrap().index + 1;
    assert!(!is_sent_first(&mut log, membership(index, &[node])).await);
    assert!(!is_sent_first(&mut log, changes(1, index + 1)).await);
    // Until it is removed.
    log.truncate(log_id(1, 1, index)).await.unwrap();
    assert!(is_sent_first(&mut log, changes(1, index)).await);

    // A removed entry counts too, and one that a snapshot replaced does not.
    log.purge(log_id(1, 1, index - 1)).await.unwrap();
    assert!(is_sent_first(&mut log, changes(1, index + 1)).await);
    log.purge(log_id(1, 1, index + 9)).await.unwrap();
    assert!(!is_sent_first(&mut log, changes(1, index + 10)).await);
    let stored = StoredMembership::new(
        Some(log_id(1, 1, index + 9)),
        Membership::new(vec![[node, 5].into()], ()),
    );
    log.note_membership(&stored);
    assert!(is_sent_first(&mut log, changes(1, index + 11)).await);
}
