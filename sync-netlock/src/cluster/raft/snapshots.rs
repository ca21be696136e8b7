//! The snapshot of a node: its table at one entry of the log.
//!
//! A snapshot is a file of the format of netlock's log: a frame with a `SnapshotHead`, and the
//! frames of a dump of the table. Only the newest one is kept.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use distsync_core::spi::{ClaimId, locked};
use distsync_core::{Result, Token};
use prost::Message;
use tracing::warn;

use super::convert;
use super::types::SnapshotMeta;
use crate::cluster::proto;
use crate::storage::cluster::{Folder, Found, Log, Unusable, read, unusable, write_frame};

/// The version of the format.
const VERSION: u32 = 1;

/// A snapshot on the disk, or one that is being received.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    pub(crate) file: Arc<File>,
    /// Its length in bytes. The file can be longer, because space is reserved.
    pub(crate) length: u64,
}

impl SnapshotFile {
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// The content of a snapshot.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) meta: SnapshotMeta,
    pub(crate) last_token: Token,
    pub(crate) dump: Bytes,
}

impl Content {
    fn encode(&self) -> Vec<u8> {
        let head = proto::SnapshotHead {
            version: VERSION,
            meta: Some(convert::meta(&self.meta)),
            last_token: self.last_token.get(),
        };
        let mut bytes = Vec::with_capacity(self.dump.len() + 1_024);
        write_frame(&head.encode_to_vec(), &mut bytes);
        bytes.extend_from_slice(&self.dump);
        bytes
    }

    /// Reads a snapshot. The frames of the dump are checked when the table is restored from it.
    pub(crate) fn decode(bytes: Vec<u8>) -> io::Result<Self> {
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let bytes = Bytes::from(bytes);
        let Found::Frame(head, length) = read(&bytes) else {
            return Err(invalid("a snapshot has a damaged head"));
        };
        let head = proto::SnapshotHead::decode(head)
            .map_err(|_| invalid("a snapshot has an invalid head"))?;
        if head.version != VERSION {
            return Err(invalid(
                "a snapshot was written by another version of netlock",
            ));
        }
        let meta = head
            .meta
            .ok_or_else(|| invalid("a snapshot does not say what it includes"))?;
        Ok(Self {
            meta: convert::to_meta(meta).map_err(|why| invalid(why.0))?,
            last_token: Token::new(head.last_token)
                .ok_or_else(|| invalid("a snapshot has an invalid token"))?,
            dump: bytes.slice(length..),
        })
    }
}

/// The snapshots of a node.
#[derive(Debug)]
pub(crate) struct Snapshots {
    folder: Folder,
    newest: Mutex<Newest>,
}

#[derive(Debug)]
struct Newest {
    generation: u64,
    snapshot: Option<(SnapshotMeta, SnapshotFile)>,
}

impl Snapshots {
    /// Opens the folder of the snapshots. Returns the content of the newest one too.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<Content>)> {
        let io = |error: io::Error| unusable(path, error.into());
        let folder = Folder::open(path).map_err(|why| unusable(path, why))?;
        let (mut generation, mut snapshot, mut content) = (0, None, None);
        if let Some((newest, bytes)) = folder.newest_log().map_err(io)? {
            generation = newest;
            // The space that is reserved at the end is not part of the snapshot.
            let bytes = frames(bytes);
            let length = bytes.len() as u64;
            let found = Content::decode(bytes).map_err(|error| {
                let remedy = "remove this node from the cluster, and add it as a new one with an empty folder";
                unusable(path, Unusable::Invalid(format!("{error}: {remedy}")))
            })?;
            let file = File::open(path.join(format!("log-{newest}"))).map_err(io)?;
            let file = Arc::new(file);
            snapshot = Some((found.meta.clone(), SnapshotFile { file, length }));
            content = Some(found);
        }
        let newest = Newest {
            generation,
            snapshot,
        };
        let snapshots = Self {
            folder,
            newest: Mutex::new(newest),
        };
        Ok((snapshots, content))
    }

    /// Returns the newest snapshot.
    pub(crate) fn newest(&self) -> Option<(SnapshotMeta, SnapshotFile)> {
        locked(&self.newest).snapshot.clone()
    }

    /// Stores a snapshot, unless there is a later one. It is on the disk when this returns.
    pub(crate) fn store(&self, content: &Content) -> io::Result<SnapshotFile> {
        // One at a time: a snapshot can be built while another one is installed.
        let mut newest = locked(&self.newest);
        if let Some((meta, file)) = &newest.snapshot
            && meta.last_log_id > content.meta.last_log_id
        {
            return Ok(file.clone());
        }
        let generation = newest.generation + 1;
        let stored = (|| -> io::Result<SnapshotFile> {
            let log = Log::begin(self.folder.next_log()?, &content.encode())?;
            self.folder.install_next_log(generation)?;
            self.folder.sync()?;
            let (file, length) = (log.file(), log.len());
            Ok(SnapshotFile { file, length })
        })();
        let file = stored.inspect_err(|_| self.folder.drop_next_log())?;
        newest.generation = generation;
        newest.snapshot = Some((content.meta.clone(), file.clone()));
        if let Err(error) = self.folder.remove_logs_before(generation) {
            warn!(%error, "cannot remove an old snapshot: remove it by hand, it only takes up space");
        }
        Ok(file)
    }

    /// Creates a file to receive a snapshot in. It has no name, so it vanishes if it is not stored.
    pub(crate) fn receive(&self) -> io::Result<SnapshotFile> {
        let name = format!("received-{:032x}", ClaimId::random().bits());
        let path = self.folder.path.join(name);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        std::fs::remove_file(path)?;
        Ok(SnapshotFile {
            file: Arc::new(file),
            length: 0,
        })
    }
}

/// Removes everything after the last valid frame.
fn frames(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut end = 0;
    while let Found::Frame(_, length) = read(bytes.get(end..).unwrap_or_default()) {
        end += length;
    }
    bytes.truncate(end);
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::types::StoredMembership;
    use super::*;

    /// The greatest token can be that of a claim which has ended, and is not in the dump then.
    #[test]
    fn a_snapshot_has_the_last_token() {
        let content = Content {
            meta: SnapshotMeta {
                last_log_id: None,
                last_membership: StoredMembership::default(),
                snapshot_id: "1".to_owned(),
            },
            last_token: Token::new(7).unwrap(),
            dump: Bytes::from_static(b"dump"),
        };
        let decoded = Content::decode(content.encode()).unwrap();
        assert_eq!(decoded.last_token, content.last_token);
        assert_eq!(decoded.dump, content.dump);
    }
}
