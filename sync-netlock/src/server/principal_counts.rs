//! Counts by principal, for limits that keep one principal from using up shared resources.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use distsync_core::spi::locked;

/// A count for each principal. Without authentication, all connections count for the principal
/// `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct PrincipalCounts(Arc<Mutex<HashMap<Option<Arc<str>>, Count>>>);

#[derive(Debug, Default)]
struct Count {
    total: usize,
    /// Amounts that count once for all shares of the same thing, and how many shares each has.
    shared: HashMap<usize, (usize, usize)>,
}

/// An amount of a principal's count. Dropping it subtracts the amount.
#[derive(Debug)]
pub(super) struct Share {
    counts: PrincipalCounts,
    principal: Option<Arc<str>>,
    amount: usize,
    what: usize,
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
        self.share_of(0, principal, amount, max)
    }

    /// As [`share`](Self::share), but counts the amount once for all shares of the same thing.
    /// `what` identifies it, for example by its address, and 0 means that nothing else shares it.
    pub(super) fn share_of(
        &self,
        what: usize,
        principal: Option<Arc<str>>,
        amount: usize,
        max: usize,
    ) -> Option<Share> {
        let mut all = locked(&self.0);
        let known = all
            .get_mut(&principal)
            .filter(|_| what != 0)
            .and_then(|count| count.shared.get_mut(&what));
        if let Some((_, shares)) = known {
            *shares += 1;
        } else {
            let total = all.get(&principal).map_or(0, |count| count.total);
            if total.saturating_add(amount) > max {
                return None;
            }
            let count = all.entry(principal.clone()).or_default();
            count.total += amount;
            if what != 0 {
                count.shared.insert(what, (amount, 1));
            }
        }
        Some(Share {
            counts: self.clone(),
            principal,
            amount,
            what,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = locked(&self.counts.0);
        let Some(count) = all.get_mut(&self.principal) else {
            return;
        };
        let mut amount = self.amount;
        if let Some((first, shares)) = count.shared.get_mut(&self.what) {
            *shares -= 1;
            // The amount of the first share was counted.
            amount = if *shares == 0 { *first } else { 0 };
            if *shares == 0 {
                count.shared.remove(&self.what);
            }
        }
        count.total -= amount;
        if count.total == 0 && count.shared.is_empty() {
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

    #[test]
    fn a_thing_that_is_shared_counts_once_for_each_principal() {
        let counts = PrincipalCounts::default();
        let shares: Vec<_> = (0..10)
            .map(|_| counts.share_of(7, None, 60, 100).unwrap())
            .collect();
        assert!(counts.share_of(8, None, 41, 100).is_none(), "another thing");
        let other = counts.share_of(7, Some("a".into()), 60, 100).unwrap();
        assert!(counts.share(Some("a".into()), 41, 100).is_none());
        let last = counts.share_of(7, None, 60, 100).unwrap();
        drop((shares, other));
        assert!(counts.share(None, 41, 100).is_none(), "one is left");
        drop(last);
        assert!(locked(&counts.0).is_empty());
    }
}
