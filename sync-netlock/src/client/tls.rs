//! TLS of the client: whom it trusts, and who it is.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sync_core::{Error, ErrorKind, Result, Tls};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::wire::ALPN;

fn bad(problem: &str) -> Error {
    Error::new(ErrorKind::InvalidOption, problem.to_owned()).on("netlock")
}

fn config(tls: &Tls) -> Result<ClientConfig> {
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
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| bad("TLS 1.3 is not to be had").because(error))?
        .with_root_certificates(roots);
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = CertificateDer::pem_slice_iter(&identity.certificate)
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(|error| bad("`cert` has no certificate in PEM").because(error))?;
            let key = PrivateKeyDer::from_pem_slice(&identity.key)
                .map_err(|error| bad("`key` has no private key in PEM").because(error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| bad("`cert` and `key` do not fit").because(error))?
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// Shakes hands with the server at `address`.
pub(super) async fn connect(tls: &Tls, address: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| bad(&format!("`{host}` is no name that a certificate can be for")).because(error))?;
    let connector = TlsConnector::from(Arc::new(config(tls)?));
    match connector.connect(name, stream).await {
        Ok(stream) => Ok(stream.into()),
        Err(error) => Err(sync_core::tls::disagreement(&error)
            .unwrap_or_else(|| {
                let problem =
                    format!("no connection by TLS at {address}: does netlockd speak TLS at this port?");
                Error::new(ErrorKind::Unavailable, problem).because(error).retryable()
            })
            .on("netlock")),
    }
}
