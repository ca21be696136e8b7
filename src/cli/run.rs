//! `distsync run`: runs a command while it holds a lock.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use distsync::spi::clock;
use distsync::{Guard, Handle, Moment, Release, Sync as _};

use crate::child::{Ending, Limits, Reason, Signals, Tree, die_of, grace, supervise};
use crate::exit::{self, BUSY, Failure, tell};
use crate::farewell::{ended_by, leave};
use crate::output::millis;
use crate::request::{Request, duration};
use crate::store::secret_variables;
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

    #[command(flatten)]
    request: Request,

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

impl Run {
    /// Runs the command to its end.
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        with_runtime(self.run(common))
    }

    async fn run(self, common: &Common) -> Result<ExitCode, Failure> {
        let mut signals = Signals::listen()?;
        let (backend, options) = common.store_for_a_command()?;
        let grace = grace(options.session_ttl, self.grace)?;
        let connected = tokio::select! {
            handle = Handle::open(backend, options) => handle?,
            signal = signals.ending() => return Ok(ended_by(signal)),
        };
        let acquired = tokio::select! {
            acquired = self.acquire(&connected) => acquired,
            signal = signals.ending() => {
                leave(&connected).await;
                return Ok(ended_by(signal));
            }
        };
        let guard = match acquired {
            Ok(guard) => guard,
            Err(failure) => {
                leave(&connected).await;
                return Err(failure);
            }
        };
        let granted = clock::now();
        let limits = Limits {
            grace,
            stop_at: self.max_hold.map(|time| granted.after(time)),
            leave_background: self.leave_background,
        };
        let variables = self.variables(&guard, granted);
        let secrets = secret_variables(common.on.as_deref());
        let start =
            |takes_terminal| Tree::start(&self.command, &variables, &secrets, takes_terminal);
        let ending = supervise(start, &guard, limits, &mut signals).await;
        let (code, key) = match ending {
            Ok(ending) => {
                let key = ending.key;
                (
                    self.finish(&guard, granted, ending, &mut signals).await,
                    key,
                )
            }
            Err(failure) => (Err(failure), None),
        };
        leave(&connected).await;
        if let (Ok(_), Some(signal)) = (&code, key) {
            die_of(signal);
        }
        code
    }

    async fn acquire(&self, connected: &Handle) -> Result<Guard, Failure> {
        let busy = |failure: Failure| failure.with_code_instead(BUSY, self.conflict_exit_code);
        let lock = connected.lock(&self.name, self.request.options(&self.name))?;
        lock.acquire().await.map_err(|error| busy(error.into()))
    }

    /// Returns the environment variables that describe the lock to the command.
    fn variables(&self, guard: &Guard, granted: Moment) -> [(&'static str, String); 4] {
        let left = self.max_hold.unwrap_or_else(|| guard.remaining());
        let left = left.saturating_sub(clock::now().since(granted));
        let left = millis(left);
        let deadline = clock::wall_millis().saturating_add(left) / 1_000;
        [
            ("DISTSYNC_NAME", self.name.clone()),
            ("DISTSYNC_TOKEN", guard.token().to_string()),
            ("DISTSYNC_CLAIM", guard.claim().to_string()),
            ("DISTSYNC_DEADLINE", deadline.to_string()),
        ]
    }

    /// Releases the lock and returns the exit code.
    async fn finish(
        &self,
        guard: &Guard,
        granted: Moment,
        ending: Ending,
        signals: &mut Signals,
    ) -> Result<ExitCode, Failure> {
        let code = match (ending.reason, ending.status) {
            (Some(Reason::AtRisk), _) => Err(self.lost("it was not renewed in time")),
            (Some(Reason::Lost(loss)), _) => Err(self.lost(&loss.to_string())),
            (Some(Reason::TooLong), _) => Ok(exit::TOO_LONG),
            (None, Some(status)) => Ok(status.code()),
            (None, None) => Ok(exit::OTHER),
        };
        // The lock was held until now, and the command has ended: a later loss harms nobody.
        if let (Some(time), Ok(_), None) = (self.min_hold, &code, ending.asked) {
            tokio::select! {
                () = clock::sleep_until(granted.after(time)) => {}
                _ = guard.revoked() => {
                    tell("the lock was lost after the command had ended");
                    return code.map(ExitCode::from);
                }
                _ = signals.ending() => {}
            }
        }
        let released = tokio::select! {
            released = guard.release() => released,
            _ = signals.ending() => return code.map(ExitCode::from),
        };
        match released {
            // The loss was not noticed, so it may have been before the end of the command.
            Ok(Release::AlreadyGone) if code.is_ok() => {
                return Err(self.lost("the store no longer has it"));
            }
            Ok(_) => {}
            Err(error) => tell(format_args!("{error}; the lock ends with its session")),
        }
        code.map(ExitCode::from)
    }

    fn lost(&self, reason: &str) -> Failure {
        let problem = format!(
            "the lock `{}` was lost while the command ran ({reason}): the command was stopped, check \
             what it has left behind",
            self.name.escape_debug()
        );
        Failure::new(exit::LOST, problem)
    }
}
