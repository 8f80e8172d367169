//! How a subscription leases and retries.

use std::time::Duration;

use crate::{rate::Rate, time::Timestamp};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How a subscription leases and retries, within the bounds of DESIGN section 6.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How long a consumer has before it must settle or extend; 1 s to 1 h.
    pub lease_duration: Duration,
    /// How long one attempt may last with extensions; `lease_duration` to 24 h.
    pub max_lease: Duration,
    /// How many attempts may fail; 1 to 100.
    pub max_attempts: u32,
    /// The wait after the first failure; 0 to 24 h.
    pub initial_backoff: Duration,
    /// The longest wait; `initial_backoff` to 24 h.
    pub max_backoff: Duration,
    /// By how much each wait is longer than the one before; 1 to 1,000.
    pub backoff_multiplier: f64,
    /// By which part a wait is made longer or shorter at random; 0 to 1.
    pub jitter: f64,
    /// How long the leases of a consumer without a stream are kept; 0 to 10 min.
    pub reconnect_grace: Duration,
    /// In which order events are handed out.
    pub ordering: Ordering,
    /// Whether a newer event of a resource replaces older ones that nobody has begun.
    pub coalesce: Coalesce,
    /// How many leases are given at most, 0.001 to 100,000 per second and 1 to 100,000 at once; `None`: as many as
    /// consumers take.
    pub rate: Option<Rate>,
    /// When failures pause the subscription; `None`: never.
    pub breaker: Option<Breaker>,
    /// How long the subscription may be unused before it is deleted, 1 min to 10 years; `None`: for ever.
    pub expire_after: Option<Duration>,
}

/// In which order events are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ordering {
    /// As fast as consumers take them.
    #[default]
    None,
    /// Of each resource so many of its oldest open events at a time, from 1 to 100, in the order of the log.
    Resource {
        /// How many.
        at_once: u32,
    },
}

/// Whether a newer event of a resource replaces older ones that nobody has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Coalesce {
    /// Every event is handed out.
    #[default]
    None,
    /// Only the newest is.
    Latest,
    /// As `Latest`, once no newer event has come for a while.
    Debounce {
        /// For so long; 1 ms to 1 h.
        quiet: Duration,
        /// But never longer than this after the first that waits was received; `quiet` to 24 h.
        max_wait: Duration,
    },
}

/// When failures in a row pause a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// After so many, whatever their events; 1 to 10,000.
    pub failures: u32,
    /// For so long; then one event is tried. 1 s to 24 h.
    pub pause: Duration,
}

/// Whether a subscription gives leases at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Pause {
    /// It does.
    #[default]
    Off,
    /// Not before this time.
    Until(Timestamp),
    /// Not before it is resumed.
    On,
}

impl Coalesce {
    /// Returns a debounce: without newer events for 5 s, after 60 s at the latest, but for what is given.
    #[must_use]
    pub fn debounce(quiet: Option<Duration>, max_wait: Option<Duration>) -> Self {
        let quiet = quiet.unwrap_or(SECOND * 5);
        Self::Debounce { quiet, max_wait: max_wait.unwrap_or_else(|| MINUTE.max(quiet)) }
    }
}

impl Breaker {
    /// Returns a breaker; it pauses for a minute if nothing else is given.
    #[must_use]
    pub fn new(failures: u32, pause: Option<Duration>) -> Self {
        Self { failures, pause: pause.unwrap_or(MINUTE) }
    }
}

impl Policy {
    /// Returns what a running subscription can't change without looking at all that is open anew.
    #[must_use]
    pub fn flow(&self) -> (Ordering, Coalesce) {
        (self.ordering, self.coalesce)
    }

    /// Returns how many events of one resource may be leased at once; `None`: as many as there are. What is coalesced
    /// is also ordered: else a newer event would be handed out beside the older one that it could have replaced.
    #[must_use]
    pub fn leases_per_resource(&self) -> Option<u32> {
        match (self.ordering, self.coalesce) {
            (Ordering::Resource { at_once }, _) => Some(at_once),
            (Ordering::None, Coalesce::None) => None,
            (Ordering::None, Coalesce::Latest | Coalesce::Debounce { .. }) => Some(1),
        }
    }
}

/// How long checkpointed leases are kept after a restart for a consumer that has not been heard of.
pub(crate) const RESTART_GRACE: Duration = MINUTE;

impl Default for Policy {
    fn default() -> Self {
        Self {
            lease_duration: MINUTE,
            max_lease: HOUR,
            max_attempts: 5,
            initial_backoff: SECOND,
            max_backoff: MINUTE * 10,
            backoff_multiplier: 2.0,
            jitter: 0.2,
            reconnect_grace: SECOND * 15,
            ordering: Ordering::None,
            coalesce: Coalesce::None,
            rate: None,
            breaker: None,
            expire_after: None,
        }
    }
}

/// Which field of a policy is out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` must be {bounds}")]
pub struct PolicyError {
    /// The field's name, as in the contract.
    pub field: &'static str,
    /// What it must be.
    pub bounds: &'static str,
}

impl Policy {
    /// Checks every field against its bounds.
    ///
    /// # Errors
    ///
    /// The first field that is out of its bounds.
    pub fn check(&self) -> Result<(), PolicyError> {
        check(
            (SECOND..=HOUR).contains(&self.lease_duration),
            "lease_duration",
            "between 1 s and 1 h",
        )?;
        check(
            (self.lease_duration..=DAY).contains(&self.max_lease),
            "max_lease",
            "between `lease_duration` and 24 h",
        )?;
        check((1..=100).contains(&self.max_attempts), "max_attempts", "between 1 and 100")?;
        check(self.initial_backoff <= DAY, "initial_backoff", "between 0 and 24 h")?;
        check(
            (self.initial_backoff..=DAY).contains(&self.max_backoff),
            "max_backoff",
            "between `initial_backoff` and 24 h",
        )?;
        // NaN is in no range.
        check(
            (1.0..=1_000.0).contains(&self.backoff_multiplier),
            "backoff_multiplier",
            "between 1 and 1,000",
        )?;
        check((0.0..=1.0).contains(&self.jitter), "jitter", "between 0 and 1")?;
        check(self.reconnect_grace <= MINUTE * 10, "reconnect_grace", "between 0 and 10 min")?;
        self.check_flow()
    }

    /// As [`Policy::check`], of what decides whether there are leases at all.
    fn check_flow(&self) -> Result<(), PolicyError> {
        if let Ordering::Resource { at_once } = self.ordering {
            check((1..=100).contains(&at_once), "max_in_flight_per_resource", "between 1 and 100")?;
        }
        if let Coalesce::Debounce { quiet, max_wait } = self.coalesce {
            let bounds = Duration::from_millis(1)..=HOUR;
            check(bounds.contains(&quiet), "debounce_quiet", "between 1 ms and 1 h")?;
            check(
                (quiet..=DAY).contains(&max_wait),
                "debounce_max_wait",
                "between `debounce_quiet` and 24 h",
            )?;
        }
        if let Some(Rate { per_second, burst }) = self.rate {
            // NaN is in no range.
            check(
                (0.001..=100_000.0).contains(&per_second),
                "max_per_second",
                "between 0.001 and 100,000",
            )?;
            check((1..=100_000).contains(&burst), "burst", "between 1 and 100,000")?;
        }
        if let Some(Breaker { failures, pause }) = self.breaker {
            check((1..=10_000).contains(&failures), "breaker_failures", "between 1 and 10,000")?;
            check((SECOND..=DAY).contains(&pause), "breaker_pause", "between 1 s and 24 h")?;
        }
        let unused = self.expire_after.unwrap_or(DAY);
        check(
            (MINUTE..=DAY * 3_653).contains(&unused),
            "expire_after",
            "between 1 min and 10 years",
        )
    }

    /// Returns the wait after failure number `failures` (from 1), made longer or shorter by `random` in [-1, 1] times
    /// the jitter. Never above 24 h, however large the multiplier.
    #[must_use]
    pub fn backoff(&self, failures: u32, random: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial_backoff.as_secs_f64() * self.backoff_multiplier.powi(exponent);
        // Infinity is clamped like any other; a zero backoff stays zero even times infinity, which is NaN.
        let seconds = if seconds.is_nan() { 0.0 } else { seconds };
        let seconds = seconds.min(self.max_backoff.as_secs_f64());
        let seconds = seconds * (1.0 + self.jitter * random.clamp(-1.0, 1.0));
        Duration::try_from_secs_f64(seconds.clamp(0.0, DAY.as_secs_f64())).unwrap_or(DAY)
    }
}

fn check(ok: bool, field: &'static str, bounds: &'static str) -> Result<(), PolicyError> {
    if ok { Ok(()) } else { Err(PolicyError { field, bounds }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_is_within_its_bounds() {
        assert_eq!(Policy::default().check(), Ok(()));
    }

    #[test]
    fn each_field_has_bounds() {
        type Spoil = fn(&mut Policy);
        let cases: [(&str, Spoil); 19] = [
            ("lease_duration", |p| p.lease_duration = Duration::from_millis(999)),
            ("lease_duration", |p| p.lease_duration = HOUR + SECOND),
            ("max_lease", |p| p.max_lease = Duration::from_secs(59)),
            ("max_attempts", |p| p.max_attempts = 0),
            ("max_attempts", |p| p.max_attempts = 101),
            ("initial_backoff", |p| p.initial_backoff = DAY + SECOND),
            ("max_backoff", |p| p.max_backoff = Duration::ZERO),
            ("backoff_multiplier", |p| p.backoff_multiplier = f64::NAN),
            ("jitter", |p| p.jitter = 1.1),
            ("max_in_flight_per_resource", |p| p.ordering = Ordering::Resource { at_once: 0 }),
            ("max_in_flight_per_resource", |p| p.ordering = Ordering::Resource { at_once: 101 }),
            ("debounce_quiet", |p| {
                p.coalesce = Coalesce::Debounce { quiet: Duration::ZERO, max_wait: HOUR };
            }),
            ("debounce_max_wait", |p| {
                p.coalesce = Coalesce::Debounce { quiet: MINUTE, max_wait: SECOND };
            }),
            ("max_per_second", |p| p.rate = Some(Rate { per_second: f64::NAN, burst: 1 })),
            ("max_per_second", |p| p.rate = Some(Rate { per_second: 0.0, burst: 1 })),
            ("burst", |p| p.rate = Some(Rate { per_second: 1.0, burst: 0 })),
            ("breaker_failures", |p| p.breaker = Some(Breaker { failures: 0, pause: MINUTE })),
            ("breaker_pause", |p| p.breaker = Some(Breaker { failures: 1, pause: Duration::ZERO })),
            ("expire_after", |p| p.expire_after = Some(SECOND)),
        ];
        for (field, spoil) in cases {
            let mut policy = Policy::default();
            spoil(&mut policy);
            assert_eq!(policy.check().unwrap_err().field, field);
        }
    }

    #[test]
    fn b9_no_backoff_overflows() {
        let mut policy = Policy {
            backoff_multiplier: 1_000.0,
            max_backoff: DAY,
            initial_backoff: DAY,
            jitter: 1.0,
            ..Policy::default()
        };
        assert_eq!(policy.backoff(100, 1.0), DAY);
        assert_eq!(policy.backoff(u32::MAX, -1.0), Duration::ZERO);
        policy.initial_backoff = Duration::ZERO;
        assert_eq!(policy.backoff(u32::MAX, 1.0), Duration::ZERO);
    }

    #[test]
    fn b1_waits_double_from_one_second() {
        let policy = Policy::default();
        let waits = [1, 2, 3, 20].map(|n| policy.backoff(n, 0.0).as_secs());
        assert_eq!(waits, [1, 2, 4, 600]);
        assert_eq!(policy.backoff(1, 1.0), Duration::from_millis(1_200));
        assert_eq!(policy.backoff(1, -1.0), Duration::from_millis(800));
    }
}
