//! Builds snapshots and removes entries that are in one, by the size of the log.

use std::time::Duration;

use tracing::debug;

use super::log::NodeLog;
use super::state_machine::StateMachine;
use super::types::Raft;

/// How often the size of the log is checked.
const INTERVAL: Duration = Duration::from_millis(250);
/// Which part of the log's limit is kept after a snapshot, so that a node that was away for a short
/// time needs no snapshot.
const KEPT: u64 = 4;

/// Keeps the log below about twice `log_bytes`.
pub(crate) async fn serve(raft: Raft, log: NodeLog, machine: StateMachine, log_bytes: u64) {
    let mut requested = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        // That of a snapshot which was installed.
        log.note_membership(&machine.membership());
        let Some(applied) = machine.last().map(|id| id.index) else {
            continue;
        };
        let in_snapshot = machine.last_in_snapshot().map(|id| id.index);
        let (unsaved, purgeable) = log.with_state(|state| {
            let saved = in_snapshot.map_or(0, |index| state.bytes_up_to(index));
            let unsaved = state.bytes_up_to(applied).saturating_sub(saved);
            let purgeable = in_snapshot.and_then(|index| state.purgeable(index, log_bytes / KEPT));
            (unsaved, purgeable)
        });
        let triggered = if unsaved > log_bytes && requested != Some(in_snapshot) {
            debug!(unsaved, applied, "building a snapshot");
            requested = Some(in_snapshot);
            raft.trigger().snapshot().await
        } else if let Some(upto) = purgeable {
            raft.trigger().purge_log(upto).await
        } else {
            continue;
        };
        if triggered.is_err() {
            return;
        }
    }
}
