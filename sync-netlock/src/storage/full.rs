//! A disk that is full: room is taken before the table is visited, and without it nothing is granted.

use sync_core::clock;
use tracing::{debug, error, info};

use super::syncer::Next;
use super::{FRAME, HEADROOM, Storage, Table};
use crate::engine::{Effect, Freeze};

impl Storage {
    /// To be called before the table is visited: makes sure that what the visit changes can be written.
    pub(crate) fn prepare(&mut self, table: &mut Table) {
        let Some(active) = &mut self.active else { return };
        if !active.gap
            && let Err(error) = active.log.reserve(HEADROOM)
        {
            self.run_out(table, &error);
        }
    }

    pub(super) fn run_out(&mut self, table: &mut Table, error: &std::io::Error) {
        if table.frozen() != Some(Freeze::Full) {
            error!(%error, "no room in the data folder: nothing is granted until there is some");
        }
        table.freeze(Freeze::Full);
        let frame = &mut table.journal().frame;
        if let Some(active) = self.active.as_mut().filter(|active| !active.gap) {
            // Visits of before are about to be told of, and room was taken for them.
            if !frame.is_empty() {
                active.append(frame.sealed());
            }
            frame.clear(FRAME);
            active.gap = true;
            active.since = None;
        }
    }

    /// Tries to keep the table again after there was no room for it: if there is, it grants again.
    pub(crate) fn mend(&mut self, table: &mut Table, effects: &mut Vec<Effect>) {
        if !self.note_longest_ttl(table) || !self.close_gap(table) {
            return;
        }
        info!("there is room in the data folder again");
        match self.grace.filter(|until| *until > clock::now()) {
            Some(until) => table.freeze(Freeze::Grace { until }),
            None => table.thaw(effects),
        }
    }

    /// Goes on with a log that lacks nothing, if there is room for one.
    fn close_gap(&mut self, table: &Table) -> bool {
        let Some(active) = &self.active else { return true };
        // The file of the next log may be in use.
        if matches!(active.syncer.next(), Next::Making) {
            return false;
        }
        let written = self.write_log(table, active.generation + 1);
        if let Err(error) = &written {
            debug!(%error, "still no room in the data folder");
        }
        let (Ok(log), Some(active)) = (written, &mut self.active) else { return false };
        active.go_on_with(log, self.log_bytes);
        true
    }
}
