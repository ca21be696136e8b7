//! The settings of a Consul client.

use std::fmt;
use std::time::Duration;

use distsync_core::Result;
use distsync_core::spi::{Credential, StoreUrl, Tls};

/// The default HTTP port of Consul.
const DEFAULT_PORT: u16 = 8500;
/// The default of `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Settings of a Consul client. `Debug` does not show the token.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    pub(crate) address: String,
    pub(crate) token: Option<Credential>,
    pub(crate) datacenter: Option<String>,
    pub(crate) lock_delay: Duration,
    pub(crate) tls: Option<Tls>,
    pub(crate) unix_socket: Option<String>,
    pub(crate) connect_timeout: Duration,
}

impl Config {
    /// Parses a URL `consul://[:TOKEN@]host[:port][?datacenter=dc1&lock_delay=0s]`, or `consuls:`
    /// for TLS with the options `ca`, `cert` and `key`, after the common options have been taken
    /// out. The options `token_file` and `token_env` take the place of the token. With
    /// `unix_socket=PATH` the agent is reached by that socket, and the host is only a name.
    ///
    /// # Errors
    /// [`InvalidOption`](distsync_core::ErrorKind::InvalidOption) names what does not fit.
    pub fn from_url(mut url: StoreUrl) -> Result<Self> {
        let is_secure = url.scheme() == "consuls";
        let tls = Tls::from_url(&mut url, is_secure)?;
        if !url.path().is_empty() {
            return Err(url.bad("a path has no meaning for Consul: leave it out"));
        }
        if url.user().is_some_and(|user| !user.is_empty()) {
            return Err(url.bad("Consul knows tokens, not users: write consul://:TOKEN@host"));
        }
        let addresses = url.addresses(Some(DEFAULT_PORT))?;
        let [address] = addresses.as_slice() else {
            return Err(
                url.bad("`consul:` takes one host: the agent on this machine, or a load balancer")
            );
        };
        let address = address.clone();
        let token = Credential::from_url(&mut url, "token")?;
        let datacenter = url.take("datacenter")?;
        // Holders are revoked before their session expires, so Consul's default delay of 15 s would
        // only add to that.
        let lock_delay = url.take_duration("lock_delay")?.unwrap_or(Duration::ZERO);
        if lock_delay > Duration::from_secs(60) {
            return Err(url.bad("the option `lock_delay` is more than the 60s that Consul takes"));
        }
        let unix_socket = url.take("unix_socket")?;
        if cfg!(not(unix)) && unix_socket.is_some() {
            return Err(url.bad("the option `unix_socket` needs Unix: reach the agent by its port"));
        }
        let connect_timeout = url.connect_timeout().unwrap_or(CONNECT_TIMEOUT);
        url.finish(&[
            "datacenter",
            "lock_delay",
            "unix_socket",
            "token_file",
            "token_env",
            "ca",
            "cert",
            "key",
        ])?;
        Ok(Self {
            address,
            token,
            datacenter,
            lock_delay,
            tls,
            unix_socket,
            connect_timeout,
        })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address)
            .field("datacenter", &self.datacenter)
            .field("lock_delay", &self.lock_delay)
            .field("tls", &self.tls)
            .field("unix_socket", &self.unix_socket)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let config = |url: &str| Config::from_url(url.parse().unwrap());
        let full = config("consul://:hidden@a?datacenter=dc2&lock_delay=5s").unwrap();
        assert_eq!(
            (full.address.as_str(), full.lock_delay),
            ("a:8500", Duration::from_secs(5))
        );
        assert_eq!(full.token, Some(Credential::new("hidden")));
        assert!(!format!("{full:?}").contains("hidden"));
        for (url, reason) in [
            ("consul://me:x@a", "not users"),
            ("consul://a,b", "takes one host"),
            ("consul://a/x", "a path"),
            ("consul://a?lock_delay=2m", "more than the 60s"),
            ("consul://a?x=y", "no option `x`"),
            ("consul://a?ca=x", "need TLS"),
            ("consuls://a?ca=x", "cannot be read"),
        ] {
            assert!(config(url).unwrap_err().to_string().contains(reason));
        }
    }
}
