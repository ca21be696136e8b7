//! What the log of a node says: its vote, its entries, and how much of them is committed.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use openraft::EntryPayload;
use prost::Message;

use crate::cluster::consensus::NodeId;
use crate::cluster::proto::{self, record::Body};
use crate::cluster::raft::convert::{self, Invalid};
use crate::cluster::raft::types::{Entry, LogId, Membership, StoredMembership, Vote};
use crate::storage::cluster::write_frame;

/// The approximate memory of an entry besides its changes, in bytes.
const ENTRY_BYTES: u64 = 128;

/// The content of a log. The entries that no snapshot includes are kept in memory, because they are
/// read again soon: to apply them, and to send them to the other nodes.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
    /// The approximate size of the entries.
    bytes: u64,
    /// By the index of its entry: whether a majority of this membership needs more than one node.
    memberships: BTreeMap<u64, bool>,
}

/// Returns whether each majority of the voters has more than one node.
fn needs_others(membership: &Membership) -> bool {
    // While the voters change, a majority of both sets is needed.
    let sets = membership.get_joint_config();
    sets.iter().any(|voters| voters.len() > 1)
}

impl State {
    /// Returns the last entry, or the last one that was removed because a snapshot includes it.
    pub(super) fn last(&self) -> Option<LogId> {
        let last = self.entries.last_key_value();
        last.map(|(_, entry)| entry.log_id).or(self.purged)
    }

    /// Returns the last entry that was removed because a snapshot includes it.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    #[cfg(feature = "program")]
    /// Returns the vote, the last entry that is known to be committed, and the entries after
    /// `last`.
    pub(crate) fn after(&self, last: Option<LogId>) -> (Option<Vote>, Option<LogId>, Vec<Entry>) {
        let from = last.map_or(0, |last| last.index + 1);
        (self.vote, self.committed, self.range(from..))
    }

    pub(super) fn range(&self, range: impl RangeBounds<u64>) -> Vec<Entry> {
        self.entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// Returns the entries from `start` to before `end` that fit into `max` bytes, and at least
    /// one.
    pub(super) fn first_of(&self, start: u64, end: u64, max: u64) -> Vec<Entry> {
        let mut bytes = 0;
        self.entries
            .range(start..end)
            .map(|(_, entry)| entry)
            .take_while(|entry| {
                let is_first = bytes == 0;
                bytes += size(entry);
                is_first || bytes <= max
            })
            .cloned()
            .collect()
    }

    /// Returns the approximate size of all entries up to an index, in bytes.
    pub(crate) fn bytes_up_to(&self, index: u64) -> u64 {
        self.entries
            .range(..=index)
            .map(|(_, entry)| size(entry))
            .sum()
    }

    /// Returns the approximate size of all entries, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the last index up to which entries can be removed, if at most `keep` bytes of those
    /// up to `upto` are to be kept.
    pub(crate) fn purgeable(&self, upto: u64, keep: u64) -> Option<u64> {
        let mut kept = 0;
        self.entries
            .range(..=upto)
            .rev()
            .find(|(_, entry)| {
                kept += size(entry);
                kept > keep
            })
            .map(|(index, _)| *index)
    }

    /// Returns whether this node was elected, and has voted for nobody else since.
    pub(super) fn leads(&self, node: NodeId) -> bool {
        self.vote
            .is_some_and(|vote| vote.committed && vote.leader_id.node_id == node)
    }

    /// Returns whether a majority needs more than one node, as far as that is known.
    pub(crate) fn needs_others(&self) -> bool {
        let newest = self.memberships.last_key_value();
        newest.is_some_and(|(_, needs_others)| *needs_others)
    }

    /// Notes a membership whose entry is not in the log, unless a later one is.
    pub(super) fn note_membership(&mut self, stored: &StoredMembership) {
        if let Some(id) = stored.log_id()
            && self.memberships.is_empty()
        {
            let needs_others = needs_others(stored.membership());
            self.memberships.insert(id.index, needs_others);
        }
    }

    pub(super) fn append(&mut self, entry: Entry) {
        if let EntryPayload::Membership(membership) = &entry.payload {
            let needs_others = needs_others(membership);
            self.memberships.insert(entry.log_id.index, needs_others);
        }
        self.bytes += size(&entry);
        if let Some(old) = self.entries.insert(entry.log_id.index, entry) {
            self.bytes -= size(&old);
        }
    }

    pub(super) fn truncate(&mut self, since: u64) {
        self.memberships.split_off(&since);
        let removed = self.entries.split_off(&since);
        self.bytes -= removed.values().map(size).sum::<u64>();
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        let kept = self.entries.split_off(&upto.index.saturating_add(1));
        let removed = std::mem::replace(&mut self.entries, kept);
        self.bytes -= removed.values().map(size).sum::<u64>();
        self.purged = self.purged.max(Some(upto));
        // A snapshot with a later membership may have been installed.
        let last = self.entries.last_key_value().map(|(index, _)| *index);
        if last.is_none_or(|last| last < upto.index) && !removed.contains_key(&upto.index) {
            self.memberships.clear();
        }
    }

    /// Applies a record of a log, other than its head and the end of its beginning.
    pub(super) fn restore(&mut self, record: Body) -> Result<(), Invalid> {
        match record {
            Body::Vote(vote) => self.vote = Some(convert::to_vote(&vote)),
            Body::Entry(entry) => {
                let entry = convert::to_entry(entry)?;
                if self
                    .last()
                    .is_some_and(|last| last.index >= entry.log_id.index)
                {
                    return Err(Invalid("an entry that does not follow the one before it"));
                }
                self.append(entry);
            }
            Body::Truncated(since) => self.truncate(since.index),
            Body::Purged(upto) => self.purge(convert::to_log_id(&upto)),
            Body::Committed(upto) => self.committed = Some(convert::to_log_id(&upto)),
            Body::Head(_) | Body::Complete(_) => return Err(Invalid("a record out of its place")),
        }
        Ok(())
    }

    /// Returns the frames of a log that says the same.
    pub(super) fn frames(&self, head: proto::Head) -> Vec<u8> {
        let (mut bytes, mut records) = (Vec::new(), Records::default());
        records.push(Body::Head(head));
        if let Some(vote) = &self.vote {
            records.push(Body::Vote(convert::vote(vote)));
        }
        if let Some(purged) = &self.purged {
            records.push(Body::Purged(convert::log_id(purged)));
        }
        if let Some(committed) = &self.committed {
            records.push(Body::Committed(convert::log_id(committed)));
        }
        for entry in self.entries.values() {
            records.push(Body::Entry(convert::entry(entry)));
            if records.bytes.len() >= 1 << 20 {
                write_frame(&records.bytes, &mut bytes);
                records.bytes.clear();
            }
        }
        records.push(Body::Complete(proto::Nothing {}));
        write_frame(&records.bytes, &mut bytes);
        bytes
    }
}

/// The records of a frame that is being written.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
}

impl Records {
    pub(super) fn push(&mut self, body: Body) {
        // Encoding fails only if the buffer has a fixed size. A vector grows.
        let _ = proto::Record { body: Some(body) }.encode_length_delimited(&mut self.bytes);
    }

    /// Returns the frame.
    pub(super) fn sealed(self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.bytes.len() + 8);
        write_frame(&self.bytes, &mut frame);
        frame
    }
}

fn size(entry: &Entry) -> u64 {
    match &entry.payload {
        EntryPayload::Normal(changes) => ENTRY_BYTES + changes.len() as u64,
        EntryPayload::Blank | EntryPayload::Membership(_) => ENTRY_BYTES,
    }
}
