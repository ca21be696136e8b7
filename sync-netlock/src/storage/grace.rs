//! After a restart that may have forgotten grants nothing is granted for a while: for how long, and
//! whether at all.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use distsync_core::spi::clock::{self, Moment};
use tracing::{debug, warn};

use super::error::die;
use super::folder::Notes;
use super::full::run_out;
use super::{Storage, Table};
use crate::engine::{Effect, Freeze};

/// How often it is looked which TTLs are in use: eight times in the longest of them, within these
/// bounds.
const REVIEWS: u32 = 8;
const REVIEW_MIN: Duration = Duration::from_secs(1);
const REVIEW_MAX: Duration = Duration::from_secs(60);

/// Which TTLs a grace has to cover: those of sessions that are open, or were within their TTL.
#[derive(Debug, Default)]
pub(super) struct RecentTtls {
    /// Each TTL, and until when it counts; the longest first.
    seen: VecDeque<(Duration, Moment)>,
}

impl RecentTtls {
    /// A session with this TTL is open now.
    pub(super) fn see(&mut self, ttl: Duration, now: Moment) {
        // Shorter TTLs that were seen earlier stop counting before this one does.
        while self.seen.back().is_some_and(|(shorter, _)| *shorter <= ttl) {
            self.seen.pop_back();
        }
        self.seen.push_back((ttl, now.after(ttl)));
    }

    /// The longest that counts.
    pub(super) fn longest(&mut self, now: Moment) -> Duration {
        while self.seen.front().is_some_and(|(_, until)| *until <= now) {
            self.seen.pop_front();
        }
        self.seen.front().map(|(ttl, _)| *ttl).unwrap_or_default()
    }
}

impl Storage {
    /// Begins a grace, and remembers it: whoever starts the server before it is over has to begin
    /// it again.
    pub(super) fn give_grace(&mut self, table: &mut Table) {
        let grace = self.notes.longest_ttl;
        warn!(
            ?grace,
            "locks of before may have been forgotten: nothing is granted until their sessions have ended"
        );
        let until = clock::now().after(grace);
        self.grace = Some(until);
        table.freeze(Freeze::Grace { until });
    }

    /// To be called now and then, at the latest at [`due`](Self::due): ends what was only for a
    /// time.
    pub(crate) fn tend(&mut self, table: &mut Table, effects: &mut Vec<Effect>) {
        if table.frozen() == Some(Freeze::Full) {
            self.mend(table, effects);
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

    /// When [`tend`](Self::tend) has something to do.
    pub(crate) fn due(&self) -> Moment {
        self.grace
            .map_or(self.review_at, |until| self.review_at.min(until))
    }

    /// Sessions with long TTLs may have ended: a grace need not be that long any more.
    fn review(&mut self, table: &mut Table, now: Moment) {
        let longest_ttl = self.notes.longest_ttl;
        self.review_at = now.after((longest_ttl / REVIEWS).clamp(REVIEW_MIN, REVIEW_MAX));
        let opened = std::mem::take(&mut table.journal().longest_ttl);
        self.recent_ttls.see(opened.max(table.longest_ttl()), now);
        let longest = self.recent_ttls.longest(now);
        let needed = self.stepped(longest);
        // What a pending grace is for is in no table.
        if !self.notes.is_grace_pending && needed.mul_f64(1.25) < longest_ttl {
            self.note_later(Notes {
                longest_ttl: needed,
                ..self.notes
            });
        }
    }

    /// In steps, so that clients who each ask for a bit more do not make a write each.
    fn stepped(&self, ttl: Duration) -> Duration {
        ttl.mul_f64(1.25).min(self.ttl_max).max(ttl)
    }

    /// A session with a longer TTL than any before may have begun: a grace has to be that long.
    pub(super) fn note_longest_ttl(&mut self, table: &mut Table) {
        let longest_ttl = table.journal().longest_ttl;
        if longest_ttl <= self.notes.longest_ttl {
            return;
        }
        let longest_ttl = self.stepped(longest_ttl);
        // The session is about to be acknowledged, and could not be without this.
        self.note(Notes {
            longest_ttl,
            ..self.notes
        })
        .unwrap_or_else(|error| die(&error));
        // The next one needs room too.
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

    /// A note that makes a later grace shorter, and can wait.
    fn note_later(&mut self, notes: Notes) {
        if let Err(error) = self.note(notes) {
            debug!(%error, "the notes cannot be written: tried again later");
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
    fn a_ttl_counts_for_as_long_as_it_is_after_it_was_seen_last() {
        let mut ttls = RecentTtls::default();
        assert_eq!(ttls.longest(at(0)), second(0));
        ttls.see(second(100), at(0));
        ttls.see(second(10), at(5));
        ttls.see(second(10), at(50));
        ttls.see(second(3), at(95));
        assert_eq!(ttls.longest(at(99)), second(100));
        assert_eq!(
            ttls.longest(at(100)),
            second(0),
            "10 s counted until 60, 3 s until 98"
        );
        ttls.see(second(10), at(100));
        ttls.see(second(3), at(108));
        assert_eq!(ttls.longest(at(109)), second(10));
        assert_eq!(ttls.longest(at(110)), second(3));
        ttls.see(second(20), at(110));
        assert_eq!(ttls.longest(at(129)), second(20));
        assert_eq!(ttls.longest(at(130)), second(0));
    }
}
