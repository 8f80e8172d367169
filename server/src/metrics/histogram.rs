//! How often something took how long.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The upper ends of the buckets, in microseconds, with their names in seconds: from a commit on a fast disk to the
/// longest that a sender waits.
pub(super) const BOUNDS: [(u64, &str); 14] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];

/// Counts durations by their length. Lock-free; its figures may be a few durations apart while they are read.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Of each bound those above the one before.
    buckets: [AtomicU64; BOUNDS.len()],
    /// Those above the last bound.
    above: AtomicU64,
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Counts a duration.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS.iter().position(|(bound, _)| micros <= *bound);
        let bucket = place.and_then(|place| self.buckets.get(place)).unwrap_or(&self.above);
        bucket.fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(micros, Relaxed);
    }

    /// Returns how many durations are at most as long as each bound; all of them; and their sum.
    pub(super) fn read(&self) -> (Vec<u64>, u64, Duration) {
        let mut total = 0;
        let buckets = self.buckets.iter().map(|bucket| {
            total += bucket.load(Relaxed);
            total
        });
        let buckets = buckets.collect();
        let sum = Duration::from_micros(self.sum_micros.load(Relaxed));
        (buckets, total + self.above.load(Relaxed), sum)
    }
}
