//! Time: the only place that asks the machine for it.
//!
//! There are two clocks. The *wall* clock is what people and providers mean: signatures and times of receipt use it, and
//! it may jump. The *steady* clock is what leases and backoffs run by: it begins at wall time, never goes back, and
//! begins after a restart no earlier than the last time the store has written.

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hookline_core::time::Timestamp;
use tokio::sync::watch;

use crate::store::BoxFuture;

/// The wall clock and the steady clock.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Returns the time of day. It may go back.
    fn wall(&self) -> Timestamp;

    /// Returns the steady time. It never goes back.
    fn steady(&self) -> Timestamp;

    /// Waits until the steady time is `deadline` or later. Dropping the future ends the wait.
    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()>;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    steady_at_start: Timestamp,
}

impl SystemClock {
    /// Starts the steady clock at wall time, or at `floor` where that is later: the store's `last_written_at`.
    #[must_use]
    pub fn start(floor: Timestamp) -> Arc<Self> {
        Arc::new(Self { started: instant_now(), steady_at_start: wall_now().max(floor) })
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        wall_now()
    }

    fn steady(&self) -> Timestamp {
        self.steady_at_start + instant_now().saturating_duration_since(self.started)
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        // A microsecond more than the difference: the steady time is cut to microseconds, and whoever wakes must find
        // that its time has come.
        let wait = deadline.since(self.steady()) + Duration::from_micros(1);
        Box::pin(tokio::time::sleep(wait))
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the machine is asked")]
fn instant_now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the one place where the machine is asked")]
fn wall_now() -> Timestamp {
    let now = SystemTime::now();
    match now.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp::EPOCH + since,
        Err(before) => Timestamp::EPOCH.saturating_sub(before.duration()),
    }
}

/// Measures how long something takes: for metrics, which decide nothing.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    #[must_use]
    pub fn start() -> Self {
        Self(instant_now())
    }

    /// Returns how long it has run.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        instant_now().saturating_duration_since(self.0)
    }
}

/// Clocks that stand still until they are moved: for tests.
#[derive(Clone, Debug)]
pub struct ManualClock {
    times: Arc<watch::Sender<Times>>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    wall: Timestamp,
    steady: Timestamp,
}

impl ManualClock {
    /// Makes clocks that both show `time`.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        Self { times: Arc::new(watch::Sender::new(Times { wall: time, steady: time })) }
    }

    /// Moves both clocks on, and wakes whom it is time for.
    pub fn advance(&self, by: Duration) {
        self.times.send_modify(|times| {
            times.wall = times.wall + by;
            times.steady = times.steady + by;
        });
    }

    /// Sets the wall clock alone, forwards or back.
    pub fn set_wall(&self, wall: Timestamp) {
        self.times.send_modify(|times| times.wall = wall);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        self.times.borrow().wall
    }

    fn steady(&self) -> Timestamp {
        self.times.borrow().steady
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            let mut changes = clock.times.subscribe();
            changes
                .wait_for(|times| deadline <= times.steady)
                .await
                .expect("the future holds the clock, so its sender lives");
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs).unwrap()
    }

    #[test]
    fn the_steady_clock_begins_no_earlier_than_its_floor_and_never_goes_back() {
        let floor = wall_now() + Duration::from_secs(3_600);
        let clock = SystemClock::start(floor);
        let first = clock.steady();
        assert!(floor <= first);
        assert!(first <= clock.steady());
        assert!(clock.wall() < floor);
    }

    #[test]
    fn the_steady_clock_begins_at_wall_time_when_the_floor_is_past() {
        let before = wall_now();
        let clock = SystemClock::start(Timestamp::MIN);
        assert!(before <= clock.steady());
        assert!(clock.steady().since(before) < Duration::from_secs(60));
    }

    #[tokio::test]
    async fn a_sleep_on_the_machines_clock_ends_when_its_time_has_come() {
        let clock = SystemClock::start(Timestamp::MIN);
        let deadline = clock.steady() + Duration::from_millis(5);
        clock.sleep_until(deadline).await;
        assert!(deadline <= clock.steady());
    }

    #[tokio::test]
    async fn a_sleep_on_a_manual_clock_ends_when_it_is_moved() {
        let clock = ManualClock::at(secs(100));
        let mut sleep = clock.sleep_until(secs(160));
        clock.advance(Duration::from_secs(59));
        let pending = tokio::select! {
            biased;
            () = &mut sleep => false,
            () = std::future::ready(()) => true,
        };
        assert!(pending);
        clock.advance(Duration::from_secs(1));
        sleep.await;
        assert_eq!(clock.steady(), secs(160));
    }

    #[test]
    fn the_wall_clock_jumps_without_the_steady_one() {
        let clock = ManualClock::at(secs(100));
        clock.set_wall(secs(5));
        assert_eq!((clock.wall(), clock.steady()), (secs(5), secs(100)));
    }
}
