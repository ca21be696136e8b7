//! The timeouts of a connection: for the greeting, for a request and for silence.

use std::time::Duration;

use distsync_core::spi::clock::{self, Moment};

use super::Connection;
use super::ending::{End, cut};
use crate::wire::proto::refused::Code;

impl Connection {
    /// Returns the time until the first timeout of this connection.
    pub(super) fn time_left(&self) -> Duration {
        let options = &self.hub.options;
        let now = clock::now();
        let mut until = self.last_request.after(options.idle_timeout);
        if !self.greeted {
            until = until.min(self.connected_at.after(options.greeting_timeout));
        }
        if let Some(since) = self.partial_since {
            until = until.min(since.after(options.request_timeout));
        }
        until.since(now)
    }

    /// Returns the reason to end the connection if a timeout has passed.
    pub(super) fn check_timeouts(&self) -> Result<(), End> {
        if !self.time_left().is_zero() {
            return Ok(());
        }
        let reason = if !self.greeted {
            "no greeting in time"
        } else if self.partial_since.is_some() {
            "a request was not completed in time"
        } else {
            "silent for too long: a client has to send a ping"
        };
        Err(cut(Code::TooSlow, reason))
    }

    /// Updates the time since when a request is incomplete.
    pub(super) fn update_partial(&mut self, now: Moment) {
        self.partial_since = match self.partial_since {
            _ if !self.inbox.is_partial() => None,
            // If a request was completed since then, the incomplete one is another.
            Some(since) if self.last_request < now => Some(since),
            _ => Some(now),
        };
    }
}
