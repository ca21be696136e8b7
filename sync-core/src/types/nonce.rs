//! 128-bit random numbers: the identity of claims and sessions, and their secrets.

use std::fmt;

/// A random number from the thread's cryptographic generator.
pub(crate) fn nonce() -> u128 {
    rand::random()
}

/// A number between 0 and 1, to spread what would otherwise happen at once.
pub(crate) fn jitter() -> f64 {
    rand::random()
}

/// A 128-bit secret. Debug shows nothing of it, and it compares in constant time.
#[derive(Clone, Copy, Default)]
pub struct Secret(u128);

impl Secret {
    /// A new random secret.
    #[must_use]
    pub fn random() -> Self {
        let bits = nonce();
        #[cfg(feature = "conformance")]
        crate::conformance::secrets::drawn(bits);
        Self(bits)
    }

    /// A secret of these bits.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits. Hand them to the store, and to nobody else.
    #[must_use]
    pub const fn expose(self) -> u128 {
        self.0
    }
}

impl PartialEq for Secret {
    /// One exclusive-or over all bits: the time taken does not depend on how many of them agree.
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
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::from_bits(0xdead_beef)), "Secret(..)");
        assert_eq!(Secret::from_bits(7), Secret::from_bits(7));
        assert_ne!(Secret::from_bits(7), Secret::from_bits(8));
    }

    #[test]
    fn nonces_differ() {
        assert_ne!(nonce(), nonce());
    }
}
