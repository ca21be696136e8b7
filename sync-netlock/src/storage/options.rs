//! The configuration of a server's storage.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Which failures a change survives after its reply was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// None. Only the epoch of tokens and the longest TTL are stored. After a restart, nothing is
    /// granted until all earlier sessions have ended.
    Memory,
    /// The end of the process, `kill -9` included. A change is handed to the operating system
    /// before its reply is sent, and is on the disk within 100 ms. A power failure loses the
    /// changes that are not on the disk. After one, nothing is granted until all earlier sessions
    /// have ended.
    #[default]
    Async,
    /// A power failure. A change is on the disk before its reply is sent, so grants continue at
    /// once after a restart. Concurrent requests share one sync of the disk; sequential requests
    /// wait for one each.
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
                "unknown durability `{other}`: use memory, async or fsync"
            )),
        }
    }
}

/// The configuration of a server's storage.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// The data folder. Only one server may use it. It is created if it is missing, and contains
    /// the secrets of sessions.
    pub folder: PathBuf,
    /// Which failures the table survives. Default: [`Durability::Async`].
    pub durability: Durability,
    /// The log is replaced when it is longer than this and four times as long as its snapshot.
    /// Default: 64 MiB.
    pub log_bytes: u64,
}

impl StorageOptions {
    /// Returns options that store the table in `folder`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            durability: Durability::default(),
            log_bytes: 64 << 20,
        }
    }

    /// Sets which failures the table survives.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }
}
