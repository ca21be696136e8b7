//! `distsync run`: runs a command while it holds a lock.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use distsync::{LockOptions, Wait};

use crate::exit::{self, Failure};
use crate::{Common, with_runtime};

/// Run a command while holding a lock. If the lock is about to be lost, the command is stopped
/// before another client can acquire the lock.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distsync run nightly --no-wait -- ./backup.sh\n  \
                  distsync run deploy --wait 10m -E 0 -- make deploy"
)]
pub(crate) struct Run {
    /// The name of the lock.
    name: String,

    /// Hold the lock together with other shared holders.
    #[arg(long, conflicts_with = "permits")]
    shared: bool,

    /// Hold one of N permits, the same N for everyone.
    #[arg(long, value_name = "N")]
    permits: Option<u16>,

    /// Wait at most this long for the lock, such as 10s. [default: without a limit]
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "no_wait")]
    wait: Option<Duration>,

    /// Fail at once if the lock is taken.
    #[arg(long)]
    no_wait: bool,

    /// Exit with this code if the lock is taken or was not granted in time.
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = exit::BUSY)]
    conflict_exit_code: u8,

    /// Hold the lock for at least this long, also if the command ends earlier.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    min_hold: Option<Duration>,

    /// Stop the command after this time, and exit with 124, as timeout(1) does.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_hold: Option<Duration>,

    /// The time between SIGTERM and SIGKILL when the command has to stop. [default: a third of the
    /// session's TTL]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    grace: Option<Duration>,

    /// Release the lock when the command ends, even if processes that it has started still run.
    #[arg(long)]
    leave_background: bool,

    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Parses a duration such as `10s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "give a time with its unit, such as 10s or 500ms".to_owned())
}

impl Run {
    /// Runs the command to its end.
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        with_runtime(async {
            let _sync = common.connect().await?;
            let _options = self.options();
            Err(Failure::new(exit::OTHER, "not yet"))
        })
    }

    fn options(&self) -> LockOptions {
        let options = match self.permits {
            Some(of) => LockOptions::permit(of),
            None if self.shared => LockOptions::shared(),
            None => LockOptions::new(),
        };
        options.with_wait(match self.wait {
            Some(limit) => Wait::For(limit),
            None if self.no_wait => Wait::Never,
            None => Wait::Forever,
        })
    }
}
