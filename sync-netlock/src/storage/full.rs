//! Reserves disk space, and handles a full disk.
//!
//! Before each visit, the log reserves the space for all changes that the table may still have to
//! record. If that fails, the table grants nothing more. Releases are still recorded, in the space
//! that was reserved when their claims arrived.

use std::io;

use distsync_core::spi::clock;
use tracing::{debug, error, info};

use super::{FRAME, Storage, Table};
use crate::engine::{Effect, Freeze};

/// Space for one visit: the frame that is not written yet, and the changes of the visit.
const VISIT_ROOM: u64 = FRAME as u64;
/// Space to record the grant and the release of one claim, each in a frame of its own.
const CLAIM_ROOM: u64 = 64;
/// Space to record the end of one session in a frame of its own.
const SESSION_ROOM: u64 = 32;

/// Returns the space that a visit requires. It suffices to end everything in the table.
pub(super) fn headroom(table: &Table) -> u64 {
    let stats = table.stats();
    VISIT_ROOM + stats.claims as u64 * CLAIM_ROOM + stats.sessions as u64 * SESSION_ROOM
}

/// Returns whether an error means that the disk or the quota is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl Storage {
    /// Reserves the space for the changes of a visit. Called before it.
    pub(crate) fn begin_visit(&mut self, table: &mut Table) {
        if table.frozen() == Some(Freeze::Full) {
            return;
        }
        let Some(active) = &mut self.active else {
            return;
        };
        if let Err(error) = active.reserve(headroom(table)) {
            run_out(table, &error);
        }
    }

    /// Tries to reserve space after the disk was full. If there is enough, the table grants again.
    /// The log is not replaced, because a second one may not fit on the disk.
    pub(super) fn retry_reserve(&mut self, table: &mut Table, effects: &mut Vec<Effect>) {
        let room = match &mut self.active {
            Some(active) => active.reserve(headroom(table)),
            None => Ok(()),
        };
        if let Err(error) = room.and_then(|()| self.folder.set_room_aside()) {
            debug!(%error, "the disk of the data folder is still full");
            return;
        }
        info!("the disk of the data folder has space again");
        match self.grace.filter(|until| *until > clock::now()) {
            Some(until) => table.freeze(Freeze::Grace { until }),
            None => table.thaw(effects),
        }
    }
}

/// Stops grants because the disk is full. Releases and the ends of sessions are still recorded.
pub(super) fn run_out(table: &mut Table, error: &io::Error) {
    if table.frozen() != Some(Freeze::Full) {
        error!(%error, "the disk of the data folder is full, so nothing is granted: make room on it");
    }
    table.freeze(Freeze::Full);
}
