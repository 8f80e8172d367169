//! When requests are due.
//!
//! At a fixed rate each request has a time of its own, whatever became of those before, and its latency counts from that
//! time: so a server that stalls is charged for all who would have come in the meantime, and not for the few that were on
//! their way (what is known as coordinated omission).

use std::time::Duration;

use crate::clock::Stopwatch;

/// The times of requests at a fixed rate, counted from the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    per_second: f64,
    from: Duration,
}

impl Pace {
    /// So many a second, which is more than zero.
    pub(super) const fn of(per_second: f64) -> Self {
        Self { per_second, from: Duration::ZERO }
    }

    /// Begins so much later.
    pub(super) const fn from(self, from: Duration) -> Self {
        Self { from, ..self }
    }

    /// Returns when a request is due, the first having number zero.
    #[expect(clippy::cast_precision_loss, reason = "2^53 requests take longer than anybody waits")]
    pub(super) fn due(self, number: u64) -> Duration {
        self.from + Duration::from_secs_f64(number as f64 / self.per_second)
    }

    /// Returns how many requests are due within this time.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and cut on purpose"
    )]
    pub(super) fn within(self, time: Duration) -> u64 {
        (time.as_secs_f64() * self.per_second).ceil() as u64
    }

    /// Returns how long a request took that was done at `done`: since it was due, not since it was sent.
    pub(super) fn latency(self, number: u64, done: Duration) -> Duration {
        done.saturating_sub(self.due(number))
    }
}

/// The longest that nobody looks whether there is more to do.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Calls `release` when each request is due, as long as there are more. Blocks: it is for a thread of its own, since the
/// timers of tokio are exact to a millisecond only.
pub(super) fn keep(
    pace: Pace,
    watch: Stopwatch,
    are_more: impl Fn(u64) -> bool,
    mut release: impl FnMut(),
) {
    be_exact();
    let mut number = 0;
    while are_more(number) {
        let wait = pace.due(number).saturating_sub(watch.elapsed());
        sleep(wait.min(LOOK_INTERVAL));
        if wait <= LOOK_INTERVAL {
            release();
            number += 1;
        }
    }
}

/// Asks Linux not to put off the timers of this thread, as it does by 50 us to save wake-ups. Where it can't be had,
/// requests go out a little late, which their latencies tell.
fn be_exact() {
    #[cfg(target_os = "linux")]
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)).ok();
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time itself is waited for, by the one thread that keeps it"
)]
fn sleep(time: Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::latencies::Latencies, *};

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// What one connection finds at a server that takes a millisecond, and once a second.
    fn with_a_stall(pace: Pace) -> (Latencies, Latencies) {
        let (mut corrected, mut naive) = (Latencies::default(), Latencies::default());
        let mut now = Duration::ZERO;
        for number in 0..1_000 {
            now = now.max(pace.due(number));
            let sent = now;
            now += if number == 500 { Duration::from_secs(1) } else { MILLISECOND };
            corrected.record(pace.latency(number, now));
            naive.record(now - sent);
        }
        (corrected, naive)
    }

    #[test]
    fn a_stall_is_seen_by_all_who_were_due_meanwhile() {
        let (corrected, naive) = with_a_stall(Pace::of(100.0));
        assert_eq!(naive.micros_at(0.99), 1_000);
        // A hundred and some were late, half of them by more than half a second.
        assert!(490_000 < corrected.micros_at(0.95), "{}", corrected.micros_at(0.95));
        assert!(900_000 < corrected.micros_at(0.99), "{}", corrected.micros_at(0.99));
        assert_eq!(corrected.micros_at(0.5), 1_000);
    }

    #[test]
    fn requests_are_due_at_even_times() {
        let pace = Pace::of(4.0);
        assert_eq!(pace.due(6), Duration::from_millis(1_500));
        assert_eq!(pace.within(Duration::from_secs(2)), 8);
        assert_eq!(pace.within(MILLISECOND), 1);
        let later = pace.from(Duration::from_secs(1));
        assert_eq!(later.due(0), Duration::from_secs(1));
        assert_eq!(later.latency(1, Duration::from_secs(2)), Duration::from_millis(750));
    }

    #[test]
    fn requests_go_out_when_they_are_due_and_no_sooner() {
        let (pace, watch) = (Pace::of(500.0), Stopwatch::start());
        let mut went = Vec::new();
        keep(pace, watch, |number| number < 4, || went.push(watch.elapsed()));
        assert_eq!(went.len(), 4);
        let due = (0..).map(|number| pace.due(number));
        assert!(due.zip(&went).all(|(due, at)| due <= *at), "{went:?}");
    }
}
