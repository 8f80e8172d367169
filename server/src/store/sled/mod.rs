//! The embedded store: an [`EventLog`] and a [`Ledger`] in one sled database.
//!
//! One thread writes: it takes all that waits, makes one commit of it, flushes, syncs the files, and only then
//! answers and moves the head. What can be done before (compressing, encoding) is done on the callers' tasks. Reads
//! never go through the writer. `server/docs/store.md` tells the whole; the keys stand in `keys.rs`.

mod keys;

mod open;

mod runway;

mod spare;

mod gathering;

mod disk;

mod queue;

mod pack;

mod dedupe;

mod index;

mod tail;

mod draft;

mod log;

mod ledger;

mod state;

mod writer;

mod capture;

pub mod check;

pub mod restore;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use bytes::Bytes;
use hookline_core::{
    delivery::{Background, Creation, Epoch, Past, SequenceSet, Snapshot},
    event::{EventId, NewEvent, Sequence},
    time::Timestamp,
};
use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};
use tokio::sync::{oneshot, watch};

pub use self::open::OpenError;
use self::{
    disk::Free,
    log::Reader,
    queue::Queue,
    spare::{SpareThreads, Writing},
    tail::Tail,
    writer::{Command, Writer},
};
use super::{
    AppendError, Appended, BoxFuture, Commit, CommitError, Condition, CreateError, DeadRow,
    DiskUse, Entry, EventLog, Export, Latencies, Ledger, Packed, ReadError, ReadLimit, ReadRange,
    SubscriptionConfig,
    dictionary::{Dictionaries, Samples},
    export::{ExportError, Exporting},
    payload,
    select::{self, Direction, Found, Walk},
};
use crate::{
    clock::Stopwatch,
    config::{self, KeepFree},
    limits::{
        DISK_LOOK_INTERVAL, STORE_CACHE_BYTES_DEFAULT, STORE_FREE_BYTES_MIN,
        STORE_FREE_PERCENT_DEFAULT,
    },
};

/// How a store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How much of the database is kept in memory, in bytes. Default: 64 MiB.
    pub cache_bytes: u64,
    /// Events are refused while less than this part of the disk is free, in percent; commits to ledgers go on, so that
    /// a full hub can be drained. 0: never. Default: 5.
    pub free_percent_min: u8,
    /// As above, in bytes, where the part is less. Default: 128 MiB.
    pub free_bytes_min: u64,
    /// Whether payloads are compressed with dictionaries, each trained of those of one source. What was compressed with one
    /// is read with it in any case. Default: yes.
    pub dictionaries: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: u64::try_from(STORE_CACHE_BYTES_DEFAULT).unwrap_or(u64::MAX),
            free_percent_min: STORE_FREE_PERCENT_DEFAULT,
            free_bytes_min: STORE_FREE_BYTES_MIN,
            dictionaries: true,
        }
    }
}

impl Options {
    /// Returns those that a configuration asks for.
    #[must_use]
    pub fn of(config: &config::Store) -> Self {
        let (free_percent_min, free_bytes_min) = match config.keep_free {
            KeepFree::Percent(percent) => (percent, STORE_FREE_BYTES_MIN),
            KeepFree::Bytes(bytes) => (0, bytes.max(STORE_FREE_BYTES_MIN)),
        };
        Self {
            cache_bytes: u64::try_from(config.cache).unwrap_or(u64::MAX),
            free_percent_min,
            free_bytes_min,
            dictionaries: config.dictionaries,
        }
    }
}

/// A store in a folder of its own.
#[derive(Debug)]
pub struct SledStore {
    shared: Arc<Shared>,
    queue: Arc<Queue<Command>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Those of sled's threads that sleep until the store is closed.
    spare_threads: Mutex<Option<SpareThreads>>,
}

/// What the writer and the readers have in common. Everything here is durable, but for rows in the database that the
/// head does not reach yet.
#[derive(Debug)]
struct Shared {
    /// `None`: closed, or between two attempts to open it again.
    db: RwLock<Option<::sled::Db>>,
    tail: Tail,
    dictionaries: Dictionaries,
    head: watch::Sender<u64>,
    first: AtomicU64,
    last_written_at: AtomicI64,
    /// How many bytes of events were ever appended, as far as it is known.
    appended_bytes: AtomicU64,
    full: AtomicBool,
    latencies: Latencies,
    /// Since when the writer works with the database.
    writing: Arc<Writing>,
    path: PathBuf,
    /// What the store took of its disk when it was last looked.
    disk: tokio::sync::Mutex<Option<(Stopwatch, DiskUse)>>,
    /// Whether a write has failed since the database was opened.
    failed: AtomicBool,
    configs: RwLock<BTreeMap<Creation, SubscriptionConfig>>,
    seal_key: [u8; 32],
}

impl Shared {
    fn db(&self) -> Result<MappedRwLockReadGuard<'_, ::sled::Db>, ReadError> {
        RwLockReadGuard::try_map(self.db.read(), Option::as_ref)
            .map_err(|_| ReadError::Unavailable("the store is closed".into()))
    }

    fn first(&self) -> Sequence {
        Sequence::new(self.first.load(Ordering::Acquire)).unwrap_or(Sequence::FIRST)
    }

    fn has(&self, creation: Creation) -> bool {
        self.configs.read().contains_key(&creation)
    }
}

fn trimmed(sequence: Sequence) -> ReadError {
    ReadError::Unavailable(format!("event `{sequence}` was trimmed meanwhile").into())
}

/// Tells an error of the database from damage in it.
fn db_error(error: ::sled::Error) -> ReadError {
    match error {
        ::sled::Error::Corruption { .. } => ReadError::Damaged(error.to_string().into()),
        ::sled::Error::Io(_)
        | ::sled::Error::Unsupported(_)
        | ::sled::Error::ReportableBug(_)
        | ::sled::Error::CollectionNotFound(_) => ReadError::Unavailable(error.to_string().into()),
    }
}

/// What a caller is told whose answer was dropped: by a writer that failed on the way.
const UNANSWERED: &str = "the writer has ended";

impl SledStore {
    /// Opens the store in the folder `path`, or makes one there.
    ///
    /// Blocks: for milliseconds, or a second for each some gigabytes.
    ///
    /// # Errors
    ///
    /// If the folder can't be used, is in use, is damaged, or was written by another version.
    pub fn open(path: &Path, options: Options) -> Result<Arc<Self>, OpenError> {
        let queue = Arc::new(Queue::new());
        let (writer, shared) = Writer::open(path, options, Arc::clone(&queue))?;
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let thread = thread
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { path: path.to_path_buf(), source })?;
        let (thread, spare_threads) = (Mutex::new(Some(thread)), Mutex::default());
        Ok(Arc::new(Self { shared, queue, thread, spare_threads }))
    }

    /// Keeps those threads of sled asleep that only stand in the way of the others, until the store is closed. They are the
    /// process's: this is for a program that has one store open.
    pub async fn keep_spare_threads(&self) {
        let db = self.shared.db().ok().map(|db| db.clone());
        if let Some(db) = db {
            let spare = SpareThreads::keep(&db, Arc::clone(&self.shared.writing)).await;
            *self.spare_threads.lock() = Some(spare);
        }
    }

    /// Writes what waits and closes the store; what comes later is refused. Returns when it is closed.
    pub async fn close(&self) {
        *self.spare_threads.lock() = None;
        self.queue.close();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A writer that panicked has answered nobody: its callers know.
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            drop(joined);
        }
    }

    /// Hands a command to the writer and waits for its answer.
    async fn ask<T, E>(
        &self,
        bytes: usize,
        closed: E,
        unanswered: impl FnOnce(Arc<str>) -> E,
        command: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Command,
    ) -> Result<T, E> {
        let (reply, answer) = oneshot::channel();
        if self.queue.push(command(reply), bytes).await.is_err() {
            return Err(closed);
        }
        answer.await.unwrap_or_else(|_| Err(unanswered(UNANSWERED.into())))
    }

    async fn commit_command<T>(
        &self,
        bytes: usize,
        command: impl FnOnce(oneshot::Sender<Result<T, CommitError>>) -> Command,
    ) -> Result<T, CommitError> {
        self.ask(bytes, CommitError::Closed, CommitError::Unavailable, command).await
    }

    /// Makes a dictionary of samples, and keeps it; nobody waits for that.
    fn train(&self, samples: Samples) {
        let (queue, shared) = (Arc::clone(&self.queue), Arc::clone(&self.shared));
        let runtime = tokio::runtime::Handle::current();
        let training = move || {
            let Some(dictionary) = samples.train() else { return };
            let (reply, answer) = oneshot::channel();
            let bytes = dictionary.bytes.len();
            let source = dictionary.source.clone();
            let command = Command::KeepDictionary { dictionary: Arc::new(dictionary), reply };
            let kept = runtime.block_on(async {
                let pushed = queue.push(command, bytes).await;
                pushed.is_ok() && matches!(answer.await, Ok(Ok(())))
            });
            if !kept {
                shared.dictionaries.sample_again(&source);
            }
        };
        drop(tokio::task::spawn_blocking(training));
    }

    /// Reads the database where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl Fn(&Reader<'_>, &Shared) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shared = Arc::clone(&self.shared);
        let task = tokio::task::spawn_blocking(move || {
            loop {
                let db = shared.db()?;
                let (first, head) = (shared.first(), *shared.head.borrow());
                let result = read(&Reader { db: &db, first, head }, &shared);
                // What was trimmed meanwhile is not missing: then it is read again from where the log begins now.
                if result.is_ok() || shared.first() == first {
                    return result;
                }
            }
        });
        task.await.unwrap_or_else(|error| Err(ReadError::Unavailable(error.to_string().into())))
    }
}

impl Drop for SledStore {
    /// Closes the store, if that was not done; blocks for what waits.
    fn drop(&mut self) {
        *self.spare_threads.get_mut() = None;
        self.queue.close();
        if let Some(thread) = self.thread.get_mut().take() {
            drop(thread.join());
        }
    }
}

impl EventLog for SledStore {
    fn append(
        &self,
        events: Vec<NewEvent>,
        received_at: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        Box::pin(async move {
            if self.shared.full.load(Ordering::Acquire) {
                return Err(AppendError::Full);
            }
            let payload_bytes: usize = events.iter().map(|event| event.payload.len()).sum();
            for event in &events {
                if let Some(samples) =
                    self.shared.dictionaries.sample(&event.source, &event.payload)
                {
                    self.train(samples);
                }
            }
            let prepared = if payload_bytes < payload::BLOCKING_BYTES {
                log::prepare(events, &self.shared.dictionaries)
            } else {
                let shared = Arc::clone(&self.shared);
                tokio::task::spawn_blocking(move || log::prepare(events, &shared.dictionaries))
                    .await
                    .map_err(|error| AppendError::Unavailable(error.to_string().into()))?
            };
            let bytes = prepared.iter().map(log::Prepared::bytes).sum();
            let watch = Stopwatch::start();
            let appended = self
                .ask(bytes, AppendError::Closed, AppendError::Unavailable, |reply| {
                    Command::Append { events: prepared, received_at, reply }
                })
                .await;
            self.shared.latencies.append.observe(watch.elapsed());
            appended
        })
    }

    fn read(&self, range: ReadRange) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>> {
        Box::pin(async move {
            let after = range.after.max(self.shared.first().get() - 1);
            if after >= *self.shared.head.borrow() || range.limit.count == 0 {
                return Ok(Vec::new());
            }
            if let Some(entries) = self.shared.tail.read(after, range.limit) {
                return Ok(entries);
            }
            self.blocking(move |reader, _| reader.read(after, range.limit)).await
        })
    }

    fn read_back(
        &self,
        before: Sequence,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>> {
        Box::pin(self.blocking(move |reader, _| reader.read_back(before, limit)))
    }

    fn select(&self, walk: Walk) -> BoxFuture<'_, Result<Found, ReadError>> {
        Box::pin(async move {
            // What is in memory is judged faster than an index is read.
            let is_in_memory =
                walk.direction == Direction::Forward && self.shared.tail.reaches(walk.range.start);
            if is_in_memory || walk.selection.is_everything() {
                return select::scan(self, walk).await;
            }
            let (found, rows) = self
                .blocking(move |reader, _| {
                    let mut unindexed = Vec::new();
                    let found = reader.select(&walk, &mut unindexed)?;
                    let mut rows = Vec::with_capacity(unindexed.len());
                    for block in unindexed {
                        // The next list reads it again, and tells what is wrong where it is in the way.
                        let Ok(row) = reader.make_index_row(block) else { continue };
                        rows.extend(row.map(|row| (block, row)));
                    }
                    Ok((found, rows))
                })
                .await?;
            for (block, row) in rows {
                // Whether it is written, nobody waits to know: without it the block is read again.
                let (reply, _) = oneshot::channel();
                let bytes = row.len();
                if self.queue.push(Command::Index { block, row, reply }, bytes).await.is_err() {
                    break;
                }
            }
            Ok(found)
        })
    }

    fn payload(&self, entry: &Entry) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        let (sequence, size) = (entry.event.sequence, entry.payload_size);
        match entry.packed.clone() {
            Packed::Plain(payload) => Box::pin(async move { Ok(payload) }),
            Packed::Zstd(compressed) => Box::pin(async move {
                if let Some(fresh) = self.shared.tail.payload(sequence) {
                    return Ok(fresh);
                }
                if size < payload::BLOCKING_BYTES as u64 {
                    return payload::unpack(&compressed, size, &self.shared.dictionaries);
                }
                let shared = Arc::clone(&self.shared);
                let unpack = move || payload::unpack(&compressed, size, &shared.dictionaries);
                let unpacked = tokio::task::spawn_blocking(unpack).await;
                unpacked
                    .unwrap_or_else(|error| Err(ReadError::Unavailable(error.to_string().into())))
            }),
            Packed::Chunked { count, zstd, dead_letter } => {
                Box::pin(self.blocking(move |reader, shared| {
                    let stored = reader.chunks(dead_letter, sequence, count);
                    // Who has an entry of the log does not keep its payload.
                    let is_trimmed = dead_letter.is_none() && sequence < reader.first;
                    let stored = stored.map_err(|error| match error {
                        ReadError::Damaged(_) if is_trimmed => trimmed(sequence),
                        error @ (ReadError::Damaged(_) | ReadError::Unavailable(_)) => error,
                    })?;
                    let dictionaries = &shared.dictionaries;
                    if zstd {
                        payload::unpack(&stored, size, dictionaries)
                    } else {
                        Ok(stored.into())
                    }
                }))
            }
        }
    }

    fn find(&self, id: EventId) -> BoxFuture<'_, Result<Option<Arc<Entry>>, ReadError>> {
        Box::pin(async move {
            let found = self.shared.tail.find(id);
            if found.as_ref().is_some_and(|entry| entry.event.sequence >= self.shared.first()) {
                return Ok(found);
            }
            self.blocking(move |reader, _| reader.find(id)).await
        })
    }

    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Sequence, ReadError>> {
        Box::pin(self.blocking(move |reader, _| reader.position_at(time)))
    }

    fn position_of_newest(&self, bytes: u64) -> BoxFuture<'_, Result<Sequence, ReadError>> {
        Box::pin(self.blocking(move |reader, shared| {
            let appended = shared.appended_bytes.load(Ordering::Acquire);
            reader.position_of_weight(appended.saturating_sub(bytes))
        }))
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.shared.head.subscribe()
    }

    fn first(&self) -> Sequence {
        self.shared.first()
    }

    fn condition(&self) -> Condition {
        if self.shared.failed.load(Ordering::Acquire) {
            Condition::Failed
        } else if self.shared.full.load(Ordering::Acquire) {
            Condition::Full
        } else {
            Condition::Open
        }
    }

    fn trim(&self, before: Sequence) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(self.ask(0, AppendError::Closed, AppendError::Unavailable, move |reply| {
            Command::Trim { before, reply }
        }))
    }

    fn latencies(&self) -> Option<&Latencies> {
        Some(&self.shared.latencies)
    }

    fn disk(&self) -> BoxFuture<'_, Option<DiskUse>> {
        Box::pin(async move {
            // Held while it is looked, so that one looks for all who ask.
            let mut known = self.shared.disk.lock().await;
            if let Some((at, disk)) = *known
                && at.elapsed() < DISK_LOOK_INTERVAL
            {
                return Some(DiskUse { is_full: self.shared.full.load(Ordering::Acquire), ..disk });
            }
            let shared = Arc::clone(&self.shared);
            let looking = tokio::task::spawn_blocking(move || {
                let used = shared.db().ok()?.size_on_disk().ok()?;
                let Free { bytes: free, of: size } = open::free(&shared.path).ok()?;
                let is_full = shared.full.load(Ordering::Acquire);
                Some(DiskUse { used, free, size, is_full })
            });
            let found = looking.await.ok()??;
            *known = Some((Stopwatch::start(), found));
            Some(found)
        })
    }
}

impl Export for SledStore {
    fn export(&self) -> BoxFuture<'_, Result<Exporting, ExportError>> {
        Box::pin(async move {
            let closed = ExportError::Unavailable("the store is closed".into());
            let begin = |reply| Command::Export { reply };
            let capture = self.ask(0, closed, ExportError::Unavailable, begin).await?;
            capture::exporting(Arc::clone(&self.shared), capture)
        })
    }
}

impl Ledger for SledStore {
    fn create(&self, config: SubscriptionConfig) -> BoxFuture<'_, Result<Creation, CreateError>> {
        let unanswered = |why| CreateError::Commit(CommitError::Unavailable(why));
        Box::pin(self.ask(0, CreateError::Commit(CommitError::Closed), unanswered, |reply| {
            Command::Create { config, reply }
        }))
    }

    fn delete(&self, creation: Creation) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(self.commit_command(0, move |reply| Command::Delete { creation, reply }))
    }

    fn subscriptions(
        &self,
    ) -> BoxFuture<'_, Result<Vec<(Creation, SubscriptionConfig)>, ReadError>> {
        let configs = self.shared.configs.read();
        let mut all: Vec<_> =
            configs.iter().map(|(creation, config)| (*creation, config.clone())).collect();
        all.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        Box::pin(async move { Ok(all) })
    }

    fn open(&self, creation: Creation) -> BoxFuture<'_, Result<(Epoch, Snapshot), CommitError>> {
        Box::pin(async move {
            let epoch =
                self.commit_command(0, move |reply| Command::Open { creation, reply }).await?;
            // Nobody else can commit from here on: the epoch before is fenced, and ours is known to nobody yet.
            let (snapshot, facts) = self
                .blocking(move |reader, _| ledger::load(reader.db, creation))
                .await
                .map_err(|error| CommitError::Unavailable(error.to_string().into()))?;
            self.commit_command(0, move |reply| Command::Install { creation, epoch, facts, reply })
                .await?;
            Ok((epoch, snapshot))
        })
    }

    fn commit(
        &self,
        creation: Creation,
        epoch: Epoch,
        commit: Commit,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        let commit = ledger::prepare(commit, &self.shared.dictionaries);
        let bytes = commit.bytes();
        Box::pin(async move {
            let watch = Stopwatch::start();
            let committed = self
                .commit_command(bytes, move |reply| Command::Commit {
                    creation,
                    epoch,
                    commit,
                    reply,
                })
                .await;
            self.shared.latencies.commit.observe(watch.elapsed());
            committed
        })
    }

    fn past(
        &self,
        creation: Creation,
        sequence: Sequence,
    ) -> BoxFuture<'_, Result<Past, ReadError>> {
        Box::pin(self.blocking(move |reader, shared| {
            if !shared.has(creation) || sequence < reader.first {
                return Ok(Past::default());
            }
            ledger::past(reader.db, creation, sequence)
        }))
    }

    fn ended_between(
        &self,
        creation: Creation,
        after: u64,
        through: u64,
    ) -> BoxFuture<'_, Result<SequenceSet, ReadError>> {
        Box::pin(self.blocking(move |reader, shared| {
            if !shared.has(creation) {
                return Ok(SequenceSet::new());
            }
            ledger::ended_between(reader.db, creation, after, through)
        }))
    }

    fn background(
        &self,
        creation: Creation,
        sequence: Sequence,
    ) -> BoxFuture<'_, Result<Background, ReadError>> {
        Box::pin(self.blocking(move |reader, shared| {
            if !shared.has(creation) {
                return Ok(Background::default());
            }
            ledger::background(reader.db, creation, sequence)
        }))
    }

    fn dead_letters(
        &self,
        creation: Creation,
        range: ReadRange,
    ) -> BoxFuture<'_, Result<Vec<DeadRow>, ReadError>> {
        Box::pin(self.blocking(move |reader, shared| {
            if shared.has(creation) {
                ledger::dead_letters(reader.db, creation, range)
            } else {
                Ok(Vec::new())
            }
        }))
    }

    fn dead_letter(
        &self,
        creation: Creation,
        sequence: Sequence,
    ) -> BoxFuture<'_, Result<Option<DeadRow>, ReadError>> {
        Box::pin(self.blocking(move |reader, shared| {
            if shared.has(creation) {
                ledger::dead_letter(reader.db, creation, sequence)
            } else {
                Ok(None)
            }
        }))
    }

    fn unannounced(&self, count: usize) -> BoxFuture<'_, Result<Vec<DeadRow>, ReadError>> {
        Box::pin(self.blocking(move |reader, shared| {
            ledger::unannounced(reader.db, count, |creation| shared.has(creation))
        }))
    }

    fn mark_announced(
        &self,
        rows: Vec<(Creation, Sequence, u32)>,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        let bytes = rows.len() * 32;
        Box::pin(self.commit_command(bytes, move |reply| Command::MarkAnnounced { rows, reply }))
    }

    fn seal_key(&self) -> [u8; 32] {
        self.shared.seal_key
    }

    fn last_written_at(&self) -> Timestamp {
        let micros = self.shared.last_written_at.load(Ordering::Acquire);
        Timestamp::from_micros(micros).unwrap_or(Timestamp::EPOCH)
    }
}
