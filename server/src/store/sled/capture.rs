//! The store as it was at one moment, while the writer goes on: sled has no snapshots.
//!
//! Rows of the log are never written again, and their removal waits until the copy ends: those up to the mark are the log
//! as it was. Of all other rows the writer keeps the old value before it writes one that was not copied yet. So the copy is
//! of one moment, ledgers and log alike, and nobody waits for it longer than a page takes to be read.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    super::{
        BoxFuture, ReadError,
        export::{ExportError, ExportRows, Exporting, Mark, Page, Row, Section},
    },
    Shared,
    check::table::{self, Lasting, RowKind, TABLE},
    db_error, keys,
};

/// How much one page has, about: a message of gRPC, and what the writer waits for at the most.
const PAGE_BYTES: usize = 512 * 1024;
/// How many rows a page has at the most: so many small ones take about a millisecond.
const PAGE_ROWS: usize = 2_048;
/// How much the old values may take in memory: as many acks as come in while the ledgers are copied, many times over.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What keeping one takes beside its bytes, about: two allocations, and its place in the map.
const HELD_ENTRY_BYTES: usize = 128;
/// After how many operations of a thread sled drops what was let go (0.34.7: `PINNINGS_BETWEEN_COLLECT`).
const GARBAGE_INTERVAL: usize = 128;
/// How often in a row the writer finds, once a second, that nothing was read since.
const IDLE_MAX: u32 = 60;

/// What the writer and the reader of a copy have in common.
#[derive(Debug)]
pub(super) struct Capture {
    mark: Mark,
    state: Mutex<State>,
    /// Whether something was read since the writer looked.
    was_read: AtomicBool,
}

/// Returns about how much memory it takes to keep what a row was.
fn held_bytes(key: &[u8], value: Option<&Vec<u8>>) -> usize {
    key.len() + value.map_or(0, Vec::len) + HELD_ENTRY_BYTES
}

#[derive(Debug, Default)]
struct State {
    /// Up to here, this key included, rows that change are copied.
    copied: Vec<u8>,
    /// All of them are.
    all_copied: bool,
    /// What rows beyond were at the mark; `None`: they were not there.
    held: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    held_bytes: usize,
    idle: u32,
    ended: Option<ExportError>,
}

impl Capture {
    pub(super) fn new(mark: Mark) -> Self {
        Self { mark, state: Mutex::default(), was_read: AtomicBool::new(true) }
    }

    fn end(&self, why: ExportError) {
        let mut state = self.state.lock();
        state.ended.get_or_insert(why);
        state.held = BTreeMap::new();
    }

    /// Keeps what these rows are, then writes them: the reader sees either all of it or nothing.
    fn writing<T>(
        &self,
        db: &::sled::Db,
        keys: &[Vec<u8>],
        write: impl FnOnce() -> ::sled::Result<T>,
    ) -> ::sled::Result<T> {
        let mut state = self.state.lock();
        if state.all_copied || state.ended.is_some() {
            drop(state);
            return write();
        }
        for key in keys {
            let is_due = state.copied < *key && !state.held.contains_key(key);
            if !is_due || table::of_key(key).is_some_and(RowKind::is_written_once) {
                continue;
            }
            let value = db.get(key)?.map(|value| value.to_vec());
            state.held_bytes += held_bytes(key, value.as_ref());
            state.held.insert(key.clone(), value);
        }
        if HELD_BYTES_MAX < state.held_bytes {
            state.ended = Some(ExportError::GivenUp("it was read too slowly"));
            state.held = BTreeMap::new();
        }
        write()
    }

    /// Reads rows that change, from where it stopped.
    fn changing(&self, db: &::sled::Db) -> Result<Option<Vec<Row>>, ExportError> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(ended) = &state.ended {
            return Err(ended.clone());
        }
        while !state.all_copied {
            let mut rows = BTreeMap::new();
            let upto = next_changing(db, &state.copied, &mut rows)?;
            let beyond = match &upto {
                // The key just after it.
                Some(last) => state.held.split_off(&[&last[..], &[0]].concat()),
                None => BTreeMap::new(),
            };
            for (key, value) in std::mem::replace(&mut state.held, beyond) {
                state.held_bytes -= held_bytes(&key, value.as_ref());
                match value {
                    Some(value) => rows.insert(key, value),
                    None => rows.remove(&key),
                };
            }
            match upto {
                Some(last) => state.copied = last,
                None => state.all_copied = true,
            }
            if !rows.is_empty() {
                return rows
                    .iter()
                    .map(|(key, value)| row(key, value))
                    .collect::<Result<_, _>>()
                    .map(Some);
            }
        }
        Ok(None)
    }

    fn check(&self) -> Result<(), ExportError> {
        self.state.lock().ended.clone().map_or(Ok(()), Err)
    }
}

fn row(key: &[u8], value: &[u8]) -> Result<Row, ExportError> {
    let content = keys::unseal(key, value)?;
    Ok(Row { key: Bytes::copy_from_slice(key), content: Bytes::copy_from_slice(content) })
}

impl From<ReadError> for ExportError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged(why) => Self::Damaged(why),
            ReadError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

/// Reads rows that change beyond a key; returns the last key that was looked at, `None` at the end.
fn next_changing(
    db: &::sled::Db,
    after: &[u8],
    rows: &mut BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<Option<Vec<u8>>, ExportError> {
    let (mut bytes, mut from) = (0, Bound::Excluded(after.to_vec()));
    'kinds: loop {
        for row in db.range::<Vec<u8>, _>((from.clone(), Bound::Unbounded)) {
            let (key, value) = row.map_err(db_error)?;
            if let Some(kind) = table::of_key(&key).filter(|kind| kind.is_written_once()) {
                // All of that kind is passed over at once.
                from = Bound::Included(vec![kind.kind as u8 + 1]);
                continue 'kinds;
            }
            bytes += key.len() + value.len();
            let last = key.to_vec();
            rows.insert(key.to_vec(), value.to_vec());
            if PAGE_BYTES <= bytes || PAGE_ROWS <= rows.len() {
                return Ok(Some(last));
            }
        }
        return Ok(None);
    }
}

/// The writer's side: at most one capture at a time.
#[derive(Debug, Default)]
pub(super) struct Captured(Mutex<Weak<Capture>>);

impl Captured {
    fn running(&self) -> Option<Arc<Capture>> {
        let capture = self.0.lock().upgrade()?;
        let is_over = capture.state.lock().ended.is_some();
        (!is_over).then_some(capture)
    }

    /// Begins one, unless another runs.
    pub(super) fn begin(&self, mark: Mark) -> Result<Arc<Capture>, ExportError> {
        if self.running().is_some() {
            return Err(ExportError::Busy);
        }
        let capture = Arc::new(Capture::new(mark));
        *self.0.lock() = Arc::downgrade(&capture);
        Ok(capture)
    }

    /// Whether rows of the log must stay.
    pub(super) fn holds_the_log(&self) -> bool {
        self.running().is_some()
    }

    /// Writes rows with these keys.
    pub(super) fn writing<T>(
        &self,
        db: &::sled::Db,
        keys: &[Vec<u8>],
        write: impl FnOnce() -> ::sled::Result<T>,
    ) -> ::sled::Result<T> {
        match self.running() {
            None => write(),
            Some(capture) => capture.writing(db, keys, write),
        }
    }

    /// Called once a second: gives up what nobody reads, and what keeps a full disk from being trimmed.
    pub(super) fn look_after(&self, is_full: bool) {
        let Some(capture) = self.running() else { return };
        if is_full {
            capture.end(ExportError::GivenUp("the disk is too full to keep what was trimmed"));
            return;
        }
        let idle = {
            let mut state = capture.state.lock();
            let was_read = capture.was_read.swap(false, Ordering::AcqRel);
            state.idle = if was_read { 0 } else { state.idle + 1 };
            state.idle
        };
        if IDLE_MAX < idle {
            capture.end(ExportError::GivenUp("it was not read for a minute"));
        }
    }
}

impl Drop for Captured {
    /// The database goes, by a stop or after a failed write.
    fn drop(&mut self) {
        if let Some(capture) = self.0.get_mut().upgrade() {
            capture.end(ExportError::Unavailable("the database was closed".into()));
        }
    }
}

/// The reader's side: the pages that a thread has read, and reads one ahead.
///
/// It is one thread for all of them, which ends with the copy: what sled lets go waits in a bag of each thread until that is
/// full, and memory comes from an arena of each thread. Read by whichever thread is free, 500 MB took 360 MiB more of it.
#[derive(Debug)]
struct Reading {
    capture: Arc<Capture>,
    pages: mpsc::Receiver<Result<Option<Page>, ExportError>>,
}

/// Where a copy is.
#[derive(Clone, Debug)]
enum Place {
    Changing,
    /// In the rows of the log: of which kind, by its place in the table, and after which key.
    Log(usize, Vec<u8>),
}

/// Makes a copy of what the writer has begun to hold.
pub(super) fn exporting(
    shared: Arc<Shared>,
    capture: Arc<Capture>,
) -> Result<Exporting, ExportError> {
    let mark = capture.mark;
    let (send, pages) = mpsc::channel(1);
    let reading = Reading { capture: Arc::clone(&capture), pages };
    let thread = std::thread::Builder::new().name("store-export".to_owned());
    let spawned = thread.spawn(move || read_all(&shared, &capture, &send));
    spawned.map_err(|error| ExportError::Unavailable(error.to_string().into()))?;
    Ok(Exporting { mark, rows: Box::new(reading) })
}

impl ExportRows for Reading {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Page>, ExportError>> {
        Box::pin(async move {
            self.capture.was_read.store(true, Ordering::Release);
            // Its end is said: a thread that panics has not read all.
            let died = || Err(ExportError::Unavailable("the reading of the store ended".into()));
            self.pages.recv().await.unwrap_or_else(died)
        })
    }
}

/// Reads page after page until the end, an error, or until nobody wants them any more.
fn read_all(
    shared: &Shared,
    capture: &Capture,
    pages: &mpsc::Sender<Result<Option<Page>, ExportError>>,
) {
    let mut place = Place::Changing;
    loop {
        let read = read(shared, capture, place);
        let (page, next) = match read {
            Ok((page, next)) => (Ok(page), next),
            Err(error) => (Err(error), Place::Changing),
        };
        let is_last = !matches!(page, Ok(Some(_)));
        if pages.blocking_send(page).is_err() || is_last {
            return;
        }
        place = next;
    }
}

fn read(
    shared: &Shared,
    capture: &Capture,
    mut place: Place,
) -> Result<(Option<Page>, Place), ExportError> {
    let db = shared.db()?;
    if matches!(place, Place::Changing) {
        if let Some(rows) = capture.changing(&db)? {
            return Ok((Some(Page { section: Section::Subscriptions, rows }), place));
        }
        place = Place::Log(0, Vec::new());
    }
    while let Place::Log(number, after) = &place {
        let Some(kind) = TABLE.get(*number) else { break };
        let (rows, last) = of_log(&db, capture.mark, kind, after)?;
        // Only now is it certain that nothing was removed before it was read.
        capture.check()?;
        place = match last {
            Some(last) => Place::Log(*number, last),
            None => Place::Log(number + 1, Vec::new()),
        };
        if !rows.is_empty() {
            return Ok((Some(Page { section: Section::Log, rows }), place));
        }
    }
    Ok((None, place))
}

/// Has sled drop what it let go: it looks for that once in 128 operations of a thread, and a page is few of them.
fn collect_garbage(db: &::sled::Db, key: &[u8]) -> Result<(), ExportError> {
    for _ in 0..GARBAGE_INTERVAL {
        db.get(key).map_err(db_error)?;
    }
    Ok(())
}

/// Reads rows of the log of one kind up to the mark; returns the last key that was looked at, `None` at the kind's end.
fn of_log(
    db: &::sled::Db,
    mark: Mark,
    kind: &RowKind,
    after: &[u8],
) -> Result<(Vec<Row>, Option<Vec<u8>>), ExportError> {
    if kind.lasting == Lasting::Changing {
        return Ok((Vec::new(), None));
    }
    let of_kind = keys::under(kind.kind, &[]);
    let from = if after.is_empty() {
        Bound::Included(of_kind.start)
    } else {
        Bound::Excluded(after.to_vec())
    };
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for read in db.range::<Vec<u8>, _>((from, Bound::Excluded(of_kind.end))) {
        let (key, value) = read.map_err(db_error)?;
        if kind.sequence(&key).is_none_or(|sequence| mark.head < sequence) {
            continue;
        }
        bytes += key.len() + value.len();
        rows.push(row(&key, &value)?);
        if PAGE_BYTES <= bytes || PAGE_ROWS <= rows.len() {
            collect_garbage(db, &key)?;
            return Ok((rows, Some(key.to_vec())));
        }
    }
    Ok((rows, None))
}
