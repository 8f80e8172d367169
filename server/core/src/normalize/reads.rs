//! How much of a body is parsed: a count, for the tests of this crate only.

use std::{cell::Cell, collections::BTreeMap};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{Received, receive};
use crate::{
    event::SourceName,
    provider::Kind,
    source::{Settings, Source},
    time::Timestamp,
    verify::Request,
};

thread_local! {
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Counts a text that is parsed.
pub(super) fn note(text: &str) {
    BYTES.set(BYTES.get() + text.len());
}

/// Returns the count of what is parsed meanwhile, with what is made.
fn counted<T>(make: impl FnOnce() -> T) -> (T, usize) {
    BYTES.set(0);
    let made = make();
    (made, BYTES.get())
}

/// Returns the kind, headers and body of each body of the corpus that is JSON; nothing if there is no corpus.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration to read it")]
fn corpus() -> Vec<(Kind, HeaderMap, Bytes)> {
    let folder = std::env::var("HOOKLINE_PAYLOADS").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/payloads").to_owned()
    });
    let Ok(text) = std::fs::read_to_string(format!("{folder}/MANIFEST.json")) else {
        println!("skipped: no payloads in `{folder}`; set HOOKLINE_PAYLOADS");
        return Vec::new();
    };
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entries = manifest["entries"].as_array().unwrap().iter();
    let of_kind = entries.filter(|entry| entry["body_format"] == "json").filter_map(|entry| {
        let kind = Kind::parse(entry["provider"].as_str()?).ok()?;
        let body = std::fs::read(format!("{folder}/{}", entry["file"].as_str()?)).unwrap();
        let headers = entry["headers"].as_object()?.iter().filter_map(|(name, value)| {
            let name = HeaderName::try_from(name).ok()?;
            Some((name, HeaderValue::from_str(value.as_str()?).ok()?))
        });
        Some((kind, headers.collect(), body.into()))
    });
    of_kind.collect()
}

#[test]
fn every_real_body_is_parsed_once() {
    let mut too_often = BTreeMap::new();
    for (kind, headers, body) in corpus() {
        let name = SourceName::parse(kind.as_str()).unwrap();
        let source = Source::unsigned(name, kind, Settings::default()).unwrap();
        let request =
            Request { method: &Method::POST, target: "/", headers: &headers, body: &body };
        let (received, bytes) = counted(|| receive(&source, request, Timestamp::EPOCH).unwrap());
        let Received::Events { events, .. } = received else { continue };
        let of_events: usize = events.iter().map(|event| event.payload.len()).sum();
        let is_whole = events.iter().all(|event| event.payload.len() == body.len());
        // A batch is gone through once more, to tell its events apart.
        let most = if is_whole { body.len() } else { body.len() + of_events };
        let text = str::from_utf8(&body).unwrap_or_default();
        assert!(0 < bytes, "{kind} is not counted: {text}");
        if most < bytes {
            too_often.entry(kind.as_str()).or_insert_with(Vec::new).push((bytes, most));
        }
    }
    assert!(too_often.is_empty(), "bytes that are parsed, and that may be: {too_often:?}");
}

#[test]
fn a_batch_and_a_body_parsed_twice_would_be_seen() {
    let paths = super::paths::Paths::new(&["a"]);
    let ((), bytes) = counted(|| {
        assert!(super::json::read("{\"a\":1}", &paths).is_some());
        assert!(super::json::read("{}", &paths).is_some());
        assert_eq!(super::json::parse("[1, 2]"), Some([1, 2]));
    });
    assert_eq!(bytes, 7 + 2 + 6);
}
