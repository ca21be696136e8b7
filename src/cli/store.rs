//! The store that a command uses.

use std::sync::Arc;

use distsync::spi::Backend;
use distsync::{Handle, SyncOptions};

use crate::Common;
use crate::exit::{Failure, USAGE};

/// The environment variable with the URL of the store.
pub(crate) const URL_VARIABLE: &str = "DISTSYNC_URL";

impl Common {
    /// Returns the URL of the store.
    pub(crate) fn url(&self) -> Result<&str, Failure> {
        self.on
            .as_deref()
            .filter(|url| !url.is_empty())
            .ok_or_else(|| {
                let problem = format!("no store is given: use --on URL, or set {URL_VARIABLE}");
                Failure::new(USAGE, problem)
            })
    }

    /// Returns the store and the options that its URL names. Does no I/O.
    pub(crate) fn store(&self) -> Result<(Arc<dyn Backend>, SyncOptions), Failure> {
        Ok(distsync::spi::backend(self.url()?)?)
    }

    /// Connects to the store.
    pub(crate) async fn connect(&self) -> Result<Handle, Failure> {
        let (backend, options) = self.store()?;
        Ok(Handle::open(backend, options).await?)
    }
}
