//! What the errors of etcd mean to a caller.

use std::sync::Arc;

use distsync_core::{Error, ErrorKind};
use etcd_client::Error as Upstream;
use tonic::Code;

/// What can go wrong between this backend and etcd.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Shared by all whose steps travelled together.
    #[error("etcd: {0}")]
    Etcd(Arc<Upstream>),
    #[error("no answer that this backend knows: {0}")]
    Answer(&'static str),
    #[error("a foreign key: {0}")]
    Foreign(String),
    #[error("the watch was lost")]
    WatchLost,
    #[error("the runtime that connected is gone")]
    ClientGone,
    #[error("a member owes an answer and says nothing")]
    Silent,
    /// The core has found out what is wrong with the connection.
    #[error("{0}")]
    Connection(Arc<Error>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Connection(Arc::new(error))
    }
}

impl From<Upstream> for Failure {
    fn from(error: Upstream) -> Self {
        Self::Etcd(Arc::new(error))
    }
}

impl Failure {
    /// Whether the request named a lease that is gone.
    pub(crate) fn is_lease_gone(&self) -> bool {
        match self.upstream() {
            Some(Upstream::GRpcStatus(status)) => {
                status.code() == Code::NotFound && status.message().contains("lease not found")
            }
            Some(Upstream::LeaseKeepAliveError(text)) => text == "lease not found",
            _ => false,
        }
    }

    /// Whether a lease with the id of the request exists already.
    pub(crate) fn is_lease_there(&self) -> bool {
        matches!(self.upstream(), Some(Upstream::GRpcStatus(status))
            if status.code() == Code::FailedPrecondition && status.message().contains("lease already exists"))
    }

    /// Whether the request was about a revision that is compacted.
    pub(crate) fn is_compacted(&self) -> bool {
        matches!(self.upstream(), Some(Upstream::GRpcStatus(status)) if status.code() == Code::OutOfRange)
    }

    /// Whether the role lacks a permission.
    pub(crate) fn is_permission_denied(&self) -> bool {
        matches!(self.upstream(), Some(Upstream::GRpcStatus(status)) if status.code() == Code::PermissionDenied)
    }

    /// Whether this member, or the connection to it, serves no more: another may.
    pub(crate) fn is_out_of_service(&self) -> bool {
        match self {
            Self::ClientGone | Self::Silent | Self::Connection(_) | Self::WatchLost => true,
            Self::Answer(_) | Self::Foreign(_) => false,
            Self::Etcd(error) => match &**error {
                Upstream::GRpcStatus(status) => matches!(
                    status.code(),
                    Code::Unavailable
                        | Code::DeadlineExceeded
                        | Code::Cancelled
                        | Code::Unknown
                        | Code::Aborted
                ),
                Upstream::TransportError(_) | Upstream::IoError(_) => true,
                _ => false,
            },
        }
    }

    /// Whether etcd has looked at the request, and done nothing of it.
    pub(crate) fn is_refusal(&self) -> bool {
        let Some(Upstream::GRpcStatus(status)) = self.upstream() else { return false };
        matches!(
            status.code(),
            Code::NotFound | Code::InvalidArgument | Code::PermissionDenied | Code::FailedPrecondition
        )
    }

    fn upstream(&self) -> Option<&Upstream> {
        match self {
            Self::Etcd(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Etcd(error) => match &*error {
                Upstream::GRpcStatus(status) => from_status(status.clone()),
                Upstream::TransportError(transport) => match distsync_core::spi::tls::disagreement(transport) {
                    Some(disagreement) => disagreement.with_source(error),
                    None => unreachable_store().with_source(error).with_maybe_applied(),
                },
                Upstream::IoError(_) => unreachable_store().with_source(error).with_maybe_applied(),
                Upstream::WatchError(_) | Upstream::LeaseKeepAliveError(_) => unreachable_store(),
                _ => Error::new(ErrorKind::Store, "the client refuses").with_source(error),
            },
            Failure::Answer(what) => {
                Error::new(ErrorKind::Protocol, format!("an answer that this version does not know: {what}"))
            }
            Failure::Foreign(key) => Error::new(
                ErrorKind::Protocol,
                format!(
                    "`{}` is not a key of distsync: remove it or use another namespace",
                    key.escape_debug()
                ),
            ),
            Failure::WatchLost => unreachable_store(),
            Failure::Silent => Error::new(
                ErrorKind::Unavailable,
                "a member owes an answer and says nothing: is it stopped, or the way to it cut?",
            )
            .with_maybe_applied()
            .retryable(),
            Failure::ClientGone => Error::new(
                ErrorKind::Unavailable,
                "the runtime on which this client connected has ended: connect on one that lives as long as it is used",
            )
            .with_maybe_applied()
            .retryable(),
            Failure::Connection(error) => Arc::try_unwrap(error).unwrap_or_else(|shared| {
                let copy = Error::new(shared.kind(), shared.message());
                if shared.is_retryable() { copy.with_maybe_applied().retryable() } else { copy }
            }),
        }
        .with_backend("etcd")
    }
}

fn unreachable_store() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "no connection: is etcd running there, is the port right, and does it want TLS or not?",
    )
    .retryable()
}

fn from_status(status: tonic::Status) -> Error {
    if let Some(disagreement) = distsync_core::spi::tls::disagreement(&status) {
        return disagreement.with_source(status);
    }
    let text = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated => {
            Error::new(ErrorKind::Denied, format!("not logged in ({text}): check the URL's credentials"))
        }
        Code::PermissionDenied => Error::new(
            ErrorKind::Denied,
            format!("the role lacks a permission ({text}): docs/semantics.md names those needed"),
        ),
        Code::InvalidArgument if text.contains("authentication failed") => {
            Error::new(ErrorKind::Denied, "wrong user or password: check the URL's credentials")
        }
        Code::InvalidArgument if text.contains("user name is empty") => {
            Error::new(ErrorKind::Denied, "a user and a password are required: put them into the URL")
        }
        Code::FailedPrecondition if text.contains("authentication is not enabled") => {
            Error::new(ErrorKind::Denied, "this etcd knows no users: leave the credentials out of the URL")
        }
        Code::ResourceExhausted => {
            Error::new(ErrorKind::Store, format!("etcd is full or overloaded ({text})"))
        }
        Code::Unavailable => unreachable_store().with_maybe_applied(),
        Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Aborted => {
            let problem = format!(
                "no proper answer ({text}): is it etcd that listens there, and does it want TLS, or a certificate (`cert` \
                 and `key`)?"
            );
            Error::new(ErrorKind::Unavailable, problem).with_maybe_applied().retryable()
        }
        _ => Error::new(ErrorKind::Store, format!("etcd refuses ({text})")),
    }
    .with_source(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_class() {
        for (code, text, kind, retryable) in [
            (Code::Unavailable, "", ErrorKind::Unavailable, true),
            (Code::DeadlineExceeded, "", ErrorKind::Unavailable, true),
            (Code::Unknown, "etcdserver: leader changed", ErrorKind::Unavailable, true),
            (Code::Unauthenticated, "etcdserver: invalid auth token", ErrorKind::Denied, false),
            (Code::PermissionDenied, "etcdserver: permission denied", ErrorKind::Denied, false),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                ErrorKind::Denied,
                false,
            ),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", ErrorKind::Store, false),
            (Code::Internal, "", ErrorKind::Store, false),
        ] {
            let error: Error = Failure::from(Upstream::GRpcStatus(tonic::Status::new(code, text))).into();
            assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{code:?} {text}");
        }
    }

    #[test]
    fn a_lease_that_is_gone_is_no_error_of_its_own() {
        let status = tonic::Status::new(Code::NotFound, "etcdserver: requested lease not found");
        assert!(Failure::from(Upstream::GRpcStatus(status)).is_lease_gone());
        assert!(!Failure::WatchLost.is_lease_gone());
    }
}
