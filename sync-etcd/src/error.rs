//! Translates the errors of etcd into those of distsync.

use std::sync::Arc;

use distsync_core::{Error, ErrorKind};
use etcd_client::Error as Upstream;
use tonic::Code;

/// A failure between this backend and etcd.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Shared by all steps of a batch.
    #[error("etcd: {0}")]
    Etcd(Arc<Upstream>),
    #[error("unexpected reply: {0}")]
    Answer(&'static str),
    #[error("a foreign key: {0}")]
    Foreign(String),
    #[error("the watch was lost")]
    WatchLost,
    #[error("the runtime that connected is gone")]
    ClientGone,
    #[error("a member does not answer")]
    Silent,
    /// The connection has logged in with a password that has changed since.
    #[error("the password has changed")]
    OldPassword,
    /// The core has diagnosed the connection, for instance its TLS handshake.
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
    /// Returns whether the request named a lease that has ended.
    pub(crate) fn is_lease_gone(&self) -> bool {
        match self.upstream() {
            Some(Upstream::GRpcStatus(status)) => {
                status.code() == Code::NotFound && status.message().contains("lease not found")
            }
            Some(Upstream::LeaseKeepAliveError(text)) => text == "lease not found",
            _ => false,
        }
    }

    /// Returns whether a lease with the requested id already exists.
    pub(crate) fn is_lease_there(&self) -> bool {
        matches!(self.upstream(), Some(Upstream::GRpcStatus(status))
            if status.code() == Code::FailedPrecondition && status.message().contains("lease already exists"))
    }

    /// Returns whether the requested revision has been compacted.
    pub(crate) fn is_compacted(&self) -> bool {
        matches!(self.upstream(), Some(Upstream::GRpcStatus(status)) if status.code() == Code::OutOfRange)
    }

    /// Returns whether the role lacks a permission.
    pub(crate) fn is_permission_denied(&self) -> bool {
        matches!(self.upstream(), Some(Upstream::GRpcStatus(status)) if status.code() == Code::PermissionDenied)
    }

    /// Returns whether etcd rejects the login: its token is not valid, or the password is wrong.
    pub(crate) fn is_rejected_login(&self) -> bool {
        matches!(self.upstream(), Some(Upstream::GRpcStatus(status))
            if status.code() == Code::Unauthenticated || is_wrong_password(status))
    }

    /// Returns whether this member, or the connection to it, is out of service, so that another
    /// member should be tried.
    pub(crate) fn is_out_of_service(&self) -> bool {
        match self {
            Self::ClientGone
            | Self::Silent
            | Self::OldPassword
            | Self::Connection(_)
            | Self::WatchLost => true,
            Self::Answer(_) | Self::Foreign(_) => false,
            Self::Etcd(error) => match &**error {
                Upstream::GRpcStatus(status) => {
                    is_of_the_connection(status)
                        || matches!(
                            status.code(),
                            Code::Unavailable
                                | Code::DeadlineExceeded
                                | Code::Cancelled
                                | Code::Unknown
                                | Code::Aborted
                        )
                }
                Upstream::TransportError(_) | Upstream::IoError(_) => true,
                _ => false,
            },
        }
    }

    /// Returns whether etcd has rejected the request without executing any part of it.
    pub(crate) fn is_refusal(&self) -> bool {
        let Some(Upstream::GRpcStatus(status)) = self.upstream() else {
            return false;
        };
        matches!(
            status.code(),
            Code::NotFound
                | Code::InvalidArgument
                | Code::PermissionDenied
                | Code::FailedPrecondition
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
                _ => Error::new(ErrorKind::Store, "the etcd client rejects the request: see the source of this error").with_source(error),
            },
            Failure::Answer(what) => {
                Error::new(ErrorKind::Protocol, format!("unexpected reply from etcd ({what}): is this an etcd of a supported version?"))
            }
            Failure::Foreign(key) => Error::new(
                ErrorKind::Protocol,
                format!(
                    "`{}` is not a key of distsync: remove it or use another namespace",
                    key.escape_debug()
                ),
            ),
            Failure::WatchLost => unreachable_store(),
            Failure::Silent => Error::unanswered("a member does not answer: is it running, and is the network up?"),
            Failure::OldPassword => Error::new(
                ErrorKind::Unavailable,
                "the password has changed: try again, to log in with the new one",
            )
            .retryable(),
            Failure::ClientGone => Error::unanswered("the runtime on which this client connected has ended: connect on a runtime that outlives the client"),
            Failure::Connection(error) => Arc::try_unwrap(error).unwrap_or_else(|shared| {
                let copy = Error::new(shared.kind(), shared.message());
                if shared.is_retryable() { copy.with_maybe_applied().retryable() } else { copy }
            }),
        }
        .with_backend("etcd")
    }
}

fn is_wrong_password(status: &tonic::Status) -> bool {
    status.code() == Code::InvalidArgument && status.message().contains("authentication failed")
}

/// Returns whether a status is not a reply of etcd: its connection was closed or the request was
/// reset, by any of the two ends or by a proxy.
fn is_of_the_connection(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::Internal | Code::ResourceExhausted)
        && std::error::Error::source(status).is_some()
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
            format!("the role lacks a permission ({text}): docs/semantics.md lists those needed"),
        ),
        Code::InvalidArgument if is_wrong_password(&status) => {
            Error::new(ErrorKind::Denied, "wrong user or password: check the URL's credentials")
        }
        Code::InvalidArgument if text.contains("user name is empty") => {
            Error::new(ErrorKind::Denied, "a user and a password are required: put them into the URL")
        }
        Code::FailedPrecondition if text.contains("authentication is not enabled") => {
            Error::new(ErrorKind::Denied, "users are not enabled on this etcd: leave the credentials out of the URL")
        }
        Code::Internal | Code::ResourceExhausted if is_of_the_connection(&status) => {
            Error::unanswered(format!("the connection to etcd was closed ({text}): try again"))
        }
        Code::ResourceExhausted => {
            Error::new(ErrorKind::Store, format!("etcd is full or overloaded ({text}): free space, or reduce the load"))
        }
        Code::Unavailable => unreachable_store().with_maybe_applied(),
        Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Aborted => {
            let problem = format!(
                "no valid reply ({text}): is etcd listening there, and does it want TLS, or a certificate (`cert` \
                 and `key`)?"
            );
            Error::unanswered(problem)
        }
        _ => Error::new(ErrorKind::Store, format!("etcd rejects the request ({text}): see the log of etcd")),
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
            (
                Code::Unknown,
                "etcdserver: leader changed",
                ErrorKind::Unavailable,
                true,
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                ErrorKind::Denied,
                false,
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                ErrorKind::Denied,
                false,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                ErrorKind::Denied,
                false,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                ErrorKind::Store,
                false,
            ),
            (Code::Internal, "", ErrorKind::Store, false),
        ] {
            let error: Error =
                Failure::from(Upstream::GRpcStatus(tonic::Status::new(code, text))).into();
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (kind, retryable),
                "{code:?} {text}"
            );
        }
    }

    #[test]
    fn a_lease_that_is_gone_is_no_error_of_its_own() {
        let status = tonic::Status::new(Code::NotFound, "etcdserver: requested lease not found");
        assert!(Failure::from(Upstream::GRpcStatus(status)).is_lease_gone());
        assert!(!Failure::WatchLost.is_lease_gone());
    }
}
