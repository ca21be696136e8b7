//! The data folder: who owns it, what it remembers beside the log, and which log is the one.
//!
//! ```text
//! lock      locked by the server that runs
//! table     the identity of the table: 32 hexadecimal digits
//! notes     the epoch of tokens and the longest TTL: two lines of text
//! log-N     the log of generation N; the greatest N counts
//! log.next  a log that is being made; never read
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sync_core::Secret;

/// A folder that this process owns.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// What is remembered beside the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// The epoch of the tokens of the last run.
    pub(super) epoch: u64,
    /// The longest TTL that any session can have.
    pub(super) longest_ttl: Duration,
}

/// Why a folder cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// Another server runs on it.
    InUse,
    /// It holds what is none of ours, or is damaged.
    Strange(String),
    /// The system says no.
    Io(io::Error),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

const NOTES: &str = "notes";
const TABLE: &str = "table";
const NEXT: &str = "log.next";
const LOG: &str = "log-";

impl Folder {
    /// Makes the folder if it is missing, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, Unusable> {
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let lock = writable().create(true).truncate(false).open(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Unusable::InUse),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    pub(super) fn notes(&self) -> Result<Option<Notes>, Unusable> {
        let text = match std::fs::read_to_string(self.path.join(NOTES)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
        match (field("epoch "), field("longest_ttl_ms ")) {
            (Some(epoch), Some(millis)) => {
                Ok(Some(Notes { epoch, longest_ttl: Duration::from_millis(millis) }))
            }
            _ => Err(Unusable::Strange(format!("the file `{NOTES}` is not one that netlock wrote"))),
        }
    }

    /// Replaces the notes; on the disk when this returns.
    pub(super) fn write_notes(&self, notes: Notes) -> io::Result<()> {
        let next = self.path.join("notes.next");
        let mut file = writable().create(true).truncate(true).open(&next)?;
        let millis = notes.longest_ttl.as_nanos().div_ceil(1_000_000);
        write!(file, "epoch {}\nlongest_ttl_ms {millis}\n", notes.epoch)?;
        file.sync_all()?;
        std::fs::rename(next, self.path.join(NOTES))?;
        self.sync()
    }

    /// The identity of the table: the one kept here, else `given`, else a new one, on the disk when this returns.
    pub(super) fn identity(&self, given: Option<u128>) -> Result<u128, Unusable> {
        let path = self.path.join(TABLE);
        let kept = match std::fs::read_to_string(&path) {
            Ok(text) => Some(u128::from_str_radix(text.trim(), 16).map_err(|_| {
                Unusable::Strange(format!("the file `{TABLE}` is not one that netlock wrote"))
            })?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        match (kept, given) {
            (Some(kept), Some(given)) if kept != given => Err(Unusable::Strange(format!(
                "it is the folder of the table {kept:032x}, not {given:032x}: leave the setting `table` out, or use \
                 another folder"
            ))),
            (Some(kept), _) => Ok(kept),
            (None, given) => {
                let identity = given.unwrap_or_else(|| Secret::random().expose());
                let next = self.path.join("table.next");
                let mut file = writable().create(true).truncate(true).open(&next)?;
                writeln!(file, "{identity:032x}")?;
                file.sync_all()?;
                std::fs::rename(next, path)?;
                self.sync()?;
                Ok(identity)
            }
        }
    }

    /// The generations of the logs that are here, the newest last.
    fn generations(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            found.extend(name.to_str().and_then(|name| name.strip_prefix(LOG)?.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The newest log: its generation and its bytes.
    pub(super) fn newest_log(&self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let Some(generation) = self.generations()?.pop() else { return Ok(None) };
        Ok(Some((generation, std::fs::read(self.log(generation))?)))
    }

    fn log(&self, generation: u64) -> PathBuf {
        self.path.join(format!("{LOG}{generation}"))
    }

    /// An empty file for the next log.
    pub(super) fn next_log(&self) -> io::Result<File> {
        writable().create(true).truncate(true).open(self.path.join(NEXT))
    }

    /// Throws the next log away: it could not be completed.
    pub(super) fn drop_next_log(&self) {
        // Nobody reads it, and the next one overwrites it.
        let _ = std::fs::remove_file(self.path.join(NEXT));
    }

    /// Makes the next log the one of this generation. Not on the disk before [`sync`](Self::sync).
    pub(super) fn install_next_log(&self, generation: u64) -> io::Result<()> {
        std::fs::rename(self.path.join(NEXT), self.log(generation))
    }

    /// Removes the logs before this generation, which are of no use once it is on the disk.
    pub(super) fn remove_logs_before(&self, generation: u64) -> io::Result<()> {
        for older in self.generations()?.into_iter().filter(|found| *found < generation) {
            std::fs::remove_file(self.log(older))?;
        }
        Ok(())
    }

    /// Brings the folder's own entries to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Files of a folder with secrets: for their owner alone.
fn writable() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_and_keeps_its_notes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");
        let folder = Folder::open(&path).unwrap();
        assert!(matches!(Folder::open(&path), Err(Unusable::InUse)));
        assert_eq!(folder.notes().unwrap(), None);
        let notes = Notes { epoch: 7, longest_ttl: Duration::from_millis(1_500) };
        folder.write_notes(notes).unwrap();
        assert_eq!(folder.notes().unwrap(), Some(notes));
        drop(folder);
        std::fs::write(path.join(NOTES), "something else").unwrap();
        let folder = Folder::open(&path).unwrap();
        assert!(matches!(folder.notes(), Err(Unusable::Strange(_))));
    }

    #[test]
    fn the_newest_log_counts() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        assert!(folder.newest_log().unwrap().is_none());
        for generation in [9, 10] {
            folder.next_log().unwrap().write_all(generation.to_string().as_bytes()).unwrap();
            folder.install_next_log(generation).unwrap();
        }
        folder.next_log().unwrap().write_all(b"never finished").unwrap();
        assert_eq!(folder.newest_log().unwrap(), Some((10, b"10".to_vec())));
        folder.remove_logs_before(10).unwrap();
        assert_eq!(folder.generations().unwrap(), [10]);
    }
}
