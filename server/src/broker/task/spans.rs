//! The spans of attempts: what is known of each while its lease runs, and the span when that has ended, durably.

use std::collections::BTreeMap;

use hookline_core::{
    delivery::{Attempt, AttemptEnd, Change, Grant, LeaseId, Reason, Status},
    event::{EventId, Sequence, SubscriptionName},
    time::Timestamp,
};

use super::{Task, Tools};
use crate::{
    broker::lookup::read_one,
    store::Entry,
    traces::{Context, Kind, Span, TRACEPARENT, Traces},
};

/// What is known of the attempts that run, and are traced.
#[derive(Debug)]
pub(super) struct Spans {
    traces: Traces,
    open: BTreeMap<Sequence, Open>,
}

#[derive(Debug)]
struct Open {
    lease: LeaseId,
    began_at: Timestamp,
    is_redriven: bool,
    event: Event,
}

/// What is known of an attempt's event.
#[derive(Debug)]
enum Event {
    /// Nothing yet: the lease is from before a restart, and its consumer has not opened a stream since.
    Unread,
    /// It belongs to no trace that is recorded.
    Untraced,
    /// It has this place in one.
    Traced { context: Context, id: EventId, subject: String },
}

impl Event {
    fn of(entry: &Entry) -> Self {
        let event = &entry.event;
        let traceparent = event.content.metadata.get(TRACEPARENT);
        match traceparent.and_then(Context::parse) {
            Some((context, true)) => {
                Self::Traced { context, id: event.id, subject: event.subject() }
            }
            Some((_, false)) | None => Self::Untraced,
        }
    }
}

/// Attempts that ended with a commit: sent once that is durable.
#[derive(Debug, Default)]
pub(super) struct Ended(Vec<EndedAttempt>);

#[derive(Debug)]
struct EndedAttempt {
    open: Open,
    subscription: SubscriptionName,
    outcome: &'static str,
    started_at: Timestamp,
    /// `None`: now.
    ended_at: Option<Timestamp>,
    dead: Option<Reason>,
}

impl Spans {
    pub(super) fn of(tools: &Tools) -> Self {
        Self { traces: tools.traces.clone(), open: BTreeMap::new() }
    }

    /// Notes that an attempt begins, or is known again after a restart.
    pub(super) fn began(&mut self, grant: &Grant, entry: &Entry, now: Timestamp) {
        if self.traces.are_on() {
            let (lease, event) = (grant.lease.clone(), Event::of(entry));
            let open = Open { lease, began_at: now, is_redriven: grant.redriven, event };
            self.open.insert(entry.event.sequence, open);
        }
    }

    /// Drops all: what they stand for has no end that is known.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    /// Takes out what ends with these changes.
    pub(super) fn ended(&mut self, changes: &[Change], subscription: &SubscriptionName) -> Ended {
        if !self.traces.are_on() {
            return Ended::default();
        }
        let mut ended = Vec::new();
        for change in changes {
            let (sequence, outcome, times, dead) = match change {
                Change::Done { sequence, settlement: of } => {
                    (*sequence, "acked", Some((of.leased_at, of.done_at)), None)
                }
                Change::Failed { sequence, attempt, .. } => {
                    (*sequence, outcome(attempt.end), Some(times(attempt)), None)
                }
                Change::Dead { sequence, death, attempt: Some(attempt) } => {
                    (*sequence, outcome(attempt.end), Some(times(attempt)), Some(death.reason))
                }
                Change::Open { sequence, record } if record.lease.is_none() => {
                    (*sequence, "released", None, None)
                }
                Change::Sought { .. } => {
                    self.clear();
                    continue;
                }
                Change::Dead { sequence, attempt: None, .. } => {
                    self.open.remove(sequence);
                    continue;
                }
                Change::Superseded { sequences, .. } => {
                    sequences.iter().for_each(|sequence| drop(self.open.remove(sequence)));
                    continue;
                }
                Change::Open { .. }
                | Change::Position { .. }
                | Change::Checkpointed { .. }
                | Change::LookedBack { .. }
                | Change::Reconfigured { .. }
                | Change::Redriven { .. }
                | Change::Purged { .. } => continue,
            };
            let Some(open) = self.open.remove(&sequence) else { continue };
            let (started_at, ended_at) =
                times.map_or((open.began_at, None), |(start, end)| (start, Some(end)));
            let subscription = subscription.clone();
            ended.push(EndedAttempt { open, subscription, outcome, started_at, ended_at, dead });
        }
        Ended(ended)
    }
}

impl Task {
    /// Notes a lease that is spoken of and not known: one from before a restart, of which no stream has been told. What is
    /// over has had its span.
    pub(super) fn note_unknown(&mut self, lease: &LeaseId) {
        if !self.spans.traces.are_on() || self.spans.open.contains_key(&lease.sequence) {
            return;
        }
        let status = self.core.status(lease.sequence);
        let is_finished = matches!(status, Status::Done | Status::Dead | Status::Purged);
        // One that has run out may still be acked, but is over.
        let is_over = status.record().is_some_and(|record| record.fence == Some(lease.stamp));
        if !is_finished && !is_over {
            let (began_at, is_redriven) = (self.tools.clock.steady(), false);
            let open = Open { lease: lease.clone(), began_at, is_redriven, event: Event::Unread };
            self.spans.open.insert(lease.sequence, open);
        }
    }
}

impl Ended {
    /// Sends the spans.
    pub(super) async fn send(self, tools: &Tools) {
        for mut attempt in self.0 {
            if matches!(attempt.open.event, Event::Unread) {
                let entry = read_one(&*tools.log, attempt.open.lease.sequence).await;
                attempt.open.event = entry.map_or(Event::Untraced, |entry| Event::of(&entry));
            }
            let (wall, steady) = (tools.clock.wall(), tools.clock.steady());
            // Leases run by the steady clock, and spans are told by the time of day.
            let of_day = |at: Timestamp| wall.saturating_sub(steady.since(at));
            if let Some(span) = attempt.span(of_day, steady) {
                tools.traces.send(span);
            }
        }
    }
}

impl EndedAttempt {
    fn span(self, of_day: impl Fn(Timestamp) -> Timestamp, now: Timestamp) -> Option<Span> {
        let Event::Traced { context, id, subject } = self.open.event else { return None };
        let (lease, subscription) = (self.open.lease, self.subscription.as_str());
        let mut events = Vec::new();
        if self.open.is_redriven {
            events.push(("redriven", Vec::new()));
        }
        if let Some(reason) = self.dead {
            events.push(("dead_letter", vec![("hookline.reason", reason_name(reason).into())]));
        }
        let span = Span {
            context: context.of_lease(&lease),
            name: format!("process {subscription}"),
            kind: Kind::Consumer,
            started_at: of_day(self.started_at),
            ended_at: of_day(self.ended_at.unwrap_or(now)),
            attributes: Vec::new(),
            events,
            has_failed: !matches!(self.outcome, "acked" | "released"),
        };
        let span = span
            .with("messaging.system", "hookline")
            .with("messaging.operation.type", "process")
            .with("messaging.operation.name", "process")
            .with("messaging.destination.name", subscription)
            .with("messaging.consumer.group.name", subscription)
            .with("messaging.client.id", lease.consumer.as_ref())
            .with("messaging.message.id", id.to_string())
            .with("hookline.subject", subject)
            .with("hookline.sequence", lease.sequence.get())
            .with("hookline.attempt", u64::from(lease.attempt))
            .with("hookline.generation", u64::from(lease.generation))
            .with("hookline.outcome", self.outcome);
        Some(span)
    }
}

const fn times(attempt: &Attempt) -> (Timestamp, Timestamp) {
    (attempt.started_at, attempt.ended_at)
}

/// The words of the metric `hookline_deliveries_ended_total`.
const fn outcome(end: AttemptEnd) -> &'static str {
    match end {
        AttemptEnd::Nacked => "nacked",
        AttemptEnd::Rejected => "rejected",
        AttemptEnd::LeaseExpired => "lease_expired",
        AttemptEnd::MaxLeaseReached => "max_lease_reached",
        AttemptEnd::ConsumerLost => "consumer_lost",
        AttemptEnd::ReleasedTooOften => "released_too_often",
    }
}

const fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::MaxAttempts => "max_attempts",
        Reason::Rejected => "rejected",
        Reason::FilterError => "filter_error",
        Reason::Retention => "retention",
    }
}
