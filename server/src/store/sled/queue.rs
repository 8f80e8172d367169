//! The bounded way to the writer: many tasks put commands in, one thread takes all that waits.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::gathering::Waited;

/// How much may wait in all: some commits' worth, so that the writer never idles, and what a burst of the largest
/// bodies takes. Who brings more waits for its turn.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The unit in which room is given: also the least that a command takes, so that the commands are bounded too.
const ROOM_BYTES: usize = 4 * 1024;

/// What is put into a queue.
pub(super) trait Patience {
    /// Whether it may wait a moment for others to come.
    fn is_patient(&self) -> bool;
}

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
    /// How many the writer waits for: it is woken when so many wait.
    wanted: usize,
    /// Whether it is woken also by what is not patient.
    hurries: bool,
    /// How many wait that are not patient.
    impatient: usize,
    closed: bool,
}

/// A command with its room, which is free again when the ticket is dropped.
#[derive(Debug)]
pub(super) struct Ticket<T> {
    pub(super) command: T,
    pub(super) room: OwnedSemaphorePermit,
    is_patient: bool,
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
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                wanted: 1,
                hurries: false,
                impatient: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX / ROOM_BYTES)),
        }
    }

    /// Waits for room, then puts a command in. Dropped before there was room, it puts nothing in.
    pub(super) async fn push(&self, command: T, bytes: usize) -> Result<(), Closed>
    where
        T: Patience,
    {
        let is_patient = command.is_patient();
        let units = (bytes / ROOM_BYTES + 1).min(QUEUE_BYTES_MAX / ROOM_BYTES);
        let units = u32::try_from(units).expect("the queue has fewer than 2^32 units");
        let room = Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| Closed)?;
        let mut state = self.state.lock();
        if state.closed {
            return Err(Closed);
        }
        state.waiting.push_back(Ticket { command, room, is_patient });
        state.impatient += usize::from(!is_patient);
        let is_enough = state.waiting.len() >= state.wanted || state.hurries && !is_patient;
        drop(state);
        if is_enough {
            self.changed.notify_one();
        }
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

    /// Waits until `count` wait, at most `timeout`, and not when it is closed.
    pub(super) fn gather(&self, count: usize, timeout: Duration) {
        let mut state = self.state.lock();
        state.wanted = count;
        let is_short = |state: &mut State<T>| state.waiting.len() < count && !state.closed;
        self.changed.wait_while_for(&mut state, is_short, timeout);
        state.wanted = 1;
    }

    /// Where only patient commands wait: waits for one that is not, or until `count` wait, at most `timeout`, and not when it
    /// is closed.
    pub(super) fn gather_patient(&self, count: usize, timeout: Duration) -> Waited {
        let mut state = self.state.lock();
        let is_short = |state: &mut State<T>| {
            (1..count).contains(&state.waiting.len()) && state.impatient == 0 && !state.closed
        };
        if !is_short(&mut state) {
            return Waited::Not;
        }
        let before = state.waiting.len();
        (state.wanted, state.hurries) = (count, true);
        self.changed.wait_while_for(&mut state, is_short, timeout);
        (state.wanted, state.hurries) = (1, false);
        if before < state.waiting.len() { Waited::Paid } else { Waited::InVain }
    }

    /// Takes the oldest, if there is one.
    pub(super) fn take(&self) -> Option<Ticket<T>> {
        let mut state = self.state.lock();
        let ticket = state.waiting.pop_front()?;
        state.impatient -= usize::from(!ticket.is_patient);
        Some(ticket)
    }

    /// Takes nothing in from now on; what waits is still to be taken.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Odd ones are patient.
    impl Patience for i32 {
        fn is_patient(&self) -> bool {
            self % 2 == 1
        }
    }

    #[test]
    fn what_gathers_is_waited_for_until_it_is_enough_or_time_is_over() {
        let queue = Arc::new(Queue::new());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(queue.push(0, 1)).unwrap();
        queue.gather(2, Duration::from_millis(1));
        assert_eq!(queue.state.lock().waiting.len(), 1);
        let pushes = Arc::clone(&queue);
        runtime.spawn(async move {
            for number in 1..5 {
                pushes.push(number, 1).await.unwrap();
            }
        });
        queue.gather(5, LONG);
        let taken: Vec<_> = std::iter::from_fn(|| queue.take()).map(|it| it.command).collect();
        assert_eq!(taken, [0, 1, 2, 3, 4]);
        // Afterwards one is enough again.
        let pushes = Arc::clone(&queue);
        runtime.spawn(async move { pushes.push(5, 1).await });
        assert_eq!(queue.wait(None), Woken::Open);
    }

    #[test]
    fn what_is_patient_waits_for_what_is_not() {
        let queue = Arc::new(Queue::new());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        // Nothing waits, or something that is not patient, or enough: no wait.
        assert_eq!(queue.gather_patient(4, LONG), Waited::Not);
        runtime.block_on(queue.push(0, 1)).unwrap();
        assert_eq!(queue.gather_patient(4, LONG), Waited::Not);
        assert_eq!(queue.take().unwrap().command, 0);
        for number in [1, 3, 5, 7] {
            runtime.block_on(queue.push(number, 1)).unwrap();
        }
        assert_eq!(queue.gather_patient(4, LONG), Waited::Not);
        while queue.take().is_some() {}
        // Alone it waits as long as it may.
        runtime.block_on(queue.push(1, 1)).unwrap();
        assert_eq!(queue.gather_patient(4, Duration::from_millis(1)), Waited::InVain);
        let pushes = Arc::clone(&queue);
        runtime.spawn(async move {
            pushes.push(3, 1).await.unwrap();
            pushes.push(2, 1).await
        });
        assert_ne!(queue.gather_patient(4, LONG), Waited::InVain);
        let taken: Vec<_> = std::iter::from_fn(|| queue.take()).map(|it| it.command).collect();
        assert_eq!(taken, [1, 3, 2]);
    }

    #[test]
    fn what_is_closed_gathers_no_more() {
        let queue = Arc::new(Queue::<()>::new());
        let closes = Arc::clone(&queue);
        let closing = std::thread::spawn(move || closes.close());
        queue.gather(2, LONG);
        closing.join().unwrap();
        assert_eq!(queue.wait(None), Woken::Drained);
    }
}
