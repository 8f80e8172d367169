//! Polling a future again at once when it wakes itself.
//!
//! hyper's connection and the handler of its request are one task, and tell each other by its waker that a body is wanted, and
//! that it is there. The runtime would put such a task behind others, and wake another of its threads to take it, twice for each
//! post, while the first goes on with it (measured: `server/docs/performance.md`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// How often in a row a future is polled, until others have their turn.
const POLLS_MAX: usize = 8;

/// Nobody polls: who wakes, wakes the task.
const IDLE: u8 = 0;
/// It is being polled.
const POLLED: u8 = 1;
/// It was woken since it has been polled.
const WOKEN: u8 = 2;

/// Polls one future of a task.
#[derive(Debug)]
pub(super) struct Repoll {
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
}

impl Repoll {
    pub(super) fn new() -> Self {
        let bell = Arc::new(Bell { state: AtomicU8::new(IDLE), task: AtomicWaker::new() });
        Self { waker: Waker::from(Arc::clone(&bell)), bell }
    }

    /// Polls until it is ready, or is not woken while it is polled, at most [`POLLS_MAX`] times.
    pub(super) fn poll<T>(
        &self,
        cx: &Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Self { bell, waker } = self;
        bell.task.register(cx.waker());
        for _ in 0..POLLS_MAX {
            bell.state.store(POLLED, Ordering::SeqCst);
            let ready = poll(&mut Context::from_waker(waker));
            let was_woken = bell.state.swap(IDLE, Ordering::SeqCst) == WOKEN;
            if ready.is_ready() || !was_woken {
                return ready;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// What is rung by who wakes the future.
#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    /// The task that polls.
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = |state| (state == POLLED).then_some(WOKEN);
        if self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, woken) == Err(IDLE) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often the task was woken.
    #[derive(Debug, Default)]
    struct Task(AtomicU8);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Returns what came of polling a future that wakes itself so many times, how often it was polled, and how often the task
    /// was woken.
    fn polled(wakes: usize) -> (Poll<()>, usize, u8) {
        let (task, mut polls) = (Arc::new(Task::default()), 0);
        let waker = Waker::from(Arc::clone(&task));
        let polled = Repoll::new().poll(&Context::from_waker(&waker), |cx| {
            polls += 1;
            if wakes < polls {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        (polled, polls, task.0.load(Ordering::SeqCst))
    }

    #[test]
    fn what_wakes_itself_is_polled_again_without_its_task() {
        assert_eq!(polled(0), (Poll::Ready(()), 1, 0));
        assert_eq!(polled(POLLS_MAX - 1), (Poll::Ready(()), POLLS_MAX, 0));
    }

    #[test]
    fn what_does_not_stop_waking_itself_lets_others_have_their_turn() {
        assert_eq!(polled(POLLS_MAX), (Poll::Pending, POLLS_MAX, 1));
        assert_eq!(polled(usize::MAX), (Poll::Pending, POLLS_MAX, 1));
    }

    #[test]
    fn between_polls_a_wake_reaches_the_task_that_polled_last() {
        let repoll = Repoll::new();
        let mut inner = None;
        for round in 1..3 {
            let task = Arc::new(Task::default());
            let waker = Waker::from(Arc::clone(&task));
            let mut polls = 0;
            let polled = repoll.poll(&Context::from_waker(&waker), |cx| {
                polls += 1;
                inner = Some(cx.waker().clone());
                Poll::<()>::Pending
            });
            assert_eq!((polled, polls, task.0.load(Ordering::SeqCst)), (Poll::Pending, 1, 0));
            inner.as_ref().unwrap().wake_by_ref();
            assert_eq!(task.0.load(Ordering::SeqCst), 1, "round {round}");
        }
    }

    #[test]
    fn a_wake_by_another_thread_is_never_lost() {
        let repoll = Repoll::new();
        for _ in 0..200 {
            let task = Arc::new(Task::default());
            let waker = Waker::from(Arc::clone(&task));
            let is_done = Arc::new(AtomicU8::new(0));
            let mut other = None;
            let polled = repoll.poll(&Context::from_waker(&waker), |cx| {
                if is_done.load(Ordering::SeqCst) == 1 {
                    return Poll::Ready(());
                }
                let (done, waker) = (Arc::clone(&is_done), cx.waker().clone());
                other.get_or_insert_with(|| {
                    std::thread::spawn(move || {
                        done.store(1, Ordering::SeqCst);
                        waker.wake();
                    })
                });
                Poll::Pending
            });
            other.unwrap().join().unwrap();
            assert!(polled.is_ready() || task.0.load(Ordering::SeqCst) == 1);
        }
    }
}
