//! Sessions: how they are kept alive, and how their loss reaches what they hold.
//!
//! `validity` is the arithmetic, `live` one session's state as everybody sees it, `keeper` the thread that renews
//! sessions and carries out what nobody waits for, `hold` a claim that is held, `revocation` how its holder learns of its loss,
//! `call` how the core calls a backend, `key_slots` the few keys that the claims of a session take turns in.

pub(crate) mod call;
pub(crate) mod errors;
pub(crate) mod hold;
pub(crate) mod keeper;
mod key_slots;
pub(crate) mod live;
mod on_lost;
pub(crate) mod revocation;
mod validity;

pub use validity::Health;
