//! Fencing inside of etcd itself.

use etcd_client::Compare;
use sync_core::Guard;

use crate::keys::{created_at, key_of};

/// A condition for a transaction of your own in the same etcd: it holds as long as the guard's claim does. The write and the
/// check are one step, so no other fence is needed for what lives in etcd.
///
/// The source of the recipe: a claim's token is the create revision of its key, and a key that was deleted and made again
/// has another one.
#[must_use]
pub fn fence(guard: &Guard) -> Compare {
    let key = key_of(guard.name(), guard.mode(), guard.session(), guard.claim());
    created_at(&key, guard.token())
}
