//! Connections by TLS: their settings, and why they fail.

use distsync_core::spi::Tls;
use distsync_core::spi::tls;
use distsync_core::{Error, ErrorKind, Result};
use etcd_client::{Certificate, Identity, TlsOptions};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The settings of a connection by TLS.
pub(crate) fn settings(tls: &Tls) -> TlsOptions {
    let settings = match &tls.ca {
        Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(ca)),
        None => TlsOptions::new().with_native_roots(),
    };
    match &tls.identity {
        Some(own) => settings.identity(Identity::from_pem(&own.certificate, &own.key)),
        None => settings,
    }
}

/// Connects once and hangs up, because the etcd client does not tell why a member cannot be reached. Waits for the member's
/// first word: with TLS 1.3 a server says only after the handshake that it refuses our certificate.
///
/// # Errors
/// What is wrong between this client and the member at `endpoint`.
pub(crate) async fn agree(endpoint: &str, settings: &Tls) -> Result<()> {
    let address = endpoint.strip_prefix("https://").unwrap_or(endpoint);
    let stream = TcpStream::connect(address).await.map_err(|error| {
        let problem = format!("no connection to {address}: is etcd running there, and is the port right?");
        Error::new(ErrorKind::Unavailable, problem).with_source(error).retryable()
    })?;
    let mut stream = tls::connect(settings, address, rustls::DEFAULT_VERSIONS, &[b"h2"], stream).await?;
    match stream.read(&mut [0; 9]).await {
        Ok(0) => Err(tls::broken(address)),
        Ok(_) => Ok(()),
        Err(error) => Err(tls::failed(address, error)),
    }
}
