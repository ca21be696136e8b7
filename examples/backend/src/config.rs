//! The settings of the store, and its URL.

use std::path::PathBuf;
use std::time::Duration;

use distsync::Result;
use distsync::spi::StoreUrl;

/// The default of [`Config::poll`]. A waiter in another process is granted about half of it later.
const POLL: Duration = Duration::from_millis(10);

/// Settings of the SQLite store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The file. It is created if it does not exist; its folder has to exist.
    pub path: PathBuf,
    /// The interval at which a handle with an open session looks for changes by other processes.
    /// Default: 10 ms.
    pub poll: Duration,
}

impl Config {
    /// Returns the default settings for a file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            poll: POLL,
        }
    }

    /// Parses a URL `sqlite:PATH[?poll=10ms]`, after the common options have been removed.
    ///
    /// # Errors
    /// [`InvalidOption`](distsync::ErrorKind::InvalidOption) if there is no path, or a host, or an
    /// unknown option, or if `poll` is not between 1 ms and 1 s.
    pub fn from_url(mut url: StoreUrl) -> Result<Self> {
        url.no_hosts()?;
        if url.path().is_empty() {
            return Err(url.bad("no file is given: write sqlite:/path/to/file.db"));
        }
        let mut config = Self::new(url.path());
        if let Some(poll) = url.take_duration("poll")? {
            if poll < Duration::from_millis(1) || poll > Duration::from_secs(1) {
                return Err(url.bad("the option `poll` is out of range: give 1ms to 1s"));
            }
            config.poll = poll;
        }
        url.finish(&["poll"])?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let config = |url: &str| Config::from_url(url.parse().unwrap());
        let full = config("sqlite:/var/lib/a%20b.db?poll=50ms").unwrap();
        assert_eq!(full.path, PathBuf::from("/var/lib/a b.db"));
        assert_eq!(full.poll, Duration::from_millis(50));
        assert_eq!(config("sqlite:a.db").unwrap().poll, POLL);
        for (url, reason) in [
            ("sqlite:", "no file is given"),
            ("sqlite://host/a.db", "takes no host"),
            ("sqlite:a.db?poll=2m", "give 1ms to 1s"),
            ("sqlite:a.db?x=y", "no option `x`"),
        ] {
            let error = config(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
