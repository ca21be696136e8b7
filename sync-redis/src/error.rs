//! Translates the errors of Redis into those of distsync.

use distsync_core::{Error, ErrorKind};
use redis::{ErrorKind as Upstream, RedisError, ServerErrorKind};

/// A failure between this backend and Redis.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
    #[error("unexpected reply: {0}")]
    Answer(String),
    /// The script failed at this step. The other steps of its batch are not affected.
    #[error("redis: {0}")]
    Refused(String),
    #[error("a semaphore of {0} permits is in use")]
    Permits(u64),
    #[error("the server did not answer in time")]
    Silent,
    #[error("the connection was lost")]
    Lost,
    #[error("the Sentinels do not know this service: {0}")]
    NoService(String),
    #[error("this server does not take writes")]
    Demoted,
    #[error("{have} of {wanted} replicas have the grant")]
    FewReplicas { have: u32, wanted: u32 },
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Redis(error) => classify(error),
            Failure::Answer(answer) => Error::new(
                ErrorKind::Protocol,
                format!("unexpected reply from Redis ({answer}): is this a Redis of a supported version?"),
            ),
            Failure::Refused(detail) if is_denied_in_script(&detail) => {
                Error::new(ErrorKind::Denied, lacks_permission(&detail))
            }
            Failure::Refused(detail) => match passing(&detail) {
                Some(message) => Error::new(ErrorKind::Unavailable, message).retryable(),
                None => Error::new(ErrorKind::Store, refuses(&detail)),
            },
            Failure::Permits(force) => Error::new(
                ErrorKind::InvalidOption,
                format!(
                    "a semaphore of {force} permits is in use under this name: use the same number everywhere"
                ),
            ),
            Failure::Silent => Error::new(
                ErrorKind::Unavailable,
                "the server accepted the connection but does not answer: is it Redis, and does it want TLS or not?",
            )
            .retryable(),
            Failure::Lost => {
                Error::new(ErrorKind::Unavailable, "the connection was lost: is Redis still running?")
                    .retryable()
            }
            Failure::NoService(service) => Error::new(
                ErrorKind::InvalidOption,
                format!("the Sentinel watches no service `{}`: check the URL's path", service.escape_debug()),
            ),
            Failure::Demoted => Error::new(
                ErrorKind::Unavailable,
                "this server does not accept writes: wait until the fail-over or the move of the slot has ended",
            )
            .retryable(),
            Failure::FewReplicas { have, wanted } => Error::new(
                ErrorKind::Unavailable,
                format!(
                    "only {have} of the {wanted} replicas of `wait_replicas` have the grant, so it was released: \
                     are they up and connected?"
                ),
            )
            .retryable(),
        }
        .with_backend("redis")
    }
}

fn classify(error: RedisError) -> Error {
    if let Some(disagreement) = distsync_core::spi::tls::disagreement(&error) {
        return disagreement.with_source(error);
    }
    let detail = error.detail().unwrap_or_default().to_owned();
    let lacks_rights = matches!(error.kind(), Upstream::Server(ServerErrorKind::NoPerm))
        || is_denied_in_script(&detail);
    let wrong_password = error.kind() == Upstream::AuthenticationFailed
        || error.code() == Some("WRONGPASS")
        || detail.contains("invalid username-password pair");
    let passing = passing(&format!("{} {detail}", error.code().unwrap_or_default()));
    let (kind, message, retryable) = match error.kind() {
        _ if wrong_password => {
            (ErrorKind::Denied, "wrong user or password: check the URL's credentials".to_owned(), false)
        }
        _ if lacks_rights => (ErrorKind::Denied, lacks_permission(&detail), false),
        Upstream::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::ReadOnly,
        ) => (
            ErrorKind::Unavailable,
            format!("the server cannot write at present ({detail}): try again"),
            true,
        ),
        Upstream::Io => (
            ErrorKind::Unavailable,
            "no connection: is Redis running there, is the port right, and does it want TLS or not?"
                .to_owned(),
            true,
        ),
        _ if detail.contains("NOAUTH") || error.code() == Some("NOAUTH") => {
            (ErrorKind::Denied, "a password is required: put it into the URL".to_owned(), false)
        }
        _ => match passing {
            Some(message) => (ErrorKind::Unavailable, message, true),
            None => (ErrorKind::Store, refuses(&detail), false),
        },
    };
    let applied = error.is_io_error() && !error.is_connection_refusal();
    let classified = Error::new(kind, message).with_source(error);
    let classified = if applied {
        classified.with_maybe_applied()
    } else {
        classified
    };
    if retryable {
        classified.retryable()
    } else {
        classified
    }
}

/// Returns the message for a temporary refusal, which ends by itself or when an operator acts.
/// Scripts return Redis' own refusals as plain errors, so they are recognized by their text.
fn passing(detail: &str) -> Option<String> {
    const PASSING: [(&[&str], &str); 6] = [
        (
            &["non local key", "TRYAGAIN", "ASK ", "cluster is down"],
            "the hash slot of the locks is moving to another node: wait until it has moved",
        ),
        (
            &["NOREPLICAS", "enough good replicas"],
            "too few replicas are connected (min-replicas-to-write): start them",
        ),
        (
            &["MISCONF", "unable to persist"],
            "the server cannot write to its disk: make room, or read its log",
        ),
        (
            &["OOM ", "'maxmemory'"],
            "the server's memory is full: raise maxmemory, or make room",
        ),
        (
            &["READONLY", "read only replica"],
            "this server became a replica: wait for the fail-over to end",
        ),
        (
            &["max number of clients"],
            "the server accepts no more clients: raise maxclients, or close connections",
        ),
    ];
    let (_, message) = PASSING
        .iter()
        .find(|(words, _)| words.iter().any(|word| detail.contains(word)))?;
    Some(format!("{message} ({})", detail.trim()))
}

/// Returns whether a script's error says that this server does not accept writes.
pub(crate) fn is_replica(detail: &str) -> bool {
    detail.contains("READONLY") || detail.contains("read only replica")
}

fn lacks_permission(detail: &str) -> String {
    format!("the user lacks a permission ({detail}): docs/semantics.md lists those needed")
}

fn refuses(detail: &str) -> String {
    format!("the server rejects the request ({detail}): see the log of Redis")
}

/// Returns whether a script lacked a permission. Redis 7.0 and 7.2 report this as a plain error,
/// which is recognized by its text.
fn is_denied_in_script(detail: &str) -> bool {
    detail.contains("user executing the script can't") || detail.contains("ACL failure in script")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_may_not_do_is_denied() {
        let words = "The user executing the script can't run this command or subcommand script: 1d1, on @user_script:5.";
        let kind = Upstream::Server(ServerErrorKind::ResponseError);
        let error: Error = Failure::from(RedisError::from((kind, "ERR", words.to_owned()))).into();
        assert_eq!(error.kind(), ErrorKind::Denied);
    }

    #[test]
    fn refusals_that_pass_can_be_repeated() {
        for (detail, remedy) in [
            (
                "ERR Script attempted to access a non local key in a cluster node script: 1d",
                "wait until",
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                "start them",
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                "raise maxmemory",
            ),
        ] {
            let error: Error = Failure::Refused(detail.to_owned()).into();
            assert!(
                error.is_retryable() && error.to_string().contains(remedy),
                "{error}"
            );
        }
        let kind = Upstream::Server(ServerErrorKind::ResponseError);
        let full = RedisError::from((kind, "ERR", "max number of clients reached".to_owned()));
        assert!(
            Error::from(Failure::from(full))
                .to_string()
                .contains("raise maxclients")
        );
        assert!(!Error::from(Failure::Refused("ERR other".to_owned())).is_retryable());
    }

    #[test]
    fn every_kind_has_its_class() {
        for (upstream, kind, retryable) in [
            (Upstream::AuthenticationFailed, ErrorKind::Denied, false),
            (Upstream::Io, ErrorKind::Unavailable, true),
            (
                Upstream::Server(ServerErrorKind::NoPerm),
                ErrorKind::Denied,
                false,
            ),
            (
                Upstream::Server(ServerErrorKind::ReadOnly),
                ErrorKind::Unavailable,
                true,
            ),
            (
                Upstream::Server(ServerErrorKind::BusyLoading),
                ErrorKind::Unavailable,
                true,
            ),
            (
                Upstream::Server(ServerErrorKind::ResponseError),
                ErrorKind::Store,
                false,
            ),
            (Upstream::UnexpectedReturnType, ErrorKind::Store, false),
        ] {
            let error: Error = Failure::from(RedisError::from((upstream, "text"))).into();
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (kind, retryable),
                "{upstream:?}"
            );
        }
    }
}
