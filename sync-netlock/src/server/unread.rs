//! How much of long answers may wait at a time for the connections of one principal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use distsync_core::spi::locked;

/// The bytes of answers that peers have not taken yet, by principal. All connections count as one principal where the
/// server does not ask who they are.
#[derive(Debug, Default)]
pub(super) struct Unread(Mutex<HashMap<Option<Arc<str>>, usize>>);

/// A share of the bytes, until it is dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    unread: &'a Unread,
    principal: Option<Arc<str>>,
    bytes: usize,
}

impl Unread {
    /// Counts `bytes` more for a principal; `None` if it would then have more than `max`.
    pub(super) fn share(&self, principal: Option<Arc<str>>, bytes: usize, max: usize) -> Option<Share<'_>> {
        let mut all = locked(&self.0);
        let waiting = all.get(&principal).copied().unwrap_or(0);
        if waiting.saturating_add(bytes) > max {
            return None;
        }
        all.insert(principal.clone(), waiting + bytes);
        Some(Share { unread: self, principal, bytes })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut all = locked(&self.unread.0);
        let Some(waiting) = all.get_mut(&self.principal) else { return };
        *waiting -= self.bytes;
        if *waiting == 0 {
            all.remove(&self.principal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_principal_has_a_share_of_its_own() {
        let unread = Unread::default();
        let of = |name: &str| Some(Arc::from(name));
        let first = unread.share(of("a"), 60, 100).unwrap();
        assert!(unread.share(of("a"), 41, 100).is_none());
        let second = unread.share(of("b"), 100, 100).unwrap();
        assert!(unread.share(of("a"), 40, 100).is_some(), "what was dropped counts no more");
        drop((first, second));
        assert!(locked(&unread.0).is_empty());
        assert!(unread.share(None, usize::MAX, 100).is_none());
    }
}
