//! The settings of a store that make locks on it worse, as far as this client can see them.

use distsync::spi::StoreUrl;
use distsync::{Capabilities, Result, SyncOptions};

/// Returns a warning for each setting, with its remedy. A warning also says that the settings
/// cannot be read.
pub(super) async fn warnings(url: &str, capabilities: &Capabilities) -> Vec<String> {
    let mut warnings = Vec::new();
    if capabilities.backend == "netlock" && !capabilities.survives_restart {
        let problem = "the server has no data folder, so a restart forgets all locks: start it with --data-dir";
        warnings.push(problem.to_owned());
    }
    match of_the_store(url).await {
        Ok(found) => warnings.extend(found),
        Err(error) => warnings.push(format!(
            "the settings of the server cannot be read: {}",
            error.message()
        )),
    }
    warnings
}

/// Asks the store for its settings, on a connection of its own.
async fn of_the_store(url: &str) -> Result<Vec<String>> {
    let mut url: StoreUrl = url.parse()?;
    url.take_sync_options(SyncOptions::new())?;
    match url.scheme() {
        #[cfg(feature = "etcd")]
        "etcd" | "etcds" => {
            let config = distsync::etcd::Config::from_url(url)?;
            distsync::etcd::Etcd::new(config).weaknesses().await
        }
        #[cfg(feature = "consul")]
        "consul" | "consuls" => {
            let config = distsync::consul::Config::from_url(url)?;
            distsync::consul::Consul::new(config).weaknesses().await
        }
        #[cfg(feature = "redis")]
        scheme if scheme.starts_with("redis") => {
            let config = distsync::redis::Config::from_url(url)?;
            distsync::redis::Redis::new(config).weaknesses().await
        }
        _ => Ok(Vec::new()),
    }
}
