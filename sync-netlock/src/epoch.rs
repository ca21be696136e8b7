//! The first fencing token of a table: above all tokens that an earlier run can have granted.

use std::sync::atomic::{AtomicU64, Ordering};

use distsync_core::spi::clock;
use distsync_core::{ClaimId, Token};

/// The start of the year 2026 (UTC), in milliseconds since 1970.
const START: u64 = 1_767_225_600_000;
/// The unit of the epoch, in milliseconds.
const MINUTE: u64 = 60_000;

/// Returns a lower bound for the tokens of a table without storage, taken from the wall clock.
///
/// A token consists of an epoch of 27 bits and a counter of 36 bits. The epoch is the number of
/// minutes since 2026, which lasts for 255 years. The high 16 bits of the counter start at the
/// millisecond within that minute. Tokens therefore rise over restarts, provided that the clock is
/// not set back and that fewer than a million locks are granted per millisecond. The low 20 bits
/// are random, so that two servers that start in the same millisecond do not begin with the same
/// tokens.
pub(crate) fn floor() -> Token {
    /// The highest floor returned in this process. It keeps the tokens of two tables apart that
    /// start within one millisecond.
    static NEWEST: AtomicU64 = AtomicU64::new(0);

    let floor = start_at(clock::wall_millis(), ClaimId::random());
    let above = |newest: u64| floor.max(newest + (1 << 20));
    let newest = NEWEST.fetch_update(Ordering::AcqRel, Ordering::Acquire, |newest| {
        Some(above(newest))
    });
    Token::new(above(newest.unwrap_or(0))).unwrap_or(Token::MAX)
}

/// Returns the epoch by the wall clock: the number of minutes since 2026.
#[cfg(feature = "server")]
pub(crate) fn now() -> u64 {
    clock::wall_millis().saturating_sub(START) / MINUTE
}

/// Returns the epoch of a token.
#[cfg(feature = "program")]
pub(crate) fn of(token: Token) -> u64 {
    token.get() >> 36
}

/// Returns the token before the first token of an epoch.
pub(crate) fn floor_of(epoch: u64) -> Token {
    Token::new((epoch & ((1 << 27) - 1)) << 36).unwrap_or(Token::MAX)
}

/// Returns the floor of a table that starts at this time.
fn start_at(wall_millis: u64, random: ClaimId) -> u64 {
    floor_at(wall_millis).get() | low_bits(random)
}

/// Returns 20 random bits.
fn low_bits(random: ClaimId) -> u64 {
    u64::from(random.key_slot() >> 12)
}

fn floor_at(wall_millis: u64) -> Token {
    let elapsed = wall_millis.saturating_sub(START);
    let (epoch, within) = (elapsed / MINUTE, elapsed % MINUTE);
    Token::new(floor_of(epoch).get() | (within << 20)).unwrap_or(Token::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_of_one_process_rise() {
        let floors: Vec<Token> = (0..1_000).map(|_| floor()).collect();
        assert!(floors.is_sorted_by(|earlier, later| earlier < later));
    }

    #[test]
    fn floors_of_one_moment_in_two_processes_differ() {
        let now = START + 5 * MINUTE + 17;
        let starts: std::collections::HashSet<u64> =
            (0..100).map(|_| start_at(now, ClaimId::random())).collect();
        assert!(starts.len() > 90, "{starts:?}");
        let bounds = floor_at(now).get()..floor_at(now + 1).get();
        assert!(
            starts.iter().all(|start| bounds.contains(start)),
            "the random bits do not change the millisecond: {starts:?}"
        );
    }

    #[test]
    fn the_floor_rises_with_the_clock() {
        let times = [
            START,
            START + 1,
            START + MINUTE - 1,
            START + MINUTE,
            START + 90 * 365 * 24 * 60 * MINUTE,
        ];
        assert!(
            times
                .map(floor_at)
                .is_sorted_by(|earlier, later| earlier < later)
        );
        assert_eq!(
            floor_at(0).get(),
            0,
            "a clock that is wrong by years is no reason to stop"
        );
        assert_eq!(floor_at(START + MINUTE).get(), 1 << 36);
    }
}
