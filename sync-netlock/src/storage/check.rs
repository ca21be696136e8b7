//! Whether a folder could be opened, without a change in it: another server may be running on it.

use distsync_core::Result;
use distsync_core::spi::clock;

use super::error::{unreadable, unusable, would_forget};
use super::folder::{Folder, Unusable};
use super::recovery::recover;
use super::{Durability, Storage, StorageOptions, boot_id};
use crate::engine::{Limits, LockTable};
use crate::epoch;

/// How often a log is read that a running server may be changing.
const READS: u32 = 3;

impl Storage {
    /// Refuses what [`open`](Self::open) would refuse, except for a folder in use.
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
            folder.kept_identity(table)?;
            let mut read = check_log(&folder, options.durability, limits);
            for _ in 1..READS {
                if read.is_ok() {
                    break;
                }
                // Its server may have written to it or replaced it meanwhile.
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
        return Err(would_forget());
    }
    let mut table = LockTable::new(limits.clone(), epoch::floor());
    recover(&mut table, &log, boot_id(), None, clock::now())
        .map(drop)
        .map_err(|why| Unusable::Strange(unreadable(generation, &why)))
}
