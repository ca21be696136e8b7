//! Conversion of the values that both the fast path and the generic codec read and write.

use distsync_core::Mode;
use distsync_core::spi::Withdrawn;

use super::proto::{self, withdrawn::Found};

pub(super) fn from_mode(mode: Mode) -> (proto::Mode, u32) {
    match mode {
        Mode::Exclusive => (proto::Mode::Exclusive, 0),
        Mode::Shared => (proto::Mode::Shared, 0),
        Mode::Permit { of } => (proto::Mode::Permit, u32::from(of)),
    }
}

pub(super) fn to_mode(mode: i32, permits: u32) -> Option<Mode> {
    Some(match proto::Mode::try_from(mode).ok()? {
        proto::Mode::Exclusive => Mode::Exclusive,
        proto::Mode::Shared => Mode::Shared,
        proto::Mode::Permit => Mode::Permit {
            of: u16::try_from(permits).ok()?,
        },
    })
}

pub(super) fn from_found(withdrawn: Withdrawn) -> Found {
    match withdrawn {
        Withdrawn::Absent => Found::Absent,
        Withdrawn::Held => Found::Held,
        Withdrawn::Waiting => Found::Waiting,
    }
}

pub(super) fn to_found(found: i32) -> Option<Withdrawn> {
    Some(match Found::try_from(found).ok()? {
        Found::Absent => Withdrawn::Absent,
        Found::Held => Withdrawn::Held,
        Found::Waiting => Withdrawn::Waiting,
    })
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
