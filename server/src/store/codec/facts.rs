//! Facts about subscriptions and their deliveries, as small messages.

use std::time::Duration;

use bytes::Bytes;
use hookline_core::{
    delivery::{
        Attempt, AttemptEnd, DeadLetter, Epoch, LeaseRecord, Policy, Reason, Record, Settlement,
        Stamp,
    },
    event::{Sequence, SubscriptionName},
    pattern::PatternSet,
    time::Timestamp,
};
use prost::Message;

use super::{
    super::{ReadError, SubscriptionConfig},
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
}

/// Returns the bytes of a subscription's config.
pub(in super::super) fn encode_config(config: &SubscriptionConfig) -> Vec<u8> {
    let policy = &config.policy;
    // 584 years, and a policy's bounds are days.
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    ConfigRow {
        name: config.name.as_str().to_owned(),
        patterns: config.patterns.patterns().iter().map(ToString::to_string).collect(),
        created_at: config.created_at.as_micros(),
        start_after: config.start_after,
        policy: Some(PolicyRow {
            lease_duration: nanos(policy.lease_duration),
            max_lease: nanos(policy.max_lease),
            max_attempts: policy.max_attempts,
            initial_backoff: nanos(policy.initial_backoff),
            max_backoff: nanos(policy.max_backoff),
            backoff_multiplier: policy.backoff_multiplier,
            jitter: policy.jitter,
            reconnect_grace: nanos(policy.reconnect_grace),
        }),
    }
    .encode_to_vec()
}

/// Reads a subscription's config.
pub(in super::super) fn decode_config(bytes: Bytes) -> Result<SubscriptionConfig, ReadError> {
    let row: ConfigRow = decode(bytes, "a config")?;
    let policy = row.policy.ok_or_else(|| damaged("a config without a policy"))?;
    Ok(SubscriptionConfig {
        name: SubscriptionName::parse(&row.name).map_err(|error| damaged(error.to_string()))?,
        patterns: PatternSet::parse(&row.patterns)
            .map_err(|error| damaged(format!("the patterns of `{}`: {error}", row.name)))?,
        policy: Policy {
            lease_duration: Duration::from_nanos(policy.lease_duration),
            max_lease: Duration::from_nanos(policy.max_lease),
            max_attempts: policy.max_attempts,
            initial_backoff: Duration::from_nanos(policy.initial_backoff),
            max_backoff: Duration::from_nanos(policy.max_backoff),
            backoff_multiplier: policy.backoff_multiplier,
            jitter: policy.jitter,
            reconnect_grace: Duration::from_nanos(policy.reconnect_grace),
        },
        created_at: timestamp(row.created_at)?,
        start_after: row.start_after,
    })
}

#[derive(Clone, PartialEq, Message)]
struct AttemptRow {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(string, tag = "2")]
    consumer: String,
    #[prost(sint64, tag = "3")]
    started_at: i64,
    #[prost(sint64, tag = "4")]
    ended_at: i64,
    #[prost(uint32, tag = "5")]
    end: u32,
    #[prost(string, tag = "6")]
    reason: String,
    #[prost(string, tag = "7")]
    error_type: String,
}

fn attempt_rows(history: &[Attempt]) -> Vec<AttemptRow> {
    let row = |attempt: &Attempt| AttemptRow {
        number: attempt.number,
        consumer: attempt.consumer.clone(),
        started_at: attempt.started_at.as_micros(),
        ended_at: attempt.ended_at.as_micros(),
        end: match attempt.end {
            AttemptEnd::Nacked => 2,
            AttemptEnd::Rejected => 3,
            AttemptEnd::LeaseExpired => 4,
            AttemptEnd::MaxLeaseReached => 5,
            AttemptEnd::ConsumerLost => 6,
            AttemptEnd::ReleasedTooOften => 7,
        },
        reason: attempt.reason.clone(),
        error_type: attempt.error_type.clone(),
    };
    history.iter().map(row).collect()
}

fn attempts(rows: Vec<AttemptRow>) -> Result<Vec<Attempt>, ReadError> {
    let attempt = |row: AttemptRow| {
        Ok(Attempt {
            number: row.number,
            consumer: row.consumer,
            started_at: timestamp(row.started_at)?,
            ended_at: timestamp(row.ended_at)?,
            end: match row.end {
                2 => AttemptEnd::Nacked,
                3 => AttemptEnd::Rejected,
                4 => AttemptEnd::LeaseExpired,
                5 => AttemptEnd::MaxLeaseReached,
                6 => AttemptEnd::ConsumerLost,
                7 => AttemptEnd::ReleasedTooOften,
                other => return Err(damaged(format!("the end `{other}` of an attempt"))),
            },
            reason: row.reason,
            error_type: row.error_type,
        })
    };
    rows.into_iter().map(attempt).collect()
}

#[derive(Clone, PartialEq, Message)]
struct StampRow {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    counter: u64,
}

impl From<Stamp> for StampRow {
    fn from(stamp: Stamp) -> Self {
        Self { epoch: stamp.epoch.0, counter: stamp.counter }
    }
}

impl From<StampRow> for Stamp {
    fn from(row: StampRow) -> Self {
        Self { epoch: Epoch(row.epoch), counter: row.counter }
    }
}

#[derive(Clone, PartialEq, Message)]
struct LeaseRow {
    #[prost(message, optional, tag = "1")]
    stamp: Option<StampRow>,
    #[prost(string, tag = "2")]
    consumer: String,
    #[prost(sint64, tag = "3")]
    started_at: i64,
    #[prost(sint64, tag = "4")]
    expires_at: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RecordRow {
    #[prost(uint32, tag = "1")]
    generation: u32,
    #[prost(uint32, tag = "2")]
    attempts: u32,
    #[prost(uint32, tag = "3")]
    give_backs: u32,
    #[prost(message, repeated, tag = "4")]
    history: Vec<AttemptRow>,
    #[prost(sint64, optional, tag = "5")]
    due_at: Option<i64>,
    #[prost(message, optional, tag = "6")]
    fence: Option<StampRow>,
    #[prost(bool, tag = "7")]
    late_ack: bool,
    #[prost(message, optional, tag = "8")]
    lease: Option<LeaseRow>,
    #[prost(bool, tag = "9")]
    redriven: bool,
}

/// Returns the bytes of an open delivery's record.
pub(in super::super) fn encode_record(record: &Record) -> Vec<u8> {
    RecordRow {
        generation: record.generation,
        attempts: record.attempts,
        give_backs: record.give_backs,
        history: attempt_rows(&record.history),
        due_at: record.due_at.map(Timestamp::as_micros),
        fence: record.fence.map(StampRow::from),
        late_ack: record.late_ack,
        lease: record.lease.as_ref().map(|lease| LeaseRow {
            stamp: Some(lease.stamp.into()),
            consumer: lease.consumer.clone(),
            started_at: lease.started_at.as_micros(),
            expires_at: lease.expires_at.as_micros(),
        }),
        redriven: record.redriven,
    }
    .encode_to_vec()
}

/// Reads an open delivery's record.
pub(in super::super) fn decode_record(bytes: Bytes) -> Result<Record, ReadError> {
    let row: RecordRow = decode(bytes, "a record")?;
    let lease = |lease: LeaseRow| {
        let stamp = lease.stamp.ok_or_else(|| damaged("a lease without a stamp"))?;
        Ok(LeaseRecord {
            stamp: stamp.into(),
            consumer: lease.consumer,
            started_at: timestamp(lease.started_at)?,
            expires_at: timestamp(lease.expires_at)?,
        })
    };
    Ok(Record {
        generation: row.generation,
        attempts: row.attempts,
        give_backs: row.give_backs,
        history: attempts(row.history)?,
        due_at: row.due_at.map(timestamp).transpose()?,
        fence: row.fence.map(Stamp::from),
        late_ack: row.late_ack,
        lease: row.lease.map(lease).transpose()?,
        redriven: row.redriven,
    })
}

#[derive(Clone, PartialEq, Message)]
struct LetterRow {
    #[prost(uint32, tag = "1")]
    generation: u32,
    #[prost(uint32, tag = "2")]
    reason: u32,
    #[prost(message, repeated, tag = "3")]
    history: Vec<AttemptRow>,
    #[prost(uint32, tag = "4")]
    attempts: u32,
    #[prost(sint64, tag = "5")]
    died_at: i64,
    #[prost(bool, tag = "6")]
    redriven: bool,
}

/// Returns the bytes of a dead letter without its event.
pub(in super::super) fn encode_letter(letter: &DeadLetter, redriven: bool) -> Vec<u8> {
    LetterRow {
        generation: letter.generation,
        reason: match letter.reason {
            Reason::MaxAttempts => 1,
            Reason::Rejected => 2,
            Reason::FilterError => 3,
            Reason::Retention => 4,
        },
        history: attempt_rows(&letter.history),
        attempts: letter.attempts,
        died_at: letter.died_at.as_micros(),
        redriven,
    }
    .encode_to_vec()
}

/// Reads a dead letter, and whether it was redriven.
pub(in super::super) fn decode_letter(bytes: Bytes) -> Result<(DeadLetter, bool), ReadError> {
    let row: LetterRow = decode(bytes, "a dead letter")?;
    let letter = DeadLetter {
        generation: row.generation,
        reason: match row.reason {
            1 => Reason::MaxAttempts,
            2 => Reason::Rejected,
            3 => Reason::FilterError,
            4 => Reason::Retention,
            other => return Err(damaged(format!("the reason `{other}` of a dead letter"))),
        },
        history: attempts(row.history)?,
        attempts: row.attempts,
        died_at: timestamp(row.died_at)?,
    };
    Ok((letter, row.redriven))
}

#[derive(Clone, PartialEq, Message)]
struct SettledRow {
    /// Each name once.
    #[prost(string, repeated, tag = "1")]
    consumers: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    settled: Vec<SettlementRow>,
}

#[derive(Clone, PartialEq, Message)]
struct SettlementRow {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    /// Its place in `consumers`.
    #[prost(uint32, tag = "2")]
    consumer: u32,
    #[prost(uint32, tag = "3")]
    attempt: u32,
    #[prost(sint64, tag = "4")]
    done_at: i64,
    /// How many microseconds before `done_at` the lease began.
    #[prost(sint64, tag = "5")]
    lasted: i64,
}

/// Returns the bytes of what one commit settled.
pub(in super::super) fn encode_settled(settled: &[(Sequence, Settlement)]) -> Vec<u8> {
    let mut consumers: Vec<String> = Vec::new();
    let mut rows = Vec::with_capacity(settled.len());
    for (sequence, settlement) in settled {
        let known = consumers.iter().position(|name| *name == settlement.consumer);
        let place = known.unwrap_or_else(|| {
            consumers.push(settlement.consumer.clone());
            consumers.len() - 1
        });
        let (done_at, leased_at) =
            (settlement.done_at.as_micros(), settlement.leased_at.as_micros());
        rows.push(SettlementRow {
            sequence: sequence.get(),
            consumer: u32::try_from(place).expect("a commit settles fewer than 2^32"),
            attempt: settlement.attempt,
            done_at,
            lasted: done_at - leased_at,
        });
    }
    SettledRow { consumers, settled: rows }.encode_to_vec()
}

/// Reads the newest settlement of `sequence` out of what one commit settled.
pub(in super::super) fn decode_settled(
    bytes: Bytes,
    sequence: Sequence,
) -> Result<Option<Settlement>, ReadError> {
    let row: SettledRow = decode(bytes, "settlements")?;
    let found = row.settled.iter().rev().find(|settled| settled.sequence == sequence.get());
    let Some(found) = found else { return Ok(None) };
    let name = usize::try_from(found.consumer).ok().and_then(|place| row.consumers.get(place));
    let leased_at = found.done_at.checked_sub(found.lasted);
    Ok(Some(Settlement {
        consumer: name.ok_or_else(|| damaged("a settlement without a consumer"))?.clone(),
        attempt: found.attempt,
        leased_at: timestamp(leased_at.ok_or_else(|| damaged("a settlement's time"))?)?,
        done_at: timestamp(found.done_at)?,
    }))
}
