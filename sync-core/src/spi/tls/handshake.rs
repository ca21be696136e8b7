//! The TLS handshake of a client.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{BadPem, Tls, disagreement};
use crate::types::error::{Error, ErrorKind, Result};

/// Performs the TLS handshake over a connection to the server at `address` (`host:port`).
///
/// `protocols` are the application protocols to offer (ALPN), the preferred one first; if it is
/// empty, none are offered. Certificate files that have changed are reloaded first.
///
/// # Errors
/// [`InvalidOption`](ErrorKind::InvalidOption) for certificates and keys that are not valid,
/// [`Denied`](ErrorKind::Denied) if one side rejects the other, and
/// [`Unavailable`](ErrorKind::Unavailable) if the connection breaks.
///
/// # Cancel safety
/// Cancel-safe: dropping the future closes the connection.
pub async fn connect(
    tls: &Tls,
    address: &str,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>> {
    let host = address
        .rsplit_once(':')
        .map_or(address, |(host, _)| host)
        .trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(|error| {
        bad(&format!(
            "`{host}` cannot be the name in a certificate: use a DNS name or an IP address"
        ))
        .with_source(error)
    })?;
    let config = settings(&tls.latest(), versions, protocols)?;
    let connected = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    connected.map_err(|error| failed(address, error))
}

/// Returns the error of a failed handshake with the server at `address`: a
/// [disagreement](disagreement), or else a [broken](broken) connection.
#[must_use]
pub fn failed(address: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    disagreement(&error)
        .unwrap_or_else(|| broken(address))
        .with_source(error)
}

/// Returns the error of a TLS connection that broke during the handshake.
///
/// A server that requires a client certificate and gets none often closes the connection without an
/// alert, so the message mentions certificates.
#[must_use]
pub fn broken(address: &str) -> Error {
    let problem = format!(
        "the connection to {address} broke during the TLS handshake: check whether the server requires a client certificate \
         (options `cert` and `key`), and that it speaks TLS at this port"
    );
    Error::new(ErrorKind::Unavailable, problem).retryable()
}

/// Returns the rustls configuration for these certificates. `protocols` as for [`connect`].
///
/// # Errors
/// [`InvalidOption`](ErrorKind::InvalidOption) for certificates and keys that are not valid.
pub fn settings(
    tls: &Tls,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> Result<ClientConfig> {
    let loaded = load(tls).map_err(|bad| bad.at(None))?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| {
            bad("this TLS version is not supported: offer another one").with_source(error)
        })?
        .with_root_certificates(loaded.roots);
    let mut config = match loaded.identity {
        Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

fn bad(problem: &str) -> Error {
    Error::new(ErrorKind::InvalidOption, problem.to_owned())
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// The parsed certificates and key of a [`Tls`].
pub(super) struct Loaded {
    roots: RootCertStore,
    identity: Option<CertifiedKey>,
}

pub(super) fn load(tls: &Tls) -> Result<Loaded, BadPem> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(pem) => {
            for certificate in certificates("ca", pem)? {
                roots.add(certificate).map_err(|error| BadPem {
                    option: "ca",
                    problem: format!("it is not the certificate of an authority ({error})"),
                })?;
            }
        }
        None => add_authorities_of_system(&mut roots)?,
    }
    let identity = tls.identity.as_ref().map(|own| {
        let chain = certificates("cert", &own.certificate)?;
        let bad_key = |problem| BadPem {
            option: "key",
            problem,
        };
        let key = PrivateKeyDer::from_pem_slice(&own.key)
            .map_err(|error| bad_key(format!("there is no private key in it, as PEM ({error})")))?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => bad_key(
                "it does not belong to the certificate that `cert` names: give a matching pair"
                    .to_owned(),
            ),
            error => bad_key(format!(
                "it cannot be used with the certificate that `cert` names ({error})"
            )),
        })
    });
    Ok(Loaded {
        roots,
        identity: identity.transpose()?,
    })
}

/// Returns the certificates in the PEM of `option`, at least one.
fn certificates(option: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(BadPem {
            option,
            problem:
                "there is no certificate in it: give a PEM file with -----BEGIN CERTIFICATE-----"
                    .to_owned(),
        }),
        Err(error) => Err(BadPem {
            option,
            problem: format!("it cannot be read as certificates in PEM ({error})"),
        }),
    }
}

fn add_authorities_of_system(roots: &mut RootCertStore) -> Result<(), BadPem> {
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(());
    }
    let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    let reasons = if reasons.is_empty() {
        "none found".to_owned()
    } else {
        reasons.join("; ")
    };
    Err(BadPem {
        option: "ca",
        problem: format!(
            "it is not given, and the certificate authorities of this system cannot be loaded ({reasons}): give `ca`, \
             install the system's package of authorities (ca-certificates), or correct SSL_CERT_FILE and SSL_CERT_DIR"
        ),
    })
}
