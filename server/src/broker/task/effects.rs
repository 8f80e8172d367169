//! Carrying out what the state machine asks for: read, write, hand out, answer.

use std::{collections::BTreeMap, sync::Arc};

use hookline_core::{
    delivery::{Change, Effect, Grant, Input, LeaseId, LossReason, StreamId, Ticket},
    event::Sequence,
};

use super::{End, HandedOut, Item, Task};
use crate::broker::lookup::read_one;
use crate::store::{Commit, CommitError, Entry, ReadError, ReadLimit, ReadRange};

/// The most bytes of entries that are kept from reading ahead; beyond that they are read again when handed out.
const AHEAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How much of the log one read takes.
const READ: ReadLimit = ReadLimit { count: 512, bytes: 1024 * 1024 };

/// Entries that were read and not handed out yet.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    entries: BTreeMap<Sequence, Arc<Entry>>,
    bytes: usize,
}

impl ReadAhead {
    fn keep(&mut self, entry: Arc<Entry>) {
        let bytes = payload_bytes(&entry);
        if self.bytes.saturating_add(bytes) <= AHEAD_BYTES_MAX
            && self.entries.insert(entry.event.sequence, entry).is_none()
        {
            self.bytes += bytes;
        }
    }

    fn take(&mut self, sequence: Sequence) -> Option<Arc<Entry>> {
        let entry = self.entries.remove(&sequence)?;
        self.bytes -= payload_bytes(&entry);
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
    pub(super) async fn carry_out(&mut self, effect: Effect) -> Result<(), ReadError> {
        match effect {
            Effect::Fetch { after, through, count } => self.begin_fetch(after, through, count),
            Effect::Persist { ticket, changes } => self.begin_commit(ticket, changes),
            Effect::Ready { stream, held } => self.say_ready(stream, held).await?,
            Effect::Deliver { stream, grant } => self.deliver(stream, grant).await?,
            Effect::LeaseLost { stream, lease, reason } => self.say_lost(stream, lease, reason),
            Effect::TakenOver { stream } => self.end_stream(stream, End::TakenOver),
            Effect::Settled { request, outcome } => self.replies.settled(request, outcome),
            Effect::Extended { request, result } => self.replies.extended(request, result),
            Effect::Redriven { request, sequences } => self.replies.redriven(request, sequences),
            Effect::Drained => self.replies.drained(),
        }
        Ok(())
    }

    fn begin_fetch(&mut self, after: u64, through: u64, count: usize) {
        let (log, identity) = (Arc::clone(&self.tools.log), Arc::clone(&self.identity));
        self.fetch = Some(Box::pin(async move {
            let entries = log.read(ReadRange { after, limit: READ }).await?;
            // Nothing beyond `after`: what lay there was trimmed.
            let mut looked_at = if entries.is_empty() { through } else { after };
            let mut matched = Vec::new();
            for entry in entries {
                looked_at = entry.event.sequence.get();
                if identity.takes(&entry.event) {
                    matched.push(entry);
                }
                if matched.len() == count {
                    break;
                }
            }
            Ok(Fetched { through: looked_at, matched })
        }));
    }

    pub(super) async fn fetched(&mut self, fetched: Result<Fetched, ReadError>) {
        self.fetch = None;
        let Fetched { through, matched } = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::error!(subscription = %self.identity.name, %error, "the log could not be read");
                self.tools.pause().await;
                // An answer that brings nothing: the machine asks again.
                Fetched { through: 0, matched: Vec::new() }
            }
        };
        let sequences = matched.iter().map(|entry| entry.event.sequence).collect();
        for entry in matched {
            self.ahead.keep(entry);
        }
        self.handle(Input::Fetched { through, matched: sequences });
    }

    fn begin_commit(&mut self, ticket: Ticket, changes: Vec<Change>) {
        for change in &changes {
            if let Change::Dead { sequence, .. } = change {
                self.handed_out.remove(sequence);
            }
        }
        if self.identity.is_ephemeral() {
            let died =
                changes.iter().filter(|change| matches!(change, Change::Dead { .. })).count();
            if 0 < died {
                tracing::warn!(subscription = %self.identity.name, died, "dropped events that ran out of attempts");
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

    async fn say_ready(&mut self, stream: StreamId, grants: Vec<Grant>) -> Result<(), ReadError> {
        let mut held = Vec::with_capacity(grants.len());
        for grant in grants {
            let entry = self.entry(&grant).await?;
            held.push((grant, entry));
        }
        let position = self.position();
        if let Some(open) = self.streams.get(&stream) {
            open.outbox.push(Item::Ready { position, held });
        }
        Ok(())
    }

    async fn deliver(&mut self, stream: StreamId, grant: Grant) -> Result<(), ReadError> {
        let entry = self.entry(&grant).await;
        // The stream may have ended while the effect waited.
        let (Ok(entry), Some(open)) = (&entry, self.streams.get(&stream)) else {
            self.handle(Input::Unwritten { lease: grant.lease });
            return entry.map(drop);
        };
        let LeaseId { sequence, attempt, .. } = grant.lease;
        tracing::debug!(
            event_id = %entry.event.id, subscription = %self.identity.name, consumer = %open.consumer,
            %sequence, attempt, "deliver",
        );
        open.outbox.push(Item::Delivery { grant, entry: Arc::clone(entry) });
        let out = HandedOut { event_id: entry.event.id, progress: String::new() };
        self.handed_out.insert(sequence, out);
        Ok(())
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

/// The payload's size stands for the entry's: more than it takes where it is compressed or not in memory.
fn payload_bytes(entry: &Entry) -> usize {
    usize::try_from(entry.payload_size).unwrap_or(usize::MAX)
}
