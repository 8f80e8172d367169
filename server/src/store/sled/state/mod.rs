//! The writer's state: what it knows of the database, and how each command changes both.

mod append;

mod subscriptions;

mod folding;

mod chores;

pub(super) mod dictionaries;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hookline_core::{
    delivery::{Creation, Epoch},
    event::Sequence,
    time::Timestamp,
};

pub(super) use self::append::WEIGHED_EVERY;
use self::append::seal_pack;
pub(super) use self::chores::Chore;
use self::dictionaries::Kept;
use super::{
    super::{
        AppendError, CommitError, ReadError, codec,
        export::{ExportError, Mark},
    },
    Shared,
    capture::{Capture, Captured},
    db_error,
    dedupe::{self, Dedupe, Unwritten},
    draft::{self, Draft},
    index,
    keys::{self, Kind, Meta},
    ledger::{Facts, Marker},
    log::{Reader, bytes_before},
    open::{Disk, OpenError, panic_text},
    pack::Pack,
    writer::{COMMIT_BYTES, Command, Configs, Failure, Group},
};
use crate::clock::Stopwatch;

/// An open database as the writer knows it.
#[derive(Debug)]
pub(super) struct Opened {
    db: ::sled::Db,
    disk: Disk,
    /// The number of this opening of the store, and of the next row of settlements in it.
    next_settled: Marker,
    /// The sequence of the next event.
    pub(super) next: u64,
    /// The first that is kept.
    pub(super) first: u64,
    last_received: Timestamp,
    /// The latest time of a commit to a ledger, and what its row says. Those of commits of one row are in those rows until they
    /// are folded.
    committed_at: Timestamp,
    committed_at_written: Timestamp,
    /// How many bytes of events were ever appended, and how many of them before the newest row that says so. What came
    /// after that row before the store was opened is not counted: less than a MiB.
    appended_bytes: u64,
    weighed_bytes: u64,
    dedupe: Dedupe,
    /// Of delivery keys, and of bodies of sources that look for replays.
    unwritten_keys: Unwritten,
    unwritten_bodies: Unwritten,
    /// The day up to which fingerprints were forgotten on disk.
    swept_day: u32,
    creations: u64,
    pub(super) configs: Configs,
    pub(super) configs_changed: bool,
    epochs: BTreeMap<Creation, Epoch>,
    /// What no row says but those of acks is of ledgers that are here.
    ledgers: BTreeMap<Creation, Facts>,
    /// Those that have many such rows.
    ripe: BTreeSet<Creation>,
    /// The block of the index that the next events belong to.
    index: index::Filling,
    chores: VecDeque<Chore>,
    /// The keys of rows that were written or removed, and not asked for since.
    unasked: Vec<Vec<u8>>,
    dictionaries: Vec<Kept>,
    pub(super) dictionaries_changed: bool,
    /// The copy that is being made.
    pub(super) captured: Captured,
}

/// The last events whose fingerprints have rows: of delivery keys, and of bodies.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    keys: u64,
    bodies: u64,
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
        let mut draft = Draft::default();
        let recovered = catch_unwind(AssertUnwindSafe(|| {
            let seal_key = make_or_check(&db, path)?;
            let opened =
                Self::read(db, disk, &mut draft).map_err(|error| damaged(error.to_string()))?;
            Ok((seal_key, opened))
        }));
        let (seal_key, mut opened) = match recovered {
            Ok(recovered) => recovered?,
            Err(panic) => return Err(damaged(panic_text(panic.as_ref()))),
        };
        // What was written by an earlier version may now get rows that it does not know.
        draft.put(keys::meta(Meta::Version), &[&keys::LAYOUT_VERSION.to_be_bytes()]);
        // Durable before the first settlement, so that no value of another opening is overwritten.
        draft.put(keys::meta(Meta::Openings), &[&opened.next_settled.opening.to_be_bytes()]);
        opened.write(draft).map_err(|Failure(why)| damaged(why.to_string()))?;
        Ok(Recovered {
            head: opened.next - 1,
            first: codec::sequence(opened.first).map_err(|error| damaged(error.to_string()))?,
            seal_key,
            last_written_at: opened.last_written_at(),
            opened,
        })
    }

    /// What is read and has to be written again goes into the draft.
    fn read(db: ::sled::Db, disk: Disk, draft: &mut Draft) -> Result<Self, ReadError> {
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
            let pack = Pack::read(&key, value)?;
            next = next.max(pack.last() + 1);
            last_received = last_received.max(pack.last_received);
        }
        let committed_at = match draft::get(&db, &keys::meta(Meta::CommittedAt))? {
            Some(content) => codec::timestamp(keys::take_i64(&mut &content[..])?)?,
            None => Timestamp::EPOCH,
        };
        let appended_bytes = newest_weight(&db)?;
        let (opening, creations) = (number(Meta::Openings)? + 1, number(Meta::Creations)?);
        let mut opened = Self {
            next_settled: Marker { opening, number: 0 },
            next,
            first,
            last_received,
            committed_at,
            committed_at_written: committed_at,
            appended_bytes,
            weighed_bytes: appended_bytes,
            dedupe: Dedupe::default(),
            unwritten_keys: Unwritten::new(Kind::Fingerprints),
            unwritten_bodies: Unwritten::new(Kind::Bodies),
            swept_day: 0,
            creations,
            configs: Configs::new(),
            configs_changed: false,
            epochs: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            ripe: BTreeSet::new(),
            index: index::Filling::default(),
            chores: VecDeque::new(),
            unasked: Vec::new(),
            dictionaries: Vec::new(),
            dictionaries_changed: false,
            captured: Captured::default(),
            db,
            disk,
        };
        opened.read_subscriptions()?;
        opened.read_dictionaries(draft)?;
        opened.fold_what_is_left(draft)?;
        let written = opened.read_fingerprints()?;
        opened.make_fingerprints(written, draft)?;
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

    fn read_fingerprints(&mut self) -> Result<Written, ReadError> {
        let mut written = Written::default();
        let oldest = dedupe::day(self.last_received).saturating_sub(dedupe::DEDUPE_DAYS);
        for kind in [Kind::Fingerprints, Kind::Bodies] {
            let end = keys::under(kind, &[]).end;
            for row in self.db.range(keys::fingerprints(kind, oldest, 0)..end) {
                let (key, value) = row.map_err(db_error)?;
                let (day, fingerprints) = match fingerprints(&key, &value) {
                    Ok(read) => read,
                    // An event may be taken twice then, but the others can be read.
                    Err(error) => {
                        tracing::error!(%error, "a row of fingerprints is passed over");
                        continue;
                    }
                };
                for (fingerprint, sequence) in fingerprints {
                    if kind == Kind::Bodies {
                        self.dedupe.insert_body(fingerprint, sequence);
                        written.bodies = sequence.get();
                    } else {
                        self.dedupe.insert(fingerprint, sequence, day);
                        written.keys = sequence.get();
                    }
                }
            }
        }
        Ok(written)
    }

    /// Makes the fingerprints of the newest events that have no row yet, as a kill leaves them.
    fn make_fingerprints(&mut self, written: Written, draft: &mut Draft) -> Result<(), ReadError> {
        let block = index::sequences_of(index::block_of(self.next)).start.max(self.first);
        let first = codec::sequence(self.first)?;
        let reader = Reader { db: &self.db, first, head: self.next - 1 };
        let mut found = Vec::new();
        let mut next = block;
        while next < self.next {
            let pack = match reader.pack_of(next) {
                Ok(Some(pack)) => pack,
                // The check tells of it. An event that can't be read can't be called the same as another.
                Ok(None) | Err(ReadError::Damaged(_)) => {
                    next += 1;
                    continue;
                }
                Err(error @ ReadError::Unavailable(_)) => return Err(error),
            };
            next = pack.last() + 1;
            let entries = match pack.entries() {
                Err(ReadError::Damaged(_)) => continue,
                entries => entries?,
            };
            for entry in entries {
                let (event, sequence) = (&entry.event, entry.event.sequence);
                let is_new = |last: u64| block.max(last + 1) <= sequence.get();
                let key = dedupe::fingerprint(&event.content);
                // Whether its source looked for replays then is not known: one too many does no harm.
                let body = dedupe::fingerprint_of_body(&event.content);
                let key = key.filter(|_| is_new(written.keys));
                let body = body.filter(|_| is_new(written.bodies));
                found.push((dedupe::day(event.received_at), sequence, (key, body)));
            }
        }
        for (day, sequence, fingerprints) in found {
            self.remember(day, sequence, fingerprints, draft);
        }
        Ok(())
    }

    /// Returns how many bytes of events were ever appended, as far as it is known.
    pub(super) fn appended_bytes(&self) -> u64 {
        self.appended_bytes
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
            Command::Index { block, row, reply } => {
                // What was trimmed meanwhile needs none.
                if self.first <= index::sequences_of(block).start {
                    group.draft.put(keys::key(Kind::Index, &[block]), &[&row]);
                }
                group.answer(reply, Ok(()), AppendError::Unavailable);
            }
            Command::KeepDictionary { dictionary, reply } => {
                self.keep_dictionary(dictionary, &mut group.draft);
                group.answer(reply, Ok(()), AppendError::Unavailable);
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
            Command::Export { reply } => {
                let result = self.begin_export(group)?;
                group.answer(reply, result, ExportError::Unavailable);
            }
        }
        Ok(())
    }

    /// Begins a copy of what is written now.
    fn begin_export(
        &mut self,
        group: &mut Group,
    ) -> Result<Result<Arc<Capture>, ExportError>, Failure> {
        // With what earlier commands of the group write: the mark lies between two commits, and between two rows of
        // fingerprints. And no ack is only in a row of its own.
        self.seal_fingerprints(&mut group.draft);
        self.fold_all(&mut group.draft);
        self.commit(group)?;
        let Ok(first) = codec::sequence(self.first) else {
            return Ok(Err(ExportError::Damaged("the log begins with 0".into())));
        };
        let subscription_count = u64::try_from(self.configs.len()).unwrap_or(u64::MAX);
        let layout_version = keys::LAYOUT_VERSION;
        let mark = Mark { layout_version, head: self.next - 1, first, subscription_count };
        Ok(self.captured.begin(mark))
    }

    /// Writes a draft and waits until it is on the disk; returns for how long, if there was anything to write.
    fn write(&mut self, draft: Draft) -> Result<Option<Duration>, Failure> {
        let keys = draft.keys();
        if keys.is_empty() {
            return Ok(None);
        }
        let failed = |error: ::sled::Error| Failure(error.to_string().into());
        let write = || draft.apply_to(&self.db);
        self.captured.writing(&self.db, &keys, write).map_err(failed)?;
        let syncing = Stopwatch::start();
        self.db.flush().map_err(failed)?;
        self.disk.sync().map_err(|error| Failure(error.to_string().into()))?;
        let synced = syncing.elapsed();
        self.unasked.extend(keys);
        Ok(Some(synced))
    }

    /// Returns how many rows were written or removed that [`Opened::ask`] has not asked for.
    pub(super) fn unasked(&self) -> usize {
        self.unasked.len()
    }

    /// Asks for what was written since the last time.
    pub(super) fn ask(&mut self) -> Result<(), Failure> {
        let keys = self.unasked.drain(..);
        draft::ask(&self.db, keys).map_err(|error| Failure(error.to_string().into()))
    }

    /// Writes what the group has so far.
    pub(super) fn commit(&mut self, group: &mut Group) -> Result<(), Failure> {
        seal_pack(group);
        if group.draft.is_batch() {
            self.fold_ripe(&mut group.draft);
        }
        let synced = self.write(std::mem::take(&mut group.draft))?;
        group.syncs.extend(synced);
        Ok(())
    }

    /// Writes what would be made again when the store is opened: the fingerprints that have no row yet, and what only rows of
    /// acks say.
    pub(super) fn commit_rest(&mut self) -> Result<(), Failure> {
        let mut draft = Draft::default();
        self.seal_fingerprints(&mut draft);
        self.fold_all(&mut draft);
        self.write(draft).map(drop)
    }

    /// Makes the next small commits cheaper.
    pub(super) fn extend_runway(&self) -> Result<(), Failure> {
        self.disk.extend_runway().map_err(|error| Failure(error.to_string().into()))
    }

    fn commit_when_large(&mut self, group: &mut Group) -> Result<(), Failure> {
        if group.draft.bytes() < COMMIT_BYTES {
            return Ok(());
        }
        self.commit(group)?;
        self.ask()
    }
}

/// Returns how many bytes of events were ever appended, as the newest row says that can be read.
fn newest_weight(db: &::sled::Db) -> Result<u64, ReadError> {
    for row in db.range(keys::under(Kind::Weight, &[])).rev() {
        let (key, value) = row.map_err(db_error)?;
        match bytes_before(&key, &value) {
            Ok(bytes) => return Ok(bytes),
            Err(error) => tracing::error!(%error, "a weight is passed over"),
        }
    }
    Ok(0)
}

/// Returns the day of a row of fingerprints, and each with its event.
fn fingerprints(key: &[u8], value: &[u8]) -> Result<(u32, Vec<(u64, Sequence)>), ReadError> {
    let day = keys::take_u32(&mut key.get(1..).unwrap_or_default())?;
    Ok((day, dedupe::pairs(keys::unseal(key, value)?)?))
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
            if !(keys::LAYOUT_VERSION_MIN..=keys::LAYOUT_VERSION).contains(&found) {
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
            draft.apply_to(db).map_err(|error| damaged(error.to_string()))?;
        }
    }
    let key = read(Meta::SealKey)?.ok_or_else(|| damaged("the seal key is missing".to_owned()))?;
    <[u8; 32]>::try_from(&key[..]).map_err(|_| damaged("the seal key is cut off".to_owned()))
}
