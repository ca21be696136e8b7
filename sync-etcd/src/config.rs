//! Which etcd, and as whom.

use std::fmt;

use sync_core::{Result, StoreUrl};

/// The port of etcd unless told otherwise.
const DEFAULT_PORT: u16 = 2379;

/// Settings of an etcd client. Debug shows no credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    pub(crate) endpoints: Vec<String>,
    pub(crate) user: Option<(String, String)>,
}

impl Config {
    /// The client that a URL `etcd://[user:password@]host[:port][,host[:port]]` asks for, once the common options are taken
    /// out.
    ///
    /// # Errors
    /// [`InvalidOption`](sync_core::ErrorKind::InvalidOption) names what does not fit.
    pub fn from_url(url: StoreUrl) -> Result<Self> {
        if !url.path().is_empty() {
            return Err(url.bad("a path has no meaning for etcd: leave it out"));
        }
        let user = match (url.user(), url.password()) {
            (None, None) => None,
            (Some(user), Some(password)) => Some((user.to_owned(), password.to_owned())),
            _ => {
                return Err(
                    url.bad("a user needs a password, and a password a user: write user:password@host")
                );
            }
        };
        let endpoints = url.addresses(Some(DEFAULT_PORT))?;
        url.finish(&[])?;
        Ok(Self { endpoints, user })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let config = |url: &str| Config::from_url(url.parse().unwrap());
        assert_eq!(config("etcd://a,b:1").unwrap().endpoints, ["a:2379", "b:1"]);
        let secret = config("etcd://me:hidden@a").unwrap();
        assert!(!format!("{secret:?}").contains("hidden"));
        for (url, reason) in
            [("etcd://me@a", "needs a password"), ("etcd://a/x", "a path"), ("etcd://a?x=y", "no option `x`")]
        {
            assert!(config(url).unwrap_err().to_string().contains(reason));
        }
    }
}
