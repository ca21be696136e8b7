//! The capabilities and promises of a store. The conformance suite tests each capability both ways:
//! it works where it is present, and it is rejected where it is absent.

use std::time::Duration;

use crate::types::error::{Error, ErrorKind, Result};

/// The capabilities of a backend, and how long its sessions live.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The store's name in errors and logs, such as `netlock` or `etcd`.
    pub backend: &'static str,
    /// The shortest session TTL that the store grants.
    pub ttl_min: Duration,
    /// The longest session TTL that the store grants.
    pub ttl_max: Duration,
    /// A request for a TTL below [`ttl_min`](Self::ttl_min) is granted with `ttl_min`, because the
    /// store itself raises it. If `false`, it is refused.
    pub raises_short_ttl: bool,
    /// The claims of a dead session are removed within `expiry_factor` times its TTL plus
    /// [`expiry_slack`](Self::expiry_slack).
    pub expiry_factor: u32,
    /// The constant part of the time within which the claims of a dead session are removed.
    pub expiry_slack: Duration,
    /// Grants survive every single failure that the store is designed to survive. If `false`, a
    /// fail-over can lose a grant: fence the resource.
    pub durable_grants: bool,
    /// Sessions and claims survive a restart of the store that takes less than half of the TTL. A
    /// session may have been renewed a third of its TTL before the restart.
    pub survives_restart: bool,
    /// Sessions expire by the wall clock of the store's server. If that clock is set forward,
    /// sessions end early, and for up to one TTL two clients can both believe that they hold. If it
    /// is set back, the claims of a dead client remain for that much longer. If `false`, sessions
    /// expire by a clock that does not jump.
    pub sessions_follow_wall_clock: bool,
    /// Operators can evict the claims of others.
    pub evict: bool,
    /// A holder is notified of its eviction at once, instead of only having its token rejected.
    pub reports_evictions: bool,
    /// A lock can be configured to be released shortly after its holder's last connection closes.
    pub release_on_disconnect: bool,
    /// A session is used only with its [secret](crate::spi::Session::secret). If `false`, its id is
    /// enough, and the store's permissions decide who may use it.
    pub checks_secrets: bool,
    /// A client whose session expires while it holds a lock can be isolated before the lock is
    /// granted to others, if the store's operator has configured how. Known elsewhere as node
    /// fencing (STONITH).
    pub isolates: bool,
    /// One claim can ask for several names. For all of them, it holds none until all are free and
    /// is then granted atomically. For any one of them, the grant removes it from the other queues.
    /// If `false`, a client acquires the names one after the other, or queues for each separately.
    pub several_at_once: bool,
    /// The claims of a session reuse a few keys, because the store never frees all memory of a key
    /// that it once had. A claim's id contains the number of its key, the [key
    /// slot](crate::ClaimId::key_slot).
    pub key_slots: bool,
}

impl Capabilities {
    /// Returns the defaults, with TTLs from 100 ms to a day.
    ///
    /// Grants are durable and survive a restart, and evictions are supported and reported. The
    /// optional features are off.
    #[must_use]
    pub const fn new(backend: &'static str) -> Self {
        Self {
            backend,
            ttl_min: Duration::from_millis(100),
            ttl_max: Duration::from_secs(86_400),
            raises_short_ttl: false,
            expiry_factor: 1,
            expiry_slack: Duration::from_millis(20),
            durable_grants: true,
            survives_restart: true,
            sessions_follow_wall_clock: false,
            evict: true,
            reports_evictions: true,
            release_on_disconnect: false,
            checks_secrets: false,
            isolates: false,
            several_at_once: false,
            key_slots: false,
        }
    }

    /// Returns the time within which the claims of a crashed client are removed, for a session of
    /// `ttl`.
    #[must_use]
    pub fn freed_within(&self, ttl: Duration) -> Duration {
        ttl.saturating_mul(self.expiry_factor)
            .saturating_add(self.expiry_slack)
    }

    /// Returns `ttl` if the store grants it, or [`ttl_min`](Self::ttl_min) if the store
    /// [raises](Self::raises_short_ttl) it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if it is out of range; the message gives the limits.
    pub fn check_ttl(&self, ttl: Duration) -> Result<Duration> {
        if self.raises_short_ttl && !ttl.is_zero() && ttl < self.ttl_min {
            return Ok(self.ttl_min);
        }
        if ttl >= self.ttl_min && ttl <= self.ttl_max {
            return Ok(ttl);
        }
        Err(Error::new(
            ErrorKind::InvalidOption,
            format!(
                "a ttl of {ttl:?} is out of range: give {} {:?} to {:?}",
                self.backend, self.ttl_min, self.ttl_max
            ),
        )
        .with_backend(self.backend))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_ttl_is_raised_or_refused() {
        let second = Duration::from_secs(1);
        let mut capabilities = Capabilities::new("test");
        capabilities.ttl_min = 2 * second;
        let error = capabilities.check_ttl(second).unwrap_err().to_string();
        assert!(error.contains("1s") && error.contains("2s"), "{error}");
        capabilities.raises_short_ttl = true;
        assert_eq!(capabilities.check_ttl(second).unwrap(), 2 * second);
        assert_eq!(capabilities.check_ttl(3 * second).unwrap(), 3 * second);
        // A TTL of nothing is a mistake on every store.
        assert!(capabilities.check_ttl(Duration::ZERO).is_err());
        assert!(capabilities.check_ttl(2 * capabilities.ttl_max).is_err());
    }
}
