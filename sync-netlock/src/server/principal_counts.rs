//! Counts by principal, for limits that keep one principal from using up shared resources.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use distsync_core::spi::locked;

/// A count for each principal. Without authentication, all connections count for the principal
/// `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct PrincipalCounts(Arc<Mutex<HashMap<Option<Arc<str>>, usize>>>);

/// An amount of a principal's count. Dropping it subtracts the amount.
#[derive(Debug)]
pub(super) struct Share {
    counts: PrincipalCounts,
    principal: Option<Arc<str>>,
    amount: usize,
}

impl PrincipalCounts {
    /// Adds `amount` to the count of a principal. Returns `None`, and adds nothing, if the count
    /// would exceed `max`.
    pub(super) fn share(
        &self,
        principal: Option<Arc<str>>,
        amount: usize,
        max: usize,
    ) -> Option<Share> {
        let mut all = locked(&self.0);
        let count = all.get(&principal).copied().unwrap_or(0);
        if count.saturating_add(amount) > max {
            return None;
        }
        all.insert(principal.clone(), count + amount);
        Some(Share {
            counts: self.clone(),
            principal,
            amount,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = locked(&self.counts.0);
        let Some(count) = all.get_mut(&self.principal) else {
            return;
        };
        *count -= self.amount;
        if *count == 0 {
            all.remove(&self.principal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_principal_has_a_count_of_its_own() {
        let counts = PrincipalCounts::default();
        let of = |name: &str| Some(Arc::from(name));
        let first = counts.share(of("a"), 60, 100).unwrap();
        assert!(counts.share(of("a"), 41, 100).is_none());
        let second = counts.share(of("b"), 100, 100).unwrap();
        assert!(
            counts.share(of("a"), 40, 100).is_some(),
            "a dropped amount does not count"
        );
        drop((first, second));
        assert!(locked(&counts.0).is_empty());
        assert!(counts.share(None, usize::MAX, 100).is_none());
    }
}
