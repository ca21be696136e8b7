//! The HTTP port for monitoring: `/metrics` for Prometheus, `/livez` (the server runs),
//! `/readyz` (the server grants locks) and `/memberz` (a member of a cluster does its part).

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use distsync_core::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::process;
use crate::server::Observer;

/// A bound port that is not served yet.
pub(super) struct Bound {
    listener: TcpListener,
    address: std::net::SocketAddr,
}

impl Bound {
    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.address
    }
}

pub(super) async fn bind(address: &str) -> Result<Bound> {
    let explain = |error| unusable(address, error);
    let listener = TcpListener::bind(address).await.map_err(explain)?;
    let address = listener.local_addr().map_err(explain)?;
    Ok(Bound { listener, address })
}

/// Checks that an address can be resolved. Does not bind it.
pub(super) async fn check(address: &str) -> Result<()> {
    tokio::net::lookup_host(address)
        .await
        .map(drop)
        .map_err(|error| unusable(address, error))
}

fn unusable(address: &str, error: std::io::Error) -> Error {
    let problem = "cannot serve metrics here: give host:port with a port that is not in use";
    Error::new(ErrorKind::InvalidOption, problem)
        .with_name(address)
        .with_source(error)
}

/// Serves the port until `stop` is cancelled. Returns at once if there is no port.
pub(super) async fn serve(bound: Option<Bound>, observer: Observer, stop: CancellationToken) {
    let Some(Bound { listener, .. }) = bound else {
        return;
    };
    let ready = observer.clone();
    let metrics = move || async move {
        (
            [(
                CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            process::metrics() + &observer.metrics(),
        )
    };
    let member = ready.clone();
    let readyz = move || async move {
        match ready.readiness() {
            Ok(text) => (StatusCode::OK, text + "\n"),
            Err(text) => (StatusCode::SERVICE_UNAVAILABLE, text + "\n"),
        }
    };
    let memberz = move || async move {
        match member.takes_part() {
            true => (StatusCode::OK, "this server does its part\n"),
            false => (
                StatusCode::SERVICE_UNAVAILABLE,
                "this server does not serve, and does not follow a leader closely: see `/readyz` and the log\n",
            ),
        }
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/memberz", get(memberz));
    let served =
        axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        error!(%error, "the metrics port has failed: restart the server to serve it again");
    }
}
