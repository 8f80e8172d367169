//! The bounded way to the writer: many tasks put commands in, one thread takes all that waits.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How much may wait in all: some commits' worth, so that the writer never idles, and what a burst of the largest
/// bodies takes. Who brings more waits for its turn.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The unit in which room is given: also the least that a command takes, so that the commands are bounded too.
const ROOM_BYTES: usize = 4 * 1024;

/// A queue of `T`, bounded in bytes. FIFO.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<Ticket<T>>,
    closed: bool,
}

/// A command with its room, which is free again when the ticket is dropped.
#[derive(Debug)]
pub(super) struct Ticket<T> {
    pub(super) command: T,
    pub(super) room: OwnedSemaphorePermit,
}

/// The queue takes nothing any more.
#[derive(Debug)]
pub(super) struct Closed;

/// What a wait ended with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Something waits, or the time was over.
    Open,
    /// Closed, and everything was taken.
    Drained,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State { waiting: VecDeque::new(), closed: false }),
            changed: Condvar::new(),
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX / ROOM_BYTES)),
        }
    }

    /// Waits for room, then puts a command in. Dropped before there was room, it puts nothing in.
    pub(super) async fn push(&self, command: T, bytes: usize) -> Result<(), Closed> {
        let units = (bytes / ROOM_BYTES + 1).min(QUEUE_BYTES_MAX / ROOM_BYTES);
        let units = u32::try_from(units).expect("the queue has fewer than 2^32 units");
        let room = Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| Closed)?;
        let mut state = self.state.lock();
        if state.closed {
            return Err(Closed);
        }
        state.waiting.push_back(Ticket { command, room });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits until something waits, at most `timeout`.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> Woken {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return Woken::Drained;
            }
            match timeout {
                None => self.changed.wait(&mut state),
                Some(timeout) => {
                    if self.changed.wait_for(&mut state, timeout).timed_out() {
                        return Woken::Open;
                    }
                }
            }
        }
        Woken::Open
    }

    /// Takes the oldest, if there is one.
    pub(super) fn take(&self) -> Option<Ticket<T>> {
        self.state.lock().waiting.pop_front()
    }

    /// Takes nothing in from now on; what waits is still to be taken.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
        self.changed.notify_all();
    }
}
