//! Bugs on purpose: switched on one at a time by tests, which have to find them. Without the feature `planted-bugs` there
//! is none, and every condition that asks is a constant.

/// A bug that a test can switch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An ack is answered as applied before it is written.
    AckBeforeWrite,
    /// A lease that is over may still ack.
    StaleSettle,
    /// An ack of an older lease is honoured while a newer one runs.
    LateAckAfterAnotherLease,
    /// A failure does not count.
    AttemptNotCounted,
    /// The floor passes the first open delivery.
    FloorTooFar,
    /// A dead letter does not tell of its last attempt.
    DeadWithoutLastAttempt,
    /// A lease that was written down is forgotten by a restart.
    LeaseNotRestored,
    /// A lease that runs for long is not written down.
    LeaseNotCheckpointed,
    /// A redriven delivery has an attempt behind it.
    RedriveKeepsAttempts,
    /// One dead letter that was purged is not written.
    PurgedNotWritten,
    /// A resource gives one lease more than it has.
    ResourceFreedTooEarly,
    /// A death leaves its resource busy.
    ResourceNotFreedAfterDeath,
    /// One event that was superseded is not written.
    SupersededNotWritten,
    /// One event that a newer one replaces stays open.
    OlderNotSuperseded,
    /// A failure is tried again at once.
    RetryIgnoresBackoff,
    /// Leases do not count for the rate.
    RateNotCounted,
    /// What was tried before is leased although the subscription is paused.
    PauseIgnoredForRetries,
    /// A seek does not fence the leases before it.
    SeekForgetsToFence,
    /// A look back delivers what was delivered before.
    LookBackTwice,
    /// What is replayed has the generation that it had before.
    ReplayKeepsGeneration,
    /// One event that is said to be replayed is not.
    ReplayLosesOne,
    /// The router loses an event now and then.
    FeedDropsOne,
    /// An event whose filter fails is passed over.
    FilterFailureSkipped,
    /// A consumer gets one lease more than it has room for.
    RoomExceeded,
    /// A delivery that is given back counts.
    ReleaseCounts,
    /// The log is said to be needed no more for what is not written yet.
    TrimmedBeforeWrite,
    /// An announcement can't be told from the same one before.
    AnnouncedTwice,
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Switches a bug on for this thread, instead of the one before.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is switched on.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is switched on: none can be.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
#[must_use]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}
