//! The settings of TLS connections, and the diagnosis of failed handshakes.

use distsync_core::spi::{Tls, tls};
use distsync_core::{Error, ErrorKind, Result};
use etcd_client::{Certificate, Identity, TlsOptions};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Converts the TLS settings to those of the etcd client.
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

/// Tests the TLS handshake with a connection of its own, because the etcd client does not report
/// why a connection fails. Waits for the first bytes from the member: with TLS 1.3 a server rejects
/// the client's certificate only after the handshake.
///
/// # Errors
/// Returns the reason why this client cannot connect to the member at `endpoint`.
pub(crate) async fn agree(endpoint: &str, settings: &Tls) -> Result<()> {
    let address = endpoint.strip_prefix("https://").unwrap_or(endpoint);
    let stream = TcpStream::connect(address).await.map_err(|error| {
        let problem =
            format!("no connection to {address}: is etcd running there, and is the port right?");
        Error::new(ErrorKind::Unavailable, problem)
            .with_source(error)
            .retryable()
    })?;
    let mut stream = tls::connect(
        settings,
        address,
        rustls::DEFAULT_VERSIONS,
        &[b"h2"],
        stream,
    )
    .await?;
    match stream.read(&mut [0; 9]).await {
        Ok(0) => Err(tls::broken(address)),
        Ok(_) => Ok(()),
        Err(error) => Err(tls::failed(address, error)),
    }
}
