//! 128-bit random numbers for the ids of claims and sessions, and for secrets.

use std::fmt;

/// Returns a random number from the thread's cryptographic generator.
pub(crate) fn nonce() -> u128 {
    rand::random()
}

/// Returns a random number between 0 and 1, to spread retries and renewals of many clients over
/// time.
pub(crate) fn jitter() -> f64 {
    rand::random()
}

/// A 128-bit secret. `Debug` does not show it, and comparison takes constant time.
#[derive(Clone, Copy, Default)]
pub struct Secret(u128);

impl Secret {
    /// Returns a new random secret.
    #[must_use]
    pub fn random() -> Self {
        let bits = nonce();
        #[cfg(feature = "conformance")]
        crate::conformance::secrets::drawn(bits);
        Self(bits)
    }

    /// Returns the secret with these bits.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Returns the bits. Send them to the store only; never log them.
    #[must_use]
    pub const fn expose(self) -> u128 {
        self.0
    }
}

impl PartialEq for Secret {
    /// Compares all bits with one exclusive-or, so that the time does not depend on how many match.
    fn eq(&self, other: &Self) -> bool {
        std::hint::black_box(self.0 ^ other.0) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_secret() {
        assert_eq!(
            format!("{:?}", Secret::from_bits(0xdead_beef)),
            "Secret(..)"
        );
        assert_eq!(Secret::from_bits(7), Secret::from_bits(7));
        assert_ne!(Secret::from_bits(7), Secret::from_bits(8));
    }

    #[test]
    fn nonces_differ() {
        assert_ne!(nonce(), nonce());
    }
}
