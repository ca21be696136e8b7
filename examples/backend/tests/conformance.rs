//! The laws of distsync on this store: each is a test of its own name.

use std::sync::Arc;
use std::time::Duration;

use distsync::spi::conformance::Harness;
use distsync::spi::{Backend, async_trait};
use distsync_example_sqlite::{Config, Sqlite};
use tempfile::TempDir;

/// A file of its own for each case. Each backend is another handle on it, with a connection and a
/// thread of its own, as in another process.
struct File(TempDir);

impl File {
    fn create() -> Arc<Self> {
        Arc::new(Self(tempfile::tempdir().unwrap()))
    }
}

#[async_trait]
impl Harness for File {
    async fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(Sqlite::new(Config::new(self.0.path().join("locks.db"))))
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(1_500)
    }

    /// There is no server that could be restarted.
    async fn restart(&self) {}

    fn is_shared() -> bool {
        false
    }
}

distsync::spi::conformance!(sqlite, async { File::create() });
