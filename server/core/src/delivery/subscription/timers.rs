//! What is due when.

use std::{collections::BTreeSet, time::Duration};

use super::consumers::Key;
use crate::{delivery::ResourceKey, event::Sequence, time::Timestamp};

/// How long a moved position may be unwritten when nothing else is written.
const POSITION_DELAY: Duration = Duration::from_secs(5);

/// What is done at a time. At the same time they fire in this order: a consumer that a restart cut off is let go before
/// its leases run out, which would count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A consumer without a stream may be lost.
    Grace(Key),
    /// A lease ends.
    LeaseEnds(Sequence),
    /// A lease is written down.
    Checkpoint(Sequence),
    /// A waiting delivery becomes ready.
    Due(Sequence),
    /// What a consumer gave back is for it again.
    Shunned(Sequence),
    /// No newer event of a resource came for long enough.
    Quiet(ResourceKey),
    /// The subscription may lease again.
    Gate,
    /// The subscription may be unused.
    Unused,
    /// The position is written.
    Position,
}

/// All timers of a subscription.
#[derive(Debug, Default)]
pub(super) struct Timers {
    timers: BTreeSet<(Timestamp, Timer)>,
    position_is_armed: bool,
}

impl Timers {
    pub(super) fn arm(&mut self, at: Timestamp, timer: Timer) {
        self.timers.insert((at, timer));
    }

    pub(super) fn disarm(&mut self, at: Timestamp, timer: Timer) {
        self.timers.remove(&(at, timer));
    }

    pub(super) fn arm_position(&mut self, now: Timestamp) {
        if !self.position_is_armed {
            self.position_is_armed = true;
            self.arm(now + POSITION_DELAY, Timer::Position);
        }
    }

    /// Takes out all timers of deliveries and their resources.
    pub(super) fn disarm_deliveries(&mut self) {
        self.timers.retain(|(_, timer)| match timer {
            Timer::LeaseEnds(_)
            | Timer::Checkpoint(_)
            | Timer::Due(_)
            | Timer::Shunned(_)
            | Timer::Quiet(_) => false,
            Timer::Grace(_) | Timer::Gate | Timer::Unused | Timer::Position => true,
        });
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes out a timer that is due.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Timer> {
        let (at, timer) = *self.timers.first()?;
        if now < at {
            return None;
        }
        self.timers.remove(&(at, timer));
        if timer == Timer::Position {
            self.position_is_armed = false;
        }
        Some(timer)
    }
}
