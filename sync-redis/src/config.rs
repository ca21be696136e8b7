//! The settings of a Redis client.

use std::fmt;
use std::time::Duration;

use distsync_core::Result;
use distsync_core::spi::{Credential, StoreUrl, Tls};

/// The port of Redis if the URL names none.
const REDIS_PORT: u16 = 6379;
/// The port of Sentinels if the URL names none.
const SENTINEL_PORT: u16 = 26379;
/// The default of `connect_timeout`, which also limits the reply of a Sentinel.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The default of `wait_timeout`.
const WAIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The names of the URL options, beside those of TLS.
const OPTIONS: [&str; 4] = [
    "wait_replicas",
    "wait_timeout",
    "password_file",
    "password_env",
];
/// The names of the further URL options with Sentinels.
const SENTINEL_OPTIONS: [&str; 4] = [
    "sentinel_user",
    "sentinel_password",
    "sentinel_password_file",
    "sentinel_password_env",
];

/// Settings of a Redis client. `Debug` does not show credentials.
#[derive(Clone)]
pub struct Config {
    pub(crate) addresses: Vec<String>,
    pub(crate) topology: Topology,
    pub(crate) replicas: Option<Replicas>,
    /// The number of the database.
    pub(crate) db: u32,
    pub(crate) tls: Option<Tls>,
    pub(crate) connect_timeout: Duration,
    server: Credentials,
    sentinel: Credentials,
}

/// A user and password.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Credential>,
}

/// The meaning of the addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// The address is that of the server.
    Single,
    /// The addresses are those of Sentinels, which know the primary of this service.
    Sentinel { service: String },
    /// The addresses are those of Cluster nodes, which know the owner of the locks' hash slot.
    Cluster,
}

/// The number of replicas that must have a grant before it is reported, and the timeout for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replicas {
    pub(crate) count: u32,
    pub(crate) timeout: Duration,
}

/// The kind of server that a connection is to. Their credentials differ.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    Server,
    Sentinel,
}

impl Config {
    /// Parses a URL from which the common options have been removed:
    /// `redis://[user[:password]@]host[:port][/db]`,
    /// `redis+sentinel://host[:port][,host[:port]]/service[/db]`,
    /// `redis+cluster://host[:port][,host[:port]]`, each with `rediss` for TLS. Options:
    /// `wait_replicas`, `wait_timeout`; `password_file` or `password_env` in the place of the
    /// password; for Sentinels `sentinel_user` and `sentinel_password`, `sentinel_password_file` or
    /// `sentinel_password_env`; for TLS `ca`, `cert` and `key`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`](distsync_core::ErrorKind) names the invalid part of the URL.
    pub fn from_url(mut url: StoreUrl) -> Result<Self> {
        let is_secure = url.scheme().starts_with("rediss");
        let tls = Tls::from_url(&mut url, is_secure)?;
        let (topology, db) = topology(&url)?;
        let port = if let Topology::Sentinel { .. } = topology {
            SENTINEL_PORT
        } else {
            REDIS_PORT
        };
        let addresses = url.addresses(Some(port))?;
        if topology == Topology::Single && addresses.len() > 1 {
            return Err(url.bad(
                "`redis:` takes one host: write redis+sentinel: or redis+cluster: for several servers",
            ));
        }
        let user = url.user().filter(|user| !user.is_empty());
        let user = user.map(str::to_owned);
        let password = Credential::from_url(&mut url, "password")?;
        let server = Credentials { user, password };
        let sentinel = match topology {
            Topology::Sentinel { .. } => Credentials {
                user: url.take("sentinel_user")?,
                password: Credential::from_options(&mut url, "sentinel_password")?,
            },
            _ => Credentials::default(),
        };
        let replicas = replicas(&mut url)?;
        let connect_timeout = url.connect_timeout().unwrap_or(CONNECT_TIMEOUT);
        let sentinel_options: &[&str] = match topology {
            Topology::Sentinel { .. } => &SENTINEL_OPTIONS,
            _ => &[],
        };
        url.finish(&[&OPTIONS, sentinel_options, &Tls::OPTIONS].concat())?;
        Ok(Self {
            addresses,
            topology,
            replicas,
            db,
            tls,
            connect_timeout,
            server,
            sentinel,
        })
    }

    /// Returns the hosts of the URL as `host:port`, separated by commas.
    #[must_use]
    pub fn address(&self) -> String {
        self.addresses.join(",")
    }

    pub(crate) fn credentials(&self, peer: Peer) -> &Credentials {
        match peer {
            Peer::Server => &self.server,
            Peer::Sentinel => &self.sentinel,
        }
    }
}

/// Parses the topology from the scheme, and the number of the database from the path.
fn topology(url: &StoreUrl) -> Result<(Topology, u32)> {
    let kind = url.scheme().split_once('+').map_or("", |(_, kind)| kind);
    let number = |db: &str| match db {
        "" => Ok(0),
        number => number.parse().map_err(|_| {
            url.bad("the path is not the number of a database: write /0, or leave it out")
        }),
    };
    match kind {
        "sentinel" => {
            let (service, db) = url.path().split_once('/').unwrap_or((url.path(), ""));
            if service.is_empty() {
                return Err(url.bad(
                    "the service that the Sentinels watch is not named: write redis+sentinel://host:port/SERVICE",
                ));
            }
            Ok((
                Topology::Sentinel {
                    service: service.to_owned(),
                },
                number(db)?,
            ))
        }
        "cluster" if url.path().is_empty() => Ok((Topology::Cluster, 0)),
        "cluster" => Err(url.bad("a Redis Cluster has one database only: leave the path out")),
        _ => Ok((Topology::Single, number(url.path())?)),
    }
}

fn replicas(url: &mut StoreUrl) -> Result<Option<Replicas>> {
    let count = url.take_parsed("wait_replicas", "a number of replicas, such as 1")?;
    let timeout = url.take_duration("wait_timeout")?;
    match (count, timeout) {
        (None | Some(0), None) => Ok(None),
        (None | Some(0), Some(_)) => {
            Err(url.bad("the option `wait_timeout` needs `wait_replicas` beside it"))
        }
        // To Redis, no time is for ever.
        (_, Some(Duration::ZERO)) => {
            Err(url.bad("the option `wait_timeout` is 0: give the replicas some time"))
        }
        (Some(count), timeout) => Ok(Some(Replicas {
            count,
            timeout: timeout.unwrap_or(WAIT_TIMEOUT),
        })),
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("addresses", &self.addresses)
            .field("topology", &self.topology)
            .field("replicas", &self.replicas)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Result<Config> {
        Config::from_url(url.parse().unwrap())
    }

    #[test]
    fn urls() {
        assert_eq!(config("redis://a").unwrap().address(), "a:6379");
        let secret = config("redis://me:hidden@a:1/3").unwrap();
        assert!(!format!("{secret:?}").contains("hidden"));
        for (url, reason) in [
            ("redis://a,b", "takes one host"),
            ("redis://a/x", "number of a database"),
            ("redis://a?x=y", "no option `x`"),
            ("rediss://a?ca=x", "cannot be read"),
            ("redis://a?sentinel_user=x", "no option `sentinel_user`"),
            ("redis://:hidden@a?password_env=x", "in one place"),
            (
                "redis+sentinel://a/b?sentinel_password=x&sentinel_password_file=y",
                "by the option `sentinel_password_file`",
            ),
            ("redis://a?wait_replicas=some", "not a number of replicas"),
            ("redis://a?wait_timeout=1s", "needs `wait_replicas`"),
            ("redis://a?wait_replicas=1&wait_timeout=0s", "is 0"),
            ("redis+sentinel://a", "not named"),
            ("redis+sentinel://a/main/x", "number of a database"),
            ("redis+cluster://a/1", "one database only"),
        ] {
            assert!(
                config(url).unwrap_err().to_string().contains(reason),
                "{url}"
            );
        }
    }

    #[test]
    fn servers_that_stand_in_for_another() {
        let sentinels = config(
            "redis+sentinel://:hidden@a,b:1/main/2?sentinel_password=hidden&wait_replicas=1",
        )
        .unwrap();
        assert_eq!(sentinels.addresses, ["a:26379", "b:1"]);
        assert_eq!(
            sentinels.topology,
            Topology::Sentinel {
                service: "main".to_owned()
            }
        );
        assert_eq!(
            sentinels.replicas,
            Some(Replicas {
                count: 1,
                timeout: Duration::from_secs(1)
            })
        );
        assert!(!format!("{sentinels:?}").contains("hidden"));
        let cluster = config("rediss+cluster://a,[::1]:7000").unwrap();
        assert_eq!(
            (cluster.topology, cluster.tls),
            (Topology::Cluster, Some(Tls::new()))
        );
    }
}
