//! The tasks that watch the disk, the replication and the certificates of a node.

use std::sync::Arc;
use std::time::Duration;

use distsync_core::spi::clock;
use openraft::error::Fatal;
use tracing::error;

use crate::cluster::consensus::Failure;
use crate::cluster::peers::Identity;
use crate::cluster::raft::log::NodeLog;
use crate::cluster::raft::types::Raft;

/// How often the files of the certificates are checked for changes.
const REREAD: Duration = Duration::from_secs(10);

/// Ends the node when its disk hangs. The other nodes elect another leader, and this one must not
/// come back and act on what it believed before.
pub(in crate::cluster) async fn watch_disk(log: NodeLog, patience: Duration, failure: Failure) {
    loop {
        tokio::time::sleep(patience / 4).await;
        let now = clock::now();
        if log
            .busy_since()
            .is_some_and(|since| now.since(since) > patience)
        {
            error!(
                ?patience,
                "the disk of the data folder hangs: this node ends"
            );
            failure(&std::io::ErrorKind::TimedOut.into());
            return;
        }
    }
}

/// Ends the node when the replication has failed, for example because an entry cannot be applied.
pub(super) async fn watch_replication(raft: Raft, failure: Failure) {
    let mut metrics = raft.metrics();
    let failed = metrics.wait_for(|metrics| metrics.running_state.is_err());
    if let Ok(metrics) = failed.await
        && let Err(why) = &metrics.running_state
        && *why != Fatal::Stopped
    {
        error!(%why, "the replication has failed: this node ends");
        failure(&std::io::Error::other(why.to_string()));
    }
}

pub(super) async fn reread(identity: Arc<Identity>) {
    while let Some(tls) = &identity.tls {
        tokio::time::sleep(REREAD).await;
        tls.reread();
    }
}
