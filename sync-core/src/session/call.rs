//! How the core calls a backend: bounded in time, retried where that is safe, and never longer than the session lives.

use std::future::Future;
use std::time::Duration;

use crate::session::errors::silent;
use crate::session::live::LiveSession;
use crate::spi::backend::{Backend, Renewal};
use crate::spi::clock;
use crate::spi::home::runtime;
use crate::types::error::{Error, Result};
use crate::types::loss::Loss;
use crate::types::names::LockName;
use crate::types::nonce::jitter;

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

impl Call<'_> {
    /// Adds what is known here to an error from below.
    pub(crate) fn explain(&self, error: Error) -> Error {
        error.with_operation(self.operation).with_backend(self.backend).with_name(&self.name.plain())
    }

    /// A request without a session that may be repeated: again after a failure that can pass, for as long as one request may
    /// take.
    pub(crate) async fn once<T, R: Future<Output = Result<T>>>(
        &self,
        request: impl FnMut() -> R,
    ) -> Result<T> {
        patiently(request).await.map_err(|error| self.explain(error))
    }

    /// A request that may be repeated: again after a failure that can pass, for as long as one request may take, and no
    /// longer than the session lives: its loss is the outer error.
    pub(crate) async fn persist<T, R: Future<Output = Result<T>>>(
        &self,
        session: &LiveSession,
        mut request: impl FnMut() -> R,
    ) -> Result<Result<T>, Loss> {
        if let Err(error) = runtime() {
            return Ok(Err(self.explain(error)));
        }
        let answer = match session.request(request()).await {
            Ok(Some(Err(error))) if error.is_retryable() => {
                Box::pin(self.again(session, request, error)).await
            }
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Ok(Err(silent(session.request_patience()))),
            Err(loss) => Err(loss),
        };
        answer.map(|answer| answer.map_err(|error| self.explain(error)))
    }

    /// Renews a session, and takes note of what the store says of it.
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

    async fn again<T, R: Future<Output = Result<T>>>(
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

/// A pause before something that was interrupted is taken up again, spread so that not all do at once.
pub(crate) async fn breathe() {
    tokio::time::sleep(FIRST_PAUSE.mul_f64(0.5 + 4.0 * jitter())).await;
}

/// A longer one, while the store is out of reach.
pub(crate) async fn wait_for_better_times() {
    tokio::time::sleep(LONGEST_PAUSE.mul_f64(0.1 + 0.4 * jitter())).await;
}

/// A request that no session bounds: it may take as long as any may.
pub(crate) async fn patient<T>(request: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, request).await.unwrap_or_else(|_| Err(silent(PATIENCE)))
}

/// A request that no session bounds and that may be repeated: again after a failure that can pass, until it would have taken as
/// long as any may. The last error says why it failed.
pub(crate) async fn patiently<T, R: Future<Output = Result<T>>>(mut request: impl FnMut() -> R) -> Result<T> {
    runtime()?;
    let mut failed = None;
    let persisting = async {
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
    let answer = tokio::time::timeout(PATIENCE, persisting).await;
    answer.unwrap_or_else(|_| Err(failed.unwrap_or_else(|| silent(PATIENCE))))
}
