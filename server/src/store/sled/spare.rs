//! sled's threads, of which most are only in each other's way.
//!
//! sled 0.34 keeps seven, and wakes all of them for each write of its log: six find nothing to do. Where webhooks come one by one
//! that is a seventh of the hub's processor time, and on few processors they stand in the way of those that have work
//! (`server/docs/performance.md`). sled has no setting for it. But its `flush_async` wakes who waits for it on the thread that has
//! flushed: a waker that does not return keeps that thread.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Wake, Waker},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tokio::time::timeout;

use crate::clock::Stopwatch;

/// How many threads are kept. One of the other two writes the log: the hub makes one commit at a time. One is left for what may
/// come beside it, such as a file that is made shorter.
const SPARE: usize = 5;
/// How often it is tried to keep one: a thread that is done before it is waited for goes on.
const ATTEMPTS: usize = 100;
/// How long a thread is waited for, and how long the writer may take for a turn until sled gets back all threads: it waits for some
/// of its threads while it holds a lock that others of them wait for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Threads of sled that sleep until this is dropped. They are the process's, not a store's: there is to be one of these at a time.
#[derive(Debug)]
pub(super) struct SpareThreads(Arc<Gate>);

impl SpareThreads {
    /// Keeps them; takes less than a millisecond as a rule.
    pub(super) async fn keep(db: &::sled::Db, writing: Arc<Writing>) -> Self {
        let spare = Self(Arc::new(Gate::new(writing, PATIENCE)));
        let mut attempts = 0..ATTEMPTS;
        while spare.count() < SPARE && attempts.next().is_some() {
            if !spare.keep_one(db) {
                break;
            }
        }
        // The store could not write if none were left.
        if spare.count() > 0 && timeout(PATIENCE, db.flush_async()).await.is_err() {
            tracing::warn!("the database has fewer threads than expected: none is kept from it");
            spare.0.open();
        }
        spare
    }

    /// Returns how many sleep.
    fn count(&self) -> usize {
        self.0.state.lock().sleeping
    }

    /// Tries to keep one more; returns whether it is worth another try.
    fn keep_one(&self, db: &::sled::Db) -> bool {
        let before = self.count();
        let waker = Waker::from(Arc::clone(&self.0));
        let flushing = pin!(db.flush_async());
        if flushing.poll(&mut Context::from_waker(&waker)).is_ready() {
            return true;
        }
        let is_missing = |state: &mut State| state.sleeping == before;
        let mut state = self.0.state.lock();
        !self.0.changed.wait_while_for(&mut state, is_missing, PATIENCE).timed_out()
    }
}

impl Drop for SpareThreads {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Since when the writer works with the database.
#[derive(Debug, Default)]
pub(super) struct Writing(Mutex<Option<Stopwatch>>);

impl Writing {
    /// Has something done that may wait for sled's threads: reads too, which split pages that have grown.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        *self.0.lock() = Some(Stopwatch::start());
        let done = work();
        *self.0.lock() = None;
        done
    }

    fn takes_longer_than(&self, patience: Duration) -> bool {
        self.0.lock().is_some_and(|began| patience < began.elapsed())
    }
}

/// Where threads sleep.
#[derive(Debug)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    writing: Arc<Writing>,
    patience: Duration,
}

#[derive(Debug, Default)]
struct State {
    sleeping: usize,
    is_open: bool,
}

impl Gate {
    fn new(writing: Arc<Writing>, patience: Duration) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), writing, patience }
    }

    /// Lets all go on, and who comes later.
    fn open(&self) {
        self.state.lock().is_open = true;
        self.changed.notify_all();
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        let mut state = self.state.lock();
        state.sleeping += 1;
        self.changed.notify_all();
        while !state.is_open {
            let is_over = self.changed.wait_for(&mut state, self.patience).timed_out();
            if is_over && !state.is_open && self.writing.takes_longer_than(self.patience) {
                tracing::info!(
                    "a write takes long: the database has all of its threads from now on"
                );
                state.is_open = true;
                self.changed.notify_all();
            }
        }
        state.sleeping -= 1;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until so many sleep.
    fn wait_for(gate: &Gate, sleeping: usize) {
        let mut state = gate.state.lock();
        gate.changed.wait_while(&mut state, |state| state.sleeping != sleeping);
    }

    #[tokio::test]
    async fn sled_writes_and_reads_without_its_spare_threads_and_gets_them_back() {
        let db = ::sled::Config::new().temporary(true).open().unwrap();
        let spare = SpareThreads::keep(&db, Arc::default()).await;
        assert_eq!(spare.count(), SPARE);
        for row in 0..10_u32 {
            db.insert(row.to_be_bytes(), vec![7; 10_000]).unwrap();
            db.flush().unwrap();
        }
        assert_eq!(db.len(), 10);
        assert_eq!(spare.count(), SPARE);
        let gate = Arc::clone(&spare.0);
        drop(spare);
        wait_for(&gate, 0);
    }

    #[test]
    fn all_go_on_when_a_write_takes_too_long() {
        let gate = Arc::new(Gate::new(Arc::default(), Duration::from_millis(1)));
        let sleepers = [(); 2].map(|()| {
            let waker = Waker::from(Arc::clone(&gate));
            std::thread::spawn(move || waker.wake())
        });
        wait_for(&gate, 2);
        gate.writing.during(|| wait_for(&gate, 0));
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        // And nobody sleeps from then on.
        Waker::from(Arc::clone(&gate)).wake();
        assert_eq!(gate.state.lock().sleeping, 0);
    }
}
