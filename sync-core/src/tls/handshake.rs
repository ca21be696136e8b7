//! The handshake of a client: whom it trusts, and who it is.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Tls, disagreement};
use crate::error::{Error, ErrorKind, Result};

/// Shakes hands with the server at `address`, `host:port`, over a connection to it. `protocols` is what is offered to be spoken
/// above TLS (ALPN), most wanted first; none to say nothing of it.
///
/// # Errors
/// [`InvalidOption`](ErrorKind::InvalidOption) for certificates and keys that are none, [`Denied`](ErrorKind::Denied) if the two
/// sides do not agree, and [`Unavailable`](ErrorKind::Unavailable) if the connection breaks.
pub async fn connect(
    tls: &Tls,
    address: &str,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| bad(&format!("`{host}` is no name that a certificate can be for")).because(error))?;
    let mut config = config(tls, versions)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| failed(address, error))
}

/// Why TLS with the server at `address` came to nothing: it and we do not [agree](disagreement), or the connection
/// [broke](broken).
#[must_use]
pub fn failed(address: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    disagreement(&error).unwrap_or_else(|| broken(address)).because(error)
}

/// The error of a connection by TLS that breaks before anything was said: who asks for a certificate and gets none often hangs up
/// without a word.
#[must_use]
pub fn broken(address: &str) -> Error {
    let problem = format!(
        "the connection to {address} broke while TLS began: does the server ask for a certificate (options `cert` and `key`), \
         and speak TLS at this port?"
    );
    Error::new(ErrorKind::Unavailable, problem).retryable()
}

fn bad(problem: &str) -> Error {
    Error::new(ErrorKind::InvalidOption, problem.to_owned())
}

fn config(tls: &Tls, versions: &[&'static SupportedProtocolVersion]) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|error| bad("`ca` has no certificate in PEM").because(error))?;
                roots
                    .add(certificate)
                    .map_err(|error| bad("`ca` is no authority's certificate").because(error))?;
            }
        }
        None => {
            let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| bad("no such version of TLS is to be had").because(error))?
        .with_root_certificates(roots);
    let Some(identity) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(&identity.certificate)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| bad("`cert` has no certificate in PEM").because(error))?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key)
        .map_err(|error| bad("`key` has no private key in PEM").because(error))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| bad("`cert` and `key` do not fit").because(error))
}
