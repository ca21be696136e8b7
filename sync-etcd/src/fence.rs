//! Fencing inside of etcd itself.

use distsync_core::Guard;
use etcd_client::Compare;

use crate::keys::{created_at, key_of};

/// Returns a condition for a transaction of your own in the same etcd: it holds as long as the guard's claim does.
///
/// The write and the check are one step, and they look at the claim itself instead of a stored token. So there is no first step
/// before the read, as a [`Fence`](distsync_core::Fence) needs it: the next holder reads after this claim has ended, and from then on no
/// transaction with this condition succeeds.
///
/// The source of the recipe: a claim's token is the create revision of its key, and a key that was deleted and made again
/// has another one.
#[must_use]
pub fn fence(guard: &Guard) -> Compare {
    let key = key_of(guard.name(), guard.mode(), guard.session(), guard.claim());
    created_at(&key, guard.token())
}
