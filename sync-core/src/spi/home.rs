//! The runtime that the tasks of a connection run on, and calls to them from other runtimes.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::spi::mutex::locked;
use crate::types::error::{Error, ErrorKind, Result};

/// How long a request from another runtime waits before it first checks whether the connection's
/// runtime is driven. The pause doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How long a runtime may take to run an empty task. If its workers are blocked for longer, a
/// caller on another runtime gives the connection up and makes a new one.
const PROBE: Duration = Duration::from_millis(750);

/// How long a request goes on whose caller was cancelled. One to a store that does not answer must
/// not take the place of others for longer.
const GOES_ON: Duration = Duration::from_secs(1);

/// How often a caller that waits for its turn checks which runtime the turn's holder is on.
const LOOK: Duration = Duration::from_secs(2);

/// Returns the current runtime.
///
/// # Errors
/// [`ErrorKind::NoRuntime`] outside of a Tokio runtime.
pub fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| {
        Error::new(
            ErrorKind::NoRuntime,
            "there is no Tokio runtime here: call this inside of one (`#[tokio::main]`, `Runtime::block_on`), with I/O and \
             time enabled",
        )
    })
}

/// Fails as [`runtime`] does. Inside of a task, this does not touch the runtime's reference count,
/// which is shared by all threads.
pub(crate) fn check_runtime() -> Result<()> {
    match tokio::task::try_id() {
        Some(_) => Ok(()),
        None => runtime().map(drop),
    }
}

/// The runtime on which a connection's tasks run.
///
/// A handle can be used from several runtimes. Its connection's tasks run on the runtime that
/// connected. That runtime may exist without being driven, because no thread is in its `block_on`:
/// requests are then not answered, although the store is available.
#[derive(Clone, Debug)]
pub struct Home(Handle);

impl Home {
    /// Returns the current runtime.
    ///
    /// # Errors
    /// [`ErrorKind::NoRuntime`] outside of a Tokio runtime.
    pub fn here() -> Result<Self> {
        runtime().map(Self)
    }

    /// Returns whether the caller is on this runtime.
    #[must_use]
    pub fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.0.id())
    }

    /// Waits for `request`, which needs the tasks of this runtime.
    ///
    /// On this runtime itself there is no overhead.
    ///
    /// # Errors
    /// A retryable [`Unavailable`](ErrorKind::Unavailable) if this runtime is not driven or has
    /// ended. The connection can then no longer be used.
    ///
    /// # Cancel safety
    /// As cancel-safe as `request`.
    pub async fn answer<F: Future>(&self, request: F) -> Result<F::Output> {
        if runtime()?.id() == self.0.id() {
            return Ok(request.await);
        }
        tokio::select! {
            biased;
            output = request => Ok(output),
            () = Box::pin(self.stalled()) => Err(stalled()),
        }
    }

    /// Makes a request that reaches the store even if the caller is cancelled meanwhile.
    ///
    /// The caller polls `request`. If the returned future is dropped before its end, this runtime
    /// goes on with it for at most a second, and drops its output.
    ///
    /// # Cancel safety
    /// As described. A future that is dropped before its first poll makes the request too.
    ///
    /// # Examples
    /// ```
    /// use distsync_core::spi::home::Home;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (tell, told) = tokio::sync::oneshot::channel();
    /// let request = async move {
    ///     tokio::task::yield_now().await;
    ///     tell.send("queued").unwrap();
    /// };
    /// drop(Home::here().unwrap().to_its_end(request));
    /// assert_eq!(told.await, Ok("queued"));
    /// # }
    /// ```
    pub fn to_its_end<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        ToItsEnd {
            request: Some(Box::pin(request)),
            runtime: self.0.clone(),
        }
    }

    /// Resolves when this runtime does not run a new task in time.
    async fn stalled(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            let mut probe = JoinSet::new();
            probe.spawn_on(async {}, &self.0);
            if !matches!(
                tokio::time::timeout(PROBE, probe.join_next()).await,
                Ok(Some(Ok(())))
            ) {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A request that goes on when it is dropped.
struct ToItsEnd<T: Send + 'static> {
    /// `None` once it has ended.
    request: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    runtime: Handle,
}

impl<T: Send + 'static> Future for ToItsEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(request) = &mut self.request else {
            return Poll::Pending;
        };
        let output = ready!(request.as_mut().poll(cx));
        self.request = None;
        Poll::Ready(output)
    }
}

impl<T: Send + 'static> Drop for ToItsEnd<T> {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.runtime
                .spawn(async move { drop(tokio::time::timeout(GOES_ON, request).await) });
        }
    }
}

/// A mutex that callers on several runtimes share, for example to connect one at a time.
///
/// No caller waits for a holder whose runtime is not driven.
///
/// # Examples
/// One request connects while the others wait for its connection:
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use distsync_core::Result;
/// use distsync_core::spi::home::Turns;
///
/// # #[derive(Default)]
/// # struct Connection;
/// # impl Connection {
/// #     async fn open() -> Result<Self> { Ok(Self) }
/// # }
/// #[derive(Default)]
/// struct Client {
///     current: Mutex<Option<Arc<Connection>>>,
///     connecting: Turns,
/// }
///
/// impl Client {
///     fn current(&self) -> Option<Arc<Connection>> {
///         self.current.lock().unwrap().clone()
///     }
///
///     async fn connection(&self) -> Result<Arc<Connection>> {
///         if let Some(connection) = self.current() {
///             return Ok(connection);
///         }
///         let _turn = self.connecting.turn().await?;
///         // Another request may have connected meanwhile.
///         if let Some(connection) = self.current() {
///             return Ok(connection);
///         }
///         let connection = Arc::new(Connection::open().await?);
///         *self.current.lock().unwrap() = Some(connection.clone());
///         Ok(connection)
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() { Client::default().connection().await.unwrap(); }
/// ```
#[derive(Debug, Default)]
pub struct Turns {
    turns: tokio::sync::Mutex<()>,
    /// The runtime of the caller that has the turn or had it last.
    holder: Mutex<Option<Home>>,
}

/// A turn, held until it is dropped. If it has no lock, the runtime of the actual holder is not
/// driven.
#[derive(Debug)]
pub struct Turn<'a> {
    _lock: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl Turns {
    /// Waits for the turn.
    ///
    /// # Errors
    /// [`ErrorKind::NoRuntime`] outside of a Tokio runtime.
    ///
    /// # Cancel safety
    /// Cancel-safe: dropping the future gives up the position in the queue of callers.
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
                // A caller on another runtime may have the turn by now: check that one next.
                Err(_) => {}
            }
        }
    }
}

fn stalled() -> Error {
    Error::unanswered(
        "the runtime on which this handle connected is not driven, or has ended: keep one running for as long as the handle \
         is used",
    )
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
    fn a_call_outside_of_a_runtime_is_an_error() {
        let error = Home::here().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoRuntime);
        assert!(error.to_string().contains("Tokio runtime"), "{error}");
        let home = started().block_on(async { Home::here() }).unwrap();
        let error = home.answer(ready(())).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoRuntime);
    }

    #[test]
    fn a_runtime_that_is_not_driven_or_has_ended_is_detected() {
        for has_ended in [false, true] {
            let first = started();
            let home = first.block_on(async { Home::here() }).unwrap();
            let _kept = (!has_ended).then_some(first);
            let error = started()
                .block_on(home.answer(pending::<()>()))
                .unwrap_err();
            assert!(
                error.is_retryable() && error.to_string().contains("not driven"),
                "{error}"
            );
        }
    }

    #[test]
    fn no_caller_waits_for_a_runtime_that_is_not_driven() {
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
        assert!(
            second.block_on(async { turns.turns.try_lock().is_err() }),
            "the first has the turn"
        );
        for _ in 0..2 {
            let turn =
                second.block_on(async { tokio::time::timeout(10 * LOOK, turns.turn()).await });
            drop(turn.expect("in time").unwrap());
        }
        drop(first);
        let _turn = second.block_on(turns.turn()).unwrap();
        assert!(
            turns.turns.try_lock().is_err(),
            "the turn was released, and is held again"
        );
    }

    #[test]
    fn a_request_continues_when_its_caller_is_cancelled() {
        let runtime = started();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        runtime.block_on(async {
            let home = Home::here().unwrap();
            for number in [1, 2] {
                let tell = tell.clone();
                let mut request = Box::pin(home.to_its_end(async move {
                    tokio::task::yield_now().await;
                    tell.send(number).unwrap();
                    number
                }));
                assert!(futures_util::poll!(&mut request).is_pending());
                if number == 2 {
                    assert_eq!(request.await, 2);
                }
            }
            assert_eq!((told.recv().await, told.recv().await), (Some(2), Some(1)));
        });
    }

    #[test]
    fn a_request_that_has_no_reply_does_not_go_on_for_long() {
        started().block_on(async {
            let (held, released) = tokio::sync::oneshot::channel::<()>();
            let request = async move {
                let _held = held;
                pending::<()>().await;
            };
            drop(Home::here().unwrap().to_its_end(request));
            let released = tokio::time::timeout(10 * GOES_ON, released).await;
            assert!(released.expect("in time").is_err());
        });
    }

    #[test]
    fn a_runtime_that_is_driven_is_waited_for() {
        let first = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let home = first.block_on(async { Home::here() }).unwrap();
        let slow = tokio::time::sleep;
        started()
            .block_on(async { home.answer(slow(2 * (FIRST_PAUSE + PROBE))).await })
            .unwrap();
    }
}
