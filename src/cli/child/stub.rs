//! The first program of a child process. It prepares the process and replaces itself with the
//! command.
//!
//! The steps could be a function between fork and exec, but such a function needs unsafe code.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;
use rustix::process::{Pid, getpgrp, getppid};

use super::terminal::Terminal;
use crate::exit::{Failure, OTHER};

/// The name of the hidden subcommand.
pub(crate) const STUB: &str = "__child";

/// Prepare the process, and replace it with the command.
#[derive(Debug, Args)]
pub(crate) struct Stub {
    /// The process that started this one.
    #[arg(long)]
    parent: i32,

    /// Take the terminal.
    #[arg(long)]
    terminal: bool,

    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Stub {
    /// Executes the command. Returns only if that fails.
    pub(crate) fn execute(self) -> Failure {
        end_with_the_parent();
        if getppid() != Pid::from_raw(self.parent) {
            return Failure::new(
                OTHER,
                "the process that holds the lock has ended: run it again",
            );
        }
        if let Some(terminal) = self.terminal.then(Terminal::open).flatten() {
            terminal.give_to(getpgrp());
        }
        let Some((program, arguments)) = self.command.split_first() else {
            return Failure::new(OTHER, "no command is given: add -- CMD");
        };
        let error = Command::new(program).args(arguments).exec();
        let (code, remedy) = match error.kind() {
            std::io::ErrorKind::NotFound => (127, "check its name and PATH"),
            _ => (126, "check its permissions and format"),
        };
        let problem = format!("cannot run `{}`: {remedy} ({error})", program.display());
        Failure::new(code, problem)
    }
}

/// Lets the system kill this process when its parent is killed: nobody would stop the command
/// before the lock is granted to another client.
fn end_with_the_parent() {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    {
        let signal = Some(rustix::process::Signal::KILL);
        // It cannot fail with a valid signal.
        let _ = rustix::process::set_parent_process_death_signal(signal);
    }
}
