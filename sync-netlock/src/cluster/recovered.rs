//! What a member notes when it was made from other files than its own: until when its cluster
//! grants nothing, and that clients have to check their locks.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// Its name in a data folder.
pub(crate) const FILE: &str = "recovered";

/// The file `recovered` of a data folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// See `Welcome.incarnation`.
    pub(crate) incarnation: u64,
    /// Clients may hold locks that the table lacks, for this long after the cluster serves again.
    /// Zero: that time is over.
    pub(crate) settling: Duration,
}

impl Recovered {
    /// Reads the file. Returns the default if there is none.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        let text = match std::fs::read_to_string(folder.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let field = |key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key));
            value.and_then(|value| value.trim().parse().ok())
        };
        match (field("incarnation "), field("settling_ms ")) {
            (Some(incarnation), Some(millis)) => Ok(Self {
                incarnation,
                settling: Duration::from_millis(millis),
            }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Replaces the file. It is on the disk when this returns.
    pub(crate) fn write(self, folder: &Path) -> io::Result<()> {
        let next = folder.join("recovered.next");
        let mut file = File::create(&next)?;
        let millis = self.settling.as_nanos().div_ceil(1_000_000);
        write!(
            file,
            "incarnation {}\nsettling_ms {millis}\n",
            self.incarnation
        )?;
        file.sync_all()?;
        std::fs::rename(next, folder.join(FILE))?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let read = || Recovered::read(folder.path());
        assert_eq!(read().unwrap(), Recovered::default());
        let recovered = Recovered {
            incarnation: 7,
            settling: Duration::from_millis(1_500),
        };
        recovered.write(folder.path()).unwrap();
        assert_eq!(read().unwrap(), recovered);
        std::fs::write(folder.path().join(FILE), "settling_ms x\n").unwrap();
        assert_eq!(read().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
