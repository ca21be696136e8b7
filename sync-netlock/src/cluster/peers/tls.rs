//! TLS between nodes. Both sides present a certificate, which names its node.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distsync_core::Result;
use distsync_core::spi::reread::{Files, Reread};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::ALPN;
use crate::pem;
use crate::stream::Stream;

/// The files for TLS between nodes, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTls {
    /// The certificate of the node, followed by the chain to its authority. A DNS name in it has to
    /// be the name of the node.
    pub certificate: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// The authority of the certificates of all nodes. A node with a certificate of this authority
    /// can join the cluster, so use the authority for nothing else.
    pub authority: PathBuf,
}

/// The TLS state of a node.
#[derive(Debug)]
pub(crate) struct TlsSide {
    files: Reread<TlsFiles>,
}

/// The content of the files.
#[derive(Debug)]
struct Material {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// The files as a node reads them.
#[derive(Debug)]
struct TlsFiles(PeerTls);

impl Files for TlsFiles {
    type Content = Material;
    const NAME: &str = "the node's certificate";

    fn paths(&self) -> Vec<&Path> {
        vec![&self.0.certificate, &self.0.key, &self.0.authority]
    }

    fn read(&self) -> Result<Material> {
        let PeerTls {
            certificate,
            key,
            authority,
        } = &self.0;
        let roots = pem::authorities(authority)?;
        let private = pem::private_key(key)?;
        let chain = pem::certificates(certificate)?;
        let failed = |problem: &'static str| {
            move |error: rustls::Error| pem::bad(certificate, problem).with_source(error)
        };
        let unfit = failed("it does not fit its key");
        let unavailable = failed("TLS 1.3 is not available");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = [&rustls::version::TLS13];
        let verifier = pem::client_verifier(authority, roots.clone(), provider.clone())?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(unavailable)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), private.clone_key())
            .map_err(unfit)?;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(unavailable)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private)
            .map_err(unfit)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        client.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Material {
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }
}

impl TlsSide {
    pub(crate) fn new(files: PeerTls) -> Result<Self> {
        Ok(Self {
            files: Reread::new(TlsFiles(files))?,
        })
    }

    /// Reads the files again if they have changed.
    pub(crate) fn reread(&self) {
        self.files.reread();
    }

    /// Accepts a connection. Returns the names in the certificate of the other node too.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<(Stream, Vec<String>)> {
        let config = self.files.content().server.clone();
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let certificate = stream.get_ref().1.peer_certificates();
        let names = certificate.and_then(<[_]>::first).map(names_of);
        Ok((
            Stream::Tls(Box::new(stream.into())),
            names.unwrap_or_default(),
        ))
    }

    /// Connects to the node with this name.
    pub(super) async fn connect(&self, stream: TcpStream, name: &str) -> std::io::Result<Stream> {
        let config = self.files.content().client.clone();
        let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

/// Returns the DNS names in a certificate.
fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let dns_name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    names
        .value
        .general_names
        .iter()
        .filter_map(dns_name)
        .collect()
}

/// Returns whether nodes may use this address without TLS.
pub(super) fn is_allowed_plain(address: &SocketAddr) -> bool {
    address.ip().is_loopback()
}
