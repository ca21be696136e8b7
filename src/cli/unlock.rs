//! `distsync unlock`: releases a lock by its ticket.

use std::process::ExitCode;

use clap::Args;
use distsync::{Release, Sync};
use serde_json::json;

use crate::exit::{self, Failure};
use crate::output::printable;
use crate::ticket::TicketSource;
use crate::{Common, with_runtime};

/// Release a lock that `distsync lock` acquired.
///
/// Exits with 74 if the lock was no longer held. The work under it may then have overlapped with
/// that of the next holder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  echo \"$ticket\" | distsync unlock -\n  \
                  distsync unlock @/run/deploy.ticket")]
pub(crate) struct Unlock {
    /// The ticket: `-` reads it from standard input, `@PATH` from a file. Do not give the ticket
    /// itself on a machine with other users, because they can see the arguments of a process.
    ticket: TicketSource,
}

impl Unlock {
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let ticket = self.ticket.read()?;
        with_runtime(async {
            let sync = common.connect().await?;
            let release = sync.resume(&ticket).await?.release().await?;
            sync.close().await?;
            let name = ticket.name().plain();
            if release != Release::Done {
                let problem = format!(
                    "the lock `{}` was lost before it was released: choose a longer --ttl, or extend it more often",
                    printable(&name)
                );
                return Err(Failure::new(exit::LOST, problem));
            }
            common.output().show(
                || json!({"name": name, "token": ticket.token().to_string()}),
                || format!("released the lock \"{}\"\n", printable(&name)),
            )?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
