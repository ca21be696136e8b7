//! Where the servers are.

use sync_core::{Error, ErrorKind, Result, StoreUrl};

/// The port of netlockd unless told otherwise.
pub const DEFAULT_PORT: u16 = 7420;

/// Settings of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(super) addresses: Vec<String>,
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
        Ok(Self { addresses })
    }

    /// The client that a URL `netlock://host[:port][,host[:port]]` asks for, once the common options are taken out.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] names what does not fit.
    pub fn from_url(url: StoreUrl) -> Result<Self> {
        if !url.path().is_empty() {
            return Err(url.bad("a path has no meaning for netlock: leave it out"));
        }
        if url.user().is_some() {
            return Err(url.bad("netlock takes no user: leave it out"));
        }
        let config = Self::new(url.addresses(Some(DEFAULT_PORT))?)?;
        url.finish(&[])?;
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
        for (url, reason) in [
            ("netlock:", "no host"),
            ("netlock://a/b", "a path"),
            ("netlock://me@a", "no user"),
            ("netlock://a?x=y", "no option `x`"),
        ] {
            assert!(config(url).unwrap_err().to_string().contains(reason));
        }
    }
}
