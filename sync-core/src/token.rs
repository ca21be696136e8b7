//! Fencing tokens, and the check that makes them worth having.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// The fencing token of a granted claim: below 2^63, and greater than that of every earlier grant of the same name.
///
/// Give it to whatever the lock protects, and let that refuse a token older than the newest it has seen. Only the
/// resource can order a write that was delayed on its way; no lock can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// The greatest token: 2^63 - 1, so that it fits the signed integers of databases.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// A token of this value, if it is below 2^63.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value <= Self::MAX.0 { Some(Self(value)) } else { None }
    }

    /// The value, below 2^63.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The resource's side of fencing: remembers the newest token seen and refuses older ones.
///
/// For a resource that lives in this process (a file, a device, a connection). A database does the same with
/// `UPDATE ... WHERE fence <= $token`.
#[derive(Debug, Default)]
pub struct Fence {
    newest: Option<Token>,
}

impl Fence {
    /// A fence that has seen no token yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { newest: None }
    }

    /// A fence that starts where a stored one ended.
    #[must_use]
    pub const fn starting_at(newest: Token) -> Self {
        Self { newest: Some(newest) }
    }

    /// The newest token seen.
    #[must_use]
    pub const fn newest(&self) -> Option<Token> {
        self.newest
    }

    /// Lets `token` pass if no newer one has been seen, and remembers it.
    ///
    /// # Errors
    /// [`ErrorKind::NotHeld`] if a newer token came first: the caller is no longer the holder.
    pub fn pass(&mut self, token: Token) -> Result<()> {
        match self.newest {
            Some(newest) if token < newest => Err(Error::new(
                ErrorKind::NotHeld,
                format!("token {token} is older than {newest}, which this resource has seen: acquire again"),
            )
            .during("pass the fence")),
            _ => {
                self.newest = Some(token);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_refuses_what_is_older_and_repeats_what_is_equal() {
        let mut fence = Fence::new();
        let (old, new) = (Token(7), Token(8));
        assert!(fence.pass(old).is_ok());
        assert!(fence.pass(new).is_ok());
        assert!(fence.pass(new).is_ok(), "a holder may write twice");
        assert_eq!(fence.pass(old).unwrap_err().kind(), ErrorKind::NotHeld);
        assert_eq!(fence.newest(), Some(new));
    }

    #[test]
    fn tokens_end_below_the_sign_bit() {
        assert_eq!(Token::new(i64::MAX as u64), Some(Token::MAX));
        assert_eq!(Token::new(1 << 63), None);
    }
}
