//! Durations in an HDR histogram (two significant digits from 1 µs to a minute), made when the
//! first one comes: 10 KiB for each pair of handler and method that is in use.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Upper bounds in microseconds of the buckets that Prometheus sees. Counts are read from the
/// HDR histogram, so a value within 1 % of a bound may fall to either side of it.
pub(super) const BUCKETS_MICROS: [u64; 18] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Longer than this is counted as this.
const MICROS_MAX: u64 = 60_000_000;
const SIGNIFICANT_DIGITS: u8 = 2;

/// Durations seen.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    histogram: Option<Box<Histogram<u64>>>,
    sum: Duration,
}

impl Latency {
    /// Counts one duration.
    pub fn record(&mut self, elapsed: Duration) {
        if self.histogram.is_none() {
            // The bounds are constant and valid; without a histogram the sum still counts.
            self.histogram = Histogram::new_with_bounds(1, MICROS_MAX, SIGNIFICANT_DIGITS)
                .ok()
                .map(Box::new);
        }
        if let Some(histogram) = &mut self.histogram {
            let micros = elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros());
            histogram.saturating_record(micros);
        }
        self.sum += elapsed;
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Self) {
        self.sum += other.sum;
        match (&mut self.histogram, &other.histogram) {
            (Some(mine), Some(theirs)) => mine.add(&**theirs).unwrap_or(()),
            (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
            (_, None) => {}
        }
    }

    /// How many were seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, |h| h.len())
    }

    /// Their sum.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }

    /// The duration that the given share (0 to 1) does not exceed; zero if none was seen.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let micros = self.histogram.as_ref().map_or(0, |h| {
            if h.is_empty() {
                0
            } else {
                h.value_at_quantile(share)
            }
        });
        Duration::from_micros(micros)
    }

    /// How many did not exceed each of the fixed bucket bounds.
    #[must_use]
    pub(super) fn buckets(&self) -> [u64; BUCKETS_MICROS.len()] {
        let mut counts = [0; BUCKETS_MICROS.len()];
        let Some(histogram) = &self.histogram else {
            return counts;
        };
        for step in histogram.iter_recorded() {
            let micros = step.value_iterated_to();
            // The lowest value that counts the same decides, so that a bound takes in itself.
            let lowest = histogram.lowest_equivalent(micros);
            for (bound, count) in BUCKETS_MICROS.iter().zip(&mut counts) {
                if lowest <= *bound {
                    *count += step.count_since_last_iteration();
                }
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(values: &[u64]) -> Latency {
        let mut latency = Latency::default();
        for &value in values {
            latency.record(Duration::from_micros(value));
        }
        latency
    }

    #[test]
    fn buckets_are_cumulative_and_take_in_their_bound() {
        let counts = micros(&[0, 25, 26, 1_000, 9_000_000, 3_600_000_000]).buckets();
        let at = |micros| counts[BUCKETS_MICROS.iter().position(|&b| b == micros).unwrap()];
        assert_eq!(at(25), 2);
        assert_eq!(at(50), 3);
        assert_eq!(at(500), 3);
        assert_eq!(at(1_000), 4);
        assert_eq!(at(10_000_000), 5);
        assert!(counts.is_sorted());
    }

    #[test]
    fn merging_equals_seeing_all() {
        let (a, b) = ([1, 70, 70, 9_999], [3, 1_000_000]);
        let mut merged = Latency::default();
        merged.merge(&micros(&a));
        merged.merge(&micros(&b));
        merged.merge(&Latency::default());
        let all = micros(&[&a[..], &b[..]].concat());
        assert_eq!(merged.buckets(), all.buckets());
        assert_eq!(merged.count(), 6);
        assert_eq!(merged.sum(), all.sum());
        assert_eq!(merged.quantile(0.5), all.quantile(0.5));
    }

    #[test]
    fn nothing_seen_is_zero() {
        let none = Latency::default();
        assert_eq!((none.count(), none.sum()), (0, Duration::ZERO));
        assert_eq!(none.quantile(0.99), Duration::ZERO);
    }
}
