//! The replies of the engine, as plain data.

use std::time::Duration;

use distsync_core::Token;
use distsync_core::spi::{ClaimId, Entry, Gone, SessionId, Withdrawn};

use super::command::Requester;
use super::refusal::Refusal;
use super::snapshot::QueueView;

/// A reply to an earlier command.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The destination of the reply.
    pub to: Requester,
    /// The reply.
    pub reply: Reply,
}

/// A reply of the table.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The session is open.
    Opened {
        /// The TTL of the session.
        ttl: Duration,
    },
    /// The connection is attached to the session.
    Attached,
    /// The connection is detached from the session.
    Detached,
    /// The session is renewed.
    Renewed {
        /// The TTL of the session.
        ttl: Duration,
    },
    /// The session has ended.
    Closed,
    /// The claim is held.
    Granted {
        /// The fencing token.
        token: Token,
    },
    /// The claim for any one of its names is held.
    GrantedAny {
        /// The fencing token.
        token: Token,
        /// The name that was granted.
        name: Box<str>,
    },
    /// The claim waits.
    Waiting {
        /// The number of claims ahead.
        position: u32,
        /// The first holder.
        holder: Option<Box<Entry>>,
    },
    /// A name is taken, and the claim is not queued.
    Busy {
        /// The first holder.
        holder: Option<Box<Entry>>,
    },
    /// The claim is no longer in the queue.
    Gone {
        /// The reason.
        why: Gone,
    },
    /// The result of an update.
    Updated {
        /// Whether the claim is held, and so has the new value.
        held: bool,
    },
    /// The state of the claim before it was withdrawn or evicted.
    Withdrawn(Withdrawn),
    /// Held claims that were evicted.
    Evictions(Vec<ClaimId>),
    /// The queue of a name.
    Queue(QueueView),
    /// Names, in ascending order.
    Names {
        /// One page of the list.
        names: Vec<String>,
        /// Whether there are more after the last one.
        more: bool,
    },
    /// The result of `Command::ReleaseAll`.
    Released {
        /// The number of claims that were ended.
        claims: u64,
    },
    /// Sessions, in ascending order of their ids.
    Sessions {
        /// One page of the list.
        sessions: Vec<SessionEntry>,
        /// Whether there are more after the last one.
        more: bool,
    },
    /// The command failed and had no effect.
    Refused(Refusal),
}

/// An open session, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    /// The id.
    pub session: SessionId,
    /// The name of the client, as the client gave it.
    pub client: String,
    /// The time until the session ends, unless it is renewed.
    pub left: Duration,
    /// The number of claims, held and waiting.
    pub claims: u64,
    /// The number of attached connections.
    pub connections: u32,
}
