//! `distsync elect`: runs a command while it is the leader of an election.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use crate::exit::{self, Failure};
use crate::{Common, with_runtime};

/// Run a command while being the leader of an election. After a loss of the leadership the command
/// is stopped, and the candidate campaigns again.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  distsync elect scheduler --node $HOSTNAME --http 127.0.0.1:8080 -- ./scheduler"
)]
pub(crate) struct Elect {
    /// The name of the election.
    name: String,

    /// The id of this candidate, for observers. [default: HOST:PID]
    #[arg(long, value_name = "ID")]
    node: Option<String>,

    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Elect {
    /// Campaigns and runs the command until the command has ended by itself.
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        with_runtime(async {
            let _sync = common.store_for_a_command()?;
            Err(Failure::new(exit::OTHER, "not yet"))
        })
    }
}
