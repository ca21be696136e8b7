//! TLS settings of a client: the authorities that it trusts, and its own certificate.

#[cfg(feature = "tls")]
mod handshake;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::spi::reread::{Files, Reread};
use crate::spi::store_url::StoreUrl;
use crate::types::error::{Error, ErrorKind, Result};

#[cfg(feature = "tls")]
pub use handshake::{broken, connect, failed, settings};

/// Certificates and a key, as PEM. `Debug` does not show them.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Tls {
    /// The authorities to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// The client's certificate and key, for a store that requires a client certificate.
    pub identity: Option<Identity>,
    /// The files that they were read from, to reload them.
    files: Option<Arc<Reread<PemFiles>>>,
}

/// A certificate and its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by the intermediate certificates up to its authority.
    pub certificate: Vec<u8>,
    /// The private key. Do not print it.
    pub key: Vec<u8>,
}

/// The files that the options `ca`, `cert` and `key` name.
#[derive(Debug, Default)]
struct PemFiles {
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// The names of the URL options.
    pub const OPTIONS: [&str; 3] = ["ca", "cert", "key"];

    /// Returns settings with the system's authorities and without a client certificate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes the options `ca`, `cert` and `key` from a URL and reads the PEM files that they
    /// name.
    ///
    /// `is_secure` says whether the URL's scheme uses TLS. Returns `None` if it does not.
    /// [`latest`](Self::latest) reloads the files.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption), with the option and the file in the
    /// message, if
    /// - an option is given without TLS,
    /// - one of `cert` and `key` is missing,
    /// - a file cannot be read or has no certificate or key,
    /// - the key does not belong to the certificate, or
    /// - `ca` is not given and the system's authorities cannot be loaded.
    pub fn from_url(url: &mut StoreUrl, is_secure: bool) -> Result<Option<Self>> {
        let [ca, certificate, key] = Self::OPTIONS;
        let mut take = |option| Ok::<_, Error>(url.take(option)?.map(PathBuf::from));
        let files = match (take(ca)?, take(certificate)?, take(key)?) {
            (ca, Some(certificate), Some(key)) => PemFiles {
                ca,
                identity: Some((certificate, key)),
            },
            (ca, None, None) => PemFiles { ca, identity: None },
            (_, Some(_), None) => return Err(url.bad("the option `cert` needs `key`: give both")),
            (_, None, Some(_)) => return Err(url.bad("the option `key` needs `cert`: give both")),
        };
        match (is_secure, files.paths().is_empty()) {
            (false, true) => Ok(None),
            (false, false) => Err(url.bad(format!(
                "the options `ca`, `cert` and `key` need TLS: use a URL with TLS instead of `{}:`",
                url.scheme()
            ))),
            (true, true) => {
                let tls = Self::new();
                tls.check().map_err(|bad| bad.at(None))?;
                Ok(Some(tls))
            }
            (true, false) => {
                let files = Arc::new(Reread::new(files)?);
                Ok(Some(Self {
                    files: Some(files.clone()),
                    ..(*files.content()).clone()
                }))
            }
        }
    }

    /// Returns the current content of the files, reloaded if they have changed.
    ///
    /// If the new files are not valid, returns the previous content and logs an error, once for
    /// each change. Only compares modification times and lengths, so it is cheap if nothing has
    /// changed. Certificates that were not read from files are returned unchanged.
    ///
    /// Call this for each new connection. A client that caches its settings compares the result
    /// with the certificates that it used before.
    #[must_use]
    pub fn latest(&self) -> Arc<Self> {
        match &self.files {
            Some(files) => {
                files.reread();
                files.content()
            }
            None => Arc::new(self.clone()),
        }
    }

    /// Checks that these certificates can be used for a connection.
    #[cfg(feature = "tls")]
    fn check(&self) -> Result<(), BadPem> {
        handshake::load(self).map(drop)
    }

    /// Checks nothing: a build without TLS makes no connections with certificates.
    #[cfg(not(feature = "tls"))]
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the variant for builds with TLS can fail"
    )]
    fn check(&self) -> Result<(), BadPem> {
        Ok(())
    }
}

/// Equality compares the certificates and the key, not the files that they were read from.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        (&self.ca, &self.identity) == (&other.ca, &other.identity)
    }
}

impl Eq for Tls {}

impl Files for PemFiles {
    type Content = Tls;
    const NAME: &str = "the certificates of a client";

    fn paths(&self) -> Vec<&Path> {
        let identity = self
            .identity
            .iter()
            .flat_map(|(certificate, key)| [certificate, key]);
        self.ca
            .iter()
            .chain(identity)
            .map(PathBuf::as_path)
            .collect()
    }

    fn read(&self) -> Result<Tls> {
        let path_of = |option| match (option, &self.identity) {
            ("cert", Some((certificate, _))) => Some(certificate.as_path()),
            ("key", Some((_, key))) => Some(key.as_path()),
            _ => self.ca.as_deref(),
        };
        let read = |option| {
            let Some(path) = path_of(option) else {
                return Ok(Vec::new());
            };
            let unread = |error| BadPem {
                option,
                problem: format!("it cannot be read ({error})"),
            };
            std::fs::read(path).map_err(unread)
        };
        let read_all = || {
            let tls = Tls {
                ca: self.ca.is_some().then(|| read("ca")).transpose()?,
                identity: match self.identity {
                    Some(_) => Some(Identity {
                        certificate: read("cert")?,
                        key: read("key")?,
                    }),
                    None => None,
                },
                files: None,
            };
            tls.check().map(|()| tls)
        };
        read_all().map_err(|bad: BadPem| {
            let path = path_of(bad.option);
            bad.at(path)
        })
    }
}

/// A problem with the certificates or the key of an option.
#[derive(Debug)]
struct BadPem {
    option: &'static str,
    problem: String,
}

impl BadPem {
    fn at(self, path: Option<&Path>) -> Error {
        let problem = match path {
            Some(path) => {
                let path = path.display().to_string();
                format!(
                    "the option `{}` names the file `{}`: {}",
                    self.option,
                    path.escape_debug(),
                    self.problem
                )
            }
            None => format!("the option `{}`: {}", self.option, self.problem),
        };
        Error::new(ErrorKind::InvalidOption, problem).with_operation("connect")
    }
}

/// Installs *ring* as the process's cryptography provider, unless the application has installed
/// one.
///
/// The client libraries of some stores use the process's provider and panic if there is none.
#[cfg(feature = "tls")]
pub fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails if another thread has installed a provider meanwhile, which is just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// Returns an error with a remedy if `error` or one of its causes is a TLS failure that both sides'
/// settings explain, such as an untrusted certificate; `None` otherwise.
#[must_use]
pub fn disagreement(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let (problem, remedy) = std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .find_map(|text| {
            let (_, remedy) = REMEDIES.iter().find(|(word, _)| text.contains(word))?;
            Some((text, remedy))
        })?;
    Some(Error::new(
        ErrorKind::Denied,
        format!("the TLS handshake failed ({problem}): {remedy}"),
    ))
}

/// The texts of rustls for failures between two sides, each with its remedy. The first match
/// counts.
const REMEDIES: [(&str, &str); 12] = [
    (
        "invalid peer certificate: certificate expired",
        RENEW_AT_SERVER,
    ),
    ("invalid peer certificate: Expired", RENEW_AT_SERVER),
    (
        "invalid peer certificate: certificate not valid for name",
        OTHER_HOST,
    ),
    ("invalid peer certificate: NotValidForName", OTHER_HOST),
    (
        "invalid peer certificate: certificate not valid yet",
        "check the clocks of this machine and of the server",
    ),
    (
        "invalid peer certificate",
        "check that the option `ca` names the authority that has signed the server's certificate",
    ),
    (
        "received fatal alert: CertificateRequired",
        "the server asks for a client certificate: give one with the options `cert` and `key`",
    ),
    (
        "received fatal alert: CertificateExpired",
        "the client certificate has expired: renew the files of the options `cert` and `key`",
    ),
    ("received fatal alert", REFUSED),
    (
        "corrupt message",
        "check that the store speaks TLS at this port, or use the URL scheme without TLS",
    ),
    ("PEM", "check the options `ca`, `cert` and `key`"),
    ("certificate required", REFUSED),
];
const RENEW_AT_SERVER: &str = "the server's certificate has expired: renew it at the server";
const OTHER_HOST: &str =
    "the server's certificate is for another host: connect by a name in it, or add this name to it";
const REFUSED: &str = "the server rejects the client certificate, or requires one: check that the options `cert` and `key` \
                       are given, and that the certificate is signed by an authority that the server trusts, and has not expired";

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
        let outer = Error::new(ErrorKind::Unavailable, "no connection").with_source(inner);
        let told = disagreement(&outer).unwrap();
        assert!(told.kind() == ErrorKind::Denied && told.to_string().contains("UnknownIssuer"));
        assert!(disagreement(&std::io::Error::other("connection refused")).is_none());
    }

    #[test]
    fn an_error_names_the_options_that_contradict() {
        let path = std::env::temp_dir().join(format!("distsync-tls-{}", std::process::id()));
        std::fs::write(&path, "hidden").unwrap();
        let file = path.display();
        let tls =
            |query: &str, secure| Tls::from_url(&mut format!("x://a?{query}").parse()?, secure);
        for (query, secure, reason) in [
            (format!("cert={file}"), true, "needs `key`"),
            (format!("key={file}"), true, "needs `cert`"),
            (format!("ca={file}"), false, "need TLS"),
            (
                "ca=/no/such/file".to_owned(),
                true,
                "`/no/such/file`: it cannot be read",
            ),
        ] {
            let error = tls(&query, secure).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
            assert!(
                error.to_string().contains(reason) && !error.to_string().contains("hidden"),
                "{error}"
            );
        }
        assert_eq!(tls("", false).unwrap(), None);
        let identity = Some(Identity {
            certificate: b"hidden".into(),
            key: b"hidden".into(),
        });
        let full = Tls {
            ca: Some(b"hidden".into()),
            identity,
            files: None,
        };
        assert_eq!(
            format!("{full:?}"),
            "Tls { own_authorities: true, identity: Some(Identity(..)) }"
        );
        std::fs::remove_file(&path).unwrap();
    }
}
