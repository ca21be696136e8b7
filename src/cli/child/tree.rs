//! A command and all processes that it has started.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, test_kill_process_group,
    wait,
};

use super::status::Status;
use super::stub::STUB;
use super::this_program::this_program;
use super::watchdog::Watchdog;
use crate::exit::{Failure, OTHER};

/// A command and all processes that it has started.
///
/// The command leads a process group of its own. On Linux this process adopts the orphans among its
/// descendants (it is a "subreaper"), so that a process that left the group is found, too.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The command, which is also the id of its group.
    command: Pid,
    /// How the command has ended, once it has.
    status: Option<Status>,
    /// Whether processes of the tree may still exist.
    is_alive: bool,
    /// Whether the group may still exist. Its id is not used afterwards, because it may be the id
    /// of another group then.
    has_group: bool,
    /// The processes outside of the group that were told to stop.
    told: BTreeSet<i32>,
    watchdog: Watchdog,
}

/// The command has stopped, by this signal.
#[derive(Debug)]
pub(super) struct Stopped(pub(super) i32);

impl Tree {
    /// Starts a command with these variables added to its environment.
    ///
    /// A command that cannot be executed is started, too, and ends with 126 or 127, as in a shell.
    pub(crate) fn start(
        command: &[OsString],
        set: &[(&str, String)],
        remove: &[String],
        takes_terminal: bool,
    ) -> Result<Self, Failure> {
        #[cfg(target_os = "linux")]
        // It cannot fail on a kernel that this program runs on.
        let _ = rustix::process::set_child_subreaper(Some(getpid()));
        let failed = |error: std::io::Error| {
            let problem = format!("cannot start a process: raise the limit of processes ({error})");
            Failure::new(OTHER, problem)
        };
        let mut watchdog = Watchdog::start().map_err(failed)?;
        let mut stub = Command::new(this_program().map_err(failed)?);
        stub.arg(STUB)
            .arg(format!("--parent={}", getpid().as_raw_nonzero()))
            .args(takes_terminal.then_some("--terminal"))
            .arg("--")
            .args(command)
            .envs(set.iter().map(|(name, value)| (name, value)))
            .process_group(0);
        for variable in remove {
            stub.env_remove(variable);
        }
        let child = stub.spawn().map_err(failed)?;
        let command = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let command = command.ok_or_else(|| failed(std::io::Error::other("no process id")))?;
        watchdog.watch(command).map_err(failed)?;
        Ok(Self {
            command,
            watchdog,
            status: None,
            is_alive: true,
            has_group: true,
            told: BTreeSet::new(),
        })
    }

    /// Leaves the processes that still exist alone from now on.
    pub(super) fn leave(&mut self) {
        self.watchdog.end();
    }

    /// Returns the group of the command.
    pub(super) fn group(&self) -> Pid {
        self.command
    }

    /// Returns how the command has ended, once it has.
    pub(super) fn status(&self) -> Option<Status> {
        self.status
    }

    /// Returns whether a process of the tree still exists.
    pub(super) fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// Sends a signal to the group, and to the adopted processes outside of it.
    pub(super) fn signal(&mut self, signal: Signal) {
        self.signal_group(signal);
        for pid in self.outsiders() {
            let _ = kill_process(pid, signal);
        }
    }

    /// Sends SIGTERM to the group, and to those adopted processes outside of it that have not
    /// received it. To be called again when processes have ended, because their children are
    /// adopted then.
    pub(super) fn terminate(&mut self) {
        if self.told.insert(self.command.as_raw_nonzero().get()) {
            self.signal_group(Signal::TERM);
            // A stopped process handles the signal only after it has been continued.
            self.signal_group(Signal::CONT);
        }
        for pid in self.outsiders() {
            if self.told.insert(pid.as_raw_nonzero().get()) {
                let _ = kill_process(pid, Signal::TERM);
                let _ = kill_process(pid, Signal::CONT);
            }
        }
    }

    /// Sends a signal to the group of the command.
    pub(super) fn signal_group(&mut self, signal: Signal) {
        if self.has_group
            && kill_process_group(self.command, signal) == Err(Errno::SRCH)
            && self.status.is_some()
        {
            self.has_group = false;
        }
    }

    /// Reaps the processes that have ended. Returns whether the command has stopped meanwhile.
    pub(super) fn reap(&mut self) -> Option<Stopped> {
        let mut stopped = None;
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.command => {
                    stopped = status.stopping_signal().map(Stopped);
                    self.status = Status::of(status).or(self.status);
                }
                Ok(Some((pid, status))) => {
                    if Status::of(status).is_some() {
                        self.told.remove(&pid.as_raw_nonzero().get());
                    }
                }
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.is_alive = self.status.is_none()
            || if cfg!(target_os = "linux") {
                children()
                    .iter()
                    .any(|(pid, _)| Some(*pid) != self.watchdog.pid())
            } else {
                self.group_exists()
            };
        stopped
    }

    /// Returns the children that are not in the group of the command, without the watchdog.
    fn outsiders(&self) -> impl Iterator<Item = Pid> + use<> {
        let (command, watchdog) = (self.command, self.watchdog.pid());
        let children = children().into_iter();
        let outsiders =
            children.filter(move |(pid, group)| *group != command && Some(*pid) != watchdog);
        outsiders.map(|(pid, _)| pid)
    }

    /// Returns whether the group has a process. Where nobody adopts orphans, only this tells of
    /// those that the command has left behind.
    fn group_exists(&mut self) -> bool {
        self.has_group &= test_kill_process_group(self.command) != Err(Errno::SRCH);
        self.has_group
    }
}

/// Returns the children of this process, adopted ones included, and their groups. Where there is no
/// `/proc`, returns none.
///
/// Their ids are not given to other processes before [`Tree::reap`], so it is safe to signal them.
fn children() -> Vec<(Pid, Pid)> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let child = |entry: std::fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // Skip the name, which is in parentheses and can hold anything. The state, the parent and
        // the group follow.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
        let parent = Pid::from_raw(fields.next()?.parse().ok()?)?;
        let group = Pid::from_raw(fields.next()?.parse().ok()?)?;
        (parent == getpid()).then_some((Pid::from_raw(pid)?, group))
    };
    processes.filter_map(|entry| child(entry.ok()?)).collect()
}
