//! The lock engine: a pure state machine. Commands in, effects out.
//!
//! It imports the standard library, two data structures and the core's vocabulary, nothing else: no
//! clock, randomness, I/O, task or channel. The same table serves the in-process host (`memory:`),
//! the server, and the tests that drive it with made-up time.

mod command;
mod counters;
mod deadlines;
mod journal;
mod limits;
mod line;
mod lock;
mod names;
mod session;
mod table;
#[cfg(test)]
mod tests;
mod watchers;

pub use command::{
    Bound, Command, Effect, NO_PRINCIPAL, Refusal, Reply, Requester, SessionEntry, Terms,
};
pub use counters::{BUCKETS, Counters, Durations};
pub use journal::{Change, Journal, NoJournal};
pub use limits::Limits;
pub use table::{Freeze, Isolation, LockTable, Misfit, Reason, Stats};
