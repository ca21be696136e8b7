//! The tasks of a load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use distsync::spi::clock::{self, Moment};
use distsync::{Error, ErrorKind, Guard, Handle, Lock, LockOptions, Result, Sync, Wait};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::Mode;

/// The interval at which the progress is reported.
const BEAT: Duration = Duration::from_millis(100);

/// The longest wait for a lock beyond the end of the load. Other tasks release the lock within a
/// round trip each, so a longer wait means that the store has lost a grant.
const PATIENCE: Duration = Duration::from_secs(30);

/// The load: how many tasks request which names, and how.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) mode: Mode,
    pub(super) tasks: usize,
    pub(super) names: usize,
    pub(super) time: Duration,
    /// The beginning of all names.
    pub(super) prefix: String,
}

/// The counts and times of one task or of all of them.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The time from the request to its grant, in microseconds.
    pub(super) acquire: Histogram<u64>,
    /// The time that a release took, in microseconds.
    pub(super) release: Histogram<u64>,
    /// The number of tries that found the lock taken.
    pub(super) busy: u64,
    /// The time from the start of the first task to the end of the last one.
    pub(super) elapsed: Duration,
}

impl Load {
    /// Runs the tasks to their end. Calls `progress` with the elapsed time and the number of
    /// requests so far.
    pub(super) async fn run(
        &self,
        handles: &[Arc<Handle>],
        progress: impl Fn(Duration, u64),
    ) -> Result<Outcome> {
        let start = clock::now();
        let until = start.after(self.time);
        let done = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for (number, handle) in (0..self.tasks).zip(handles.iter().cycle()) {
            let options = match self.mode {
                Mode::Lock | Mode::Try => LockOptions::new(),
                Mode::Read => LockOptions::shared(),
            };
            let options = options.with_wait(Wait::For(self.time.saturating_add(PATIENCE)));
            let lock = handle.lock(&format!("{}{}", self.prefix, number % self.names), options)?;
            tasks.spawn(work(lock, self.mode, until, done.clone()));
        }
        let mut outcome = Outcome::new()?;
        let mut beat = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    Some(Ok(task)) => outcome.add(&task?)?,
                    Some(Err(error)) => return Err(bug(error)),
                    None => break,
                },
                _ = beat.tick() => {
                    progress(clock::now().since(start), done.load(Ordering::Relaxed));
                }
            }
        }
        outcome.elapsed = clock::now().since(start);
        Ok(outcome)
    }
}

impl Outcome {
    fn new() -> Result<Self> {
        // Three digits, which is more than a measurement is worth.
        let histogram = || Histogram::new(3).map_err(bug);
        Ok(Self {
            acquire: histogram()?,
            release: histogram()?,
            busy: 0,
            elapsed: Duration::ZERO,
        })
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        self.acquire.add(&other.acquire).map_err(bug)?;
        self.release.add(&other.release).map_err(bug)?;
        self.busy += other.busy;
        Ok(())
    }
}

/// One task: acquires and releases until the time is over.
async fn work(
    lock: Box<dyn Lock>,
    mode: Mode,
    until: Moment,
    done: Arc<AtomicU64>,
) -> Result<Outcome> {
    let mut outcome = Outcome::new()?;
    loop {
        let asked = clock::now();
        if asked >= until {
            return Ok(outcome);
        }
        let guard = match mode {
            Mode::Lock | Mode::Read => Some(lock.acquire().await?),
            Mode::Try => lock.try_acquire().await?,
        };
        match guard {
            Some(guard) => {
                record(&mut outcome.acquire, asked)?;
                release(&guard, &mut outcome.release).await?;
            }
            None => outcome.busy += 1,
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

async fn release(guard: &Guard, histogram: &mut Histogram<u64>) -> Result<()> {
    let asked = clock::now();
    guard.release().await?;
    record(histogram, asked)
}

fn record(histogram: &mut Histogram<u64>, since: Moment) -> Result<()> {
    let micros = clock::now().since(since).as_micros();
    histogram
        .record(u64::try_from(micros).unwrap_or(u64::MAX))
        .map_err(bug)
}

/// Returns the error for a failure that the code rules out.
fn bug(error: impl std::error::Error + Send + std::marker::Sync + 'static) -> Error {
    let problem = "the load has failed: report this as a bug";
    Error::new(ErrorKind::Protocol, problem).with_source(error)
}
