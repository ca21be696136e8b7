//! Connecting to the store that a URL names.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use distsync_core::spi::{Backend, StoreUrl};
use distsync_core::{DynSync, Error, ErrorKind, Handle, Result, SyncOptions};

/// Makes the backend of a URL.
type Connector = Arc<dyn Fn(StoreUrl) -> Result<Arc<dyn Backend>> + Send + Sync>;

/// The schemes that this process has registered.
static REGISTERED: RwLock<BTreeMap<String, Connector>> = RwLock::new(BTreeMap::new());

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
/// Options are given in the query. Every store has `namespace` (default `distsync`), `ttl` (of the
/// session, default `15s`), `client` (the name of this client for observers, default `host:pid`),
/// `connect_timeout` and `request_timeout`, and `on_lost` (the reaction of this process to the loss
/// of a lock: `notify`, the default, `abort`, or `exit:CODE`). `password_file`, `token_file`,
/// `password_env` and `token_env` keep a secret out of the URL.
/// [docs/urls.md](https://github.com/distsync/distsync/blob/main/docs/urls.md) has the options of
/// each store. A store outside of this crate is reached by the scheme that it
/// [registers](crate::spi::register).
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
    connect_with(url, SyncOptions::new()).await
}

/// Connects as [`connect`] does, with options that the program sets.
///
/// An option that the URL gives has precedence: the URL belongs to the deployment, which can change
/// a value without a new build. [`SyncOptions::isolation`] is set here only, because URLs have no
/// option for it.
///
/// # Errors
/// As [`connect`].
///
/// # Cancel safety
/// As [`connect`].
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use distsync::{OnLost, SyncOptions, connect_with};
/// # #[tokio::main]
/// # async fn main() -> distsync::Result<()> {
/// let options = SyncOptions::new()
///     .with_session_ttl(Duration::from_secs(30))
///     .with_on_lost(OnLost::Abort);
/// // The URL sets the TTL to 10 s. The reaction to a loss is the program's.
/// let sync = connect_with("memory:?ttl=10s", options).await?;
/// # sync.close().await?;
/// # Ok(())
/// # }
/// ```
pub async fn connect_with(url: &str, options: SyncOptions) -> Result<Arc<DynSync>> {
    let (backend, options) = configured(url, options)?;
    Ok(Arc::new(Handle::open(backend, options).await?))
}

/// Returns the backend and the options that a URL names, without I/O. It is for callers that wrap
/// the backend before they open a [`Handle`].
///
/// # Errors
/// As [`connect`], except for errors of the store.
pub fn backend(url: &str) -> Result<(Arc<dyn Backend>, SyncOptions)> {
    configured(url, SyncOptions::new())
}

/// Returns the backend of a URL, and `options` with those of the URL in their place.
pub(crate) fn configured(
    url: &str,
    options: SyncOptions,
) -> Result<(Arc<dyn Backend>, SyncOptions)> {
    let mut url: StoreUrl = url.parse()?;
    let options = url
        .take_sync_options(options)
        .map_err(|error| error.with_operation("connect"))?;
    Ok((store(url)?, options))
}

/// Returns the backend of a URL from which the common options were removed.
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
        scheme => {
            let connector = registered().get(scheme).cloned();
            connector.ok_or_else(|| not_here(scheme))?(url)
        }
    }
}

/// Lets [`connect`] reach a store outside of this crate: `connector` makes the backend of each URL
/// with this scheme, for the rest of the process.
///
/// The options that all stores have are already removed from the URL. The connector takes the
/// store's own options, [rejects what is left](StoreUrl::finish), and does no I/O.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] if the scheme is built in or registered already, or is not made of
/// lower-case letters, digits, `+`, `-` and `.`.
///
/// # Examples
/// ```
/// use std::sync::Arc;
///
/// use distsync::spi::{Backend, StoreUrl};
///
/// fn connector(url: StoreUrl) -> distsync::Result<Arc<dyn Backend>> {
///     // A real connector makes a backend of its own.
///     let (backend, _) = distsync::spi::backend(&format!("memory:{}", url.path()))?;
///     url.finish(&[])?;
///     Ok(backend)
/// }
///
/// # #[tokio::main]
/// # async fn main() -> distsync::Result<()> {
/// distsync::spi::register("mystore", connector)?;
/// let sync = distsync::connect("mystore:shop?ttl=5s").await?;
/// # sync.close().await?;
/// # Ok(())
/// # }
/// ```
pub fn register(
    scheme: &str,
    connector: impl Fn(StoreUrl) -> Result<Arc<dyn Backend>> + Send + Sync + 'static,
) -> Result<()> {
    let bad = |problem: String| {
        Err(Error::new(ErrorKind::InvalidOption, problem).with_operation("register"))
    };
    let is_valid = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.');
    if scheme.is_empty() || !scheme.bytes().all(is_valid) {
        return bad(format!(
            "`{}` is not a scheme: use lower-case letters, digits, +, - and .",
            scheme.escape_debug()
        ));
    }
    if STORES
        .iter()
        .any(|(_, schemes, _)| schemes.contains(&scheme))
    {
        return bad(format!(
            "`{scheme}:` is a store of distsync: choose another scheme"
        ));
    }
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    if registered.contains_key(scheme) {
        return bad(format!(
            "`{scheme}:` is registered already: register it once"
        ));
    }
    registered.insert(scheme.to_owned(), Arc::new(connector));
    Ok(())
}

/// Returns the registered schemes. Nobody panics while the lock is held.
fn registered() -> RwLockReadGuard<'static, BTreeMap<String, Connector>> {
    REGISTERED.read().unwrap_or_else(PoisonError::into_inner)
}

/// All stores: the feature, its schemes, and whether this build has the feature.
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

/// Returns the error for a scheme that this build does not have.
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
            let built = built.map(|scheme| format!("{scheme}:"));
            let added = registered();
            let added = added.keys().map(|scheme| format!("{scheme}: (registered)"));
            let known: Vec<_> = built.chain(added).collect();
            problem += &format!("this build knows {}", known.join(", "));
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
    use std::time::Duration;

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
    fn an_option_of_the_url_replaces_the_one_of_the_program() {
        let given = SyncOptions::new()
            .with_client("program")
            .with_session_ttl(Duration::from_secs(30))
            .with_isolation("node 7");
        let mut url: StoreUrl = "x:?client=url&namespace=shop".parse().unwrap();
        let merged = url.take_sync_options(given.clone()).unwrap();
        assert_eq!(
            (merged.client.as_str(), merged.namespace.as_str()),
            ("url", "shop")
        );
        assert_eq!(merged.session_ttl, given.session_ttl);
        assert_eq!(merged.isolation, given.isolation);
        // Options of the program are checked as those of a URL are.
        let error = configured("x:", SyncOptions::new().with_client("")).unwrap_err();
        assert!(error.to_string().contains("client is empty"), "{error}");
    }

    #[test]
    fn a_registered_scheme_is_reached_and_named() {
        let connector = |url: StoreUrl| -> Result<Arc<dyn Backend>> {
            Err(url.bad(format!("the connector was given `{}`", url.path())))
        };
        register("test+one", connector).unwrap();
        let told = |url: &str| backend(url).map(drop).unwrap_err().to_string();
        assert!(told("test+one:x?ttl=3s").contains("the connector was given `x`"));
        assert!(told("TEST+ONE:x").contains("the connector was given `x`"));
        assert!(told("test+two:x").contains("test+one: (registered)"));
        for (scheme, reason) in [
            ("test+one", "registered already"),
            ("memory", "is a store of distsync"),
            ("rediss+cluster", "is a store of distsync"),
            ("", "not a scheme"),
            ("Upper", "not a scheme"),
            ("a:b", "not a scheme"),
        ] {
            let error = register(scheme, connector).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
            assert!(error.to_string().contains(reason), "`{scheme}`: {error}");
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
