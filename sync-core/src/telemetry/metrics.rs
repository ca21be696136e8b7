//! The metrics of a store, registered once: looking one up by its labels costs more than a request
//! to `memory:`.

use std::cell::Cell;
use std::sync::Mutex;

use metrics::{Gauge, Histogram, IntoF64, gauge, histogram};

use crate::spi::locked;
use crate::types::names::Kind;

/// The metrics of locks, or of elections.
#[derive(Debug)]
pub(super) struct KindMetrics {
    pub(super) granted: Histogram,
    pub(super) busy: Histogram,
    pub(super) timed_out: Histogram,
    pub(super) failed: Histogram,
    pub(super) cancelled: Histogram,
    pub(super) hold: Histogram,
    pub(super) waiters: Gauge,
    pub(super) held: Gauge,
}

impl KindMetrics {
    fn new(store: &'static str, kind: &'static str) -> Self {
        let acquire = |outcome: &'static str| {
            histogram!(
                "distsync_acquire_seconds",
                "store" => store,
                "kind" => kind,
                "outcome" => outcome,
            )
        };
        Self {
            granted: acquire("granted"),
            busy: acquire("busy"),
            timed_out: acquire("timed_out"),
            failed: acquire("failed"),
            cancelled: acquire("cancelled"),
            hold: histogram!("distsync_hold_seconds", "store" => store, "kind" => kind),
            waiters: gauge!("distsync_waiters", "store" => store, "kind" => kind),
            held: gauge!("distsync_held", "store" => store, "kind" => kind),
        }
    }
}

/// The metrics of one store.
#[derive(Debug)]
pub(super) struct StoreMetrics {
    locks: KindMetrics,
    elections: KindMetrics,
    pub(super) renewal_lag: Histogram,
    /// Whether a recorder was installed when they were registered. It never sees later ones.
    pub(super) is_recorded: bool,
}

/// The stores of this process, of which there are a handful.
static STORES: Mutex<Vec<(&str, &StoreMetrics)>> = Mutex::new(Vec::new());

/// Returns whether a recorder is installed.
///
/// The facade does not say. A gauge converts a value only if there is a recorder to give it to.
fn has_recorder(store: &'static str) -> bool {
    struct Asked<'a>(&'a Cell<bool>);
    impl IntoF64 for Asked<'_> {
        fn into_f64(self) -> f64 {
            self.0.set(true);
            0.0
        }
    }
    let is_asked = Cell::new(false);
    gauge!("distsync_held", "store" => store, "kind" => "lock").increment(Asked(&is_asked));
    is_asked.get()
}

impl StoreMetrics {
    pub(super) fn of(store: &'static str) -> &'static Self {
        let mut stores = locked(&STORES);
        let known = stores.iter_mut().find(|(name, _)| *name == store);
        if let Some((_, metrics)) = &known
            && (metrics.is_recorded || !has_recorder(store))
        {
            return metrics;
        }
        let metrics: &'static Self = Box::leak(Box::new(Self {
            locks: KindMetrics::new(store, "lock"),
            elections: KindMetrics::new(store, "leader"),
            renewal_lag: histogram!("distsync_renewal_lag_seconds", "store" => store),
            is_recorded: has_recorder(store),
        }));
        match known {
            Some((_, former)) => *former = metrics,
            None => stores.push((store, metrics)),
        }
        metrics
    }

    pub(super) fn kind(&self, kind: Kind) -> &KindMetrics {
        match kind {
            Kind::Lock => &self.locks,
            Kind::Leader => &self.elections,
        }
    }
}
