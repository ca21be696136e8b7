//! Configuration files that are reloaded when they have changed.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use tracing::{error, info};

use crate::spi::mutex::locked;
use crate::types::error::Result;

/// A set of files that together define one value, such as a certificate and its key.
pub trait Files {
    /// The value that the files define.
    type Content;
    /// The name of the files in logs.
    const NAME: &str;

    /// Returns the paths of the files.
    fn paths(&self) -> Vec<&Path>;

    /// Reads and validates all files.
    ///
    /// # Errors
    /// If a file cannot be read or is not valid; the message names it.
    fn read(&self) -> Result<Self::Content>;
}

/// The value of a set of [`Files`], as last loaded.
#[derive(Debug)]
pub struct Reread<F: Files> {
    files: F,
    latest: Mutex<Latest<F::Content>>,
}

#[derive(Debug)]
struct Latest<T> {
    content: Arc<T>,
    written: Vec<Option<Written>>,
}

/// A file's modification time and length. The length is included because two writes can have the
/// same time.
type Written = (SystemTime, u64);

fn written(files: &impl Files) -> Vec<Option<Written>> {
    let look = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|data| Ok((data.modified()?, data.len())))
            .ok()
    };
    files.paths().into_iter().map(look).collect()
}

impl<F: Files> Reread<F> {
    /// Loads the files for the first time.
    ///
    /// # Errors
    /// If a file cannot be read or is not valid; the message names it.
    pub fn new(files: F) -> Result<Self> {
        // Before the files are read, so that a file that is written meanwhile is reloaded later.
        let written = written(&files);
        let latest = Mutex::new(Latest {
            content: Arc::new(files.read()?),
            written,
        });
        Ok(Self { files, latest })
    }

    fn latest(&self) -> MutexGuard<'_, Latest<F::Content>> {
        locked(&self.latest)
    }

    /// Returns the value as last loaded.
    pub fn content(&self) -> Arc<F::Content> {
        self.latest().content.clone()
    }

    /// Reloads the files if they have changed, and returns whether there is a new value.
    ///
    /// Files that cannot be read or are not valid leave the value unchanged; the error is logged.
    pub fn reread(&self) -> bool {
        let written = written(&self.files);
        if self.latest().written == written {
            return false;
        }
        let read = self.files.read();
        let mut latest = self.latest();
        latest.written = written;
        match read {
            Ok(content) => {
                latest.content = Arc::new(content);
                info!(what = F::NAME, "reloaded");
                true
            }
            Err(error) => {
                error!(what = F::NAME, %error, "reload failed: the previous content stays in use");
                false
            }
        }
    }
}
