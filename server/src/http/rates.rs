//! How often each source may post. What is beyond it is refused before its body is read and its signature is checked: it
//! protects the others from one that posts too much, and itself from nobody.

use std::{collections::BTreeMap, time::Duration};

use hookline_core::{
    event::SourceName,
    rate::{Bucket, Rate},
    source::Source,
    time::Timestamp,
};
use parking_lot::Mutex;

/// What is left of the rate of each source that has one. After a start each has its whole burst. A source whose rate is
/// another from one request to the next keeps what is left, at most the new burst.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<BTreeMap<SourceName, (Rate, Bucket)>>);

impl Rates {
    /// Counts a request.
    ///
    /// # Errors
    ///
    /// If it is one too many: how long to wait.
    pub(super) fn take(&self, source: &Source, now: Timestamp) -> Result<(), Duration> {
        let Some(rate) = source.settings().rate else { return Ok(()) };
        let mut buckets = self.0.lock();
        let (held, bucket) = buckets
            .entry(source.name().clone())
            .or_insert_with(|| (rate, Bucket::full(Some(rate), now)));
        if *held != rate {
            bucket.settle(*held, now);
            *held = rate;
        }
        bucket.take(rate, now)
    }
}
