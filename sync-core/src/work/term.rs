//! One term of a leader, as its work sees it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::locks::traits::Elected;
use crate::session::hold::Hold;
use crate::types::loss::Loss;

/// The reason why the work of a leader has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The shutdown signal of the caller. The leadership is held and renewed while the work stops.
    Shutdown,
    /// The leadership is lost.
    Lost(Loss),
}

/// One term of a leader, which [`run_as_leader`](crate::run_as_leader) gives to the work.
///
/// It dereferences to the [`Elected`], for `token`, `check` and `proclaim`. Clones may be moved to
/// tasks and threads. When the term has ended, every clone has ended.
#[derive(Clone)]
pub struct Term {
    elected: Arc<dyn Elected>,
    hold: Arc<Hold>,
    shutdown: CancellationToken,
}

impl Term {
    pub(super) fn new(elected: Box<dyn Elected>) -> Self {
        Self {
            hold: elected.revoked().hold().clone(),
            elected: elected.into(),
            shutdown: CancellationToken::new(),
        }
    }

    pub(super) fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Asks the work to stop.
    pub(super) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Resolves when the work has to stop. See [`run_as_leader`](crate::run_as_leader) for how much
    /// time it has then.
    ///
    /// # Cancel safety
    /// Safe: dropping it changes nothing.
    pub async fn stopping(&self) -> StopReason {
        tokio::select! {
            biased;
            loss = self.hold.lost() => StopReason::Lost(loss),
            () = self.shutdown.cancelled() => StopReason::Shutdown,
        }
    }

    /// Returns the reason if the work has to stop, without waiting. Reads the clock itself, for
    /// work that blocks a thread.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        match self.hold.loss() {
            Some(loss) => Some(StopReason::Lost(loss)),
            None => self.shutdown.is_cancelled().then_some(StopReason::Shutdown),
        }
    }
}

impl Deref for Term {
    type Target = dyn Elected;

    fn deref(&self) -> &Self::Target {
        &*self.elected
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term")
            .field("token", &self.elected.token())
            .field("stop_reason", &self.stop_reason())
            .finish_non_exhaustive()
    }
}
