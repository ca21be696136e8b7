//! Exit codes, and errors on their way to standard error.

use std::fmt::{Arguments, Display};
use std::io::Write;
use std::process::ExitCode;

use distsync::{Error, ErrorKind};

/// Any error that has no code of its own.
pub(crate) const OTHER: u8 = 1;
/// The arguments are wrong (EX_USAGE).
pub(crate) const USAGE: u8 = 64;
/// The store cannot be reached (EX_UNAVAILABLE).
pub(crate) const UNREACHABLE: u8 = 69;
/// The lock was lost or is not held (EX_IOERR).
pub(crate) const LOST: u8 = 74;
/// The lock is busy, or was not granted in time (EX_TEMPFAIL).
pub(crate) const BUSY: u8 = 75;
/// The command ran for as long as it may, as in timeout(1).
pub(crate) const TOO_LONG: u8 = 124;
/// The store rejects the credentials, or they do not suffice (EX_NOPERM).
pub(crate) const DENIED: u8 = 77;

/// An error that ends the program: the exit code and the message.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    kind: Option<ErrorKind>,
}

impl Failure {
    /// Creates a failure with a message of the form `problem: remedy`.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            kind: None,
        }
    }

    /// Replaces the exit code `from` by `to`.
    #[must_use]
    pub(crate) fn with_code_instead(mut self, from: u8, to: u8) -> Self {
        if self.code == from {
            self.code = to;
        }
        self
    }

    /// Prints the message to standard error, as text or as a JSON object. A failure without a
    /// message prints nothing.
    pub(crate) fn print(&self, json: bool) {
        if self.message.is_empty() {
            return;
        }
        if json {
            let kind = self.kind.map(|kind| kind.to_string());
            let object = serde_json::json!({
                "error": self.message, "kind": kind, "exit": self.code,
            });
            print(format_args!("{object}"));
        } else {
            tell(&self.message);
        }
    }
}

/// Prints a message for people to standard error.
pub(crate) fn tell(message: impl Display) {
    print(format_args!("distsync: {message}"));
}

/// Prints a line to standard error. Unlike `eprintln!`, it does not panic if nobody reads it: the
/// exit code must stay the one that the caller waits for.
fn print(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::InvalidName | ErrorKind::InvalidOption | ErrorKind::Unsupported => USAGE,
            ErrorKind::Unavailable => UNREACHABLE,
            ErrorKind::NotHeld | ErrorKind::SessionLost | ErrorKind::Isolated => LOST,
            ErrorKind::Timeout | ErrorKind::Contended => BUSY,
            ErrorKind::Denied => DENIED,
            _ => OTHER,
        };
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            message += &format!(" ({source})");
            cause = source.source();
        }
        Self {
            code,
            message,
            kind: Some(error.kind()),
        }
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.code)
    }
}
