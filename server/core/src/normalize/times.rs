//! Times in all the forms that providers write them.

use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};

use super::json::{Field, Fields};
use crate::time::Timestamp;

/// Parses the time in a field; `None` if there is none that can be read.
pub(crate) fn parse(field: &Field<'_>) -> Option<Timestamp> {
    match field {
        Field::Text(text) => parse_text(text),
        Field::Number(number) => parse_number(number),
        Field::Absent | Field::Object | Field::Bool(_) => None,
    }
}

/// Parses the first of the times at these paths that can be read.
pub(crate) fn first(fields: &Fields<'_, '_>, paths: &[&str]) -> Option<Timestamp> {
    paths.iter().find_map(|path| parse(fields.at(path)))
}

/// Parses a number in text, or a date with a time.
pub(crate) fn parse_text(text: &str) -> Option<Timestamp> {
    let text = text.trim_ascii();
    parse_number(text).or_else(|| parse_date(text))
}

/// Parses a number of seconds, milliseconds, microseconds or nanoseconds since the epoch, with or without decimals.
///
/// The unit is told by the size: seconds below 10^11 (the year 5138), then a thousand times as much for each. Decimals
/// are kept digit by digit, since a float would round them.
fn parse_number(text: &str) -> Option<Timestamp> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if !decimals.bytes().all(|byte| byte.is_ascii_digit()) || whole.starts_with('+') {
        return None;
    }
    let units: i64 = whole.parse().ok()?;
    let (micros_per_unit, digits) = match units.unsigned_abs() {
        0..100_000_000_000 => (1_000_000, 6),
        100_000_000_000..100_000_000_000_000 => (1_000, 3),
        100_000_000_000_000..100_000_000_000_000_000 => (1, 0),
        100_000_000_000_000_000.. => return Timestamp::from_micros(units.div_euclid(1_000)),
    };
    let decimals: String = decimals.chars().chain("000000".chars()).take(digits).collect();
    let fraction: i64 = if decimals.is_empty() { 0 } else { decimals.parse().ok()? };
    let fraction = if whole.starts_with('-') { -fraction } else { fraction };
    Timestamp::from_micros(units.checked_mul(micros_per_unit)?.checked_add(fraction)?)
}

/// Parses a date with a time; `None` if it can't be read.
///
/// RFC 3339, and what is nearly that: a space for the `T`, ` UTC` for the `Z`, an offset without its colon or
/// its minutes, no zone (read as UTC), no time of day (read as midnight); and RFC 2822.
#[must_use]
pub fn parse_date(text: &str) -> Option<Timestamp> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(time.into());
    }
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return OffsetDateTime::parse(text, &Rfc2822).ok().map(Into::into);
    }
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' ']).unwrap_or(rest);
    let zone_at = rest.find(|c: char| !matches!(c, '0'..='9' | ':' | '.')).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at_checked(zone_at)?;
    let clock = if clock.is_empty() { "00:00:00" } else { clock };
    let zone = match zone.trim_ascii() {
        "" | "Z" | "z" | "UTC" | "GMT" => "Z".to_owned(),
        offset => match (offset.split_at_checked(3), offset.len()) {
            (Some((hours, minutes)), 5) => format!("{hours}:{minutes}"),
            (Some((hours, _)), 3) => format!("{hours}:00"),
            (Some(_) | None, _) => offset.to_owned(),
        },
    };
    OffsetDateTime::parse(&format!("{date}T{clock}{zone}"), &Rfc3339).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_every_form_that_providers_write() {
        for (text, want) in [
            ("1533204620", "2018-08-02T10:10:20Z"),
            ("1533204620123", "2018-08-02T10:10:20.123Z"),
            ("1533204620123456", "2018-08-02T10:10:20.123456Z"),
            ("1533204620123456789", "2018-08-02T10:10:20.123456Z"),
            ("1531420618.000200", "2018-07-12T18:36:58.0002Z"),
            ("1531420618.5", "2018-07-12T18:36:58.5Z"),
            ("-1.5", "1969-12-31T23:59:58.5Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("2019-05-15T15:20:18Z", "2019-05-15T15:20:18Z"),
            ("2023-05-13T22:09:38.000-04:00", "2023-05-14T02:09:38Z"),
            ("2022-03-02T18:02:51.000Z", "2022-03-02T18:02:51Z"),
            ("2013-12-03 17:15:43 UTC", "2013-12-03T17:15:43Z"),
            ("2013-12-03 17:15:43 +0200", "2013-12-03T15:15:43Z"),
            ("2026-09-23T00:18:35.652+0530", "2026-09-22T18:48:35.652Z"),
            ("2026-09-23T00:18:35+05", "2026-09-22T19:18:35Z"),
            ("2024-10-18T14:42:53.064834", "2024-10-18T14:42:53.064834Z"),
            ("2024-10-18T14:42:53.064834123Z", "2024-10-18T14:42:53.064834Z"),
            ("2017-10-25", "2017-10-25T00:00:00Z"),
            ("Wed, 15 Jul 2026 09:04:52 +0000", "2026-07-15T09:04:52Z"),
        ] {
            assert_eq!(parse_text(text).map(|t| t.to_string()).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "soon",
            "+1",
            "1.",
            "1.x",
            "2019-13-45T00:00:00Z",
            "2019-05-15T25:00:00Z",
            "2019-05-15T15:20:18+",
            "9223372036854775808",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            let want = (text == "1.").then_some(Timestamp::from_secs(1).unwrap());
            assert_eq!(parse_text(text), want, "{text:?}");
        }
    }
}
