//! Checks a data folder without changing it, also while a server runs on it.

use distsync_core::Result;
use distsync_core::spi::clock;

use super::error::{unreadable, unusable, would_ignore_log};
use super::folder::{Folder, Unusable};
use super::recovery::recover;
use super::{Durability, Storage, StorageOptions, boot_id};
use crate::engine::{Limits, LockTable};
use crate::epoch;

/// How often to read a log that a running server may be changing.
const READS: u32 = 3;

impl Storage {
    /// Returns the error that [`open`](Self::open) would return, except for a folder in use.
    pub(crate) fn check(
        options: &StorageOptions,
        limits: &Limits,
        table: Option<u128>,
    ) -> Result<()> {
        let look = || -> Result<(), Unusable> {
            let Some(folder) = Folder::look_at(&options.folder)? else {
                return Ok(());
            };
            folder.notes()?;
            folder.stored_identity(table)?;
            let mut read = check_log(&folder, options.durability, limits);
            for _ in 1..READS {
                if read.is_ok() {
                    break;
                }
                // The running server may have written to the log or replaced it during the read.
                read = check_log(&folder, options.durability, limits);
            }
            read
        };
        look().map_err(|why| unusable(&options.folder, why))
    }
}

fn check_log(folder: &Folder, durability: Durability, limits: &Limits) -> Result<(), Unusable> {
    let Some((generation, log)) = folder.newest_log()? else {
        return Ok(());
    };
    if durability == Durability::Memory {
        return Err(would_ignore_log());
    }
    let mut table = LockTable::new(limits.clone(), epoch::floor());
    recover(&mut table, &log, boot_id(), None, clock::now())
        .map(drop)
        .map_err(|why| Unusable::Invalid(unreadable(generation, &why)))
}
