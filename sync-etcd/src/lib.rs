//! The etcd backend of distsync.
//!
//! # Data model
//! A session is a lease. A claim is a key that is attached to the lease, so etcd deletes it when
//! the lease expires or is revoked. The queue of a name is the list of its keys in the order of
//! their create revision, and the create revision of a claim's key is its fencing token. The
//! holders are the head of the queue: one exclusive claim, or all shared claims (or up to N
//! permits) before the first claim that is incompatible with them.
//!
//! # Key layout
//! ```text
//! key    <path of the name>/<mode>-<lease>-<key slot>   mode: x, s or p<N>; lease and slot: hex
//! value  <claim id> <client name>\n<value of the user>
//! ```
//!
//! # Recipes
//! Each step is one transaction. `P` is the prefix of the name, `K` the claim's key, `V` its value.
//! ```text
//! acquire: if no key begins with P: put K=V with the lease           -> granted, token = revision
//!          else if K does not exist: put K=V with the lease; get P   -> position in the queue
//!          else: get P                                               -> already queued
//! wait:    watch deletions of P's namespace; done when no incompatible key precedes K
//! release: if create_revision(K) == token: delete K                  -> released
//! cancel:  if value(K) == V: get P; delete K                         -> was held or was waiting
//! ```
//! A request that does not wait skips the second line of `acquire`: an exclusive one reads the
//! first key only, a shared one puts its key if no exclusive claim and no permit is queued, and one
//! for a permit reads the queue first and then puts its key if no other key was created since.
//!
//! The transactions of several tasks travel together in one outer transaction, unless etcd may
//! apply permissions to this client (see `connection.rs`).
//!
//! This backend does not use etcd's Lock and Election services: their unlock deletes the key
//! without a guard, and a campaign returns without checking that its own key still exists.

mod backend;
mod config;
mod connection;
mod error;
mod fence;
mod keys;
mod leaving;
mod members;
mod queue;
mod settings;
mod tls;
mod watch;

pub use backend::Etcd;
pub use config::Config;
/// The etcd client that this backend uses, for applications that add a [`fence`] to their own
/// transactions.
pub use etcd_client;
pub use fence::fence;
