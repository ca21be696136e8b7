//! The limits of a table.

use std::time::Duration;

use distsync_core::VALUE_MAX;

/// The limits of a table. A request that would exceed one is refused with an error that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Names with a claim or a watcher. Default: 4 million.
    pub names: usize,
    /// Open sessions. Default: 100,000.
    pub sessions: usize,
    /// Open sessions of one principal. Below `sessions`, so that no principal keeps another out.
    /// Default: 20,000.
    pub sessions_per_principal: usize,
    /// Claims of all sessions of one principal, held and waiting. Default: 1 million.
    pub claims_per_principal: usize,
    /// Claims of one session. Default: 1 million.
    pub claims_per_session: usize,
    /// Claims on one name, held and waiting. Default: 10,000.
    pub claims_per_name: usize,
    /// Claims of one principal on one name, held and waiting. Below `claims_per_name`, so that no
    /// principal fills a queue that others use too. Default: 5,000.
    pub claims_per_name_and_principal: usize,
    /// Names of one claim. Default: 64.
    pub names_per_claim: usize,
    /// Watches of one connection. Default: 10,000.
    pub watches_per_connection: usize,
    /// Watches of all connections of one principal: each can be of a name that nobody else uses.
    /// Default: 1 million.
    pub watches_per_principal: usize,
    /// The longest name, in bytes, including its namespace and percent-encoding. Default: 2 KiB.
    pub name_bytes: usize,
    /// The longest value of a claim, in bytes. Default: 1 KiB.
    pub value_bytes: usize,
    /// The longest name of a client, in bytes. Default: 256.
    pub client_bytes: usize,
    /// The longest isolation data of a session, in bytes. Default: 4 KiB.
    pub isolation_bytes: usize,
    /// The number of entries in one page of a list. Default: 1,000.
    pub page: usize,
    /// The shortest accepted TTL. Default: 100 ms.
    pub ttl_min: Duration,
    /// The longest accepted TTL. Default: 1 day.
    pub ttl_max: Duration,
    /// How long a session with `release_on_disconnect` outlives its last connection. Default: 1 s.
    pub reconnect_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names: 4_000_000,
            sessions: 100_000,
            sessions_per_principal: 20_000,
            claims_per_principal: 1_000_000,
            claims_per_session: 1_000_000,
            claims_per_name: 10_000,
            claims_per_name_and_principal: 5_000,
            names_per_claim: 64,
            watches_per_connection: 10_000,
            watches_per_principal: 1_000_000,
            name_bytes: 2_048,
            value_bytes: VALUE_MAX,
            client_bytes: 256,
            isolation_bytes: 4_096,
            page: 1_000,
            ttl_min: Duration::from_millis(100),
            ttl_max: Duration::from_secs(86_400),
            reconnect_grace: Duration::from_secs(1),
        }
    }
}
