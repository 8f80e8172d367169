//! Subscriptions and deliveries as JSON for scripts, as in [`super::event_json`]; durations are seconds.

use hookline_client::proto::{
    Coalesce, DeliveryCounts, DeliveryStatus, Hold, Ordering, Subscription, SubscriptionPolicy,
    SubscriptionPosition,
};
use serde::Serialize;
use serde_json::Number;

use super::{event_json::AttemptJson, text};

/// `hookline.v1.Subscription`.
#[derive(Debug, Serialize)]
pub(super) struct SubscriptionJson<'a> {
    name: &'a str,
    patterns: &'a [String],
    filter: &'a str,
    policy: Option<PolicyJson>,
    created_at: Option<String>,
    position: PositionJson,
    counts: CountsJson,
    oldest_age_secs: Option<Number>,
    consumers: &'a [String],
    paused: bool,
    paused_until: Option<String>,
    hold: Option<&'static str>,
    hold_until: Option<String>,
}

impl<'a> SubscriptionJson<'a> {
    pub(super) fn new(it: &'a Subscription) -> Self {
        Self {
            name: &it.name,
            patterns: &it.patterns,
            filter: &it.filter,
            policy: it.policy.as_ref().map(PolicyJson::new),
            created_at: text::time(it.created_at.as_ref()),
            position: PositionJson::new(it.position.unwrap_or_default()),
            counts: CountsJson::new(it.counts.unwrap_or_default()),
            oldest_age_secs: secs(it.oldest_age.as_ref()),
            consumers: &it.consumers,
            paused: it.paused,
            paused_until: text::time(it.paused_until.as_ref()),
            hold: hold_name(it.hold()),
            hold_until: text::time(it.hold_until.as_ref()),
        }
    }
}

/// `hookline.v1.SubscriptionPosition`.
#[derive(Debug, Serialize)]
struct PositionJson {
    log_end: u64,
    scanned: u64,
    done_floor: u64,
}

impl PositionJson {
    const fn new(it: SubscriptionPosition) -> Self {
        Self { log_end: it.log_end, scanned: it.scanned, done_floor: it.done_floor }
    }
}

/// `hookline.v1.DeliveryCounts`.
#[derive(Debug, Serialize)]
struct CountsJson {
    ready: u64,
    leased: u64,
    waiting: u64,
    dead: u64,
    unscanned: u64,
}

impl CountsJson {
    const fn new(it: DeliveryCounts) -> Self {
        Self {
            ready: it.ready,
            leased: it.leased,
            waiting: it.waiting,
            dead: it.dead,
            unscanned: it.unscanned,
        }
    }
}

/// `hookline.v1.SubscriptionPolicy`.
#[derive(Debug, Serialize)]
struct PolicyJson {
    lease_duration_secs: Option<Number>,
    max_lease_secs: Option<Number>,
    max_attempts: Option<u32>,
    initial_backoff_secs: Option<Number>,
    max_backoff_secs: Option<Number>,
    backoff_multiplier: Option<f64>,
    jitter: Option<f64>,
    ordering: Option<&'static str>,
    max_in_flight_per_resource: Option<u32>,
    coalesce: Option<&'static str>,
    debounce_quiet_secs: Option<Number>,
    debounce_max_wait_secs: Option<Number>,
    reconnect_grace_secs: Option<Number>,
    max_per_second: Option<f64>,
    burst: Option<u32>,
    breaker_failures: Option<u32>,
    breaker_pause_secs: Option<Number>,
    expire_after_secs: Option<Number>,
}

impl PolicyJson {
    fn new(it: &SubscriptionPolicy) -> Self {
        let (ordering, coalesce) = (it.ordering(), it.coalesce());
        Self {
            lease_duration_secs: secs(it.lease_duration.as_ref()),
            max_lease_secs: secs(it.max_lease.as_ref()),
            max_attempts: it.max_attempts,
            initial_backoff_secs: secs(it.initial_backoff.as_ref()),
            max_backoff_secs: secs(it.max_backoff.as_ref()),
            backoff_multiplier: it.backoff_multiplier,
            jitter: it.jitter,
            ordering: (ordering != Ordering::Unspecified).then(|| ordering.as_str_name()),
            max_in_flight_per_resource: it.max_in_flight_per_resource,
            coalesce: (coalesce != Coalesce::Unspecified).then(|| coalesce.as_str_name()),
            debounce_quiet_secs: secs(it.debounce_quiet.as_ref()),
            debounce_max_wait_secs: secs(it.debounce_max_wait.as_ref()),
            reconnect_grace_secs: secs(it.reconnect_grace.as_ref()),
            max_per_second: it.max_per_second,
            burst: it.burst,
            breaker_failures: it.breaker_failures,
            breaker_pause_secs: secs(it.breaker_pause.as_ref()),
            expire_after_secs: secs(it.expire_after.as_ref()),
        }
    }
}

/// `hookline.v1.DeliveryStatus`.
#[derive(Debug, Serialize)]
pub(super) struct DeliveryJson<'a> {
    subscription: &'a str,
    event_id: &'a str,
    sequence: u64,
    state: &'static str,
    attempt: u32,
    attempts: Vec<AttemptJson<'a>>,
    next_attempt_at: Option<String>,
    lease_expires_at: Option<String>,
    dead_letter_id: &'a str,
    consumer: &'a str,
    progress: &'a str,
    hold: Option<&'static str>,
    hold_until: Option<String>,
    blocked_by_sequence: Option<u64>,
    superseded_by_sequence: Option<u64>,
    superseded_count: u64,
}

impl<'a> DeliveryJson<'a> {
    pub(super) fn new(it: &'a DeliveryStatus) -> Self {
        let sequence = |sequence: u64| (sequence != 0).then_some(sequence);
        Self {
            subscription: &it.subscription,
            event_id: &it.event_id,
            sequence: it.sequence,
            state: it.state().as_str_name(),
            attempt: it.attempt,
            attempts: it.attempts.iter().map(AttemptJson::new).collect(),
            next_attempt_at: text::time(it.next_attempt_at.as_ref()),
            lease_expires_at: text::time(it.lease_expires_at.as_ref()),
            dead_letter_id: &it.dead_letter_id,
            consumer: &it.consumer,
            progress: &it.progress,
            hold: hold_name(it.hold()),
            hold_until: text::time(it.hold_until.as_ref()),
            blocked_by_sequence: sequence(it.blocked_by_sequence),
            superseded_by_sequence: sequence(it.superseded_by_sequence),
            superseded_count: it.superseded_count,
        }
    }
}

fn hold_name(hold: Hold) -> Option<&'static str> {
    (hold != Hold::Unspecified).then(|| hold.as_str_name())
}

/// Returns a duration in seconds, with a fraction only where it has one.
fn secs(duration: Option<&prost_types::Duration>) -> Option<Number> {
    let duration = duration?;
    if duration.nanos == 0 {
        return Some(duration.seconds.into());
    }
    std::time::Duration::try_from(*duration).ok().and_then(|it| Number::from_f64(it.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::event_json::line;

    #[test]
    fn a_subscription_is_one_object_with_its_policy() {
        let millis = |millis| prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 };
        let subscription = Subscription {
            name: "triage".to_owned(),
            policy: Some(SubscriptionPolicy {
                lease_duration: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
                debounce_quiet: Some(millis(5)),
                coalesce: Coalesce::Debounce.into(),
                ..SubscriptionPolicy::default()
            }),
            hold: Hold::Paused.into(),
            ..Subscription::default()
        };
        let value: Value =
            serde_json::from_str(&line(&SubscriptionJson::new(&subscription))).unwrap();
        assert_eq!(value["policy"]["lease_duration_secs"], 60);
        assert_eq!(value["policy"]["debounce_quiet_secs"], 0.005);
        assert_eq!(value["policy"]["coalesce"], "COALESCE_DEBOUNCE");
        assert_eq!(value["policy"]["ordering"], Value::Null);
        assert_eq!((&value["hold"], &value["counts"]["ready"]), (&"HOLD_PAUSED".into(), &0.into()));
    }

    #[test]
    fn a_delivery_is_one_object() {
        let status =
            DeliveryStatus { sequence: 7, blocked_by_sequence: 3, ..DeliveryStatus::default() };
        let value: Value = serde_json::from_str(&line(&DeliveryJson::new(&status))).unwrap();
        assert_eq!((&value["sequence"], &value["blocked_by_sequence"]), (&7.into(), &3.into()));
        assert_eq!(value["superseded_by_sequence"], Value::Null);
    }
}
