//! A lock or a leadership, as the supervisor of a command sees it.

use std::time::Duration;

use distsync::{Elected, Guard, Revoked};

/// A lock or a leadership that is held while a command runs.
pub(crate) trait Held {
    /// Returns a future that resolves when it is lost.
    fn revoked(&self) -> Revoked;

    /// Returns whether it is held for `time` more, also if no further renewal succeeds.
    fn lasts(&self, time: Duration) -> bool;
}

impl Held for Guard {
    fn revoked(&self) -> Revoked {
        Self::revoked(self)
    }

    fn lasts(&self, time: Duration) -> bool {
        self.check(time).is_ok()
    }
}

impl Held for dyn Elected + '_ {
    fn revoked(&self) -> Revoked {
        Elected::revoked(self)
    }

    fn lasts(&self, time: Duration) -> bool {
        self.check(time).is_ok()
    }
}
