//! What a node sees of its cluster, for the operator: counters, and the story of the elections in
//! the log.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use distsync_core::spi::clock::{self, Moment};
use distsync_core::spi::locked;
use tracing::info;

use super::consensus::NodeId;
use super::raft::types::Raft;
use crate::engine::Durations;

/// What a node has seen since it was started.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    elections: AtomicU64,
    confirmations: AtomicU64,
    failed_confirmations: AtomicU64,
    heard: Mutex<Option<Heard>>,
}

/// The last message of a leader.
#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Moment,
    /// The last entry that it has committed.
    committed: u64,
}

/// What a node has counted and measured, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observations {
    /// How many times a leader was elected.
    pub elections: u64,
    /// How many rounds have confirmed the leadership of this node.
    pub confirmations: u64,
    /// How many rounds have not.
    pub failed_confirmations: u64,
    /// How long ago a leader has sent a message to this node.
    pub heard: Option<Duration>,
    /// The last entry that this leader had committed.
    pub committed_by_leader: Option<u64>,
    /// How long the writes of the log have taken, until they were on the disk.
    pub writes: Durations,
}

impl Observed {
    pub(crate) fn read(&self) -> Observations {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let heard = *locked(&self.heard);
        Observations {
            elections: count(&self.elections),
            confirmations: count(&self.confirmations),
            failed_confirmations: count(&self.failed_confirmations),
            heard: heard.map(|heard| clock::now().since(heard.at)),
            committed_by_leader: heard.map(|heard| heard.committed),
            writes: Durations::default(),
        }
    }

    /// Notes a message of a leader that has committed the entries up to this one.
    pub(crate) fn heard(&self, committed: u64) {
        let at = clock::now();
        *locked(&self.heard) = Some(Heard { at, committed });
    }

    /// Notes a round that was to confirm the leadership.
    pub(crate) fn confirmed(&self, is_confirmed: bool) {
        let counter = match is_confirmed {
            true => &self.confirmations,
            false => &self.failed_confirmations,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the elections and tells of them in the log, until the replication ends.
    pub(crate) async fn follow(&self, raft: &Raft, id: NodeId) {
        let mut metrics = raft.metrics();
        let mut last = (0, None);
        loop {
            let (term, leader, name) = {
                let now = metrics.borrow_and_update();
                if now.running_state.is_err() {
                    return;
                }
                let members = now.membership_config.membership();
                let leader = now.current_leader;
                let member = leader.and_then(|leader| members.get_node(&leader));
                let name = member.map(|member| member.name.clone());
                (now.current_term, leader, name.unwrap_or_default())
            };
            match leader {
                Some(leader) if last != (term, Some(leader)) => {
                    self.elections.fetch_add(1, Ordering::Relaxed);
                    if leader == id {
                        info!(term, "this node was elected");
                    } else {
                        info!(term, leader = name, "this node follows another one");
                    }
                }
                None if last.1.is_some() => {
                    info!(term, "no leader is known: the members elect one");
                }
                _ => {}
            }
            last = (term, leader);
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }
}
