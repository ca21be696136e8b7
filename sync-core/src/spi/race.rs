//! Tries several candidates, each a little after the one before, and takes the first that succeeds.

use std::future::Future;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};

/// How long one candidate is tried alone before the next is tried beside it (RFC 8305 recommends
/// 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Returns the first success, and drops the other attempts. A failure starts the next candidate at
/// once.
///
/// # Errors
/// All failures, if no candidate succeeds.
///
/// # Cancel safety
/// Dropping it drops all attempts.
pub async fn first<C, T, E, F: Future<Output = Result<T, E>>>(
    candidates: impl IntoIterator<Item = C>,
    attempt: impl Fn(C) -> F,
) -> Result<T, Vec<E>> {
    let mut rest = candidates.into_iter().peekable();
    let (mut running, mut failures) = (FuturesUnordered::new(), Vec::new());
    loop {
        if let Some(candidate) = rest.next() {
            running.push(attempt(candidate));
        }
        tokio::select! {
            ended = running.next() => match ended {
                Some(Ok(success)) => return Ok(success),
                Some(Err(failure)) => failures.push(failure),
                None => return Err(failures),
            },
            () = tokio::time::sleep(STAGGER), if rest.peek().is_some() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_candidate_costs_one_stagger_and_a_failure_none() {
        let start = tokio::time::Instant::now();
        let attempt = async |candidate: u32| match candidate {
            0 => pending().await,
            3 => Ok(candidate),
            bad => Err(bad),
        };
        assert_eq!(first([1, 0, 2, 3], attempt).await, Ok(3));
        assert_eq!(start.elapsed(), STAGGER);
        assert_eq!(first([1, 2], attempt).await, Err(vec![1, 2]));
    }
}
