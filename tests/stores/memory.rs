//! A lock table in this process.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use distsync_core::conformance::Harness;
use distsync_core::spi::Backend;
use distsync_netlock::Embedded;

/// A private table; a restart replaces it with an empty one.
#[derive(Debug)]
pub(crate) struct Memory(Mutex<Embedded>);

impl Memory {
    /// Creates an empty table.
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Embedded::private())))
    }
}

#[async_trait]
impl Harness for Memory {
    async fn backend(&self) -> Arc<dyn Backend> {
        self.0.lock().unwrap().backend()
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(1_500)
    }

    async fn restart(&self) {
        *self.0.lock().unwrap() = Embedded::private();
    }

    fn is_shared() -> bool {
        false
    }
}
