//! The event that announces a dead letter: its payload is the `DeadLetter` of the contract, in proto3 JSON with the
//! field names of the `.proto` files.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hookline_core::{
    delivery::{Attempt, AttemptEnd, Reason},
    event::{DEAD_LETTER_SOURCE, Event, EventType, NewEvent, SourceName, SubscriptionName},
    metadata::Metadata,
    planted::{Bug, is_planted},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::DeadLetterId;
use crate::store::DeadRow;

/// A payload above this size is left out of the announcement; the dead letter itself has it.
pub(super) const PAYLOAD_BYTES_MAX: u64 = 256 * 1024;

/// The key of the metadata with the subject of the event that was given up.
pub(super) const SUBJECT: &str = "subject";

/// Makes the announcement of a row; `payload` is the event's, where it is small enough.
pub(super) fn announce(
    subscription: &SubscriptionName,
    row: &DeadRow,
    payload: Option<&Bytes>,
) -> NewEvent {
    let event = &row.entry.event;
    let id = DeadLetterId::of(row);
    let reason = reason_name(row.letter.reason);
    let mut metadata = Metadata::from([
        ("dead_letter_id", id.to_string().as_str()),
        ("event_id", &event.id.to_string()),
        (SUBJECT, &event.subject()),
        ("reason", reason),
        ("content_type", "application/json"),
    ]);
    if let Some(trace) = event.content.metadata.get("traceparent") {
        metadata.insert("traceparent", trace);
    }
    NewEvent {
        source: SourceName::parse(DEAD_LETTER_SOURCE).expect("it is a source's name"),
        event_type: EventType::parse(subscription.as_str())
            .expect("a subscription's name is an event type: the same alphabet, and shorter"),
        timestamp: row.letter.died_at,
        actor: event.content.actor.clone(),
        resource_type: event.content.resource_type.clone(),
        resource_id: event.content.resource_id.clone(),
        payload: body(subscription, row, &id, payload),
        metadata,
        delivery_key: if is_planted(Bug::AnnouncedTwice) {
            "".into()
        } else {
            id.to_string().into()
        },
        replay_window: None,
    }
}

fn body(
    subscription: &SubscriptionName,
    row: &DeadRow,
    id: &DeadLetterId,
    payload: Option<&Bytes>,
) -> Bytes {
    let json = payload.and_then(|payload| serde_json::from_slice::<&RawValue>(payload).ok());
    let letter = DeadLetterJson {
        id: id.to_string(),
        subscription: subscription.as_str(),
        event: EventJson::new(&row.entry.event, row.entry.payload_size, payload, json),
        reason: reason_name(row.letter.reason),
        attempts: row.letter.history.iter().map(AttemptJson::new).collect(),
        died_at: row.letter.died_at.to_string(),
        generation: row.letter.generation,
        detail: &row.letter.detail,
    };
    serde_json::to_vec(&letter).expect("text, numbers and valid JSON are written").into()
}

/// `hookline.v1.DeadLetter`.
#[derive(Serialize)]
struct DeadLetterJson<'a> {
    id: String,
    subscription: &'a str,
    event: EventJson<'a>,
    reason: &'static str,
    attempts: Vec<AttemptJson<'a>>,
    died_at: String,
    generation: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

/// `hookline.v1.Event`. 64-bit integers are strings (proto3 JSON mapping).
#[derive(Serialize)]
struct EventJson<'a> {
    id: String,
    sequence: String,
    source: &'a str,
    event_type: &'a str,
    timestamp: String,
    actor: &'a str,
    resource_type: &'a str,
    resource_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    metadata: BTreeMap<&'a str, &'a str>,
    received_at: String,
    delivery_key: &'a str,
    payload_size: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_json: Option<&'a RawValue>,
}

impl<'a> EventJson<'a> {
    fn new(
        event: &'a Event,
        payload_size: u64,
        payload: Option<&Bytes>,
        json: Option<&'a RawValue>,
    ) -> Self {
        let content = &event.content;
        Self {
            id: event.id.to_string(),
            sequence: event.sequence.to_string(),
            source: content.source.as_str(),
            event_type: content.event_type.as_str(),
            timestamp: content.timestamp.to_string(),
            actor: &content.actor,
            resource_type: &content.resource_type,
            resource_id: &content.resource_id,
            payload: payload.filter(|_| json.is_none()).map(|bytes| STANDARD.encode(bytes)),
            metadata: content.metadata.iter().collect(),
            received_at: event.received_at.to_string(),
            delivery_key: &content.delivery_key,
            payload_size: payload_size.to_string(),
            payload_json: json,
        }
    }
}

/// `hookline.v1.Attempt`.
#[derive(Serialize)]
struct AttemptJson<'a> {
    number: u32,
    consumer: &'a str,
    started_at: String,
    ended_at: String,
    end: &'static str,
    reason: &'a str,
    error_type: &'a str,
}

impl<'a> AttemptJson<'a> {
    fn new(attempt: &'a Attempt) -> Self {
        Self {
            number: attempt.number,
            consumer: &attempt.consumer,
            started_at: attempt.started_at.to_string(),
            ended_at: attempt.ended_at.to_string(),
            end: end_name(attempt.end),
            reason: &attempt.reason,
            error_type: &attempt.error_type,
        }
    }
}

fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::MaxAttempts => "DEAD_LETTER_REASON_MAX_ATTEMPTS",
        Reason::Rejected => "DEAD_LETTER_REASON_REJECTED",
        Reason::FilterError => "DEAD_LETTER_REASON_FILTER_ERROR",
        Reason::Retention => "DEAD_LETTER_REASON_RETENTION",
    }
}

fn end_name(end: AttemptEnd) -> &'static str {
    match end {
        AttemptEnd::Nacked => "ATTEMPT_END_NACKED",
        AttemptEnd::Rejected => "ATTEMPT_END_REJECTED",
        AttemptEnd::LeaseExpired => "ATTEMPT_END_LEASE_EXPIRED",
        AttemptEnd::MaxLeaseReached => "ATTEMPT_END_MAX_LEASE_REACHED",
        AttemptEnd::ConsumerLost => "ATTEMPT_END_CONSUMER_LOST",
        AttemptEnd::ReleasedTooOften => "ATTEMPT_END_RELEASED_TOO_OFTEN",
    }
}
