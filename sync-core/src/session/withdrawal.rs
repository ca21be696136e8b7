//! The withdrawal of a claim in the background: a task of the keeper.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::session::arrivals::Late;
use crate::session::live::LiveSession;
use crate::spi::backend::{Backend, Claim};
use crate::spi::clock;
use crate::types::nonce::jitter;
use crate::types::queue::Withdrawn;

/// How long a request whose caller has given up may still arrive at the store: until the kernel
/// stops retransmitting unacknowledged data (`tcp_retries2` of Linux: 924 s).
const LATEST_ARRIVAL: Duration = Duration::from_secs(960);

/// The first pause before a withdrawal in the background is retried; it doubles up to the timeout
/// of a request.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Withdraws a claim. Retries until the store confirms it or the session is lost, which ends the
/// claim as well. Every error is retried: the session is renewed meanwhile, so a remaining claim
/// would block its name indefinitely.
///
/// If a request that enqueues the claim may still arrive, the withdrawal is repeated, at intervals
/// of half the elapsed time, until none can arrive any more. An outage that the session survives is
/// shorter than its TTL, so a request that the store reads at the end of the outage is found within
/// half a TTL.
pub(super) async fn withdraw(
    backend: Arc<dyn Backend>,
    claim: Claim,
    session: Arc<LiveSession>,
    late: Late,
) {
    let began = clock::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let pause = match session.request(backend.withdraw(&claim)).await {
            Err(_) => return,
            Ok(Some(Ok(withdrawn))) => {
                let age = clock::now().since(began);
                match (late, withdrawn) {
                    // Another client has ended it, and the store may not have reported that yet.
                    (Late::None, Withdrawn::Absent) => return,
                    (Late::None | Late::TheOnly, Withdrawn::Held | Withdrawn::Waiting) => {
                        return session.release_key_slot(&claim);
                    }
                    _ if age > LATEST_ARRIVAL => return session.release_key_slot(&claim),
                    _ => (age / 2).max(FIRST_PAUSE),
                }
            }
            failed => {
                if let Some(Err(error)) = failed.ok().flatten()
                    && !error.is_retryable()
                    && session.is_first(error.kind())
                {
                    warn!(name = %claim.name, %error, "cannot withdraw a claim yet: retrying until the session ends");
                }
                let now = pause;
                pause = (pause * 2).min(session.request_patience());
                now.mul_f64(0.5 + jitter())
            }
        };
        if session.while_live(tokio::time::sleep(pause)).await.is_err() {
            return;
        }
    }
}
