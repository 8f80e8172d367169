//! Carrying out what the state machine asks for: read, write, hand out, answer.

use std::{collections::BTreeMap, sync::Arc};

use hookline_core::{
    delivery::{Change, Effect, Grant, Input, LeaseId, LossReason, StreamId, Ticket},
    event::Sequence,
};

use super::{End, HandedOut, Item, Task, Tools};
use crate::{
    broker::{Identity, lookup::read_one},
    limits::{AHEAD_BYTES_MAX, FETCH_READ_BYTES, FETCH_READ_ENTRIES, RETRY_DELAY},
    store::{Commit, CommitError, Entry, ReadError, ReadLimit, ReadRange},
};

/// How much of the log one read takes.
const READ: ReadLimit = ReadLimit { count: FETCH_READ_ENTRIES, bytes: FETCH_READ_BYTES };

/// Entries that were read and not handed out yet.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    entries: BTreeMap<Sequence, Arc<Entry>>,
    bytes: usize,
}

impl ReadAhead {
    fn keep(&mut self, entry: Arc<Entry>) {
        let bytes = entry.stored_bytes();
        if self.bytes + bytes <= AHEAD_BYTES_MAX
            && self.entries.insert(entry.event.sequence, entry).is_none()
        {
            self.bytes += bytes;
        }
    }

    fn take(&mut self, sequence: Sequence) -> Option<Arc<Entry>> {
        let entry = self.entries.remove(&sequence)?;
        self.bytes -= entry.stored_bytes();
        Some(entry)
    }
}

/// What a fetch brought.
#[derive(Debug)]
pub(super) struct Fetched {
    through: u64,
    matched: Vec<Arc<Entry>>,
}

impl Task {
    pub(super) async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Fetch { after, through, count } => self.begin_fetch(after, through, count),
            Effect::Persist { ticket, changes } => self.begin_commit(ticket, changes),
            Effect::Ready { stream, held } => self.say_ready(stream, held).await,
            Effect::Deliver { stream, grant } => self.deliver(stream, grant).await,
            Effect::LeaseLost { stream, lease, reason } => self.say_lost(stream, lease, reason),
            Effect::TakenOver { stream } => self.end_stream(stream, End::TakenOver),
            Effect::Settled { request, outcome } => self.replies.settled(request, outcome),
            Effect::Extended { request, result } => self.replies.extended(request, result),
            Effect::Redriven { request, sequences } => self.replies.redriven(request, sequences),
            Effect::Drained => self.replies.drained(),
        }
    }

    fn begin_fetch(&mut self, after: u64, through: u64, count: usize) {
        let (tools, identity) = (self.tools.clone(), Arc::clone(&self.identity));
        self.fetch = Some(Box::pin(async move {
            match fetch(&tools, &identity, after, through, count).await {
                Ok(Some(fetched)) => return fetched,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(subscription = %identity.name, after, %error, "the log could not be read");
                }
            }
            // The wait is the fetch's own: the task goes on. An answer that brings nothing makes the machine ask again.
            tools.clock.sleep_until(tools.clock.steady() + RETRY_DELAY).await;
            Fetched { through: after, matched: Vec::new() }
        }));
    }

    pub(super) fn fetched(&mut self, fetched: Fetched) {
        self.fetch = None;
        let Fetched { through, matched } = fetched;
        let sequences = matched.iter().map(|entry| entry.event.sequence).collect();
        self.handle(Input::Fetched { through, matched: sequences });
        for entry in matched {
            // After a recovery much is read again that is finished: that is not handed out, so not kept.
            if self.core.status(entry.event.sequence).record().is_some() {
                self.ahead.keep(entry);
            }
        }
    }

    fn begin_commit(&mut self, ticket: Ticket, changes: Vec<Change>) {
        self.forget_ended(&changes);
        if self.identity.is_ephemeral() {
            for sequence in newly_dead(&changes) {
                tracing::warn!(subscription = %self.identity.name, %sequence, "dropped an event that ran out of attempts");
            }
            self.commit = Some(Box::pin(async move { (ticket, Ok(())) }));
            return;
        }
        let (tools, creation, epoch) = (self.tools.clone(), self.identity.creation, self.epoch);
        self.commit = Some(Box::pin(async move {
            let at = tools.clock.steady();
            let mut dead_events = Vec::new();
            for sequence in newly_dead(&changes) {
                match read_one(&*tools.log, sequence).await {
                    Ok(entry) => dead_events.push((sequence, entry)),
                    Err(error) => {
                        let error = CommitError::Unavailable(error.to_string().into());
                        return (ticket, Err(error));
                    }
                }
            }
            let any_died = changes.iter().any(|change| matches!(change, Change::Dead { .. }));
            let commit = Commit { changes, dead_events, at };
            let result = tools.ledger.commit(creation, epoch, commit).await;
            if any_died && result.is_ok() {
                tools.died.notify_one();
            }
            (ticket, result)
        }));
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
                Change::Open { .. } | Change::Position { .. } | Change::Redriven { .. } => {}
            }
        }
    }

    async fn say_ready(&mut self, stream: StreamId, grants: Vec<Grant>) {
        let mut held = Vec::with_capacity(grants.len());
        for grant in grants {
            match self.entry(&grant).await {
                Ok(entry) => {
                    self.hand_out(&entry);
                    held.push((grant, entry));
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
        let entry = match self.entry(&grant).await {
            Ok(entry) => entry,
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
        tracing::debug!(
            event_id = %entry.event.id, subscription = %self.identity.name, consumer = %open.consumer,
            %sequence, attempt, "deliver",
        );
        open.outbox.push(Item::Delivery { grant, entry: Arc::clone(&entry) });
        self.hand_out(&entry);
    }

    fn hand_out(&mut self, entry: &Entry) {
        let out = HandedOut { event_id: entry.event.id, progress: String::new() };
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
        let event_id = self.handed_out.remove(&lease.sequence);
        let event_id = event_id.map_or_else(String::new, |out| out.event_id.to_string());
        tracing::debug!(event_id, subscription = %self.identity.name, consumer = %open.consumer, ?reason, "lease lost");
        open.outbox.push(Item::LeaseLost { lease, event_id, reason });
    }

    /// Returns the event of a delivery: of one that was redriven, as the dead letter kept it.
    async fn entry(&mut self, grant: &Grant) -> Result<Arc<Entry>, ReadError> {
        let sequence = grant.lease.sequence;
        if let Some(entry) = self.ahead.take(sequence) {
            return Ok(entry);
        }
        if grant.redriven {
            let row = self.tools.ledger.dead_letter(self.identity.creation, sequence).await?;
            if let Some(row) = row {
                return Ok(row.entry);
            }
        }
        read_one(&*self.tools.log, sequence).await
    }
}

/// Reads and matches; `None` if nothing can be read here yet.
async fn fetch(
    tools: &Tools,
    identity: &Identity,
    after: u64,
    through: u64,
    count: usize,
) -> Result<Option<Fetched>, ReadError> {
    let entries = tools.log.read(ReadRange { after, limit: READ }).await?;
    if entries.is_empty() {
        // What lay here was trimmed; or, over a network, it can't be seen yet.
        let trimmed = tools.log.first().get() - 1;
        let fetched = Fetched { through: trimmed.min(through), matched: Vec::new() };
        return Ok((after < trimmed).then_some(fetched));
    }
    let mut fetched = Fetched { through: after, matched: Vec::new() };
    for entry in entries {
        fetched.through = entry.event.sequence.get();
        if identity.takes(&entry.event) {
            fetched.matched.push(entry);
        }
        if fetched.matched.len() == count {
            break;
        }
    }
    Ok(Some(fetched))
}

/// Returns the sequences whose dead letters have no row yet that holds their events.
fn newly_dead(changes: &[Change]) -> Vec<Sequence> {
    let dead = changes.iter().filter_map(|change| match change {
        Change::Dead { sequence, letter } if letter.generation == 0 => Some(*sequence),
        Change::Dead { .. }
        | Change::Position { .. }
        | Change::Open { .. }
        | Change::Done { .. }
        | Change::Redriven { .. } => None,
    });
    dead.collect()
}
