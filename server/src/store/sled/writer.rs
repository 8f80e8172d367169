//! The one thread that writes: group commit.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hookline_core::{
    delivery::{Creation, Epoch},
    event::{NewEvent, Sequence},
    time::Timestamp,
};
use parking_lot::RwLock;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::{
    super::{
        AppendError, Appended, CommitError, CreateError, Entry, Latencies, SubscriptionConfig,
        dictionary::{Dictionaries, Dictionary},
        export::ExportError,
    },
    Options, Shared,
    capture::Capture,
    disk::Floor,
    draft::Draft,
    gathering::{Awaited, GATHER_COUNT, GATHER_TIME, Gathering},
    ledger::{Facts, PreparedCommit},
    log::Prepared,
    open::{self, OpenError, panic_text},
    pack::Filling,
    queue::{Patience, Queue, Ticket, Woken},
    state::{Chore, Opened, Recovered},
    tail::Tail,
};

/// How much one commit writes, about: more would keep those who wait longer than a sync does.
pub(super) const COMMIT_BYTES: usize = 4 * 1024 * 1024;
/// With how many rows it is time to ask for those of small commits.
const UNASKED_MAX: usize = 16;
/// How often the free space of the disk is looked at, and how long after a failure the store is opened again.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How much room there must be before the store is opened again after a failed write.
const REOPEN_BYTES_MIN: u64 = 64 * 1024 * 1024;

type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Append {
        events: Vec<Prepared>,
        received_at: Timestamp,
        reply: Reply<Vec<Appended>, AppendError>,
    },
    /// Writes a row of the index that was made of what lies in the log.
    Index {
        block: u64,
        row: Vec<u8>,
        reply: Reply<(), AppendError>,
    },
    /// Keeps a dictionary that was trained of payloads.
    KeepDictionary {
        dictionary: Arc<Dictionary>,
        reply: Reply<(), AppendError>,
    },
    Trim {
        before: Sequence,
        reply: Reply<(), AppendError>,
    },
    Create {
        config: SubscriptionConfig,
        reply: Reply<Creation, CreateError>,
    },
    Delete {
        creation: Creation,
        reply: Reply<(), CommitError>,
    },
    Open {
        creation: Creation,
        reply: Reply<Epoch, CommitError>,
    },
    /// Remembers what an owner has read of its ledger; writes nothing.
    Install {
        creation: Creation,
        epoch: Epoch,
        facts: Facts,
        reply: Reply<(), CommitError>,
    },
    Commit {
        creation: Creation,
        epoch: Epoch,
        commit: PreparedCommit,
        reply: Reply<(), CommitError>,
    },
    MarkAnnounced {
        rows: Vec<(Creation, Sequence, u32)>,
        reply: Reply<(), CommitError>,
    },
    /// Begins a copy of what is durable; writes nothing.
    Export {
        reply: Reply<Arc<Capture>, ExportError>,
    },
}

impl Patience for Command {
    /// What nobody waits for to go on with an event.
    fn is_patient(&self) -> bool {
        match self {
            Self::Commit { .. }
            | Self::MarkAnnounced { .. }
            | Self::Index { .. }
            | Self::KeepDictionary { .. } => true,
            Self::Append { .. }
            | Self::Trim { .. }
            | Self::Create { .. }
            | Self::Delete { .. }
            | Self::Open { .. }
            | Self::Install { .. }
            | Self::Export { .. } => false,
        }
    }
}

/// Why a commit failed: told to all who waited for it.
#[derive(Clone, Debug)]
pub(super) struct Failure(pub(super) Arc<str>);

type Answer = Box<dyn FnOnce(Result<(), Failure>) + Send>;

/// What is done and answered together.
#[derive(Default)]
pub(super) struct Group {
    pub(super) draft: Draft,
    /// The pack that is being filled.
    pub(super) pack: Option<Filling>,
    /// New events, in order, with their payloads as they came.
    pub(super) entries: Vec<(Arc<Entry>, Option<Bytes>)>,
    /// Ranges of rows to remove once this group is committed.
    pub(super) chores: Vec<Chore>,
    /// How long its commits waited for the disk.
    pub(super) syncs: Vec<Duration>,
    /// How many changes of ledgers it has.
    changes: usize,
    answers: Vec<Answer>,
    rooms: Vec<OwnedSemaphorePermit>,
}

impl Group {
    /// Answers once the group is committed, or has failed.
    pub(super) fn answer<T: Send + 'static, E: Send + 'static>(
        &mut self,
        reply: Reply<T, E>,
        result: Result<T, E>,
        failed: impl FnOnce(Arc<str>) -> E + Send + 'static,
    ) {
        self.answers.push(Box::new(move |committed| {
            let answer = match committed {
                Ok(()) => result,
                Err(Failure(why)) => Err(failed(why)),
            };
            // A caller that has gone away does not want to know.
            drop(reply.send(answer));
        }));
    }
}

/// The writer: the only one who changes the database.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    options: Options,
    shared: Arc<Shared>,
    queue: Arc<Queue<Command>>,
    /// `None` after a failed commit, until the store is opened again.
    opened: Option<Opened>,
    probed_at: Instant,
    gathering: Gathering,
    /// How often in a row the store could not be opened again.
    reopen_failures: u32,
}

impl Writer {
    /// Opens the database and reads what the writer needs to know.
    pub(super) fn open(
        path: &Path,
        options: Options,
        queue: Arc<Queue<Command>>,
    ) -> Result<(Self, Arc<Shared>), OpenError> {
        let (db, disk) = open::open(path, &options)?;
        let Recovered { opened, head, first, seal_key, last_written_at } =
            Opened::recover(db.clone(), disk, path)?;
        let dictionaries = Dictionaries::new(options.dictionaries);
        dictionaries.replace(opened.dictionaries());
        let shared = Arc::new(Shared {
            dictionaries,
            db: RwLock::new(Some(db)),
            tail: Tail::default(),
            head: watch::Sender::new(head),
            first: AtomicU64::new(first.get()),
            last_written_at: AtomicI64::new(last_written_at.as_micros()),
            appended_bytes: AtomicU64::new(opened.appended_bytes()),
            full: AtomicBool::new(false),
            latencies: Latencies::default(),
            writing: Arc::default(),
            path: path.to_path_buf(),
            disk: tokio::sync::Mutex::default(),
            failed: AtomicBool::new(false),
            configs: RwLock::new(opened.configs.clone()),
            seal_key,
        });
        let path = path.to_path_buf();
        let writer = Self {
            path,
            options,
            shared: Arc::clone(&shared),
            queue,
            opened: Some(opened),
            probed_at: now(),
            gathering: Gathering::default(),
            reopen_failures: 0,
        };
        writer.probe_space();
        Ok((writer, shared))
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _closes = CloseAtEnd { queue: Arc::clone(&self.queue), shared: Arc::clone(&shared) };
        loop {
            let timeout = match &self.opened {
                None => Some(PROBE_EVERY),
                Some(opened) if opened.has_chores() => Some(Duration::ZERO),
                Some(_) => Some(PROBE_EVERY),
            };
            if self.queue.wait(timeout) == Woken::Drained {
                break;
            }
            if now().duration_since(self.probed_at) >= PROBE_EVERY {
                self.probed_at = now();
                self.probe_space();
                shared.writing.during(|| self.reopen());
            }
            self.gather();
            shared.writing.during(|| self.turn());
        }
        shared.writing.during(|| self.end());
    }

    /// Writes what is left to write, and lets go of the database.
    fn end(&mut self) {
        if let Some(opened) = &mut self.opened
            && let Err(Failure(why)) = opened.commit_rest()
        {
            // It is made again of the events and the acks when the store is opened.
            tracing::warn!(error = %why, "closing the store failed: opening it takes longer");
        }
        // The handles first, so that the lock of the files is free when the thread has ended.
        self.opened = None;
        *self.shared.db.write() = None;
    }

    /// Lets more come in before a commit, where that is worth it.
    fn gather(&mut self) {
        match self.gathering.awaited(now()) {
            Awaited::Nothing => {}
            Awaited::More => self.queue.gather(GATHER_COUNT, GATHER_TIME),
            Awaited::Company => {
                let waited = self.queue.gather_patient(GATHER_COUNT, GATHER_TIME);
                self.gathering.waited(waited);
            }
        }
    }

    /// Refuses events while the disk is too full, and takes them again.
    fn probe_space(&self) {
        let was_full = self.shared.full.load(Ordering::Acquire);
        let floor =
            Floor { percent: self.options.free_percent_min, bytes: self.options.free_bytes_min };
        // A disk that does not say how full it is will fail a write when it is.
        let free = open::free(&self.path).ok();
        let is_full = free.is_some_and(|free| floor.is_full(free, was_full));
        self.shared.full.store(is_full, Ordering::Release);
        let free_bytes = free.map_or(0, |free| free.bytes);
        match (was_full, is_full) {
            (false, true) => {
                tracing::error!(
                    free_bytes,
                    "the disk is almost full: events are refused, acks go on"
                );
            }
            (true, false) => {
                tracing::info!(free_bytes, "the disk has room: events are taken again")
            }
            (true, true) | (false, false) => {}
        }
        if let Some(opened) = &self.opened {
            opened.captured.look_after(is_full);
        }
    }

    /// Takes what waits, writes it, and answers.
    fn turn(&mut self) {
        let mut group = Group::default();
        let result = self.fill_and_commit(&mut group);
        match &result {
            Ok(()) => self.publish(&mut group),
            Err(failure) => self.fail(failure),
        }
        for synced in group.syncs {
            self.shared.latencies.sync.observe(synced);
        }
        for answer in group.answers {
            answer(result.clone());
        }
        self.gathering.committed(group.rooms.len(), group.changes);
        drop(group.rooms);
        if let Err(failure) = self.tidy_up() {
            self.fail(&failure);
        }
    }

    /// Does what nobody waits for.
    fn tidy_up(&mut self) -> Result<(), Failure> {
        let Some(opened) = &mut self.opened else { return Ok(()) };
        let was_small = self.gathering.was_small();
        if !was_small || UNASKED_MAX <= opened.unasked() {
            caught(|| opened.ask())?;
        }
        // Large commits share what a longer file costs. And what is left of a full disk is for acks.
        if was_small && !self.shared.full.load(Ordering::Acquire) {
            opened.extend_runway()?;
        }
        Ok(())
    }

    /// Writes nothing more until the store is opened again.
    fn fail(&mut self, Failure(why): &Failure) {
        if self.opened.take().is_some() {
            self.shared.failed.store(true, Ordering::Release);
            tracing::error!(error = %why, "a commit failed: the store refuses until it is opened again");
        }
    }

    fn fill_and_commit(&mut self, group: &mut Group) -> Result<(), Failure> {
        let Some(opened) = &mut self.opened else {
            while let Some(Ticket { command, room, .. }) = self.queue.take() {
                group.rooms.push(room);
                refuse(command, group);
            }
            return Err(Failure("an earlier write failed".into()));
        };
        caught(|| {
            while group.draft.bytes() < COMMIT_BYTES {
                let Some(Ticket { command, room, .. }) = self.queue.take() else { break };
                group.rooms.push(room);
                if let Command::Commit { commit, .. } = &command {
                    group.changes += commit.changes.len();
                }
                opened.handle(command, group, &self.shared)?;
            }
            opened.do_chores(&mut group.draft)?;
            opened.commit(group)
        })
    }

    /// Shows the world what was committed: the head last.
    fn publish(&mut self, group: &mut Group) {
        let Some(opened) = &mut self.opened else { return };
        opened.add_chores(std::mem::take(&mut group.chores));
        if std::mem::take(&mut opened.dictionaries_changed) {
            self.shared.dictionaries.replace(opened.dictionaries());
        }
        if std::mem::take(&mut opened.configs_changed) {
            self.shared.configs.write().clone_from(&opened.configs);
        }
        self.shared.first.store(opened.first, Ordering::Release);
        self.shared.last_written_at.store(opened.last_written_at().as_micros(), Ordering::Release);
        self.shared.appended_bytes.store(opened.appended_bytes(), Ordering::Release);
        let head = opened.next - 1;
        if !group.entries.is_empty() {
            self.gathering.events_came(now());
        }
        self.shared.tail.extend(std::mem::take(&mut group.entries));
        self.shared.head.send_if_modified(|known| std::mem::replace(known, head) != head);
    }

    /// Opens the store again after a failed commit, once there is room: sled stays failed until then.
    fn reopen(&mut self) {
        let room = open::free(&self.path).map_or(0, |free| free.bytes);
        if self.opened.is_some() || room < REOPEN_BYTES_MIN {
            return;
        }
        // Waits for those who read now; who comes meanwhile waits, and reads the new one.
        let mut db = self.shared.db.write();
        *db = None;
        if let Err(error) = open::forget_cached(&self.path)
            && self.reopen_failures == 0
        {
            tracing::warn!(%error, "what the kernel keeps of the store in memory could not be forgotten");
        }
        let again = open::open(&self.path, &self.options).and_then(|(again, disk)| {
            let recovered = Opened::recover(again.clone(), disk, &self.path)?;
            Ok((again, recovered))
        });
        let (again, recovered) = match again {
            Ok(again) => again,
            Err(error) => {
                // Tried each second, said each minute.
                if self.reopen_failures.is_multiple_of(60) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "could not open the store again"
                    );
                }
                self.reopen_failures += 1;
                return;
            }
        };
        *db = Some(again);
        self.shared.tail.clear();
        self.shared.configs.write().clone_from(&recovered.opened.configs);
        self.opened = Some(recovered.opened);
        drop(db);
        tracing::info!("the store is open again");
        self.reopen_failures = 0;
        self.shared.failed.store(false, Ordering::Release);
        // What the failed commit wrote may be there after all.
        self.publish(&mut Group::default());
    }
}

/// sled has been seen to panic on damage: that is a failure like any other.
fn caught(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Failure(panic_text(panic.as_ref()).into())))
}

/// Closes the queue when the thread ends, however it does, so that nobody waits for it in vain.
struct CloseAtEnd {
    queue: Arc<Queue<Command>>,
    shared: Arc<Shared>,
}

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.queue.close();
        while self.queue.take().is_some() {}
        *self.shared.db.write() = None;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "paces the probing of the disk; decides nothing about events"
)]
fn now() -> Instant {
    Instant::now()
}

/// Answers a command that is not carried out: its group has failed already.
fn refuse(command: Command, group: &mut Group) {
    let closed = || CommitError::Closed;
    match command {
        Command::Append { events: _, received_at: _, reply } => {
            group.answer(reply, Err(AppendError::Closed), AppendError::Unavailable);
        }
        Command::Index { block: _, row: _, reply }
        | Command::KeepDictionary { dictionary: _, reply }
        | Command::Trim { before: _, reply } => {
            group.answer(reply, Err(AppendError::Closed), AppendError::Unavailable);
        }
        Command::Create { config: _, reply } => {
            group.answer(reply, Err(closed().into()), |why| CommitError::Unavailable(why).into());
        }
        Command::Open { creation: _, reply } => {
            group.answer(reply, Err(closed()), CommitError::Unavailable);
        }
        Command::Delete { creation: _, reply }
        | Command::Install { creation: _, epoch: _, facts: _, reply }
        | Command::Commit { creation: _, epoch: _, commit: _, reply }
        | Command::MarkAnnounced { rows: _, reply } => {
            group.answer(reply, Err(closed()), CommitError::Unavailable);
        }
        Command::Export { reply } => {
            let closed = ExportError::Unavailable("the store is closed".into());
            group.answer(reply, Err(closed), ExportError::Unavailable);
        }
    }
}

/// What two events must have in common to be the same delivery.
pub(super) fn is_same_delivery(kept: &NewEvent, new: &NewEvent) -> bool {
    kept.source == new.source && kept.delivery_key == new.delivery_key
}

/// Whether two events have the same body, as far as their sources look for replays.
pub(super) fn is_same_body(kept: &NewEvent, new: &NewEvent) -> bool {
    kept.source == new.source && new.body_hash().is_some() && kept.body_hash() == new.body_hash()
}

/// The subscriptions by creation.
pub(super) type Configs = BTreeMap<Creation, SubscriptionConfig>;
