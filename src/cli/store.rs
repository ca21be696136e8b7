//! The store that a command uses.

use std::sync::Arc;

use distsync::spi::{Backend, StoreUrl};
use distsync::{Handle, OnLost, SyncOptions};

use crate::Common;
use crate::exit::{Failure, USAGE};

/// The environment variable with the URL of the store.
pub(crate) const URL_VARIABLE: &str = "DISTSYNC_URL";

impl Common {
    /// Returns the URL of the store.
    pub(crate) fn url(&self) -> Result<&str, Failure> {
        self.on
            .as_deref()
            .filter(|url| !url.is_empty())
            .ok_or_else(|| {
                let problem = format!("no store is given: use --on URL, or set {URL_VARIABLE}");
                Failure::new(USAGE, problem)
            })
    }

    /// Returns the store and the options that its URL names. Does no I/O.
    pub(crate) fn store(&self) -> Result<(Arc<dyn Backend>, SyncOptions), Failure> {
        Ok(distsync::spi::backend(self.url()?)?)
    }

    /// Connects to the store.
    pub(crate) async fn connect(&self) -> Result<Handle, Failure> {
        let (backend, options) = self.store()?;
        Ok(Handle::open(backend, options).await?)
    }

    /// Returns the store and its options for a command that stops its processes itself when a lock
    /// is lost.
    pub(crate) fn store_for_a_command(&self) -> Result<(Arc<dyn Backend>, SyncOptions), Failure> {
        let (backend, options) = self.store()?;
        if options.on_lost != OnLost::Notify {
            let problem = "the URL of the store has on_lost, which would end distsync and not the \
                           command: leave it out, distsync stops the command itself";
            return Err(Failure::new(USAGE, problem));
        }
        Ok((backend, options))
    }
}

/// Returns the environment variables that a command must not see, because they contain secrets: the
/// URL of the store if it has credentials, and the variables that URLs name as their password or
/// token.
pub(crate) fn secret_variables(on: Option<&str>) -> Vec<String> {
    let mut secret = Vec::new();
    let inherited = std::env::var_os(URL_VARIABLE);
    let inherited = inherited.as_ref().map(|url| url.to_string_lossy());
    if inherited.as_ref().is_some_and(|url| has_secrets(url)) {
        secret.push(URL_VARIABLE.to_owned());
    }
    for url in on.into_iter().chain(inherited.as_deref()) {
        let variables = options_of(url).filter(|(name, _)| name.ends_with("_env"));
        secret.extend(variables.map(|(_, variable)| variable.to_owned()));
    }
    secret
}

/// Returns whether a URL has credentials, or cannot be understood.
fn has_secrets(url: &str) -> bool {
    let has_user = url
        .parse::<StoreUrl>()
        .map_or(true, |url| url.user().is_some() || url.password().is_some());
    let is_secret = |(name, _): (&str, &str)| name.ends_with("password") || name.ends_with("token");
    has_user || options_of(url).any(is_secret)
}

fn options_of(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter_map(|option| option.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_credentials_is_a_secret() {
        for url in [
            "redis://:password@127.0.0.1",
            "etcd://user@127.0.0.1",
            "redis+sentinel://127.0.0.1/main?sentinel_password=x",
            "no url",
        ] {
            assert!(has_secrets(url), "{url}");
        }
        for url in ["netlock://127.0.0.1:7420?ttl=3s", "memory:"] {
            assert!(!has_secrets(url), "{url}");
        }
        let named = secret_variables(Some("netlock://127.0.0.1?token_env=TOKEN&ttl=3s"));
        assert_eq!(named, ["TOKEN"]);
    }
}
