//! What a store in memory holds, and how it changes.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use hookline_core::{
    delivery::{Backgrounds, Change, Creation, Epoch, Pasts, Reason, Snapshot},
    event::{Event, EventId, NewEvent, Sequence, SourceName},
    text::SmolStr,
    time::Timestamp,
};

use super::super::{
    Appended, Commit, CommitError, DeadRow, Entry, Packed, ReadLimit, SubscriptionConfig,
};

/// How long a delivery key is remembered, in microseconds: 7 days.
const DEDUPE_MICROS: i64 = 7 * 24 * 3_600 * 1_000_000;

#[derive(Debug)]
pub(super) struct Facts {
    /// All that were ever appended; those before `first` are out of reach.
    pub(super) entries: Vec<Arc<Entry>>,
    pub(super) first: u64,
    pub(super) keys: BTreeMap<(SourceName, SmolStr), usize>,
    pub(super) ledgers: BTreeMap<Creation, LedgerFacts>,
    pub(super) creations: u64,
    pub(super) last_written_at: Timestamp,
    pub(super) seal_key: [u8; 32],
}

#[derive(Debug)]
pub(super) struct LedgerFacts {
    pub(super) config: SubscriptionConfig,
    pub(super) epoch: Epoch,
    pub(super) snapshot: Snapshot,
    pub(super) backgrounds: Backgrounds,
    pub(super) pasts: Pasts,
    pub(super) letters: BTreeMap<Sequence, DeadRow>,
}

impl Facts {
    pub(super) fn head(&self) -> u64 {
        u64::try_from(self.entries.len()).expect("a length fits 64 bits")
    }

    /// Returns what is kept beyond a sequence.
    pub(super) fn after(&self, sequence: u64) -> &[Arc<Entry>] {
        let skip = usize::try_from(sequence.max(self.first - 1)).unwrap_or(usize::MAX);
        self.entries.get(skip..).unwrap_or_default()
    }

    pub(super) fn append(
        &mut self,
        event: NewEvent,
        packed: Packed,
        received_at: Timestamp,
    ) -> Appended {
        let key = (event.source.clone(), event.delivery_key.clone());
        let known = (!key.1.is_empty()).then(|| self.keys.get(&key)).flatten();
        let known = known.and_then(|place| self.entries.get(*place)).filter(|known| {
            let age = received_at.as_micros() - known.event.received_at.as_micros();
            age < DEDUPE_MICROS && known.event.sequence.get() >= self.first
        });
        let replayed = known.is_none();
        if let Some(known) = known.or_else(|| self.replayed(&event, received_at)) {
            let (id, sequence) = (known.event.id, known.event.sequence);
            return Appended { id, sequence, duplicate: true, replayed };
        }
        let sequence = Sequence::new(self.head() + 1).expect("sequences begin with 1");
        let [a, b, c, d, e, f, _, _, _, g, h, i, j, ..] = uuid::Uuid::new_v4().into_bytes();
        let id = EventId::new(received_at, [a, b, c, d, e, f, g, h, i, j]);
        let payload_size = u64::try_from(event.payload.len()).expect("a length fits 64 bits");
        let content = NewEvent { payload: Bytes::new(), replay_window: None, ..event };
        let event = Event { id, sequence, received_at, content };
        self.keys.insert(key, self.entries.len());
        self.entries.push(Arc::new(Entry { event, payload_size, packed }));
        Appended { id, sequence, duplicate: false, replayed: false }
    }

    /// Returns the event whose body this one repeats, if its source looks for that.
    fn replayed(&self, event: &NewEvent, received_at: Timestamp) -> Option<&Arc<Entry>> {
        let (window, hash) = (event.replay_window?, event.body_hash()?);
        self.after(0).iter().rev().find(|known| {
            let content = &known.event.content;
            content.source == event.source
                && content.body_hash() == Some(hash)
                && received_at.since(known.event.received_at) <= window
        })
    }

    pub(super) fn ledger(&mut self, creation: Creation) -> Result<&mut LedgerFacts, CommitError> {
        self.ledgers.get_mut(&creation).ok_or(CommitError::Missing)
    }
}

/// Takes what the limit allows.
pub(super) fn take<T>(
    from: impl Iterator<Item = T>,
    limit: ReadLimit,
    entry: impl Fn(&T) -> &Entry,
) -> Vec<T> {
    let mut bytes = 0_usize;
    let mut taken = Vec::new();
    for item in from.take(limit.count) {
        bytes = bytes.saturating_add(entry(&item).stored_bytes());
        taken.push(item);
        if bytes > limit.bytes {
            break;
        }
    }
    taken
}

/// Returns the delivery whose announcement stands for all those that retention gives up with these changes: the last.
fn announced_for_all(changes: &[Change]) -> Option<Sequence> {
    let retired = changes.iter().rev().filter_map(Change::death);
    let mut retired = retired.filter(|(_, death)| death.reason == Reason::Retention);
    retired.next().map(|(sequence, _)| sequence)
}

impl LedgerFacts {
    pub(super) fn new(config: SubscriptionConfig) -> Self {
        Self {
            epoch: Epoch(0),
            snapshot: Snapshot::starting_after(config.start_after),
            backgrounds: Backgrounds::default(),
            pasts: Pasts::default(),
            letters: BTreeMap::new(),
            config,
        }
    }

    /// Writes changes; `Unavailable`, and the ledger as it was, where a dead letter comes without its event.
    pub(super) fn commit(&mut self, creation: Creation, commit: Commit) -> Result<(), CommitError> {
        let events: BTreeMap<_, _> = commit.dead_events.iter().cloned().collect();
        let mut dead = commit.changes.iter().filter_map(Change::death).map(|(of, _)| of);
        let without = dead.find(|of| !self.letters.contains_key(of) && !events.contains_key(of));
        if let Some(sequence) = without {
            let why = format!("no event came with dead letter `{sequence}`");
            return Err(CommitError::Unavailable(why.into()));
        }
        let announced = announced_for_all(&commit.changes);
        for change in &commit.changes {
            self.apply(creation, change, &events);
            if let Some((sequence, death)) = change.death()
                && let Some(row) = self.letters.get_mut(&sequence)
            {
                row.announced = death.reason == Reason::Retention && Some(sequence) != announced;
            }
        }
        if let Some(config) = commit.config {
            self.config = config;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        creation: Creation,
        change: &Change,
        events: &BTreeMap<Sequence, Arc<Entry>>,
    ) {
        match change {
            Change::Done { sequence, .. } => {
                self.letters.retain(|of, row| of != sequence || !row.redriven);
            }
            Change::Superseded { sequences, .. } => {
                for sequence in sequences {
                    self.letters.retain(|of, row| of != sequence || !row.redriven);
                }
            }
            Change::Redriven { sequence, .. } => {
                if let Some(row) = self.letters.get_mut(sequence) {
                    row.redriven = true;
                    self.backgrounds.redrive(*sequence, &row.letter);
                }
            }
            Change::Purged { sequences } => {
                for sequence in sequences {
                    self.letters.remove(sequence);
                }
            }
            Change::Sought { .. } => {
                for (sequence, row) in &mut self.letters {
                    row.redriven &= !self.snapshot.records.contains_key(sequence);
                }
            }
            Change::Position { .. }
            | Change::Open { .. }
            | Change::Failed { .. }
            | Change::Checkpointed { .. }
            | Change::Dead { .. }
            | Change::LookedBack { .. }
            | Change::Reconfigured { .. } => {}
        }
        let letters = &self.letters;
        let letter = |of| letters.get(&of).map(|row| &row.letter);
        self.pasts.apply(change, &self.backgrounds, letter);
        self.snapshot.apply(change);
        if let (Some(letter), Change::Dead { sequence, .. }) =
            (self.backgrounds.apply(change), change)
        {
            let kept = self.letters.get(sequence).map(|row| Arc::clone(&row.entry));
            let entry = kept.or_else(|| events.get(sequence).cloned()).expect("looked at before");
            let (redriven, announced) = (false, false);
            self.letters
                .insert(*sequence, DeadRow { creation, entry, letter, redriven, announced });
        }
    }
}
