//! The arithmetic of loss: until when a session is known to be alive, when to renew it, and when to
//! give it up.
//!
//! Pure: no clock, no task. The formula is the validity time of Redis' Redlock description (drift
//! of 1 % and 2 ms), counted from the time of *sending*, less a margin in which the holder stops
//! its work before the store can grant the name to another claim.

use std::time::Duration;

use crate::spi::clock::Moment;
use crate::types::loss::Loss;

/// The TTL divided by the first pause before a renewal is repeated. The pause is short, because a
/// server that closed the connection may have a successor that serves already.
const FIRST_PAUSE: u32 = 96;
/// How many times the pause doubles: up to a twelfth of the TTL.
const DOUBLINGS: u32 = 3;

/// The times that follow from a TTL.
#[derive(Clone, Copy, Debug)]
struct Timing {
    ttl: Duration,
}

impl Timing {
    /// Returns the moment of revocation: `sent` + 99 % of the TTL - 2 ms, less the stop margin.
    fn revoke_at(self, sent: Moment) -> Moment {
        self.lease_end(sent).before(stop_margin(self.ttl))
    }

    /// Returns the moment until which the store certainly keeps the claim: `sent` + 99 % of the TTL
    /// - 2 ms.
    fn lease_end(self, sent: Moment) -> Moment {
        let drift = self.ttl / 100 + Duration::from_millis(2);
        sent.after(self.ttl.saturating_sub(drift))
    }
}

/// Returns the time in which the holder stops its work: 10 % of the TTL, at least 250 ms, at most a
/// third of the TTL.
pub(super) fn stop_margin(ttl: Duration) -> Duration {
    (ttl / 10).max(Duration::from_millis(250)).min(ttl / 3)
}

/// The health of a claim, as known to its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last renewal succeeded.
    Held,
    /// A renewal failed; it is retried until the deadline.
    AtRisk,
    /// The claim is lost. This state is final.
    Lost(Loss),
}

/// The validity of one session, from its opening to its loss. A lost session stays lost.
#[derive(Debug)]
pub(crate) struct Validity {
    timing: Timing,
    sent: Moment,
    health: Health,
    retry_at: Moment,
    /// The number of renewals that have failed since the last success.
    failures: u32,
}

impl Validity {
    /// Creates the validity of a session with `ttl`, whose opening was sent at `sent`.
    pub(crate) fn opened(ttl: Duration, sent: Moment) -> Self {
        Self {
            timing: Timing { ttl },
            sent,
            health: Health::Held,
            retry_at: sent,
            failures: 0,
        }
    }

    pub(crate) fn revoke_at(&self) -> Moment {
        self.timing.revoke_at(self.sent)
    }

    /// Returns the moment until which the store certainly keeps the claims, without a margin.
    pub(crate) fn lease_end(&self) -> Moment {
        self.timing.lease_end(self.sent)
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.timing.ttl
    }

    /// Returns the health at `now`. From the deadline on, the session is lost.
    pub(crate) fn health(&mut self, now: Moment) -> Health {
        if !matches!(self.health, Health::Lost(_)) && now >= self.revoke_at() {
            self.health = Health::Lost(Loss::Expired);
        }
        self.health
    }

    /// Records that a renewal that was sent at `sent` succeeded.
    ///
    /// Returns `false` if the reply came too late, because the session was already given up.
    pub(crate) fn renewed(&mut self, ttl: Duration, sent: Moment, now: Moment) -> bool {
        if matches!(self.health(now), Health::Lost(_)) {
            return false;
        }
        let timing = Timing { ttl };
        // Replies can arrive out of order: an earlier renewal must not shorten the validity that a
        // later one has reached.
        if timing.revoke_at(sent) > self.revoke_at() {
            self.timing = timing;
            self.sent = sent;
        }
        self.health = Health::Held;
        self.failures = 0;
        true
    }

    /// Records that a renewal failed. `spread` is between 0 and 1.
    pub(crate) fn failed(&mut self, now: Moment, spread: f64) {
        if !matches!(self.health(now), Health::Lost(_)) {
            self.health = Health::AtRisk;
            let pause = (self.timing.ttl / FIRST_PAUSE) * (1 << self.failures.min(DOUBLINGS));
            self.failures += 1;
            self.retry_at = now.after(pause.mul_f64(0.5 + spread));
        }
    }

    /// Gives the session up. The first reason is kept.
    pub(crate) fn lose(&mut self, loss: Loss, now: Moment) {
        if !matches!(self.health(now), Health::Lost(_)) {
            self.health = Health::Lost(loss);
        }
    }

    /// Returns when to send the next renewal: a third of the TTL after the last one, or soon after
    /// a failure.
    ///
    /// The time is spread by up to a tenth, so that clients that started together do not renew
    /// together.
    pub(crate) fn next_renewal(&self, spread: f64) -> Moment {
        match self.health {
            Health::AtRisk => self.retry_at,
            _ => self
                .sent
                .after((self.timing.ttl / 3).mul_f64(1.0 - 0.1 * spread)),
        }
    }

    /// Returns the timeout of one renewal: a third of the TTL, but not past the deadline.
    pub(crate) fn patience(&self, now: Moment) -> Duration {
        (self.timing.ttl / 3).min(self.revoke_at().since(now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(15);

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn the_deadline_counts_from_sending_with_drift_and_margin() {
        // 15 s: less 150 ms and 2 ms of drift, less 1.5 s of margin.
        assert_eq!(
            Validity::opened(TTL, at(1_000)).revoke_at(),
            at(1_000 + 15_000 - 152 - 1_500)
        );
        // 1 s: the margin is 250 ms; 300 ms: it is a third.
        assert_eq!(
            Validity::opened(Duration::from_secs(1), at(0)).revoke_at(),
            at(1_000 - 12 - 250)
        );
        assert_eq!(
            Validity::opened(Duration::from_millis(300), at(0)).revoke_at(),
            at(300 - 5 - 100)
        );
    }

    #[test]
    fn a_failure_is_a_risk_and_a_late_reply_revives_nothing() {
        let mut validity = Validity::opened(TTL, at(0));
        validity.failed(at(5_000), 0.5);
        assert_eq!(validity.health(at(5_000)), Health::AtRisk);
        assert_eq!(
            validity.next_renewal(0.0),
            Moment::from_nanos(5_156_250_000)
        );
        assert!(validity.renewed(TTL, at(6_000), at(6_001)));
        assert_eq!(validity.health(at(6_001)), Health::Held);

        let deadline = validity.revoke_at();
        assert_eq!(validity.health(deadline), Health::Lost(Loss::Expired));
        assert!(
            !validity.renewed(TTL, at(7_000), deadline),
            "a late reply must not revive it"
        );
        assert_eq!(
            validity.health(at(0)),
            Health::Lost(Loss::Expired),
            "a loss is final"
        );
    }

    #[test]
    fn a_failed_renewal_is_repeated_soon_and_then_less_often() {
        let mut validity = Validity::opened(TTL, at(0));
        let mut pauses = |count| {
            let pause = |_| {
                validity.failed(at(5_000), 0.5);
                validity.next_renewal(0.0).since(at(5_000)).as_millis()
            };
            let pauses: Vec<_> = (0..count).map(pause).collect();
            validity.renewed(TTL, at(5_000), at(5_000));
            pauses
        };
        assert_eq!(pauses(6), [156, 312, 625, 1_250, 1_250, 1_250]);
        assert_eq!(pauses(2), [156, 312], "after a success");
    }

    #[test]
    fn the_first_reason_stays() {
        let mut validity = Validity::opened(TTL, at(0));
        validity.lose(Loss::SessionLost, at(1));
        validity.lose(Loss::Closed, at(2));
        assert_eq!(validity.health(at(99_000)), Health::Lost(Loss::SessionLost));
    }

    #[test]
    fn an_overtaken_reply_does_not_shorten_the_validity() {
        let mut validity = Validity::opened(TTL, at(0));
        assert!(validity.renewed(TTL, at(5_000), at(5_001)));
        let deadline = validity.revoke_at();
        assert!(validity.renewed(TTL, at(4_000), at(5_002)));
        assert_eq!(validity.revoke_at(), deadline);
    }

    proptest! {
        /// The deadline precedes the expiry in every store, which counts the TTL from a moment
        /// after `sent`.
        #[test]
        fn revocation_precedes_expiry_and_leaves_room_to_renew(ttl_ms in 100u64..86_400_000) {
            let ttl = Duration::from_millis(ttl_ms);
            let validity = Validity::opened(ttl, at(0));
            prop_assert!(validity.revoke_at() < at(ttl_ms));
            prop_assert!(validity.next_renewal(0.0).after(ttl / 12) < validity.revoke_at());
        }
    }
}
