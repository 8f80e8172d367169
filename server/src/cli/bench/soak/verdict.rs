//! Whether a hub that has worked for long is well.

use std::time::Duration;

/// By how much the memory of a hub may grow between the second quarter of a soak and its last: caches fill, and noise.
const GROWTH_MAX: f64 = 1.25;
/// Growth below this says nothing.
const GROWTH_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// Of fewer intervals no growth can be told.
const INTERVALS_MIN: usize = 8;

/// What one interval has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) acked: u64,
    pub(super) p50_micros: u64,
    pub(super) p99_micros: u64,
    /// The memory of the hub at its end, in bytes, where it is known.
    pub(super) resident: Option<u64>,
}

impl Interval {
    /// Returns it as a line for people.
    pub(super) fn line(&self, at: Duration) -> String {
        let memory = self
            .resident
            .map_or_else(String::new, |bytes| format!(", hub memory {} MiB", bytes / 1_048_576));
        format!(
            "after {} s: {} acked, delivery p50 {} us, p99 {} us{memory}",
            at.as_secs(),
            self.acked,
            self.p50_micros,
            self.p99_micros
        )
    }
}

/// What there was at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// How many webhooks were answered with 200.
    pub(super) accepted: u64,
    /// How many of these events have come to a consumer.
    pub(super) came: u64,
    /// How many were neither done nor dead when there was time enough.
    pub(super) open: u64,
}

impl Ended {
    /// Returns how many events were accepted and never came.
    pub(super) const fn lost(self) -> u64 {
        self.accepted.saturating_sub(self.came)
    }
}

/// Returns what is wrong; nothing is where all is well.
pub(super) fn verdict(ended: Ended, intervals: &[Interval]) -> Vec<String> {
    let mut wrong = Vec::new();
    if 0 < ended.lost() {
        wrong.push(format!("{} events of {} were lost", ended.lost(), ended.accepted));
    }
    if 0 < ended.open {
        wrong.push(format!("{} events of {} are still open", ended.open, ended.accepted));
    }
    if ended.accepted == 0 {
        wrong.push("no webhook was accepted".to_owned());
    }
    let memory: Vec<u64> = intervals.iter().filter_map(|interval| interval.resident).collect();
    if let Some((early, late)) = growth(&memory) {
        let (early, late) = (early / 1_048_576, late / 1_048_576);
        wrong.push(format!("the hub's memory grows: from {early} to {late} MiB"));
    }
    wrong
}

/// Returns the memory in the second quarter and in the last, if it has grown by more than it may.
#[expect(clippy::cast_precision_loss, reason = "no machine has 2^53 bytes")]
fn growth(memory: &[u64]) -> Option<(u64, u64)> {
    if memory.len() < INTERVALS_MIN {
        return None;
    }
    let quarter = memory.len() / 4;
    let early = median(memory.get(quarter..2 * quarter)?)?;
    let late = median(memory.get(memory.len() - quarter..)?)?;
    let has_grown = early as f64 * GROWTH_MAX < late as f64 && early + GROWTH_BYTES_MIN < late;
    has_grown.then_some((early, late))
}

fn median(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const WELL: Ended = Ended { accepted: 100, came: 100, open: 0 };

    fn intervals(memory: impl IntoIterator<Item = u64>) -> Vec<Interval> {
        let interval = |resident| Interval {
            acked: 10,
            p50_micros: 1,
            p99_micros: 2,
            resident: Some(resident * MIB),
        };
        memory.into_iter().map(interval).collect()
    }

    #[test]
    fn a_hub_that_has_done_all_and_stays_as_large_is_well() {
        assert_eq!(verdict(WELL, &intervals([60, 90, 140, 150, 145, 155, 150, 148])), [""; 0]);
        assert_eq!(verdict(WELL, &[]), [""; 0]);
    }

    #[test]
    fn an_event_that_never_came_is_lost() {
        let ended = Ended { accepted: 100, came: 98, open: 3 };
        let wrong = ["2 events of 100 were lost", "3 events of 100 are still open"];
        assert_eq!(verdict(ended, &[]), wrong);
        let none = Ended { accepted: 0, came: 0, open: 0 };
        assert_eq!(verdict(none, &[]), ["no webhook was accepted"]);
    }

    #[test]
    fn memory_that_goes_on_growing_is_told_and_that_of_a_start_is_not() {
        let grows = (0..12).map(|at| 100 + 10 * at);
        assert_eq!(
            verdict(WELL, &intervals(grows)),
            ["the hub's memory grows: from 140 to 200 MiB"]
        );
        // Too few, or too little of it.
        assert_eq!(verdict(WELL, &intervals([50, 100, 150, 200])), [""; 0]);
        assert_eq!(verdict(WELL, &intervals((0..12).map(|at| 20 + at))), [""; 0]);
    }
}
