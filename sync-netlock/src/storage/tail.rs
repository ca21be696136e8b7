//! A note of how much of the log was acknowledged. Without it, a log that lost its end could not be
//! told from one that ended earlier.
//!
//! The note is overwritten after each write to the log, without a sync, so it costs little. Like
//! the log it survives the end of the process. After a power failure it has no meaning.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::folder::Folder;
use super::full::is_full;

/// The size of a slot: the generation of a log and its length (8 bytes each, little-endian), and
/// their CRC-32.
const SLOT: usize = 8 + 8 + 4;
/// Two logs exist while one replaces the other, and each has a slot of its own.
const BYTES: usize = SLOT * 2;

/// The file with the note.
#[derive(Debug)]
pub(crate) struct Tail {
    file: File,
}

impl Tail {
    /// Opens the file. Creates it with its final size, so that later notes need no more space.
    pub(crate) fn open(folder: &Folder) -> io::Result<Self> {
        let file = folder.tail()?;
        if file.metadata()?.len() < BYTES as u64 {
            file.write_all_at(&[0; BYTES], 0)?;
        }
        Ok(Self { file })
    }

    /// Returns how many bytes of the log of this generation were acknowledged, if that is known.
    pub(crate) fn of(&self, generation: u64) -> io::Result<Option<u64>> {
        let mut slot = [0; SLOT];
        self.file
            .read_exact_at(&mut slot, offset(generation) as u64)?;
        let found = u64::from_le_bytes(slot[8..16].try_into().unwrap_or_default());
        Ok((slot == encode(generation, found)).then_some(found))
    }

    /// Notes that the log of this generation has this length. The changes in it may be acknowledged
    /// afterwards.
    pub(crate) fn note(&self, generation: u64, length: u64) -> io::Result<()> {
        self.write(&encode(generation, length), offset(generation) as u64)
    }

    /// As [`note`](Self::note), for a log and the one that is replacing it.
    pub(crate) fn note_both(&self, generation: u64, length: u64, next: u64) -> io::Result<()> {
        let mut slots = [0; BYTES];
        for (generation, length) in [(generation, length), (generation + 1, next)] {
            let at = offset(generation);
            slots[at..at + SLOT].copy_from_slice(&encode(generation, length));
        }
        self.write(&slots, 0)
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        match self.file.write_all_at(bytes, at) {
            // A copy-on-write file system may need space for this. The older note is still true,
            // and only detects less.
            Err(error) if is_full(&error) => Ok(()),
            noted => noted,
        }
    }
}

fn offset(generation: u64) -> usize {
    if generation.is_multiple_of(2) {
        0
    } else {
        SLOT
    }
}

fn encode(generation: u64, length: u64) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(&generation.to_le_bytes());
    slot[8..16].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32fast::hash(&slot[..16]);
    slot[16..].copy_from_slice(&checksum.to_le_bytes());
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_of_two_logs_are_known_and_a_damaged_note_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::open(directory.path()).unwrap();
        let tail = Tail::open(&folder).unwrap();
        assert_eq!(tail.of(0).unwrap(), None, "an empty slot");
        tail.note(7, 100).unwrap();
        tail.note(8, 10).unwrap();
        tail.note(7, 200).unwrap();
        let tail = Tail::open(&folder).unwrap();
        assert_eq!(
            (tail.of(7).unwrap(), tail.of(8).unwrap()),
            (Some(200), Some(10))
        );
        assert_eq!(tail.of(9).unwrap(), None, "the slot of another log");
        tail.note(9, 1).unwrap();
        assert_eq!((tail.of(9).unwrap(), tail.of(7).unwrap()), (Some(1), None));
        tail.file.write_all_at(&[5], offset(8) as u64 + 8).unwrap();
        assert_eq!(tail.of(8).unwrap(), None);
    }
}
