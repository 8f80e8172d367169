//! Messages of the contract as JSON for scripts: the field names of the `.proto` files, numbers as numbers, times as
//! RFC 3339, enum values by their names, and a payload that is JSON as it is.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hookline_client::{Attempt, Event, proto};
use serde::Serialize;
use serde_json::value::RawValue;

use super::text;

/// `hookline.v1.Event`, with its subject.
#[derive(Debug, Serialize)]
pub(super) struct EventJson<'a> {
    id: &'a str,
    sequence: u64,
    subject: String,
    source: &'a str,
    event_type: &'a str,
    timestamp: Option<String>,
    received_at: Option<String>,
    actor: &'a str,
    resource_type: &'a str,
    resource_id: &'a str,
    delivery_key: &'a str,
    metadata: BTreeMap<&'a str, &'a str>,
    payload_size: u64,
    /// The payload that is JSON, without the spaces between its parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    /// The payload that is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl<'a> EventJson<'a> {
    pub(super) fn new(event: &'a Event) -> Self {
        let payload = json(&event.payload);
        let raw = payload.is_none() && !event.payload.is_empty();
        let metadata = event.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        Self {
            id: &event.id,
            sequence: event.sequence,
            subject: hookline_client::subject(event),
            source: &event.source,
            event_type: &event.event_type,
            timestamp: text::time(event.timestamp.as_ref()),
            received_at: text::time(event.received_at.as_ref()),
            actor: &event.actor,
            resource_type: &event.resource_type,
            resource_id: &event.resource_id,
            delivery_key: &event.delivery_key,
            metadata: metadata.collect(),
            payload_size: event.payload_size,
            payload,
            payload_base64: raw.then(|| STANDARD.encode(&event.payload)),
        }
    }
}

/// `hookline.v1.DeadLetter`.
#[derive(Debug, Serialize)]
pub(super) struct DeadLetterJson<'a> {
    id: &'a str,
    subscription: &'a str,
    event: Option<EventJson<'a>>,
    reason: &'static str,
    attempts: Vec<AttemptJson<'a>>,
    died_at: Option<String>,
    generation: u32,
    detail: &'a str,
}

impl<'a> DeadLetterJson<'a> {
    pub(super) fn new(letter: &'a proto::DeadLetter) -> Self {
        Self {
            id: &letter.id,
            subscription: &letter.subscription,
            event: letter.event.as_ref().map(EventJson::new),
            reason: letter.reason().as_str_name(),
            attempts: letter.attempts.iter().map(AttemptJson::new).collect(),
            died_at: text::time(letter.died_at.as_ref()),
            generation: letter.generation,
            detail: &letter.detail,
        }
    }
}

/// `hookline.v1.DeadLetterGroup`.
#[derive(Debug, Serialize)]
pub(super) struct CauseJson<'a> {
    cause: &'a str,
    count: u64,
    sample_ids: &'a [String],
    reason: &'static str,
    error_type: &'a str,
    sample_text: &'a str,
    oldest_died_at: Option<String>,
    newest_died_at: Option<String>,
    subscriptions: &'a [String],
    is_rest: bool,
}

impl<'a> CauseJson<'a> {
    pub(super) fn new(group: &'a proto::DeadLetterGroup) -> Self {
        Self {
            cause: &group.cause,
            count: group.count,
            sample_ids: &group.sample_ids,
            reason: group.reason().as_str_name(),
            error_type: &group.error_type,
            sample_text: &group.sample_text,
            oldest_died_at: text::time(group.oldest_died_at.as_ref()),
            newest_died_at: text::time(group.newest_died_at.as_ref()),
            subscriptions: &group.subscriptions,
            is_rest: group.is_rest,
        }
    }
}

/// `hookline.v1.Attempt`.
#[derive(Debug, Serialize)]
pub(super) struct AttemptJson<'a> {
    number: u32,
    consumer: &'a str,
    started_at: Option<String>,
    ended_at: Option<String>,
    end: &'static str,
    reason: &'a str,
    error_type: &'a str,
}

impl<'a> AttemptJson<'a> {
    pub(super) fn new(attempt: &'a Attempt) -> Self {
        Self {
            number: attempt.number,
            consumer: &attempt.consumer,
            started_at: text::time(attempt.started_at.as_ref()),
            ended_at: text::time(attempt.ended_at.as_ref()),
            end: attempt.end().as_str_name(),
            reason: &attempt.reason,
            error_type: &attempt.error_type,
        }
    }
}

/// Returns a value as a line of JSON.
pub(super) fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("text, numbers and valid JSON are written")
}

/// Returns a payload as JSON on one line, digit for digit as it was posted; `None` if it is not JSON.
fn json(payload: &[u8]) -> Option<Box<RawValue>> {
    let value: &RawValue = serde_json::from_slice(payload).ok()?;
    let mut compact = String::with_capacity(value.get().len());
    let (mut in_text, mut escaped) = (false, false);
    for char in value.get().chars() {
        if in_text {
            in_text = escaped || char != '"';
            escaped = !escaped && char == '\\';
        } else if char.is_ascii_whitespace() {
            continue;
        } else {
            in_text = char == '"';
        }
        compact.push(char);
    }
    RawValue::from_string(compact).ok()
}

/// How deep what is shown is indented: payloads may be far deeper, and each line would be as long.
const INDENTED_DEPTH_MAX: usize = 32;

/// Returns the lines of a payload for people: of JSON a member a line, of what is no text only that.
pub(super) fn lines(payload: &[u8]) -> Vec<String> {
    match (pretty(payload), std::str::from_utf8(payload)) {
        (Some(json), _) => json.lines().map(text::clean).collect(),
        (None, Ok(text)) => text.lines().map(text::clean).collect(),
        (None, Err(_)) => vec!["not text: see --json".to_owned()],
    }
}

/// Returns a payload as JSON for people, a member a line, digit for digit as it was posted; `None` if it is not JSON.
fn pretty(payload: &[u8]) -> Option<String> {
    let compact = json(payload)?;
    let mut pretty = String::with_capacity(compact.get().len() * 2);
    let (mut depth, mut in_text, mut escaped, mut previous) = (0_usize, false, false, ' ');
    for char in compact.get().chars() {
        if in_text {
            in_text = escaped || char != '"';
            escaped = !escaped && char == '\\';
            pretty.push(char);
            previous = char;
            continue;
        }
        let is_end = matches!(char, '}' | ']');
        depth = depth.saturating_sub(usize::from(is_end));
        let begins = matches!(previous, '{' | '[');
        // What is empty stays on its line.
        if begins != is_end || previous == ',' {
            pretty.push('\n');
            pretty.extend(std::iter::repeat_n("  ", depth.min(INDENTED_DEPTH_MAX)));
        }
        depth += usize::from(matches!(char, '{' | '['));
        in_text = char == '"';
        pretty.push(char);
        if char == ':' {
            pretty.push(' ');
        }
        previous = char;
    }
    Some(pretty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_becomes_one_line_without_a_digit_or_letter_changed() {
        let posted =
            b"{\n  \"id\": 12345678901234567890123,\r\n  \"a \\\" b\\\\\": [1.50, \"x  y\"]\n}\n";
        let line = json(posted).unwrap();
        assert_eq!(line.get(), r#"{"id":12345678901234567890123,"a \" b\\":[1.50,"x  y"]}"#);
    }

    #[test]
    fn a_payload_for_people_has_a_member_a_line_and_every_digit() {
        let cases = [
            ("{}", "{}"),
            ("17", "17"),
            (
                r#"{"a":[1.50,{"b":[]}],"c {[,:":"x\"]"}"#,
                "{\n  \"a\": [\n    1.50,\n    {\n      \"b\": []\n    }\n  ],\n  \"c {[,:\": \"x\\\"]\"\n}",
            ),
        ];
        for (payload, expected) in cases {
            assert_eq!(pretty(payload.as_bytes()).as_deref(), Some(expected));
        }
        assert_eq!(pretty(b"{"), None);
    }

    #[test]
    fn what_is_deep_takes_little_room() {
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        let shown = pretty(&deep).unwrap();
        assert!(shown.len() < 100 * deep.len(), "{}", shown.len());
        assert_eq!(shown.split_whitespace().collect::<String>().as_bytes(), deep);
    }

    #[test]
    fn lines_for_people_have_nothing_that_a_terminal_obeys() {
        assert_eq!(lines("{\"a\": \"\u{202e}\"}".as_bytes()), ["{", "  \"a\": \"\\u{202e}\"", "}"]);
        assert_eq!(lines(b"a=1\nb=2"), ["a=1", "b=2"]);
        assert_eq!(lines(&[0xff]), ["not text: see --json"]);
    }

    #[test]
    fn a_payload_that_is_not_json_is_base64() {
        let event = Event { payload: b"\xff{".as_slice().into(), ..Event::default() };
        let line: serde_json::Value = serde_json::from_str(&line(&EventJson::new(&event))).unwrap();
        assert_eq!(line["payload_base64"], "/3s=");
        assert!(line.get("payload").is_none());
    }

    #[test]
    fn an_event_is_one_object_with_its_subject_and_payload() {
        let event = Event {
            source: "github".to_owned(),
            event_type: "push".to_owned(),
            sequence: 7,
            payload: b"{\"a\":\n1}".as_slice().into(),
            ..Event::default()
        };
        let text = line(&EventJson::new(&event));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(!text.contains('\n'));
        assert_eq!(value["subject"], "github/push");
        assert_eq!(value["sequence"], 7);
        assert_eq!(value["payload"]["a"], 1);
        assert_eq!(value["timestamp"], serde_json::Value::Null);
    }
}
