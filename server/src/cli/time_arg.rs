//! Times and durations on the command line.

use std::time::Duration;

use hookline_core::{normalize::times, time::Timestamp};

/// Reads a date with a time, or seconds since the epoch.
pub(super) fn read_time(text: &str) -> Result<Timestamp, String> {
    let seconds = text.parse().ok().and_then(Timestamp::from_secs);
    seconds.or_else(|| times::parse_date(text)).ok_or_else(|| {
        "write a time such as `2026-11-23T09:00:00Z`, or seconds since 1970 such as `1795424400`"
            .to_owned()
    })
}

/// Reads a duration, such as `30s`, as the configuration does.
pub(super) fn read_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "write a duration such as `30s`, `5m` or `1h 30m`".to_owned())
}

/// A time that may be told from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    At(Timestamp),
    In(Duration),
}

impl Moment {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(duration) = humantime::parse_duration(text) {
            return Ok(Self::In(duration));
        }
        read_time(text).map(Self::At).map_err(|_| {
            "write a time such as `2026-11-23T09:00:00Z`, or a duration such as `30m` from now"
                .to_owned()
        })
    }

    /// Returns the time, at a time of day.
    pub(super) fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::In(duration) => {
                let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
                let sum = now.as_micros().saturating_add(micros);
                Timestamp::from_micros(sum).unwrap_or(Timestamp::MAX)
            }
        }
    }
}

/// Returns a duration of the wire; one that is too long for it becomes the longest there is.
pub(super) fn wire_duration(duration: Duration) -> prost_types::Duration {
    let longest = prost_types::Duration { seconds: 315_576_000_000, nanos: 0 };
    let wire = prost_types::Duration::try_from(duration).ok();
    wire.filter(|wire| wire.seconds < longest.seconds).unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_seconds() {
        let time = Timestamp::from_secs(1_533_204_620);
        for text in ["2018-08-02T10:10:20Z", "2018-08-02 10:10:20", "1533204620"] {
            assert_eq!(read_time(text).ok(), time, "{text}");
        }
        assert!(read_time("yesterday").is_err());
    }

    #[test]
    fn a_duration_has_a_unit() {
        assert_eq!(read_duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert!(read_duration("30").is_err() && read_duration("-1s").is_err());
    }

    #[test]
    fn a_moment_is_a_time_or_so_long_from_now() {
        let now = Timestamp::from_secs(1_000).unwrap();
        let at = |text: &str| Moment::parse(text).unwrap().time(now);
        assert_eq!(at("10m"), Timestamp::from_secs(1_600).unwrap());
        assert_eq!(at("2018-08-02T10:10:20Z"), Timestamp::from_secs(1_533_204_620).unwrap());
        assert_eq!(Moment::In(Duration::MAX).time(now), Timestamp::MAX);
        assert!(Moment::parse("tomorrow").is_err());
    }
}
