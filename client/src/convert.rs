//! Durations and times of the wire.

use std::time::Duration;

use prost_types::Timestamp;

/// Reads a duration; `None` if it is negative.
pub(crate) fn duration_of(wire: &prost_types::Duration) -> Option<Duration> {
    Duration::try_from(*wire).ok()
}

/// Writes a duration; one beyond the wire's 10,000 years becomes the longest there is.
pub(crate) fn wire_duration(duration: Duration) -> prost_types::Duration {
    const LONGEST: prost_types::Duration =
        prost_types::Duration { seconds: 315_576_000_000, nanos: 0 };
    prost_types::Duration::try_from(duration)
        .ok()
        .filter(|wire| wire.seconds < LONGEST.seconds)
        .unwrap_or(LONGEST)
}

/// Returns the time from `old` to `new`, zero if that is not later.
pub(crate) fn timestamp_difference(old: &Timestamp, new: &Timestamp) -> Duration {
    let nanos =
        |time: &Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let difference = nanos(new).saturating_sub(nanos(old)).max(0);
    u64::try_from(difference).map_or(Duration::MAX, Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_times_is_exact_and_never_negative() {
        let early = Timestamp { seconds: 10, nanos: 900_000_000 };
        let late = Timestamp { seconds: 12, nanos: 100_000_000 };
        assert_eq!(timestamp_difference(&early, &late), Duration::from_millis(1_200));
        assert_eq!(timestamp_difference(&late, &early), Duration::ZERO);
    }

    #[test]
    fn durations_survive_the_wire_and_have_an_end() {
        let duration = Duration::from_millis(1_500);
        assert_eq!(duration_of(&wire_duration(duration)), Some(duration));
        assert_eq!(wire_duration(Duration::MAX).seconds, 315_576_000_000);
        assert_eq!(duration_of(&prost_types::Duration { seconds: -1, nanos: 0 }), None);
    }
}
