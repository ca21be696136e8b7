//! The settings of an etcd client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use distsync_core::Result;
use distsync_core::spi::{Credential, StoreUrl, Tls};

/// The port of etcd if the URL names none.
const DEFAULT_PORT: u16 = 2379;
/// The default of `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Settings of an etcd client. `Debug` does not show credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    pub(crate) endpoints: Vec<String>,
    pub(crate) user: Option<(String, Credential)>,
    pub(crate) tls: Option<Tls>,
    /// The timeout of one attempt to connect to a member.
    pub(crate) connect_timeout: Duration,
}

impl Config {
    /// Parses a URL `etcd://[user:password@]host[:port][,host[:port]]`, from which the common
    /// options have been removed. The options `password_file` and `password_env` take the place of
    /// the password. The scheme `etcds:` enables TLS, with the options `ca`, `cert` and `key`.
    ///
    /// # Errors
    /// [`InvalidOption`](distsync_core::ErrorKind::InvalidOption) names the invalid part of the
    /// URL.
    pub fn from_url(mut url: StoreUrl) -> Result<Self> {
        let is_secure = url.scheme() == "etcds";
        let tls = Tls::from_url(&mut url, is_secure)?;
        if !url.path().is_empty() {
            return Err(url.bad("a path has no meaning for etcd: leave it out"));
        }
        let password = Credential::from_url(&mut url, "password")?;
        let user = match (url.user(), password) {
            (None, None) => None,
            (Some(user), Some(password)) => Some((user.to_owned(), password)),
            _ => {
                return Err(url.bad(
                    "a user needs a password, and a password a user: write user:password@host, or \
                     user@host with `password_file` or `password_env`",
                ));
            }
        };
        let scheme = if is_secure { "https" } else { "http" };
        let endpoints = url.addresses(Some(DEFAULT_PORT))?;
        let endpoints = endpoints
            .iter()
            .map(|address| format!("{scheme}://{address}"))
            .collect();
        let connect_timeout = url.connect_timeout().unwrap_or(CONNECT_TIMEOUT);
        let own = ["password_file", "password_env"];
        url.finish(&[&own, &Tls::OPTIONS[..]].concat())?;
        Ok(Self {
            endpoints,
            user,
            tls,
            connect_timeout,
        })
    }
}

impl Config {
    /// Returns the current password.
    pub(crate) fn password(&self) -> Option<Arc<str>> {
        self.user.as_ref().map(|(_, password)| password.latest())
    }

    /// Returns whether etcd may authenticate this client, and so apply permissions to it.
    pub(crate) fn has_permissions(&self) -> bool {
        self.user.is_some() || self.tls.as_ref().is_some_and(|tls| tls.identity.is_some())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let config = |url: &str| Config::from_url(url.parse().unwrap());
        assert_eq!(
            config("etcd://a,b:1").unwrap().endpoints,
            ["http://a:2379", "http://b:1"]
        );
        assert_eq!(config("etcds://a").unwrap().endpoints, ["https://a:2379"]);
        let secret = config("etcd://me:hidden@a").unwrap();
        assert!(!format!("{secret:?}").contains("hidden"));
        for (url, reason) in [
            ("etcd://me@a", "needs a password"),
            ("etcd://a?password_env=CARGO_PKG_NAME", "needs a password"),
            ("etcd://a/x", "a path"),
            ("etcd://a?x=y", "no option `x`"),
            ("etcds://a?ca=x", "cannot be read"),
        ] {
            assert!(config(url).unwrap_err().to_string().contains(reason));
        }
    }
}
