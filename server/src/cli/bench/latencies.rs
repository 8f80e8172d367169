//! How long things took, in an HDR histogram: percentiles that are right to three digits, whatever the range.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::report::Figures;

/// The longest that is told apart: what takes longer counts as an hour.
const MICROS_MAX: u64 = 3_600_000_000;
/// How many digits are kept.
const DIGITS: u8 = 3;

/// The percentiles that are told, and how they are called.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];

/// Latencies, in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MICROS_MAX, DIGITS).expect("the bounds are in order"))
    }
}

impl Latencies {
    pub(super) fn record(&mut self, took: Duration) {
        // Zero can't be told from one: both are less than a microsecond or so.
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(MICROS_MAX).max(1));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns the latency that this part of them does not exceed, in microseconds.
    pub(super) fn micros_at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// Adds the percentiles and the longest to what was measured, each with this before its name; nothing where there is
    /// none.
    pub(super) fn tell(&self, of: &str, figures: &mut Figures) {
        if self.count() == 0 {
            return;
        }
        for (name, quantile) in QUANTILES {
            figures.count(format!("{of}_{name}"), "us", self.micros_at(quantile));
        }
        figures.count(format!("{of}_max"), "us", self.0.max());
    }
}
