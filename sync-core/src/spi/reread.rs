//! Files that are read again when they have changed.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use tracing::{error, info};

use crate::spi::mutex::locked;
use crate::types::error::Result;

/// Files that make something together.
pub trait Files {
    /// What they make.
    type Content;
    /// How a log calls them.
    const NAME: &str;

    /// Where they are.
    fn paths(&self) -> Vec<&Path>;

    /// Reads them all and checks them.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    fn read(&self) -> Result<Self::Content>;
}

/// What some files make, as they were when they were last read.
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

/// When a file was written, and how long it is: two writes can bear the same time.
type Written = (SystemTime, u64);

fn written(files: &impl Files) -> Vec<Option<Written>> {
    let look = |path: &Path| std::fs::metadata(path).and_then(|data| Ok((data.modified()?, data.len()))).ok();
    files.paths().into_iter().map(look).collect()
}

impl<F: Files> Reread<F> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn new(files: F) -> Result<Self> {
        // Before the files are read: one that is written meanwhile is read again.
        let written = written(&files);
        let latest = Mutex::new(Latest { content: Arc::new(files.read()?), written });
        Ok(Self { files, latest })
    }

    fn latest(&self) -> MutexGuard<'_, Latest<F::Content>> {
        locked(&self.latest)
    }

    /// What the files make, as they were last read.
    pub fn content(&self) -> Arc<F::Content> {
        self.latest().content.clone()
    }

    /// Reads the files again if they have changed; what cannot be used changes nothing. `true`: something else counts now.
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
                info!(what = F::NAME, "read again");
                true
            }
            Err(error) => {
                error!(what = F::NAME, %error, "changed, and cannot be used: what was read before stays");
                false
            }
        }
    }
}
