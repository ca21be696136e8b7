//! What a client does to itself when it loses what it holds.

use crate::options::OnLost;
use crate::types::loss::Loss;

/// Carries out what the options say. Returns only if that is to notify.
pub(super) fn act(on_lost: OnLost, loss: Loss) {
    if matches!(loss, Loss::Released | Loss::Closed | Loss::Detached) {
        return;
    }
    match on_lost {
        OnLost::Notify => {}
        OnLost::Abort => {
            tracing::error!(%loss, "a lock was lost while it was held: this process is aborted");
            std::process::abort();
        }
        OnLost::Exit(code) => {
            tracing::error!(%loss, code, "a lock was lost while it was held: this process exits");
            std::process::exit(i32::from(code));
        }
    }
}
