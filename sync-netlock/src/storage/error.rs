//! What is said of a folder or a log that cannot be used.

use std::io::ErrorKind;
use std::path::Path;

use distsync_core::Error;
use tracing::error;

use super::folder::Unusable;
use super::full::is_full;
use super::recovery::Unreadable;

/// What the disk has is unknown now, and every further answer could be a lie.
pub(super) fn die(error: &std::io::Error) -> ! {
    error!(%error, "the log cannot be written: the server ends");
    std::process::abort();
}

/// A log, and a server that keeps nothing.
pub(super) fn would_forget() -> Unusable {
    let why = "it holds a log, that a server with durability `memory` would forget: use `async` or `fsync`, or \
               another folder";
    Unusable::Strange(why.to_owned())
}

pub(super) fn unreadable(generation: u64, why: &Unreadable) -> String {
    match why {
        Unreadable::Damaged { at, how } => format!(
            "log-{generation} is damaged at byte {at} ({how}), and good records follow: bring the folder back from a backup, \
             or begin with an empty one once every session of before has ended"
        ),
        Unreadable::Version(version) => format!(
            "log-{generation} was written by another version of netlock (format {version}): use that version"
        ),
    }
}

pub(super) fn unusable(path: &Path, why: Unusable) -> Error {
    let folder = path.display();
    let error = match why {
        Unusable::InUse => Error::new(
            distsync_core::ErrorKind::Unavailable,
            format!("another server runs on the data folder {folder}"),
        ),
        Unusable::Strange(what) => Error::new(
            distsync_core::ErrorKind::Store,
            format!("the data folder {folder} cannot be used: {what}"),
        ),
        Unusable::Io(error) => {
            let remedy = match error.kind() {
                _ if is_full(&error) => "make room on its disk",
                ErrorKind::PermissionDenied => "let the server's user read and write it",
                ErrorKind::ReadOnlyFilesystem => {
                    "its file system is read-only: mount it for writing"
                }
                _ => "may it be written, and is its disk in order?",
            };
            let problem = format!("the data folder {folder} cannot be used: {remedy}");
            Error::new(distsync_core::ErrorKind::Unavailable, problem).with_source(error)
        }
    };
    error.with_backend("netlock")
}
