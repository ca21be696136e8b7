//! The grace period after a restart that may have lost grants. During it, the table grants nothing,
//! because clients may still hold what was lost. It is as long as the longest TTL in use before.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use distsync_core::spi::clock::{self, Moment};
use tracing::{debug, warn};

use super::error::abort;
use super::folder::Notes;
use super::full::run_out;
use super::{Storage, Table};
use crate::engine::{Effect, Freeze};

/// How often the TTLs in use are reviewed during the longest of them, with an interval between the
/// two bounds below. More reviews shorten the grace period sooner after long sessions have ended.
const REVIEWS: u32 = 8;
const REVIEW_MIN: Duration = Duration::from_secs(1);
const REVIEW_MAX: Duration = Duration::from_secs(60);

/// The TTLs that a grace period has to cover: those of sessions that are open, or were open within
/// their TTL.
#[derive(Debug, Default)]
pub(super) struct RecentTtls {
    /// Each TTL and the end of its relevance. The longest TTL comes first.
    ttls: VecDeque<(Duration, Moment)>,
}

impl RecentTtls {
    /// Records that a session with this TTL is open now.
    pub(super) fn record(&mut self, ttl: Duration, now: Moment) {
        // Shorter TTLs that were recorded earlier cease to be relevant before this one does.
        while self.ttls.back().is_some_and(|(shorter, _)| *shorter <= ttl) {
            self.ttls.pop_back();
        }
        self.ttls.push_back((ttl, now.after(ttl)));
    }

    /// Returns the longest relevant TTL.
    pub(super) fn longest(&mut self, now: Moment) -> Duration {
        while self.ttls.front().is_some_and(|(_, until)| *until <= now) {
            self.ttls.pop_front();
        }
        self.ttls.front().map(|(ttl, _)| *ttl).unwrap_or_default()
    }
}

impl Storage {
    /// Begins the grace period. The notes say that it is pending, so a server that is restarted
    /// before it is over begins it again.
    pub(super) fn begin_grace(&mut self, table: &mut Table) {
        let grace = self.notes.longest_ttl;
        warn!(
            ?grace,
            "earlier locks may have been lost: nothing is granted until their sessions have ended"
        );
        let until = clock::now().after(grace);
        self.grace = Some(until);
        table.freeze(Freeze::Grace { until });
    }

    /// Does periodic work: ends the grace period, retries a full disk and reviews the TTLs in use.
    /// Called at the latest at [`next_maintenance`](Self::next_maintenance).
    pub(crate) fn maintain(&mut self, table: &mut Table, effects: &mut Vec<Effect>) {
        if table.frozen() == Some(Freeze::Full) {
            self.retry_reserve(table, effects);
        }
        let now = clock::now();
        if self.grace.is_some_and(|until| until <= now) {
            self.grace = None;
        }
        if self.notes.is_grace_pending && self.grace.is_none() {
            self.note_later(Notes {
                is_grace_pending: false,
                ..self.notes
            });
        }
        if self.review_at <= now {
            self.review(table, now);
        }
    }

    /// Returns when [`maintain`](Self::maintain) has to be called next.
    pub(crate) fn next_maintenance(&self) -> Moment {
        self.grace
            .map_or(self.review_at, |until| self.review_at.min(until))
    }

    /// Shortens the noted TTL if the sessions with long TTLs have ended.
    fn review(&mut self, table: &mut Table, now: Moment) {
        let longest_ttl = self.notes.longest_ttl;
        self.review_at = now.after((longest_ttl / REVIEWS).clamp(REVIEW_MIN, REVIEW_MAX));
        let opened = std::mem::take(&mut table.journal().longest_ttl);
        self.recent_ttls
            .record(opened.max(table.longest_ttl()), now);
        let longest = self.recent_ttls.longest(now);
        let needed = self.with_margin(longest);
        // A pending grace period covers sessions that the table does not contain.
        if !self.notes.is_grace_pending && needed.mul_f64(1.25) < longest_ttl {
            self.note_later(Notes {
                longest_ttl: needed,
                ..self.notes
            });
        }
    }

    /// Adds a margin to a TTL, so that a series of slightly longer TTLs does not cause a write
    /// each.
    fn with_margin(&self, ttl: Duration) -> Duration {
        ttl.mul_f64(1.25).min(self.ttl_max).max(ttl)
    }

    /// Notes a new longest TTL, which a later grace period has to cover, if a session with one was
    /// opened.
    pub(super) fn note_longest_ttl(&mut self, table: &mut Table) {
        let longest_ttl = table.journal().longest_ttl;
        if longest_ttl <= self.notes.longest_ttl {
            return;
        }
        let longest_ttl = self.with_margin(longest_ttl);
        // The session is acknowledged afterwards, so the note must not fail.
        self.note(Notes {
            longest_ttl,
            ..self.notes
        })
        .unwrap_or_else(|error| abort(&error));
        // The next notes need space too.
        if let Err(error) = self.folder.set_room_aside() {
            run_out(table, &error);
        }
    }

    pub(super) fn note(&mut self, notes: Notes) -> io::Result<()> {
        if notes != self.notes {
            self.folder.write_notes(notes)?;
            self.notes = notes;
        }
        Ok(())
    }

    /// Writes notes that only shorten a later grace period. A failure is retried later.
    fn note_later(&mut self, notes: Notes) {
        if let Err(error) = self.note(notes) {
            debug!(%error, "cannot write the notes: will retry");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    fn at(number: u64) -> Moment {
        Moment::default().after(second(number))
    }

    #[test]
    fn a_ttl_is_relevant_for_its_own_length_after_its_last_record() {
        let mut ttls = RecentTtls::default();
        assert_eq!(ttls.longest(at(0)), second(0));
        ttls.record(second(100), at(0));
        ttls.record(second(10), at(5));
        ttls.record(second(10), at(50));
        ttls.record(second(3), at(95));
        assert_eq!(ttls.longest(at(99)), second(100));
        assert_eq!(
            ttls.longest(at(100)),
            second(0),
            "10 s is relevant until 60, 3 s until 98"
        );
        ttls.record(second(10), at(100));
        ttls.record(second(3), at(108));
        assert_eq!(ttls.longest(at(109)), second(10));
        assert_eq!(ttls.longest(at(110)), second(3));
        ttls.record(second(20), at(110));
        assert_eq!(ttls.longest(at(129)), second(20));
        assert_eq!(ttls.longest(at(130)), second(0));
    }
}
