//! What a connection by TLS needs: whom to trust, and who we are.

#[cfg(feature = "tls")]
mod handshake;

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::store_url::StoreUrl;

#[cfg(feature = "tls")]
pub use handshake::{broken, connect, failed};

/// Certificates and a key, as PEM. Debug shows none of them.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// The authorities to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Our certificate and its key, where the store asks who we are.
    pub identity: Option<Identity>,
}

/// A certificate and its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those that lead from it to its authority.
    pub certificate: Vec<u8>,
    /// The private key. Do not print it.
    pub key: Vec<u8>,
}

impl Tls {
    /// The options that `ca`, `cert` and `key` of a URL stand for.
    pub const OPTIONS: [&str; 3] = ["ca", "cert", "key"];

    /// The system's authorities, and no identity.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the options `ca`, `cert` and `key`, paths of PEM files, out of a URL whose scheme `is_secure` or not, and reads
    /// the files.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) names the option: it is given without TLS, one of `cert` and `key` is
    /// missing, or the file cannot be read or is no PEM.
    pub fn from_url(url: &mut StoreUrl, is_secure: bool) -> Result<Option<Self>> {
        let [ca, certificate, key] = Self::OPTIONS;
        let tls = Self {
            ca: read(url, ca)?,
            identity: match (read(url, certificate)?, read(url, key)?) {
                (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
                (None, None) => None,
                (Some(_), None) => return Err(url.bad("the option `cert` needs `key` beside it")),
                (None, Some(_)) => return Err(url.bad("the option `key` needs `cert` beside it")),
            },
        };
        match is_secure {
            true => Ok(Some(tls)),
            false if tls == Self::default() => Ok(None),
            false => Err(url
                .bad(format!("the options `ca`, `cert` and `key` need TLS: `{}:` is without", url.scheme()))),
        }
    }
}

/// Where the application has not chosen its cryptography, chooses *ring* for the process: the clients of some stores take the
/// process's choice, and panic if there is none.
#[cfg(feature = "tls")]
pub fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// The error of a connection that failed because both sides do not agree on TLS; `None` if that is not what `error` and its
/// causes tell.
#[must_use]
pub fn disagreement(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let trouble = std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .find(|text| WORDS.iter().any(|word| text.contains(word)))?;
    Some(Error::new(
        ErrorKind::Denied,
        format!(
            "no connection by TLS ({trouble}): check the options `ca`, `cert` and `key`, and that the store speaks TLS at \
             this port"
        ),
    ))
}

/// How rustls names what can go wrong between two sides.
const WORDS: [&str; 4] = ["invalid peer certificate", "received fatal alert", "corrupt message", "PEM"];

fn read(url: &mut StoreUrl, option: &str) -> Result<Option<Vec<u8>>> {
    let Some(path) = url.take(option)? else { return Ok(None) };
    let bad = |problem: String| {
        url.bad(format!("the option `{option}` names the file `{}`: {problem}", path.escape_debug()))
    };
    let pem = std::fs::read(&path).map_err(|error| bad(format!("it cannot be read ({error})")))?;
    if pem.windows(11).any(|window| window == b"-----BEGIN ") {
        Ok(Some(pem))
    } else {
        Err(bad("it is no PEM file, which has a line that begins with -----BEGIN".to_owned()))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("own_authorities", &self.ca.is_some())
            .field("identity", &self.identity)
            .finish()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disagreement_is_found_among_the_causes() {
        let inner = std::io::Error::other("invalid peer certificate: UnknownIssuer");
        let outer = Error::new(ErrorKind::Unavailable, "no connection").because(inner);
        let told = disagreement(&outer).unwrap();
        assert!(told.kind() == ErrorKind::Denied && told.to_string().contains("UnknownIssuer"));
        assert!(disagreement(&std::io::Error::other("connection refused")).is_none());
    }

    #[test]
    fn options_that_do_not_fit_are_named() {
        let path = std::env::temp_dir().join(format!("distsync-tls-{}", std::process::id()));
        std::fs::write(&path, "hidden").unwrap();
        let (file, pem) = (path.display(), concat!(env!("CARGO_MANIFEST_DIR"), "/src/tls.rs"));
        let tls = |query: &str, secure| Tls::from_url(&mut format!("x://a?{query}").parse()?, secure);
        for (query, secure, reason) in [
            (format!("cert={pem}"), true, "needs `key`"),
            (format!("key={pem}"), true, "needs `cert`"),
            (format!("ca={pem}"), false, "need TLS"),
            ("ca=/no/such/file".to_owned(), true, "`/no/such/file`: it cannot be read"),
            (format!("ca={file}"), true, "no PEM"),
        ] {
            let error = tls(&query, secure).unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("hidden"), "{error}");
        }
        assert_eq!(tls("", false).unwrap(), None);
        assert_eq!(tls("", true).unwrap(), Some(Tls::new()));
        // This file has the line too.
        let full = tls(&format!("ca={pem}&cert={pem}&key={pem}"), true).unwrap().unwrap();
        assert_eq!(format!("{full:?}"), "Tls { own_authorities: true, identity: Some(Identity(..)) }");
        std::fs::remove_file(&path).unwrap();
    }
}
