//! Identifiers of sessions and claims.

use crate::types::nonce::nonce;

/// The 128-bit identifier of a session in its store: a lease id, a session UUID, or a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u128);

/// The identifier of one claim: a 128-bit nonce that the client draws.
///
/// It owns one position in a queue; it does not identify a session, a process or an object. Where
/// the store has [key slots](crate::Capabilities::key_slots), 96 bits are random and 32 are the
/// slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId(u128);

macro_rules! id {
    ($name:ident) => {
        impl $name {
            /// Returns a new random id.
            #[must_use]
            pub fn random() -> Self {
                Self(nonce())
            }

            /// Returns the id with these bits.
            #[must_use]
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// Returns the bits of this id.
            #[must_use]
            pub const fn bits(self) -> u128 {
                self.0
            }

            /// Returns the id as it is written: 32 hexadecimal digits in ASCII.
            #[must_use]
            pub fn digits(self) -> [u8; 32] {
                digits(self.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(str::from_utf8(&self.digits()).map_err(|_| std::fmt::Error)?)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                u128::from_str_radix(text, 16).map(Self)
            }
        }
    };
}

id!(SessionId);
id!(ClaimId);

/// Writes the digits directly, which is faster than formatting the number.
fn digits(bits: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bits.to_be_bytes()) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    digits
}

impl ClaimId {
    /// Returns a new id that is random except for its key slot.
    pub(crate) fn with_key_slot(slot: u32) -> Self {
        Self(nonce() & !u128::from(u32::MAX) | u128::from(slot))
    }

    /// Returns the key slot of the claim, where the store has
    /// [key slots](crate::Capabilities::key_slots), and random bits elsewhere.
    ///
    /// A key slot is a small number. No other claim of the same session and name uses it while a
    /// request about this claim may still arrive at the store.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the slot is in the lowest 32 bits"
    )]
    pub const fn key_slot(self) -> u32 {
        self.0 as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_formatted_as_32_digits_and_parsed_back() {
        for bits in [
            0,
            1,
            0xabc,
            u128::MAX,
            0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978,
        ] {
            let id = ClaimId::from_bits(bits);
            assert_eq!(id.to_string(), format!("{bits:032x}"));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn a_key_slot_is_kept_and_the_rest_is_random() {
        let (one, two) = (ClaimId::with_key_slot(7), ClaimId::with_key_slot(7));
        assert_eq!((one.key_slot(), two.key_slot()), (7, 7));
        assert_ne!(one, two);
    }
}
