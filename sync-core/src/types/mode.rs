//! The mode of a claim, which determines the claims that may hold a name at the same time.

use std::fmt;

use crate::types::error::{Error, ErrorKind, Result};

/// The mode of a claim, which determines the claims that may hold the same name at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Only this claim holds: a lock, or the writer of a read-write lock.
    #[default]
    Exclusive,
    /// Only shared claims hold: a reader of a read-write lock.
    Shared,
    /// Up to `of` permits hold: one permit of a semaphore. All claims of a name must give the same
    /// number.
    Permit {
        /// The number of permits, from 1 to 65,535.
        of: u16,
    },
}

impl Mode {
    /// Returns the mode if it is valid.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a semaphore with 0 permits.
    pub fn validated(self) -> Result<Self> {
        match self {
            Self::Permit { of: 0 } => Err(Error::new(
                ErrorKind::InvalidOption,
                "a semaphore of 0 permits can never be acquired: give `of` 1 to 65535",
            )),
            mode => Ok(mode),
        }
    }

    /// Returns whether two modes can never be in the same queue: permits with different numbers.
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
