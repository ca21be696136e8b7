//! A process that outlives this one if it is killed, and kills the group of the command then.
//!
//! The parent-death signal reaches the command itself, but not the processes that it has started.

use std::io::{PipeWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use super::this_program::this_program;
use crate::exit::Failure;

/// The name of the hidden subcommand.
pub(crate) const WATCHDOG: &str = "__watchdog";

/// The message that ends the watch without a kill.
const DONE: &str = "done";

/// A running watchdog, as this process sees it. It acts when the pipe is closed without a message,
/// which the system does when this process is killed.
#[derive(Debug)]
pub(super) struct Watchdog {
    pipe: PipeWriter,
    pid: Option<Pid>,
}

impl Watchdog {
    /// Starts a watchdog, before there is a command.
    pub(super) fn start() -> std::io::Result<Self> {
        let (input, pipe) = std::io::pipe()?;
        let child = Command::new(this_program()?)
            .arg(WATCHDOG)
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // The keys of the terminal must not end it.
            .process_group(0)
            .spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Self { pipe, pid })
    }

    /// Names the group to kill.
    pub(super) fn watch(&mut self, group: Pid) -> std::io::Result<()> {
        writeln!(self.pipe, "{}", group.as_raw_nonzero())
    }

    /// Ends the watch. Without it, a dropped watchdog kills the group, also after a panic.
    pub(super) fn end(&mut self) {
        // It fails only if the watchdog has ended.
        let _ = writeln!(self.pipe, "{DONE}");
    }

    /// Returns the process id.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.pid
    }
}

/// Runs the watchdog: reads the group from standard input, and kills it if the input ends without
/// the message that all is done.
pub(crate) fn run() -> Result<ExitCode, Failure> {
    let mut input = String::new();
    // An error is the end of the input.
    let _ = std::io::stdin().read_to_string(&mut input);
    let mut lines = input.lines();
    let group = lines
        .next()
        .and_then(|line| line.parse().ok())
        .and_then(Pid::from_raw);
    if let (Some(group), None) = (group, lines.next()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    Ok(ExitCode::SUCCESS)
}
