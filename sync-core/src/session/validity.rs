//! The arithmetic of loss: until when a session may be believed alive, when to renew it, and when to give it up.
//!
//! Pure: no clock, no task. Source of the formula: the validity time of Redis' Redlock description (drift 1 % and 2 ms),
//! counted from the time of *sending*, less a margin in which the work stops before the store can grant to another.

use std::time::Duration;

use crate::spi::clock::Moment;
use crate::types::loss::Loss;

/// What a TTL means for its holder.
#[derive(Clone, Copy, Debug)]
struct Timing {
    ttl: Duration,
}

impl Timing {
    /// When work under a lease must have stopped: sent + 99 % of the TTL - 2 ms, less the stop margin.
    fn revoke_at(self, sent: Moment) -> Moment {
        let drift = self.ttl / 100 + Duration::from_millis(2);
        sent.after(self.ttl.saturating_sub(drift).saturating_sub(self.stop_margin()))
    }

    /// 10 % of the TTL, at least 250 ms, at most a third of the TTL.
    fn stop_margin(self) -> Duration {
        (self.ttl / 10).max(Duration::from_millis(250)).min(self.ttl / 3)
    }
}

/// How sure a holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last renewal succeeded.
    Held,
    /// A renewal failed; it is retried until the deadline.
    AtRisk,
    /// Gone, for good.
    Lost(Loss),
}

/// The validity of one session, from its opening to its loss. One-way: what is lost stays lost.
#[derive(Debug)]
pub(crate) struct Validity {
    timing: Timing,
    sent: Moment,
    health: Health,
    retry_at: Moment,
}

impl Validity {
    /// A session with `ttl`, whose opening was sent at `sent`.
    pub(crate) fn opened(ttl: Duration, sent: Moment) -> Self {
        Self { timing: Timing { ttl }, sent, health: Health::Held, retry_at: sent }
    }

    pub(crate) fn revoke_at(&self) -> Moment {
        self.timing.revoke_at(self.sent)
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.timing.ttl
    }

    /// The state at `now`: at the deadline it turns to lost by itself.
    pub(crate) fn health(&mut self, now: Moment) -> Health {
        if !matches!(self.health, Health::Lost(_)) && now >= self.revoke_at() {
            self.health = Health::Lost(Loss::Expired);
        }
        self.health
    }

    /// A renewal that was sent at `sent` succeeded. `false`: too late, the session was given up before.
    pub(crate) fn renewed(&mut self, ttl: Duration, sent: Moment, now: Moment) -> bool {
        if matches!(self.health(now), Health::Lost(_)) {
            return false;
        }
        let timing = Timing { ttl };
        // A reply that was overtaken by a later one must not shorten what that one won.
        if timing.revoke_at(sent) > self.revoke_at() {
            self.timing = timing;
            self.sent = sent;
        }
        self.health = Health::Held;
        true
    }

    /// A renewal failed. `spread` is between 0 and 1.
    pub(crate) fn failed(&mut self, now: Moment, spread: f64) {
        if !matches!(self.health(now), Health::Lost(_)) {
            self.health = Health::AtRisk;
            self.retry_at = now.after((self.timing.ttl / 12).mul_f64(0.5 + spread));
        }
    }

    /// Gives the session up. The first reason stays.
    pub(crate) fn lose(&mut self, loss: Loss, now: Moment) {
        if !matches!(self.health(now), Health::Lost(_)) {
            self.health = Health::Lost(loss);
        }
    }

    /// When to send the next renewal: a third of the TTL after the last one, spread by up to a tenth of that so that
    /// clients that started together do not stay together; after a failure, a twelfth of the TTL later.
    pub(crate) fn next_renewal(&self, spread: f64) -> Moment {
        match self.health {
            Health::AtRisk => self.retry_at,
            _ => self.sent.after((self.timing.ttl / 3).mul_f64(1.0 - 0.1 * spread)),
        }
    }

    /// How long one renewal may take: a third of the TTL, but not past the deadline.
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
        assert_eq!(Validity::opened(TTL, at(1_000)).revoke_at(), at(1_000 + 15_000 - 152 - 1_500));
        // 1 s: the margin is 250 ms; 300 ms: it is a third.
        assert_eq!(Validity::opened(Duration::from_secs(1), at(0)).revoke_at(), at(1_000 - 12 - 250));
        assert_eq!(Validity::opened(Duration::from_millis(300), at(0)).revoke_at(), at(300 - 5 - 100));
    }

    #[test]
    fn a_failure_is_a_risk_and_a_late_reply_revives_nothing() {
        let mut validity = Validity::opened(TTL, at(0));
        validity.failed(at(5_000), 0.5);
        assert_eq!(validity.health(at(5_000)), Health::AtRisk);
        assert_eq!(validity.next_renewal(0.0), at(5_000 + 1_250));
        assert!(validity.renewed(TTL, at(6_000), at(6_001)));
        assert_eq!(validity.health(at(6_001)), Health::Held);

        let deadline = validity.revoke_at();
        assert_eq!(validity.health(deadline), Health::Lost(Loss::Expired));
        assert!(!validity.renewed(TTL, at(7_000), deadline), "a late reply");
        assert_eq!(validity.health(at(0)), Health::Lost(Loss::Expired), "for good");
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
        /// The deadline precedes what any store can do: it counts the TTL from a moment after `sent`.
        #[test]
        fn revocation_precedes_expiry_and_leaves_room_to_renew(ttl_ms in 100u64..86_400_000) {
            let ttl = Duration::from_millis(ttl_ms);
            let validity = Validity::opened(ttl, at(0));
            prop_assert!(validity.revoke_at() < at(ttl_ms));
            prop_assert!(validity.next_renewal(0.0).after(ttl / 12) < validity.revoke_at());
        }
    }
}
