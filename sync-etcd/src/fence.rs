//! Fencing for writes to the same etcd.

use distsync_core::Guard;
use etcd_client::Compare;

use crate::keys::{created_at, key_of};

/// Returns a condition for your own transactions in the same etcd. It is true while the guard's
/// claim exists.
///
/// etcd checks the condition and applies the write atomically, and the condition is about the claim
/// itself, not about a stored token. A holder therefore need not store its token before it reads,
/// as a [`Fence`](distsync_core::Fence) requires: the next holder is granted the lock, and reads,
/// only after this claim has ended, and from then on no transaction with this condition succeeds.
///
/// The condition compares the create revision of the claim's key, which is its fencing token. A key
/// that is deleted and created again has a different create revision.
#[must_use]
pub fn fence(guard: &Guard) -> Compare {
    let key = key_of(guard.name(), guard.mode(), guard.session(), guard.claim());
    created_at(&key, guard.token())
}
