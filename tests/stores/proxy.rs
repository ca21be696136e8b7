//! Backends whose connection breaks once.

use std::net::{Ipv4Addr, SocketAddr};

use distsync_core::conformance::{BreakAt, Breaking, Proxy};

/// Returns the backend of a local server, through a proxy that breaks one connection.
pub(crate) async fn through_a_proxy(scheme: &str, port: u16, at: BreakAt) -> Breaking {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let proxy = Proxy::start(server, at).await.unwrap();
    let (backend, _) = distsync::spi::backend(&format!("{scheme}://{}", proxy.address())).unwrap();
    Breaking::through(proxy, backend)
}
