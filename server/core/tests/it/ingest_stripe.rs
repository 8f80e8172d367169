//! Stripe bodies in all their shapes.

use hookline_core::source::Kind;
use http::HeaderMap;

use crate::ingest_support::{ingest, received_at, stripe};

#[test]
fn the_actor_is_the_customer_else_the_account_else_the_request() {
    for (members, actor, actor_type) in [
        (r#""data":{"object":{"customer":"cus_1"}},"account":"acct_1""#, "cus_1", "customer"),
        (
            r#""data":{"object":{"customer":{"id":"cus_2","object":"customer"}}}"#,
            "cus_2",
            "customer",
        ),
        (r#""data":{"object":{"id":"cus_3","object":"customer"}}"#, "cus_3", "customer"),
        (
            r#""data":{"object":{"customer":null}},"account":"acct_1","request":"req_1""#,
            "acct_1",
            "account",
        ),
        (r#""data":{"object":{"customer":""}},"request":"req_1""#, "req_1", "request"),
        (r#""data":{"object":{}},"request":{"id":"req_2"}"#, "req_2", "request"),
        (r#""request":{"id":null}"#, "", ""),
        (r#""data":null,"request":null,"account":null"#, "", ""),
        (r#""data":[],"request":[],"account":{}"#, "", ""),
        (r#""reason":{"type":"request","request":{"id":"req_3"}}"#, "req_3", "request"),
        (r#""context":"acct_2","reason":{"request":{"id":"req_3"}}"#, "acct_2", "account"),
        (r#""related_object":{"id":"cus_4","type":"customer"}"#, "cus_4", "customer"),
    ] {
        let event = stripe(&format!(r#"{{"id":"evt_1","type":"a.b",{members}}}"#));
        assert_eq!(event.actor, actor, "{members}");
        let found = event.metadata.get("actor_type").unwrap_or_default();
        assert_eq!(found, actor_type, "{members}");
    }
}

#[test]
fn the_resource_is_the_object_or_what_it_belongs_to() {
    for (members, kind, id) in [
        (r#""data":{"object":{"id":"in_1","object":"invoice","customer":"c"}}"#, "invoice", "in_1"),
        (r#""data":{"object":{"object":"invoice","customer":"cus_1"}}"#, "invoice", "cus_1"),
        (r#""data":{"object":{"object":"balance"}},"account":"acct_1""#, "balance", "acct_1"),
        (r#""data":{"object":{"object":"balance"}}"#, "balance", ""),
        (r#""data":{"object":{"id":"ca_1"}}"#, "invoice", "ca_1"),
        (
            r#""related_object":{"id":"mtr_1","type":"billing.meter","url":"/x"}"#,
            "billing.meter",
            "mtr_1",
        ),
        (r#""data":{"object":{"id":7,"object":"x"}}"#, "x", "7"),
    ] {
        let event = stripe(&format!(r#"{{"id":"evt_1","type":"invoice.upcoming",{members}}}"#));
        let found = (event.resource_type.as_str(), event.resource_id.as_str());
        assert_eq!(found, (kind, id), "{members}");
    }
}

#[test]
fn a_thin_event_is_read_too() {
    let event = stripe(
        r#"{"id":"evt_test_65R","object":"v2.core.event","type":"v1.billing.meter.error_report_triggered",
            "created":"2024-09-10T13:09:08.123Z","livemode":true,"context":"acct_1",
            "reason":{"type":"request","request":{"id":"req_1","idempotency_key":"k"}},
            "related_object":{"id":"mtr_1","type":"billing.meter","url":"/v1/billing/meters/mtr_1"}}"#,
    );
    assert_eq!(event.event_type.as_str(), "v1.billing.meter.error_report_triggered");
    assert_eq!(event.delivery_key, "evt_test_65R");
    assert_eq!(event.timestamp.to_string(), "2024-09-10T13:09:08.123Z");
    let found: Vec<_> = event.metadata.iter().collect();
    assert_eq!(
        found,
        [
            ("actor_type", "account"),
            ("content_type", "application/json"),
            ("context", "acct_1"),
            ("idempotency_key", "k"),
            ("livemode", "true"),
            ("request_id", "req_1"),
        ]
    );
}

#[test]
fn a_time_that_cannot_be_read_is_the_time_of_receipt() {
    for (created, want) in [
        ("1533204620", Some("2018-08-02T10:10:20Z")),
        ("\"1533204620\"", Some("2018-08-02T10:10:20Z")),
        ("1533204620.25", Some("2018-08-02T10:10:20.25Z")),
        ("0", Some("1970-01-01T00:00:00Z")),
        ("null", None),
        ("\"soon\"", None),
        ("{}", None),
        ("1e300", None),
        ("99999999999999999999999999", None),
        ("true", None),
    ] {
        let event = stripe(&format!(r#"{{"id":"evt_1","type":"a.b","created":{created}}}"#));
        let received = received_at().to_string();
        assert_eq!(event.timestamp.to_string(), want.unwrap_or(&received), "{created}");
        let is_noted = event.metadata.contains_key("timestamp_source");
        assert_eq!(is_noted, want.is_none(), "{created}");
    }
}

#[test]
fn what_is_no_event_is_kept_as_it_came() {
    for body in ["", "{}", r#"{"id":"evt_1"}"#, r#"{"id":"evt_1","type":""}"#, "[]", "{\"type\""] {
        let event = ingest(Kind::STRIPE, HeaderMap::new(), body);
        assert_eq!(event.event_type.as_str(), "unparsed", "{body}");
        assert_eq!(event.payload, body);
        assert!(event.delivery_key.starts_with("sha256:"), "{body}");
    }
    let without_id = stripe(r#"{"id":null,"type":"a.b"}"#);
    assert_eq!(without_id.event_type.as_str(), "a.b");
    assert!(without_id.delivery_key.starts_with("sha256:"));
}
