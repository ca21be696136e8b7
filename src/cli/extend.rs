//! `distsync extend`: restarts the TTL of a lock.

use std::process::ExitCode;

use clap::Args;
use distsync::Sync;
use serde_json::json;

use crate::claims::duration;
use crate::exit::Failure;
use crate::output::{millis, printable};
use crate::ticket::TicketSource;
use crate::{Common, with_runtime};

/// Restart the TTL of a lock that `distsync lock` acquired.
///
/// Exits with 74 if the lock is no longer held.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  echo \"$ticket\" | distsync extend -\n  \
                  distsync extend @/run/deploy.ticket")]
pub(crate) struct Extend {
    /// The ticket: `-` reads it from standard input, `@PATH` from a file. Do not give the ticket
    /// itself on a machine with other users, because they can see the arguments of a process.
    ticket: TicketSource,
}

impl Extend {
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let ticket = self.ticket.read()?;
        with_runtime(async {
            let sync = common.connect().await?;
            let guard = sync.resume(&ticket).await?;
            let left = guard.remaining();
            guard.detach()?;
            sync.close().await?;
            let name = ticket.name().plain();
            common.output().show(
                || {
                    json!({
                        "name": name,
                        "token": ticket.token().to_string(),
                        "left_ms": millis(left),
                    })
                },
                || {
                    let (name, left) = (printable(&name), duration(left));
                    format!("extended the lock \"{name}\": it is held for another {left}\n")
                },
            )?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
