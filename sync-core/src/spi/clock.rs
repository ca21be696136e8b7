//! The only module that reads a clock. Everything else is given the time.
//!
//! Deadlines are moments of `CLOCK_BOOTTIME` where the system has it, so that suspended time
//! counts: a laptop that was suspended for ten minutes must not resume with 10 s left of a 15 s
//! session. The wall clock serves as a lower bound for fencing tokens only, never for a deadline.

#[cfg(feature = "testing")]
mod moved;

use std::future::Future;
use std::time::Duration;

#[cfg(feature = "testing")]
pub use moved::TestClock;

/// A point on the machine's boot-time clock, in nanoseconds.
///
/// Moments are comparable within one boot of one machine only, and outside of Unix only within one
/// process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// Returns the moment `nanos` nanoseconds after the clock's zero, for tests and simulations
    /// with a virtual clock.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the clock's zero.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the moment `duration` later, saturating at the greatest moment.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// Returns the moment `duration` earlier, saturating at the clock's zero.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// Returns the time from `earlier` to this moment, or zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock of a thread: the machine's, or one that a test moves.
///
/// A thread that keeps deadlines for others takes the clock of the thread that starts it. Without
/// the feature `testing` there is only the clock of the machine, and this is empty.
#[derive(Clone, Debug, Default)]
pub struct Source {
    #[cfg(feature = "testing")]
    moved: Option<moved::Moved>,
}

impl Source {
    /// Returns the clock of the calling thread.
    #[must_use]
    pub fn current() -> Self {
        Self {
            #[cfg(feature = "testing")]
            moved: moved::Moved::current(),
        }
    }

    /// Makes the calling thread follow this clock.
    pub fn install(self) {
        #[cfg(feature = "testing")]
        moved::Moved::install(self.moved);
    }

    /// Returns whether a test moves this clock. A thread that sleeps by the clock of the machine
    /// then has to look often.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        #[cfg(feature = "testing")]
        let is_moved = self.moved.is_some();
        #[cfg(not(feature = "testing"))]
        let is_moved = false;
        is_moved
    }

    /// Returns the current moment of this clock.
    #[must_use]
    pub fn now(&self) -> Moment {
        #[cfg(feature = "testing")]
        if let Some(moved) = &self.moved {
            return moved.now();
        }
        machine_now()
    }
}

/// Returns the current moment.
#[must_use]
pub fn now() -> Moment {
    Source::current().now()
}

/// Returns the current moment of the machine.
#[cfg(unix)]
fn machine_now() -> Moment {
    #[cfg(target_os = "linux")]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let fraction = u64::try_from(time.tv_nsec).unwrap_or(0);
    Moment(
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(fraction),
    )
}

/// Returns the current moment of the machine, counted from the first call in this process.
#[cfg(not(unix))]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that reads the clock"
)]
fn machine_now() -> Moment {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    Moment(nanos(START.get_or_init(std::time::Instant::now).elapsed()))
}

/// Returns the identity of this boot of the machine, to which moments belong; `None` where the
/// system does not tell.
///
/// A store that keeps moments in a file compares it after a restart.
#[must_use]
pub fn boot() -> Option<u128> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
}

/// Returns the wall-clock time in milliseconds since 1970: a lower bound for fencing tokens, never
/// a deadline.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that reads the clock"
)]
pub fn wall_millis() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| {
            u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
        })
}

/// The longest time for which one timer runs before the clock is read again. Tokio's timers stop
/// while the machine is suspended, the boot-time clock does not: after a resume, a sleeping task is
/// late by at most this much.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// Sleeps until `moment`, counting the time for which the machine is suspended.
///
/// # Cancel safety
/// Cancel-safe: dropping the future removes the timer.
pub async fn sleep_until(moment: Moment) {
    #[cfg(feature = "testing")]
    if let Some(moved) = moved::Moved::current() {
        return moved.reaches(moment).await;
    }
    loop {
        let left = moment.since(now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_NAP)).await;
    }
}

/// Runs `future` until `moment` at the latest; returns `None` if the moment came first.
///
/// # Cancel safety
/// As cancel-safe as `future`.
pub async fn until<F: Future>(moment: Moment, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = sleep_until(moment) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_saturate_instead_of_wrapping() {
        let late = Moment::from_nanos(u64::MAX - 1);
        assert_eq!(
            late.after(Duration::from_secs(1)),
            Moment::from_nanos(u64::MAX)
        );
        assert_eq!(
            Moment::from_nanos(1).before(Duration::from_secs(1)),
            Moment::default()
        );
        assert_eq!(Moment::from_nanos(1).since(late), Duration::ZERO);
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let first = now();
        assert!(now() >= first);
        assert!(wall_millis() > 1_700_000_000_000);
    }
}
