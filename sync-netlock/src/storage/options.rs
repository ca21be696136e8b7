//! Where a server keeps its table, and how well.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// When a grant is safe, seen from the client that is told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Nothing is kept but the epoch of tokens and the longest TTL. After a restart nothing is
    /// granted until every session of before has ended.
    Memory,
    /// With the system before the answer is sent, on the disk within 100 ms. Survives the end of
    /// the process, `kill -9` included. After a power failure what was not on the disk is
    /// forgotten, and nothing is granted until every session of before has ended.
    #[default]
    Async,
    /// On the disk before the answer is sent. Survives a power failure, after which grants go on at
    /// once. Requests that come together share one write to the disk; one by one each of them waits
    /// for it.
    Fsync,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Async => "async",
            Self::Fsync => "fsync",
        })
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Memory),
            "async" => Ok(Self::Async),
            "fsync" => Ok(Self::Fsync),
            other => Err(format!(
                "`{other}` is no durability: say memory, async or fsync"
            )),
        }
    }
}

/// Settings of a server that keeps its table.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// The folder, of this server alone. It is made if it is missing. The secrets of sessions are
    /// in it.
    pub folder: PathBuf,
    /// How well. Default: [`Durability::Async`].
    pub durability: Durability,
    /// A log is made anew when it is longer than this, and four times as long as it began. Default:
    /// 64 MiB.
    pub log_bytes: u64,
}

impl StorageOptions {
    /// Keeps the table in `folder`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            durability: Durability::default(),
            log_bytes: 64 << 20,
        }
    }

    /// Sets how well.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }
}
