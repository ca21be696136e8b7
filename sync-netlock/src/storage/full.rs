//! A full disk. Room for whatever the table may still have to record is set aside before each
//! visit: without it nothing more is granted, and releases go on in the room that was set aside
//! when their claims came.

use std::io;

use distsync_core::spi::clock;
use tracing::{debug, error, info};

use super::{FRAME, Storage, Table};
use crate::engine::{Effect, Freeze};

/// Room for one visit: for the frame that is not written yet, and for what the visit adds.
const VISIT_ROOM: u64 = FRAME as u64;
/// Room for the grant and the release of one claim, and for the frames around them.
const CLAIM_ROOM: u64 = 64;
/// Room for the end of one session, and for the frame around it.
const SESSION_ROOM: u64 = 32;

/// The room that has to be there before a table is visited. All that is in it can end without any
/// more.
pub(super) fn headroom(table: &Table) -> u64 {
    let stats = table.stats();
    VISIT_ROOM + stats.claims as u64 * CLAIM_ROOM + stats.sessions as u64 * SESSION_ROOM
}

/// Whether an error says that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl Storage {
    /// To be called before the table is visited: makes sure that what the visit changes can be
    /// written.
    pub(crate) fn prepare(&mut self, table: &mut Table) {
        if table.frozen() == Some(Freeze::Full) {
            return;
        }
        let Some(active) = &mut self.active else {
            return;
        };
        if let Err(error) = active.log.reserve(headroom(table)) {
            run_out(table, &error);
        }
    }

    /// Tries to get room after there was none: if there is, the table grants again. The log goes
    /// on: a second one may not fit on the disk.
    pub(super) fn mend(&mut self, table: &mut Table, effects: &mut Vec<Effect>) {
        let room = match &mut self.active {
            Some(active) => active.log.reserve(headroom(table)),
            None => Ok(()),
        };
        if let Err(error) = room.and_then(|()| self.folder.set_room_aside()) {
            debug!(%error, "still no room in the data folder");
            return;
        }
        info!("there is room in the data folder again");
        match self.grace.filter(|until| *until > clock::now()) {
            Some(until) => table.freeze(Freeze::Grace { until }),
            None => table.thaw(effects),
        }
    }
}

/// Nothing is granted from now on. What ends is still recorded.
pub(super) fn run_out(table: &mut Table, error: &io::Error) {
    if table.frozen() != Some(Freeze::Full) {
        error!(%error, "no room in the data folder: nothing is granted until there is some");
    }
    table.freeze(Freeze::Full);
}
