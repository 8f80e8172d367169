//! What came of requests, counted by source; refusals by cause. The causes are for operators; senders are not told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hookline_core::{event::SourceName, source::Source, time::Timestamp, verify::VerifyError};
use parking_lot::{Mutex, RwLock};

use crate::{limits, metrics::Histogram, store::Appended};

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
    /// The source posts more often than it may.
    RateLimited,
    /// Too many posts, or too many bytes, at once.
    Overload,
    /// The log did not take its event.
    Store,
    /// The hub stops.
    Draining,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 12] = [
        Self::SignatureMissing,
        Self::SignatureAmbiguous,
        Self::SignatureMalformed,
        Self::SignatureWrong,
        Self::SignatureStale,
        Self::BodyTooLarge,
        Self::BodyBroken,
        Self::BodyStalled,
        Self::RateLimited,
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
            Self::RateLimited => "rate_limited",
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
            VerifyError::Stale { .. } | VerifyError::Early { .. } => Self::SignatureStale,
        }
    }
}

/// What came of a request that was taken, event by event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A new event.
    Accepted,
    /// An event with a delivery key that the log had.
    Duplicate,
    /// An event with a body that the log had, under another delivery key.
    Replayed,
    /// A handshake, which is no event.
    Handshake,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Duplicate, Self::Replayed, Self::Handshake];

    /// Returns the outcome as a label of a metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Replayed => "replayed",
            Self::Handshake => "handshake",
        }
    }
}

impl From<&Appended> for Outcome {
    fn from(appended: &Appended) -> Self {
        match (appended.replayed, appended.duplicate) {
            (true, _) => Self::Replayed,
            (false, true) => Self::Duplicate,
            (false, false) => Self::Accepted,
        }
    }
}

/// How often what came of which source, since the start.
#[derive(Debug)]
pub struct Counts {
    /// Sources that are no longer configured keep theirs until the hub ends: counters never go back.
    sources: RwLock<BTreeMap<SourceName, Arc<OfSource>>>,
    /// How long requests to sources took.
    durations: Histogram,
    /// Posts to names that are no source. Not by name: that is a stranger's text.
    unknown: AtomicU64,
}

#[derive(Debug)]
struct OfSource {
    refused: BTreeMap<Cause, Counter>,
    taken: BTreeMap<Outcome, AtomicU64>,
    /// By HTTP status, of which the front has about ten.
    answers: Mutex<BTreeMap<u16, u64>>,
    /// When the newest event came, in microseconds since the epoch; 0: none yet.
    last_event_at: AtomicI64,
}

#[derive(Debug)]
struct Counter {
    count: AtomicU64,
    /// When a line at WARN is due again, in microseconds.
    warn_at: AtomicI64,
}

impl OfSource {
    fn new() -> Self {
        let counter = || Counter { count: AtomicU64::new(0), warn_at: AtomicI64::new(i64::MIN) };
        Self {
            refused: Cause::ALL.into_iter().map(|cause| (cause, counter())).collect(),
            taken: Outcome::ALL.into_iter().map(|it| (it, AtomicU64::new(0))).collect(),
            answers: Mutex::default(),
            last_event_at: AtomicI64::new(0),
        }
    }
}

impl Counts {
    /// Makes counters for these sources, all at zero.
    pub fn new<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Self {
        let (durations, unknown) = (Histogram::default(), AtomicU64::new(0));
        let counts = Self { sources: RwLock::default(), durations, unknown };
        counts.add_sources(sources);
        counts
    }

    /// Adds counters for those of these sources that have none yet.
    pub fn add_sources<'a>(&self, sources: impl IntoIterator<Item = &'a Source>) {
        let mut counters = self.sources.write();
        for source in sources {
            counters.entry(source.name().clone()).or_insert_with(|| Arc::new(OfSource::new()));
        }
    }

    fn of(&self, source: &SourceName) -> Option<Arc<OfSource>> {
        self.sources.read().get(source).cloned()
    }

    /// Returns how often a source was refused for a cause; 0 for a source that is not known.
    #[must_use]
    pub fn refused(&self, source: &SourceName, cause: Cause) -> u64 {
        let of = self.of(source);
        let counter = of.as_ref().and_then(|of| of.refused.get(&cause));
        counter.map_or(0, |counter| counter.count.load(Relaxed))
    }

    /// Returns how often a request of a source came to this; 0 for a source that is not known.
    #[must_use]
    pub fn taken(&self, source: &SourceName, outcome: Outcome) -> u64 {
        let of = self.of(source);
        let counter = of.as_ref().and_then(|of| of.taken.get(&outcome));
        counter.map_or(0, |counter| counter.load(Relaxed))
    }

    /// Returns when the newest event of a source came, duplicates among them; `None` if none came since the start.
    #[must_use]
    pub fn last_event_at(&self, source: &SourceName) -> Option<Timestamp> {
        let micros = self.of(source)?.last_event_at.load(Relaxed);
        (micros != 0).then(|| Timestamp::from_micros(micros)).flatten()
    }

    /// Returns how often something was posted to a source that is not known.
    #[must_use]
    pub fn unknown_source_count(&self) -> u64 {
        self.unknown.load(Relaxed)
    }

    /// Returns the names of the sources, those among them that are no longer configured.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceName> {
        self.sources.read().keys().cloned().collect()
    }

    /// Returns how often a source was answered with which HTTP status.
    #[must_use]
    pub fn answers(&self, source: &SourceName) -> Vec<(u16, u64)> {
        let of = self.of(source);
        let answers = of.as_ref().map(|of| of.answers.lock());
        answers.iter().flat_map(|of| of.iter()).map(|(status, count)| (*status, *count)).collect()
    }

    /// Returns how long requests to sources took.
    #[must_use]
    pub const fn durations(&self) -> &Histogram {
        &self.durations
    }

    /// Counts an answer.
    pub(super) fn add_answer(&self, source: &SourceName, status: u16, took: Duration) {
        if let Some(of) = self.of(source) {
            *of.answers.lock().entry(status).or_default() += 1;
        }
        self.durations.observe(took);
    }

    pub(super) fn add_unknown(&self) {
        self.unknown.fetch_add(1, Relaxed);
    }

    /// Counts what became of a request's events.
    pub(super) fn add_taken(&self, source: &SourceName, events: &[Appended], now: Timestamp) {
        events.iter().for_each(|event| self.add(source, Outcome::from(event)));
        if let Some(of) = self.of(source) {
            of.last_event_at.fetch_max(now.as_micros(), Relaxed);
        }
    }

    /// Counts a handshake that was answered.
    pub(super) fn add_handshake(&self, source: &SourceName) {
        self.add(source, Outcome::Handshake);
    }

    fn add(&self, source: &SourceName, outcome: Outcome) {
        let of = self.of(source);
        if let Some(counter) = of.as_ref().and_then(|of| of.taken.get(&outcome)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts a refusal. Returns the count if it is worth a line at WARN now: the first one, and then one a minute.
    pub(super) fn add_refused(
        &self,
        source: &SourceName,
        cause: Cause,
        now: Timestamp,
    ) -> Option<u64> {
        let of = self.of(source)?;
        let counter = of.refused.get(&cause)?;
        let count = counter.count.fetch_add(1, Relaxed) + 1;
        let due = counter.warn_at.load(Relaxed);
        if now.as_micros() < due {
            return None;
        }
        let next = (now + limits::REFUSAL_WARN_INTERVAL).as_micros();
        // Of several at once, one writes the line.
        counter.warn_at.compare_exchange(due, next, Relaxed, Relaxed).ok().map(|_| count)
    }
}

#[cfg(test)]
mod tests {
    use hookline_core::source::{Kind, Settings};

    use super::*;

    #[test]
    fn refusals_are_counted_by_source_and_cause_and_one_a_minute_is_worth_a_warning() {
        let name = SourceName::parse("github").unwrap();
        let source = Source::unsigned(name.clone(), Kind::GITHUB, Settings::default()).unwrap();
        let counts = Counts::new([&source]);
        let now = Timestamp::EPOCH;
        let later = now + limits::REFUSAL_WARN_INTERVAL;
        assert_eq!(counts.add_refused(&name, Cause::SignatureWrong, now), Some(1));
        assert_eq!(counts.add_refused(&name, Cause::SignatureWrong, now), None);
        assert_eq!(counts.add_refused(&name, Cause::SignatureStale, now), Some(1));
        assert_eq!(counts.add_refused(&name, Cause::SignatureWrong, later), Some(3));
        assert_eq!(counts.refused(&name, Cause::SignatureWrong), 3);
        assert_eq!(counts.refused(&name, Cause::Overload), 0);

        let other = SourceName::parse("other").unwrap();
        assert_eq!(counts.add_refused(&other, Cause::Overload, now), None);
        assert_eq!(counts.refused(&other, Cause::Overload), 0);
    }

    #[test]
    fn causes_have_labels_of_their_own() {
        let mut labels: Vec<_> = Cause::ALL.map(Cause::as_str).to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Cause::ALL.len());
    }
}
