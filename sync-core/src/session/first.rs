//! A value of a small enumeration that is set once.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, Ordering};

/// An enumeration without fields.
pub(crate) trait Numbered: Copy + 'static {
    /// All values.
    const ALL: &'static [Self];

    /// Returns the index of this value in [`ALL`](Self::ALL). Written as a `match`, so that a new
    /// value cannot be left out.
    fn index(self) -> u8;
}

/// The first value that was set, which is kept. As a `OnceLock`, but a value needs no
/// initialization that others wait for, so that setting it is one atomic operation.
pub(crate) struct First<T> {
    /// The index of the value in [`Numbered::ALL`] plus 1, or 0.
    number: AtomicU8,
    of: PhantomData<T>,
}

impl<T> Default for First<T> {
    fn default() -> Self {
        Self {
            number: AtomicU8::new(0),
            of: PhantomData,
        }
    }
}

impl<T: Numbered> First<T> {
    /// Returns the value. Sequentially consistent, as [`set`](Self::set) is.
    pub(crate) fn get(&self) -> Option<T> {
        value(self.number.load(Ordering::SeqCst))
    }

    /// Sets the value if there is none. Returns the former value, if there is one.
    pub(crate) fn set(&self, new: T) -> Result<(), T> {
        let number = new.index() + 1;
        let set = self
            .number
            .compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst);
        set.map(drop).map_err(|former| value(former).unwrap_or(new))
    }

    /// Sets the value if there is none. Returns the value that it has then.
    pub(crate) fn get_or_set(&self, new: T) -> T {
        self.set(new).map_or_else(|former| former, |()| new)
    }
}

fn value<T: Numbered>(number: u8) -> Option<T> {
    T::ALL.get(usize::from(number).checked_sub(1)?).copied()
}

impl<T: Numbered + std::fmt::Debug> std::fmt::Debug for First<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locks::guard::Release;
    use crate::types::loss::Loss;

    fn check<T: Numbered + PartialEq + std::fmt::Debug>() {
        for (number, value) in T::ALL.iter().enumerate() {
            assert_eq!(usize::from(value.index()), number);
            let first = First::default();
            assert_eq!(first.get(), None);
            assert_eq!(first.set(*value), Ok(()));
            assert_eq!(first.get(), Some(*value));
            let other = T::ALL[(number + 1) % T::ALL.len()];
            assert_eq!(first.set(other), Err(*value));
            assert_eq!(first.get_or_set(other), *value);
            assert_eq!(first.get(), Some(*value));
        }
        assert_eq!(First::default().get_or_set(T::ALL[1]), T::ALL[1]);
    }

    #[test]
    fn the_first_value_is_kept() {
        check::<Loss>();
        check::<Release>();
    }
}
