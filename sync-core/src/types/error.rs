//! The error type of all crates. Outcomes such as "busy" or "already released" are values
//! elsewhere. An [`Error`] is something that the caller has to act on. It says what failed, where,
//! and what to do.

use std::error::Error as StdError;
use std::fmt;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an [`Error`], in terms that a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The wait limit was reached, or the claim has less time left than was required.
    Timeout,
    /// The name is held by another claim, and the request does not wait.
    Contended,
    /// The claim is not held: released, evicted, or its token is older than the newest.
    NotHeld,
    /// The session ended, and with it all of its claims.
    SessionLost,
    /// The store has isolated this client.
    Isolated,
    /// The name is not valid.
    InvalidName,
    /// An option is out of range, contradicts another, or is unknown.
    InvalidOption,
    /// The store does not support the operation or option.
    Unsupported,
    /// The store rejects the credentials, or they do not permit the request.
    Denied,
    /// The store cannot be reached or does not reply.
    Unavailable,
    /// The handle was closed.
    Closed,
    /// The call was made outside of a Tokio runtime.
    NoRuntime,
    /// The peer violated the protocol.
    Protocol,
    /// The store replied with an error of its own.
    Store,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timed out",
            Self::Contended => "contended",
            Self::NotHeld => "not held",
            Self::SessionLost => "session lost",
            Self::Isolated => "isolated",
            Self::InvalidName => "invalid name",
            Self::InvalidOption => "invalid option",
            Self::Unsupported => "unsupported",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Closed => "closed",
            Self::NoRuntime => "no runtime",
            Self::Protocol => "protocol error",
            Self::Store => "store error",
        })
    }
}

/// An error of distsync: its kind, the operation, the lock's name, the backend, and a message that
/// states the problem and the remedy.
///
/// # Examples
/// ```
/// use distsync_core::{Error, ErrorKind};
///
/// fn is_worth_a_retry(error: &Error) -> bool {
///     // A request that may have been applied is only repeated if it is idempotent.
///     error.is_retryable() && !error.maybe_applied()
/// }
///
/// let error = Error::new(ErrorKind::Unavailable, "no reply: is the server up?").retryable();
/// assert!(is_worth_a_retry(&error));
/// assert_eq!(error.to_string(), "unavailable: no reply: is the server up?");
/// ```
pub struct Error(Box<Details>);

struct Details {
    kind: ErrorKind,
    message: String,
    operation: Option<&'static str>,
    backend: Option<&'static str>,
    name: Option<String>,
    maybe_applied: bool,
    retryable: bool,
    source: Option<Box<dyn StdError + Send + std::marker::Sync>>,
}

impl Error {
    /// Creates an error of `kind`.
    ///
    /// The message is a lower-case fragment: the problem and, where there is one, the remedy.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            kind,
            message: message.into(),
            operation: None,
            backend: None,
            name: None,
            maybe_applied: false,
            retryable: false,
            source: None,
        }))
    }

    /// Creates the error of a request that may have been sent and got no valid reply:
    /// [`Unavailable`](ErrorKind::Unavailable), transient, and possibly applied.
    #[must_use]
    pub fn unanswered(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
            .with_maybe_applied()
            .retryable()
    }

    /// Sets the operation, unless one is set already.
    #[must_use]
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Sets the backend, unless one is set already.
    #[must_use]
    pub fn with_backend(mut self, backend: &'static str) -> Self {
        self.0.backend.get_or_insert(backend);
        self
    }

    /// Sets the name of the lock or election, unless one is set already.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.0.name.get_or_insert_with(|| name.to_owned());
        self
    }

    /// Appends the address of the server to the message.
    #[must_use]
    pub fn with_address(mut self, address: &str) -> Self {
        self.0.message = format!("{} (at {address})", self.0.message);
        self
    }

    /// Marks the request as possibly applied, although no valid reply arrived.
    #[must_use]
    pub fn with_maybe_applied(mut self) -> Self {
        self.0.maybe_applied = true;
        self
    }

    /// Marks the error as transient: the same request may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    /// Sets the error that caused this one.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + std::marker::Sync>>,
    ) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the message alone, without kind, operation, name and backend.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns whether the store may have applied the request despite the error.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        self.0.maybe_applied
    }

    /// Returns whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Returns the operation that failed.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// Returns the name of the lock or election.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Returns the backend that the request was sent to.
    #[must_use]
    pub fn backend(&self) -> Option<&'static str> {
        self.0.backend
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = &self.0;
        match (details.operation, &details.name) {
            (Some(operation), Some(name)) => write!(f, "{operation} `{}`", name.escape_debug())?,
            (Some(operation), None) => f.write_str(operation)?,
            (None, Some(name)) => write!(f, "`{}`", name.escape_debug())?,
            (None, None) => {}
        }
        if let Some(backend) = details.backend {
            let lead = if details.operation.is_some() || details.name.is_some() {
                " on "
            } else {
                ""
            };
            write!(f, "{lead}{backend}")?;
        }
        if details.operation.is_some() || details.name.is_some() || details.backend.is_some() {
            f.write_str(": ")?;
        }
        write!(f, "{}: {}", details.kind, details.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("operation", &self.0.operation)
            .field("name", &self.0.name)
            .field("backend", &self.0.backend)
            .field("message", &self.0.message)
            .field("maybe_applied", &self.0.maybe_applied)
            .field("retryable", &self.0.retryable)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_operation_lock_backend_and_message_but_not_the_source() {
        let error = Error::new(
            ErrorKind::Unavailable,
            "no answer within 5s: is the server up?",
        )
        .with_operation("acquire")
        .with_backend("netlock")
        .with_name("orders\n")
        .with_source(std::io::Error::other("reset"));
        assert_eq!(
            error.to_string(),
            "acquire `orders\\n` on netlock: unavailable: no answer within 5s: is the server up?"
        );
        assert_eq!(error.source().unwrap().to_string(), "reset");
    }

    #[test]
    fn the_default_is_neither_retryable_nor_applied() {
        let error = Error::new(ErrorKind::Store, "odd");
        assert!(!error.is_retryable() && !error.maybe_applied());
        assert_eq!(error.to_string(), "store error: odd");
    }

    #[test]
    fn the_first_operation_and_name_are_kept() {
        let error = Error::new(ErrorKind::Store, "odd")
            .with_operation("renew")
            .with_operation("acquire")
            .with_name("a")
            .with_name("b");
        assert_eq!(error.operation(), Some("renew"));
        assert_eq!(error.name(), Some("a"));
    }
}
