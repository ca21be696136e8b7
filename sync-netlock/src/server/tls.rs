//! TLS of the server: its certificate, which is read again when it changes, and the principal that
//! a client's certificate names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use distsync_core::Result;
use distsync_core::spi::reread::{Files, Reread};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::{TlsAcceptor, TlsStream};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::pem;
use crate::wire::ALPN;

/// The maximum number of concurrent handshakes. Each costs more than a thousand requests.
const HANDSHAKES: usize = 256;

/// How long the server reads from a peer whose handshake failed before it closes the connection.
const LINGER: Duration = Duration::from_secs(1);
/// How many bytes the server reads from such a peer.
const LINGER_BYTES: u64 = 64 << 10;

/// The files for TLS, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate of the server, followed by the chain to its authority.
    pub certificate: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// The authorities of client certificates. If it is set, clients have to present a certificate.
    pub client_ca: Option<PathBuf>,
}

/// The TLS state of a running server.
#[derive(Debug)]
pub(super) struct ServerSide {
    config: Reread<TlsFiles>,
    handshakes: Semaphore,
}

/// The content of the files.
#[derive(Debug)]
struct Material {
    config: Arc<ServerConfig>,
    /// When the server's certificate expires, as a Unix timestamp.
    expiry: Option<i64>,
}

/// The files as a server reads them.
#[derive(Debug)]
struct TlsFiles(ServerTls);

impl Files for TlsFiles {
    type Content = Material;
    const NAME: &str = "the server's certificate";

    fn paths(&self) -> Vec<&Path> {
        [&self.0.certificate, &self.0.key]
            .into_iter()
            .chain(&self.0.client_ca)
            .map(PathBuf::as_path)
            .collect()
    }

    fn read(&self) -> Result<Material> {
        let key = pem::private_key(&self.0.key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| {
                pem::bad(&self.0.certificate, "TLS 1.3 is not available").with_source(error)
            })?;
        let builder = match &self.0.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let authorities = pem::authorities(file)?;
                let verifier = pem::client_verifier(file, authorities, provider)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = pem::certificates(&self.0.certificate)?;
        let expiry = chain.first().and_then(expiry_of);
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            pem::bad(&self.0.certificate, "it does not fit its key").with_source(error)
        })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Material {
            config: Arc::new(config),
            expiry,
        })
    }
}

impl ServerSide {
    pub(super) fn new(files: ServerTls) -> Result<Self> {
        Ok(Self {
            config: Reread::new(TlsFiles(files))?,
            handshakes: Semaphore::new(HANDSHAKES),
        })
    }

    /// Returns when the server's certificate expires, as a Unix timestamp.
    pub(super) fn expiry(&self) -> Option<i64> {
        self.config.content().expiry
    }

    pub(super) fn reread(&self) {
        self.config.reread();
    }

    /// Performs the TLS handshake. Returns the principal that the peer's certificate names, if
    /// there is one.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> std::io::Result<(TlsStream<TcpStream>, Option<Arc<str>>)> {
        let config = self.config.content().config.clone();
        let _turn = self
            .handshakes
            .acquire()
            .await
            .map_err(std::io::Error::other)?;
        let stream = match TlsAcceptor::from(config)
            .accept(stream)
            .into_fallible()
            .await
        {
            Ok(stream) => stream,
            Err((error, mut stream)) => {
                // The peer may have sent more by now. Closing the socket with unread data would
                // reset the connection, and the peer would not get our alert.
                let _ = stream.shutdown().await;
                let mut rest = stream.take(LINGER_BYTES);
                let _ = tokio::time::timeout(
                    LINGER,
                    tokio::io::copy(&mut rest, &mut tokio::io::sink()),
                )
                .await;
                return Err(error);
            }
        };
        let principal = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(principal_of);
        Ok((stream.into(), principal))
    }
}

fn expiry_of(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Returns the principal that a certificate names: its first subject alternative name that is a
/// URI, otherwise the first that is a DNS name. The common name is ignored, because it is
/// deprecated.
fn principal_of(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = &certificate
        .subject_alternative_name()
        .ok()??
        .value
        .general_names;
    let uri = names.iter().find_map(|name| {
        if let GeneralName::URI(uri) = name {
            Some(*uri)
        } else {
            None
        }
    });
    let dns = || {
        names.iter().find_map(|name| {
            if let GeneralName::DNSName(dns) = name {
                Some(*dns)
            } else {
                None
            }
        })
    };
    uri.or_else(dns).map(Arc::from)
}
