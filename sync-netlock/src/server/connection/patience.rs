//! For how long a connection may be silent, or leave a request unfinished.

use std::time::Duration;

use distsync_core::spi::clock::{self, Moment};

use super::Connection;
use super::ending::{End, cut};
use crate::wire::proto::refused::Code;

impl Connection {
    /// How long this connection may go on without a sign.
    pub(super) fn patience(&self) -> Duration {
        let options = &self.hub.options;
        let now = clock::now();
        let mut until = self.heard.after(options.idle_timeout);
        if !self.greeted {
            until = until.min(self.since.after(options.greeting_timeout));
        }
        if let Some(since) = self.partial_since {
            until = until.min(since.after(options.request_timeout));
        }
        until.since(now)
    }

    pub(super) fn check_patience(&self) -> Result<(), End> {
        if !self.patience().is_zero() {
            return Ok(());
        }
        let reason = if !self.greeted {
            "no greeting in time"
        } else if self.partial_since.is_some() {
            "a request was begun and not completed in time"
        } else {
            "silent for too long"
        };
        Err(cut(Code::TooSlow, reason))
    }

    /// Remembers since when a request is incomplete.
    pub(super) fn note_partial(&mut self, now: Moment) {
        self.partial_since = match self.partial_since {
            _ if !self.frames.is_partial() => None,
            // A request that was complete since then was another one.
            Some(since) if self.heard < now => Some(since),
            _ => Some(now),
        };
    }
}
