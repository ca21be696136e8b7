//! The one error type. Outcomes (busy, already released) are values elsewhere; an `Error` is something that the caller
//! has to act on, and it says what, where and how.

use std::error::Error as StdError;
use std::fmt;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the terms a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The wait, or the time that a claim had left, was too short.
    Timeout,
    /// Somebody else holds the name, and the caller did not want to wait.
    Contended,
    /// The claim is not held: released, evicted, or its token is older than the newest.
    NotHeld,
    /// The session ended, and all that it held with it.
    SessionLost,
    /// The server cut this client off.
    Isolated,
    /// The name cannot be one.
    InvalidName,
    /// An option is out of range, contradicts another, or is unknown.
    InvalidOption,
    /// The store cannot do this.
    Unsupported,
    /// The store refuses these credentials, or these credentials this request.
    Denied,
    /// The store cannot be reached, or does not answer.
    Unavailable,
    /// The handle was closed.
    Closed,
    /// The call was made outside of a runtime of Tokio.
    NoRuntime,
    /// The other side does not speak the protocol.
    Protocol,
    /// The store answered with a failure of its own.
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

/// An error of distsync: its kind, the operation, the lock's name and the backend, and what to do about it.
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
    /// An error of `kind`. The message is a lower-case fragment that says what is wrong and, where there is one, the
    /// remedy.
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

    /// Names the operation, if none is named yet.
    #[must_use]
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Names the backend, if none is named yet.
    #[must_use]
    pub fn with_backend(mut self, backend: &'static str) -> Self {
        self.0.backend.get_or_insert(backend);
        self
    }

    /// Names the lock, if none is named yet.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.0.name.get_or_insert_with(|| name.to_owned());
        self
    }

    /// Says at which of the store's addresses it went wrong, behind the message.
    #[must_use]
    pub fn with_address(mut self, address: &str) -> Self {
        self.0.message = format!("{} (at {address})", self.0.message);
        self
    }

    /// Says that the store may have carried out the request although no proper answer came.
    #[must_use]
    pub fn with_maybe_applied(mut self) -> Self {
        self.0.maybe_applied = true;
        self
    }

    /// Says that the same request may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + std::marker::Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message, without what else is known of the error.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the store may have carried out the request all the same.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        self.0.maybe_applied
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// The operation that failed.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The name of the lock or election concerned.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The backend that was asked.
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
            let lead = if details.operation.is_some() || details.name.is_some() { " on " } else { "" };
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
        let error = Error::new(ErrorKind::Unavailable, "no answer within 5s: is the server up?")
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
    fn the_first_to_name_a_thing_wins() {
        let error = Error::new(ErrorKind::Store, "odd")
            .with_operation("renew")
            .with_operation("acquire")
            .with_name("a")
            .with_name("b");
        assert_eq!(error.operation(), Some("renew"));
        assert_eq!(error.name(), Some("a"));
    }
}
