//! From a log back to a table: what is there, what is missing, and what must not be.

use distsync_core::spi::clock::Moment;
use tracing::warn;

use super::record::{Found, NoRecord, Record, Records, read};
use crate::engine::{Journal, LockTable};

/// How a log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All that was ever answered is in it.
    Whole,
    /// The machine went down: what was not on the disk is missing.
    PowerFailure,
    /// Something is missing that was answered and kept: the log was cut, overwritten or damaged.
    LostTail,
}

/// Why a log is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A frame is damaged, and it is not the last one.
    Damaged {
        /// Where.
        at: usize,
        /// In which way.
        how: String,
    },
    /// Another version wrote it.
    Version(u32),
}

/// Makes the table of a log. `boot`: the kernel's run of today; the same one has kept all that was
/// written. `acknowledged`: how many bytes of the log were, if that is known.
pub(super) fn recover<J: Journal>(
    table: &mut LockTable<J>,
    log: &[u8],
    boot: u128,
    acknowledged: Option<u64>,
    now: Moment,
) -> Result<Ending, Unreadable> {
    let mut at = 0;
    let (mut same_boot, mut complete, mut ended) = (false, false, false);
    loop {
        let damaged = |how: &str| Unreadable::Damaged {
            at,
            how: how.to_owned(),
        };
        let (records, length) = match read(&log[at..]) {
            Found::Frame(_, _) if ended => return Err(damaged("it follows the end")),
            Found::Frame(records, length) => (records, length),
            Found::Nothing | Found::Damage if complete && (!same_boot || is_last(&log[at..])) => {
                break;
            }
            Found::Nothing | Found::Damage => return Err(damaged("it cannot be read")),
        };
        let mut records = Records::new(records);
        while let Some(record) = records.next() {
            match record {
                Ok(Record::Head { boot: then }) => same_boot = then == boot,
                Ok(Record::Complete) => complete = true,
                Ok(Record::End) => ended = true,
                Ok(Record::Change(change)) => {
                    table
                        .restore(now, change)
                        .map_err(|misfit| damaged(&misfit.to_string()))?;
                }
                Err(NoRecord::Version(version)) => return Err(Unreadable::Version(version)),
                Err(NoRecord::Damage) => return Err(damaged("it has a record of no known kind")),
            }
        }
        at += length;
    }
    if ended {
        return Ok(Ending::Whole);
    }
    if same_boot {
        // What follows the acknowledged part, whole or not, was never answered.
        if acknowledged.is_some_and(|acknowledged| acknowledged <= at as u64) {
            return Ok(Ending::Whole);
        }
        warn!(
            at,
            ?acknowledged,
            "the log lost its end: it was cut, overwritten or damaged"
        );
        return Ok(Ending::LostTail);
    }
    if is_last(&log[at..]) {
        return Ok(Ending::PowerFailure);
    }
    // The disk wrote later frames before earlier ones, or lost an earlier one. Nothing tells which.
    warn!(at, "the log is damaged before its end");
    Ok(Ending::LostTail)
}

/// Whether what stands here can be one write that was cut short: no whole frame begins behind the
/// first byte.
fn is_last(rest: &[u8]) -> bool {
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

    /// How a log ends of which so much was acknowledged, and how many sessions are in it.
    fn found(
        log: &[u8],
        boot: u128,
        acknowledged: Option<u64>,
    ) -> Result<(Ending, usize), Unreadable> {
        let mut table = LockTable::new(Limits::default(), Token::new(0).unwrap());
        let ending = recover(&mut table, log, boot, acknowledged, Moment::default())?;
        Ok((ending, table.stats().sessions))
    }

    fn sessions(log: &[u8], boot: u128) -> Result<(Ending, usize), Unreadable> {
        found(log, boot, Some(log.len() as u64))
    }

    #[test]
    fn the_same_boot_has_kept_everything_and_another_only_what_was_ended() {
        let records = [opened(1), opened(2)];
        assert_eq!(sessions(&log(&records), 2), Ok((Ending::PowerFailure, 2)));
        assert_eq!(
            sessions(&log(&[records[0], Record::End]), 2),
            Ok((Ending::Whole, 1))
        );
        let with_room = [log(&records), vec![0; 100]].concat();
        assert_eq!(
            found(&with_room, 1, Some(log(&records).len() as u64)),
            Ok((Ending::Whole, 2))
        );
    }

    #[test]
    fn a_log_without_what_was_acknowledged_lost_its_tail_whatever_is_in_its_place() {
        let (one, two) = (log(&[opened(1)]), log(&[opened(1), opened(2)]));
        let acknowledged = |log: &[u8]| Some(log.len() as u64);
        for length in one.len()..two.len() {
            let padded = [&two[..length], &[0; 64]].concat();
            for log in [&two[..length], &padded] {
                assert_eq!(
                    found(log, 1, acknowledged(&two)),
                    Ok((Ending::LostTail, 1)),
                    "cut at {length}"
                );
                assert_eq!(
                    found(log, 1, acknowledged(&one)),
                    Ok((Ending::Whole, 1)),
                    "an interrupted write"
                );
                assert_eq!(
                    found(log, 1, None),
                    Ok((Ending::LostTail, 1)),
                    "nothing proves it whole"
                );
            }
        }
        let mut damaged = [&two[..], &[0; 64]].concat();
        damaged[one.len() + 10] ^= 1;
        assert_eq!(
            found(&damaged, 1, acknowledged(&two)),
            Ok((Ending::LostTail, 1))
        );
        assert_eq!(
            found(&two, 1, acknowledged(&one)),
            Ok((Ending::Whole, 2)),
            "written, and not acknowledged"
        );
    }

    #[test]
    fn damage_before_a_good_record_is_no_log_unless_the_machine_went_down() {
        let whole = log(&[opened(1), opened(2), opened(3)]);
        let (second, third) = (log(&[opened(1)]).len(), log(&[opened(1), opened(2)]).len());
        let (mut changed, mut zeros) = (whole.clone(), whole);
        changed[second + 10] ^= 1;
        zeros[second..third].fill(0);
        for damaged in [changed, zeros] {
            let how = "it cannot be read".to_owned();
            assert_eq!(
                sessions(&damaged, 1),
                Err(Unreadable::Damaged { at: second, how })
            );
            assert_eq!(sessions(&damaged, 2), Ok((Ending::LostTail, 1)));
        }
    }

    #[test]
    fn what_does_not_fit_is_no_log() {
        let twice = log(&[opened(1), opened(1)]);
        let at = log(&[opened(1)]).len();
        assert_eq!(
            sessions(&twice, 1),
            Err(Unreadable::Damaged {
                at,
                how: "a session begins twice".to_owned()
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
        other[8 + 1] = 2;
        let checksum = crc32fast::hash(&other[8..8 + 21]);
        other[4..8].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(sessions(&other, 1), Err(Unreadable::Version(2)));
    }
}
