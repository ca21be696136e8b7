//! The first program of a child process. It prepares the process and replaces itself with the
//! command.
//!
//! The steps could be a function between fork and exec, but such a function needs unsafe code.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use crate::exit::Failure;

/// The name of the hidden subcommand.
pub(crate) const STUB: &str = "__child";

/// Prepare the process, and replace it with the command.
#[derive(Debug, Args)]
pub(crate) struct Stub {
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Stub {
    /// Executes the command. Returns only if that fails.
    pub(crate) fn execute(self) -> Failure {
        let (program, arguments) = self.command.split_first().expect("clap requires a command");
        let error = Command::new(program).args(arguments).exec();
        let (code, remedy) = match error.kind() {
            std::io::ErrorKind::NotFound => (127, "check its name and PATH"),
            _ => (126, "check its permissions and format"),
        };
        Failure::new(
            code,
            format!("cannot run `{}`: {remedy} ({error})", program.display()),
        )
    }
}
