//! The wire format: frames of protobuf messages, and their conversion to commands and replies of
//! the engine. `proto/netlock.proto` documents the messages.

mod command;
mod fast_path;
mod frame;
mod outgoing;
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod proto;
mod queue;
mod reply;
mod values;

pub use command::{InvalidRequest, encode_command, read_command, to_command};
#[cfg(feature = "server")]
pub(crate) use frame::split_frame;
pub use frame::{Frames, RESPONSE_MAX, TooLong, encode};
pub use outgoing::Outgoing;
pub use queue::{encode_head, encode_queue};
pub use reply::{encode_reply, read_reply, to_reply};

/// The version of the protocol.
pub const VERSION: u32 = 1;

/// The name of the protocol in TLS application-layer protocol negotiation (ALPN).
pub const ALPN: &[u8] = b"netlock/1";
