//! Standard Webhooks and the providers that send by it.

use http::HeaderMap;

use crate::ingest_support::{facts, headers, read};

#[test]
fn each_provider_of_the_family_puts_things_in_its_own_places() {
    for (kind, body, want) in [
        (
            "standard-webhooks",
            r#"{"type":"contact.list.created","timestamp":"2022-11-03T20:26:10Z","data":{"id":"1f8"}}"#,
            ["contact.list.created", "", "contact.list", "1f8", "2022-11-03T20:26:10Z"],
        ),
        (
            "standard-webhooks",
            r#"{"event_type":"a.b","created_at":1,"data":{"id":7,"object":"thing"}}"#,
            ["a.b", "", "thing", "7", "1970-01-01T00:00:01Z"],
        ),
        ("standard-webhooks", r#"{"event":"ping"}"#, ["ping", "", "", "", ""]),
        (
            "clerk",
            r#"{"type":"user.deleted","data":{"id":"user_1","object":"user"},"timestamp":1654012591835}"#,
            ["user.deleted", "", "user", "user_1", "2022-05-31T15:56:31.835Z"],
        ),
        (
            "resend",
            r#"{"type":"contact.created","created_at":"2026-06-18T09:12:40Z","data":{"id":"c1"}}"#,
            ["contact.created", "", "contact", "c1", "2026-06-18T09:12:40Z"],
        ),
        (
            "openai",
            r#"{"id":"evt_1","type":"realtime.call.incoming","created_at":1,"data":{"call_id":"call_1"}}"#,
            ["realtime.call.incoming", "", "realtime.call", "call_1", "1970-01-01T00:00:01Z"],
        ),
        (
            "replicate",
            r#"{"id":"p1","status":"processing","completed_at":null,"started_at":"2026-07-14T09:13:42.552000Z"}"#,
            ["prediction.processing", "", "prediction", "p1", "2026-07-14T09:13:42.552Z"],
        ),
        (
            "brex",
            r#"{"event_type":"EXPENSE_PAYMENT_UPDATED","expense_id":"e1","company_id":"c"}"#,
            ["expense_payment_updated", "", "expense_payment", "e1", ""],
        ),
        (
            "recall-ai",
            r#"{"event":"recording.done","data":{"recording":{"id":"r1"},"bot":{"id":"b1"}}}"#,
            ["recording.done", "", "bot", "b1", ""],
        ),
        (
            "recall-ai",
            r#"{"event":"recording.done","data":{"recording":{"id":"r1"},"bot":null}}"#,
            ["recording.done", "", "recording", "r1", ""],
        ),
        ("recall-ai", r#"{"event":"sdk_upload.failed"}"#, ["sdk_upload.failed", "", "", "", ""]),
        (
            "anthropic",
            r#"{"type":"event","id":"event_1","created_at":"2026-07-14T09:14:47Z","data":{"type":"vault.credential.created","id":"vcred_1"}}"#,
            ["vault.credential.created", "", "vault.credential", "vcred_1", "2026-07-14T09:14:47Z"],
        ),
    ] {
        let events = read(kind, &headers([("svix-id", "msg_1")]), body);
        let [event_type, key, actor, resource_type, resource_id, time] = facts(&events[0]);
        assert_eq!([event_type, actor, resource_type, resource_id, time], want, "{kind}: {body}");
        assert_eq!(key, "msg_1");
    }
}

#[test]
fn what_is_no_event_of_the_family_is_kept_unread() {
    for kind in ["standard-webhooks", "clerk", "resend", "openai", "replicate", "brex", "recall-ai"]
    {
        for body in ["", "{}", "null", "[]", r#"{"type":null,"event":[],"status":{},"data":[]}"#] {
            let events = read(kind, &HeaderMap::new(), body);
            assert_eq!(events[0].event_type.as_str(), "unparsed", "{kind}: {body}");
            assert_eq!(events[0].payload, body);
        }
    }
}

#[test]
fn a_type_in_capitals_is_kept_as_it_was() {
    let events = read("brex", &HeaderMap::new(), r#"{"event_type":"TRANSFER_FAILED"}"#);
    assert_eq!(events[0].metadata["event_type_raw"], "TRANSFER_FAILED");
    let events = read("replicate", &HeaderMap::new(), r#"{"status":"failed"}"#);
    assert!(!events[0].metadata.contains_key("event_type_raw"));
}
