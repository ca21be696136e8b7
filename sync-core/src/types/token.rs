//! Fencing tokens, and the check that a protected resource makes with them.

use std::fmt;

use crate::types::error::{Error, ErrorKind, Result};

/// The fencing token of a granted claim: below 2^63, and greater than that of every earlier grant
/// of the same name.
///
/// Present it to the resource that the lock protects, before the first read and at each write. The
/// resource must reject a token that is older than the newest it has seen: see [`Fence`]. A lock
/// alone cannot reject a write that was delayed on its way; only the resource can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// The greatest token: 2^63 - 1, so that it fits the signed integers of databases.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// Returns the token with this value, or `None` if it is not below 2^63.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value <= Self::MAX.0 {
            Some(Self(value))
        } else {
            None
        }
    }

    /// Returns the value, which is below 2^63.
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

/// The resource's side of fencing: remembers the newest token that entered, and rejects older ones.
///
/// A holder uses it in two steps. It [enters](Self::enter) before it reads anything, and it is
/// [checked](Self::check) at each write. Both are needed. With a check at the write alone an update
/// is lost like this: A reads, and pauses for longer than its TTL. B is granted the lock and reads.
/// A resumes and writes; the check passes, because no newer token has been presented yet. B
/// overwrites that value. If B enters before its read, the write of A is rejected.
///
/// This type is for a resource in the memory of this process, or one whose state is read and
/// written under a lock of its own. A resource elsewhere does the same two steps in its own
/// language:
///
/// ```sql
/// -- enter: no row means that a newer holder has entered. Then read.
/// UPDATE r SET fence = $1 WHERE id = $2 AND fence <= $1 RETURNING *;
/// -- check and write: no row means that a newer holder has entered.
/// UPDATE r SET value = $3 WHERE id = $2 AND fence = $1;
/// ```
///
/// # Examples
/// ```
/// # fn token(value: u64) -> distsync_core::Token { distsync_core::Token::new(value).unwrap() }
/// use distsync_core::Fence;
///
/// let mut fence = Fence::new();
/// let (a, b) = (token(7), token(8)); // in practice `guard.token()`
/// fence.enter(a)?; // A enters, reads, and pauses
/// fence.enter(b)?; // B is granted the lock, enters, and reads
/// assert!(fence.check(a).is_err()); // A resumes, and its write is rejected
/// fence.check(b)?; // B writes
/// # Ok::<(), distsync_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Fence {
    newest: Option<Token>,
}

impl Fence {
    /// Returns a fence that no token has entered yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { newest: None }
    }

    /// Returns a fence whose newest token is `newest`, as it was stored before.
    #[must_use]
    pub const fn starting_at(newest: Token) -> Self {
        Self {
            newest: Some(newest),
        }
    }

    /// Returns the newest token that entered.
    #[must_use]
    pub const fn newest(&self) -> Option<Token> {
        self.newest
    }

    /// Enters with `token`: older tokens are rejected from then on. Call it before the first read.
    ///
    /// Idempotent for one token.
    ///
    /// # Errors
    /// [`ErrorKind::NotHeld`] if a newer token has entered: the caller is no longer the holder.
    pub fn enter(&mut self, token: Token) -> Result<()> {
        match self.newest {
            Some(newest) if token < newest => {
                Err(outdated(token, newest).with_operation("enter the fence"))
            }
            _ => {
                self.newest = Some(token);
                Ok(())
            }
        }
    }

    /// Checks that `token` has entered and that no newer one has. Call it at each write, in one
    /// step with the write.
    ///
    /// # Errors
    /// [`ErrorKind::NotHeld`] if a newer token has entered: the caller is no longer the holder, and
    /// what it read may be out of date. [`ErrorKind::InvalidOption`] if this token has not entered.
    pub fn check(&self, token: Token) -> Result<()> {
        match self.newest {
            Some(newest) if token == newest => Ok(()),
            Some(newest) if token < newest => {
                Err(outdated(token, newest).with_operation("check the fence"))
            }
            _ => {
                let problem = format!(
                    "token {token} has not entered the fence: call `enter` before the first read"
                );
                Err(Error::new(ErrorKind::InvalidOption, problem).with_operation("check the fence"))
            }
        }
    }
}

fn outdated(token: Token, newest: Token) -> Error {
    let problem = format!(
        "token {token} is older than {newest}, which has entered: acquire the lock again, and read again"
    );
    Error::new(ErrorKind::NotHeld, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_rejects_older_tokens_and_tokens_that_have_not_entered() {
        let mut fence = Fence::new();
        let (old, new) = (Token(7), Token(8));
        assert_eq!(
            fence.check(old).unwrap_err().kind(),
            ErrorKind::InvalidOption,
            "no token has entered"
        );
        assert!(fence.enter(old).is_ok());
        assert!(fence.enter(old).is_ok(), "entering twice is entering once");
        assert!(
            fence.check(old).is_ok() && fence.check(old).is_ok(),
            "a holder may write twice"
        );
        assert_eq!(
            fence.check(new).unwrap_err().kind(),
            ErrorKind::InvalidOption,
            "it has not entered"
        );
        assert!(fence.enter(new).is_ok());
        assert_eq!(fence.check(old).unwrap_err().kind(), ErrorKind::NotHeld);
        assert_eq!(fence.enter(old).unwrap_err().kind(), ErrorKind::NotHeld);
        assert!(fence.check(new).is_ok());
        assert_eq!(fence.newest(), Some(new));
    }

    #[test]
    fn tokens_end_below_the_sign_bit() {
        assert_eq!(Token::new(i64::MAX as u64), Some(Token::MAX));
        assert_eq!(Token::new(1 << 63), None);
    }
}
