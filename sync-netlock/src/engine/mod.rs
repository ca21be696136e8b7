//! The lock engine: a pure state machine that turns commands into effects.
//!
//! It has no clock, randomness, I/O, task or channel. It imports only the standard library, data
//! structures and the types of the core. The same table serves the embedded store (`memory:`), the
//! server, and tests that drive it with simulated time.
//!
//! Start with [`LockTable`] and [`Command`]. The *host* of a table is the code that calls it.

mod command;
mod counters;
mod deadlines;
mod hash_index;
mod journal;
mod limits;
mod lock;
mod name_order;
mod names;
mod queue;
mod refusal;
mod reply;
mod session;
mod snapshot;
mod split_map;
mod split_table;
mod table;
#[cfg(test)]
mod tests;
mod watchers;

pub use command::{Command, NO_PRINCIPAL, Requester, Terms};
pub use counters::{BUCKETS, Counters, Durations};
pub use journal::{Change, Journal, NoJournal};
pub use limits::Limits;
pub use refusal::{Bound, Refusal};
pub use reply::{Effect, Reply, SessionEntry};
pub use snapshot::{QueueSnapshot, QueueView, SnapshotEntry};
pub use table::{Freeze, InvalidChange, Isolation, LockTable, Reason, SLICE_PAUSE, Stats};
