//! Gives up a leader that hands over.

use openraft::error::RaftError;
use openraft::raft::AppendEntriesRequest;

use super::types::{LogId, Raft, Vote};
use crate::cluster::consensus::NodeId;

/// The index of an entry that no node has.
const NOWHERE: u64 = u64::MAX >> 1;

/// Ends the leadership of `term` at this node, which votes for nobody but `successor` in the next
/// term.
///
/// openraft refuses all votes until it has heard nothing of its leader for the election timeout. An
/// append with a later vote that no quorum has granted yet changes the vote of the node at once. It
/// is the vote that a request of the successor would have, and it is on the disk when this returns.
/// It grants the successor nothing: the vote counts only if the successor asks for it, and has all
/// entries of this node. The append follows an entry that no node has, so nothing else changes.
pub(crate) async fn give_up(
    raft: &Raft,
    term: u64,
    successor: NodeId,
) -> Result<(), RaftError<NodeId>> {
    let vote = Vote::new(term + 1, successor);
    let append = AppendEntriesRequest {
        prev_log_id: Some(LogId::new(vote.leader_id, NOWHERE)),
        vote,
        entries: Vec::new(),
        leader_commit: None,
    };
    raft.append_entries(append).await.map(drop)
}
