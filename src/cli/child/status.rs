//! How a command has ended.

use rustix::process::WaitStatus;

/// How a command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It exited with this code.
    Exited(u8),
    /// A signal with this number ended it.
    Signaled(i32),
}

impl Status {
    /// Returns the status of a process that has ended; `None` if it was only stopped.
    pub(super) fn of(status: WaitStatus) -> Option<Self> {
        let exited = status
            .exit_status()
            .map(|code| Self::Exited(u8::try_from(code).unwrap_or(u8::MAX)));
        exited.or_else(|| status.terminating_signal().map(Self::Signaled))
    }

    /// Returns the exit code that a shell gives to this status: the code, or 128 + the signal.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => u8::try_from(signal)
                .ok()
                .and_then(|signal| signal.checked_add(128))
                .unwrap_or(u8::MAX),
        }
    }
}
