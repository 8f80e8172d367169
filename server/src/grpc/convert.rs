//! Values of the core as messages of the contract.

mod payload;

use std::{sync::Arc, time::Duration};

use hookline_core::{
    delivery::{Attempt, AttemptEnd, Counts, Grant, Policy, Reason, Seal, Status as State},
    time::Timestamp,
};
use hookline_proto::v1;
use prost::Message as _;

use super::fields::{View, ViewKind};
use crate::{
    broker::{DeadLetterId, Delivered, Identity, Position, SubscriptionView},
    limits::{CONSUMERS_SHOWN_MAX, HELD_BARE_BYTES},
    store::{DeadRow, Entry, EventLog, ReadError},
};

pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000);
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: nanos.expect("less than a second"),
    }
}

pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).expect("less than a second"),
    }
}

/// Returns an entry as an event, with its payload as the view says: the view's limit holds for what is sent, whether
/// bytes or a value.
pub(super) async fn event(
    log: &dyn EventLog,
    entry: &Entry,
    view: View,
) -> Result<v1::Event, ReadError> {
    let mut event = bare_event(entry);
    if view.kind == ViewKind::None || view.bytes_max < entry.payload_size {
        return Ok(event);
    }
    let payload = log.payload(entry).await?;
    match view.kind {
        ViewKind::Struct => match payload::value(&payload, view.bytes_max).await {
            Some(value) => event.payload_json = Some(value),
            None => event.payload = payload,
        },
        ViewKind::Bytes | ViewKind::None => event.payload = payload,
    }
    Ok(event)
}

/// Returns an entry as an event without its payload.
pub(super) fn bare_event(entry: &Entry) -> v1::Event {
    let (event, content) = (&entry.event, &entry.event.content);
    v1::Event {
        id: event.id.to_string(),
        sequence: event.sequence.get(),
        source: content.source.to_string(),
        event_type: content.event_type.to_string(),
        timestamp: Some(timestamp(content.timestamp)),
        actor: content.actor.clone(),
        resource_type: content.resource_type.clone(),
        resource_id: content.resource_id.clone(),
        payload: bytes::Bytes::new(),
        metadata: content.metadata.clone().into_iter().collect(),
        received_at: Some(timestamp(event.received_at)),
        delivery_key: content.delivery_key.clone(),
        payload_size: entry.payload_size,
        payload_json: None,
    }
}

pub(super) fn delivery(
    seal: &Seal,
    identity: &Identity,
    grant: &Grant,
    event: v1::Event,
) -> v1::Delivery {
    v1::Delivery {
        lease_id: seal.seal(&grant.lease),
        event: Some(event),
        attempt: grant.lease.attempt,
        max_attempts: identity.policy.max_attempts,
        lease_expires_at: Some(timestamp(grant.expires_at)),
        lease_duration: Some(duration(identity.policy.lease_duration)),
        previous_attempts: grant.history.iter().map(attempt).collect(),
        superseded: Vec::new(),
        superseded_count: 0,
    }
}

/// Returns what a consumer holds, as deliveries without payload that take at most `budget` bytes together. Each lease is
/// there: what does not fit comes without the attempts before it, then without its event's metadata, at last with what
/// names the event alone.
pub(super) fn held(
    seal: &Seal,
    identity: &Identity,
    held: &[(Grant, Arc<Entry>)],
    budget: usize,
) -> Vec<v1::Delivery> {
    let drops: [fn(&mut v1::Delivery); 3] = [
        |delivery| delivery.previous_attempts.clear(),
        |delivery| drop_of_event(delivery, |event| event.metadata.clear()),
        |delivery| {
            drop_of_event(delivery, |event| {
                event.actor.clear();
                event.resource_type.clear();
                event.resource_id.clear();
                event.delivery_key.clear();
            });
        },
    ];
    let mut room = budget.saturating_sub(held.len() * HELD_BARE_BYTES);
    let deliveries = held.iter().map(|(grant, entry)| {
        let mut delivery = delivery(seal, identity, grant, bare_event(entry));
        for drop in drops {
            if delivery.encoded_len() <= room + HELD_BARE_BYTES {
                break;
            }
            drop(&mut delivery);
        }
        room = (room + HELD_BARE_BYTES).saturating_sub(delivery.encoded_len());
        delivery
    });
    deliveries.collect()
}

fn drop_of_event(delivery: &mut v1::Delivery, drop: impl FnOnce(&mut v1::Event)) {
    if let Some(event) = &mut delivery.event {
        drop(event);
    }
}

pub(super) fn attempt(attempt: &Attempt) -> v1::Attempt {
    v1::Attempt {
        number: attempt.number,
        consumer: attempt.consumer.clone(),
        started_at: Some(timestamp(attempt.started_at)),
        ended_at: Some(timestamp(attempt.ended_at)),
        end: attempt_end(attempt.end).into(),
        reason: attempt.reason.clone(),
        error_type: attempt.error_type.clone(),
    }
}

fn attempt_end(end: AttemptEnd) -> v1::AttemptEnd {
    match end {
        AttemptEnd::Nacked => v1::AttemptEnd::Nacked,
        AttemptEnd::Rejected => v1::AttemptEnd::Rejected,
        AttemptEnd::LeaseExpired => v1::AttemptEnd::LeaseExpired,
        AttemptEnd::MaxLeaseReached => v1::AttemptEnd::MaxLeaseReached,
        AttemptEnd::ConsumerLost => v1::AttemptEnd::ConsumerLost,
        AttemptEnd::ReleasedTooOften => v1::AttemptEnd::ReleasedTooOften,
    }
}

pub(super) fn policy(policy: &Policy) -> v1::SubscriptionPolicy {
    v1::SubscriptionPolicy {
        lease_duration: Some(duration(policy.lease_duration)),
        max_lease: Some(duration(policy.max_lease)),
        max_attempts: Some(policy.max_attempts),
        initial_backoff: Some(duration(policy.initial_backoff)),
        max_backoff: Some(duration(policy.max_backoff)),
        backoff_multiplier: Some(policy.backoff_multiplier),
        jitter: Some(policy.jitter),
        ordering: v1::Ordering::Unspecified.into(),
        coalesce: v1::Coalesce::Unspecified.into(),
        reconnect_grace: Some(duration(policy.reconnect_grace)),
    }
}

pub(super) fn position(position: Position) -> v1::SubscriptionPosition {
    v1::SubscriptionPosition {
        log_end: position.log_end,
        scanned: position.scanned,
        done_floor: position.done_floor,
    }
}

pub(super) fn counts(counts: Counts, position: Position) -> v1::DeliveryCounts {
    v1::DeliveryCounts {
        ready: counts.ready,
        leased: counts.leased,
        waiting: counts.waiting,
        dead: counts.dead,
        unscanned: position.log_end.saturating_sub(position.scanned),
    }
}

/// Returns a subscription as it stands at `now`.
pub(super) fn subscription(view: &SubscriptionView, now: Timestamp) -> v1::Subscription {
    let (identity, overview) = (&view.identity, &view.overview);
    let names = overview.consumers.iter().map(|(name, _)| name);
    v1::Subscription {
        name: identity.name.to_string(),
        patterns: identity.patterns.patterns().iter().map(ToString::to_string).collect(),
        filter: String::new(),
        policy: Some(policy(&identity.policy)),
        created_at: Some(timestamp(identity.created_at)),
        position: Some(position(overview.position)),
        counts: Some(counts(overview.counts, overview.position)),
        oldest_age: view.oldest_received_at.map(|received| duration(now.since(received))),
        consumers: names.take(CONSUMERS_SHOWN_MAX).cloned().collect(),
    }
}

/// Returns what a subscription did with the event `event_id` at `sequence`.
pub(super) fn delivery_status(
    delivered: &Delivered,
    event_id: &str,
    sequence: hookline_core::event::Sequence,
) -> v1::DeliveryStatus {
    let mut status = v1::DeliveryStatus {
        subscription: delivered.identity.name.to_string(),
        event_id: event_id.to_owned(),
        sequence: sequence.get(),
        ..v1::DeliveryStatus::default()
    };
    if let Some(record) = delivered.status.record() {
        status.attempt = record.attempts;
        status.attempts = record.history.iter().map(attempt).collect();
        status.consumer = record.history.last().map_or_else(String::new, |a| a.consumer.clone());
    }
    let state = match &delivered.status {
        State::Unscanned => v1::DeliveryState::Unspecified,
        State::Ready(_) => v1::DeliveryState::Ready,
        State::Leased { consumer, started_at, expires_at, .. } => {
            status.attempt += 1;
            status.attempts.push(running_attempt(status.attempt, consumer, *started_at));
            status.consumer.clone_from(consumer);
            status.lease_expires_at = Some(timestamp(*expires_at));
            status.progress.clone_from(&delivered.progress);
            v1::DeliveryState::Leased
        }
        State::Waiting { due_at, .. } => {
            status.next_attempt_at = Some(timestamp(*due_at));
            v1::DeliveryState::Waiting
        }
        State::Done => {
            if let Some(done) = &delivered.settlement {
                status.attempt = done.attempt;
                status.consumer.clone_from(&done.consumer);
                status.attempts.push(v1::Attempt {
                    ended_at: Some(timestamp(done.done_at)),
                    end: v1::AttemptEnd::Acked.into(),
                    ..running_attempt(done.attempt, &done.consumer, done.leased_at)
                });
            }
            v1::DeliveryState::Done
        }
        State::Dead => {
            if let Some(letter) = &delivered.dead_letter {
                let (creation, generation) = (delivered.identity.creation, letter.generation);
                status.dead_letter_id = DeadLetterId { creation, sequence, generation }.to_string();
                status.attempt = letter.attempts;
                status.attempts = letter.history.iter().map(attempt).collect();
                let last = letter.history.last();
                status.consumer = last.map_or_else(String::new, |a| a.consumer.clone());
            }
            v1::DeliveryState::Dead
        }
    };
    status.state = state.into();
    status
}

fn running_attempt(number: u32, consumer: &str, started_at: Timestamp) -> v1::Attempt {
    v1::Attempt {
        number,
        consumer: consumer.to_owned(),
        started_at: Some(timestamp(started_at)),
        ..v1::Attempt::default()
    }
}

pub(super) async fn dead_letter(
    log: &dyn EventLog,
    identity: &Identity,
    row: &DeadRow,
    view: View,
) -> Result<v1::DeadLetter, ReadError> {
    Ok(v1::DeadLetter {
        id: DeadLetterId::of(row).to_string(),
        subscription: identity.name.to_string(),
        event: Some(event(log, &row.entry, view).await?),
        reason: reason(row.letter.reason).into(),
        attempts: row.letter.history.iter().map(attempt).collect(),
        died_at: Some(timestamp(row.letter.died_at)),
        generation: row.letter.generation,
    })
}

fn reason(reason: Reason) -> v1::DeadLetterReason {
    match reason {
        Reason::MaxAttempts => v1::DeadLetterReason::MaxAttempts,
        Reason::Rejected => v1::DeadLetterReason::Rejected,
        Reason::FilterError => v1::DeadLetterReason::FilterError,
        Reason::Retention => v1::DeadLetterReason::Retention,
    }
}

#[cfg(test)]
mod tests;
