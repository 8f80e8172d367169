//! The writer's state: what it knows of the database, and how each command changes both.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use hookline_core::{
    delivery::{Creation, Epoch, sequence_set::PAGE_SEQUENCES},
    event::{EventId, Sequence},
    time::Timestamp,
};

use super::{
    super::{
        AppendError, Appended, CommitError, CreateError, Entry, ReadError, SubscriptionConfig,
        codec,
    },
    Shared, db_error,
    dedupe::{self, Dedupe},
    draft::{self, Draft},
    keys::{self, Kind, Meta},
    ledger::{self, Facts, PreparedCommit, Writing},
    log::{self, Prepared, Reader},
    open::{Disk, OpenError, panic_text},
    pack::{Filling, Pack},
    writer::{COMMIT_BYTES, Command, Configs, Failure, Group, is_same_delivery},
};

/// How many rows one commit removes besides, of what was trimmed or deleted.
const CHORE_ROWS: usize = 256;

/// Rows to remove, bit by bit, of what nobody can reach any more; and then one more, which says so.
#[derive(Debug)]
pub(super) struct Chore {
    range: Range<Vec<u8>>,
    last: Option<Vec<u8>>,
}

/// An open database as the writer knows it.
#[derive(Debug)]
pub(super) struct Opened {
    db: ::sled::Db,
    disk: Disk,
    /// The number of this opening of the store, and of the next value of settlements in it.
    opening: u64,
    next_settled: u64,
    /// The sequence of the next event.
    pub(super) next: u64,
    /// The first that is kept.
    pub(super) first: u64,
    last_received: Timestamp,
    committed_at: Timestamp,
    dedupe: Dedupe,
    /// The day up to which fingerprints were forgotten on disk.
    swept_day: u32,
    creations: u64,
    pub(super) configs: Configs,
    pub(super) configs_changed: bool,
    epochs: BTreeMap<Creation, Epoch>,
    ledgers: BTreeMap<Creation, Facts>,
    chores: VecDeque<Chore>,
}

/// What opening finds.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) opened: Opened,
    pub(super) head: u64,
    pub(super) first: Sequence,
    pub(super) seal_key: [u8; 32],
    pub(super) last_written_at: Timestamp,
}

impl Opened {
    /// Reads what the writer needs to know, and makes the first rows in a new database.
    pub(super) fn recover(db: ::sled::Db, disk: Disk, path: &Path) -> Result<Recovered, OpenError> {
        let damaged = |why: String| OpenError::Damaged { path: path.to_path_buf(), why };
        let recovered = catch_unwind(AssertUnwindSafe(|| {
            let seal_key = make_or_check(&db, path)?;
            let opened = Self::read(db, disk).map_err(|error| damaged(error.to_string()))?;
            Ok((seal_key, opened))
        }));
        let (seal_key, opened) = match recovered {
            Ok(recovered) => recovered?,
            Err(panic) => return Err(damaged(panic_text(panic.as_ref()))),
        };
        // Durable before the first settlement, so that no value of another opening is overwritten.
        let mut draft = Draft::default();
        draft.put(keys::meta(Meta::Openings), &[&opened.opening.to_be_bytes()]);
        opened.write(draft).map_err(|Failure(why)| damaged(why.to_string()))?;
        Ok(Recovered {
            head: opened.next - 1,
            first: codec::sequence(opened.first).map_err(|error| damaged(error.to_string()))?,
            seal_key,
            last_written_at: opened.last_written_at(),
            opened,
        })
    }

    fn read(db: ::sled::Db, disk: Disk) -> Result<Self, ReadError> {
        let number = |item| match draft::get(&db, &keys::meta(item))? {
            Some(content) => keys::take_u64(&mut &content[..]),
            None => Ok(0),
        };
        let (mut first, mut last_received) = (1, Timestamp::EPOCH);
        if let Some(trimmed) = draft::get(&db, &keys::meta(Meta::Trimmed))? {
            let mut trimmed = &trimmed[..];
            first = keys::take_u64(&mut trimmed)?;
            last_received = codec::timestamp(keys::take_i64(&mut trimmed)?)?;
        }
        let mut next = first;
        if let Some(row) = db.range(keys::under(Kind::Pack, &[])).next_back() {
            let (key, value) = row.map_err(db_error)?;
            let pack = Pack::read(&key, &value)?;
            next = next.max(pack.last() + 1);
            last_received = last_received.max(pack.last_received);
        }
        let committed_at = match draft::get(&db, &keys::meta(Meta::CommittedAt))? {
            Some(content) => codec::timestamp(keys::take_i64(&mut &content[..])?)?,
            None => Timestamp::EPOCH,
        };
        let (opening, creations) = (number(Meta::Openings)? + 1, number(Meta::Creations)?);
        let mut opened = Self {
            opening,
            next_settled: 0,
            next,
            first,
            last_received,
            committed_at,
            dedupe: Dedupe::default(),
            swept_day: 0,
            creations,
            configs: Configs::new(),
            configs_changed: false,
            epochs: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            chores: VecDeque::new(),
            db,
            disk,
        };
        opened.read_subscriptions()?;
        opened.read_fingerprints()?;
        opened.find_chores()?;
        Ok(opened)
    }

    fn read_subscriptions(&mut self) -> Result<(), ReadError> {
        for row in self.db.range(keys::under(Kind::Config, &[])) {
            let (key, value) = row.map_err(db_error)?;
            let creation = Creation(keys::number(&key, 0)?);
            let content = bytes::Bytes::copy_from_slice(keys::unseal(&key, &value)?);
            self.configs.insert(creation, codec::decode_config(content)?);
            let epoch = draft::get(&self.db, &keys::key(Kind::Epoch, &[creation.0]))?;
            let epoch = match epoch {
                Some(content) => keys::take_u64(&mut &content[..])?,
                None => 0,
            };
            self.epochs.insert(creation, Epoch(epoch));
        }
        Ok(())
    }

    fn read_fingerprints(&mut self) -> Result<(), ReadError> {
        let oldest = dedupe::day(self.last_received).saturating_sub(dedupe::DEDUPE_DAYS);
        let end = keys::under(Kind::Fingerprints, &[]).end;
        for row in self.db.range(keys::fingerprints(oldest, 0)..end) {
            let (key, value) = row.map_err(db_error)?;
            let day = keys::take_u32(&mut key.get(1..).unwrap_or_default())?;
            let mut content = keys::unseal(&key, &value)?;
            while !content.is_empty() {
                let fingerprint = keys::take_u64(&mut content)?;
                let sequence = codec::sequence(keys::take_u64(&mut content)?)?;
                self.dedupe.insert(fingerprint, sequence, day);
            }
        }
        Ok(())
    }

    /// Finds what was left to remove, and what a kill left behind.
    fn find_chores(&mut self) -> Result<(), ReadError> {
        for key in self.db.range(keys::under(Kind::Deleting, &[])).keys() {
            let creation = Creation(keys::number(&key.map_err(db_error)?, 0)?);
            self.chores.extend(chores_of_deletion(creation));
        }
        let trimmed = self.chores_of_trim(self.first)?;
        self.chores.extend(trimmed);
        // Chunks of an event whose own row was never written: its sequence goes to another.
        for key in self.db.range(keys::between(Kind::Chunk, &[], self.next..u64::MAX)).keys() {
            self.db.remove(key.map_err(db_error)?).map_err(db_error)?;
        }
        Ok(())
    }

    /// Returns the latest time that was written.
    pub(super) fn last_written_at(&self) -> Timestamp {
        self.last_received.max(self.committed_at)
    }

    /// Carries out one command as far as the group's commit.
    pub(super) fn handle(
        &mut self,
        command: Command,
        group: &mut Group,
        shared: &Shared,
    ) -> Result<(), Failure> {
        match command {
            Command::Append { events, received_at, reply } => {
                let full = shared.full.load(Ordering::Acquire);
                let result = if full {
                    Err(AppendError::Full)
                } else {
                    self.append(events, received_at, group, shared)?
                };
                group.answer(reply, result, AppendError::Unavailable);
            }
            Command::Trim { before, reply } => {
                let result = self.trim(before, group)?;
                let result =
                    result.map_err(|error| AppendError::Unavailable(error.to_string().into()));
                group.answer(reply, result, AppendError::Unavailable);
            }
            Command::Create { config, reply } => {
                let result = self.create(config, &mut group.draft);
                group.answer(reply, result, |why| CommitError::Unavailable(why).into());
            }
            Command::Delete { creation, reply } => {
                self.delete(creation, group);
                group.answer(reply, Ok(()), CommitError::Unavailable);
            }
            Command::Open { creation, reply } => {
                let result = self.open_ledger(creation, &mut group.draft);
                group.answer(reply, result, CommitError::Unavailable);
            }
            Command::Install { creation, epoch, facts, reply } => {
                let result = self.check(creation, epoch);
                if result.is_ok() {
                    self.ledgers.insert(creation, facts);
                }
                group.answer(reply, result, CommitError::Unavailable);
            }
            Command::Commit { creation, epoch, commit, reply } => {
                let result = self.commit_ledger(creation, epoch, commit, group)?;
                group.answer(reply, result, CommitError::Unavailable);
            }
            Command::MarkAnnounced { rows, reply } => {
                let result = self.mark_announced(&rows, &mut group.draft);
                let result =
                    result.map_err(|error| CommitError::Unavailable(error.to_string().into()));
                group.answer(reply, result, CommitError::Unavailable);
            }
        }
        Ok(())
    }

    /// Writes a batch and waits until it is on the disk.
    fn write(&self, draft: Draft) -> Result<(), Failure> {
        let rows = draft.count();
        if rows == 0 {
            return Ok(());
        }
        let failed = |error: ::sled::Error| Failure(error.to_string().into());
        self.db.apply_batch(draft.into_batch()).map_err(failed)?;
        self.db.flush().map_err(failed)?;
        self.disk.sync().map_err(|error| Failure(error.to_string().into()))?;
        // sled collects its garbage by how often it was asked something, and a batch asks once: so memory would grow
        // without end with large batches.
        let any = keys::meta(Meta::Version);
        for _ in 0..rows {
            self.db.get(&any).map_err(failed)?;
        }
        Ok(())
    }

    /// Writes what the group has so far.
    pub(super) fn commit(&self, group: &mut Group) -> Result<(), Failure> {
        seal_pack(group);
        if let Some((day, first)) = group.fingerprints_first.take() {
            let rows = std::mem::take(&mut group.fingerprints);
            group.draft.put(keys::fingerprints(day, first), &[&rows]);
        }
        self.write(std::mem::take(&mut group.draft))
    }

    fn commit_when_large(&self, group: &mut Group) -> Result<(), Failure> {
        if group.draft.bytes() >= COMMIT_BYTES { self.commit(group) } else { Ok(()) }
    }

    /// The outer error fails the whole group; the inner one this call alone.
    #[expect(clippy::type_complexity, reason = "two levels of failure, each with its own end")]
    fn append(
        &mut self,
        events: Vec<Prepared>,
        received_at: Timestamp,
        group: &mut Group,
        shared: &Shared,
    ) -> Result<Result<Vec<Appended>, AppendError>, Failure> {
        let received_at = received_at.max(self.last_received);
        let mut answers = Vec::with_capacity(events.len());
        let mut new: Vec<(Prepared, EventId, Sequence)> = Vec::with_capacity(events.len());
        // By source and key: of several in one call, the first stays.
        let mut keys_of_call = HashMap::new();
        for event in events {
            let key = event
                .fingerprint
                .map(|_| (event.content.source.clone(), event.content.delivery_key.clone()));
            let first = match key.as_ref().and_then(|key| keys_of_call.get(key)) {
                Some(first) => Some(*first),
                None => match self.first_of(&event, received_at, group, shared) {
                    Ok(first) => first,
                    Err(error) => {
                        return Ok(Err(AppendError::Unavailable(error.to_string().into())));
                    }
                },
            };
            if let Some((id, sequence)) = first {
                answers.push(Appended { id, sequence, duplicate: true });
                continue;
            }
            let place = self.next + u64::try_from(new.len()).expect("a count fits 64 bits");
            let sequence = Sequence::new(place).expect("sequences begin with 1");
            let id = EventId::new(received_at, event.random);
            if let Some(key) = key {
                keys_of_call.insert(key, (id, sequence));
            }
            answers.push(Appended { id, sequence, duplicate: false });
            new.push((event, id, sequence));
        }
        for (event, _, sequence) in &mut new {
            for (chunk, number) in std::mem::take(&mut event.chunks).into_iter().zip(0..) {
                group.draft.put_sealed(keys::chunk(None, *sequence, number), chunk);
                self.commit_when_large(group)?;
            }
        }
        for (event, id, sequence) in new {
            self.place(event, id, sequence, received_at, group);
        }
        Ok(Ok(answers))
    }

    /// Returns the event that this one is a copy of.
    fn first_of(
        &self,
        event: &Prepared,
        received_at: Timestamp,
        group: &Group,
        shared: &Shared,
    ) -> Result<Option<(EventId, Sequence)>, ReadError> {
        let Some(fingerprint) = event.fingerprint else { return Ok(None) };
        for sequence in self.dedupe.candidates(fingerprint) {
            let kept = match self.kept(sequence, group, shared) {
                Ok(kept) => kept,
                // What can't be read can't be called the same: twice is allowed, lost is not.
                Err(ReadError::Damaged(_)) => None,
                Err(error @ ReadError::Unavailable(_)) => return Err(error),
            };
            let same = kept.filter(|kept| {
                is_same_delivery(&kept.event.content, &event.content)
                    && dedupe::is_remembered(kept.event.received_at, received_at)
            });
            if let Some(same) = same {
                return Ok(Some((same.event.id, same.event.sequence)));
            }
        }
        Ok(None)
    }

    fn kept(
        &self,
        sequence: u64,
        group: &Group,
        shared: &Shared,
    ) -> Result<Option<Arc<Entry>>, ReadError> {
        if sequence < self.first {
            return Ok(None);
        }
        let of_group = group.entries.first().map(|entry| entry.event.sequence.get());
        if let Some(place) = of_group.and_then(|first| sequence.checked_sub(first)) {
            return Ok(usize::try_from(place).ok().and_then(|n| group.entries.get(n)).cloned());
        }
        if let Some(entry) = shared.tail.entry(sequence) {
            return Ok(Some(entry));
        }
        let first = codec::sequence(self.first)?;
        Reader { db: &self.db, first, head: self.next - 1 }.entry(sequence)
    }

    /// Gives an event its place in the log.
    fn place(
        &mut self,
        event: Prepared,
        id: EventId,
        sequence: Sequence,
        received_at: Timestamp,
        group: &mut Group,
    ) {
        if group.pack.as_ref().is_some_and(|pack| pack.is_full_for(&event.encoded)) {
            seal_pack(group);
        }
        let pack = group.pack.get_or_insert_with(|| Filling::new(sequence, received_at));
        pack.push(&event.encoded, id, sequence, received_at);
        if let Some(fingerprint) = event.fingerprint {
            let day = dedupe::day(received_at);
            if group.fingerprints_first.is_some_and(|(of, _)| of != day) {
                let (of, first) = group.fingerprints_first.take().expect("it was looked at");
                let rows = std::mem::take(&mut group.fingerprints);
                group.draft.put(keys::fingerprints(of, first), &[&rows]);
            }
            group.fingerprints_first.get_or_insert((day, sequence.get()));
            group.fingerprints.extend(fingerprint.to_be_bytes());
            group.fingerprints.extend(sequence.get().to_be_bytes());
            self.dedupe.insert(fingerprint, sequence, day);
            self.sweep_fingerprints(day, group);
        }
        group.entries.push(Arc::new(log::entry(event, id, sequence, received_at)));
        self.next = sequence.get() + 1;
        self.last_received = received_at;
    }

    fn sweep_fingerprints(&mut self, day: u32, group: &mut Group) {
        if day <= self.swept_day {
            return;
        }
        self.swept_day = day;
        let end = keys::fingerprints(day.saturating_sub(dedupe::DEDUPE_DAYS), 0);
        group.chores.push(Chore { range: keys::fingerprints(0, 0)..end, last: None });
    }

    /// The outer error fails the whole group; the inner one this call alone.
    fn trim(
        &mut self,
        before: Sequence,
        group: &mut Group,
    ) -> Result<Result<(), ReadError>, Failure> {
        let before = before.get().min(self.next);
        if before <= self.first {
            return Ok(Ok(()));
        }
        // So that the pack that is being filled is seen, if the log now begins in it.
        self.commit(group)?;
        let chores = match self.chores_of_trim(before) {
            Ok(chores) => chores,
            Err(error) => return Ok(Err(error)),
        };
        group.chores.extend(chores);
        self.first = before;
        let time = self.last_received.as_micros().to_be_bytes();
        group.draft.put(keys::meta(Meta::Trimmed), &[&before.to_be_bytes(), &time]);
        Ok(Ok(()))
    }

    /// Returns what can be removed of a log that begins with `before`.
    fn chores_of_trim(&self, before: u64) -> Result<Vec<Chore>, ReadError> {
        let chore = |range| Chore { range, last: None };
        // The last pack that begins before may reach beyond.
        let upto = keys::key(Kind::Pack, &[0])..keys::key(Kind::Pack, &[before]);
        let packs_before = match self.db.range(upto).next_back() {
            None => 0,
            Some(row) => {
                let (key, value) = row.map_err(db_error)?;
                let pack = Pack::read(&key, &value)?;
                if pack.last() < before { before } else { pack.first }
            }
        };
        let mut chores = vec![
            chore(keys::between(Kind::Pack, &[], 0..packs_before)),
            chore(keys::between(Kind::Chunk, &[], 0..before)),
        ];
        for creation in self.configs.keys() {
            let pages = 0..before / PAGE_SEQUENCES;
            chores.push(chore(keys::between(Kind::Settled, &[creation.0], pages)));
        }
        Ok(chores)
    }

    fn create(
        &mut self,
        config: SubscriptionConfig,
        draft: &mut Draft,
    ) -> Result<Creation, CreateError> {
        let taken = self.configs.iter().find(|(_, other)| other.name == config.name);
        if let Some((creation, _)) = taken {
            return Err(CreateError::Exists(*creation));
        }
        self.creations += 1;
        let creation = Creation(self.creations);
        let start = config.start_after.to_be_bytes();
        let key = |kind| keys::key(kind, &[creation.0]);
        draft.put(keys::meta(Meta::Creations), &[&self.creations.to_be_bytes()]);
        draft.put(key(Kind::Config), &[&codec::encode_config(&config)]);
        draft.put(key(Kind::Epoch), &[&0_u64.to_be_bytes()]);
        draft.put(key(Kind::Position), &[&start, &start]);
        self.configs.insert(creation, config);
        self.configs_changed = true;
        self.epochs.insert(creation, Epoch(0));
        Ok(creation)
    }

    fn delete(&mut self, creation: Creation, group: &mut Group) {
        if self.configs.remove(&creation).is_none() {
            return;
        }
        self.configs_changed = true;
        self.epochs.remove(&creation);
        self.ledgers.remove(&creation);
        group.draft.remove(keys::key(Kind::Config, &[creation.0]));
        group.draft.put(keys::key(Kind::Deleting, &[creation.0]), &[]);
        group.chores.extend(chores_of_deletion(creation));
    }

    fn open_ledger(&mut self, creation: Creation, draft: &mut Draft) -> Result<Epoch, CommitError> {
        let epoch = self.epochs.get_mut(&creation).ok_or(CommitError::Missing)?;
        epoch.0 += 1;
        draft.put(keys::key(Kind::Epoch, &[creation.0]), &[&epoch.0.to_be_bytes()]);
        self.ledgers.remove(&creation);
        Ok(*epoch)
    }

    fn check(&self, creation: Creation, epoch: Epoch) -> Result<(), CommitError> {
        match self.epochs.get(&creation) {
            None => Err(CommitError::Missing),
            Some(newest) if *newest != epoch => Err(CommitError::Fenced),
            Some(_) => Ok(()),
        }
    }

    /// The outer error fails the whole group; the inner one this commit alone.
    fn commit_ledger(
        &mut self,
        creation: Creation,
        epoch: Epoch,
        commit: PreparedCommit,
        group: &mut Group,
    ) -> Result<Result<(), CommitError>, Failure> {
        if let Err(error) = self.check(creation, epoch) {
            return Ok(Err(error));
        }
        let unavailable = |error: ReadError| CommitError::Unavailable(error.to_string().into());
        if !self.ledgers.contains_key(&creation) {
            // Its owner had opened it before the store was opened again.
            match ledger::load(&self.db, creation) {
                Ok((_, facts)) => self.ledgers.insert(creation, facts),
                Err(error) => return Ok(Err(unavailable(error))),
            };
        }
        if let Err(error) = self.copy_chunks(creation, &commit, group)? {
            return Ok(Err(unavailable(error)));
        }
        let facts = self.ledgers.entry(creation).or_default();
        let PreparedCommit { changes, dead_events, at } = commit;
        let mut writing = Writing::new(&self.db, &group.draft, creation, facts, dead_events);
        for change in changes {
            if let Err(error) = writing.apply(change) {
                // Half of it is remembered now: the next commit reads what there is.
                self.ledgers.remove(&creation);
                return Ok(Err(unavailable(error)));
            }
        }
        let draft = writing.finish_commit(self.opening, &mut self.next_settled);
        group.draft.merge(draft);
        if at > self.committed_at {
            self.committed_at = at;
            let micros = at.as_micros().to_be_bytes();
            group.draft.put(keys::meta(Meta::CommittedAt), &[&micros]);
        }
        Ok(Ok(()))
    }

    /// Copies the payloads of large events that are given up, before the rows that make them dead letters.
    fn copy_chunks(
        &self,
        creation: Creation,
        commit: &PreparedCommit,
        group: &mut Group,
    ) -> Result<Result<(), ReadError>, Failure> {
        for event in &commit.dead_events {
            let held = self.ledgers.get(&creation).is_some_and(|f| f.has_letter(event.sequence));
            let Some((count, source)) = event.chunks.filter(|_| !held) else { continue };
            for number in 0..count {
                let chunk = match log::chunk(&self.db, source, event.sequence, number) {
                    Ok(chunk) => chunk,
                    Err(error) => return Ok(Err(error)),
                };
                let key = keys::chunk(Some(creation), event.sequence, number);
                group.draft.put(key, &[&chunk]);
                self.commit_when_large(group)?;
            }
        }
        Ok(Ok(()))
    }

    fn mark_announced(
        &self,
        rows: &[(Creation, Sequence, u32)],
        draft: &mut Draft,
    ) -> Result<(), ReadError> {
        for (creation, sequence, generation) in rows {
            let key = keys::of_delivery(Kind::Unannounced, *creation, *sequence);
            let row = match draft.get(&key)? {
                Some(row) => row,
                None => draft::get(&self.db, &key)?,
            };
            let Some(row) = row else { continue };
            if keys::take_u32(&mut &row[..])? == *generation {
                draft.remove(key);
            }
        }
        Ok(())
    }

    /// Whether rows are left to remove.
    pub(super) fn has_chores(&self) -> bool {
        !self.chores.is_empty()
    }

    pub(super) fn add_chores(&mut self, chores: Vec<Chore>) {
        self.chores.extend(chores);
    }

    /// Removes some rows.
    pub(super) fn do_chores(&mut self, draft: &mut Draft) -> Result<(), Failure> {
        let mut room = CHORE_ROWS;
        while room > 0 {
            let Some(chore) = self.chores.front_mut() else { break };
            let mut last = None;
            for key in self.db.range(chore.range.clone()).keys().take(room) {
                let key = key.map_err(|error| Failure(error.to_string().into()))?;
                draft.remove(key.to_vec());
                last = Some(key);
                room -= 1;
            }
            if let Some(last) = last.filter(|_| room == 0) {
                // Just beyond the last one, so that the next turn finds the rest even before this is written.
                chore.range.start = [&last[..], &[0]].concat();
            } else if let Some(done) = self.chores.pop_front() {
                if let Some(row) = done.last {
                    draft.remove(row);
                }
            }
        }
        Ok(())
    }
}

/// Puts the pack that is being filled into the draft.
fn seal_pack(group: &mut Group) {
    if let Some(pack) = group.pack.take() {
        let key = keys::key(Kind::Pack, &[pack.first.get()]);
        group.draft.put_sealed(key, pack.seal());
    }
}

fn chores_of_deletion(creation: Creation) -> Vec<Chore> {
    let ranges = keys::KINDS_OF_A_SUBSCRIPTION.map(|kind| keys::under(kind, &[creation.0]));
    let mut chores: Vec<_> = ranges.into_iter().map(|range| Chore { range, last: None }).collect();
    if let Some(chore) = chores.last_mut() {
        chore.last = Some(keys::key(Kind::Deleting, &[creation.0]));
    }
    chores
}

/// Makes the rows of a new store, or checks those of one that is there; returns its seal key.
fn make_or_check(db: &::sled::Db, path: &Path) -> Result<[u8; 32], OpenError> {
    let damaged = |why: String| OpenError::Damaged { path: path.to_path_buf(), why };
    let read = |item| {
        let row = draft::get(db, &keys::meta(item));
        row.map_err(|error| damaged(error.to_string()))
    };
    match read(Meta::Version)? {
        Some(version) => {
            let found = keys::take_u32(&mut &version[..]).unwrap_or_default();
            if found != keys::LAYOUT_VERSION {
                return Err(OpenError::Version { found, known: keys::LAYOUT_VERSION });
            }
        }
        None if !db.is_empty() => return Err(OpenError::Foreign { path: path.to_path_buf() }),
        None => {
            let [a, b] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
            let mut draft = Draft::default();
            let version = keys::LAYOUT_VERSION.to_be_bytes();
            draft.put(keys::meta(Meta::Version), &[&version]);
            draft.put(keys::meta(Meta::SealKey), &[a.as_bytes(), b.as_bytes()]);
            db.apply_batch(draft.into_batch()).map_err(|error| damaged(error.to_string()))?;
        }
    }
    let key = read(Meta::SealKey)?.ok_or_else(|| damaged("the seal key is missing".to_owned()))?;
    <[u8; 32]>::try_from(&key[..]).map_err(|_| damaged("the seal key is cut off".to_owned()))
}
