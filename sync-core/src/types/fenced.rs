//! A value that is read and written with fencing tokens only.

use crate::types::error::Result;
use crate::types::token::{Fence, Token};

/// A value with a [`Fence`]: a holder enters with its token before it reads, and presents the token
/// at each write. A former holder is rejected at both.
///
/// It is the resource's side, for state in the memory of one process that serves several clients of
/// a lock, for instance behind an RPC. Put it into a mutex, so that each check and its write are
/// one step.
///
/// # Examples
/// ```
/// # fn token(value: u64) -> distsync_core::Token { distsync_core::Token::new(value).unwrap() }
/// use std::sync::Mutex;
///
/// use distsync_core::Fenced;
///
/// let balance = Mutex::new(Fenced::new(100));
/// let (a, b) = (token(7), token(8)); // in practice `guard.token()`
/// let read_by_a = *balance.lock().unwrap().enter(a)?; // A reads, and pauses for too long
/// let read_by_b = *balance.lock().unwrap().enter(b)?; // B is granted the lock, and reads
/// assert!(balance.lock().unwrap().write(a, read_by_a + 1).is_err()); // A is rejected
/// balance.lock().unwrap().write(b, read_by_b + 10)?;
/// assert_eq!(*balance.lock().unwrap().peek(), 110);
/// # Ok::<(), distsync_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Fenced<T> {
    fence: Fence,
    value: T,
}

impl<T> Fenced<T> {
    /// Returns the value behind a fence that no token has entered yet.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self::with_fence(Fence::new(), value)
    }

    /// Returns the value behind this fence, for instance [as it was stored](Fence::starting_at).
    #[must_use]
    pub const fn with_fence(fence: Fence, value: T) -> Self {
        Self { fence, value }
    }

    /// Enters with `token` and returns the value. Older tokens are rejected from then on.
    /// Idempotent for one token.
    ///
    /// # Errors
    /// As [`Fence::enter`].
    pub fn enter(&mut self, token: Token) -> Result<&T> {
        self.fence.enter(token)?;
        Ok(&self.value)
    }

    /// Replaces the value, and returns the previous one.
    ///
    /// # Errors
    /// As [`Fence::check`]. The value is unchanged.
    pub fn write(&mut self, token: Token, value: T) -> Result<T> {
        Ok(std::mem::replace(self.write_with(token)?, value))
    }

    /// Returns the value for a change in place.
    ///
    /// # Errors
    /// As [`Fence::check`].
    pub fn write_with(&mut self, token: Token) -> Result<&mut T> {
        self.fence.check(token)?;
        Ok(&mut self.value)
    }

    /// Returns the value without a token, for observers. A holder that bases a write on it has to
    /// [enter](Self::enter) instead.
    #[must_use]
    pub const fn peek(&self) -> &T {
        &self.value
    }

    /// Returns the fence, for instance to store its [newest](Fence::newest) token with the value.
    #[must_use]
    pub const fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Returns the value, and ends the fence.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::error::ErrorKind;

    fn token(value: u64) -> Token {
        Token::new(value).unwrap()
    }

    #[test]
    fn a_former_holder_neither_reads_nor_writes() {
        let mut value = Fenced::new(vec![1]);
        let refused = value.write_with(token(7)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidOption, "not entered");
        assert_eq!(value.enter(token(7)).unwrap(), &[1]);
        value.write_with(token(7)).unwrap().push(2);
        assert_eq!(value.enter(token(8)).unwrap(), &[1, 2]);
        for refused in [
            value.enter(token(7)).map(drop),
            value.write(token(7), Vec::new()).map(drop),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotHeld);
        }
        assert_eq!(value.write(token(8), vec![3]).unwrap(), [1, 2]);
        assert_eq!(value.peek(), &[3]);
        assert_eq!(value.fence().newest(), Some(token(8)));
        assert_eq!(value.into_inner(), [3]);
    }

    #[test]
    fn a_stored_fence_goes_on() {
        let mut value = Fenced::with_fence(Fence::starting_at(token(8)), 1);
        assert!(value.enter(token(7)).is_err());
        assert!(value.write_with(token(8)).is_ok());
    }
}
