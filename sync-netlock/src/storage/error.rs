//! Errors of data folders and logs.

use std::io::ErrorKind;
use std::path::Path;

use distsync_core::Error;
use tracing::error;

use super::folder::Unusable;
use super::full::is_full;
use super::recovery::Unreadable;

/// Aborts the process after a failed write. The contents of the disk are unknown then, so any
/// further reply could be wrong.
pub(crate) fn abort(error: &std::io::Error) -> ! {
    error!(%error, "cannot write the log: the server aborts");
    std::process::abort();
}

pub(super) fn no_thread(error: std::io::Error) -> Error {
    let problem = "cannot start a thread that writes the log: raise the limit of threads";
    Error::new(distsync_core::ErrorKind::Unavailable, problem)
        .with_backend("netlock")
        .with_source(error)
}

/// Returns the error for a folder that contains a log, opened with the durability `memory`.
pub(super) fn would_ignore_log() -> Unusable {
    let why = "it contains a log, which a server with durability `memory` would ignore: use `async` or `fsync`, or \
               another folder";
    Unusable::Invalid(why.to_owned())
}

pub(super) fn unreadable(generation: u64, why: &Unreadable) -> String {
    match why {
        Unreadable::Damaged { at, how } => format!(
            "log-{generation} is damaged at byte {at} ({how}), and valid records follow: restore the folder from a \
             backup, or start with an empty folder after all earlier sessions have ended"
        ),
        Unreadable::Version(version) => format!(
            "log-{generation} was written by another version of netlock (format {version}): use that version"
        ),
    }
}

pub(crate) fn unusable(path: &Path, why: Unusable) -> Error {
    let folder = path.display();
    let error = match why {
        Unusable::InUse => Error::new(
            distsync_core::ErrorKind::Unavailable,
            format!(
                "another server runs on the data folder {folder}: stop it, or use another folder"
            ),
        ),
        Unusable::Invalid(what) => Error::new(
            distsync_core::ErrorKind::Store,
            format!("the data folder {folder} cannot be used: {what}"),
        ),
        Unusable::Io(error) => {
            let remedy = match error.kind() {
                _ if is_full(&error) => "make room on its disk",
                ErrorKind::PermissionDenied => "let the user of the server read and write it",
                ErrorKind::ReadOnlyFilesystem => "mount its file system for writing",
                _ => "check its permissions and its disk",
            };
            let problem = format!("the data folder {folder} cannot be used: {remedy}");
            Error::new(distsync_core::ErrorKind::Unavailable, problem).with_source(error)
        }
    };
    error.with_backend("netlock")
}
