//! The adapters between a node and the crate `openraft`.

pub(crate) mod answers;
pub(crate) mod compaction;
pub(crate) mod confirmations;
pub(crate) mod convert;
pub(crate) mod hand_over;
pub(crate) mod leadership;
pub(crate) mod log;
pub(crate) mod network;
#[cfg(feature = "program")]
pub(crate) mod offline;
pub(crate) mod snapshots;
pub(crate) mod state_machine;
pub(crate) mod types;
