//! Which Redis, and as whom.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use sync_core::{Error, ErrorKind, Result, StoreUrl};

/// The port of Redis unless told otherwise.
const DEFAULT_PORT: u16 = 6379;

/// Settings of a Redis client. Debug shows no credentials.
#[derive(Clone)]
pub struct Config {
    pub(crate) connection: ConnectionInfo,
    address: String,
}

impl Config {
    /// The client that a URL `redis://[user[:password]@]host[:port][/db]` asks for, once the common options are taken
    /// out.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] names what does not fit.
    pub fn from_url(url: StoreUrl) -> Result<Self> {
        let addresses = url.addresses(Some(DEFAULT_PORT))?;
        let [address] = addresses.as_slice() else {
            return Err(url.bad("`redis:` takes one host"));
        };
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "6379"));
        let db = match url.path() {
            "" => 0,
            number => number.parse().map_err(|_| {
                url.bad("the path is not the number of a database: write /0, or leave it out")
            })?,
        };
        let mut redis = redis::RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(db);
        if let Some(user) = url.user().filter(|user| !user.is_empty()) {
            redis = redis.set_username(user);
        }
        if let Some(password) = url.password() {
            redis = redis.set_password(password);
        }
        let tcp = ConnectionAddr::Tcp(host.to_owned(), port.parse().unwrap_or(DEFAULT_PORT));
        let connection = tcp
            .into_connection_info()
            .map_err(|error| {
                Error::new(ErrorKind::InvalidOption, "the address is none").on("redis").because(error)
            })?
            .set_redis_settings(redis);
        let address = address.clone();
        url.finish(&[])?;
        Ok(Self { connection, address })
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let config = |url: &str| Config::from_url(url.parse().unwrap());
        assert_eq!(config("redis://a").unwrap().address(), "a:6379");
        let secret = config("redis://me:hidden@a:1/3").unwrap();
        assert!(!format!("{secret:?}").contains("hidden"));
        for (url, reason) in [
            ("redis://a,b", "takes one host"),
            ("redis://a/x", "number of a database"),
            ("redis://a?x=y", "no option `x`"),
        ] {
            assert!(config(url).unwrap_err().to_string().contains(reason));
        }
    }
}
