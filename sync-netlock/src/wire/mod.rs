//! The wire: frames of protobuf messages, and what they mean to the engine. `proto/netlock.proto`
//! is the documentation.

mod brief;
mod command;
mod frame;
mod reply;

pub use command::{NoCommand, encode_command, read_command, to_command};
pub use frame::{Frames, RESPONSE_MAX, TooLong, encode};
pub use reply::{encode_reply, read_reply, to_reply};

/// The version of the protocol.
pub const VERSION: u32 = 1;

/// The protocol's name where both sides choose one by TLS.
pub const ALPN: &[u8] = b"netlock/1";

/// The messages, generated from `proto/netlock.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod proto {
    include!("netlock.v1.rs");
}

impl From<u128> for proto::Id {
    fn from(bits: u128) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let (high, low) = ((bits >> 64) as u64, bits as u64);
        Self { high, low }
    }
}

impl From<proto::Id> for u128 {
    fn from(id: proto::Id) -> Self {
        Self::from(id.high) << 64 | Self::from(id.low)
    }
}
