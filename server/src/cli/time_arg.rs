//! A time on the command line.

use hookline_core::{normalize::times, time::Timestamp};

/// Reads a date with a time, or seconds since the epoch.
pub(super) fn read_time(text: &str) -> Result<Timestamp, String> {
    let seconds = text.parse().ok().and_then(Timestamp::from_secs);
    seconds.or_else(|| times::parse_date(text)).ok_or_else(|| {
        "write a time such as `2026-11-23T09:00:00Z`, or seconds since 1970 such as `1795424400`"
            .to_owned()
    })
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
}
