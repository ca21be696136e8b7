//! Reads certificates and keys from files in PEM. The errors name the file.

use std::path::Path;
use std::sync::Arc;

use distsync_core::{Error, ErrorKind, Result};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

/// Returns the error for a file that cannot be used.
pub(crate) fn bad(file: &Path, problem: &str) -> Error {
    let problem = format!("the file `{}`: {problem}", file.display());
    Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock")
}

/// Reads certificates, at least one.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(bad(file, "there is no certificate in it")),
        Err(error) => Err(bad(file, "cannot read it as certificates in PEM").with_source(error)),
    }
}

/// Reads a private key.
pub(crate) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file)
        .map_err(|error| bad(file, "cannot read it as a private key in PEM").with_source(error))
}

/// Reads the certificates of authorities.
pub(crate) fn authorities(file: &Path) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| {
            bad(file, "a certificate in it is not one of an authority").with_source(error)
        })?;
    }
    Ok(Arc::new(roots))
}

/// Returns what checks the certificates of clients against the authorities that were read from
/// `file`.
pub(crate) fn client_verifier(
    file: &Path,
    authorities: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>> {
    let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider)
        .build()
        .map_err(|error| bad(file, "it contains no authority").with_source(error))?;
    Ok(verifier)
}
