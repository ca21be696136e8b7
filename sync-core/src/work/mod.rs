//! Work under a lock or a leadership: it is stopped when the claim is lost, and the claim is
//! released when the work ends.
//!
//! `with_lock` and `run_as_leader` acquire, run and release. `run` adds [`Guard::run`] to a guard
//! that is held already. `bounded` is what they share: it polls work only while the claim is held.
//!
//! [`Guard::run`]: crate::Guard::run

mod bounded;
mod run;
pub(crate) mod run_as_leader;
pub(crate) mod term;
pub(crate) mod with_lock;
