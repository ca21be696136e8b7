//! Where the servers are.

use std::fmt;

use distsync_core::spi::{StoreUrl, Tls};
use distsync_core::{Error, ErrorKind, Result};

/// The port of netlockd unless told otherwise.
pub const DEFAULT_PORT: u16 = 7420;

/// Settings of a client. Debug shows no token.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    pub(super) addresses: Vec<String>,
    pub(super) token: Option<String>,
    /// The only table that may answer.
    pub(super) table: Option<u128>,
    /// TLS, if it is to be spoken.
    pub(super) tls: Option<Tls>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Settings of a client of the server that listens at these addresses (`host:port`). Several
    /// addresses are several ways to one server, not several servers, and need
    /// [`with_table`](Self::with_table).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if there is none.
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
        })
    }

    /// Says who this is, to a server that asks for it.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Accepts only the server with this table: the identity that netlockd prints at its start, 32
    /// hexadecimal digits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if it is no identity.
    pub fn with_table(mut self, table: &str) -> Result<Self> {
        self.table = Some(parse_table(table)?);
        Ok(self)
    }

    /// Speaks TLS with the server, by these certificates.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The client that a URL `netlock://[:TOKEN@]host[:port][,host[:port]]` asks for, or
    /// `netlocks:` by TLS with the options `ca`, `cert` and `key`, and with the option `table`,
    /// once the common options are taken out.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] names what does not fit.
    pub fn from_url(mut url: StoreUrl) -> Result<Self> {
        let is_secure = url.scheme() == "netlocks";
        if is_secure && !cfg!(feature = "tls") {
            return Err(url.bad(
                "this build speaks no TLS with netlock: build it with the feature `netlock-tls`",
            ));
        }
        if !url.path().is_empty() {
            return Err(url.bad("a path has no meaning for netlock: leave it out"));
        }
        if url.user().is_some_and(|user| !user.is_empty()) {
            return Err(url.bad("netlock knows tokens, not users: write netlock://:TOKEN@host"));
        }
        let mut config = Self::new(url.addresses(Some(DEFAULT_PORT))?)?;
        config.token = url.password().map(str::to_owned);
        if let Some(table) = url.take("table")? {
            config.table = Some(parse_table(&table).map_err(|error| url.bad(error))?);
        }
        config.tls = Tls::from_url(&mut url, is_secure)?;
        url.finish(&[&["table"], &Tls::OPTIONS[..]].concat())?;
        Ok(config)
    }
}

/// The identity of a table, from its 32 hexadecimal digits.
pub(crate) fn parse_table(text: &str) -> Result<u128> {
    let is_identity = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| is_identity).ok_or_else(|| {
        let problem = format!(
            "`{text}` is no identity of a table: give the 32 hexadecimal digits that netlockd prints at its start"
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
            ("netlock://a/b", "a path"),
            ("netlock://me@a", "netlock://:TOKEN@host"),
            ("netlock://a?x=y", "no option `x`"),
            ("netlock://a,b?table=12", "`12` is no identity of a table"),
        ] {
            assert!(config(url).unwrap_err().to_string().contains(reason));
        }
    }
}
