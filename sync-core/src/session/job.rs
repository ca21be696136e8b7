//! What the keeper's thread is asked to do.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::session::arrivals::Late;
use crate::session::departure::Watch;
use crate::session::hold::Hold;
use crate::session::lifecycle::Beginning;
use crate::session::live::LiveSession;
use crate::spi::backend::{Backend, Claim};
use crate::types::error::Result;

/// Work for the keeper's thread.
#[derive(Debug)]
pub(super) enum Job {
    Begin {
        beginning: Beginning,
        reply: oneshot::Sender<Result<Arc<LiveSession>>>,
    },
    ReleaseAll {
        done: oneshot::Sender<()>,
    },
    Withdraw {
        claim: Claim,
        session: Arc<LiveSession>,
        late: Late,
    },
    /// Takes departures back from this backend when they are not confirmed.
    Watch {
        watch: Watch,
        backend: Arc<dyn Backend>,
    },
    Limit {
        hold: Arc<Hold>,
    },
}
