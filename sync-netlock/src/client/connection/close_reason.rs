//! Why a connection was closed, and the errors of its requests.

use distsync_core::{Error, ErrorKind};

use crate::wire::proto;

/// Why a connection was closed.
#[derive(Debug)]
pub(in crate::client) struct CloseReason {
    pub(super) kind: ErrorKind,
    pub(super) text: String,
    /// If the server does not lead its cluster.
    pub(super) leader: Option<Leader>,
}

/// What a member of a cluster that does not lead says about the leader.
#[derive(Clone, Debug)]
pub(in crate::client) struct Leader {
    /// Where clients reach it, or nothing if the member does not know it.
    pub(in crate::client) address: String,
    /// The table of the cluster.
    pub(in crate::client) table: Option<u128>,
}

impl From<String> for CloseReason {
    fn from(text: String) -> Self {
        Self {
            kind: ErrorKind::Unavailable,
            text,
            leader: None,
        }
    }
}

impl From<&str> for CloseReason {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<std::io::Error> for CloseReason {
    fn from(error: std::io::Error) -> Self {
        match distsync_core::spi::tls::disagreement(&error) {
            // With TLS 1.3, the client learns only after the handshake that the server refuses its
            // certificate.
            Some(denied) => Self {
                kind: ErrorKind::Denied,
                text: denied.message().to_owned(),
                leader: None,
            },
            None => format!("the connection broke ({error})").into(),
        }
    }
}

impl From<proto::Refused> for CloseReason {
    fn from(refused: proto::Refused) -> Self {
        let is_not_leader = refused.code() == proto::refused::Code::NotLeader;
        let kind = match refused.code() {
            proto::refused::Code::Denied => ErrorKind::Denied,
            // Another address leads to the leader, or this one does after an election.
            proto::refused::Code::NotLeader => ErrorKind::Unavailable,
            _ => ErrorKind::Protocol,
        };
        Self {
            kind,
            text: refused.message,
            leader: is_not_leader.then(|| Leader {
                address: refused.leader,
                table: refused.table.map(Into::into),
            }),
        }
    }
}

impl CloseReason {
    /// Returns the error for a request that was pending when the connection was closed.
    pub(super) fn request_error(&self) -> Error {
        match self.leader {
            None => lost(&self.text),
            Some(_) => retryable(self.text.clone()),
        }
    }

    /// Returns the error for the greeting. It is not retryable if the server refused it, because
    /// the server would refuse it again.
    pub(super) fn greeting_error(&self) -> Error {
        match self.kind {
            ErrorKind::Unavailable => self.request_error(),
            kind => Error::new(kind, self.text.clone()).with_backend("netlock"),
        }
    }
}

/// Returns the error for a request, or for a claim that waits, whose connection was lost.
pub(in crate::client) fn lost(problem: &str) -> Error {
    retryable(format!("{problem}: is netlockd still running?"))
}

fn retryable(problem: String) -> Error {
    Error::new(ErrorKind::Unavailable, problem)
        .with_backend("netlock")
        .with_maybe_applied()
        .retryable()
}
