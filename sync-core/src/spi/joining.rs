//! Limits on how many requests join queues at a time.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::types::names::LockName;

/// The number of limits. Names are hashed to them, so that a crowded name seldom delays another
/// one.
const LIMITS: usize = 64;

/// Limits for [`Backend::joining`](crate::spi::Backend::joining), for a store that cannot answer a
/// crowd of requests in time.
///
/// # Examples
/// ```
/// # use distsync_core::spi::Joining;
/// # use distsync_core::{Kind, LockName, Namespace};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let joining = Joining::new(4).with_total(8);
/// let name = LockName::new(&Namespace::default(), Kind::Lock, "orders").unwrap();
/// let permit = joining.permit(&name).await;
/// // Send the request, and keep the permit until it is answered.
/// drop(permit);
/// # });
/// ```
#[derive(Debug)]
pub struct Joining {
    limits: Vec<Semaphore>,
    total: Option<Semaphore>,
    hasher: RandomState,
}

/// Permits for one request that joins a queue, returned when dropped.
#[derive(Debug)]
pub struct JoiningPermit<'a> {
    _name: Option<SemaphorePermit<'a>>,
    _total: Option<SemaphorePermit<'a>>,
}

impl Joining {
    /// Creates limits of `each` concurrent requests for one name.
    #[must_use]
    pub fn new(each: usize) -> Self {
        Self {
            limits: (0..LIMITS).map(|_| Semaphore::new(each)).collect(),
            total: None,
            hasher: RandomState::new(),
        }
    }

    /// Also limits the concurrent requests for all names to `total`.
    #[must_use]
    pub fn with_total(mut self, total: usize) -> Self {
        self.total = Some(Semaphore::new(total));
        self
    }

    /// Waits until one more request may join the queue of `name`. Requests of one name are
    /// permitted in the order of their calls.
    ///
    /// # Cancel safety
    /// Cancel-safe: dropping the future gives up its position.
    pub async fn permit(&self, name: &LockName) -> JoiningPermit<'_> {
        let limit = self.hasher.hash_one(name.path()) % LIMITS as u64;
        let limit = self.limits.get(usize::try_from(limit).unwrap_or(0));
        // The semaphores are never closed. The name's comes first, so that the requests of a
        // crowded name do not hold permits that other names can use.
        let name = match limit {
            Some(limit) => limit.acquire().await.ok(),
            None => None,
        };
        let total = match &self.total {
            Some(total) => total.acquire().await.ok(),
            None => None,
        };
        JoiningPermit {
            _name: name,
            _total: total,
        }
    }
}
