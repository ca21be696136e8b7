//! Signals that end a command which waits or watches.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{self, Failure};

/// Runs `work` until it ends, or until a signal asks the program to end. Returns the result of the
/// work, or the exit code that shells use for the signal. The work is dropped before that.
pub(crate) async fn until_signal<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<Result<T, u8>, Failure> {
    let mut hangup = listen(SignalKind::hangup())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    tokio::select! {
        result = work => result.map(Ok),
        _ = hangup.recv() => Ok(Err(128 + 1)),
        _ = interrupt.recv() => Ok(Err(128 + 2)),
        _ = terminate.recv() => Ok(Err(128 + 15)),
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        let problem = format!("cannot handle signals: raise the limit of open files ({error})");
        Failure::new(exit::OTHER, problem)
    })
}
