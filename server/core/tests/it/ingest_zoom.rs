//! Zoom: its events, and the token that it wants signed.

use hookline_core::source::{Kind, Settings};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::ingest_support::{
    SECRET, answer, ask, events, facts, headers, read, signature, source, source_with,
};

const VALIDATION: &str = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8"}}"#;

fn zoom() -> Kind {
    Kind::parse("zoom").unwrap()
}

fn target() -> (&'static Method, &'static str) {
    (&Method::POST, "/webhooks/zoom")
}

#[test]
fn a_signed_token_is_answered_with_the_secret_that_signed_it() {
    let signer = source(zoom(), &["old"]);
    let headers = signature(&signer, &HeaderMap::new(), &VALIDATION.into());
    for (secrets, want) in [(&["new", "old"][..], true), (&["new"][..], false)] {
        let received = ask(&source(zoom(), secrets), target(), &headers, VALIDATION);
        assert_eq!(received.is_ok(), want, "{secrets:?}");
        let Ok(received) = received else { continue };
        let answer = answer(received);
        assert_eq!(answer.status, StatusCode::OK);
        // printf qgg8 | openssl dgst -sha256 -hmac old
        let signed = "2d186fa0f48d7a2b410014e47e7e99c2f6423addc1f1d1c6936e7281bb931528";
        let want = json!({ "plainToken": "qgg8", "encryptedToken": signed });
        assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap(), want);
    }
}

#[test]
fn a_token_is_never_signed_for_who_has_not_signed() {
    let zoom_source = source(zoom(), &[SECRET]);
    let wrong = headers([("x-zm-signature", "v0=00"), ("x-zm-request-timestamp", "1800000000")]);
    for headers in [HeaderMap::new(), wrong] {
        assert!(ask(&zoom_source, target(), &headers, VALIDATION).is_err());
    }
    let open = source_with(zoom(), &[], Settings::default());
    let events = events(ask(&open, target(), &HeaderMap::new(), VALIDATION).unwrap());
    assert_eq!(events[0].event_type.as_str(), "endpoint.url_validation");
}

#[test]
fn the_nearest_person_stands_as_actor() {
    for (payload, want) in [
        (
            r#"{"operator_id":"o","operator":"o@example.com","object":{"id":8439,"uuid":"u==","host_id":"h"}}"#,
            ["o", "meeting", "8439"],
        ),
        (
            r#"{"operator":"o@example.com","object":{"uuid":"u=="}}"#,
            ["o@example.com", "meeting", "u=="],
        ),
        (
            r#"{"object":{"id":"1","host_id":"h","participant":{"id":"","user_id":"167"}}}"#,
            ["167", "meeting", "1"],
        ),
        (r#"{"object":{"id":"1","host_id":"h"}}"#, ["h", "meeting", "1"]),
        ("null", ["", "meeting", ""]),
    ] {
        let body =
            format!(r#"{{"event":"meeting.x","event_ts":1752566460000,"payload":{payload}}}"#);
        let events = read("zoom", &HeaderMap::new(), &body);
        let [event_type, key, actor, resource_type, resource_id, time] = facts(&events[0]);
        assert_eq!([actor, resource_type, resource_id], want, "{body}");
        assert_eq!((event_type.as_str(), time.as_str()), ("meeting.x", "2025-07-15T08:01:00Z"));
        assert!(key.starts_with("sha256:"));
    }
}
