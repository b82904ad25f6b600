//! Durations in a histogram with the layout of HDR histograms (two significant digits from 1 µs
//! to a minute): recording is an index made of shifts, and an addition. Made when the first one
//! comes: 20 KiB for each pair of handler and method that is in use.

use std::time::Duration;

/// Upper bounds in microseconds of the buckets that Prometheus sees. Counts are read from the
/// histogram, so a value within 1 % of a bound may fall to either side of it.
pub(super) const BUCKETS_MICROS: [u64; 18] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Longer than this is counted as this.
const MICROS_MAX: u64 = 60_000_000;
/// Values below this have a place each; above, each doubling has half as many, so that a place
/// is never wider than 1/128 of its values.
const EXACT: u64 = 256;
const PLACES: usize = place_of(MICROS_MAX) + 1;

/// Where a value is counted.
const fn place_of(micros: u64) -> usize {
    // How many doublings it lies above the exact ones.
    let doublings = (micros | (EXACT - 1)).ilog2() - (EXACT - 1).ilog2();
    ((doublings as u64 * (EXACT / 2)) + (micros >> doublings)) as usize
}

/// The lowest value that is counted in that place.
const fn lowest_of(place: usize) -> u64 {
    let place = place as u64;
    if place < EXACT {
        return place;
    }
    let doublings = place / (EXACT / 2) - 1;
    (place - doublings * (EXACT / 2)) << doublings
}

/// Durations seen.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    /// By place; empty until the first one comes.
    counts: Vec<u64>,
    count: u64,
    sum: Duration,
}

impl Latency {
    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, elapsed: Duration) {
        if self.counts.is_empty() {
            self.counts.resize(PLACES, 0);
        }
        let micros = elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros());
        if let Some(count) = self.counts.get_mut(place_of(micros.min(MICROS_MAX))) {
            *count += 1;
        }
        self.count += 1;
        self.sum += elapsed;
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Self) {
        self.sum += other.sum;
        self.count += other.count;
        if self.counts.is_empty() {
            self.counts.clone_from(&other.counts);
            return;
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// What was seen after `earlier`, a former state of the same figures. If it is none (a count
    /// went down), all that was seen.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        if earlier.count > self.count {
            return self.clone();
        }
        let mut later = self.clone();
        later.count -= earlier.count;
        later.sum = later.sum.saturating_sub(earlier.sum);
        for (mine, theirs) in later.counts.iter_mut().zip(&earlier.counts) {
            *mine = mine.saturating_sub(*theirs);
        }
        later
    }

    /// How many fell into each of the ranges that end at the bounds (microseconds, rising), and
    /// last how many lay above them all.
    #[must_use]
    pub fn bands<const N: usize>(&self, bounds: &[u64; N]) -> Vec<u64> {
        let mut bands = vec![0; N + 1];
        for (place, count) in self.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let lowest = lowest_of(place);
            let band = bounds.partition_point(|bound| *bound < lowest);
            if let Some(sum) = bands.get_mut(band) {
                *sum += count;
            }
        }
        bands
    }

    /// Durations that stand for all that were seen, at most `limit` of them: each for an equal
    /// part of the seen, the shortest first.
    #[must_use]
    pub fn sample(&self, limit: usize) -> Vec<Duration> {
        let wanted = u64::try_from(limit).unwrap_or(u64::MAX).min(self.count);
        let share = |nth: u64| (nth as f64 + 0.5) / wanted as f64;
        (0..wanted).map(|nth| self.quantile(share(nth))).collect()
    }

    /// How many were seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }

    /// The duration that the given share (0 to 1) does not exceed; zero if none was seen.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        Duration::from_micros(place.map_or(0, |place| lowest_of(place + 1) - 1))
    }

    /// How many did not exceed each of the fixed bucket bounds.
    #[must_use]
    pub(super) fn buckets(&self) -> [u64; BUCKETS_MICROS.len()] {
        let mut buckets = [0; BUCKETS_MICROS.len()];
        for (place, count) in self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            // The lowest value that counts the same decides, so that a bound takes in itself.
            let lowest = lowest_of(place);
            for (bound, bucket) in BUCKETS_MICROS.iter().zip(&mut buckets) {
                if lowest <= *bound {
                    *bucket += count;
                }
            }
        }
        buckets
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
    fn places_cover_every_value_once_and_are_narrow() {
        let mut next = 0;
        for place in 0..PLACES {
            let (lowest, beyond) = (lowest_of(place), lowest_of(place + 1));
            assert_eq!(lowest, next, "{place}");
            assert_eq!((place_of(lowest), place_of(beyond - 1)), (place, place));
            assert!((beyond - lowest) * 128 <= lowest.max(128), "{place}");
            next = beyond;
        }
        assert!(next > MICROS_MAX);
    }

    #[test]
    fn quantiles_are_off_by_less_than_a_hundredth() {
        let seen: Vec<u64> = (1..=10_000).collect();
        let latency = micros(&seen);
        for (share, exact) in [(0.0, 1.0), (0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let got = latency.quantile(share).as_secs_f64() * 1e6;
            assert!((exact..=exact * 1.01).contains(&got), "{share}: {got}");
        }
    }

    proptest::proptest! {
        /// The crate that is the measure for such histograms counts the same.
        #[test]
        fn hdrhistogram_agrees(values in proptest::collection::vec(0..MICROS_MAX, 1..200)) {
            let ours = micros(&values);
            let mut theirs = hdrhistogram::Histogram::<u64>::new_with_bounds(1, MICROS_MAX, 3).unwrap();
            for &value in &values {
                theirs.saturating_record(value);
            }
            proptest::prop_assert_eq!(ours.count(), theirs.len());
            for share in [0.0, 0.5, 0.9, 0.99, 1.0] {
                let (ours, theirs) = (
                    ours.quantile(share).as_micros() as u64,
                    theirs.value_at_quantile(share),
                );
                proptest::prop_assert!(ours.abs_diff(theirs) * 64 <= theirs.max(64), "{share}");
            }
        }
    }

    #[test]
    fn a_difference_is_what_came_between() {
        let before = micros(&[5, 70]);
        let mut after = before.clone();
        after.merge(&micros(&[70, 3_000, 3_000_000]));
        let between = after.since(&before);
        assert_eq!(between.count(), 3);
        assert_eq!(between.sum(), Duration::from_micros(3_003_070));
        assert_eq!(between.bands(&[100, 1_000, 10_000]), [1, 0, 1, 1]);
        assert_eq!(after.since(&Latency::default()).count(), 5);
        assert_eq!(before.since(&after).count(), 2, "a fresh start");
        assert_eq!(between.since(&between).count(), 0);
    }

    #[test]
    fn a_sample_stands_for_all() {
        let seen: Vec<u64> = (1..=1_000).collect();
        let latency = micros(&seen);
        let sample = latency.sample(10);
        assert_eq!(sample.len(), 10);
        for (nth, got) in sample.iter().enumerate() {
            let exact = nth as f64 * 100.0 + 50.0;
            let got = got.as_secs_f64() * 1e6;
            assert!((exact..=exact * 1.02).contains(&got), "{nth}: {got}");
        }
        assert_eq!(micros(&[7]).sample(10), [Duration::from_micros(7)]);
        assert!(Latency::default().sample(10).is_empty());
    }

    #[test]
    fn nothing_seen_is_zero() {
        let none = Latency::default();
        assert_eq!((none.count(), none.sum()), (0, Duration::ZERO));
        assert_eq!(none.quantile(0.99), Duration::ZERO);
    }
}
