//! `distsync serve`: the lock server.

use std::process::ExitCode;

use clap::Args;
use distsync::netlock::program::{self, Flags};

use crate::exit::Failure;

/// Run a lock server, the same as the program netlockd.
///
/// Without flags it listens on 127.0.0.1:7420 and keeps locks in memory. It runs until SIGTERM or
/// SIGINT. Each flag can also be given as an environment variable, or in a configuration file.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distsync serve\n  distsync serve --data-dir /var/lib/netlockd\n  \
                  distsync serve admin sessions"
)]
pub(crate) struct Serve {
    #[command(flatten)]
    flags: Flags,
}

impl Serve {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        program::execute(self.flags)?;
        Ok(ExitCode::SUCCESS)
    }
}
