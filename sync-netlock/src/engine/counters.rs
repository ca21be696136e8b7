//! What a table has done so far, for those who watch over it.

use std::time::Duration;

/// The longest that the first bucket of [`Durations`] counts, in microseconds. Each next one goes
/// four times as far, to 4.8 hours.
const FIRST_US: u64 = 64;
/// How many buckets there are, the one without a bound included.
pub const BUCKETS: usize = 16;

/// How often something took how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    counts: [u64; BUCKETS],
    total: Duration,
}

impl Durations {
    pub(super) fn note(&mut self, duration: Duration) {
        let micros = duration
            .as_secs()
            .saturating_mul(1_000_000)
            .saturating_add(duration.subsec_micros().into());
        // How many times four the first bound has to be taken to reach it.
        let bits = 64 - (micros.saturating_sub(1) / FIRST_US).leading_zeros();
        self.counts[(bits.div_ceil(2) as usize).min(BUCKETS - 1)] += 1;
        self.total = self.total.saturating_add(duration);
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.total
    }

    /// The buckets, not cumulated: the longest that is counted in it (`None`: no limit), and how
    /// many are.
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

/// Since the table was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions that ended because their time was over.
    pub expiries: u64,
    /// Claims that others ended.
    pub evictions: u64,
    /// How long claims waited that were granted, at once or later. Its count is that of grants.
    pub waits: Durations,
    /// How long claims held.
    pub holds: Durations,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        let mut durations = Durations::default();
        for micros in [0, 64, 65, 256, u64::MAX / 2] {
            durations.note(Duration::from_micros(micros));
        }
        durations.note(Duration::MAX);
        let counts: Vec<u64> = durations.buckets().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[1], counts[BUCKETS - 1]), (2, 2, 2));
        for bucket in 0..BUCKETS - 1 {
            let mut durations = Durations::default();
            durations.note(Duration::from_micros(bound_us(bucket)));
            durations.note(Duration::from_micros(bound_us(bucket) + 1));
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
