//! Which of the events that were posted have come to a subscription, and which are done.

use std::time::Duration;

use hookline_client::Event;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use super::{BenchError, latencies::Latencies, pace::Pace};
use crate::clock::Stopwatch;

/// Consumers to whom nothing has come for so long get nothing more.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What all consumers of one subscription have seen together. Events are known by the number in their delivery id.
#[derive(Debug)]
pub(super) struct Tally {
    run: String,
    watch: Stopwatch,
    /// When each event was due, if latencies are to be told.
    pace: Option<Pace>,
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    came: Marks,
    acked: Marks,
    first_at: Option<Duration>,
    last_at: Duration,
    latencies: Latencies,
    failure: Option<BenchError>,
    /// How many events, come or done, somebody waits for.
    wanted: u64,
}

/// How often each number was marked.
#[derive(Clone, Debug, Default)]
struct Marks {
    marked: Vec<bool>,
    distinct: u64,
    again: u64,
}

impl Marks {
    /// Returns whether it is the first time.
    fn mark(&mut self, number: u64) -> bool {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if self.marked.len() <= at {
            self.marked.resize(at + 1, false);
        }
        let is_first = self.marked.get_mut(at).is_some_and(|mark| !std::mem::replace(mark, true));
        *(if is_first { &mut self.distinct } else { &mut self.again }) += 1;
        is_first
    }
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// How many events have come, and how many of them more than once.
    pub(super) came: u64,
    pub(super) came_again: u64,
    /// How many acks of different events are durable.
    pub(super) acked: u64,
    /// When the first event came, and when the last ack was durable.
    pub(super) first_at: Option<Duration>,
    pub(super) last_at: Duration,
}

impl Tally {
    /// Begins, for the events of this run. With a pace, latencies are told from when each was due.
    pub(super) fn new(run: &str, watch: Stopwatch, pace: Option<Pace>) -> Self {
        Self { run: run.to_owned(), watch, pace, seen: Mutex::default(), changed: Notify::new() }
    }

    /// Notes that an event has come; returns its number, or `None` if it is not of this run.
    pub(super) fn came(&self, event: &Event) -> Option<u64> {
        let number = event.delivery_key.strip_prefix(&self.run)?.strip_prefix('-')?.parse().ok()?;
        let now = self.watch.elapsed();
        let mut seen = self.seen.lock();
        seen.first_at.get_or_insert(now);
        if seen.came.mark(number) {
            if let Some(pace) = self.pace {
                seen.latencies.record(pace.latency(number, now));
            }
            if seen.came.distinct == seen.wanted {
                self.changed.notify_one();
            }
        }
        Some(number)
    }

    /// Notes that an ack is durable.
    pub(super) fn acked(&self, number: u64) {
        let now = self.watch.elapsed();
        let mut seen = self.seen.lock();
        seen.last_at = now;
        if seen.acked.mark(number) && seen.acked.distinct == seen.wanted {
            self.changed.notify_one();
        }
    }

    /// Notes that a consumer can't go on.
    pub(super) fn fail(&self, error: BenchError) {
        self.seen.lock().failure.get_or_insert(error);
        self.changed.notify_one();
    }

    /// Waits until so many events are done.
    ///
    /// # Errors
    ///
    /// If a consumer fails, or no ack comes for a long time.
    pub(super) async fn until(&self, count: u64) -> Result<(), BenchError> {
        self.until_all(count, "done", |seen| &seen.acked).await
    }

    /// Waits until so many events have come, as [`Tally::until`] does.
    pub(super) async fn until_came(&self, count: u64) -> Result<(), BenchError> {
        self.until_all(count, "here", |seen| &seen.came).await
    }

    async fn until_all(
        &self,
        count: u64,
        how: &str,
        marks: impl Fn(&Seen) -> &Marks,
    ) -> Result<(), BenchError> {
        let mut before = None;
        loop {
            let so_far = {
                let mut seen = self.seen.lock();
                if let Some(error) = seen.failure.take() {
                    return Err(error);
                }
                seen.wanted = count;
                marks(&seen).distinct
            };
            if count <= so_far {
                return Ok(());
            }
            if before == Some(so_far) {
                return Err(BenchError::Failed(format!(
                    "only {so_far} of {count} events are {how}, and none more within {SILENCE_MAX:?}"
                )));
            }
            let woken = timeout(SILENCE_MAX, self.changed.notified()).await.is_ok();
            before = (!woken).then_some(so_far);
        }
    }

    pub(super) fn sum(&self) -> Sum {
        let seen = self.seen.lock();
        Sum {
            came: seen.came.distinct,
            came_again: seen.came.again,
            acked: seen.acked.distinct,
            first_at: seen.first_at,
            last_at: seen.last_at,
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.watch.elapsed()
    }

    /// Returns the latencies since the last time that they were taken.
    pub(super) fn take_latencies(&self) -> Latencies {
        std::mem::take(&mut self.seen.lock().latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new("run", Stopwatch::start(), None)
    }

    fn event(key: &str) -> Event {
        Event { delivery_key: key.to_owned(), ..Event::default() }
    }

    #[test]
    fn an_event_that_comes_again_is_counted_once_and_told() {
        let tally = tally();
        assert_eq!(tally.came(&event("run-3")), Some(3));
        assert_eq!(tally.came(&event("run-3")), Some(3));
        assert_eq!(tally.came(&event("run-0")), Some(0));
        tally.acked(3);
        tally.acked(3);
        let sum = tally.sum();
        assert_eq!((sum.came, sum.came_again, sum.acked), (2, 1, 1));
    }

    #[test]
    fn events_of_others_are_left_alone() {
        for key in ["other-1", "run1", "run-x", ""] {
            assert_eq!(tally().came(&event(key)), None, "{key}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_last_ack_or_when_none_comes() {
        let tally = tally();
        tally.acked(0);
        tally.acked(1);
        tally.until(2).await.unwrap();
        let error = tally.until(3).await.unwrap_err();
        assert!(error.to_string().starts_with("only 2 of 3 events are done"), "{error}");
        let ((), waited) = tokio::join!(async { tally.acked(2) }, tally.until(3));
        waited.unwrap();
        tally.fail(BenchError::Failed("gone".to_owned()));
        assert_eq!(tally.until(4).await.unwrap_err().to_string(), "gone");
    }
}
