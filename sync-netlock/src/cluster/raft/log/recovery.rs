//! Reads the log of a node.

use std::fmt;

use prost::Message;

use super::state::State;
use crate::cluster::proto::{self, record::Body};
use crate::storage::cluster::{Found, is_last, read};

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// Why a log cannot be used. A node without its whole log may have forgotten what it acknowledged,
/// so it must not vote any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// The bytes at this offset are damaged, and they are not an interrupted write.
    Damaged {
        /// The offset in bytes.
        at: usize,
        /// A description of the damage.
        how: String,
    },
    /// The log lost its end although the machine was up.
    LostTail {
        /// The length of what is left, in bytes.
        at: usize,
    },
    /// Another version of netlock wrote the log.
    Version(u32),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remedy = "this node may have forgotten what it acknowledged, so it must not vote again: remove it from \
                      the cluster, and add it as a new node with an empty folder";
        match self {
            Self::Damaged { at, how } => write!(
                f,
                "the log of the cluster is damaged at byte {at} ({how}), and {remedy}"
            ),
            Self::LostTail { at } => write!(
                f,
                "the log of the cluster lost its end after byte {at}, and {remedy}"
            ),
            Self::Version(version) => write!(
                f,
                "the log of the cluster was written by another version of netlock (format {version}): use that version"
            ),
        }
    }
}

/// Reads a log. `boot` is the current boot id of the kernel: if the log has the same one, the
/// system has kept all that was written. `acknowledged` is then the number of acknowledged bytes,
/// if it is known. Every write is one frame and was synced before the next one, so a power failure
/// can only damage the last one.
pub(super) fn recover(
    log: &[u8],
    boot: u128,
    acknowledged: Option<u64>,
) -> Result<(proto::Head, State), Unusable> {
    let (mut at, mut head, mut is_complete) = (0, None, false);
    let mut state = State::default();
    loop {
        let damaged = |how: &str| Unusable::Damaged {
            at,
            how: how.to_owned(),
        };
        let rest = log.get(at..).unwrap_or_default();
        let (mut records, length) = match read(rest) {
            Found::Frame(records, length) => (records, length),
            Found::Nothing | Found::Damage if is_complete && is_last(rest) => break,
            Found::Nothing | Found::Damage => return Err(damaged("invalid frame")),
        };
        while !records.is_empty() {
            let record = proto::Record::decode_length_delimited(&mut records)
                .map_err(|_| damaged("invalid record"))?;
            match record.body.ok_or_else(|| damaged("unknown record"))? {
                Body::Head(found) if head.is_none() => {
                    if found.version != VERSION {
                        return Err(Unusable::Version(found.version));
                    }
                    head = Some(found);
                }
                _ if head.is_none() => return Err(damaged("a log without a head")),
                Body::Complete(_) if !is_complete => is_complete = true,
                body => state.restore(body).map_err(|why| damaged(why.0))?,
            }
        }
        at += length;
    }
    let head = head.ok_or(Unusable::LostTail { at })?;
    let is_same_boot = *head.boot == boot.to_le_bytes();
    if is_same_boot && acknowledged.is_none_or(|acknowledged| acknowledged > at as u64) {
        return Err(Unusable::LostTail { at });
    }
    Ok((head, state))
}
