//! The times at which a command has to stop.

use std::time::Duration;

use distsync::Moment;

use crate::exit::{Failure, USAGE};

/// When and how a command has to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The time between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
    /// The moment at which the command is stopped although the lock is held.
    pub(crate) stop_at: Option<Moment>,
    /// Whether processes that outlive the command are left alone.
    pub(crate) leave_background: bool,
}

/// The TTLs among which the smallest sufficient one is looked for.
const STEP: Duration = Duration::from_millis(100);
const STEPS: u32 = 864_000;

/// Returns the time between SIGTERM and SIGKILL for a session with this TTL: as `given`, or a third
/// of the TTL.
///
/// # Errors
/// If the TTL is too short: one renewal and one retry must be possible before SIGTERM, or a single
/// slow reply would stop the command.
pub(crate) fn grace(ttl: Duration, given: Option<Duration>) -> Result<Duration, Failure> {
    let wanted = |ttl: Duration| given.unwrap_or(ttl / 3);
    let suffices = |ttl: Duration| before_sigterm(ttl) >= wanted(ttl);
    if suffices(ttl) {
        return Ok(wanted(ttl));
    }
    let smallest = (1..=STEPS)
        .map(|steps| STEP * steps)
        .find(|ttl| suffices(*ttl));
    let remedy = smallest.map_or_else(
        || "give a shorter --grace".to_owned(),
        |smallest| {
            let smallest = humantime::format_duration(smallest)
                .to_string()
                .replace(' ', "");
            let shorter = if given.is_some() {
                ", or give a shorter --grace"
            } else {
                ""
            };
            format!("set ttl={smallest} or more in the URL of the store{shorter}")
        },
    );
    let problem = format!(
        "a session TTL of {ttl:?} is too short to stop the command with a grace of {:?} before the \
         lock is lost: {remedy}",
        wanted(ttl)
    );
    Err(Failure::new(USAGE, problem))
}

/// Returns the longest grace that still allows one renewal, a third of the TTL after the last, and
/// one retry, a twelfth later.
///
/// The revocation is 10 % of the TTL, at least 250 ms, before the end of the session, which is
/// itself taken 1 % and 2 ms early (docs/semantics.md, "Exclusion by time").
fn before_sigterm(ttl: Duration) -> Duration {
    let margin = (ttl / 10).max(Duration::from_millis(250)).min(ttl / 3);
    let drift = ttl / 100 + Duration::from_millis(2);
    ttl.saturating_sub(drift)
        .saturating_sub(margin)
        .saturating_sub(ttl / 3)
        .saturating_sub(ttl / 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_ttl_that_is_too_short_names_the_smallest() {
        assert_eq!(grace(15 * SECOND, None).unwrap(), 5 * SECOND);
        assert_eq!(grace(2 * SECOND, Some(SECOND / 2)).unwrap(), SECOND / 2);
        for (ttl, given, smallest) in [
            (SECOND, None, "ttl=1s100ms"),
            (15 * SECOND, Some(10 * SECOND), "ttl=21s200ms"),
        ] {
            let error = format!("{:?}", grace(ttl, given).unwrap_err());
            assert!(error.contains(smallest), "{error}");
        }
        let error = format!("{:?}", grace(SECOND, Some(100_000 * SECOND)).unwrap_err());
        assert!(error.contains("give a shorter --grace"), "{error}");
    }
}
