//! Shopify, Sentry and Zendesk.

use crate::ingest_support::{essence, event};

#[test]
fn a_shopify_webhook_says_in_headers_what_it_is() {
    const TRIGGERED: &str = "2026-07-15T09:04:52.123456789Z";
    let body = r#"{"id":704912205188288500,"updated_at":"2026-07-14T00:00:00-04:00","created_at":"2020-01-01T00:00:00Z"}"#;
    let id = "704912205188288500";
    for (headers, want) in [
        (
            &[
                ("x-shopify-topic", "orders/create"),
                ("x-shopify-webhook-id", "w"),
                ("x-shopify-event-id", "e"),
                ("x-shopify-triggered-at", TRIGGERED),
            ][..],
            ["orders.create", "w", "", "orders", id, "2026-07-15T09:04:52.123456Z"],
        ),
        (
            &[("shopify-topic", "carts/update"), ("shopify-webhook-id", "w")],
            ["carts.update", "w", "", "carts", id, "2026-07-14T04:00:00Z"],
        ),
        (
            &[
                ("x-shopify-topic", "a"),
                ("x-shopify-triggered-at", "?"),
                ("x-shopify-webhook-id", "w"),
            ],
            ["a", "w", "", "a", id, "2026-07-14T04:00:00Z"],
        ),
        (&[("x-shopify-webhook-id", "w")], ["unparsed", "w", "", "", "", ""]),
    ] {
        let found = event("shopify", headers.iter().copied(), body);
        assert_eq!(essence(&found), want, "{headers:?}");
    }
}

#[test]
fn what_a_shopify_webhook_is_about_has_an_id_of_some_kind() {
    for (topic, body, id) in [
        ("orders/x", r#"{"id":null,"admin_graphql_api_id":"gid://1","token":"t"}"#, "gid://1"),
        ("carts/x", r#"{"token":"t"}"#, "t"),
        ("carts/x", r#"{"token":"t","customer":{"id":1}}"#, "t"),
        ("orders/x", r#"{"customer":{"id":1},"shop_id":2}"#, ""),
        ("customers/redact", r#"{"shop_id":2,"customer":{"id":1}}"#, "1"),
        ("shop/redact", r#"{"shop_id":2,"shop_domain":"d"}"#, "2"),
        ("customers/x", "{\"customer\":[]}", ""),
    ] {
        let found = event("shopify", [("x-shopify-topic", topic)], body);
        assert_eq!(found.resource_id, id, "{topic} {body}");
    }
    let headers = [
        ("x-shopify-topic", "orders/create"),
        ("x-shopify-shop-domain", "d"),
        ("x-shopify-event-id", "e"),
        ("shopify-api-version", "2026-07"),
    ];
    let found = event("shopify", headers, "{}");
    for (key, want) in [("shop_domain", "d"), ("event_id", "e"), ("api_version", "2026-07")] {
        assert_eq!(found.metadata[key], want, "{key}");
    }
}

#[test]
fn a_sentry_event_is_about_its_issue() {
    for (resource, body, want) in [
        (
            "issue",
            r#"{"action":"resolved","data":{"issue":{"id":"4"}},"actor":{"type":"user","id":5,"name":"Ann"}}"#,
            ["issue.resolved", "5", "issue", "4", ""],
        ),
        (
            "error",
            r#"{"action":"created","data":{"error":{"issue_id":"4","datetime":"2026-07-14T18:56:00.679000Z"}}}"#,
            ["error.created", "", "issue", "4", "2026-07-14T18:56:00.679Z"],
        ),
        (
            "event_alert",
            r#"{"action":"triggered","data":{"event":{"issue_id":"4"}},"actor":{"name":"Sentry"}}"#,
            ["event_alert.triggered", "Sentry", "issue", "4", ""],
        ),
        (
            "comment",
            r#"{"action":"created","data":{"issue_id":4,"comment_id":9},"installation":{"uuid":"i"}}"#,
            ["comment.created", "", "issue", "4", ""],
        ),
        (
            "metric_alert",
            r#"{"action":"critical","data":{"metric_alert":{"id":"3"}},"installation":{"uuid":"i"}}"#,
            ["metric_alert.critical", "", "metric_alert", "3", ""],
        ),
        (
            "installation",
            r#"{"action":"created","installation":{"uuid":"i"}}"#,
            ["installation.created", "", "installation", "i", ""],
        ),
        ("issue", r#"{"data":null,"actor":"x"}"#, ["issue", "", "", "", ""]),
        ("", r#"{"action":"created"}"#, ["unparsed", "", "", "", ""]),
        ("issue", "", ["unparsed", "", "", "", ""]),
    ] {
        let headers = [("sentry-hook-resource", resource), ("request-id", "r")];
        let [kind, key, actor, resource_type, resource_id, time] =
            essence(&event("sentry", headers, body));
        assert_eq!([kind, actor, resource_type, resource_id, time], want, "{body}");
        assert_eq!(key, "r", "{body}");
    }
    let headers = [("sentry-hook-resource", "issue"), ("sentry-hook-timestamp", "1752564600")];
    assert_eq!(essence(&event("sentry", headers, "{}"))[5], "2025-07-15T07:30:00Z");
}

#[test]
fn a_zendesk_trigger_posts_what_its_administrator_has_written() {
    for (body, want) in [
        (
            r#"{"ticket_id":30482,"type":"question","id":"not ours","requester_name":"Jamie","requester_email":"j@x",
                "created_at":"2026-07-10T14:02:31Z","updated_at":"2026-07-10T15:30:09Z"}"#,
            ["ticket", "v", "j@x", "ticket", "30482", "2026-07-10T15:30:09Z"],
        ),
        (r#"{"ticket":{"id":35436}}"#, ["ticket", "v", "", "ticket", "35436", ""]),
        (r#"{"ticket_id":"","type":"question"}"#, ["unparsed", "v", "", "", "", ""]),
        ("{}", ["unparsed", "v", "", "", "", ""]),
        ("", ["unparsed", "v", "", "", "", ""]),
        ("[]", ["unparsed", "v", "", "", "", ""]),
    ] {
        let found = event("zendesk", [("x-zendesk-webhook-invocation-id", "v")], body);
        assert_eq!(essence(&found), want, "{body}");
    }
}

#[test]
fn a_zendesk_event_subscription_says_what_happened() {
    let body = r#"{"account_id":22129848,"detail":{"id":"5158","actor_id":"8447"},"event":{"current":"1"},"id":"2b24",
        "subject":"zen:ticket:5158","time":"2022-05-24T02:34:21Z","type":"zen:event-type:ticket.comment_added"}"#;
    let found = event("zendesk", [("x-zendesk-webhook-invocation-id", "v")], body);
    let want = ["ticket.comment_added", "2b24", "8447", "ticket", "5158", "2022-05-24T02:34:21Z"];
    assert_eq!(essence(&found), want);
    for (key, want) in [
        ("account_id", "22129848"),
        ("subject", "zen:ticket:5158"),
        ("event_type_raw", "zen:event-type:ticket.comment_added"),
    ] {
        assert_eq!(found.metadata[key], want, "{key}");
    }
    let body = r#"{"type":"zen:event-type:user.created","subject":"zen:user:7","detail":null}"#;
    let found = event("zendesk", [("x-zendesk-webhook-invocation-id", "v")], body);
    assert_eq!(essence(&found), ["user.created", "v", "", "user", "7", ""]);
    let found = event("zendesk", [], r#"{"type":"zen:event-type:","id":"2b24"}"#);
    assert_eq!(found.event_type.as_str(), "unparsed");
}
