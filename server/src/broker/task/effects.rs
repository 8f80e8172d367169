//! Carrying out what the state machine asks for: read, write, hand out, answer.

use std::sync::Arc;

use hookline_core::{
    delivery::{
        self, Change, Creation, Effect, Grant, Input, LeaseId, LossReason, Reason, StreamId, Ticket,
    },
    event::Sequence,
};

use super::{End, HandedOut, Item, Retired, Task, Tools, moves::Move};
use crate::{
    broker::{figures::Tally, lookup::read_one, stream::Background},
    limits::RETRY_DELAY,
    store::{Commit, CommitError, Entry, ReadError},
};

impl Task {
    pub(super) async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Fetch { after, through, count } => {
                self.fetch_asked = Some((after, through, count));
                self.begin_fetch();
            }
            Effect::Persist { ticket, changes } => self.begin_commit(ticket, changes),
            Effect::Ready { stream, held } => self.say_ready(stream, held).await,
            Effect::Deliver { stream, grant } => self.deliver(stream, grant).await,
            Effect::LeaseLost { stream, lease, reason } => self.say_lost(stream, lease, reason),
            Effect::Newer { stream, lease, newest, count } => {
                self.say_newer(stream, lease, newest, count);
            }
            Effect::Reconfigured { request } => self.moved(request, 0),
            Effect::Sought { request, skipped } => self.moved(request, skipped),
            Effect::Unused => self.is_unused = true,
            Effect::TakenOver { stream } => self.end_stream(stream, End::TakenOver),
            Effect::Settled { request, outcome } => self.replies.settled(request, outcome),
            Effect::Extended { request, result } => self.replies.extended(request, result),
            Effect::Redriven { request, sequences } => self.replies.redriven(request, sequences),
            Effect::Replayed { request, replayed } => self.replies.replayed(request, replayed),
            Effect::Retired { request, count, needed_from, reads_on } => {
                self.replies.retired(request, Retired { count, needed_from, reads_on });
            }
            Effect::Purged { request, sequences, edition } => {
                self.replies.purged(request, sequences, edition);
            }
            Effect::Drained => self.replies.drained(),
        }
    }

    fn begin_commit(&mut self, ticket: Ticket, changes: Vec<Change>) {
        if self.identity.is_ephemeral() {
            self.log_dropped(&changes);
        }
        self.forget_ended(&changes);
        let ended = self.spans.ended(&changes, &self.identity.name);
        self.tally = Tally::of(&changes);
        if self.tally.moves_dead_letters() && !self.identity.is_ephemeral() {
            self.dead_count = self.core.dead_count();
        }
        if self.identity.is_ephemeral() {
            for change in &changes {
                self.backgrounds.apply(change);
            }
            let tools = self.tools.clone();
            self.commit = Some(Box::pin(async move {
                ended.send(&tools).await;
                (ticket, Ok(()))
            }));
            return;
        }
        let becomes = changes
            .iter()
            .any(|change| matches!(change, Change::Reconfigured { .. } | Change::Sought { .. }));
        let identity = self.moving.as_ref().filter(|_| becomes).and_then(Move::identity);
        let config = identity.map(|identity| identity.config());
        let (tools, creation, epoch) = (self.tools.clone(), self.identity.creation, self.epoch);
        self.commit = Some(Box::pin(async move {
            let at = tools.clock.steady();
            let mut dead_events = Vec::new();
            for (sequence, reason) in newly_dead(&changes) {
                match read_one(&*tools.log, sequence).await {
                    Ok(entry) if reason == Reason::Retention => {
                        dead_events.push((sequence, Arc::new(entry.without_payload())));
                    }
                    Ok(entry) => dead_events.push((sequence, entry)),
                    Err(error) => {
                        let error = CommitError::Unavailable(error.to_string().into());
                        return (ticket, Err(error));
                    }
                }
            }
            let any_died = changes.iter().any(|change| change.death().is_some());
            let commit = Commit { changes, dead_events, config, at };
            let result = tools.ledger.commit(creation, epoch, commit).await;
            if any_died && result.is_ok() {
                tools.died.notify_one();
            }
            if result.is_ok() {
                ended.send(&tools).await;
            }
            (ticket, result)
        }));
    }

    /// Logs what an ephemeral subscription gives up: it has no dead letters.
    fn log_dropped(&self, changes: &[Change]) {
        for (sequence, reason) in newly_dead(changes) {
            let out = self.handed_out.get(&sequence);
            let event_id = out.map(|out| tracing::field::display(out.event_id));
            let source = out.map(|out| tracing::field::display(&out.source));
            tracing::warn!(
                event_id, source, subscription = %self.identity.name, %sequence, ?reason,
                "dropped an event that was given up",
            );
        }
    }

    /// Drops what was kept of events whose leases have ended with these changes.
    fn forget_ended(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Done { sequence, .. } | Change::Dead { sequence, .. } => {
                    self.handed_out.remove(sequence);
                    self.ahead.take(*sequence);
                }
                Change::Open { sequence, record } if record.lease.is_none() => {
                    self.handed_out.remove(sequence);
                }
                Change::Failed { sequence, .. } => drop(self.handed_out.remove(sequence)),
                Change::Superseded { sequences, .. } => {
                    for sequence in sequences {
                        self.handed_out.remove(sequence);
                        self.ahead.take(*sequence);
                    }
                }
                Change::Sought { .. } => self.handed_out.clear(),
                Change::Open { .. }
                | Change::Position { .. }
                | Change::Checkpointed { .. }
                | Change::LookedBack { .. }
                | Change::Reconfigured { .. }
                | Change::Redriven { .. }
                | Change::Purged { .. } => {}
            }
        }
    }

    async fn say_ready(&mut self, stream: StreamId, grants: Vec<Grant>) {
        let mut held = Vec::with_capacity(grants.len());
        for grant in grants {
            match self.entry(&grant).await {
                Ok((entry, background)) => {
                    self.hand_out(&grant, &entry);
                    held.push((grant, entry, background));
                }
                Err(error) => {
                    // Without `ready` a stream is none: the consumer comes back, and its leases are kept meanwhile.
                    self.log_unreadable(&grant, &error);
                    return self.end_stream(stream, End::Unavailable);
                }
            }
        }
        let position = self.position();
        if let Some(open) = self.streams.get(&stream) {
            open.outbox.push(Item::Ready { position, held });
            if let Some(grace) = self.draining {
                open.outbox.push(Item::Draining { grace });
            }
        }
    }

    async fn deliver(&mut self, stream: StreamId, grant: Grant) {
        let (entry, background) = match self.entry(&grant).await {
            Ok(found) => found,
            Err(error) => {
                self.log_unreadable(&grant, &error);
                if self.unreadable.is_empty() {
                    self.reread_at = self.tools.clock.steady() + RETRY_DELAY;
                }
                return self.unreadable.push(grant.lease);
            }
        };
        // The stream may have ended while the effect waited.
        let Some(open) = self.streams.get(&stream) else {
            return self.handle(Input::Unwritten { lease: grant.lease });
        };
        let LeaseId { sequence, attempt, .. } = grant.lease;
        self.outside.figures.count_started(attempt == 1);
        tracing::debug!(
            event_id = %entry.event.id, source = %entry.event.content.source,
            subscription = %self.identity.name, consumer = %open.consumer, %sequence, attempt,
            "deliver",
        );
        let item = Item::Delivery { grant: grant.clone(), entry: Arc::clone(&entry), background };
        open.outbox.push(item);
        self.hand_out(&grant, &entry);
    }

    fn hand_out(&mut self, grant: &Grant, entry: &Entry) {
        self.spans.began(grant, entry, self.tools.clock.steady());
        let source = entry.event.content.source.clone();
        let out = HandedOut { event_id: entry.event.id, source, progress: String::new() };
        self.handed_out.insert(entry.event.sequence, out);
    }

    fn log_unreadable(&self, grant: &Grant, error: &ReadError) {
        let (subscription, sequence) = (&self.identity.name, grant.lease.sequence);
        tracing::error!(%subscription, %sequence, %error, "an event could not be read");
    }

    fn say_lost(&mut self, stream: StreamId, lease: LeaseId, reason: LossReason) {
        let Some(open) = self.streams.get(&stream) else { return };
        // What was never sent can't be lost by the consumer.
        if open.outbox.retract(&lease) {
            return;
        }
        self.outside.figures.count_lost(reason);
        let out = self.handed_out.remove(&lease.sequence);
        let source = out.as_ref().map(|out| tracing::field::display(&out.source));
        let event_id = out.as_ref().map_or_else(String::new, |out| out.event_id.to_string());
        tracing::debug!(
            event_id, source, subscription = %self.identity.name, consumer = %open.consumer,
            sequence = %lease.sequence, attempt = lease.attempt, ?reason, "lease lost",
        );
        open.outbox.push(Item::LeaseLost { lease, event_id, reason });
    }

    fn say_newer(&self, stream: StreamId, lease: LeaseId, newest: Sequence, count: u64) {
        let Some(open) = self.streams.get(&stream) else { return };
        let event_id = self.handed_out.get(&lease.sequence);
        let event_id = event_id.map_or_else(String::new, |out| out.event_id.to_string());
        open.outbox.push(Item::Newer { lease, event_id, newest, count });
    }

    /// Returns the event of a delivery, of one that was redriven as the dead letter kept it; and what happened before.
    async fn entry(&mut self, grant: &Grant) -> Result<(Arc<Entry>, Background), ReadError> {
        let sequence = grant.lease.sequence;
        let creation = self.identity.creation;
        let kept = self.identity.is_ephemeral().then(|| self.backgrounds.get(sequence));
        let background = background(&self.tools, creation, grant, kept).await?;
        if let Some(entry) = self.ahead.take(sequence) {
            return Ok((entry, background));
        }
        if grant.redriven {
            let row = self.tools.ledger.dead_letter(self.identity.creation, sequence).await?;
            if let Some(row) = row {
                return Ok((row.entry, background));
            }
        }
        Ok((read_one(&*self.tools.log, sequence).await?, background))
    }
}

/// Returns what happened before to a delivery of a durable subscription, or as `kept` in memory.
async fn background(
    tools: &Tools,
    creation: Creation,
    grant: &Grant,
    kept: Option<delivery::Background>,
) -> Result<Background, ReadError> {
    if !grant.background {
        return Ok(Background::default());
    }
    let kept = match kept {
        Some(kept) => kept,
        None => tools.ledger.background(creation, grant.lease.sequence).await?,
    };
    let mut superseded = Vec::with_capacity(kept.superseded.len());
    for sequence in kept.superseded {
        // What was trimmed has no id any more.
        if let Ok(entry) = read_one(&*tools.log, sequence).await {
            superseded.push(entry.event.id);
        }
    }
    let superseded_count = kept.superseded_count;
    let (attempts, checkpoint) = (kept.attempts, kept.checkpoint);
    Ok(Background { attempts, superseded, superseded_count, checkpoint })
}

/// Returns the sequences whose dead letters have no row yet that holds their events, as far as it is known, and why they
/// were given up.
fn newly_dead(changes: &[Change]) -> Vec<(Sequence, Reason)> {
    let dead = changes.iter().filter_map(Change::death).filter(|(_, death)| !death.redriven);
    dead.map(|(sequence, death)| (sequence, death.reason)).collect()
}
