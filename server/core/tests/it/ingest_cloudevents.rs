//! CloudEvents: three content modes, odd headers, and the permission to send.

use bytes::Bytes;
use hookline_core::{
    event::NewEvent,
    normalize::{Received, Reply},
    source::{Kind, Settings},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::ingest_support::{
    SECRET, answer, ask, facts, headers, post, received_at, source, source_with,
};

const STRUCTURED: &str = r#"{"specversion":"1.0","id":"A-1","source":"/a b","type":"com.example.Made","subject":"mug","time":"2018-04-05T17:31:00Z","authid":"u-1","authtype":"user","dataschema":"s","data":{}}"#;

fn kind() -> Kind {
    Kind::parse("cloudevents").unwrap()
}

/// Ingests a body; every answer is 202.
fn take(headers: &HeaderMap, body: &[u8]) -> Vec<NewEvent> {
    let source = source_with(kind(), &[], Settings::default());
    let received = post(&source, headers, &Bytes::copy_from_slice(body), received_at()).unwrap();
    let Received::Events { events, reply } = received else { panic!("an answer: {received:?}") };
    assert_eq!(reply, Reply::IdsWith(StatusCode::ACCEPTED));
    events
}

fn binary(more: &[(&str, &str)]) -> HeaderMap {
    let required =
        [("ce-id", "A-1"), ("ce-source", "/a%20b"), ("ce-type", "t.x"), ("ce-specversion", "1.0")];
    let mut all = headers(required);
    for (name, value) in headers(more.iter().copied()) {
        all.insert(name.unwrap(), value);
    }
    all
}

#[test]
fn a_structured_event_has_its_attributes_in_the_body() {
    for media_type in [
        "application/cloudevents+json",
        "Application/CloudEvents+JSON; charset=utf-8",
        "application/cloudevents",
    ] {
        let headers = headers([("content-type", media_type), ("ce-id", "not this")]);
        let events = take(&headers, STRUCTURED.as_bytes());
        let want =
            ["com.example.made", "/a%20b A-1", "u-1", "subject", "mug", "2018-04-05T17:31:00Z"];
        assert_eq!(facts(&events[0]), want, "{media_type}");
        assert_eq!(events[0].payload, STRUCTURED);
        assert_eq!(events[0].metadata["actor_type"], "user");
        assert_eq!(events[0].metadata["ce_dataschema"], "s");
        assert_eq!(events[0].metadata["event_type_raw"], "com.example.Made");
    }
}

#[test]
fn a_batch_is_an_event_for_each_element() {
    let headers = headers([("content-type", "application/cloudevents-batch+json")]);
    let body = format!("[ {STRUCTURED} , 7,{{\"id\":\"x\"}}]");
    let events = take(&headers, body.as_bytes());
    let types: Vec<_> = events.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types, ["com.example.made", "unparsed", "unparsed"]);
    assert_eq!(events[0].payload, STRUCTURED);
    assert_eq!(events[0].delivery_key, "/a%20b A-1");
    assert_eq!(events[1].payload, "7");
    assert_eq!(events[2].payload, r#"{"id":"x"}"#);
    let events = take(&headers, b"[1");
    assert_eq!((events[0].event_type.as_str(), &events[0].payload[..]), ("unparsed", &b"[1"[..]));

    let source = source_with(kind(), &[], Settings::default());
    let empty = post(&source, &headers, &Bytes::from_static(b" []"), received_at()).unwrap();
    assert_eq!(answer(empty).status, StatusCode::ACCEPTED);
}

#[test]
fn a_binary_event_has_its_attributes_in_headers_and_any_body() {
    let more = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("ce-subject", "\"a \\\"b\\\"\""),
        ("ce-time", "2018-04-05T17:31:00Z"),
        ("ce-authid", "%E2%82%AC"),
        ("ce-partitionkey", "p"),
        ("ce-sequence", "7"),
    ];
    for body in [&b"\xff\x00"[..], b"a=1&b=2", b"", b"[1]", b"{}"] {
        let events = take(&binary(&more), body);
        let want = ["t.x", "/a%20b A-1", "\u{20ac}", "subject", "a \"b\"", "2018-04-05T17:31:00Z"];
        assert_eq!(facts(&events[0]), want);
        assert_eq!(&events[0].payload[..], body);
        assert_eq!(events[0].metadata["ce_sequence"], "7");
        assert_eq!(events[0].metadata["ce_partitionkey"], "p");
        assert!(!events[0].metadata.contains_key("actor_type"));
    }
}

#[test]
fn a_binary_event_without_readable_attributes_is_kept_unread() {
    for (name, value, want) in [
        ("ce-subject", &b"fine"[..], "t.x"),
        ("ce-time", b"soon", "t.x"),
        ("ce-subject", b"%ff", "unparsed"),
        ("ce-subject", b"\xff", "unparsed"),
        ("ce-id", b"", "unparsed"),
        ("ce-source", b"\"\"", "unparsed"),
    ] {
        let mut headers = binary(&[]);
        headers.insert(name, HeaderValue::from_bytes(value).unwrap());
        let events = take(&headers, b"a=1");
        assert_eq!(events[0].event_type.as_str(), want, "{name} {value:?}");
        assert_eq!(events[0].payload, "a=1");
    }
    for name in ["ce-id", "ce-source", "ce-type", "ce-specversion"] {
        let mut missing = binary(&[]);
        missing.remove(name);
        assert_eq!(take(&missing, b"{}")[0].event_type.as_str(), "unparsed", "without {name}");
        let mut twice = binary(&[]);
        twice.append(name, HeaderValue::from_static("other"));
        assert_eq!(take(&twice, b"{}")[0].event_type.as_str(), "unparsed", "two {name}");
    }
    assert_eq!(take(&HeaderMap::new(), b"")[0].event_type.as_str(), "unparsed");
}

#[test]
fn a_token_comes_in_a_header_or_in_the_query() {
    let source = source(kind(), &[SECRET, "other"]);
    let bearer = |text: &str| headers([("authorization", text)]);
    for (target, headers, want) in [
        ("/", bearer(&format!("Bearer {SECRET}")), "verified"),
        ("/", bearer("bearer other"), "verified"),
        ("/", bearer("Bearer wrong"), "wrong"),
        ("/", bearer("Basic other"), "malformed"),
        ("/", bearer("other"), "malformed"),
        ("/", HeaderMap::new(), "missing"),
        ("/?access_token=other", HeaderMap::new(), "verified"),
        ("/?access_token=othe%72", HeaderMap::new(), "verified"),
        ("/?access_token=", HeaderMap::new(), "malformed"),
        ("/?access_token=wrong", HeaderMap::new(), "wrong"),
        ("/?access_token=other", bearer("Bearer wrong"), "wrong"),
    ] {
        let received = ask(&source, (&Method::POST, target), &headers, "{}");
        let verdict = received.map_or_else(|error| error.cause(), |_| "verified");
        assert_eq!(verdict, want, "{target} {headers:?}");
    }
}

#[test]
fn who_asks_for_permission_gets_it() {
    let source = source(kind(), &[SECRET]);
    let probe = |method: &Method, headers: &HeaderMap| {
        let request = hookline_core::verify::Request {
            method,
            target: "/webhooks/ce",
            headers,
            body: &Bytes::new(),
        };
        hookline_core::normalize::probe(&source, request)
    };
    let origin = ("webhook-request-origin", "eventemitter.example.com");
    let plain = probe(&Method::OPTIONS, &headers([origin])).unwrap().unwrap();
    let names = |answer: &hookline_core::normalize::Answer| {
        let pairs = answer.headers.iter();
        pairs
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!((plain.status, plain.body.len()), (StatusCode::OK, 0));
    let want = ["webhook-allowed-origin: eventemitter.example.com", "allow: POST, OPTIONS"];
    assert_eq!(names(&plain), want);
    let rate = probe(&Method::OPTIONS, &headers([origin, ("webhook-request-rate", "120")]));
    assert!(names(&rate.unwrap().unwrap()).contains(&"webhook-allowed-rate: *".to_owned()));

    assert!(probe(&Method::OPTIONS, &HeaderMap::new()).is_none());
    assert!(probe(&Method::POST, &headers([origin])).is_none());
    let long = "a".repeat(256);
    for odd in ["", "a b", "a\tb", long.as_str()] {
        let answer = probe(&Method::OPTIONS, &headers([("webhook-request-origin", odd)]));
        assert_eq!(answer.unwrap().unwrap_err().cause(), "malformed", "{odd:?}");
    }
    let mut bytes = HeaderMap::new();
    bytes.insert("webhook-request-origin", HeaderValue::from_bytes(b"\xff").unwrap());
    assert!(probe(&Method::OPTIONS, &bytes).unwrap().is_err());
}
