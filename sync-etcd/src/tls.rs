//! Connections by TLS: their settings, and why they fail.

use std::time::Duration;

use etcd_client::{Certificate, Identity, TlsOptions};
use sync_core::Tls;
use tonic::transport::Endpoint;

use crate::error::Failure;

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

/// Connects once and hangs up: the etcd client keeps to itself why it reaches none of its endpoints.
///
/// # Errors
/// No endpoint can be connected to; the first one says why.
pub(crate) async fn agree(endpoints: &[String], tls: &Tls, patience: Duration) -> Result<(), Failure> {
    let mut first = None;
    for endpoint in endpoints {
        let reached = async {
            let endpoint = Endpoint::from_shared(endpoint.clone())?;
            endpoint.connect_timeout(patience).tls_config(settings(tls))?.connect().await
        };
        match reached.await {
            Ok(_) => return Ok(()),
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(()), |error| Err(etcd_client::Error::TransportError(error).into()))
}
