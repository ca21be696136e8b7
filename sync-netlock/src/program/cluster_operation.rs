//! The commands for a data folder, of which a cluster is made.

use std::time::Duration;

use clap::Subcommand;

/// A command for a data folder whose server does not run.
#[derive(Debug, Subcommand)]
pub(super) enum FolderOperation {
    /// Make the data folder of a single server that of the first member of a cluster. Its sessions,
    /// locks and tokens stay. Uses the settings with which the member will be started.
    Init,
    /// Make the data folder of a member that of the only member of its cluster, because a majority
    /// of the members is lost for ever. What only the lost members had stored is lost.
    Recover {
        /// Confirm that the other members are stopped and will never be started again with their
        /// data folders.
        #[arg(long)]
        yes: bool,
        /// The longest TTL of the sessions that the cluster may have had. Nothing is granted for
        /// this long after the start. [default: the setting limits.ttl_max]
        #[arg(long, value_parser = humantime::parse_duration)]
        longest_ttl: Option<Duration>,
    },
}
