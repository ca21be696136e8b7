//! Connections between nodes. `proto/cluster.proto` documents the protocol.
//!
//! A node has one connection to each other node, on which its requests are pipelined ([`Links`]),
//! and one more for each snapshot that it sends. [`serve`] answers the connections of the others.

mod dial;
mod link;
mod listener;
mod tls;

pub(crate) use dial::{Identity, Unreachable, exchange, who_is};
pub(crate) use link::{Link, Links};
pub(crate) use listener::serve;
pub use tls::PeerTls;
pub(crate) use tls::TlsSide;

/// The oldest version of the protocol that this node speaks.
const OLDEST_VERSION: u32 = 1;
/// The newest one.
pub(crate) const NEWEST_VERSION: u32 = 2;
/// The version from which on nodes know [`HandOver`](super::proto::HandOver).
pub(crate) const HAND_OVER_VERSION: u32 = 2;

/// The longest message, in bytes.
pub(crate) const MESSAGE_MAX: usize = 1 << 20;
/// The longest message before a node has greeted, in bytes.
const GREETING_MAX: usize = 4 << 10;

/// The name of the protocol in TLS application-layer protocol negotiation (ALPN).
const ALPN: &[u8] = b"netlock-cluster/1";
