//! Where the servers are.

use std::fmt;

use sync_core::{Error, ErrorKind, Result, StoreUrl, Tls};

/// The port of netlockd unless told otherwise.
pub const DEFAULT_PORT: u16 = 7420;

/// Settings of a client. Debug shows no token.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    pub(super) addresses: Vec<String>,
    pub(super) token: Option<String>,
    /// TLS, if it is to be spoken.
    pub(super) tls: Option<Tls>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Config {
    /// A client of the server that listens at these addresses (`host:port`), tried in turn. They are several ways to one
    /// server, not several servers.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if there is none.
    pub fn new(addresses: impl IntoIterator<Item = impl Into<String>>) -> Result<Self> {
        let addresses: Vec<String> = addresses.into_iter().map(Into::into).collect();
        if addresses.is_empty() {
            return Err(
                Error::new(ErrorKind::InvalidOption, "no address is given: give host:port").on("netlock")
            );
        }
        Ok(Self { addresses, token: None, tls: None })
    }

    /// Says who this is, to a server that asks for it.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Speaks TLS with the server, by these certificates.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The client that a URL `netlock://[:TOKEN@]host[:port][,host[:port]]` asks for, or `netlocks:` by TLS with the
    /// options `ca`, `cert` and `key`, once the common options are taken out.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] names what does not fit.
    pub fn from_url(mut url: StoreUrl) -> Result<Self> {
        let is_secure = url.scheme() == "netlocks";
        if is_secure && !cfg!(feature = "tls") {
            return Err(
                url.bad("this build speaks no TLS with netlock: build it with the feature `netlock-tls`")
            );
        }
        if !url.path().is_empty() {
            return Err(url.bad("a path has no meaning for netlock: leave it out"));
        }
        if url.user().is_some_and(|user| !user.is_empty()) {
            return Err(url.bad("netlock knows tokens, not users: write netlock://:TOKEN@host"));
        }
        let mut config = Self::new(url.addresses(Some(DEFAULT_PORT))?)?;
        config.token = url.password().map(str::to_owned);
        config.tls = Tls::from_url(&mut url, is_secure)?;
        url.finish(&Tls::OPTIONS)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let config = |url: &str| Config::from_url(url.parse().unwrap());
        assert_eq!(config("netlock://a,b:1").unwrap(), Config::new(["a:7420", "b:1"]).unwrap());
        let with_token = config("netlock://:hidden@a").unwrap();
        assert_eq!(with_token, Config::new(["a:7420"]).unwrap().with_token("hidden"));
        assert!(!format!("{with_token:?}").contains("hidden"));
        for (url, reason) in [
            ("netlock:", "no host"),
            ("netlock://a/b", "a path"),
            ("netlock://me@a", "netlock://:TOKEN@host"),
            ("netlock://a?x=y", "no option `x`"),
        ] {
            assert!(config(url).unwrap_err().to_string().contains(reason));
        }
    }
}
