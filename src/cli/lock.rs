//! `distsync lock`: acquires a lock that outlives the command.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use distsync::{Handle, Sync, Ticket};
use serde_json::json;

use crate::exit::Failure;
use crate::interrupt::until_signal;
use crate::output::millis;
use crate::request::{Request, duration};
use crate::ticket::TicketFile;
use crate::{Common, with_runtime};

/// Acquire a lock, print its ticket, and exit. The lock is held until its TTL expires.
///
/// `distsync extend` restarts the TTL and `distsync unlock` releases the lock. Both need the
/// ticket. Anyone with the ticket can do that, so keep it like a password. The TTL also limits how
/// long the lock stays held if the script dies. To hold a lock while a command runs, use
/// `distsync run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ticket=$(distsync lock deploy --ttl 60s) || exit\n  \
                  ./deploy-step-1 && echo \"$ticket\" | distsync extend - && ./deploy-step-2\n  \
                  echo \"$ticket\" | distsync unlock -"
)]
pub(crate) struct Lock {
    /// The name of the lock.
    name: String,

    /// Hold the lock for this long, unless it is extended.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Duration,

    #[command(flatten)]
    request: Request,

    /// Show this text to observers of the lock, at most 1 KiB.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    value: String,

    /// Write the ticket to this file instead of standard output. Only its owner can read it. A
    /// file that exists is replaced.
    #[arg(long, value_name = "PATH")]
    ticket_file: Option<PathBuf>,
}

impl Lock {
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        // Before the lock is acquired, so that nothing has to be undone if it fails.
        let file = self.ticket_file.as_deref().map(TicketFile::prepare);
        let file = file.transpose()?;
        with_runtime(async {
            let (sync, ticket) = match until_signal(self.acquire(common)).await? {
                Ok(acquired) => acquired,
                Err(code) => return Ok(ExitCode::from(code)),
            };
            let delivered = match file {
                Some(file) => file.write(&ticket),
                None => Ok(()),
            };
            if let Err(failure) = delivered.and_then(|()| self.show(common, &ticket)) {
                // Nobody has the ticket, so nobody could release the lock.
                sync.resume(&ticket).await?.release().await?;
                sync.close().await?;
                return Err(failure);
            }
            sync.close().await?;
            Ok(ExitCode::SUCCESS)
        })
    }

    async fn acquire(&self, common: &Common) -> Result<(Handle, Ticket), Failure> {
        let sync = common.connect().await?;
        let options = self.request.options(&self.name);
        let options = options.with_ttl(self.ttl).with_value(self.value.clone());
        let guard = sync.lock(&self.name, options)?.acquire().await?;
        let ticket = guard.detach()?;
        Ok((sync, ticket))
    }

    fn show(&self, common: &Common, ticket: &Ticket) -> Result<(), Failure> {
        let is_secret_wanted = self.ticket_file.is_none();
        common.output().show(
            || {
                let mut shown = json!({
                    "name": self.name,
                    "token": ticket.token().to_string(),
                    "ttl_ms": millis(self.ttl),
                });
                match &self.ticket_file {
                    Some(path) => shown["ticket_file"] = json!(path),
                    None => shown["ticket"] = json!(ticket.expose()),
                }
                shown
            },
            || {
                if is_secret_wanted {
                    ticket.expose() + "\n"
                } else {
                    String::new()
                }
            },
        )
    }
}
