//! Sessions: how they are kept alive, and how their loss reaches the claims that they hold.
//!
//! `validity` is the arithmetic, `live` the shared state of one session, and `keeper` the thread
//! that runs a `lifecycle` for each session and a `withdrawal` for each claim to remove. `hold` is
//! a claim that is held, `limits` bounds the time for which it is held, `revocation` notifies its
//! holder of its loss, and `call` makes the core's requests to a backend. `arrivals` knows which of
//! them may still arrive, `departure` lets a backend withdraw the claims of dropped guards, and
//! `key_slots` assigns the few keys that the claims of a session reuse. `waiters` are the tasks to
//! wake when something happens to a session, and `first` is a value that is set once.

pub(crate) mod arrivals;
pub(crate) mod call;
mod departure;
pub(crate) mod errors;
pub(crate) mod first;
pub(crate) mod hold;
mod job;
pub(crate) mod keeper;
mod key_slots;
mod lifecycle;
pub(crate) mod limits;
pub(crate) mod live;
mod on_lost;
pub(crate) mod revocation;
pub(crate) mod timeouts;
mod validity;
mod waiters;
mod withdrawal;

pub use validity::Health;
