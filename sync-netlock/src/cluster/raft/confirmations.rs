//! Confirms that the node leads. Requests at the same time share a round of messages.

use std::sync::Arc;
use std::time::Duration;

use openraft::error::{CheckIsLeaderError, RaftError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::types::Raft;
use crate::cluster::consensus::{Confirmed, Rejected};
use crate::cluster::node::not_leader;
use crate::cluster::observed::Observed;
use crate::cluster::options::Timing;

/// Where the result of a confirmation goes.
pub(crate) type Asked = oneshot::Sender<Result<Confirmed, Rejected>>;

/// Runs one round after another for as long as there are requests. A round serves the requests that
/// arrived before it began, and never a later one.
pub(crate) async fn serve(
    raft: Raft,
    mut requests: mpsc::UnboundedReceiver<Asked>,
    timing: Timing,
    observed: Arc<Observed>,
) {
    while let Some(first) = requests.recv().await {
        let mut asked = vec![first];
        while let Ok(another) = requests.try_recv() {
            asked.push(another);
        }
        let confirmed = timeout(timing.election_max, confirm(&raft, timing.heartbeat / 4)).await;
        let confirmed = confirmed.unwrap_or(Err(Rejected::Unconfirmed));
        observed.confirmed(confirmed.is_ok());
        for asked in asked {
            // The caller may have given up.
            let _ = asked.send(confirmed.clone());
        }
    }
}

/// Repeats rounds until one is conclusive, with a pause between them, because a node that refuses
/// connections fails a round at once.
async fn confirm(raft: &Raft, pause: Duration) -> Result<Confirmed, Rejected> {
    let vote = async || {
        let vote = raft.with_raft_state(|state| *state.vote_ref()).await;
        vote.map_err(|_| Rejected::Stopped)
    };
    loop {
        let before = vote().await?;
        match raft.get_read_log_id().await {
            // The round was one of this term, if the node leads in the same one after it.
            Ok((index, _)) if vote().await? == before => {
                return Ok(Confirmed {
                    term: before.leader_id.term,
                    index: index.map_or(0, |id| id.index),
                });
            }
            Ok(_) | Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                tokio::time::sleep(pause).await;
            }
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward))) => {
                return Err(not_leader(forward));
            }
            Err(RaftError::Fatal(_)) => return Err(Rejected::Stopped),
        }
    }
}
