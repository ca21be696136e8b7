//! How the core calls a backend: bounded in time, retried where that is safe, and never longer than the session lives.

use std::future::Future;
use std::time::Duration;

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::names::LockName;
use crate::nonce::jitter;
use crate::revocation::Loss;
use crate::session::live::LiveSession;

/// The longest that one request may take, whatever the TTL.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The first pause before a retry; it doubles up to a second.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Who calls what, for the errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) backend: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) name: &'a LockName,
}

/// How a call under a session ended.
#[derive(Debug)]
pub(crate) enum Ended<T> {
    Answered(Result<T>),
    /// The session was lost first.
    Lost(Loss),
}

impl Call<'_> {
    /// Adds what is known here to an error from below.
    pub(crate) fn explain(&self, error: Error) -> Error {
        error.during(self.operation).on(self.backend).of(&self.name.plain())
    }

    /// One request, without a session.
    pub(crate) async fn once<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        self.bounded(PATIENCE, request).await.map_err(|error| self.explain(error))
    }

    async fn bounded<T>(&self, patience: Duration, request: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(patience, request).await {
            Ok(answer) => answer,
            Err(_) => Err(silent(patience)),
        }
    }

    /// A request that may be repeated: again after a failure that can pass, for a
    /// third of the TTL.
    pub(crate) async fn persist<T, R: Future<Output = Result<T>>>(
        &self,
        session: &LiveSession,
        request: impl FnMut() -> R,
    ) -> Ended<T> {
        match session.while_live(self.retried((session.session().ttl / 3).min(PATIENCE), request)).await {
            Ok(answer) => Ended::Answered(answer.map_err(|error| self.explain(error))),
            Err(loss) => Ended::Lost(loss),
        }
    }

    async fn retried<T, R: Future<Output = Result<T>>>(
        &self,
        patience: Duration,
        mut request: impl FnMut() -> R,
    ) -> Result<T> {
        let mut error = match self.bounded(patience, request()).await {
            Err(error) if error.is_retryable() => error,
            answer => return answer,
        };
        let deadline = clock::now().after(patience);
        let mut pause = FIRST_PAUSE;
        loop {
            let left = deadline.since(clock::now());
            if left.is_zero() {
                return Err(error);
            }
            tokio::time::sleep(pause.mul_f64(0.5 + jitter() / 2.0).min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match self.bounded(left, request()).await {
                Err(again) if again.is_retryable() => error = again,
                answer => return answer,
            }
        }
    }
}

/// A pause before something that was interrupted is taken up again, spread so that not all do at once.
pub(crate) async fn breathe() {
    tokio::time::sleep(FIRST_PAUSE.mul_f64(0.5 + 4.0 * jitter())).await;
}

/// A longer one, while the store is out of reach.
pub(crate) async fn wait_for_better_times() {
    tokio::time::sleep(LONGEST_PAUSE.mul_f64(0.1 + 0.4 * jitter())).await;
}

/// The error of a request that was not answered.
pub(crate) fn silent(patience: Duration) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("no answer within {patience:?}: is the store up and reachable?"),
    )
    .or_applied()
    .retryable()
}
