//! Refused requests, counted by source and cause. The causes are for operators; senders are not told.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use hookline_core::{event::SourceName, source::Source, time::Timestamp, verify::VerifyError};

use crate::limits;

/// Why a post to a known source was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// It is not signed.
    SignatureMissing,
    /// It has two different signatures where one is allowed.
    SignatureAmbiguous,
    /// Its signature can't be read.
    SignatureMalformed,
    /// None of the secrets makes its signature.
    SignatureWrong,
    /// It was signed too long ago.
    SignatureStale,
    /// Its body is too large.
    BodyTooLarge,
    /// Its body ended early or can't be read.
    BodyBroken,
    /// Its body did not come on.
    BodyStalled,
    /// Too many posts, or too many bytes, at once.
    Overload,
    /// The log did not take its event.
    Store,
    /// The hub stops.
    Draining,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 11] = [
        Self::SignatureMissing,
        Self::SignatureAmbiguous,
        Self::SignatureMalformed,
        Self::SignatureWrong,
        Self::SignatureStale,
        Self::BodyTooLarge,
        Self::BodyBroken,
        Self::BodyStalled,
        Self::Overload,
        Self::Store,
        Self::Draining,
    ];

    /// Returns the cause as a label of a metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignatureMissing => "signature_missing",
            Self::SignatureAmbiguous => "signature_ambiguous",
            Self::SignatureMalformed => "signature_malformed",
            Self::SignatureWrong => "signature_wrong",
            Self::SignatureStale => "signature_stale",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyBroken => "body_broken",
            Self::BodyStalled => "body_stalled",
            Self::Overload => "overload",
            Self::Store => "store",
            Self::Draining => "draining",
        }
    }
}

impl From<&VerifyError> for Cause {
    fn from(error: &VerifyError) -> Self {
        match error {
            VerifyError::Missing(_) => Self::SignatureMissing,
            VerifyError::Ambiguous(_) => Self::SignatureAmbiguous,
            VerifyError::Malformed(_) => Self::SignatureMalformed,
            VerifyError::Wrong(_) => Self::SignatureWrong,
            VerifyError::Stale { .. } => Self::SignatureStale,
        }
    }
}

/// How often which source was refused for which cause, since the start.
#[derive(Debug)]
pub struct RefusalCounts {
    sources: BTreeMap<SourceName, BTreeMap<Cause, Counter>>,
    /// Posts to names that are no source. Not by name: that is a stranger's text.
    unknown: AtomicU64,
}

#[derive(Debug)]
struct Counter {
    count: AtomicU64,
    /// When a line at WARN is due again, in microseconds.
    warn_at: AtomicI64,
}

impl RefusalCounts {
    /// Makes counters for these sources, all at zero.
    pub fn new<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Self {
        let zero = || Counter { count: AtomicU64::new(0), warn_at: AtomicI64::new(i64::MIN) };
        let counters = || Cause::ALL.into_iter().map(|cause| (cause, zero())).collect();
        let sources = sources.into_iter().map(|source| (source.name().clone(), counters()));
        Self { sources: sources.collect(), unknown: AtomicU64::new(0) }
    }

    /// Returns a count; 0 for a source that is not known.
    #[must_use]
    pub fn count(&self, source: &SourceName, cause: Cause) -> u64 {
        self.counter(source, cause).map_or(0, |counter| counter.count.load(Relaxed))
    }

    /// Returns how often something was posted to a source that is not known.
    #[must_use]
    pub fn unknown_source_count(&self) -> u64 {
        self.unknown.load(Relaxed)
    }

    /// Returns all counts, by source and cause.
    pub fn iter(&self) -> impl Iterator<Item = (&SourceName, Cause, u64)> {
        self.sources.iter().flat_map(|(source, counters)| {
            counters
                .iter()
                .map(move |(cause, counter)| (source, *cause, counter.count.load(Relaxed)))
        })
    }

    pub(super) fn add_unknown(&self) {
        self.unknown.fetch_add(1, Relaxed);
    }

    /// Counts a refusal. Returns the count if it is worth a line at WARN now: the first one, and then one a minute.
    pub(super) fn add(&self, source: &SourceName, cause: Cause, now: Timestamp) -> Option<u64> {
        let counter = self.counter(source, cause)?;
        let count = counter.count.fetch_add(1, Relaxed) + 1;
        let due = counter.warn_at.load(Relaxed);
        if now.as_micros() < due {
            return None;
        }
        let next = (now + limits::REFUSAL_WARN_INTERVAL).as_micros();
        // Of several at once, one writes the line.
        counter.warn_at.compare_exchange(due, next, Relaxed, Relaxed).ok().map(|_| count)
    }

    fn counter(&self, source: &SourceName, cause: Cause) -> Option<&Counter> {
        self.sources.get(source)?.get(&cause)
    }
}

#[cfg(test)]
mod tests {
    use hookline_core::source::Kind;

    use super::*;

    #[test]
    fn refusals_are_counted_by_source_and_cause_and_one_a_minute_is_worth_a_warning() {
        let name = SourceName::parse("github").unwrap();
        let source = Source::unsigned(name.clone(), Kind::GitHub).unwrap();
        let counts = RefusalCounts::new([&source]);
        let now = Timestamp::EPOCH;
        let later = now + limits::REFUSAL_WARN_INTERVAL;
        assert_eq!(counts.add(&name, Cause::SignatureWrong, now), Some(1));
        assert_eq!(counts.add(&name, Cause::SignatureWrong, now), None);
        assert_eq!(counts.add(&name, Cause::SignatureStale, now), Some(1));
        assert_eq!(counts.add(&name, Cause::SignatureWrong, later), Some(3));
        assert_eq!(counts.count(&name, Cause::SignatureWrong), 3);
        assert_eq!(counts.count(&name, Cause::Overload), 0);
        assert_eq!(counts.iter().map(|(_, _, count)| count).sum::<u64>(), 4);

        let other = SourceName::parse("other").unwrap();
        assert_eq!(counts.add(&other, Cause::Overload, now), None);
        assert_eq!(counts.count(&other, Cause::Overload), 0);
    }

    #[test]
    fn causes_have_labels_of_their_own() {
        let mut labels: Vec<_> = Cause::ALL.map(Cause::as_str).to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Cause::ALL.len());
    }
}
