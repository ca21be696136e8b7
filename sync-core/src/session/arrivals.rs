//! The requests that enqueue a claim, and which of them may still arrive at the store.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the requests that enqueue one claim. A request without a reply may arrive at the store
/// later, on a connection that was given up, and create the claim again after its end.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    sent: AtomicU32,
    answered: AtomicU32,
}

/// The requests that enqueue a claim and may still arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// All were answered.
    None,
    /// The only one was not answered. If the claim is in the store, it has arrived.
    TheOnly,
    /// Some of several: others may follow although the claim is in the store.
    Some,
}

impl Arrivals {
    /// Records that a request is sent.
    pub(crate) fn send(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that a request was answered.
    pub(crate) fn answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns which requests may still arrive.
    pub(crate) fn late(&self) -> Late {
        let sent = self.sent.load(Ordering::Relaxed);
        match sent - self.answered.load(Ordering::Relaxed) {
            0 => Late::None,
            1 if sent == 1 => Late::TheOnly,
            _ => Late::Some,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_an_answer_is_late() {
        let arrivals = Arrivals::default();
        assert_eq!(arrivals.late(), Late::None);
        arrivals.send();
        assert_eq!(arrivals.late(), Late::TheOnly);
        arrivals.send();
        assert_eq!(arrivals.late(), Late::Some);
        arrivals.answer();
        assert_eq!(arrivals.late(), Late::Some, "the first one may follow");
        arrivals.answer();
        assert_eq!(arrivals.late(), Late::None);
    }
}
