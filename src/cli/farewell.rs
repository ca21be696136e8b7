//! The end of a command that was connected to a store.

use std::process::ExitCode;
use std::time::Duration;

use distsync::spi::clock;
use distsync::{Handle, Sync as _};
use rustix::process::Signal;

use crate::child::Status;

/// The longest time for which this program waits for the store at its end.
const LONGEST: Duration = Duration::from_secs(2);

/// Leaves the queue and ends the session.
pub(crate) async fn leave(connected: &Handle) {
    let _ = clock::until(clock::now().after(LONGEST), connected.close()).await;
}

/// Returns the exit code after a signal that ended the wait for a lock.
pub(crate) fn ended_by(signal: Signal) -> ExitCode {
    ExitCode::from(Status::Signaled(signal.as_raw()).code())
}
