//! The wire format: frames of protobuf messages, and their conversion to commands and replies of
//! the engine. `proto/netlock.proto` documents the messages.

mod command;
mod fast_path;
mod frame;
mod reply;
mod values;

pub use command::{InvalidRequest, encode_command, read_command, to_command};
pub use frame::{Frames, RESPONSE_MAX, TooLong, encode};
pub use reply::{encode_reply, read_reply, to_reply};

/// The version of the protocol.
pub const VERSION: u32 = 1;

/// The name of the protocol in TLS application-layer protocol negotiation (ALPN).
pub const ALPN: &[u8] = b"netlock/1";

/// The messages, generated from `proto/netlock.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod proto {
    include!("netlock.v1.rs");
}

impl From<u128> for proto::Id {
    fn from(bits: u128) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "splits the id into its halves"
        )]
        let (high, low) = ((bits >> 64) as u64, bits as u64);
        Self { high, low }
    }
}

impl From<proto::Id> for u128 {
    fn from(id: proto::Id) -> Self {
        Self::from(id.high) << 64 | Self::from(id.low)
    }
}
