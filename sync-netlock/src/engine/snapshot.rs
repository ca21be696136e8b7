//! Copies of queues for observers. A copy is made once for each change, and is cheap: it shares the
//! values and the names of clients with the table.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, Entry, Queue, Revision, SessionId, locked};
use distsync_core::{Mode, Token};

/// The value of a claim, which copies of its queue share. An empty value has no allocation.
#[derive(Clone, Default)]
pub(super) struct Value(Option<Arc<[u8]>>);

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self((!bytes.is_empty()).then(|| bytes.into()))
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// One claim of a [`QueueSnapshot`].
#[derive(Debug)]
pub struct SnapshotEntry {
    /// The id of the claim.
    pub claim: ClaimId,
    /// The session of the claim.
    pub session: SessionId,
    /// The fencing token, if the claim is held.
    pub token: Option<Token>,
    /// When the claim arrived, or when it was granted.
    pub since: Moment,
    /// The mode of the claim.
    pub mode: Mode,
    /// Whether the claim is kept only until its client is isolated.
    pub is_isolating: bool,
    /// The name of the client.
    pub client: Arc<str>,
    pub(super) value: Value,
}

impl SnapshotEntry {
    /// Returns the value of the claim.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    fn to_entry(&self, at: Moment) -> Entry {
        Entry {
            claim: self.claim,
            session: Some(self.session),
            token: self.token,
            age: Some(at.since(self.since)),
            is_isolating: self.is_isolating,
            mode: self.mode,
            client: self.client.to_string(),
            value: Bytes::copy_from_slice(&self.value),
        }
    }
}

/// The most by which the age of a claim is wrong in an encoded queue that is used again. Ages have
/// this resolution on the wire.
const SHARED_FOR: Duration = Duration::from_millis(1);

/// The queue of a name at one revision. It has no ages, so it is valid until the next change.
#[derive(Debug)]
pub struct QueueSnapshot {
    /// The name of the queue.
    pub name: Box<str>,
    /// The claims, in order of arrival.
    pub entries: Vec<SnapshotEntry>,
    /// The revision at which the queue was copied.
    pub revision: Revision,
    /// An upper bound of the encoded size.
    size: usize,
    /// The queue as the host has encoded it last, with its ages at this time. All connections that
    /// send the queue share it.
    encoded: Mutex<Option<(Moment, Bytes)>>,
}

impl QueueSnapshot {
    pub(super) fn new(
        name: &str,
        claims: usize,
        entries: impl Iterator<Item = SnapshotEntry>,
        revision: Revision,
    ) -> Self {
        // `collect` would grow the vector again and again, because a queue does not know its size.
        let mut all = Vec::with_capacity(claims);
        all.extend(entries);
        let size = |entry: &SnapshotEntry| Self::ENTRY_MAX + entry.client.len() + entry.value.len();
        Self {
            name: name.into(),
            size: 32 + all.iter().map(size).sum::<usize>(),
            entries: all,
            revision,
            encoded: Mutex::default(),
        }
    }

    /// The most bytes of an encoded entry, without the name of the client and the value.
    const ENTRY_MAX: usize = 96;

    /// Returns an upper bound of the encoded size, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns an upper bound of the memory of this copy, in bytes. Counts the values, because the
    /// table may have dropped them since.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.name.len()
            + self.entries.len() * size_of::<SnapshotEntry>()
            + self.size
    }

    /// Returns the queue with its ages at this time, encoded by `encode`, or as it was encoded at
    /// nearly the same time. The caller may not hold the table, because encoding a long queue takes
    /// a while.
    pub fn encoded(&self, at: Moment, encode: impl FnOnce(&Self, Moment) -> Bytes) -> Bytes {
        let mut encoded = locked(&self.encoded);
        if let Some((then, bytes)) = &*encoded
            && at.since(*then) < SHARED_FOR
            && then.since(at) < SHARED_FOR
        {
            return bytes.clone();
        }
        let bytes = encode(self, at);
        *encoded = Some((at, bytes.clone()));
        bytes
    }
}

/// A queue in a reply: shared with other replies, if it comes from a table of this process.
#[derive(Clone)]
pub struct QueueView(Source);

#[derive(Clone)]
enum Source {
    Shared {
        queue: Arc<QueueSnapshot>,
        /// The time to which ages refer.
        at: Moment,
    },
    Own(Box<Queue>),
}

impl QueueView {
    pub(super) fn shared(queue: Arc<QueueSnapshot>, at: Moment) -> Self {
        Self(Source::Shared { queue, at })
    }

    /// Returns the shared queue and the time to which its ages refer, unless the queue was decoded.
    #[must_use]
    pub fn snapshot(&self) -> Option<(&Arc<QueueSnapshot>, Moment)> {
        match &self.0 {
            Source::Shared { queue, at } => Some((queue, *at)),
            Source::Own(_) => None,
        }
    }

    /// Returns the queue as plain data.
    #[must_use]
    pub fn into_queue(self) -> Queue {
        match self.0 {
            Source::Shared { queue, at } => Queue {
                entries: queue
                    .entries
                    .iter()
                    .map(|entry| entry.to_entry(at))
                    .collect(),
                revision: queue.revision,
            },
            Source::Own(queue) => *queue,
        }
    }
}

impl From<Queue> for QueueView {
    fn from(queue: Queue) -> Self {
        Self(Source::Own(Box::new(queue)))
    }
}

impl PartialEq for QueueView {
    fn eq(&self, other: &Self) -> bool {
        self.clone().into_queue() == other.clone().into_queue()
    }
}

impl fmt::Debug for QueueView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clone().into_queue().fmt(f)
    }
}

/// The last copies of queues, so that requests for an unchanged queue share one. Replies that are
/// not sent yet keep them in memory.
#[derive(Debug, Default)]
pub(super) struct RecentSnapshots {
    last: [Recent; Self::COUNT],
    oldest: usize,
    /// The last copy of a long queue. It is kept although nothing sends it, because a long queue is
    /// expensive to copy, and its observers ask again.
    long: Option<Arc<QueueSnapshot>>,
}

#[derive(Debug, Default)]
struct Recent {
    revision: Revision,
    queue: std::sync::Weak<QueueSnapshot>,
}

impl RecentSnapshots {
    const COUNT: usize = 8;
    /// The number of claims from which on a queue is long.
    const LONG: usize = 64;
    /// The most memory of a copy that is kept.
    const KEPT_MAX: usize = 4 << 20;

    /// Returns the copy of the queue that has changed at this revision. A revision belongs to one
    /// change of one queue, if it has claims.
    pub(super) fn get(&self, name: &str, revision: Revision) -> Option<Arc<QueueSnapshot>> {
        let found = self
            .last
            .iter()
            .find(|recent| recent.revision == revision)?;
        found.queue.upgrade().filter(|queue| *queue.name == *name)
    }

    pub(super) fn put(&mut self, queue: &Arc<QueueSnapshot>) {
        self.last[self.oldest] = Recent {
            revision: queue.revision,
            queue: Arc::downgrade(queue),
        };
        self.oldest = (self.oldest + 1) % Self::COUNT;
        if queue.entries.len() >= Self::LONG && queue.memory() <= Self::KEPT_MAX {
            self.long = Some(queue.clone());
        }
    }

    /// Forgets all copies. Called when queues change without a new revision.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
