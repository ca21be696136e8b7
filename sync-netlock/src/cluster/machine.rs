//! The table of a node that does not execute requests: it restores committed changes.

use std::fmt;
use std::sync::{Arc, Mutex};

use distsync_core::Token;
use distsync_core::spi::{Revision, clock, locked};

use crate::engine::{Limits, LockTable};
use crate::storage::cluster::{Found, Frame, InvalidRecord, LogWriter, Record, Records, read};

/// The size of the frames of a dump, in bytes.
const DUMP_FRAME: usize = 1 << 20;

/// What the entries of the replicated log change.
pub trait Machine: fmt::Debug + Send + 'static {
    /// Applies a committed frame. Frames arrive in the order of the log.
    ///
    /// # Errors
    /// The frame does not follow from those before it. The node ends, because its table is wrong.
    fn apply(&mut self, index: u64, frame: &[u8]) -> Result<(), Diverged>;

    /// Returns the greatest token that was granted.
    fn last_token(&self) -> Token;

    /// Returns the frames that create the table as it is now.
    fn dump(&self) -> Vec<u8>;

    /// Replaces the table by a dumped one.
    ///
    /// # Errors
    /// The bytes are not a complete dump. The table is unchanged.
    fn load(&mut self, dump: &[u8], last_token: Token) -> Result<(), Diverged>;
}

/// The error for changes that do not fit the table of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diverged(String);

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the table of this node is not that of the cluster: {}",
            self.0
        )
    }
}

impl std::error::Error for Diverged {}

/// A table that restores committed changes. No time passes in it: sessions end when the leader says
/// so.
#[derive(Debug)]
pub struct Replica {
    limits: Limits,
    table: LockTable<LogWriter>,
}

impl Replica {
    /// Creates an empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            table: empty(&limits, LogWriter::default()),
            limits,
        }
    }

    /// Returns the table.
    #[cfg(test)]
    pub(crate) fn table(&mut self) -> &mut LockTable<LogWriter> {
        &mut self.table
    }
}

fn empty(limits: &Limits, journal: LogWriter) -> LockTable<LogWriter> {
    let first = Token::new(0).unwrap_or(Token::MAX);
    LockTable::with_journal(limits.clone(), first, journal)
}

/// A replica that the node and the server share.
#[derive(Clone, Debug)]
pub struct SharedReplica {
    replica: Arc<Mutex<Replica>>,
    limits: Limits,
}

/// By how many bits an index is shifted to give the first revision of a leader's table. A table
/// makes fewer revisions than this allows for between two entries.
const REVISIONS: u32 = 24;

impl SharedReplica {
    /// Creates an empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            replica: Arc::new(Mutex::new(Replica::new(limits.clone()))),
            limits,
        }
    }

    /// Returns a table for a leader that has applied the entries up to `index`. Its sessions have
    /// their whole TTL from now. It records its changes.
    ///
    /// Takes long if the table is large: do not call it on a thread that has other tasks.
    ///
    /// # Errors
    /// The table is faulty.
    pub(crate) fn lead(&self, index: u64) -> Result<LockTable<LogWriter>, Diverged> {
        let (dump, last_token) = {
            let replica = locked(&self.replica);
            (replica.dump(), replica.last_token())
        };
        let mut table = empty(&self.limits, LogWriter::recording());
        // Above all revisions of earlier leaders, so that a watch that moves from one of them to
        // this one learns that it may have missed changes.
        table.skip_revisions_to(Revision(index << REVISIONS));
        fill(&mut table, &dump, last_token)?;
        table.resume_isolations();
        Ok(table)
    }

    /// Returns an empty table, for a node that does not lead.
    pub(crate) fn none(&self) -> LockTable<LogWriter> {
        empty(&self.limits, LogWriter::default())
    }
}

impl Machine for SharedReplica {
    fn apply(&mut self, index: u64, frame: &[u8]) -> Result<(), Diverged> {
        locked(&self.replica).apply(index, frame)
    }

    fn last_token(&self) -> Token {
        locked(&self.replica).last_token()
    }

    fn dump(&self) -> Vec<u8> {
        locked(&self.replica).dump()
    }

    fn load(&mut self, dump: &[u8], last_token: Token) -> Result<(), Diverged> {
        locked(&self.replica).load(dump, last_token)
    }
}

impl Machine for Replica {
    fn apply(&mut self, index: u64, frame: &[u8]) -> Result<(), Diverged> {
        restore(&mut self.table, frame)
            .map(drop)
            .map_err(|why| Diverged(format!("entry {index}: {why}")))
    }

    fn last_token(&self) -> Token {
        self.table.last_token()
    }

    fn dump(&self) -> Vec<u8> {
        dump_of(&self.table)
    }

    fn load(&mut self, dump: &[u8], last_token: Token) -> Result<(), Diverged> {
        let mut table = empty(&self.limits, LogWriter::default());
        fill(&mut table, dump, last_token)?;
        self.table = table;
        Ok(())
    }
}

/// Returns the frames that create a table.
pub(crate) fn dump_of(table: &LockTable<LogWriter>) -> Vec<u8> {
    let (mut bytes, mut frame) = (Vec::new(), Frame::default());
    let mut put = |record: Record<'_>| {
        frame.push(record);
        if frame.len() >= DUMP_FRAME || record == Record::Complete {
            bytes.extend_from_slice(frame.sealed());
            frame.clear(DUMP_FRAME * 2);
        }
    };
    table.dump(|change| put(Record::Change(change)));
    put(Record::Complete);
    bytes
}

/// Restores a dump in an empty table.
fn fill(table: &mut LockTable<LogWriter>, dump: &[u8], last_token: Token) -> Result<(), Diverged> {
    let (mut rest, mut is_complete) = (dump, false);
    while !is_complete {
        let Found::Frame(records, length) = read(rest) else {
            return Err(Diverged("a snapshot is incomplete or damaged".to_owned()));
        };
        is_complete =
            restore(table, records).map_err(|why| Diverged(format!("a snapshot: {why}")))?;
        rest = rest.get(length..).unwrap_or_default();
    }
    if !rest.is_empty() {
        return Err(Diverged("something follows a snapshot's end".to_owned()));
    }
    table.skip_tokens_to(last_token);
    Ok(())
}

/// Restores the changes of a frame. Returns whether it ends a dump.
fn restore(table: &mut LockTable<LogWriter>, records: &[u8]) -> Result<bool, String> {
    let now = clock::now();
    let (mut records, mut is_complete) = (Records::new(records), false);
    while let Some(record) = records.next() {
        match record {
            _ if is_complete => return Err("a record follows the end of a dump".to_owned()),
            Ok(Record::Change(change)) => {
                table.restore(now, change).map_err(|why| why.to_string())?;
            }
            Ok(Record::Complete) => is_complete = true,
            Err(InvalidRecord::Kind(kind)) => {
                return Err(format!(
                    "it has a change (of kind {kind}) that this version of netlockd does not know: upgrade this \
                     member, it continues afterwards"
                ));
            }
            Ok(Record::Head { .. } | Record::End)
            | Err(InvalidRecord::Damage | InvalidRecord::Version(_)) => {
                return Err("an invalid record".to_owned());
            }
        }
    }
    Ok(is_complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_later_version_names_the_remedy() {
        let mut replica = Replica::new(Limits::default());
        let why = replica.apply(7, &[u8::MAX]).unwrap_err().to_string();
        assert!(why.contains("entry 7: it has a change"), "{why}");
        assert!(why.contains("upgrade this member"), "{why}");
    }
}
