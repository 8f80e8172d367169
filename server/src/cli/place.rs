//! A place in the log on the command line.

use std::time::Duration;

use hookline_client::proto::{StartPosition, start_position::Position};
use hookline_core::time::Timestamp;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A place in the log: where a tail begins, or a subscription is moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Earliest,
    Latest,
    Sequence(u64),
    Time(Timestamp),
    Ago(Duration),
}

/// The text says no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no position: write `earliest`, `latest`, a sequence such as `42`, a time such as \
     `2026-11-23T09:00:00Z`, or a duration such as `10m` for so long ago"
)]
pub(super) struct NoPosition(String);

impl Place {
    pub(super) fn parse(text: &str) -> Result<Self, NoPosition> {
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        if let Ok(sequence) = text.parse() {
            return Ok(Self::Sequence(sequence));
        }
        if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
            return Ok(Self::Time(time.into()));
        }
        humantime::parse_duration(text).map(Self::Ago).map_err(|_| NoPosition(text.to_owned()))
    }

    /// Returns the position of the contract, at a time of day.
    pub(super) fn position(self, now: Timestamp) -> Position {
        match self {
            Self::Earliest => Position::Earliest(()),
            Self::Latest => Position::Latest(()),
            Self::Sequence(sequence) => Position::Sequence(sequence),
            Self::Time(time) => Position::Time(wire(time)),
            Self::Ago(duration) => Position::Time(wire(now.saturating_sub(duration))),
        }
    }

    /// Returns the position as requests have it.
    pub(super) fn start(self, now: Timestamp) -> StartPosition {
        StartPosition { position: Some(self.position(now)) }
    }
}

/// Returns a time of the wire.
pub(super) fn wire(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let nanos = micros.rem_euclid(1_000_000) * 1_000;
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(nanos).expect("less than a second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_word_a_sequence_a_time_or_a_duration() {
        let time = Timestamp::from_secs(1_533_204_620).unwrap();
        let cases = [
            ("earliest", Place::Earliest),
            ("latest", Place::Latest),
            ("42", Place::Sequence(42)),
            ("2018-08-02T10:10:20Z", Place::Time(time)),
            ("2018-08-02T12:10:20+02:00", Place::Time(time)),
            ("10m", Place::Ago(Duration::from_secs(600))),
            ("1h 30m", Place::Ago(Duration::from_secs(5_400))),
        ];
        for (text, place) in cases {
            assert_eq!(Place::parse(text), Ok(place), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_meant() {
        for text in ["", "newest", "-1", "2018-08-02", "10 parsecs"] {
            let error = Place::parse(text).unwrap_err().to_string();
            assert!(error.contains("earliest"), "{text}");
        }
    }

    #[test]
    fn so_long_ago_is_counted_from_now() {
        let now = Timestamp::from_millis(1_000_250).unwrap();
        let position = Place::Ago(Duration::from_secs(600)).position(now);
        let expected = prost_types::Timestamp { seconds: 400, nanos: 250_000_000 };
        assert_eq!(position, Position::Time(expected));
    }
}
