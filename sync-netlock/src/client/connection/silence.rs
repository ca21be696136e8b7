//! How the driver of a connection notices that the server is silent.
//!
//! A server whose process hangs, or whose machine is gone, closes nothing. If its cluster has
//! elected another leader, the client has to leave the connection early enough to renew its
//! sessions there. Sessions are renewed after a third of their TTL.

use std::time::Duration;

/// How often the driver checks, at most. [`BROKEN`] times this is less than the 5 s after which the
/// core gives a request up, so that the request is sent again on another connection.
const TICK_MAX: Duration = Duration::from_millis(1250);
/// How often the driver checks, at least. A busy server may be silent for as long.
const TICK_MIN: Duration = Duration::from_millis(50);
/// The checks in a session's TTL. [`BROKEN`] of them take a quarter of it.
const TICKS_PER_TTL: u32 = 12;
/// After how many checks without a reply the connection counts as broken.
const BROKEN: u32 = 3;
/// After how many checks without a request the driver pings the server.
const IDLE: u32 = 4;
/// After how many checks it pings in any case, because the reply names new members of a cluster.
const LEARN: u32 = 16;

/// What the driver has to do after a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Check {
    Nothing,
    Ping,
    /// The server does not respond.
    Broken,
}

/// The silence of a server.
#[derive(Debug)]
pub(super) struct Silence {
    tick: Duration,
    /// Whether something was written after the last bytes from the server.
    owed: bool,
    /// The number of checks since then.
    unanswered: u32,
    /// The number of checks since something was written.
    idle: u32,
    /// The number of checks since a ping.
    unlearned: u32,
}

impl Silence {
    pub(super) fn new() -> Self {
        Self {
            tick: TICK_MAX,
            owed: false,
            unanswered: 0,
            idle: 0,
            unlearned: 0,
        }
    }

    /// Returns the time between two checks.
    pub(super) fn tick(&self) -> Duration {
        self.tick
    }

    /// Adapts to the shortest TTL of the sessions on this connection.
    pub(super) fn adapt(&mut self, ttl: Duration) {
        self.tick = (ttl / TICKS_PER_TTL).clamp(TICK_MIN, TICK_MAX);
    }

    pub(super) fn wrote(&mut self) {
        self.owed = true;
        self.idle = 0;
    }

    pub(super) fn read(&mut self) {
        self.owed = false;
        self.unanswered = 0;
    }

    /// Checks once. Everything that has arrived must have been read before, so that a client that
    /// was busy itself does not blame the server.
    ///
    /// The first check without a reply pings, because some requests have no reply.
    pub(super) fn check(&mut self) -> Check {
        self.idle += 1;
        self.unlearned += 1;
        let check = if self.owed {
            self.unanswered += 1;
            match self.unanswered {
                1 => Check::Ping,
                BROKEN.. => Check::Broken,
                _ => Check::Nothing,
            }
        } else if self.idle < IDLE && self.unlearned < LEARN {
            Check::Nothing
        } else {
            Check::Ping
        };
        if check == Check::Ping {
            self.unlearned = 0;
        }
        check
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_server_is_left_and_an_idle_one_is_pinged() {
        let mut silence = Silence::new();
        for _ in 1..IDLE {
            assert_eq!(silence.check(), Check::Nothing);
        }
        assert_eq!(silence.check(), Check::Ping);
        silence.wrote();
        silence.read();
        assert_eq!(silence.check(), Check::Nothing);
        silence.wrote();
        assert_eq!(silence.check(), Check::Ping);
        silence.wrote();
        assert_eq!(silence.check(), Check::Nothing);
        silence.read();
        silence.wrote();
        assert_eq!(silence.check(), Check::Ping);
        assert_eq!(silence.check(), Check::Nothing);
        assert_eq!(silence.check(), Check::Broken);
    }

    #[test]
    fn a_busy_server_is_pinged_too() {
        let mut silence = Silence::new();
        for _ in 0..2 {
            for _ in 1..LEARN {
                silence.wrote();
                silence.read();
                assert_eq!(silence.check(), Check::Nothing);
            }
            silence.wrote();
            silence.read();
            assert_eq!(silence.check(), Check::Ping);
        }
    }

    #[test]
    fn a_session_outlives_the_silence_that_breaks_a_connection() {
        let mut silence = Silence::new();
        assert!(BROKEN * silence.tick() < Duration::from_secs(5));
        for (ttl, limit) in [(60_000, 3_750), (15_000, 3_750), (3_000, 750), (100, 150)] {
            silence.adapt(Duration::from_millis(ttl));
            assert_eq!(BROKEN * silence.tick(), Duration::from_millis(limit));
        }
    }
}
