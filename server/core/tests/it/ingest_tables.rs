//! Providers whose bodies are read by a table or a few lines: Square, Paddle, Typeform, Calendly, Notion, Telegram.

use http::HeaderMap;

use crate::ingest_support::{facts, read};

/// Reads bodies: type, key (empty: the body's hash), actor, resource's type and id, time (empty: receipt), actor's type.
fn check(kind: &str, cases: &[(&str, [&str; 7])]) {
    for (body, want) in cases {
        let events = read(kind, &HeaderMap::new(), body);
        let [event_type, key, actor, resource_type, resource_id, time] = facts(&events[0]);
        let key = if key.starts_with("sha256:") { String::new() } else { key };
        let actor_type = events[0].metadata.get("actor_type").unwrap_or_default().to_owned();
        let found = [event_type, key, actor, resource_type, resource_id, time, actor_type];
        assert_eq!(&found, want, "{kind}: {body}");
        assert_eq!(&events[0].payload[..], body.as_bytes());
    }
}

#[test]
fn a_square_event_is_of_its_merchant() {
    check(
        "square",
        &[
            (
                r#"{"merchant_id":"M","type":"order.created","event_id":"e","created_at":"2022-07-13T20:30:59.037339943Z","data":{"type":"order_created","id":"o"}}"#,
                [
                    "order.created",
                    "e",
                    "M",
                    "order_created",
                    "o",
                    "2022-07-13T20:30:59.037339Z",
                    "merchant",
                ],
            ),
            (r#"{"type":"x","merchant_id":null,"data":7}"#, ["x", "", "", "", "", "", ""]),
            (r#"{"data":{"id":">id<"}}"#, ["unparsed", "", "", "", "", "", ""]),
            ("[]", ["unparsed", "", "", "", "", "", ""]),
        ],
    );
}

#[test]
fn a_paddle_event_is_of_its_customer() {
    check(
        "paddle",
        &[
            (
                r#"{"event_type":"customer.created","event_id":"evt_1","occurred_at":"2024-03-15T10:32:38.286848Z","data":{"id":"ctm_1"}}"#,
                [
                    "customer.created",
                    "evt_1",
                    "ctm_1",
                    "customer",
                    "ctm_1",
                    "2024-03-15T10:32:38.286848Z",
                    "customer",
                ],
            ),
            (
                r#"{"event_type":"transaction.payment_failed","data":{"id":"txn_1","customer_id":"ctm_1"}}"#,
                ["transaction.payment_failed", "", "ctm_1", "transaction", "txn_1", "", "customer"],
            ),
            (
                r#"{"event_type":"product.created","data":{"id":"pro_1","customer_id":null}}"#,
                ["product.created", "", "", "product", "pro_1", "", ""],
            ),
            (r#"{"event_type":"customer.x"}"#, ["customer.x", "", "", "customer", "", "", ""]),
            (r#"{"event_type":{}}"#, ["unparsed", "", "", "", "", "", ""]),
        ],
    );
}

#[test]
fn a_typeform_response_belongs_to_its_form() {
    check(
        "typeform",
        &[
            (
                r#"{"event_id":"e","event_type":"form_response","form_response":{"form_id":"f","token":"t","submitted_at":"2018-01-18T18:17:02Z"}}"#,
                ["form_response", "e", "", "form", "f", "2018-01-18T18:17:02Z", ""],
            ),
            ("hello", ["unparsed", "", "", "", "", "", ""]),
        ],
    );
    let body = r#"{"event_type":"form_response","form_response":{"token":"t"}}"#;
    assert_eq!(read("typeform", &HeaderMap::new(), body)[0].metadata["response_id"], "t");
}

#[test]
fn a_calendly_event_is_of_the_invitee_and_by_the_host_if_that_one_canceled() {
    check(
        "calendly",
        &[
            (
                r#"{"event":"invitee.canceled","created_at":"2026-06-05T18:41:07.000000Z","created_by":"u","payload":{"uri":"i","event":"e","email":"a@example.com","cancellation":{"canceled_by":"Alex","canceler_type":"host"}}}"#,
                ["invitee.canceled", "", "Alex", "invitee", "i", "2026-06-05T18:41:07Z", "host"],
            ),
            (
                r#"{"event":"invitee_no_show.created","payload":{"uri":"i","email":"a@example.com"}}"#,
                ["invitee_no_show.created", "", "a@example.com", "invitee", "i", "", "invitee"],
            ),
            (
                r#"{"event":"invitee.created","payload":{"event":"e"}}"#,
                ["invitee.created", "", "", "scheduled_event", "e", "", ""],
            ),
            (
                r#"{"event":"routing_form_submission.created","payload":{"uri":"s"}}"#,
                ["routing_form_submission.created", "", "", "routing_form_submission", "s", "", ""],
            ),
            (r#"{"event":"x","payload":[]}"#, ["x", "", "", "", "", "", ""]),
            ("{}", ["unparsed", "", "", "", "", "", ""]),
        ],
    );
}

#[test]
fn a_notion_comment_belongs_to_its_page() {
    check(
        "notion",
        &[
            (
                r#"{"id":"e","type":"comment.created","timestamp":"2026-07-05T16:20:59.000Z","authors":[{"id":"a","type":"bot"},{"id":"b"}],"entity":{"id":"c","type":"comment"},"data":{"page_id":"p"}}"#,
                ["comment.created", "e", "a", "page", "p", "2026-07-05T16:20:59Z", "bot"],
            ),
            (
                r#"{"type":"page.moved","authors":[],"entity":{"id":"c","type":"page"},"data":{"page_id":"p"}}"#,
                ["page.moved", "", "", "page", "c", "", ""],
            ),
            (
                r#"{"type":"comment.deleted","data":null}"#,
                ["comment.deleted", "", "", "", "", "", ""],
            ),
            (
                r#"{"verification_token":"secret_1"}"#,
                ["verification_token", "", "", "", "", "", ""],
            ),
            (r#"{"verification_token":{}}"#, ["unparsed", "", "", "", "", "", ""]),
        ],
    );
}

#[test]
fn a_telegram_update_is_named_by_its_member() {
    check(
        "telegram",
        &[
            (
                r#"{"update_id":10,"message":{"message_id":5,"from":{"id":1,"is_bot":false},"chat":{"id":-100},"date":1752562800}}"#,
                ["message", "10", "1", "message", "-100:5", "2025-07-15T07:00:00Z", "user"],
            ),
            (
                r#"{"edited_message":{"message_id":5,"from":{"id":1,"is_bot":true},"chat":{"id":2},"date":1752562800,"edit_date":1752562860},"update_id":11}"#,
                ["edited_message", "11", "1", "message", "2:5", "2025-07-15T07:01:00Z", "bot"],
            ),
            (
                r#"{"update_id":12,"channel_post":{"message_id":5,"sender_chat":{"id":-3},"chat":{"id":-3},"date":0}}"#,
                ["channel_post", "12", "-3", "message", "-3:5", "1970-01-01T00:00:00Z", "chat"],
            ),
            (
                r#"{"update_id":13,"callback_query":{"id":"q","from":{"id":1},"message":{"message_id":5,"chat":{"id":2},"date":1}}}"#,
                ["callback_query", "13", "1", "message", "2:5", "", "user"],
            ),
            (
                r#"{"update_id":14,"inline_query":{"id":"q","from":{"id":1}}}"#,
                ["inline_query", "14", "1", "inline_query", "q", "", "user"],
            ),
            (
                r#"{"update_id":15,"my_chat_member":{"chat":{"id":2},"from":{"id":1},"date":1}}"#,
                ["my_chat_member", "15", "1", "chat", "2", "1970-01-01T00:00:01Z", "user"],
            ),
            (
                r#"{"update_id":16,"poll_answer":{"poll_id":"p","user":{"id":1}}}"#,
                ["poll_answer", "16", "1", "poll", "p", "", "user"],
            ),
            (r#"{"update_id":17,"new":{},"more":{}}"#, ["new", "17", "", "", "", "", ""]),
            (r#"{"update_id":18,"new":[1]}"#, ["unparsed", "", "", "", "", "", ""]),
            (r#"{"update_id":null,"message":{}}"#, ["unparsed", "", "", "", "", "", ""]),
            (r#"{"message":{}}"#, ["unparsed", "", "", "", "", "", ""]),
            ("[]", ["unparsed", "", "", "", "", "", ""]),
            (r#"{"update_id":19,"message":{}"#, ["unparsed", "", "", "", "", "", ""]),
        ],
    );
}
