//! The configuration of a client.

use std::fmt;
use std::time::Duration;

use distsync_core::spi::{Credential, StoreUrl, Tls};
use distsync_core::{Error, ErrorKind, Result};

/// The default port of netlockd.
pub const DEFAULT_PORT: u16 = 7420;
/// The default timeout for connecting to one address and greeting the server.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The configuration of a client. Its `Debug` output does not contain the token.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    pub(super) addresses: Vec<String>,
    pub(super) token: Option<Credential>,
    /// The identity of the table, if the client accepts only one.
    pub(super) table: Option<u128>,
    /// The TLS settings, if the client uses TLS.
    pub(super) tls: Option<Tls>,
    /// The timeout for connecting to one address and greeting the server.
    pub(super) connect_timeout: Duration,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Returns the configuration for a server that listens at these addresses (`host:port`). All of
    /// them have to lead to the same server. More than one address requires
    /// [`with_table`](Self::with_table).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if `addresses` is empty.
    pub fn new(addresses: impl IntoIterator<Item = impl Into<String>>) -> Result<Self> {
        let addresses: Vec<String> = addresses.into_iter().map(Into::into).collect();
        if addresses.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "no address is given: give host:port",
            )
            .with_backend("netlock"));
        }
        Ok(Self {
            addresses,
            token: None,
            table: None,
            tls: None,
            connect_timeout: CONNECT_TIMEOUT,
        })
    }

    /// Authenticates to the server with this token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Credential::new(token.into()));
        self
    }

    /// Connects only to the server that has this table. `table` is the identity that netlockd
    /// prints when it starts: 32 hexadecimal digits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if `table` is not 32 hexadecimal digits.
    pub fn with_table(mut self, table: &str) -> Result<Self> {
        self.table = Some(parse_table(table)?);
        Ok(self)
    }

    /// Sets the time limit of one attempt to reach the server. Default: 2 s.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Connects by TLS with these settings.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Parses a URL `netlock://[:TOKEN@]host[:port][,host[:port]]`, or `netlocks:` for TLS. Both
    /// take the options `table`, `token_file` and `token_env`, and `netlocks:` takes `ca`, `cert`
    /// and `key`. The options that all stores share have to be taken out of the URL before.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] names the part of the URL that is invalid.
    pub fn from_url(mut url: StoreUrl) -> Result<Self> {
        let is_secure = url.scheme() == "netlocks";
        if is_secure && !cfg!(feature = "tls") {
            return Err(url.bad(
                "this build does not support TLS for netlock: enable the feature `netlock-tls`",
            ));
        }
        if !url.path().is_empty() {
            return Err(url.bad("netlock URLs have no path: remove it"));
        }
        if url.user().is_some_and(|user| !user.is_empty()) {
            return Err(url.bad("netlock URLs have no user name: write netlock://:TOKEN@host"));
        }
        let mut config = Self::new(url.addresses(Some(DEFAULT_PORT))?)?;
        config.token = Credential::from_url(&mut url, "token")?;
        if let Some(table) = url.take("table")? {
            config.table = Some(parse_table(&table).map_err(|error| url.bad(error))?);
        }
        config.tls = Tls::from_url(&mut url, is_secure)?;
        config.connect_timeout = url.connect_timeout().unwrap_or(CONNECT_TIMEOUT);
        let own = ["table", "token_file", "token_env"];
        url.finish(&[&own, &Tls::OPTIONS[..]].concat())?;
        Ok(config)
    }
}

/// Parses the identity of a table: 32 hexadecimal digits.
pub(crate) fn parse_table(text: &str) -> Result<u128> {
    let is_identity = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| is_identity).ok_or_else(|| {
        let problem = format!(
            "`{text}` is not the identity of a table: give the 32 hexadecimal digits that netlockd prints when it \
             starts"
        );
        Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let config = |url: &str| Config::from_url(url.parse().unwrap());
        assert_eq!(
            config("netlock://a,b:1").unwrap(),
            Config::new(["a:7420", "b:1"]).unwrap()
        );
        let with_token = config("netlock://:hidden@a").unwrap();
        assert_eq!(
            with_token,
            Config::new(["a:7420"]).unwrap().with_token("hidden")
        );
        assert!(!format!("{with_token:?}").contains("hidden"));
        let table = "00112233445566778899aabbccddeeff";
        let pinned = Config::new(["a:7420", "b:7420"])
            .unwrap()
            .with_table(table)
            .unwrap();
        assert_eq!(
            config(&format!("netlock://a,b?table={table}")).unwrap(),
            pinned
        );
        for (url, reason) in [
            ("netlock:", "no host"),
            ("netlock://a/b", "have no path"),
            ("netlock://me@a", "netlock://:TOKEN@host"),
            ("netlock://a?x=y", "no option `x`"),
            (
                "netlock://a,b?table=12",
                "`12` is not the identity of a table",
            ),
        ] {
            assert!(config(url).unwrap_err().to_string().contains(reason));
        }
    }
}
