//! The files of the data folder.
//!
//! ```text
//! lock      locked by the running server
//! table     the identity of the table: 32 hexadecimal digits
//! notes     lines of text: the epoch of tokens, the longest TTL in use, the durability of the last
//!           run, the epoch of the last run that may have lost changes, and whether its grace
//!           period was not over
//! tail      how much of the log was acknowledged
//! log-N     the log of generation N; only the one with the highest N is read
//! log.next  a log that is being built; never read
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use distsync_core::spi::Secret;
use rustix::fs::{Access, CWD, RenameFlags, access, renameat_with};
use rustix::io::Errno;
use tracing::warn;

use super::options::Durability;

/// A data folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// The lock of the folder, held while the file is open. `None` after
    /// [`look_at`](Folder::look_at).
    _lock: Option<File>,
}

/// What is stored beside the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// The epoch of the tokens of the last run.
    pub(super) epoch: u64,
    /// The longest TTL of the sessions that are open, or were open within their TTL.
    pub(super) longest_ttl: Duration,
    /// The durability of the last run.
    pub(super) durability: Durability,
    /// The epoch of the last run that may have lost acknowledged changes.
    pub(super) incarnation: u64,
    /// Whether a grace period has begun and is not over, so that clients may hold grants that were
    /// lost.
    pub(super) is_grace_pending: bool,
}

/// Why a folder cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// Another server runs on it.
    InUse,
    /// It contains a damaged file, or one that netlock did not write.
    Invalid(String),
    /// An operation of the file system failed.
    Io(io::Error),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

const NOTES: &str = "notes";
/// The file for the next notes. It always exists, so that they can be written on a full disk.
const NOTES_NEXT: &str = "notes.next";
/// The size of the notes, which are padded to it. The longest possible notes are shorter.
const NOTES_BYTES: usize = 256;
const GRACE_PENDING: &str = "grace pending";
const TABLE: &str = "table";
const NEXT: &str = "log.next";
const LOG: &str = "log-";

impl Folder {
    /// Opens and locks the folder. Creates it if it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, Unusable> {
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            if let Some(parent) = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
            {
                File::open(parent)?.sync_all()?;
            }
        }
        let lock = writable()
            .create(true)
            .truncate(false)
            .open(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: Some(lock),
            }),
            Err(TryLockError::WouldBlock) => Err(Unusable::InUse),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Opens the folder without creating or locking it, also while a server runs on it. Returns
    /// `None` if it is missing and could be created.
    pub(super) fn look_at(path: &Path) -> Result<Option<Self>, Unusable> {
        let usable = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        let there = path
            .ancestors()
            .find(|folder| folder.exists())
            .unwrap_or(Path::new("."));
        if !there.is_dir() {
            return Err(io::Error::from(ErrorKind::NotADirectory).into());
        }
        access(there, usable).map_err(io::Error::from)?;
        if there != path {
            return Ok(None);
        }
        for entry in std::fs::read_dir(path)? {
            match access(entry?.path(), Access::READ_OK | Access::WRITE_OK) {
                // The running server may have removed the file in the meantime.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(Some(Self {
            path: path.to_owned(),
            _lock: None,
        }))
    }

    pub(super) fn notes(&self) -> Result<Option<Notes>, Unusable> {
        let Some(text) = self.text(NOTES)? else {
            return Ok(None);
        };
        let field = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
        };
        match (field("epoch "), field("longest_ttl_ms ")) {
            (Some(epoch), Some(millis)) => Ok(Some(Notes {
                epoch,
                longest_ttl: Duration::from_millis(millis),
                // Absent in folders of earlier versions. `Async` promises less than `Fsync`.
                durability: text
                    .lines()
                    .find_map(|line| line.strip_prefix("durability ")?.trim().parse().ok())
                    .unwrap_or(Durability::Async),
                incarnation: field("incarnation ").unwrap_or(0),
                is_grace_pending: text.lines().any(|line| line.trim() == GRACE_PENDING),
            })),
            _ => Err(invalid(NOTES)),
        }
    }

    /// Returns the text of a small file, or `None` if it does not exist.
    fn text(&self, name: &str) -> Result<Option<String>, Unusable> {
        match std::fs::read_to_string(self.path.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Ok(None),
                ErrorKind::InvalidData => Err(invalid(name)),
                _ => Err(error.into()),
            },
        }
    }

    /// Replaces the notes and syncs them. Needs no more disk space after
    /// [`set_room_aside`](Self::set_room_aside).
    pub(super) fn write_notes(&self, notes: Notes) -> io::Result<()> {
        let millis = notes.longest_ttl.as_nanos().div_ceil(1_000_000);
        let Notes {
            epoch,
            durability,
            incarnation,
            is_grace_pending,
            ..
        } = notes;
        let grace = if is_grace_pending { GRACE_PENDING } else { "" };
        let text = format!(
            "epoch {epoch}\nlongest_ttl_ms {millis}\ndurability {durability}\nincarnation {incarnation}\n{grace}"
        );
        let next = self.path.join(NOTES_NEXT);
        // Overwrite the existing file, whose space is allocated. The exchange below makes it valid.
        let file = writable().create(true).truncate(false).open(&next)?;
        file.write_all_at(
            format!("{text:<width$}\n", width = NOTES_BYTES - 1).as_bytes(),
            0,
        )?;
        file.set_len(NOTES_BYTES as u64)?;
        file.sync_all()?;
        let notes = self.path.join(NOTES);
        match renameat_with(CWD, &next, CWD, &notes, RenameFlags::EXCHANGE) {
            // There are no notes yet, or the file system cannot exchange two files.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                std::fs::rename(next, notes)?
            }
            exchanged => exchanged?,
        }
        self.sync()
    }

    /// Allocates the file for the next notes, so that they can be written on a full disk.
    pub(super) fn set_room_aside(&self) -> io::Result<()> {
        let file = writable()
            .create(true)
            .truncate(false)
            .open(self.path.join(NOTES_NEXT))?;
        if file.metadata()?.len() < NOTES_BYTES as u64 {
            file.write_all_at(&[b' '; NOTES_BYTES], 0)?;
            file.sync_all()?;
        }
        Ok(())
    }

    /// Opens the file that notes how much of the log was acknowledged.
    pub(super) fn tail(&self) -> io::Result<File> {
        writable()
            .create(true)
            .truncate(false)
            .open(self.path.join("tail"))
    }

    /// Returns the identity of the table that is stored here, if there is one. Fails if `given` is
    /// another one.
    pub(super) fn stored_identity(&self, given: Option<u128>) -> Result<Option<u128>, Unusable> {
        let stored = match self.text(TABLE)? {
            Some(text) => Some(u128::from_str_radix(text.trim(), 16).map_err(|_| invalid(TABLE))?),
            None => None,
        };
        match (stored, given) {
            (Some(stored), Some(given)) if stored != given => Err(Unusable::Invalid(format!(
                "it is the folder of the table {stored:032x} instead of {given:032x}: omit the setting `table`, or \
                 use another folder"
            ))),
            _ => Ok(stored),
        }
    }

    /// Returns the identity of the table. If none is stored, stores and syncs `given`, or a new
    /// one.
    pub(super) fn identity(&self, given: Option<u128>) -> Result<u128, Unusable> {
        if let Some(stored) = self.stored_identity(given)? {
            return Ok(stored);
        }
        let identity = given.unwrap_or_else(|| Secret::random().expose());
        let next = self.path.join("table.next");
        let mut file = writable().create(true).truncate(true).open(&next)?;
        writeln!(file, "{identity:032x}")?;
        file.sync_all()?;
        std::fs::rename(next, self.path.join(TABLE))?;
        self.sync()?;
        Ok(identity)
    }

    /// Returns the generations of all logs in the folder, in ascending order.
    fn generations(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            found.extend(
                name.to_str()
                    .and_then(|name| name.strip_prefix(LOG)?.parse::<u64>().ok()),
            );
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Returns the generation and the bytes of the newest log.
    pub(crate) fn newest_log(&self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let Some(generation) = self.generations()?.pop() else {
            return Ok(None);
        };
        Ok(Some((generation, std::fs::read(self.log(generation))?)))
    }

    /// Returns whether there is a log of this generation. Returns true if that cannot be
    /// determined.
    pub(super) fn has_log(&self, generation: u64) -> bool {
        self.log(generation).try_exists().unwrap_or(true)
    }

    fn log(&self, generation: u64) -> PathBuf {
        self.path.join(format!("{LOG}{generation}"))
    }

    /// Creates an empty file for the next log.
    pub(crate) fn next_log(&self) -> io::Result<File> {
        writable()
            .create(true)
            .truncate(true)
            .open(self.path.join(NEXT))
    }

    /// Removes a next log that could not be completed.
    pub(crate) fn drop_next_log(&self) {
        // A failure is harmless: the file is never read, and the next log overwrites it.
        let _ = std::fs::remove_file(self.path.join(NEXT));
    }

    /// Renames the next log to the log of this generation. Durable after [`sync`](Self::sync).
    pub(crate) fn install_next_log(&self, generation: u64) -> io::Result<()> {
        std::fs::rename(self.path.join(NEXT), self.log(generation))
    }

    /// Removes the logs before this generation. Requires that the log of this generation is on the
    /// disk. An error is only logged: the newest log is read, so an old one does no harm.
    pub(crate) fn discard_logs_before(&self, generation: u64) {
        if let Err(error) = self.remove_logs_before(generation) {
            warn!(%error, "cannot remove an old log: remove it by hand, it only takes up space");
        }
    }

    pub(crate) fn remove_logs_before(&self, generation: u64) -> io::Result<()> {
        let mut removed = Ok(());
        for older in self
            .generations()?
            .into_iter()
            .filter(|found| *found < generation)
        {
            // If one cannot be removed, remove the others all the same.
            removed = std::fs::remove_file(self.log(older)).and(removed);
        }
        removed
    }

    /// Syncs the entries of the folder.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

fn invalid(name: &str) -> Unusable {
    Unusable::Invalid(format!(
        "the file `{name}` is not one that netlock wrote: use another folder, or restore it from a backup"
    ))
}

/// Returns options for files that only their owner may access, because they contain secrets.
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
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let folder = Folder::open(&path).unwrap();
        assert!(matches!(Folder::open(&path), Err(Unusable::InUse)));
        assert_eq!(folder.notes().unwrap(), None);
        let mut notes = Notes {
            epoch: 7,
            longest_ttl: Duration::from_millis(1_500),
            ..Notes::default()
        };
        for (durability, is_grace_pending) in [
            (Durability::Fsync, true),
            (Durability::Memory, false),
            (Durability::Async, true),
        ] {
            notes = Notes {
                durability,
                is_grace_pending,
                incarnation: notes.incarnation + 1,
                ..notes
            };
            folder.write_notes(notes).unwrap();
            assert_eq!(folder.notes().unwrap(), Some(notes));
        }
        folder.set_room_aside().unwrap();
        folder
            .write_notes(Notes {
                epoch: u64::MAX,
                incarnation: u64::MAX,
                longest_ttl: Duration::MAX,
                ..notes
            })
            .unwrap();
        let length = std::fs::metadata(path.join(NOTES)).unwrap().len();
        assert_eq!(length, NOTES_BYTES as u64, "the longest notes fit");
        std::fs::write(path.join(NOTES), "epoch 3\nlongest_ttl_ms 20\n").unwrap();
        let older = Notes {
            epoch: 3,
            longest_ttl: Duration::from_millis(20),
            ..Notes::default()
        };
        assert_eq!(
            folder.notes().unwrap(),
            Some(older),
            "notes of an earlier version"
        );
        drop(folder);
        std::fs::write(path.join(NOTES), b"\xff").unwrap();
        assert!(matches!(
            Folder::open(&path).unwrap().notes(),
            Err(Unusable::Invalid(_))
        ));
        std::fs::write(path.join(NOTES), "something else").unwrap();
        let folder = Folder::open(&path).unwrap();
        assert!(matches!(folder.notes(), Err(Unusable::Invalid(_))));
    }

    #[test]
    fn only_the_newest_log_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::open(directory.path()).unwrap();
        assert!(folder.newest_log().unwrap().is_none());
        for generation in [9, 10] {
            folder
                .next_log()
                .unwrap()
                .write_all(generation.to_string().as_bytes())
                .unwrap();
            folder.install_next_log(generation).unwrap();
        }
        folder
            .next_log()
            .unwrap()
            .write_all(b"never finished")
            .unwrap();
        assert_eq!(folder.newest_log().unwrap(), Some((10, b"10".to_vec())));
        folder.remove_logs_before(10).unwrap();
        assert_eq!(folder.generations().unwrap(), [10]);
    }
}
