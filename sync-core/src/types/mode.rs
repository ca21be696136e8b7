//! In which company a claim can hold.

use std::fmt;

use crate::types::error::{Error, ErrorKind, Result};

/// How a claim shares its name with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Alone: a lock, or the writer of a read-write lock.
    #[default]
    Exclusive,
    /// Together with other shared claims: a reader.
    Shared,
    /// One of `of` permits of a semaphore. All claims of a name have to agree on the number.
    Permit {
        /// How many may hold at a time, from 1 to 65,535.
        of: u16,
    },
}

impl Mode {
    /// Checks what the type does not.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a semaphore of no permits.
    pub fn validated(self) -> Result<Self> {
        match self {
            Self::Permit { of: 0 } => Err(Error::new(
                ErrorKind::InvalidOption,
                "a semaphore of 0 permits can never be acquired: give `of` 1 to 65535",
            )),
            mode => Ok(mode),
        }
    }

    /// Whether the two can never be in one queue: permits that disagree on their number.
    #[must_use]
    pub const fn contradicts(self, other: Self) -> bool {
        matches!((self, other), (Self::Permit { of: a }, Self::Permit { of: b }) if a != b)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exclusive => f.write_str("exclusive"),
            Self::Shared => f.write_str("shared"),
            Self::Permit { of } => write!(f, "one of {of} permits"),
        }
    }
}
