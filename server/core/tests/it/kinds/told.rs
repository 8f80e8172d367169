//! What is expected of a body, and how to look into one: plain, slow, and sharing nothing with the readers.

use hookline_core::normalize::Reply;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};

/// What is expected of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// As the provider says it; compared in Hookline's alphabet.
    pub(super) event_type: String,
    pub(super) delivery_key: String,
    pub(super) actor: String,
    /// `None`: nothing is expected of it.
    pub(super) actor_type: Option<String>,
    pub(super) resource_type: String,
    pub(super) resource_id: String,
    /// Microseconds since the epoch; `None`: the time of receipt.
    pub(super) micros: Option<i128>,
}

/// What is expected of a request.
#[derive(Debug)]
pub(super) enum Told {
    Events(Vec<Expected>, Reply),
    Answer { status: StatusCode, content_type: Option<&'static str>, body: String },
}

impl Told {
    pub(super) fn one(expected: Expected) -> Self {
        Self::Events(vec![expected], Reply::Ids)
    }
}

/// A request as it was posted.
pub(super) struct Sent<'a> {
    /// `json`, `form-payload` or `form-fields`.
    pub(super) format: &'a str,
    pub(super) headers: &'a HeaderMap,
    /// The JSON of the body, or of the form.
    pub(super) body: &'a Value,
    pub(super) raw: &'a [u8],
}

impl Sent<'_> {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let text = self.headers.get(name)?.to_str().unwrap();
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub(super) fn first(&self, paths: &[&str]) -> Option<String> {
        first(self.body, paths)
    }

    pub(super) fn text(&self, paths: &[&str]) -> String {
        self.first(paths).unwrap_or_default()
    }

    pub(super) fn is_there(&self, path: &str) -> bool {
        text(at(self.body, path)).is_some()
    }

    pub(super) fn micros(&self, paths: &[&str]) -> Option<i128> {
        time(self.body, paths)
    }

    /// The key of a delivery that has no id.
    pub(super) fn hash(&self) -> String {
        format!("sha256:{}", hex::encode(Sha256::digest(self.raw)))
    }

    /// The id in the first of these headers, else the hash.
    pub(super) fn header_or_hash(&self, names: &[&str]) -> String {
        names.iter().find_map(|name| self.header(name)).unwrap_or_else(|| self.hash())
    }
}

/// Follows a path through objects and arrays.
pub(super) fn at<'v>(body: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(body, |value, key| {
        let item = key.parse().ok().and_then(|index: usize| value.get(index));
        item.or_else(|| value.get(key)).unwrap_or(&Value::Null)
    })
}

/// Text that is not empty, or a number as it is written.
pub(super) fn text(value: &Value) -> Option<String> {
    let number = || value.as_number().map(ToString::to_string);
    value.as_str().map(str::to_owned).or_else(number).filter(|text| !text.is_empty())
}

pub(super) fn first(body: &Value, paths: &[&str]) -> Option<String> {
    paths.iter().find_map(|path| text(at(body, path)))
}

/// The time at the first of the paths at which something stands.
pub(super) fn time(body: &Value, paths: &[&str]) -> Option<i128> {
    micros(&first(body, paths)?)
}

/// Reads seconds, milliseconds or microseconds since the epoch, or a date.
pub(super) fn micros(text: &str) -> Option<i128> {
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let micros_each: i128 = match whole.len() {
            ..=11 => 1_000_000,
            12..=14 => 1_000,
            _ => 1,
        };
        let fraction: i128 = format!("{decimals:0<6}")[..6].parse().ok()?;
        return Some(
            whole.parse::<i128>().ok()? * micros_each + fraction * micros_each / 1_000_000,
        );
    }
    let time = OffsetDateTime::parse(&nearly_rfc3339(text), &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(text, &Rfc2822))
        .ok()?;
    Some(time.unix_timestamp_nanos().div_euclid(1_000))
}

/// Writes `2013-12-03 17:15:43 UTC`, `...+0100` and what has no zone as RFC 3339 does.
fn nearly_rfc3339(text: &str) -> String {
    let text = text.replace(" UTC", "Z").replacen(' ', "T", 1);
    let Some((head, zone)) = text.split_at_checked(text.len().saturating_sub(5)) else {
        return text;
    };
    let is_bare = zone.starts_with(['+', '-']) && zone[1..].chars().all(|c| c.is_ascii_digit());
    let clock = text.split_once('T').map_or("", |(_, clock)| clock);
    match (is_bare, clock.contains(['Z', '+', '-'])) {
        (true, _) => format!("{head}{}:{}", &zone[..3], &zone[3..]),
        (false, true) => text,
        (false, false) => format!("{text}Z"),
    }
}

/// Writes an event type in Hookline's alphabet.
pub(super) fn alphabet(raw: &str) -> String {
    let text = raw.to_ascii_lowercase().replace([':', '/'], ".");
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
    text.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect()
}

#[test]
fn the_oracle_reads_the_forms_of_time_that_the_bodies_have() {
    for (text, want) in [
        ("1606810927", Some(1_606_810_927_000_000)),
        ("1606810927.510671", Some(1_606_810_927_510_671)),
        ("1550286678321", Some(1_550_286_678_321_000)),
        ("2013-12-03 17:15:43 UTC", Some(1_386_090_943_000_000)),
        ("2013-12-03T17:15:43Z", Some(1_386_090_943_000_000)),
        ("2019-03-01T10:06:11+0100", Some(1_551_431_171_000_000)),
        ("2026-07-14T18:22:03.064834", Some(1_784_053_323_064_834)),
        ("Wed, 15 Jul 2026 09:04:52 +0000", Some(1_784_106_292_000_000)),
        ("2022-07-13T20:30:59.037339943Z", Some(1_657_744_259_037_339)),
        ("soon", None),
    ] {
        assert_eq!(micros(text), want, "{text}");
    }
}
