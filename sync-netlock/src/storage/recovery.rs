//! Restores a table from a log, and determines whether acknowledged changes are missing.

use distsync_core::spi::clock::Moment;
use tracing::warn;

use super::record::{Found, InvalidRecord, Record, Records, read};
use crate::engine::{Journal, LockTable};

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogEnd {
    /// The log contains all acknowledged changes.
    Complete,
    /// The machine went down. Changes that were not on the disk are missing.
    PowerFailure,
    /// Acknowledged changes are missing although the machine was up: the log was truncated,
    /// overwritten or damaged.
    LostTail,
}

/// Why a table cannot be restored from a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A frame is damaged, and it is not the last one.
    Damaged {
        /// The offset of the frame.
        at: usize,
        /// A description of the damage.
        how: String,
    },
    /// Another version of netlock wrote the log.
    Version(u32),
}

/// Restores a table from a log. `boot` is the current boot id of the kernel: if the log has the
/// same one, the system has kept all that was written. `acknowledged` is the number of acknowledged
/// bytes of the log, if it is known.
pub(super) fn recover<J: Journal>(
    table: &mut LockTable<J>,
    log: &[u8],
    boot: u128,
    acknowledged: Option<u64>,
    now: Moment,
) -> Result<LogEnd, Unreadable> {
    let mut at = 0;
    let (mut same_boot, mut complete, mut ended) = (false, false, false);
    loop {
        let damaged = |how: &str| Unreadable::Damaged {
            at,
            how: how.to_owned(),
        };
        let (records, length) = match read(&log[at..]) {
            Found::Frame(_, _) if ended => return Err(damaged("a frame follows the end record")),
            Found::Frame(records, length) => (records, length),
            Found::Nothing | Found::Damage if complete && (!same_boot || is_last(&log[at..])) => {
                break;
            }
            Found::Nothing | Found::Damage => return Err(damaged("invalid frame")),
        };
        let mut records = Records::new(records);
        while let Some(record) = records.next() {
            match record {
                Ok(Record::Head { boot: then }) => same_boot = then == boot,
                Ok(Record::Complete) => complete = true,
                Ok(Record::End) => ended = true,
                Ok(Record::Change(change)) => {
                    let restored = if complete {
                        table.restore(now, change)
                    } else {
                        table.restore_sliced(now, change)
                    };
                    restored.map_err(|invalid| damaged(&invalid.to_string()))?;
                }
                Err(InvalidRecord::Version(version)) => return Err(Unreadable::Version(version)),
                // The head names the version, so a valid log has no unknown records.
                Err(InvalidRecord::Damage | InvalidRecord::Kind(_)) => {
                    return Err(damaged("invalid record"));
                }
            }
        }
        at += length;
    }
    if ended {
        return Ok(LogEnd::Complete);
    }
    if same_boot {
        // Bytes after the acknowledged part belong to changes that no client was told of.
        if acknowledged.is_some_and(|acknowledged| acknowledged <= at as u64) {
            return Ok(LogEnd::Complete);
        }
        warn!(
            at,
            ?acknowledged,
            "the log lost its end: it was truncated, overwritten or damaged"
        );
        return Ok(LogEnd::LostTail);
    }
    if is_last(&log[at..]) {
        return Ok(LogEnd::PowerFailure);
    }
    // Either the disk wrote later frames before earlier ones, or it lost an earlier one. The two
    // cannot be told apart, so assume the worse.
    warn!(at, "the log is damaged before its end");
    Ok(LogEnd::LostTail)
}

/// Returns whether the bytes can be a single interrupted write: no valid frame begins after the
/// first byte.
pub(crate) fn is_last(rest: &[u8]) -> bool {
    let written = rest
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    !(1..written).any(|at| matches!(read(&rest[at..]), Found::Frame(..)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use distsync_core::Token;
    use distsync_core::spi::{Secret, SessionId};

    use super::*;
    use crate::engine::{Change, Limits, Terms};
    use crate::storage::record::Frame;

    fn opened(session: u128) -> Record<'static> {
        let (session, secret) = (SessionId::from_bits(session), Secret::from_bits(0));
        Record::Change(Change::Opened {
            session,
            secret,
            terms: Terms::lasting(Duration::from_secs(1)),
            client: "me",
            isolation: b"how",
            principal: 0,
        })
    }

    fn log(records: &[Record<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in [&[Record::Head { boot: 1 }, Record::Complete], records].concat() {
            let mut frame = Frame::default();
            frame.push(record);
            bytes.extend_from_slice(frame.sealed());
        }
        bytes
    }

    /// Recovers a log of which `acknowledged` bytes were acknowledged. Returns how it ends, and the
    /// number of sessions in it.
    fn recovered(
        log: &[u8],
        boot: u128,
        acknowledged: Option<u64>,
    ) -> Result<(LogEnd, usize), Unreadable> {
        let mut table = LockTable::new(Limits::default(), Token::new(0).unwrap());
        let end = recover(&mut table, log, boot, acknowledged, Moment::default())?;
        Ok((end, table.stats().sessions))
    }

    fn sessions(log: &[u8], boot: u128) -> Result<(LogEnd, usize), Unreadable> {
        recovered(log, boot, Some(log.len() as u64))
    }

    #[test]
    fn a_log_is_complete_on_the_same_boot_or_with_an_end_record() {
        let records = [opened(1), opened(2)];
        assert_eq!(sessions(&log(&records), 2), Ok((LogEnd::PowerFailure, 2)));
        assert_eq!(
            sessions(&log(&[records[0], Record::End]), 2),
            Ok((LogEnd::Complete, 1))
        );
        let with_room = [log(&records), vec![0; 100]].concat();
        assert_eq!(
            recovered(&with_room, 1, Some(log(&records).len() as u64)),
            Ok((LogEnd::Complete, 2))
        );
    }

    #[test]
    fn a_log_that_lacks_acknowledged_bytes_lost_its_tail() {
        let (one, two) = (log(&[opened(1)]), log(&[opened(1), opened(2)]));
        let acknowledged = |log: &[u8]| Some(log.len() as u64);
        for length in one.len()..two.len() {
            let padded = [&two[..length], &[0; 64]].concat();
            for log in [&two[..length], &padded] {
                assert_eq!(
                    recovered(log, 1, acknowledged(&two)),
                    Ok((LogEnd::LostTail, 1)),
                    "cut at {length}"
                );
                assert_eq!(
                    recovered(log, 1, acknowledged(&one)),
                    Ok((LogEnd::Complete, 1)),
                    "an interrupted write"
                );
                assert_eq!(
                    recovered(log, 1, None),
                    Ok((LogEnd::LostTail, 1)),
                    "nothing proves that it is complete"
                );
            }
        }
        let mut damaged = [&two[..], &[0; 64]].concat();
        damaged[one.len() + 10] ^= 1;
        assert_eq!(
            recovered(&damaged, 1, acknowledged(&two)),
            Ok((LogEnd::LostTail, 1))
        );
        assert_eq!(
            recovered(&two, 1, acknowledged(&one)),
            Ok((LogEnd::Complete, 2)),
            "written, and not acknowledged"
        );
    }

    #[test]
    fn damage_before_a_valid_frame_is_an_error_unless_the_machine_went_down() {
        let whole = log(&[opened(1), opened(2), opened(3)]);
        let (second, third) = (log(&[opened(1)]).len(), log(&[opened(1), opened(2)]).len());
        let (mut changed, mut zeros) = (whole.clone(), whole);
        changed[second + 10] ^= 1;
        zeros[second..third].fill(0);
        for damaged in [changed, zeros] {
            let how = "invalid frame".to_owned();
            assert_eq!(
                sessions(&damaged, 1),
                Err(Unreadable::Damaged { at: second, how })
            );
            assert_eq!(sessions(&damaged, 2), Ok((LogEnd::LostTail, 1)));
        }
    }

    #[test]
    fn an_inconsistent_or_foreign_log_is_an_error() {
        let twice = log(&[opened(1), opened(1)]);
        let at = log(&[opened(1)]).len();
        assert_eq!(
            sessions(&twice, 1),
            Err(Unreadable::Damaged {
                at,
                how: "a session is opened twice".to_owned()
            })
        );
        assert!(matches!(
            sessions(&log(&[])[..10], 1),
            Err(Unreadable::Damaged { at: 0, .. })
        ));
        assert!(matches!(
            sessions(b"some other file", 1),
            Err(Unreadable::Damaged { at: 0, .. })
        ));
        let mut other = log(&[]);
        other[8 + 1] = 4;
        let checksum = crc32fast::hash(&other[8..8 + 21]);
        other[4..8].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(sessions(&other, 1), Err(Unreadable::Version(4)));
    }
}
