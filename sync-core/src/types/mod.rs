//! Plain values that every other module uses: errors, names, modes, ids, tokens and queues.

pub(crate) mod error;
pub(crate) mod fenced;
pub(crate) mod ids;
pub(crate) mod loss;
pub(crate) mod mode;
pub(crate) mod names;
pub(crate) mod nonce;
pub(crate) mod queue;
pub(crate) mod token;
