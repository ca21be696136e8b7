//! The thread that drives the connections of a blocking client.

use std::future::Future;
use std::sync::Arc;
use std::thread::JoinHandle;

use distsync_core::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A runtime on a thread of its own. Callers run their futures on their own threads; the thread
/// drives the sockets and timers, also while nobody calls.
#[derive(Debug)]
pub(super) struct Driver {
    runtime: Handle,
    /// Dropped to end the thread. Both are `None` only while the driver is dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Driver {
    pub(super) fn start() -> Result<Arc<Self>> {
        let failed = |error: std::io::Error| {
            let problem = "cannot start the thread that drives connections: check the limits on \
                           threads and open files";
            Error::new(ErrorKind::Unavailable, problem)
                .with_operation("connect")
                .with_source(error)
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("distsync-blocking".to_owned())
            .spawn(move || {
                // Nothing is ever sent: the sender is dropped.
                let _ = runtime.block_on(stopped);
                // A look-up of a host name may take long, and nobody waits for it any more.
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Arc::new(Self {
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        }))
    }

    /// Runs a future to its end on the calling thread.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the thread belongs to a Tokio runtime.
    pub(super) fn wait_for<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        check_context()?;
        Ok(self.runtime.block_on(future))
    }
}

/// Checks that the calling thread may block.
pub(super) fn check_context() -> Result<()> {
    // Tokio panics where a task blocks on a runtime, and does not tell tasks from `spawn_blocking`.
    if Handle::try_current().is_err() {
        return Ok(());
    }
    let problem = "a call of `distsync::blocking` inside a Tokio runtime would block its tasks: use \
                   the async API there, or a thread of your own";
    Err(Error::new(ErrorKind::Unsupported, problem))
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends at once. It cannot have panicked, because it runs no code of others.
            let _ = thread.join();
        }
    }
}
