//! Whatever a body holds, it becomes events, and nothing of it is lost: for the providers that take bodies apart.

use hookline_core::{event::EventType, normalize::TEXT_BYTES_MAX};
use http::HeaderMap;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Value};

use crate::ingest_support::{headers, read};

const KINDS: [&str; 18] = [
    "anthropic",
    "brex",
    "calendly",
    "clerk",
    "cloudevents",
    "microsoft-graph",
    "notion",
    "openai",
    "paddle",
    "recall-ai",
    "replicate",
    "resend",
    "square",
    "standard-webhooks",
    "telegram",
    "typeform",
    "whatsapp",
    "zoom",
];

const KEYS: [&str; 26] = [
    "id",
    "type",
    "event",
    "event_type",
    "status",
    "data",
    "object",
    "payload",
    "entry",
    "changes",
    "value",
    "messages",
    "statuses",
    "messaging",
    "contacts",
    "metadata",
    "field",
    "update_id",
    "message",
    "chat",
    "from",
    "source",
    "specversion",
    "clientState",
    "authors",
    "entity",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        select(&["2019-05-15T15:20:18Z", "messages", "a.b", "comment.x"][..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let object = vec((select(&KEYS[..]), inner.clone()), 0..6).prop_map(|members| {
            let members = members.into_iter().map(|(key, value)| (key.to_owned(), value));
            Value::Object(members.collect::<Map<_, _>>())
        });
        prop_oneof![2 => object, 1 => vec(inner, 0..4).prop_map(Value::Array)]
    })
}

fn check(kind: &str, headers: &HeaderMap, body: &str) {
    // An empty batch of CloudEvents is answered: there is nothing to keep.
    let is_batch = headers.contains_key("content-type");
    if is_batch && matches!(serde_json::from_str(body), Ok(Value::Array(items)) if items.is_empty())
    {
        return;
    }
    let events = read(kind, headers, body);
    assert!(!events.is_empty());
    for event in &events {
        assert!(body.contains(str::from_utf8(&event.payload).unwrap()), "{kind}: {body}");
        assert!(!event.event_type.as_str().is_empty());
        // Without an id and an etag, the same body of Graph may be two events.
        assert!(!event.delivery_key.is_empty() || kind == "microsoft-graph", "{kind}: {body}");
        assert!(event.actor.len() <= TEXT_BYTES_MAX && event.resource_id.len() <= TEXT_BYTES_MAX);
        assert!(event.event_type != EventType::unparsed() || event.actor.is_empty());
    }
    let keys: std::collections::BTreeSet<_> = events.iter().map(|it| &it.delivery_key).collect();
    let own_ids = matches!(kind, "whatsapp" | "microsoft-graph" | "cloudevents");
    assert!(keys.len() == events.len() || own_ids, "{kind}: {body}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_body_becomes_events_with_parts_of_it(value in any_json(), cut in 0..200_usize) {
        let body = value.to_string();
        let half: String = body.chars().take(cut).collect();
        for kind in KINDS {
            for body in [&body, &half] {
                check(kind, &HeaderMap::new(), body);
            }
        }
        for media_type in ["application/cloudevents+json", "application/cloudevents-batch+json"] {
            check("cloudevents", &headers([("content-type", media_type)]), &body);
        }
    }
}
