//! What the errors of Consul mean to a caller.

use distsync_core::{Error, ErrorKind};
use reqwest::StatusCode;

/// A failure of a call to Consul.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("status {status}: {text}")]
    Status { status: StatusCode, text: String },
    /// A transaction was rolled back.
    #[error("rolled back: {0:?}")]
    RolledBack(Vec<String>),
    #[error("no answer that this backend knows: {0}")]
    Answer(String),
    #[error("{0}")]
    Certificates(Error),
    #[error("a foreign key: {0}")]
    Foreign(String),
}

impl Failure {
    /// Returns whether the request named a session that has ended. Consul checks the lock-delay of
    /// a key first; a key of the session has one only if the session was lost.
    pub(crate) fn is_session_gone(&self) -> bool {
        match self {
            Self::Status { status, text } => {
                *status == StatusCode::NOT_FOUND || text.contains("invalid session")
            }
            _ => {
                self.is_delayed()
                    || self.was_rolled_back(|reason| reason.contains("invalid session"))
            }
        }
    }

    /// Returns whether a key exists that should not.
    pub(crate) fn is_there(&self) -> bool {
        self.was_rolled_back(|reason| reason.starts_with("key ") && reason.ends_with(" exists"))
    }

    /// Returns whether a key is missing, or was written meanwhile.
    pub(crate) fn is_changed(&self) -> bool {
        self.was_rolled_back(|reason| {
            reason.starts_with("failed index check for key ")
                || reason.starts_with("failed to check index, key ")
        })
    }

    /// Returns whether a key cannot be locked yet because of the lock-delay of a lost session.
    pub(crate) fn is_delayed(&self) -> bool {
        self.was_rolled_back(|reason| reason.ends_with("due to lock delay"))
    }

    fn was_rolled_back(&self, because: impl Fn(&str) -> bool) -> bool {
        matches!(self, Self::RolledBack(reasons) if reasons.iter().any(|reason| because(reason)))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Certificates(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Http(error) => {
                if let Some(disagreement) = distsync_core::spi::tls::disagreement(&error) {
                    return disagreement.with_source(error.without_url()).with_backend("consul");
                }
                let applied = !error.is_connect();
                let unreachable = Error::new(
                    ErrorKind::Unavailable,
                    "no connection: is Consul running there, is the port right, and does it want TLS or not?",
                )
                .with_source(error.without_url())
                .retryable();
                if applied { unreachable.with_maybe_applied() } else { unreachable }
            }
            Failure::Certificates(error) => error,
            Failure::Status { status, text } => from_status(status, &text),
            Failure::RolledBack(reasons)
                if reasons.iter().any(|reason| reason.contains("ermission denied")) =>
            {
                from_status(StatusCode::FORBIDDEN, &reasons.join("; "))
            }
            Failure::RolledBack(reasons) => Error::new(
                ErrorKind::Store,
                format!("Consul rolled the transaction back ({})", reasons.join("; ")),
            ),
            Failure::Answer(answer) => Error::new(
                ErrorKind::Protocol,
                format!("an answer that this version does not know: {answer}"),
            ),
            Failure::Foreign(key) => Error::new(
                ErrorKind::Protocol,
                format!(
                    "`{}` is not a key of distsync: remove it or use another namespace",
                    key.escape_debug()
                ),
            ),
        }
        .with_backend("consul")
    }
}

fn from_status(status: StatusCode, text: &str) -> Error {
    match status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Error::new(
            ErrorKind::Denied,
            format!("the token lacks a permission ({text}): docs/semantics.md names those needed"),
        ),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::BAD_GATEWAY => Error::new(
            ErrorKind::Unavailable,
            format!("Consul is overloaded ({text})"),
        )
        .retryable(),
        status if status.is_server_error() => {
            // Most likely the cluster has no leader; an election takes a moment.
            Error::unanswered(format!("Consul cannot answer for now ({text})"))
        }
        status => Error::new(
            ErrorKind::Store,
            format!("Consul refuses with status {status} ({text})"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_class() {
        for (status, kind, retryable) in [
            (StatusCode::FORBIDDEN, ErrorKind::Denied, false),
            (StatusCode::TOO_MANY_REQUESTS, ErrorKind::Unavailable, true),
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorKind::Unavailable,
                true,
            ),
            (StatusCode::BAD_REQUEST, ErrorKind::Store, false),
        ] {
            let error: Error = Failure::Status {
                status,
                text: String::new(),
            }
            .into();
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (kind, retryable),
                "{status}"
            );
        }
        let denied: Error = Failure::RolledBack(vec!["Permission denied".to_owned()]).into();
        assert_eq!(denied.kind(), ErrorKind::Denied);
        assert!(
            Failure::RolledBack(vec!["failed to lock: invalid session".to_owned()])
                .is_session_gone()
        );
    }
}
