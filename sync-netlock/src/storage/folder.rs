//! The data folder: who owns it, what it remembers beside the log, and which log is the one.
//!
//! ```text
//! lock      locked by the server that runs
//! table     the identity of the table: 32 hexadecimal digits
//! notes     the epoch of tokens, the longest TTL that counts, how the last run kept its table,
//!           the run that may have forgotten something, and whether its grace was under way:
//!           lines of text
//! tail      how much of the log was acknowledged
//! log-N     the log of generation N; the greatest N counts
//! log.next  a log that is being made; never read
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use distsync_core::spi::Secret;
use rustix::fs::{Access, CWD, RenameFlags, access, renameat_with};
use rustix::io::Errno;

use super::options::Durability;

/// A folder that this process owns.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Locked as long as it is open; none: it was only [looked at](Folder::look_at).
    _lock: Option<File>,
}

/// What is remembered beside the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// The epoch of the tokens of the last run.
    pub(super) epoch: u64,
    /// The longest TTL of any session that is open, or was within its TTL.
    pub(super) longest_ttl: Duration,
    /// How well the last run kept its table.
    pub(super) durability: Durability,
    /// The epoch of the last run that may have forgotten something.
    pub(super) incarnation: u64,
    /// A grace was begun, and not over yet: what was forgotten before it may still be held.
    pub(super) is_grace_pending: bool,
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
/// Where the next notes are written. It is kept, so that they have room on a full disk.
const NOTES_NEXT: &str = "notes.next";
/// All notes are of this length: longer than they can become.
const NOTES_BYTES: usize = 256;
const GRACE_PENDING: &str = "grace pending";
const TABLE: &str = "table";
const NEXT: &str = "log.next";
const LOG: &str = "log-";

impl Folder {
    /// Makes the folder if it is missing, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, Unusable> {
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

    /// The folder as it is, neither made nor locked: another server may run on it. `None`: it is
    /// missing, and could be made.
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
                // The server that runs has removed it meanwhile.
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
                // Absent in folders of earlier versions: then it promises the least.
                durability: text
                    .lines()
                    .find_map(|line| line.strip_prefix("durability ")?.trim().parse().ok())
                    .unwrap_or(Durability::Async),
                incarnation: field("incarnation ").unwrap_or(0),
                is_grace_pending: text.lines().any(|line| line.trim() == GRACE_PENDING),
            })),
            _ => Err(foreign(NOTES)),
        }
    }

    /// The text of a small file of ours; `None`: it is not there.
    fn text(&self, name: &str) -> Result<Option<String>, Unusable> {
        match std::fs::read_to_string(self.path.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Ok(None),
                ErrorKind::InvalidData => Err(foreign(name)),
                _ => Err(error.into()),
            },
        }
    }

    /// Replaces the notes; on the disk when this returns. Needs no room on the disk once it was
    /// [set aside](Self::set_room_aside).
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
        // Written in its place, where it has room. Only the exchange makes it count.
        let file = writable().create(true).truncate(false).open(&next)?;
        file.write_all_at(
            format!("{text:<width$}\n", width = NOTES_BYTES - 1).as_bytes(),
            0,
        )?;
        file.set_len(NOTES_BYTES as u64)?;
        file.sync_all()?;
        let notes = self.path.join(NOTES);
        match renameat_with(CWD, &next, CWD, &notes, RenameFlags::EXCHANGE) {
            // There are none yet, or the file system knows no exchange.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                std::fs::rename(next, notes)?
            }
            exchanged => exchanged?,
        }
        self.sync()
    }

    /// Makes sure that the next notes can be written, also when the disk is full by then.
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

    /// The file that says how much of the log was acknowledged.
    pub(super) fn tail(&self) -> io::Result<File> {
        writable()
            .create(true)
            .truncate(false)
            .open(self.path.join("tail"))
    }

    /// The identity of the table that is kept here, which has to be `given` if both are.
    pub(super) fn kept_identity(&self, given: Option<u128>) -> Result<Option<u128>, Unusable> {
        let kept = match self.text(TABLE)? {
            Some(text) => Some(u128::from_str_radix(text.trim(), 16).map_err(|_| foreign(TABLE))?),
            None => None,
        };
        match (kept, given) {
            (Some(kept), Some(given)) if kept != given => Err(Unusable::Strange(format!(
                "it is the folder of the table {kept:032x}, not {given:032x}: leave the setting `table` out, or use \
                 another folder"
            ))),
            _ => Ok(kept),
        }
    }

    /// The identity of the table: the one kept here, else `given`, else a new one, on the disk when
    /// this returns.
    pub(super) fn identity(&self, given: Option<u128>) -> Result<u128, Unusable> {
        if let Some(kept) = self.kept_identity(given)? {
            return Ok(kept);
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

    /// The generations of the logs that are here, the newest last.
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

    /// The newest log: its generation and its bytes.
    pub(super) fn newest_log(&self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let Some(generation) = self.generations()?.pop() else {
            return Ok(None);
        };
        Ok(Some((generation, std::fs::read(self.log(generation))?)))
    }

    /// Whether there is a log of this generation. In doubt there is.
    pub(super) fn has_log(&self, generation: u64) -> bool {
        self.log(generation).try_exists().unwrap_or(true)
    }

    fn log(&self, generation: u64) -> PathBuf {
        self.path.join(format!("{LOG}{generation}"))
    }

    /// An empty file for the next log.
    pub(super) fn next_log(&self) -> io::Result<File> {
        writable()
            .create(true)
            .truncate(true)
            .open(self.path.join(NEXT))
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
        let mut removed = Ok(());
        for older in self
            .generations()?
            .into_iter()
            .filter(|found| *found < generation)
        {
            // One that stays is no reason to keep the others.
            removed = std::fs::remove_file(self.log(older)).and(removed);
        }
        removed
    }

    /// Brings the folder's own entries to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

fn foreign(name: &str) -> Unusable {
    Unusable::Strange(format!("the file `{name}` is not one that netlock wrote"))
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
        assert_eq!(length, NOTES_BYTES as u64, "the longest notes have room");
        std::fs::write(path.join(NOTES), "epoch 3\nlongest_ttl_ms 20\n").unwrap();
        let older = Notes {
            epoch: 3,
            longest_ttl: Duration::from_millis(20),
            ..Notes::default()
        };
        assert_eq!(
            folder.notes().unwrap(),
            Some(older),
            "as an earlier version wrote them"
        );
        drop(folder);
        std::fs::write(path.join(NOTES), b"\xff").unwrap();
        assert!(matches!(
            Folder::open(&path).unwrap().notes(),
            Err(Unusable::Strange(_))
        ));
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
