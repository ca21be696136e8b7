//! What a store's backend needs: the trait that it implements, and the tools that all backends share.
//!
//! [`Backend`] is the trait, [`Capabilities`] what a store promises. [`order`] says who holds and who waits, [`batch`] joins the
//! requests of several tasks, [`clock`] is the one place that reads a clock, [`StoreUrl`] and [`Tls`] read what a user configures.

pub(crate) mod backend;
pub mod batch;
pub(crate) mod capabilities;
pub mod clock;
pub(crate) mod counted;
pub mod home;
pub(crate) mod joining;
pub(crate) mod mutex;
pub mod order;
pub mod reread;
pub(crate) mod store_url;
pub mod tls;

pub use backend::{Backend, Claim, Gone, Renewal, Session, SessionSpec, Standing};
pub use capabilities::Capabilities;
pub use joining::Joining;
pub use mutex::locked;
pub use store_url::StoreUrl;
pub use tls::Tls;

pub use crate::types::ids::{ClaimId, SessionId};
pub use crate::types::nonce::Secret;
pub use crate::types::queue::{Entry, Queue, Revision, VALUE_MAX, Withdrawn};
