//! The heart: one subscription as a state machine over its deliveries (DESIGN: section 6).
//!
//! A delivery is one event on one subscription. The machine takes [`Input`]s and the time, and gives [`Effect`]s that
//! a shell carries out; it writes nothing itself, but says what to write ([`Change`]) and speaks only of what has been
//! written.

mod policy;

mod resource;

mod lease;

mod io;

pub mod record;

pub mod sequence_set;

mod cause;

mod subscription;

pub use cause::cause;
pub use io::{
    Edition, Effect, Grant, Input, LossReason, Matched, Nack, NackAction, Outcome, Replayed,
    RequestId, StreamId, Ticket,
};
pub use lease::{CONSUMER_BYTES_MAX, LeaseId, Seal, Stamp};
pub use policy::{Breaker, Coalesce, Ordering, Pause, Policy, PolicyError};
pub use record::{
    Attempt, AttemptEnd, Background, Backgrounds, Change, DeadLetter, Death, Ended, HISTORY_MAX,
    LeaseRecord, Past, Pasts, Reason, Record, Settlement, Snapshot,
};
pub use resource::ResourceKey;
pub use sequence_set::SequenceSet;
pub use subscription::{BreakerState, Config, Counts, Hold, Status, Subscription};

pub use crate::rate::Rate;

/// The number of a subscription's creation: unique within a store and never used twice, so that what was said about a
/// deleted subscription is never taken for one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Creation(pub u64);

/// The number of an opening of a subscription's ledger: rises with each, so that an earlier owner can be told off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);
