//! HubSpot and SendGrid, whose bodies hold many events.

use hookline_core::event::NewEvent;

use crate::ingest_support::{essence, events, headers, kind, take};

fn batch(name: &str, body: &str) -> Vec<NewEvent> {
    events(take(kind(name), headers([("content-type", "application/json")]), body.to_owned()))
}

#[test]
fn each_element_is_an_event_with_its_own_bytes() {
    let items = [
        r#"{ "subscriptionType" : "contact.creation", "eventId":1, "objectId":18446744073709551615 }"#,
        "null",
        r#"{"subscriptionType":"","eventId":2}"#,
        r#"[{"subscriptionType":"deal.deletion"}]"#,
        r#"{"subscriptionType":"deal.associationChange","fromObjectId":5,"toObjectId":6,"occurredAt":1564113600000}"#,
        "\"text\"",
    ];
    let found = batch("hubspot", &format!(" [ {} ]\r\n", items.join(" , ")));
    let payloads: Vec<_> = found.iter().map(|event| event.payload.clone()).collect();
    assert_eq!(payloads, items);
    let of = |index: usize| essence(&found[index]);
    let object = "18446744073709551615";
    let key = format!("--1-{object}----");
    assert_eq!(of(0), ["contact.creation", &key, "", "contact", object, ""]);
    let [kind, key, actor, resource_type, resource_id, time] = of(4);
    assert_eq!(
        [kind, actor, resource_type, resource_id, time],
        ["deal.associationchange", "", "deal", "5", "2019-07-26T04:00:00Z"]
    );
    assert!(key.starts_with("sha256:") && key.ends_with("#4"), "no `eventId`: {key}");
    for index in [1, 2, 3, 5] {
        assert_eq!(found[index].event_type.as_str(), "unparsed", "{index}");
        assert!(found[index].delivery_key.ends_with(&format!("#{index}")), "{index}");
    }
}

#[test]
fn a_hubspot_event_says_which_user_did_it_and_nothing_else_counts_as_one() {
    for (source_id, actor) in [
        ("\"userId:77\"", "77"),
        ("\"userId:\"", ""),
        ("\"77\"", ""),
        ("77", ""),
        ("null", ""),
        ("{\"userId\":1}", ""),
    ] {
        let body = format!(r#"[{{"subscriptionType":"a.b","sourceId":{source_id}}}]"#);
        let [event] = batch("hubspot", &body).try_into().unwrap();
        assert_eq!(event.actor, actor, "{source_id}");
    }
    let body = r#"[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,
        "subscriptionType":"contact.creation","attemptNumber":3,"objectId":123,"changeSource":"CRM","appId":54321}]"#;
    let [event] = batch("hubspot", body).try_into().unwrap();
    let key = "62515-12345-1-123----1564113600000";
    assert_eq!(essence(&event)[1], key, "the attempt does not make it another event");
    for (name, want) in [
        ("portal_id", "62515"),
        ("app_id", "54321"),
        ("change_source", "CRM"),
        ("attempt_number", "3"),
    ] {
        assert_eq!(event.metadata[name], want, "{name}");
    }
}

#[test]
fn a_sendgrid_event_is_about_a_message_to_an_address() {
    let body = r#"[{"event":"bounce","sg_event_id":"e","sg_message_id":"m","email":"a@b.c","timestamp":1752564600,
        "type":"bounce"},{"event":"open","email":null}]"#;
    let [bounce, open] = batch("sendgrid", body).try_into().unwrap();
    assert_eq!(essence(&bounce), ["bounce", "e", "a@b.c", "message", "m", "2025-07-15T07:30:00Z"]);
    let [kind, key, actor, resource_type, resource_id, time] = essence(&open);
    assert_eq!([kind, actor, resource_type, resource_id, time], ["open", "", "", "", ""]);
    assert!(key.ends_with("#1"), "{key}");
}

#[test]
fn one_object_is_a_batch_of_one_and_its_key_has_no_number() {
    for body in [r#"{"event":"open"}"#, r#"[{"event":"open"}]"#] {
        let [event] = batch("sendgrid", body).try_into().unwrap();
        assert_eq!(event.event_type.as_str(), "open", "{body}");
        assert_eq!(event.payload, r#"{"event":"open"}"#, "{body}");
        assert!(!event.delivery_key.contains('#'), "{body}");
    }
}

#[test]
fn a_batch_that_is_none_or_too_large_is_kept_as_it_came() {
    let many = format!("[{}{{}}]", "{},".repeat(10_000));
    for body in ["[]", "", "null", "7", "\"x\"", "[{}", "[{}]x", "[{},]", &many] {
        for name in ["hubspot", "sendgrid"] {
            let [event] = batch(name, body).try_into().unwrap();
            assert_eq!(event.event_type.as_str(), "unparsed", "{name}");
            assert_eq!(event.payload, body, "{name}");
        }
    }
    let largest = format!("[{}{{}}]", "{},".repeat(9_999));
    assert_eq!(batch("sendgrid", &largest).len(), 10_000);
}
