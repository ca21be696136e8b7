//! The settings of a datacenter that make locks in it worse.

use distsync_core::Result;

use crate::backend::Consul;

/// The least number of servers that survive the loss of one of them.
const SERVERS: usize = 3;

impl Consul {
    /// Returns the settings of the datacenter that make locks in it worse, each as a problem and
    /// its remedy. Reports only what this client can see.
    ///
    /// # Errors
    /// [`Denied`](distsync_core::ErrorKind::Denied) or
    /// [`Unavailable`](distsync_core::ErrorKind::Unavailable).
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn weaknesses(&self) -> Result<Vec<String>> {
        let servers = self.http()?.servers().await?.len();
        let mut found = Vec::new();
        if servers < SERVERS {
            let word = if servers == 1 { "server" } else { "servers" };
            found.push(format!(
                "the datacenter has {servers} {word}, so the loss of one stops all locks: use {SERVERS} or 5"
            ));
        }
        Ok(found)
    }
}
