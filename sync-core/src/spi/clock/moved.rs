//! A clock that a test moves, in the place of the machine's (the feature `testing`).

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Moment, machine_now};

thread_local! {
    /// The clock that this thread reads instead of the machine's.
    static CLOCK: RefCell<Option<Moved>> = const { RefCell::new(None) };
}

/// A clock that stands still until a test moves it.
#[derive(Clone, Debug)]
pub(super) struct Moved(Arc<watch::Sender<Moment>>);

impl Moved {
    /// Returns the clock of this thread, unless that is the machine's.
    pub(super) fn current() -> Option<Self> {
        CLOCK.with_borrow(Clone::clone)
    }

    pub(super) fn install(clock: Option<Self>) {
        CLOCK.set(clock);
    }

    pub(super) fn now(&self) -> Moment {
        *self.0.borrow()
    }

    /// Waits until the test has moved the clock to `moment`.
    pub(super) async fn reaches(&self, moment: Moment) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|now| *now >= moment).await;
    }
}

/// A clock that a test moves. It stands still in between.
///
/// While it exists, the thread that installed it follows it, and so do the clients and the stores
/// (`memory:`) that this thread creates: TTLs, renewals, limits of holds and of waits. Timeouts of
/// requests and pauses before retries follow the machine. Servers in other processes have their own
/// clocks, so use it with `memory:`.
///
/// Install it before you connect, on the thread that runs the test. `#[tokio::test]` runs a test on
/// one thread, unless it asks for more. A second test on another thread is not affected.
#[must_use = "dropping the clock returns the thread to the clock of the machine"]
pub struct TestClock {
    moved: Moved,
    /// The clock that it replaces.
    previous: Option<Moved>,
    /// It belongs to the thread that installed it.
    _stays: PhantomData<Rc<()>>,
}

impl TestClock {
    /// Stops the clock of this thread, and of the clients and stores that it creates.
    pub fn install() -> Self {
        let moved = Moved(Arc::new(watch::Sender::new(machine_now())));
        let previous = Moved::current();
        Moved::install(Some(moved.clone()));
        Self {
            moved,
            previous,
            _stays: PhantomData,
        }
    }

    /// Moves the clock forward at once, as if the machine had been suspended for this long.
    ///
    /// A client whose TTL runs out meanwhile loses its locks, and the store grants them to others.
    /// A client renews its session if less time has passed. It does so on a thread of its own:
    /// wait for what you expect, for instance for [`Guard::revoked`](crate::Guard::revoked).
    pub fn advance(&self, time: Duration) {
        self.moved.0.send_modify(|now| *now = now.after(time));
    }

    /// Returns the moment at which the clock stands.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.moved.now()
    }
}

impl Drop for TestClock {
    fn drop(&mut self) {
        Moved::install(self.previous.take());
    }
}

impl fmt::Debug for TestClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TestClock").field(&self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Source, now, sleep_until, until};
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn the_clock_stands_still_and_wakes_sleepers_when_it_is_moved() {
        let clock = TestClock::install();
        let start = now();
        let sleeping = sleep_until(start.after(HOUR));
        tokio::pin!(sleeping);
        let short = tokio::time::sleep(Duration::from_millis(20));
        tokio::select! {
            () = &mut sleeping => panic!("an hour has not passed"),
            () = short => {}
        }
        assert_eq!(now(), start);
        clock.advance(HOUR);
        sleeping.await;
        assert_eq!(now(), start.after(HOUR));
        assert_eq!(until(now(), std::future::pending::<()>()).await, None);
        drop(clock);
        assert!(now() < start.after(HOUR), "the machine's clock again");
    }

    #[test]
    fn a_thread_follows_the_clock_of_its_source() {
        let clock = TestClock::install();
        let source = Source::current();
        let other = std::thread::spawn(|| (Source::current().is_moved(), now()));
        assert!(!other.join().unwrap().0);
        clock.advance(HOUR);
        let stands = clock.now();
        let follower = std::thread::spawn(move || {
            source.install();
            now()
        });
        assert_eq!(follower.join().unwrap(), stands);
    }
}
