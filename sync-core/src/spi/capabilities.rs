//! What a store can do and what it promises. A capability is a claim, and the conformance suite tests it both ways.

use std::time::Duration;

use crate::types::error::{Error, ErrorKind, Result};

/// What a backend can do, and how long its sessions live.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The store's name in errors and logs: `netlock`, `etcd`.
    pub backend: &'static str,
    /// The shortest session TTL that the store grants.
    pub ttl_min: Duration,
    /// The longest session TTL that the store grants.
    pub ttl_max: Duration,
    /// A dead session's claims are gone within this many times its TTL ...
    pub expiry_factor: u32,
    /// ... and this much more.
    pub expiry_slack: Duration,
    /// Grants survive any single failure that the store itself is built to survive. `false`: best effort, a fail-over
    /// can lose a grant; fence the resource.
    pub durable_grants: bool,
    /// Sessions and claims outlive a restart of the store that is shorter than the TTL.
    pub survives_restart: bool,
    /// Sessions end by the wall clock of the store's server. Set forward, it ends them early, so that for up to one TTL two can
    /// believe that they hold; set back, it keeps the claims of a client that has died for as much longer. `false`: by a
    /// clock that does not jump.
    pub sessions_follow_wall_clock: bool,
    /// An operator can end a claim that is not his own.
    pub evict: bool,
    /// A holder hears of its eviction at once, not only by fencing.
    pub reports_evictions: bool,
    /// A lock can ask to be released as soon as its holder's last connection is gone.
    pub release_on_disconnect: bool,
    /// A client whose session ends by itself while it holds can be isolated before its locks go to others, if the store's
    /// operator has said how.
    pub isolates: bool,
    /// A claim of several names is granted when all of them are free, and holds none before; or any one, and it leaves the other
    /// lines with the grant. `false`: a client takes them one after the other, or stands in each line for itself.
    pub several_at_once: bool,
    /// The store keeps traces of every key that it ever had, so a session's claims take turns in few of them: a claim's id has
    /// a [key slot](crate::ClaimId::key_slot).
    pub key_slots: bool,
}

impl Capabilities {
    /// The capabilities of a store that can do everything, with TTLs from 100 ms to a day.
    #[must_use]
    pub const fn new(backend: &'static str) -> Self {
        Self {
            backend,
            ttl_min: Duration::from_millis(100),
            ttl_max: Duration::from_secs(86_400),
            expiry_factor: 1,
            expiry_slack: Duration::from_millis(20),
            durable_grants: true,
            survives_restart: true,
            sessions_follow_wall_clock: false,
            evict: true,
            reports_evictions: true,
            release_on_disconnect: false,
            isolates: false,
            several_at_once: false,
            key_slots: false,
        }
    }

    /// The time within which a crashed client's claims are free, for a session of `ttl`.
    #[must_use]
    pub fn freed_within(&self, ttl: Duration) -> Duration {
        ttl.saturating_mul(self.expiry_factor).saturating_add(self.expiry_slack)
    }

    /// Checks a TTL that a user asks for.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] names the limits.
    pub fn check_ttl(&self, ttl: Duration) -> Result<Duration> {
        if ttl >= self.ttl_min && ttl <= self.ttl_max {
            return Ok(ttl);
        }
        Err(Error::new(
            ErrorKind::InvalidOption,
            format!(
                "a ttl of {ttl:?} is out of range: {} takes {:?} to {:?}",
                self.backend, self.ttl_min, self.ttl_max
            ),
        )
        .with_backend(self.backend))
    }
}
