//! Values of the core as messages of the contract.

mod payload;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hookline_core::{
    delivery::{
        Attempt, AttemptEnd, Coalesce, Counts, Ended, Grant, HISTORY_MAX, Hold, Ordering, Past,
        Pause, Policy, Reason, Seal, Settlement, Status as State,
    },
    time::Timestamp,
};
use hookline_proto::v1;
use prost::Message as _;

use super::fields::{View, ViewKind};
use crate::{
    broker::{
        Background, CauseGroup, DeadLetterId, Delivered, Identity, Position, SubscriptionView,
    },
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

/// Returns an entry as an event, with its payload as the view says.
pub(super) async fn event(
    log: &dyn EventLog,
    entry: &Entry,
    view: View,
) -> Result<v1::Event, ReadError> {
    let payload = payload(log, entry, view).await?;
    Ok(with_payload(bare_event(entry), payload))
}

/// A payload as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Payload {
    /// Not at all.
    Absent,
    Bytes(Bytes),
    Value(prost_types::Value),
}

/// Returns an entry's payload as the view says: its limit holds for what is sent, whether bytes or a value.
pub(super) async fn payload(
    log: &dyn EventLog,
    entry: &Entry,
    view: View,
) -> Result<Payload, ReadError> {
    if view.kind == ViewKind::None || view.bytes_max < entry.payload_size {
        return Ok(Payload::Absent);
    }
    let payload = log.payload(entry).await?;
    let value = match view.kind {
        ViewKind::Struct => payload::value(&payload, view.bytes_max).await,
        ViewKind::Bytes | ViewKind::None => None,
    };
    Ok(value.map_or(Payload::Bytes(payload), Payload::Value))
}

/// Puts a payload into an event.
pub(super) fn with_payload(mut event: v1::Event, payload: Payload) -> v1::Event {
    match payload {
        Payload::Absent => {}
        Payload::Bytes(bytes) => event.payload = bytes,
        Payload::Value(value) => event.payload_json = Some(value),
    }
    event
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
        actor: content.actor.to_string(),
        resource_type: content.resource_type.to_string(),
        resource_id: content.resource_id.to_string(),
        payload: Bytes::new(),
        metadata: content.metadata.iter().map(owned).collect(),
        received_at: Some(timestamp(event.received_at)),
        delivery_key: content.delivery_key.to_string(),
        payload_size: entry.payload_size,
        payload_json: None,
    }
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Returns a delivery without its event.
pub(super) fn delivery(
    seal: &Seal,
    identity: &Identity,
    grant: &Grant,
    background: &Background,
) -> v1::Delivery {
    v1::Delivery {
        lease_id: seal.seal(&grant.lease),
        event: None,
        attempt: grant.lease.attempt,
        max_attempts: identity.policy.max_attempts,
        lease_expires_at: Some(timestamp(grant.expires_at)),
        lease_duration: Some(duration(identity.policy.lease_duration)),
        previous_attempts: background.attempts.iter().map(attempt).collect(),
        superseded: background.superseded.iter().map(ToString::to_string).collect(),
        superseded_count: background.superseded_count,
        checkpoint: background.checkpoint.clone(),
        // Said by the stream, which knows where spans go.
        traceparent: String::new(),
    }
}

/// Returns what a consumer holds, as deliveries without payload that take at most `budget` bytes together. Each lease is
/// there: what does not fit comes without the attempts before it, then without its event's metadata, at last with what
/// names the event alone.
pub(super) fn held(
    seal: &Seal,
    identity: &Identity,
    held: &[(Grant, Arc<Entry>, Background)],
    budget: usize,
) -> Vec<v1::Delivery> {
    let drops: [fn(&mut v1::Delivery); 3] = [
        |delivery| {
            delivery.previous_attempts.clear();
            delivery.superseded.clear();
            delivery.checkpoint.clear();
        },
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
    let deliveries = held.iter().map(|(grant, entry, background)| {
        let mut delivery = delivery(seal, identity, grant, background);
        delivery.event = Some(bare_event(entry));
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
    let (ordering, at_once) = match policy.ordering {
        Ordering::None => (v1::Ordering::Unspecified, None),
        Ordering::Resource { at_once } => (v1::Ordering::Resource, Some(at_once)),
    };
    let (coalesce, debounce) = match policy.coalesce {
        Coalesce::None => (v1::Coalesce::Unspecified, None),
        Coalesce::Latest => (v1::Coalesce::Latest, None),
        Coalesce::Debounce { quiet, max_wait } => (v1::Coalesce::Debounce, Some((quiet, max_wait))),
    };
    v1::SubscriptionPolicy {
        lease_duration: Some(duration(policy.lease_duration)),
        max_lease: Some(duration(policy.max_lease)),
        max_attempts: Some(policy.max_attempts),
        initial_backoff: Some(duration(policy.initial_backoff)),
        max_backoff: Some(duration(policy.max_backoff)),
        backoff_multiplier: Some(policy.backoff_multiplier),
        jitter: Some(policy.jitter),
        ordering: ordering.into(),
        coalesce: coalesce.into(),
        reconnect_grace: Some(duration(policy.reconnect_grace)),
        max_in_flight_per_resource: at_once,
        debounce_quiet: debounce.map(|(quiet, _)| duration(quiet)),
        debounce_max_wait: debounce.map(|(_, max_wait)| duration(max_wait)),
        max_per_second: Some(policy.rate.map_or(0.0, |rate| rate.per_second)),
        burst: policy.rate.map(|rate| rate.burst),
        breaker_failures: Some(policy.breaker.map_or(0, |breaker| breaker.failures)),
        breaker_pause: policy.breaker.map(|breaker| duration(breaker.pause)),
        expire_after: Some(duration(policy.expire_after.unwrap_or_default())),
    }
}

/// Returns what keeps deliveries from being leased, and when that ends by itself, if that is known.
pub(super) fn hold(hold: Option<Hold>) -> (v1::Hold, Option<prost_types::Timestamp>) {
    let (hold, until) = match hold {
        None => (v1::Hold::Unspecified, None),
        Some(Hold::Writing) => (v1::Hold::Writing, None),
        Some(Hold::Resource { by: _ }) => (v1::Hold::Resource, None),
        Some(Hold::Quiet { until }) => (v1::Hold::Quiet, until),
        Some(Hold::Paused { until }) => (v1::Hold::Paused, until),
        Some(Hold::Breaker { until }) => (v1::Hold::Breaker, until),
        Some(Hold::Rate { until }) => (v1::Hold::Rate, Some(until)),
        Some(Hold::WaitingFull) => (v1::Hold::WaitingFull, None),
        Some(Hold::NoRoom) => (v1::Hold::NoRoom, None),
    };
    (hold, until.map(timestamp))
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
    let (hold, hold_until) = hold(overview.hold);
    let (paused, paused_until) = match identity.pause {
        Pause::Off => (false, None),
        Pause::Until(until) => (now < until, Some(timestamp(until)).filter(|_| now < until)),
        Pause::On => (true, None),
    };
    let patterns = identity.rule.patterns.patterns();
    v1::Subscription {
        name: identity.name.to_string(),
        patterns: patterns.iter().map(ToString::to_string).collect(),
        filter: identity.rule.filter_text().to_owned(),
        policy: Some(policy(&identity.policy)),
        created_at: Some(timestamp(identity.created_at)),
        position: Some(position(overview.position)),
        counts: Some(counts(overview.counts, overview.position)),
        oldest_age: view.oldest_received_at.map(|received| duration(now.since(received))),
        consumers: names.take(CONSUMERS_SHOWN_MAX).cloned().collect(),
        paused,
        paused_until,
        hold: hold.into(),
        hold_until,
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
        let background = &delivered.background;
        status.attempt = record.attempts;
        status.attempts = background.attempts.iter().map(attempt).collect();
        let last = background.attempts.last();
        status.consumer = last.map_or_else(String::new, |a| a.consumer.clone());
        status.superseded_count = background.superseded_count;
        let (hold, until) = hold(delivered.hold);
        (status.hold, status.hold_until) = (hold.into(), until);
        if let Some(Hold::Resource { by }) = delivered.hold {
            status.blocked_by_sequence = by.get();
        }
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
        State::Purged => v1::DeliveryState::Dead,
        State::Done => {
            status.superseded_count = delivered.past.background.superseded_count;
            ended(&mut status, delivered.past.ended.last())
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
    add_past(&mut status, &delivered.past);
    status
}

/// Adds the attempts of the times that a delivery had ended before, in the order in which they ended.
fn add_past(status: &mut v1::DeliveryStatus, past: &Past) {
    let mut attempts: Vec<_> = past.background.attempts.iter().map(attempt).collect();
    attempts.extend(past.ended.iter().filter_map(|ended| match ended {
        Ended::Acked(done) => Some(acked_attempt(done)),
        Ended::Superseded { .. } => None,
    }));
    attempts.append(&mut status.attempts);
    attempts.sort_by_key(|attempt| {
        // One that runs is the newest.
        let ended = attempt.ended_at.as_ref();
        ended.map_or((i64::MAX, 0), |ended| (ended.seconds, ended.nanos))
    });
    let surplus = attempts.len().saturating_sub(HISTORY_MAX);
    status.attempts = attempts.split_off(surplus);
}

fn acked_attempt(done: &Settlement) -> v1::Attempt {
    v1::Attempt {
        ended_at: Some(timestamp(done.done_at)),
        end: v1::AttemptEnd::Acked.into(),
        ..running_attempt(done.attempt, &done.consumer, done.leased_at)
    }
}

/// Fills in how a delivery ended; returns its state.
fn ended(status: &mut v1::DeliveryStatus, ended: Option<&Ended>) -> v1::DeliveryState {
    match ended {
        Some(Ended::Superseded { by, at: _ }) => {
            status.superseded_by_sequence = by.get();
            return v1::DeliveryState::Superseded;
        }
        Some(Ended::Acked(done)) => {
            status.attempt = done.attempt;
            status.consumer.clone_from(&done.consumer);
        }
        None => {}
    }
    v1::DeliveryState::Done
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
        detail: row.letter.detail.clone(),
    })
}

pub(super) fn cause_group(group: CauseGroup) -> v1::DeadLetterGroup {
    let is_rest = group.cause.is_none();
    let (reason, error_type, cause) = group.cause.map_or_else(Default::default, |cause| {
        (reason(cause.reason), cause.error_type, cause.text)
    });
    v1::DeadLetterGroup {
        cause,
        count: group.count,
        sample_ids: group.samples.iter().map(ToString::to_string).collect(),
        reason: reason.into(),
        error_type,
        sample_text: group.sample_text,
        oldest_died_at: Some(timestamp(group.oldest)),
        newest_died_at: Some(timestamp(group.newest)),
        subscriptions: group.subscriptions.iter().map(ToString::to_string).collect(),
        is_rest,
    }
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
