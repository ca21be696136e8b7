//! The keys and channels that this client names. The scripts name the others.

use std::fmt;

use distsync_core::spi::SessionId;

/// The key of the table. All keys are in one hash slot, so that a script may use them together.
pub(crate) const TABLE: &str = "distsync:{0}:table";
/// The prefix of all channels. It begins like the keys, so that one ACL pattern covers both.
pub(crate) const CHANNELS: &str = "distsync:{0}:on:";

/// A channel that this client can subscribe to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Channel {
    /// Grants and evictions of a session's claims.
    Session(SessionId),
    /// Changes of the queue of a name, given by its path.
    Watch(String),
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session) => write!(f, "{CHANNELS}{session}"),
            Self::Watch(path) => write!(f, "{CHANNELS}watch:{path}"),
        }
    }
}
