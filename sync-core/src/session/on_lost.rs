//! The reaction of a process to the loss of a lock that it holds.

use crate::options::OnLost;
use crate::types::loss::Loss;

/// Carries out the configured reaction. Returns only if that is to notify the holder.
pub(super) fn act(on_lost: OnLost, loss: Loss) {
    if matches!(loss, Loss::Released | Loss::Closed | Loss::Detached) {
        return;
    }
    match on_lost {
        OnLost::Notify => {}
        OnLost::Abort => {
            tracing::error!(%loss, "a lock was lost while it was held: aborting this process");
            std::process::abort();
        }
        OnLost::Exit(code) => {
            tracing::error!(%loss, code, "a lock was lost while it was held: exiting this process");
            std::process::exit(i32::from(code));
        }
    }
}
