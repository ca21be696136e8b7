//! Why a connection has ended, and the errors that follow from it.

use distsync_core::{Error, ErrorKind};

use crate::wire::proto;

/// Why a connection has ended.
#[derive(Debug)]
pub(in crate::client) struct Ending {
    pub(super) kind: ErrorKind,
    pub(super) why: String,
}

impl From<String> for Ending {
    fn from(why: String) -> Self {
        Self {
            kind: ErrorKind::Unavailable,
            why,
        }
    }
}

impl From<&str> for Ending {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

impl From<std::io::Error> for Ending {
    fn from(error: std::io::Error) -> Self {
        match distsync_core::spi::tls::disagreement(&error) {
            // With TLS 1.3 a server says only after the handshake that it refuses our certificate.
            Some(denied) => Self {
                kind: ErrorKind::Denied,
                why: denied.message().to_owned(),
            },
            None => format!("the connection broke ({error})").into(),
        }
    }
}

impl From<proto::Refused> for Ending {
    /// The server has said so itself.
    fn from(refused: proto::Refused) -> Self {
        let kind = match refused.code() {
            proto::refused::Code::Denied => ErrorKind::Denied,
            _ => ErrorKind::Protocol,
        };
        Self {
            kind,
            why: refused.message,
        }
    }
}

impl Ending {
    /// The error of a request that was under way.
    pub(super) fn of_request(&self) -> Error {
        broken(&self.why)
    }

    /// The error of the greeting: what the server says then will not change by itself.
    pub(super) fn of_greeting(&self) -> Error {
        match self.kind {
            ErrorKind::Unavailable => broken(&self.why),
            kind => Error::new(kind, self.why.clone()).with_backend("netlock"),
        }
    }
}

/// The error of a connection that broke, or of a claim that waits on none.
pub(in crate::client) fn broken(why: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{why}: is netlockd still running?"),
    )
    .with_backend("netlock")
    .with_maybe_applied()
    .retryable()
}
