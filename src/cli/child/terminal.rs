//! The controlling terminal, and the process group that may use it.

use std::fs::File;
use std::io::IsTerminal;

use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Pid, getpgrp, getppid, getsid};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// The controlling terminal of this process.
#[derive(Debug)]
pub(super) struct Terminal {
    device: File,
}

impl Terminal {
    /// Opens the controlling terminal; `None` if there is none.
    pub(super) fn open() -> Option<Self> {
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()?;
        Some(Self { device })
    }

    /// Returns whether the process group of this process may use the terminal.
    pub(super) fn is_ours(&self) -> bool {
        tcgetpgrp(&self.device).is_ok_and(|group| group == getpgrp())
    }

    /// Returns whether a command should get the terminal when it starts.
    ///
    /// A command with redirected output is probably in a pipeline, where another process of our
    /// group may use the terminal, such as a pager. It gets the terminal when it asks for it.
    pub(super) fn is_for_the_command(&self) -> bool {
        self.is_ours() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
    }

    /// Makes `group` the one that may use the terminal and that its keys send signals to.
    ///
    /// Failures are ignored: the terminal or the group is gone then.
    pub(super) fn give_to(&self, group: Pid) {
        // A process in the background is stopped when it does this, unless it blocks the signal.
        let mut stop = SigSet::empty();
        stop.add(Signal::SIGTTOU);
        let blocked = stop.thread_block();
        let _ = tcsetpgrp(&self.device, group);
        if blocked.is_ok() {
            let _ = stop.thread_unblock();
        }
    }

    /// Makes our group the one that may use the terminal.
    pub(super) fn take_back(&self) {
        self.give_to(getpgrp());
    }
}

/// Returns whether a shell can continue this process after it has stopped: the group is a job of a
/// shell in the same session.
pub(super) fn is_a_job() -> bool {
    let session = getsid(None).ok();
    session != Some(getpgrp()) && session == getsid(getppid()).ok()
}
