//! A store in memory with the promises of the embedded one, and with failures as planned: for tests.
//!
//! What is "durable" is kept by [`MemoryStore`]s that come one after the other, as after a crash.

mod facts;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use hookline_core::{
    delivery::{Background, Creation, Epoch, Past, SequenceSet, Snapshot},
    event::{EventId, NewEvent, Sequence},
    time::Timestamp,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use self::facts::{Facts, LedgerFacts, take};
use super::{
    AppendError, Appended, BoxFuture, Commit, CommitError, CreateError, DeadRow, Entry, EventLog,
    Ledger, Packed, ReadError, ReadLimit, ReadRange, SubscriptionConfig, dictionary::Dictionaries,
    payload,
};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    disk: Arc<Disk>,
    /// The number of this view: of several, only the newest works.
    view: u64,
    head: watch::Sender<u64>,
}

/// What outlives a crash, and what is planned to go wrong.
#[derive(Debug)]
struct Disk {
    facts: Mutex<Facts>,
    gate: Mutex<Gate>,
    /// Told of each change of the gate. Who waits goes on in the order in which it came, so that runs can be repeated.
    gate_changed: Notify,
    faults: Mutex<Planned>,
}

#[derive(Clone, Copy, Debug)]
struct Gate {
    view: u64,
    paused: bool,
}

#[derive(Debug, Default)]
struct Planned {
    append: Option<Fault>,
    commit: Option<Fault>,
}

/// What goes wrong with the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and nothing is written.
    BeforeWrite,
    /// It is written, and then answered as failed.
    AfterWrite,
    /// It is answered [`CommitError::Fenced`], and nothing is written. An append fails as by [`Fault::BeforeWrite`].
    Fenced,
}

/// What is durable of one subscription, for tests that look from outside.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Durable<'a> {
    pub(crate) config: &'a SubscriptionConfig,
    pub(crate) epoch: Epoch,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) pasts: &'a hookline_core::delivery::Pasts,
    pub(crate) letters: &'a BTreeMap<Sequence, DeadRow>,
}

/// Plans failures of a [`MemoryStore`].
#[derive(Clone, Debug)]
pub struct Faults(Arc<Disk>);

impl Faults {
    /// Plans what goes wrong with the next append.
    pub fn fail_append(&self, fault: Fault) {
        self.0.faults.lock().append = Some(fault);
    }

    /// Plans what goes wrong with the next commit to a ledger, whichever.
    pub fn fail_commit(&self, fault: Fault) {
        self.0.faults.lock().commit = Some(fault);
    }

    /// Plans nothing more.
    pub fn forget(&self) {
        *self.0.faults.lock() = Planned::default();
    }

    /// Lets appends and commits wait until [`Faults::release`], or until a crash, which they don't survive.
    pub fn pause(&self) {
        self.0.change_gate(|gate| gate.paused = true);
    }

    /// Lets appends and commits go on.
    pub fn release(&self) {
        self.0.change_gate(|gate| gate.paused = false);
    }

    /// Crashes the store: what waits is lost, what was there before answers `Unavailable` to everything. Returns the
    /// store as it is found after the restart, no longer paused.
    #[must_use]
    pub fn crash(&self) -> Arc<MemoryStore> {
        let mut view = 0;
        self.0.change_gate(|gate| {
            gate.view += 1;
            gate.paused = false;
            view = gate.view;
        });
        MemoryStore::view(Arc::clone(&self.0), view)
    }
}

impl Disk {
    fn change_gate(&self, change: impl FnOnce(&mut Gate)) {
        change(&mut self.gate.lock());
        self.gate_changed.notify_waiters();
    }
}

impl MemoryStore {
    /// Makes an empty store.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let [a, b] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        let mut seal_key = [0; 32];
        for (to, from) in seal_key.iter_mut().zip([a.into_bytes(), b.into_bytes()].concat()) {
            *to = from;
        }
        let facts = Facts {
            entries: Vec::new(),
            first: 1,
            keys: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            creations: 0,
            last_written_at: Timestamp::EPOCH,
            seal_key,
        };
        let gate = Mutex::new(Gate { view: 0, paused: false });
        let (facts, gate_changed) = (Mutex::new(facts), Notify::new());
        Self::view(Arc::new(Disk { facts, gate, gate_changed, faults: Mutex::default() }), 0)
    }

    fn view(disk: Arc<Disk>, view: u64) -> Arc<Self> {
        let head = disk.facts.lock().head();
        Arc::new(Self { disk, view, head: watch::Sender::new(head) })
    }

    /// Returns the handle that failures are planned with.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults(Arc::clone(&self.disk))
    }

    /// Returns the facts, unless the store has crashed since.
    fn facts(&self) -> Result<MutexGuard<'_, Facts>, Arc<str>> {
        let facts = self.disk.facts.lock();
        if self.disk.gate.lock().view == self.view {
            Ok(facts)
        } else {
            Err("the store has crashed".into())
        }
    }

    /// Looks at what is durable of a subscription; `None` if there is none.
    #[cfg(test)]
    pub(crate) fn durable<T>(
        &self,
        creation: Creation,
        look: impl FnOnce(&Durable<'_>) -> T,
    ) -> Option<T> {
        let facts = self.disk.facts.lock();
        let LedgerFacts { config, epoch, snapshot, pasts, letters, .. } =
            facts.ledgers.get(&creation)?;
        Some(look(&Durable { config, epoch: *epoch, snapshot, pasts, letters }))
    }

    /// Looks at one entry of the log, trimmed or not, also while the store is slow.
    #[cfg(test)]
    pub(crate) fn entry_at(&self, sequence: Sequence) -> Option<Arc<Entry>> {
        let place = usize::try_from(sequence.get() - 1).ok()?;
        self.disk.facts.lock().entries.get(place).cloned()
    }

    /// Returns the creations of all subscriptions that there are.
    #[cfg(test)]
    pub(crate) fn creations(&self) -> Vec<Creation> {
        self.disk.facts.lock().ledgers.keys().copied().collect()
    }

    fn readable(&self) -> Result<MutexGuard<'_, Facts>, ReadError> {
        self.facts().map_err(ReadError::Unavailable)
    }

    /// Waits until writes go on.
    async fn pass(&self) {
        loop {
            let changed = self.disk.gate_changed.notified();
            let gate = *self.disk.gate.lock();
            if !gate.paused || gate.view != self.view {
                return;
            }
            changed.await;
        }
    }

    /// Writes to a ledger, as planned.
    async fn write<T>(
        &self,
        write: impl FnOnce(&mut Facts) -> Result<T, CommitError> + Send,
    ) -> Result<T, CommitError> {
        self.pass().await;
        let mut facts = self.facts().map_err(CommitError::Unavailable)?;
        let planned = || CommitError::Unavailable("planned".into());
        match self.disk.faults.lock().commit.take() {
            Some(Fault::BeforeWrite) => Err(planned()),
            Some(Fault::Fenced) => Err(CommitError::Fenced),
            Some(Fault::AfterWrite) => write(&mut facts).and_then(|_| Err(planned())),
            None => write(&mut facts),
        }
    }
}

impl EventLog for MemoryStore {
    fn append(
        &self,
        events: Vec<NewEvent>,
        received_at: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        Box::pin(async move {
            self.pass().await;
            let packed: Vec<_> =
                events.iter().map(|event| payload::pack(&event.payload, None)).collect();
            let mut facts = self.facts().map_err(AppendError::Unavailable)?;
            let fault = self.disk.faults.lock().append.take();
            let planned = AppendError::Unavailable("planned".into());
            if matches!(fault, Some(Fault::BeforeWrite | Fault::Fenced)) {
                return Err(planned);
            }
            let last = facts.entries.last().map_or(Timestamp::EPOCH, |e| e.event.received_at);
            let received_at = received_at.max(last);
            let each = events.into_iter().zip(packed);
            let appended =
                each.map(|(event, packed)| facts.append(event, packed, received_at)).collect();
            facts.last_written_at = facts.last_written_at.max(received_at);
            self.head.send_replace(facts.head());
            if fault.is_some() { Err(planned) } else { Ok(appended) }
        })
    }

    fn read(&self, range: ReadRange) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>> {
        Box::pin(async move {
            let facts = self.readable()?;
            Ok(take(facts.after(range.after).iter().cloned(), range.limit, |entry| entry))
        })
    }

    fn read_back(
        &self,
        before: Sequence,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>> {
        Box::pin(async move {
            let facts = self.readable()?;
            let kept = facts.after(0);
            let older = kept.partition_point(|entry| entry.event.sequence < before);
            let back = kept.iter().take(older).rev();
            Ok(take(back.cloned(), limit, |entry| entry))
        })
    }

    fn payload(&self, entry: &Entry) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        let payload = match &entry.packed {
            Packed::Plain(payload) => Ok(payload.clone()),
            Packed::Zstd(frame) => {
                payload::unpack(frame, entry.payload_size, &Dictionaries::default())
            }
            Packed::Chunked { .. } => {
                Err(ReadError::Damaged("nothing is chunked in memory".into()))
            }
        };
        Box::pin(async move { payload })
    }

    fn find(&self, id: EventId) -> BoxFuture<'_, Result<Option<Arc<Entry>>, ReadError>> {
        Box::pin(async move {
            Ok(self.readable()?.after(0).iter().find(|entry| entry.event.id == id).cloned())
        })
    }

    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Sequence, ReadError>> {
        Box::pin(async move {
            let facts = self.readable()?;
            let found = facts.after(0).iter().find(|entry| entry.event.received_at >= time);
            let after_head = Sequence::new(facts.head() + 1).expect("sequences begin with 1");
            Ok(found.map_or(after_head, |entry| entry.event.sequence))
        })
    }

    fn position_of_newest(&self, bytes: u64) -> BoxFuture<'_, Result<Sequence, ReadError>> {
        Box::pin(async move {
            let facts = self.readable()?;
            let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
            let mut position = facts.head() + 1;
            for entry in facts.after(0).iter().rev() {
                let Some(rest) = left.checked_sub(entry.stored_bytes()) else { break };
                (left, position) = (rest, entry.event.sequence.get());
            }
            Ok(Sequence::new(position).expect("sequences begin with 1"))
        })
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    fn first(&self) -> Sequence {
        Sequence::new(self.disk.facts.lock().first).expect("sequences begin with 1")
    }

    fn trim(&self, before: Sequence) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async move {
            self.pass().await;
            let mut facts = self.facts().map_err(AppendError::Unavailable)?;
            facts.first = before.get().min(facts.head() + 1).max(facts.first);
            Ok(())
        })
    }
}

impl Ledger for MemoryStore {
    fn create(&self, config: SubscriptionConfig) -> BoxFuture<'_, Result<Creation, CreateError>> {
        Box::pin(async move {
            let created = self.write(|facts| {
                let same = facts.ledgers.iter().find(|(_, l)| l.config.name == config.name);
                if let Some((creation, _)) = same {
                    return Ok(Err(*creation));
                }
                facts.creations += 1;
                let creation = Creation(facts.creations);
                facts.ledgers.insert(creation, LedgerFacts::new(config));
                Ok(Ok(creation))
            });
            created.await?.map_err(CreateError::Exists)
        })
    }

    fn delete(&self, creation: Creation) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(self.write(move |facts| {
            facts.ledgers.remove(&creation);
            Ok(())
        }))
    }

    fn subscriptions(
        &self,
    ) -> BoxFuture<'_, Result<Vec<(Creation, SubscriptionConfig)>, ReadError>> {
        Box::pin(async move {
            let facts = self.readable()?;
            let mut all: Vec<_> =
                facts.ledgers.iter().map(|(creation, l)| (*creation, l.config.clone())).collect();
            all.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
            Ok(all)
        })
    }

    fn open(&self, creation: Creation) -> BoxFuture<'_, Result<(Epoch, Snapshot), CommitError>> {
        Box::pin(self.write(move |facts| {
            let ledger = facts.ledger(creation)?;
            ledger.epoch.0 += 1;
            Ok((ledger.epoch, ledger.snapshot.clone()))
        }))
    }

    fn commit(
        &self,
        creation: Creation,
        epoch: Epoch,
        commit: Commit,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(self.write(move |facts| {
            let ledger = facts.ledger(creation)?;
            if ledger.epoch != epoch {
                return Err(CommitError::Fenced);
            }
            let at = commit.at;
            ledger.commit(creation, commit)?;
            facts.last_written_at = facts.last_written_at.max(at);
            Ok(())
        }))
    }

    fn past(
        &self,
        creation: Creation,
        sequence: Sequence,
    ) -> BoxFuture<'_, Result<Past, ReadError>> {
        Box::pin(async move {
            let facts = self.readable()?;
            let kept = sequence.get() >= facts.first;
            let ledger = facts.ledgers.get(&creation).filter(|_| kept);
            Ok(ledger.map(|ledger| ledger.pasts.get(sequence)).unwrap_or_default())
        })
    }

    fn ended_between(
        &self,
        creation: Creation,
        after: u64,
        through: u64,
    ) -> BoxFuture<'_, Result<SequenceSet, ReadError>> {
        Box::pin(async move {
            let facts = self.readable()?;
            let mut ended = SequenceSet::new();
            let ledger = facts.ledgers.get(&creation);
            let pasts = ledger.into_iter().flat_map(|ledger| ledger.pasts.iter());
            // What a seek ended has a past, and is owed.
            let all = pasts.filter(|(_, past)| !past.ended.is_empty()).map(|(of, _)| of);
            for sequence in all.filter(|of| (after + 1..=through).contains(&of.get())) {
                ended.insert(sequence);
            }
            Ok(ended)
        })
    }

    fn background(
        &self,
        creation: Creation,
        sequence: Sequence,
    ) -> BoxFuture<'_, Result<Background, ReadError>> {
        Box::pin(async move {
            let facts = self.readable()?;
            let ledger = facts.ledgers.get(&creation);
            Ok(ledger.map(|ledger| ledger.backgrounds.get(sequence)).unwrap_or_default())
        })
    }

    fn dead_letters(
        &self,
        creation: Creation,
        range: ReadRange,
    ) -> BoxFuture<'_, Result<Vec<DeadRow>, ReadError>> {
        Box::pin(async move {
            let facts = self.readable()?;
            let Some(ledger) = facts.ledgers.get(&creation) else { return Ok(Vec::new()) };
            let rows = ledger.letters.iter();
            let rows = rows.filter(|(of, row)| of.get() > range.after && !row.redriven);
            Ok(take(rows.map(|(_, row)| row.clone()), range.limit, |row| &row.entry))
        })
    }

    fn dead_letter(
        &self,
        creation: Creation,
        sequence: Sequence,
    ) -> BoxFuture<'_, Result<Option<DeadRow>, ReadError>> {
        Box::pin(async move {
            let facts = self.readable()?;
            let ledger = facts.ledgers.get(&creation);
            Ok(ledger.and_then(|ledger| ledger.letters.get(&sequence)).cloned())
        })
    }

    fn unannounced(&self, count: usize) -> BoxFuture<'_, Result<Vec<DeadRow>, ReadError>> {
        Box::pin(async move {
            let facts = self.readable()?;
            let rows = facts.ledgers.values().flat_map(|ledger| ledger.letters.values());
            Ok(rows.filter(|row| !row.announced).take(count).cloned().collect())
        })
    }

    fn mark_announced(
        &self,
        rows: Vec<(Creation, Sequence, u32)>,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(self.write(move |facts| {
            for (creation, sequence, generation) in rows {
                let ledger = facts.ledgers.get_mut(&creation);
                let row = ledger.and_then(|ledger| ledger.letters.get_mut(&sequence));
                if let Some(row) = row.filter(|row| row.letter.generation == generation) {
                    row.announced = true;
                }
            }
            Ok(())
        }))
    }

    fn seal_key(&self) -> [u8; 32] {
        self.disk.facts.lock().seal_key
    }

    fn last_written_at(&self) -> Timestamp {
        self.disk.facts.lock().last_written_at
    }
}

#[cfg(test)]
mod tests;
