//! How facts are written as bytes: an event as its encoded `hookline.v1.Event`, everything else as small messages.
//!
//! The messages here are read by every later version: fields are added, never reused.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hookline_core::{
    delivery::{
        Attempt, AttemptEnd, DeadLetter, Epoch, LeaseRecord, Policy, Reason, Record, Settlement,
        Stamp,
    },
    event::{Event, EventId, EventType, NewEvent, Sequence, SourceName, SubscriptionName},
    time::Timestamp,
};
use hookline_proto::v1 as proto;
use prost::Message;

use super::{Entry, Packed, ReadError, SubscriptionConfig};

/// Returns the error for a row that holds what was never written.
pub(super) fn damaged(what: impl Into<Arc<str>>) -> ReadError {
    ReadError::Damaged(what.into())
}

fn decode<M: Message + Default>(bytes: Bytes, what: &'static str) -> Result<M, ReadError> {
    M::decode(bytes).map_err(|error| damaged(format!("{what}: {error}")))
}

/// An event with its payload as it lies in the store.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EntryRow {
    /// Without its payload.
    #[prost(message, optional, tag = "1")]
    pub(super) event: Option<proto::Event>,
    /// Empty if it lies in chunks.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) payload: Bytes,
    #[prost(bool, tag = "3")]
    pub(super) zstd: bool,
    /// 0: it lies here.
    #[prost(uint32, tag = "4")]
    pub(super) chunks: u32,
}

/// Returns the part of an encoded event that is known before it has its place in the log.
pub(super) fn encode_content(content: &NewEvent, payload_size: u64) -> Vec<u8> {
    proto::Event {
        source: content.source.as_str().to_owned(),
        event_type: content.event_type.as_str().to_owned(),
        timestamp: Some(to_proto_time(content.timestamp)),
        actor: content.actor.clone(),
        resource_type: content.resource_type.clone(),
        resource_id: content.resource_id.clone(),
        metadata: content.metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        delivery_key: content.delivery_key.clone(),
        payload_size,
        ..proto::Event::default()
    }
    .encode_to_vec()
}

/// Returns the part of an encoded event that gives it its place. Appended to its content, the two are one message.
pub(super) fn encode_place(id: EventId, sequence: Sequence, received_at: Timestamp) -> Vec<u8> {
    proto::Event {
        id: id.to_string(),
        sequence: sequence.get(),
        received_at: Some(to_proto_time(received_at)),
        ..proto::Event::default()
    }
    .encode_to_vec()
}

/// Returns the fields of an [`EntryRow`] that hold the payload.
pub(super) fn encode_packed(packed: &Packed) -> Vec<u8> {
    packed_row(packed).encode_to_vec()
}

fn packed_row(packed: &Packed) -> EntryRow {
    match packed {
        Packed::Plain(payload) => EntryRow { payload: payload.clone(), ..EntryRow::default() },
        Packed::Zstd(payload) => {
            EntryRow { payload: payload.clone(), zstd: true, ..EntryRow::default() }
        }
        Packed::Chunked { count, zstd, dead_letter: _ } => {
            EntryRow { zstd: *zstd, chunks: *count, ..EntryRow::default() }
        }
    }
}

/// Puts an [`EntryRow`] together of its encoded parts, as field `1` of the message around it.
pub(super) fn push_entry(row: &mut Vec<u8>, content: &[u8], place: &[u8], packed: &[u8]) {
    const FIELD_1_OF_BYTES: u8 = 0x0a;
    let event_bytes = content.len() + place.len();
    let entry_bytes = 1 + prost::length_delimiter_len(event_bytes) + event_bytes + packed.len();
    for len in [entry_bytes, event_bytes] {
        row.push(FIELD_1_OF_BYTES);
        prost::encode_length_delimiter(len, row).expect("a vector grows");
    }
    for part in [content, place, packed] {
        row.extend_from_slice(part);
    }
}

/// Returns the bytes of an entry: an [`EntryRow`].
pub(super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let event = &entry.event;
    let mut bytes = encode_content(&event.content, entry.payload_size);
    bytes.extend(encode_place(event.id, event.sequence, event.received_at));
    let event = proto::Event::decode(Bytes::from(bytes)).expect("it was encoded just now");
    EntryRow { event: Some(event), ..packed_row(&entry.packed) }.encode_to_vec()
}

/// Reads an [`EntryRow`].
pub(super) fn decode_entry(bytes: Bytes) -> Result<EntryRow, ReadError> {
    decode(bytes, "an entry")
}

/// Makes an entry of its row; `dead_letter` says whose chunks it has.
pub(super) fn entry(
    row: EntryRow,
    dead_letter: Option<hookline_core::delivery::Creation>,
) -> Result<Entry, ReadError> {
    let event = row.event.ok_or_else(|| damaged("an entry without an event"))?;
    let packed = match (row.chunks, row.zstd) {
        (0, false) => Packed::Plain(row.payload),
        (0, true) => Packed::Zstd(row.payload),
        (count, zstd) => Packed::Chunked { count, zstd, dead_letter },
    };
    let name = |error: hookline_core::event::NameError| damaged(error.to_string());
    Ok(Entry {
        payload_size: event.payload_size,
        packed,
        event: Event {
            id: EventId::parse(&event.id).ok_or_else(|| damaged("an event's id"))?,
            sequence: sequence(event.sequence)?,
            received_at: from_proto_time(event.received_at)?,
            content: NewEvent {
                source: SourceName::parse(&event.source).map_err(name)?,
                event_type: EventType::parse(&event.event_type).map_err(name)?,
                timestamp: from_proto_time(event.timestamp)?,
                actor: event.actor,
                resource_type: event.resource_type,
                resource_id: event.resource_id,
                payload: Bytes::new(),
                metadata: event.metadata.into_iter().collect(),
                delivery_key: event.delivery_key,
            },
        },
    })
}

fn to_proto_time(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).expect("below 10^9");
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

fn from_proto_time(time: Option<prost_types::Timestamp>) -> Result<Timestamp, ReadError> {
    let time = time.ok_or_else(|| damaged("an event without a time"))?;
    let micros = time.seconds.checked_mul(1_000_000);
    let micros = micros.and_then(|micros| micros.checked_add(i64::from(time.nanos / 1_000)));
    micros.and_then(Timestamp::from_micros).ok_or_else(|| damaged("an event's time"))
}

/// Reads a sequence, which is never 0.
pub(super) fn sequence(number: u64) -> Result<Sequence, ReadError> {
    Sequence::new(number).ok_or_else(|| damaged("a sequence of 0"))
}

/// Reads microseconds since the epoch.
pub(super) fn timestamp(micros: i64) -> Result<Timestamp, ReadError> {
    Timestamp::from_micros(micros).ok_or_else(|| damaged(format!("the time `{micros}`")))
}

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
pub(super) fn encode_config(config: &SubscriptionConfig) -> Vec<u8> {
    let policy = &config.policy;
    // 584 years, and a policy's bounds are days.
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    ConfigRow {
        name: config.name.as_str().to_owned(),
        patterns: config.patterns.clone(),
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
pub(super) fn decode_config(bytes: Bytes) -> Result<SubscriptionConfig, ReadError> {
    let row: ConfigRow = decode(bytes, "a config")?;
    let policy = row.policy.ok_or_else(|| damaged("a config without a policy"))?;
    Ok(SubscriptionConfig {
        name: SubscriptionName::parse(&row.name).map_err(|error| damaged(error.to_string()))?,
        patterns: row.patterns,
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
pub(super) fn encode_record(record: &Record) -> Vec<u8> {
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
pub(super) fn decode_record(bytes: Bytes) -> Result<Record, ReadError> {
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
pub(super) fn encode_letter(letter: &DeadLetter, redriven: bool) -> Vec<u8> {
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
pub(super) fn decode_letter(bytes: Bytes) -> Result<(DeadLetter, bool), ReadError> {
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
pub(super) fn encode_settled(settled: &[(Sequence, Settlement)]) -> Vec<u8> {
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
pub(super) fn decode_settled(
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
