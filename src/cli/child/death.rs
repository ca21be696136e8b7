//! The end of this process by a signal.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::Args;
use rustix::process::{Resource, Rlimit, Signal, kill_current_process_group, setrlimit};

use super::this_program::this_program;
use crate::exit::{Failure, OTHER};

/// The name of the hidden subcommand.
pub(crate) const DEATH: &str = "__die";

/// End this process and its group by a signal.
#[derive(Debug, Args)]
pub(crate) struct Death {
    /// The number of the signal.
    signal: i32,
}

impl Death {
    /// Ends the process.
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        if let Some(signal) = Signal::from_named_raw(self.signal) {
            // The command itself may have left a core file; this program has nothing to tell.
            let none = Rlimit {
                current: Some(0),
                maximum: Some(0),
            };
            let _ = setrlimit(Resource::Core, none);
            let _ = kill_current_process_group(signal);
        }
        Err(Failure::new(
            OTHER,
            "the signal did not end the process: send SIGKILL",
        ))
    }
}

/// Ends this process and its group by a signal that the terminal sent to the group of the command.
///
/// Without distsync, the whole job receives such a signal, so that a script that runs the command
/// ends, too. A shell looks at whether its child died of the signal; an exit code of 128 + N would
/// continue the script. To execute this program again is the way to the default action of a signal
/// without unsafe code. Returns only if that fails.
pub(crate) fn die_of(signal: i32) {
    if let Ok(program) = this_program() {
        let _ = Command::new(program)
            .arg(DEATH)
            .arg(signal.to_string())
            .exec();
    }
}
