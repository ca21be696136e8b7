//! The cases, by topic. Each takes a [`Stage`](super::Stage) and panics if the law is violated.

mod breaks;
mod election;
mod exclusion;
mod ghosts;
mod loss;
mod order;
mod outcomes;
mod race;
mod release;
mod revisions;
mod several;
mod store;
mod table;
mod ticket;

pub use breaks::*;
pub use election::*;
pub use exclusion::*;
pub use ghosts::*;
pub use loss::*;
pub use order::*;
pub use outcomes::*;
pub use race::*;
pub use release::*;
pub use revisions::*;
pub use several::*;
pub use store::*;
pub use table::*;
pub use ticket::*;
