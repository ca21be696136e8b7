//! From a URL to a handle.

use std::sync::Arc;

use distsync_core::spi::{Backend, StoreUrl};
use distsync_core::{DynSync, Error, ErrorKind, Handle, Result, SyncOptions};

/// Connects to the store that `url` names, and opens a session there.
///
/// | URL | store | feature |
/// |---|---|---|
/// | `memory:`, `memory:NAME` | a lock table in this process | `memory` |
/// | `netlock://[:TOKEN@]HOST[:PORT]` | a netlock server; port 7420 | `netlock` |
/// | `etcd://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]` | an etcd cluster | `etcd` |
/// | `consul://[:TOKEN@]HOST[:PORT]` | a Consul agent | `consul` |
/// | `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]` | a Redis server, 6.2 or later | `redis` |
/// | `redis+sentinel://HOST[:PORT][,HOST[:PORT]]/SERVICE[/DB]` | the primary that Sentinels name | `redis` |
/// | `redis+cluster://HOST[:PORT][,HOST[:PORT]]` | a Redis Cluster, by some of its nodes | `redis` |
///
/// Options go into the query, the same for every store: `namespace` (default `distsync`), `ttl` (of
/// the session, default `15s`), `client` (the name of this client for observers, default
/// `host:pid`), `on_lost` (what this process does to itself when it loses a lock: `notify`, the
/// default, `abort`, or `exit:CODE`).
/// [docs/urls.md](https://github.com/distsync/distsync/blob/main/docs/urls.md) has the options of
/// each store.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] if the URL has an unknown scheme or option, a value out of range,
/// or a store whose feature this build lacks; [`ErrorKind::Unavailable`] or [`ErrorKind::Denied`]
/// if the store cannot be reached or refuses the credentials.
///
/// # Cancel safety
/// Safe: when the future is dropped, no session stays open for longer than its TTL.
///
/// # Examples
/// ```
/// # #[tokio::main]
/// # async fn main() -> distsync::Result<()> {
/// let sync = distsync::connect("memory:?namespace=shop&ttl=10s&on_lost=abort").await?;
/// assert_eq!(sync.name(), "memory");
/// sync.close().await?;
/// # Ok(())
/// # }
/// ```
pub async fn connect(url: &str) -> Result<Arc<DynSync>> {
    let (backend, options) = backend(url)?;
    Ok(Arc::new(Handle::open(backend, options).await?))
}

/// The backend and the options that a URL names, for those who put something between them and a
/// [`Handle`]. Does no I/O.
///
/// # Errors
/// As [`connect`], but for those of the store.
pub fn backend(url: &str) -> Result<(Arc<dyn Backend>, SyncOptions)> {
    let mut url: StoreUrl = url.parse()?;
    let options = url
        .take_sync_options()
        .map_err(|error| error.with_operation("connect"))?;
    Ok((store(url)?, options))
}

/// The backend of a URL whose common options have been taken out. What is left are the store's own.
fn store(url: StoreUrl) -> Result<Arc<dyn Backend>> {
    match url.scheme() {
        #[cfg(feature = "memory")]
        "memory" => memory(url),
        #[cfg(feature = "netlock")]
        "netlock" => netlock(url),
        #[cfg(feature = "netlock-tls")]
        "netlocks" => netlock(url),
        #[cfg(feature = "consul")]
        "consul" | "consuls" => Ok(Arc::new(distsync_consul::Consul::new(
            distsync_consul::Config::from_url(url)?,
        ))),
        #[cfg(feature = "etcd")]
        "etcd" | "etcds" => Ok(Arc::new(distsync_etcd::Etcd::new(
            distsync_etcd::Config::from_url(url)?,
        ))),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel" | "redis+cluster"
        | "rediss+cluster" => Ok(Arc::new(distsync_redis::Redis::new(
            distsync_redis::Config::from_url(url)?,
        ))),
        scheme => Err(not_here(scheme)),
    }
}

/// All stores, by their schemes, each with the feature that has it, and whether this build does.
const STORES: [(&str, &[&str], bool); 6] = [
    ("memory", &["memory"], cfg!(feature = "memory")),
    ("netlock", &["netlock"], cfg!(feature = "netlock")),
    ("netlock-tls", &["netlocks"], cfg!(feature = "netlock-tls")),
    ("consul", &["consul", "consuls"], cfg!(feature = "consul")),
    ("etcd", &["etcd", "etcds"], cfg!(feature = "etcd")),
    (
        "redis",
        &[
            "redis",
            "rediss",
            "redis+sentinel",
            "rediss+sentinel",
            "redis+cluster",
            "rediss+cluster",
        ],
        cfg!(feature = "redis"),
    ),
];

/// Why a scheme is none of this build.
fn not_here(scheme: &str) -> Error {
    let mut problem = format!("there is no store `{scheme}:` here: ");
    match STORES
        .iter()
        .find(|(_, schemes, _)| schemes.contains(&scheme))
    {
        Some((feature, ..)) => problem += &format!("it comes with distsync's feature `{feature}`"),
        None => {
            let built = STORES
                .iter()
                .filter(|(.., is_built)| *is_built)
                .flat_map(|(_, schemes, _)| *schemes);
            let built: Vec<_> = built.map(|scheme| format!("{scheme}:")).collect();
            problem += &format!("this build knows {}", built.join(", "));
        }
    }
    Error::new(ErrorKind::InvalidOption, problem).with_operation("connect")
}

#[cfg(feature = "netlock")]
fn netlock(url: StoreUrl) -> Result<Arc<dyn Backend>> {
    Ok(distsync_netlock::Client::new(distsync_netlock::Config::from_url(url)?).backend())
}

#[cfg(feature = "memory")]
fn memory(url: StoreUrl) -> Result<Arc<dyn Backend>> {
    use distsync_netlock::Embedded;

    url.no_hosts()?;
    let embedded = if url.path().is_empty() {
        Embedded::private()
    } else {
        Embedded::named(url.path())
    };
    url.finish(&[])?;
    Ok(embedded.backend())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_not_built_names_its_feature() {
        for (feature, schemes, _) in STORES {
            for scheme in schemes {
                assert!(
                    not_here(scheme)
                        .to_string()
                        .contains(&format!("feature `{feature}`")),
                    "{scheme}"
                );
            }
        }
    }

    #[test]
    fn a_scheme_is_known_where_its_store_is_built() {
        let unknown = not_here("nats").to_string();
        for (_, schemes, is_built) in STORES {
            for scheme in schemes {
                assert_eq!(
                    unknown.contains(&format!(" {scheme}:")),
                    is_built,
                    "{unknown}"
                );
                // What the store has to say to this URL is its own matter.
                let answer = backend(&format!("{scheme}:")).map(drop);
                let is_unknown =
                    answer.is_err_and(|error| error.to_string().contains("there is no store"));
                assert_eq!(is_unknown, !is_built, "{scheme}");
            }
        }
    }
}
