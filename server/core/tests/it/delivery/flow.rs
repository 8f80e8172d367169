//! What keeps deliveries from being handed out, as the reference sees it: their resources, and the gate of all.

use std::time::Duration;

use hookline_core::{
    delivery::{Coalesce, Pause, Policy},
    time::Timestamp,
};

use super::reference::{Delivery, End, Reference};

/// What a subscription allows itself: written down from the contract, not from the code.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) pause: Pause,
    tokens: f64,
    counted_at: Timestamp,
    failures: u32,
    breaker: Breaker,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Breaker {
    Closed,
    OpenUntil(Timestamp),
    /// With the event that is tried, if one is.
    Probing(Option<u64>),
}

impl Gate {
    pub(super) fn new(policy: &Policy, pause: Pause, now: Timestamp) -> Self {
        let tokens = policy.rate.map_or(0.0, |rate| f64::from(rate.burst));
        Self { pause, tokens, counted_at: now, failures: 0, breaker: Breaker::Closed }
    }

    fn earn(&mut self, policy: &Policy, now: Timestamp) {
        if let Some(rate) = policy.rate {
            let earned = now.since(self.counted_at).as_secs_f64() * rate.per_second;
            self.tokens = (self.tokens + earned).min(f64::from(rate.burst));
            self.counted_at = now;
        }
    }

    pub(super) fn change(&mut self, policy: &Policy, pause: Pause, now: Timestamp) {
        self.pause = pause;
        self.earn(policy, now);
        if policy.breaker.is_none() {
            (self.breaker, self.failures) = (Breaker::Closed, 0);
        }
    }

    /// Whether a lease may be given; by a hair, either is right.
    pub(super) fn is_open(&mut self, policy: &Policy, now: Timestamp) -> bool {
        self.earn(policy, now);
        let paused = match self.pause {
            Pause::Off => false,
            Pause::On => true,
            Pause::Until(until) => now < until,
        };
        let broken = match self.breaker {
            Breaker::Closed => false,
            Breaker::OpenUntil(until) => now < until,
            Breaker::Probing(probe) => probe.is_some(),
        };
        !paused && !broken && (policy.rate.is_none() || self.tokens > 1.0 - 1e-6)
    }

    /// Whether there would be no reason not to give a lease.
    pub(super) fn is_wide_open(&mut self, policy: &Policy, now: Timestamp) -> bool {
        self.is_open(policy, now) && (policy.rate.is_none() || self.tokens > 1.0 + 1e-6)
    }

    pub(super) fn leased(&mut self, policy: &Policy, n: u64) {
        if policy.rate.is_some() {
            self.tokens -= 1.0;
        }
        if self.breaker != Breaker::Closed {
            self.breaker = Breaker::Probing(Some(n));
        }
    }

    pub(super) fn ended(&mut self, n: u64) {
        if self.breaker == Breaker::Probing(Some(n)) {
            self.breaker = Breaker::Probing(None);
        }
    }

    pub(super) fn worked(&mut self) {
        (self.breaker, self.failures) = (Breaker::Closed, 0);
    }

    pub(super) fn failed(&mut self, policy: &Policy, now: Timestamp) {
        let Some(breaker) = policy.breaker else { return };
        self.failures += 1;
        let opens = match self.breaker {
            Breaker::Closed => self.failures >= breaker.failures,
            Breaker::Probing(probe) => probe.is_none(),
            Breaker::OpenUntil(_) => false,
        };
        if opens {
            self.breaker = Breaker::OpenUntil(now + breaker.pause);
        }
    }
}

impl Delivery {
    /// Whether a recovery knows it without reading the log.
    fn is_recorded(&self) -> bool {
        let facts = &self.live;
        self.run.is_some()
            || self.waiting
            || facts.attempts > 0
            || facts.give_backs > 0
            || facts.ended.is_some()
            || facts.redriven
            || facts.replayed
    }

    pub(super) fn is_known(&self) -> bool {
        self.live.end == End::Open && (self.scanned || self.is_recorded())
    }

    /// Whether a scan that finds it opens it.
    pub(super) fn is_found(&self) -> bool {
        self.live.end == End::Open && !self.scanned && !self.is_recorded()
    }
}

impl Reference {
    /// Returns what is open of a resource, in order, with whether it runs.
    pub(super) fn open_of(&self, resource: u64) -> Vec<(u64, bool)> {
        let known = self.deliveries.iter().filter(|(_, of)| of.is_known());
        let of_it = known.filter(|(_, of)| of.resource == Some(resource));
        of_it.map(|(n, of)| (*n, of.run.is_some())).collect()
    }

    /// Whether the delivery's resource lets it run.
    pub(super) fn admits(&self, n: u64) -> bool {
        let (Some(at_once), Some(resource)) =
            (self.policy.leases_per_resource(), self.deliveries[&n].resource)
        else {
            return true;
        };
        let at_once = usize::try_from(at_once).unwrap();
        let open = self.open_of(resource);
        let running = open.iter().filter(|(_, runs)| *runs).count();
        let is_quiet = self.quiet.get(&resource).is_none_or(|(_, until)| *until <= self.now);
        is_quiet && running < at_once && open.iter().take(at_once).any(|(of, _)| *of == n)
    }

    /// Says what is known of an event's resource, for whoever finds it busy.
    pub(super) fn why_not(&self, n: u64) -> String {
        let resource = self.deliveries[&n].resource;
        let open = resource.map(|resource| (self.open_of(resource), self.quiet.get(&resource)));
        format!("{resource:?}: {open:?} under {:?} at {}", self.policy, self.now)
    }

    /// Lets newer events take the place of older ones that nobody works on.
    pub(super) fn coalesce(&mut self, now: Timestamp) {
        self.quiet.retain(|_, (_, until)| now < *until);
        if self.policy.coalesce == Coalesce::None {
            return;
        }
        let resources: std::collections::BTreeSet<_> =
            self.deliveries.values().filter_map(|delivery| delivery.resource).collect();
        for resource in resources {
            let open = self.open_of(resource);
            let Some((newest, newest_runs)) = open.last().copied() else { continue };
            let older: Vec<_> =
                open.iter().filter(|(n, runs)| !*runs && *n != newest).map(|(n, _)| *n).collect();
            for n in &older {
                let delivery = self.deliveries.get_mut(n).unwrap();
                delivery.waiting = false;
                delivery.shunned = None;
                delivery.live.end = End::Superseded(newest);
                if delivery.live.ended.is_some() {
                    self.superseded_at.insert(*n, now);
                }
                self.went("superseded");
                self.write(*n);
            }
            if !older.is_empty() && !newest_runs {
                self.deliveries.get_mut(&newest).unwrap().blocked.0 = true;
            }
        }
    }

    /// Notes that an event came that a debounced resource has to be quiet after.
    pub(super) fn hear_of(&mut self, resource: Option<u64>, received_at: Timestamp) {
        let Coalesce::Debounce { quiet, max_wait } = self.policy.coalesce else { return };
        let Some(resource) = resource else { return };
        let waits: (Duration, Duration) = (quiet, max_wait);
        let first = self.quiet.get(&resource).map_or(received_at, |(first, _)| *first);
        let until = (received_at + waits.0).min(first + waits.1);
        self.quiet.insert(resource, (first, until));
    }
}
