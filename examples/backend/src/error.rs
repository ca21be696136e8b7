//! The failures of a step, and the errors that a caller gets for them.

use distsync::{Error, ErrorKind, Mode};
use rusqlite::ErrorCode;

/// A failure of a step.
#[derive(Debug)]
pub(crate) enum Failure {
    Sqlite(rusqlite::Error),
    /// The thread of the handle has ended or could not be started.
    NoThread,
    /// The system does not tell one boot from another.
    NoBoot,
    /// The name is in use with another number of permits.
    Permits(Mode),
    /// A row that this version does not write.
    Foreign(&'static str),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sqlite(error) => match error.sqlite_error_code() {
                // The step has not begun: another process has the lock of the file.
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::new(
                    ErrorKind::Unavailable,
                    "the file is locked: does another program keep a transaction open?",
                )
                .retryable(),
                // These may pass: a full disk, a failing one, no memory.
                Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => {
                    Self::unanswered("the file cannot be written: is the disk full?")
                }
                Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::new(
                    ErrorKind::Denied,
                    "the file is read-only: make it and its folder writable",
                ),
                Some(ErrorCode::CannotOpen) => Self::new(
                    ErrorKind::Unavailable,
                    "the file cannot be opened: does its folder exist, and is it writable?",
                ),
                _ => Self::new(
                    ErrorKind::Store,
                    format!("SQLite refuses ({error}): is this a file of this store?"),
                ),
            }
            .with_source(error),
            Failure::NoThread => {
                Self::unanswered("the thread of this handle has ended: open another")
            }
            Failure::NoBoot => Self::new(
                ErrorKind::Unsupported,
                "this system does not identify its boots: use another store",
            ),
            Failure::Permits(mode) => Self::new(
                ErrorKind::InvalidOption,
                format!("this name is used with {mode}: use the same number of permits everywhere"),
            ),
            Failure::Foreign(column) => Self::new(
                ErrorKind::Protocol,
                format!("the file has a `{column}` that this version does not know: update it"),
            ),
        }
        .with_backend("sqlite")
    }
}
