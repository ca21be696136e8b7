//! Sessions: how they are kept alive, and how their loss reaches what they hold.
//!
//! `validity` is the arithmetic, `live` one session's state as everybody sees it, `keeper` the thread that renews
//! sessions and carries out what nobody waits for, `seats` the numbers of claims where a store wants them.

pub(crate) mod keeper;
pub(crate) mod live;
mod seats;
mod validity;

pub use validity::Health;
