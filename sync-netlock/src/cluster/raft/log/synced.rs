//! How much of what a leader has appended is on its disk.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::writer::Done;

/// Which entries are on the disk, although more were acknowledged.
#[derive(Debug)]
pub(super) struct Synced {
    progress: Arc<watch::Sender<Progress>>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The number of appends that are not on the disk.
    writing: usize,
    /// All entries up to this one are.
    upto: u64,
}

impl Default for Synced {
    fn default() -> Self {
        let progress = Progress {
            writing: 0,
            upto: u64::MAX,
        };
        Self {
            progress: Arc::new(watch::Sender::new(progress)),
        }
    }
}

impl Synced {
    /// Notes that these entries will be written. Returns what to call when they are on the disk.
    /// Writes are completed in their order.
    pub(super) fn writing(&self, first: u64, last: u64) -> Done {
        self.progress.send_modify(|progress| {
            if progress.writing == 0 {
                progress.upto = first.saturating_sub(1);
            }
            progress.writing += 1;
        });
        let progress = self.progress.clone();
        Box::new(move |written: io::Result<()>| {
            // After a failure the node ends.
            if written.is_ok() {
                progress.send_modify(|progress| {
                    progress.writing -= 1;
                    progress.upto = match progress.writing {
                        0 => u64::MAX,
                        _ => last,
                    };
                });
            }
        })
    }

    /// Waits until all entries up to this one are on the disk.
    pub(super) async fn up_to(&self, index: u64) {
        let mut progress = self.progress.subscribe();
        // The sender lives as long as this.
        let _ = progress.wait_for(|progress| progress.upto >= index).await;
    }
}
