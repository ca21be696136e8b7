//! Statistics of a table, for its metrics.

use std::time::Duration;

/// The upper bound of the first bucket of [`Durations`], in microseconds. Each further bound is
/// four times the one before, up to 4.8 hours.
const FIRST_US: u64 = 64;
/// The number of buckets, including the last one, which has no bound.
pub const BUCKETS: usize = 16;

/// A histogram of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    counts: [u64; BUCKETS],
    total: Duration,
}

impl Durations {
    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = duration
            .as_secs()
            .saturating_mul(1_000_000)
            .saturating_add(duration.subsec_micros().into());
        // The bucket is the base-4 logarithm of the duration in units of the first bound.
        let bits = 64 - (micros.saturating_sub(1) / FIRST_US).leading_zeros();
        self.counts[(bits.div_ceil(2) as usize).min(BUCKETS - 1)] += 1;
        self.total = self.total.saturating_add(duration);
    }

    /// Returns the sum of all durations.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.total
    }

    /// Returns the buckets, each with its upper bound (`None`: no bound) and its own count, which
    /// is not cumulative.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        self.counts.iter().enumerate().map(|(bucket, count)| {
            let bound = (bucket < BUCKETS - 1).then(|| Duration::from_micros(bound_us(bucket)));
            (bound, *count)
        })
    }
}

fn bound_us(bucket: usize) -> u64 {
    FIRST_US << (2 * bucket)
}

/// Counters since the table was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions that expired.
    pub expiries: u64,
    /// Claims that were evicted.
    pub evictions: u64,
    /// How long granted claims have waited, including those granted at once. Its count is the
    /// number of grants.
    pub waits: Durations,
    /// How long claims were held.
    pub holds: Durations,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        let mut durations = Durations::default();
        for micros in [0, 64, 65, 256, u64::MAX / 2] {
            durations.record(Duration::from_micros(micros));
        }
        durations.record(Duration::MAX);
        let counts: Vec<u64> = durations.buckets().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[1], counts[BUCKETS - 1]), (2, 2, 2));
        for bucket in 0..BUCKETS - 1 {
            let mut durations = Durations::default();
            durations.record(Duration::from_micros(bound_us(bucket)));
            durations.record(Duration::from_micros(bound_us(bucket) + 1));
            assert_eq!(
                durations.counts[bucket..bucket + 2],
                [1, 1],
                "bucket {bucket}"
            );
        }
        assert_eq!(
            durations.buckets().nth(1).unwrap().0,
            Some(Duration::from_micros(256))
        );
        assert_eq!(durations.buckets().last().unwrap().0, None);
    }
}
