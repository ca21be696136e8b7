//! What a connection by TLS needs: whom to trust, and who we are.

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

/// Certificates and a key, as PEM. Debug shows none of them.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Tls {
    /// The authorities to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Our certificate and its key, where the store asks who we are.
    pub identity: Option<Identity>,
    /// Where they were read, to read them again.
    files: Option<Arc<Reread<PemFiles>>>,
}

/// A certificate and its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those that lead from it to its authority.
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
    /// The options that `ca`, `cert` and `key` of a URL stand for.
    pub const OPTIONS: [&str; 3] = ["ca", "cert", "key"];

    /// The system's authorities, and no identity.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the options `ca`, `cert` and `key`, paths of PEM files, out of a URL whose scheme `is_secure` or not, and reads
    /// the files. [`latest`](Self::latest) reads them again.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) names the option and the file: it is given without TLS, one of
    /// `cert` and `key` is missing, the file cannot be read or holds no certificate or no key, or the key is that of another
    /// certificate. Without `ca`, also if this system has no authorities that can be loaded.
    pub fn from_url(url: &mut StoreUrl, is_secure: bool) -> Result<Option<Self>> {
        let [ca, certificate, key] = Self::OPTIONS;
        let mut take = |option| Ok::<_, Error>(url.take(option)?.map(PathBuf::from));
        let files = match (take(ca)?, take(certificate)?, take(key)?) {
            (ca, Some(certificate), Some(key)) => PemFiles { ca, identity: Some((certificate, key)) },
            (ca, None, None) => PemFiles { ca, identity: None },
            (_, Some(_), None) => return Err(url.bad("the option `cert` needs `key` beside it")),
            (_, None, Some(_)) => return Err(url.bad("the option `key` needs `cert` beside it")),
        };
        match (is_secure, files.paths().is_empty()) {
            (false, true) => Ok(None),
            (false, false) => Err(url
                .bad(format!("the options `ca`, `cert` and `key` need TLS: `{}:` is without", url.scheme()))),
            (true, true) => {
                let tls = Self::new();
                tls.check().map_err(|bad| bad.at(None))?;
                Ok(Some(tls))
            }
            (true, false) => {
                let files = Arc::new(Reread::new(files)?);
                Ok(Some(Self { files: Some(files.clone()), ..(*files.content()).clone() }))
            }
        }
    }

    /// Returns what the files hold now, or, where they cannot be used at this moment, what they last held (and logs a
    /// warning, once for each change). Looks at the times of the files, so it is cheap if they have not changed. Certificates
    /// that come from no file are returned as they are.
    ///
    /// Call this for each new connection. A client that keeps settings compares the result with what it has used.
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

    /// Checks that a connection can be made with these certificates.
    #[cfg(feature = "tls")]
    fn check(&self) -> Result<(), BadPem> {
        handshake::load(self).map(drop)
    }

    /// A build without TLS makes no connection with them.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unnecessary_wraps, reason = "the other build's can fail")]
    fn check(&self) -> Result<(), BadPem> {
        Ok(())
    }
}

/// Two are equal if they hold the same certificates, wherever these came from.
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
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca.iter().chain(identity).map(PathBuf::as_path).collect()
    }

    fn read(&self) -> Result<Tls> {
        let path_of = |option| match (option, &self.identity) {
            ("cert", Some((certificate, _))) => Some(certificate.as_path()),
            ("key", Some((_, key))) => Some(key.as_path()),
            _ => self.ca.as_deref(),
        };
        let read = |option| {
            let Some(path) = path_of(option) else { return Ok(Vec::new()) };
            let unread = |error| BadPem { option, problem: format!("it cannot be read ({error})") };
            std::fs::read(path).map_err(unread)
        };
        let read_all = || {
            let tls = Tls {
                ca: self.ca.is_some().then(|| read("ca")).transpose()?,
                identity: match self.identity {
                    Some(_) => Some(Identity { certificate: read("cert")?, key: read("key")? }),
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

/// What is wrong with the certificates or the key of an option.
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

/// Where the application has not chosen its cryptography, chooses *ring* for the process: the clients of some stores take the
/// process's choice, and panic if there is none.
#[cfg(feature = "tls")]
pub fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// Returns the error of a connection that failed because both sides do not agree on TLS, or `None` if `error` and its causes
/// tell of something else.
#[must_use]
pub fn disagreement(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let (trouble, remedy) = std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .find_map(|text| {
            let (_, remedy) = REMEDIES.iter().find(|(word, _)| text.contains(word))?;
            Some((text, remedy))
        })?;
    Some(Error::new(ErrorKind::Denied, format!("no connection by TLS ({trouble}): {remedy}")))
}

/// How rustls names what can go wrong between two sides, and what to do about it. The first that fits counts.
const REMEDIES: [(&str, &str); 12] = [
    ("invalid peer certificate: certificate expired", RENEW_AT_SERVER),
    ("invalid peer certificate: Expired", RENEW_AT_SERVER),
    ("invalid peer certificate: certificate not valid for name", OTHER_HOST),
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
        "the server finds that the client certificate has expired: renew the files of the options `cert` and `key`",
    ),
    ("received fatal alert", REFUSED),
    (
        "corrupt message",
        "check that the store speaks TLS at this port: without, the scheme of the URL has no `s` at its end",
    ),
    ("PEM", "check the options `ca`, `cert` and `key`"),
    ("certificate required", REFUSED),
];
const RENEW_AT_SERVER: &str = "the server's certificate has expired: renew it at the server";
const OTHER_HOST: &str = "the server's certificate is for another host: connect by a name in it, or give the server one with this name";
const REFUSED: &str = "the server refuses the client certificate, or misses one: check that the options `cert` and `key` \
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
    fn options_that_do_not_fit_are_named() {
        let path = std::env::temp_dir().join(format!("distsync-tls-{}", std::process::id()));
        std::fs::write(&path, "hidden").unwrap();
        let file = path.display();
        let tls = |query: &str, secure| Tls::from_url(&mut format!("x://a?{query}").parse()?, secure);
        for (query, secure, reason) in [
            (format!("cert={file}"), true, "needs `key`"),
            (format!("key={file}"), true, "needs `cert`"),
            (format!("ca={file}"), false, "need TLS"),
            ("ca=/no/such/file".to_owned(), true, "`/no/such/file`: it cannot be read"),
        ] {
            let error = tls(&query, secure).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
            assert!(error.to_string().contains(reason) && !error.to_string().contains("hidden"), "{error}");
        }
        assert_eq!(tls("", false).unwrap(), None);
        let identity = Some(Identity { certificate: b"hidden".into(), key: b"hidden".into() });
        let full = Tls { ca: Some(b"hidden".into()), identity, files: None };
        assert_eq!(format!("{full:?}"), "Tls { own_authorities: true, identity: Some(Identity(..)) }");
        std::fs::remove_file(&path).unwrap();
    }
}
