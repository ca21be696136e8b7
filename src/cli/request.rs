//! The mode of a lock, and how long to wait for it, as flags.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use distsync::{LockOptions, Wait};

use crate::exit::tell;
use crate::output::printable;

/// The flags of a request for a lock.
#[derive(Debug, Args)]
pub(crate) struct Request {
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
}

impl Request {
    /// Returns the options of the lock of this name. On a terminal, a request that has to wait says
    /// so.
    pub(crate) fn options(&self, name: &str) -> LockOptions {
        let options = match self.permits {
            Some(of) => LockOptions::permit(of),
            None if self.shared => LockOptions::shared(),
            None => LockOptions::new(),
        };
        let options = options.with_wait(match self.wait {
            Some(limit) => Wait::For(limit),
            None if self.no_wait => Wait::Never,
            None => Wait::Forever,
        });
        if !std::io::stderr().is_terminal() {
            return options;
        }
        let name = name.to_owned();
        options.with_on_wait(move |waiting| {
            let holder = waiting
                .holder
                .map(|holder| format!(", held by {}", printable(&holder.client)));
            tell(format_args!(
                "waiting for `{}`, {} ahead{}",
                printable(&name),
                waiting.position,
                holder.unwrap_or_default()
            ));
        })
    }
}

/// Parses a duration such as `10s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "give a time with its unit, such as 10s or 500ms".to_owned())
}
