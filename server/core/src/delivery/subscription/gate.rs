//! What keeps a subscription from leasing, whatever its consumers have room for: a pause, a limit of its rate, a breaker.

use crate::{
    delivery::{Breaker, Pause, Policy},
    event::Sequence,
    planted::{Bug, is_planted},
    rate::Bucket,
    time::Timestamp,
};

/// How the breaker of a subscription stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Leases are given. It may be that there is no breaker.
    #[default]
    Closed,
    /// Too many attempts failed in a row: no leases before this time.
    Open {
        /// When one event is tried.
        until: Timestamp,
    },
    /// One event is tried, and no other is leased before it has ended.
    Probing,
}

/// Why nothing may be leased now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    Paused { until: Option<Timestamp> },
    Breaker { until: Option<Timestamp> },
    Rate { until: Timestamp },
}

impl Closed {
    /// Returns when it opens by itself.
    pub(super) fn until(self) -> Option<Timestamp> {
        match self {
            Self::Paused { until } | Self::Breaker { until } => until,
            Self::Rate { until } => Some(until),
        }
    }
}

/// The gate of a subscription. What it counts is in memory: after a restart it begins anew.
#[derive(Debug)]
pub(super) struct Gate {
    pause: Pause,
    breaker: BreakerState,
    /// How many attempts failed in a row.
    failures: u32,
    probe: Option<Sequence>,
    /// How many leases may be given.
    bucket: Bucket,
    /// For when its timer is armed.
    pub(super) armed: Option<Timestamp>,
}

impl Gate {
    pub(super) fn new(policy: &Policy, pause: Pause, now: Timestamp) -> Self {
        Self {
            pause,
            breaker: BreakerState::Closed,
            failures: 0,
            probe: None,
            bucket: Bucket::full(policy.rate, now),
            armed: None,
        }
    }

    pub(super) fn breaker(&self) -> BreakerState {
        self.breaker
    }

    /// Takes in another policy or pause.
    pub(super) fn reconfigure(&mut self, policy: &Policy, pause: Pause, now: Timestamp) {
        self.pause = pause;
        if policy.breaker.is_none() {
            (self.breaker, self.failures, self.probe) = (BreakerState::Closed, 0, None);
        }
        if let Some(rate) = policy.rate {
            self.bucket.settle(rate, now);
        }
    }

    /// Returns why nothing may be leased, if so.
    pub(super) fn closed(&self, policy: &Policy, now: Timestamp) -> Option<Closed> {
        match self.pause {
            Pause::On => return Some(Closed::Paused { until: None }),
            Pause::Until(until) if now < until => {
                return Some(Closed::Paused { until: Some(until) });
            }
            Pause::Until(_) | Pause::Off => {}
        }
        match self.breaker {
            BreakerState::Open { until } if now < until => {
                return Some(Closed::Breaker { until: Some(until) });
            }
            BreakerState::Probing if self.probe.is_some() => {
                return Some(Closed::Breaker { until: None });
            }
            BreakerState::Open { .. } | BreakerState::Probing | BreakerState::Closed => {}
        }
        let wait = self.bucket.wait(policy.rate?, now)?;
        Some(Closed::Rate { until: now + wait })
    }

    /// Counts a lease that is given.
    pub(super) fn leased(&mut self, policy: &Policy, sequence: Sequence, now: Timestamp) {
        if let Some(rate) = policy.rate {
            let cost = f64::from(u8::from(!is_planted(Bug::RateNotCounted)));
            self.bucket.spend(rate, cost, now);
        }
        if let BreakerState::Open { .. } | BreakerState::Probing = self.breaker {
            self.breaker = BreakerState::Probing;
            self.probe = Some(sequence);
        }
    }

    /// Takes in that a lease has ended, whatever its end.
    pub(super) fn ended(&mut self, sequence: Sequence) {
        self.probe.take_if(|probe| *probe == sequence);
    }

    /// Takes in that a consumer did its work: it acked, or decided that the event can't be worked on.
    pub(super) fn worked(&mut self) {
        (self.breaker, self.failures, self.probe) = (BreakerState::Closed, 0, None);
    }

    /// Takes in that an attempt failed.
    pub(super) fn failed(&mut self, breaker: Option<Breaker>, now: Timestamp) {
        let Some(Breaker { failures, pause }) = breaker else { return };
        self.failures = self.failures.saturating_add(1);
        // Leases that were given before it opened may fail after; they do not put it off.
        let opens = match self.breaker {
            BreakerState::Closed => self.failures >= failures,
            BreakerState::Probing => self.probe.is_none(),
            BreakerState::Open { .. } => false,
        };
        if opens {
            self.breaker = BreakerState::Open { until: now + pause };
            self.probe = None;
        }
    }
}
