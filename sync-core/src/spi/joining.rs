//! Limits on how many requests join the queue of one name at a time.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::Semaphore;

use crate::types::names::LockName;

/// The number of limits. Names are hashed to them, so that a crowded name seldom delays another
/// one.
const LIMITS: usize = 64;

/// Limits for [`Backend::joining`](crate::spi::Backend::joining), for a store whose reply to each
/// request contains the whole queue.
#[derive(Debug)]
pub struct Joining {
    limits: Vec<Semaphore>,
    hasher: RandomState,
}

impl Joining {
    /// Creates limits of `each` concurrent requests.
    #[must_use]
    pub fn new(each: usize) -> Self {
        Self {
            limits: (0..LIMITS).map(|_| Semaphore::new(each)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Returns the limit that applies to `name`.
    #[must_use]
    pub fn of(&self, name: &LockName) -> Option<&Semaphore> {
        let limit = self.hasher.hash_one(name.path()) % LIMITS as u64;
        self.limits.get(usize::try_from(limit).unwrap_or(0))
    }
}
