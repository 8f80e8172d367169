//! Clocks that the simulation moves. Nobody sleeps: a sleep is an entry in a queue, and ends when time has been moved.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use hookline_core::time::Timestamp;
use parking_lot::Mutex;

use crate::{clock::Clock, store::BoxFuture};

/// The clocks of one hub: after a restart there are others.
#[derive(Clone, Debug)]
pub(super) struct VirtualClock(Arc<Mutex<Times>>);

#[derive(Debug)]
struct Times {
    wall: Timestamp,
    steady: Timestamp,
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
    last_sleep: u64,
}

impl VirtualClock {
    /// Makes clocks that begin as the machine's do: the steady one no earlier than `floor`.
    pub(super) fn start(wall: Timestamp, floor: Timestamp) -> Self {
        let sleepers = BTreeMap::new();
        let times = Times { wall, steady: wall.max(floor), sleepers, last_sleep: 0 };
        Self(Arc::new(Mutex::new(times)))
    }

    /// Moves both clocks on, and wakes whom it is time for, the earliest first.
    pub(super) fn advance(&self, by: Duration) {
        let mut times = self.0.lock();
        times.wall = times.wall + by;
        times.steady = times.steady + by;
        let after = times.steady + Duration::from_micros(1);
        let later = times.sleepers.split_off(&(after, 0));
        let due = std::mem::replace(&mut times.sleepers, later);
        drop(times);
        due.into_values().for_each(Waker::wake);
    }

    /// Sets the wall clock.
    pub(super) fn set_wall(&self, wall: Timestamp) {
        self.0.lock().wall = wall;
    }

    /// Returns how far the wall clock is ahead of the steady one, in microseconds.
    pub(super) fn wall_lead(&self) -> i64 {
        let times = self.0.lock();
        times.wall.as_micros().saturating_sub(times.steady.as_micros())
    }

    /// Returns when the next sleep ends.
    pub(super) fn next_sleep(&self) -> Option<Timestamp> {
        self.0.lock().sleepers.first_key_value().map(|((at, _), _)| *at)
    }
}

impl Clock for VirtualClock {
    fn wall(&self) -> Timestamp {
        self.0.lock().wall
    }

    fn steady(&self) -> Timestamp {
        self.0.lock().steady
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        let mut times = self.0.lock();
        times.last_sleep += 1;
        let key = (deadline, times.last_sleep);
        drop(times);
        Box::pin(Sleep { clock: self.clone(), key })
    }
}

struct Sleep {
    clock: VirtualClock,
    key: (Timestamp, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut times = self.clock.0.lock();
        if self.key.0 <= times.steady {
            return Poll::Ready(());
        }
        times.sleepers.insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.0.lock().sleepers.remove(&self.key);
    }
}
