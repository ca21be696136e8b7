//! From a URL to a handle.

use std::sync::Arc;

use sync_core::{Backend, Error, ErrorKind, Handle, Result, StoreUrl, Sync, SyncOptions};

/// Connects to the store that `url` names, and opens a session there.
///
/// | URL | store | feature |
/// |---|---|---|
/// | `memory:` | a lock table private to this handle | `netlock` |
/// | `memory:NAME` | the lock table that all handles of this process share who name it | `netlock` |
/// | `netlock://[:TOKEN@]HOST[:PORT][,HOST[:PORT]]` | a netlock server, by one or several addresses tried in turn; port 7420 | `netlock` |
/// | `etcd://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]` | an etcd cluster | `etcd` |
/// | `consul://[:TOKEN@]HOST[:PORT]` | a Consul agent; own options `datacenter`, `lock_delay` (default `0s`) | `consul` |
/// | `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]` | a Redis server, 6.2 or later | `redis` |
/// | `redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]]/SERVICE[/DB]` | the primary that Sentinels name; port 26379 | `redis` |
/// | `redis+cluster://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]]` | a Redis Cluster, by some of its nodes | `redis` |
///
/// Options go into the query, the same for all: `namespace` (default `distsync`), `ttl` (of the session, default `15s`),
/// `client` (who this is for those who inspect a lock, default `host:pid`), `on_lost` (what this process does to itself when it
/// loses a lock: `notify`, the default, `abort`, or `exit:CODE`).
///
/// # Errors
/// [`ErrorKind::InvalidOption`] if the URL has an unknown scheme or option, or a value that does not fit;
/// [`ErrorKind::Unavailable`] or [`ErrorKind::Denied`] if the store cannot be reached or refuses us.
///
/// # Cancel safety
/// Safe: dropped, it leaves no session behind for longer than its TTL.
pub async fn connect(url: &str) -> Result<Arc<dyn Sync>> {
    let (backend, options) = backend(url)?;
    Ok(Arc::new(Handle::open(backend, options).await?))
}

/// The backend and the options that a URL names, for those who put something between them and a [`Handle`]. Does no I/O.
///
/// # Errors
/// As [`connect`], but for those of the store.
pub fn backend(url: &str) -> Result<(Arc<dyn Backend>, SyncOptions)> {
    let mut url: StoreUrl = url.parse()?;
    let options = url.take_sync_options().map_err(|error| error.during("connect"))?;
    Ok((store(url)?, options))
}

/// The backend of a URL whose common options have been taken out. What is left are the store's own.
fn store(url: StoreUrl) -> Result<Arc<dyn Backend>> {
    match url.scheme() {
        #[cfg(feature = "netlock")]
        "memory" => memory(url),
        #[cfg(feature = "netlock")]
        "netlock" | "netlocks" => {
            Ok(sync_netlock::Client::new(sync_netlock::Config::from_url(url)?).backend())
        }
        #[cfg(feature = "consul")]
        "consul" | "consuls" => Ok(Arc::new(sync_consul::Consul::new(sync_consul::Config::from_url(url)?))),
        #[cfg(feature = "etcd")]
        "etcd" | "etcds" => Ok(Arc::new(sync_etcd::Etcd::new(sync_etcd::Config::from_url(url)?))),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel" | "redis+cluster" | "rediss+cluster" => {
            Ok(Arc::new(sync_redis::Redis::new(sync_redis::Config::from_url(url)?)))
        }
        scheme => Err(Error::new(
            ErrorKind::InvalidOption,
            format!("there is no store `{scheme}:` here: this build knows {}", SCHEMES.join(", ")),
        )
        .during("connect")),
    }
}

/// The schemes of this build.
const SCHEMES: &[&str] = &[
    #[cfg(feature = "netlock")]
    "memory:",
    #[cfg(feature = "netlock")]
    "netlock:",
    #[cfg(feature = "netlock-tls")]
    "netlocks:",
    #[cfg(feature = "consul")]
    "consul:",
    #[cfg(feature = "consul")]
    "consuls:",
    #[cfg(feature = "etcd")]
    "etcd:",
    #[cfg(feature = "etcd")]
    "etcds:",
    #[cfg(feature = "redis")]
    "redis:",
    #[cfg(feature = "redis")]
    "rediss:",
    #[cfg(feature = "redis")]
    "redis+sentinel:",
    #[cfg(feature = "redis")]
    "rediss+sentinel:",
    #[cfg(feature = "redis")]
    "redis+cluster:",
    #[cfg(feature = "redis")]
    "rediss+cluster:",
];

#[cfg(feature = "netlock")]
fn memory(url: StoreUrl) -> Result<Arc<dyn Backend>> {
    use sync_netlock::Embedded;

    url.no_hosts()?;
    let embedded = if url.path().is_empty() { Embedded::private() } else { Embedded::named(url.path()) };
    url.finish(&[])?;
    Ok(embedded.backend())
}
