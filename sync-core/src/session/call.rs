//! The core's requests to a backend: bounded in time, retried where that is safe, and cancelled
//! when the session is lost.

use std::future::Future;
use std::time::Duration;

use crate::session::errors::silent;
use crate::session::live::LiveSession;
use crate::spi::backend::{Backend, Renewal};
use crate::spi::clock;
use crate::spi::home::check_runtime;
use crate::types::error::{Error, Result};
use crate::types::loss::Loss;
use crate::types::names::LockName;
use crate::types::nonce::jitter;

/// The first pause before a retry; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A call, as it is named in errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) backend: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) name: &'a LockName,
    /// The timeout of a request without a session.
    pub(crate) timeout: Duration,
}

impl Call<'_> {
    /// Adds operation, backend and name to an error of the backend.
    pub(crate) fn explain(&self, error: Error) -> Error {
        error
            .with_operation(self.operation)
            .with_backend(self.backend)
            .with_name(&self.name.plain())
    }

    /// Makes an idempotent request without a session, and retries it after transient errors within
    /// the timeout of a request.
    pub(crate) async fn once<T, R: Future<Output = Result<T>>>(
        &self,
        request: impl FnMut() -> R,
    ) -> Result<T> {
        with_retries(self.timeout, request)
            .await
            .map_err(|error| self.explain(error))
    }

    /// Makes an idempotent request under a session, and retries it after transient errors.
    ///
    /// Stops after the session's timeout for requests, and when the session is lost, which is the
    /// outer error.
    pub(crate) async fn persist<T, R: Future<Output = Result<T>> + Unpin>(
        &self,
        session: &LiveSession,
        mut request: impl FnMut() -> R,
    ) -> Result<Result<T>, Loss> {
        if let Err(error) = check_runtime() {
            return Ok(Err(self.explain(error)));
        }
        match session.request(request()).await {
            Ok(Some(Ok(answer))) => Ok(Ok(answer)),
            first => Box::pin(self.persist_after(first, session, request)).await,
        }
    }

    /// Continues [`persist`](Self::persist) after its first request, which has ended with `first`.
    pub(crate) async fn persist_after<T, R: Future<Output = Result<T>> + Unpin>(
        &self,
        first: Result<Option<Result<T>>, Loss>,
        session: &LiveSession,
        request: impl FnMut() -> R,
    ) -> Result<Result<T>, Loss> {
        let answer = match first {
            Ok(Some(Err(error))) if error.is_retryable() => {
                self.retry(session, request, error).await
            }
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Ok(Err(silent(session.request_patience()))),
            Err(loss) => Err(loss),
        };
        answer.map(|answer| answer.map_err(|error| self.explain(error)))
    }

    /// Renews a session, and records the outcome in it.
    pub(crate) async fn renew(&self, backend: &dyn Backend, session: &LiveSession) -> Result<()> {
        let mut sent = clock::now();
        let renewal = self.persist(session, || {
            sent = clock::now();
            backend.renew(session.session())
        });
        match renewal.await {
            Ok(Ok(Renewal::Renewed { ttl })) => {
                session.renewed(ttl, sent);
            }
            Ok(Ok(Renewal::Expired)) => session.lose(Loss::SessionLost),
            Ok(Ok(Renewal::Isolated)) => session.lose(Loss::Isolated),
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    async fn retry<T, R: Future<Output = Result<T>> + Unpin>(
        &self,
        session: &LiveSession,
        mut request: impl FnMut() -> R,
        mut error: Error,
    ) -> Result<Result<T>, Loss> {
        let deadline = clock::now().after(session.request_patience());
        let mut pause = FIRST_PAUSE;
        loop {
            let left = deadline.since(clock::now());
            if left.is_zero() {
                return Ok(Err(error));
            }
            let spread = pause.mul_f64(0.5 + jitter() / 2.0).min(left);
            session.while_live(tokio::time::sleep(spread)).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match session.request(request()).await? {
                Some(Err(again)) if again.is_retryable() => error = again,
                Some(answer) => return Ok(answer),
                None => error = silent(session.request_patience()),
            }
        }
    }
}

/// Pauses before an interrupted operation is resumed, for a random time so that not all clients
/// resume at once.
pub(crate) async fn pause_briefly() {
    tokio::time::sleep(FIRST_PAUSE.mul_f64(0.5 + 4.0 * jitter())).await;
}

/// Pauses for a longer random time while the store is unreachable.
pub(crate) async fn pause_for_outage() {
    tokio::time::sleep(LONGEST_PAUSE.mul_f64(0.1 + 0.4 * jitter())).await;
}

/// Makes a request without a session, with this timeout.
pub(crate) async fn with_timeout<T>(
    timeout: Duration,
    request: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::time::timeout(timeout, request)
        .await
        .unwrap_or_else(|_| Err(silent(timeout)))
}

/// Makes an idempotent request without a session, and retries it after transient errors within
/// this timeout. Returns the last error.
pub(crate) async fn with_retries<T, R: Future<Output = Result<T>>>(
    timeout: Duration,
    mut request: impl FnMut() -> R,
) -> Result<T> {
    check_runtime()?;
    let mut failed = None;
    let retrying = async {
        let mut pause = FIRST_PAUSE;
        loop {
            match request().await {
                Err(error) if error.is_retryable() => failed = Some(error),
                answer => return answer,
            }
            tokio::time::sleep(pause.mul_f64(0.5 + jitter() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    let answer = tokio::time::timeout(timeout, retrying).await;
    answer.unwrap_or_else(|_| Err(failed.unwrap_or_else(|| silent(timeout))))
}
