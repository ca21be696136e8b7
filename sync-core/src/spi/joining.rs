//! Limits on how many requests join the queue of one name at a time.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::Semaphore;

use crate::types::names::LockName;

/// How many limits there are. Each name has one of them, so that other names seldom wait for a crowd.
const LIMITS: usize = 64;

/// Limits for [`Backend::joining`](crate::spi::Backend::joining), on a store whose answer to each request holds the whole queue.
#[derive(Debug)]
pub struct Joining {
    limits: Vec<Semaphore>,
    hasher: RandomState,
}

impl Joining {
    /// Limits of `each` requests at a time.
    #[must_use]
    pub fn new(each: usize) -> Self {
        Self { limits: (0..LIMITS).map(|_| Semaphore::new(each)).collect(), hasher: RandomState::new() }
    }

    /// The limit of a name.
    #[must_use]
    pub fn of(&self, name: &LockName) -> Option<&Semaphore> {
        let limit = self.hasher.hash_one(name.path()) % LIMITS as u64;
        self.limits.get(usize::try_from(limit).unwrap_or(0))
    }
}
