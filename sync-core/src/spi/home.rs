//! The runtime that a connection lives on, and what is needed to call at all.

use std::sync::Mutex;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::spi::mutex::locked;
use crate::types::error::{Error, ErrorKind, Result};

/// How long a request from another runtime waits before it looks whether the connection's runtime is driven. The pause doubles up
/// to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How long a runtime may take to run a task that has nothing to do. A runtime whose workers are blocked for longer loses its
/// connection to a caller on another runtime, which makes a new one.
const PROBE: Duration = Duration::from_millis(750);

/// How often a caller that waits for its turn looks whose it is.
const LOOK: Duration = Duration::from_secs(2);

/// Returns the current runtime.
///
/// # Errors
/// [`ErrorKind::NoRuntime`] outside of a runtime of Tokio.
pub fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| {
        Error::new(
            ErrorKind::NoRuntime,
            "there is no Tokio runtime here: call this inside of one (`#[tokio::main]`, `Runtime::block_on`), with I/O and \
             time enabled",
        )
    })
}

/// The runtime on which a connection's tasks run.
///
/// A handle can be used from several runtimes. Those tasks run on the runtime that connected, which may exist and not be driven
/// (nobody is in its `block_on`): requests are then not answered, however well the store does.
#[derive(Clone, Debug)]
pub struct Home(Handle);

impl Home {
    /// The current runtime.
    ///
    /// # Errors
    /// [`ErrorKind::NoRuntime`] outside of a runtime of Tokio.
    pub fn here() -> Result<Self> {
        runtime().map(Self)
    }

    /// Waits for `request`, which needs the tasks of this runtime. Costs nothing on this runtime itself.
    ///
    /// # Errors
    /// A retryable [`Unavailable`](ErrorKind::Unavailable) if this runtime is not driven, or has ended: the connection is of no
    /// more use.
    ///
    /// # Cancel safety
    /// As safe as `request` is.
    pub async fn answer<F: Future>(&self, request: F) -> Result<F::Output> {
        if runtime()?.id() == self.0.id() {
            return Ok(request.await);
        }
        tokio::select! {
            biased;
            output = request => Ok(output),
            () = self.stands_still() => Err(stands_still()),
        }
    }

    /// Resolves when a task on this runtime does not get its turn.
    async fn stands_still(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            let mut probe = JoinSet::new();
            probe.spawn_on(async {}, &self.0);
            if !matches!(tokio::time::timeout(PROBE, probe.join_next()).await, Ok(Some(Ok(())))) {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A turn that one caller has at a time, to connect for instance, while callers on all runtimes wait for it.
///
/// Nobody waits for a caller whose runtime is not driven.
#[derive(Debug, Default)]
pub struct Turns {
    turns: tokio::sync::Mutex<()>,
    /// Where the caller is that has the turn, or had it last.
    holder: Mutex<Option<Home>>,
}

/// A turn, until it is dropped. Without the lock, another caller has the turn as well, and does not use it.
#[derive(Debug)]
pub struct Turn<'a> {
    _lock: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl Turns {
    /// Waits for the turn.
    ///
    /// # Errors
    /// [`ErrorKind::NoRuntime`] outside of a runtime of Tokio.
    ///
    /// # Cancel safety
    /// Safe: dropped, the turn is another's.
    pub async fn turn(&self) -> Result<Turn<'_>> {
        let here = Home::here()?;
        loop {
            let holder = locked(&self.holder).clone();
            let lock = async {
                match holder {
                    Some(holder) => holder.answer(self.turns.lock()).await,
                    None => Ok(self.turns.lock().await),
                }
            };
            match tokio::time::timeout(LOOK, lock).await {
                Ok(Ok(turn)) => {
                    *locked(&self.holder) = Some(here);
                    return Ok(Turn { _lock: Some(turn) });
                }
                Ok(Err(_)) => return Ok(Turn { _lock: None }),
                // Another caller may have it by now, on another runtime.
                Err(_) => {}
            }
        }
    }
}

fn stands_still() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the runtime on which this handle connected is not driven, or has ended: keep one running for as long as the handle \
         is used",
    )
    .with_maybe_applied()
    .retryable()
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt;
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn started() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn outside_of_a_runtime_it_says_what_is_needed() {
        let error = Home::here().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoRuntime);
        assert!(error.to_string().contains("Tokio runtime"), "{error}");
        let home = started().block_on(async { Home::here() }).unwrap();
        let error = home.answer(ready(())).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoRuntime);
    }

    #[test]
    fn a_runtime_that_is_not_driven_or_has_ended_is_found_out() {
        for has_ended in [false, true] {
            let first = started();
            let home = first.block_on(async { Home::here() }).unwrap();
            let _kept = (!has_ended).then_some(first);
            let error = started().block_on(home.answer(pending::<()>())).unwrap_err();
            assert!(error.is_retryable() && error.to_string().contains("not driven"), "{error}");
        }
    }

    #[test]
    fn nobody_waits_for_a_turn_of_a_runtime_that_is_not_driven() {
        let (turns, first) = (std::sync::Arc::new(Turns::default()), started());
        let theirs = turns.clone();
        let mut tasks = JoinSet::new();
        first.block_on(async {
            tasks.spawn(async move {
                let _turn = theirs.turn().await;
                pending::<()>().await;
            });
            tokio::task::yield_now().await;
        });
        let second = started();
        assert!(second.block_on(async { turns.turns.try_lock().is_err() }), "the first has the turn");
        for _ in 0..2 {
            let turn = second.block_on(async { tokio::time::timeout(10 * LOOK, turns.turn()).await });
            drop(turn.expect("in time").unwrap());
        }
        drop(first);
        let _turn = second.block_on(turns.turn()).unwrap();
        assert!(turns.turns.try_lock().is_err(), "the turn is given back, and taken again");
    }

    #[test]
    fn a_runtime_that_is_driven_is_waited_for() {
        let first = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let home = first.block_on(async { Home::here() }).unwrap();
        let slow = tokio::time::sleep;
        started().block_on(async { home.answer(slow(2 * (FIRST_PAUSE + PROBE))).await }).unwrap();
    }
}
