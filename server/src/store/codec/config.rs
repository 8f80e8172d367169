//! What a subscription is, as a small message.

use std::time::Duration;

use bytes::Bytes;
use hookline_core::{
    delivery::{Breaker, Coalesce, Ordering, Pause, Policy, Rate},
    event::SubscriptionName,
    pattern::PatternSet,
};
use prost::Message;

use super::{
    super::{ReadError, Rule, SubscriptionConfig},
    damaged, decode, timestamp,
};

#[derive(Clone, PartialEq, Message)]
struct ConfigRow {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "2")]
    patterns: Vec<String>,
    #[prost(sint64, tag = "3")]
    created_at: i64,
    #[prost(uint64, tag = "4")]
    start_after: u64,
    #[prost(message, optional, tag = "5")]
    policy: Option<PolicyRow>,
    #[prost(string, tag = "6")]
    filter: String,
    #[prost(message, repeated, tag = "7")]
    earlier: Vec<EarlierRow>,
    #[prost(message, optional, tag = "8")]
    look_back: Option<RangeRow>,
    /// Whether it is paused, until `paused_until` if that is there.
    #[prost(bool, tag = "9")]
    paused: bool,
    #[prost(sint64, optional, tag = "10")]
    paused_until: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct EarlierRow {
    #[prost(uint64, tag = "1")]
    through: u64,
    #[prost(string, repeated, tag = "2")]
    patterns: Vec<String>,
    #[prost(string, tag = "3")]
    filter: String,
}

#[derive(Clone, PartialEq, Message)]
struct RangeRow {
    #[prost(uint64, tag = "1")]
    after: u64,
    #[prost(uint64, tag = "2")]
    through: u64,
}

/// Durations in nanoseconds.
#[derive(Clone, PartialEq, Message)]
struct PolicyRow {
    #[prost(uint64, tag = "1")]
    lease_duration: u64,
    #[prost(uint64, tag = "2")]
    max_lease: u64,
    #[prost(uint32, tag = "3")]
    max_attempts: u32,
    #[prost(uint64, tag = "4")]
    initial_backoff: u64,
    #[prost(uint64, tag = "5")]
    max_backoff: u64,
    #[prost(double, tag = "6")]
    backoff_multiplier: f64,
    #[prost(double, tag = "7")]
    jitter: f64,
    #[prost(uint64, tag = "8")]
    reconnect_grace: u64,
    /// 0: no order.
    #[prost(uint32, tag = "9")]
    at_once_per_resource: u32,
    /// 0: none, 1: latest, 2: debounce.
    #[prost(uint32, tag = "10")]
    coalesce: u32,
    #[prost(uint64, tag = "11")]
    quiet: u64,
    #[prost(uint64, tag = "12")]
    max_wait: u64,
    /// 0: no limit.
    #[prost(double, tag = "13")]
    per_second: f64,
    #[prost(uint32, tag = "14")]
    burst: u32,
    /// 0: no breaker.
    #[prost(uint32, tag = "15")]
    breaker_failures: u32,
    #[prost(uint64, tag = "16")]
    breaker_pause: u64,
    /// 0: never.
    #[prost(uint64, tag = "17")]
    expire_after: u64,
}

impl PolicyRow {
    fn new(policy: &Policy) -> Self {
        // 584 years, and a policy's bounds are ten.
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let (coalesce, quiet, max_wait) = match policy.coalesce {
            Coalesce::None => (0, 0, 0),
            Coalesce::Latest => (1, 0, 0),
            Coalesce::Debounce { quiet, max_wait } => (2, nanos(quiet), nanos(max_wait)),
        };
        Self {
            lease_duration: nanos(policy.lease_duration),
            max_lease: nanos(policy.max_lease),
            max_attempts: policy.max_attempts,
            initial_backoff: nanos(policy.initial_backoff),
            max_backoff: nanos(policy.max_backoff),
            backoff_multiplier: policy.backoff_multiplier,
            jitter: policy.jitter,
            reconnect_grace: nanos(policy.reconnect_grace),
            at_once_per_resource: match policy.ordering {
                Ordering::None => 0,
                Ordering::Resource { at_once } => at_once,
            },
            coalesce,
            quiet,
            max_wait,
            per_second: policy.rate.map_or(0.0, |rate| rate.per_second),
            burst: policy.rate.map_or(0, |rate| rate.burst),
            breaker_failures: policy.breaker.map_or(0, |breaker| breaker.failures),
            breaker_pause: policy.breaker.map_or(0, |breaker| nanos(breaker.pause)),
            expire_after: policy.expire_after.map_or(0, nanos),
        }
    }

    fn read(&self) -> Result<Policy, ReadError> {
        let nanos = Duration::from_nanos;
        Ok(Policy {
            lease_duration: nanos(self.lease_duration),
            max_lease: nanos(self.max_lease),
            max_attempts: self.max_attempts,
            initial_backoff: nanos(self.initial_backoff),
            max_backoff: nanos(self.max_backoff),
            backoff_multiplier: self.backoff_multiplier,
            jitter: self.jitter,
            reconnect_grace: nanos(self.reconnect_grace),
            ordering: match self.at_once_per_resource {
                0 => Ordering::None,
                at_once => Ordering::Resource { at_once },
            },
            coalesce: match self.coalesce {
                0 => Coalesce::None,
                1 => Coalesce::Latest,
                2 => {
                    Coalesce::Debounce { quiet: nanos(self.quiet), max_wait: nanos(self.max_wait) }
                }
                other => return Err(damaged(format!("the coalescing `{other}` of a policy"))),
            },
            rate: (self.per_second > 0.0)
                .then_some(Rate { per_second: self.per_second, burst: self.burst }),
            breaker: (self.breaker_failures > 0).then_some(Breaker {
                failures: self.breaker_failures,
                pause: nanos(self.breaker_pause),
            }),
            expire_after: (self.expire_after > 0).then_some(nanos(self.expire_after)),
        })
    }
}

fn pattern_texts(patterns: &PatternSet) -> Vec<String> {
    patterns.patterns().iter().map(ToString::to_string).collect()
}

/// Returns the bytes of a subscription's config.
pub(in super::super) fn encode_config(config: &SubscriptionConfig) -> Vec<u8> {
    let earlier = config.earlier.iter().map(|(through, rule)| EarlierRow {
        through: *through,
        patterns: pattern_texts(&rule.patterns),
        filter: rule.filter.clone(),
    });
    ConfigRow {
        name: config.name.as_str().to_owned(),
        patterns: pattern_texts(&config.rule.patterns),
        created_at: config.created_at.as_micros(),
        start_after: config.start_after,
        policy: Some(PolicyRow::new(&config.policy)),
        filter: config.rule.filter.clone(),
        earlier: earlier.collect(),
        look_back: config.look_back.map(|(after, through)| RangeRow { after, through }),
        paused: config.pause != Pause::Off,
        paused_until: match config.pause {
            Pause::Off | Pause::On => None,
            Pause::Until(until) => Some(until.as_micros()),
        },
    }
    .encode_to_vec()
}

/// Reads a subscription's config.
pub(in super::super) fn decode_config(bytes: Bytes) -> Result<SubscriptionConfig, ReadError> {
    let row: ConfigRow = decode(bytes, "a config")?;
    let policy = row.policy.ok_or_else(|| damaged("a config without a policy"))?;
    let rule = |patterns: &[String], filter: String| {
        let patterns = PatternSet::parse(patterns)
            .map_err(|error| damaged(format!("the patterns of `{}`: {error}", row.name)))?;
        Ok::<_, ReadError>(Rule { patterns, filter })
    };
    let earlier = row.earlier.iter();
    let earlier = earlier
        .map(|earlier| Ok((earlier.through, rule(&earlier.patterns, earlier.filter.clone())?)));
    Ok(SubscriptionConfig {
        name: SubscriptionName::parse(&row.name).map_err(|error| damaged(error.to_string()))?,
        rule: rule(&row.patterns, row.filter.clone())?,
        earlier: earlier.collect::<Result<_, ReadError>>()?,
        look_back: row.look_back.map(|range| (range.after, range.through)),
        policy: policy.read()?,
        pause: match (row.paused, row.paused_until) {
            (false, _) => Pause::Off,
            (true, None) => Pause::On,
            (true, Some(until)) => Pause::Until(timestamp(until)?),
        },
        created_at: timestamp(row.created_at)?,
        start_after: row.start_after,
    })
}
