//! Properties of the way in: whatever is posted becomes an event, and nothing of it is lost.

use bytes::Bytes;
use hookline_core::{
    event::SourceName,
    normalize::{DELIVERY_KEY_BYTES_MAX, Received, TEXT_BYTES_MAX},
    source::{Kind, Settings, Source},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value};

use crate::ingest_support::{SECRET, ingest, post, received_at, signature, source};

const KEYS: [&str; 22] = [
    "action",
    "sender",
    "login",
    "id",
    "type",
    "repository",
    "full_name",
    "name",
    "owner",
    "issue",
    "number",
    "pull_request",
    "updated_at",
    "installation",
    "organization",
    "ref",
    "created",
    "data",
    "object",
    "customer",
    "request",
    "release",
];

const HEADERS: [&str; 6] = [
    "content-type",
    "x-github-event",
    "x-github-delivery",
    "traceparent",
    "x-github-hook-id",
    "authorization",
];

fn any_json() -> impl Strategy<Value = Value> {
    any_json_of(&KEYS)
}

fn any_json_of(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        select(&["2019-05-15T15:20:18Z", "1557933565", "opened", "customer", "refs/heads/x"][..])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let member = (select(keys), inner.clone());
        let object = vec(member, 0..6).prop_map(|members| {
            let members = members.into_iter().map(|(key, value)| (key.to_owned(), value));
            Value::Object(members.collect::<Map<_, _>>())
        });
        prop_oneof![3 => object, 1 => vec(inner, 0..3).prop_map(Value::Array)]
    })
}

fn any_headers() -> impl Strategy<Value = HeaderMap> {
    let text = prop_oneof![
        vec(any::<u8>(), 0..20),
        select(&["issues", "push", "release", "application/json", "create"][..])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    vec((select(&HEADERS[..]), text), 0..8).prop_map(|pairs| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        headers
    })
}

fn any_kind() -> impl Strategy<Value = Kind> {
    select(&[Kind::GITHUB, Kind::STRIPE][..])
}

proptest! {
    #[test]
    fn any_bytes_become_an_event(
        kind in any_kind(),
        headers in any_headers(),
        body in vec(any::<u8>(), 0..200),
    ) {
        let event = ingest(kind, headers, body.clone());
        prop_assert_eq!(event.payload, body);
        prop_assert!(!event.delivery_key.is_empty());
    }

    #[test]
    fn any_json_becomes_an_event_with_its_own_bytes(
        kind in any_kind(),
        mut headers in any_headers(),
        event_name in option::of(select(&["issues", "push", "create", "release", "x"][..])),
        value in any_json(),
        cut in 0_usize..400,
    ) {
        if let Some(name) = event_name {
            headers.insert("x-github-event", HeaderValue::from_static(name));
        }
        let mut body = value.to_string().into_bytes();
        let event = ingest(kind, headers.clone(), body.clone());
        prop_assert_eq!(&event.payload, &body);
        let texts = [&event.actor, &event.resource_type, &event.resource_id];
        prop_assert!(texts.iter().all(|text| text.len() <= TEXT_BYTES_MAX));
        prop_assert!(event.delivery_key.len() <= DELIVERY_KEY_BYTES_MAX);
        prop_assert!(!event.metadata.contains_key("authorization"));

        body.truncate(cut);
        prop_assert_eq!(ingest(kind, headers, body.clone()).payload, body);
    }

    #[test]
    fn every_kind_keeps_every_body(
        value in any_json_of(&["event", "data", "item", "source", "author", "user", "member", "actor",
            "detail", "ticket", "type", "id", "timestamp", "created_at", "subject", "installation"]),
        is_form in any::<bool>(),
        cut in option::of(0_usize..200),
    ) {
        let mut body = value.to_string().into_bytes();
        body.truncate(cut.unwrap_or(body.len()));
        let body = Bytes::from(body);
        let media_type =
            if is_form { "application/x-www-form-urlencoded" } else { "application/json" };
        for kind in Kind::all().filter(|kind| *kind != Kind::CUSTOM) {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static(media_type));
            if let Some(name) = kind.provider().event_header {
                headers.insert(name, HeaderValue::from_static("issues"));
            }
            let name = SourceName::parse(kind.as_str()).unwrap();
            let source = Source::unsigned(name, kind, Settings::default()).unwrap();
            let Received::Events { events, .. } =
                post(&source, &headers, &body, received_at()).unwrap() else { continue };
            prop_assert!(!events.is_empty(), "{}", kind);
            for event in events {
                let is_unread = event.event_type.as_str() == "unparsed" && event.payload == body;
                let is_json = serde_json::from_slice::<Value>(&event.payload).is_ok();
                prop_assert!(is_unread || is_json, "{}: {:?}", kind, event);
                prop_assert!(!event.delivery_key.is_empty(), "{}", kind);
            }
        }
    }

    #[test]
    fn the_json_of_a_form_is_its_own_bytes(value in any_json(), kind in any_kind()) {
        let json = value.to_string();
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", &json).finish();
        let mut headers = HeaderMap::new();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert("content-type", form_type);
        headers.insert("x-github-event", HeaderValue::from_static("issues"));
        let event = ingest(kind, headers, form.clone());
        let is_read = event.event_type.as_str() != "unparsed";
        prop_assert_eq!(&event.payload, if is_read { &json } else { &form });
        prop_assert_eq!(is_read, kind == Kind::GITHUB && value.is_object() || is_stripe(kind, &value));
    }

    #[test]
    fn no_header_makes_the_verifier_panic_or_pass(
        kind in any_kind(),
        values in vec(prop_oneof![
            vec(any::<u8>(), 0..80),
            "(t=[0-9]{0,20}|v1=[0-9a-f]{0,66}|sha256=[0-9a-f]{0,66}|,|=){0,4}"
                .prop_map(String::into_bytes),
        ], 0..3),
        body in vec(any::<u8>(), 0..50),
    ) {
        let mut headers = HeaderMap::new();
        for value in values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok()) {
            headers.append("x-hub-signature-256", value.clone());
            headers.append("stripe-signature", value);
        }
        let (source, body) = (source(kind, &[SECRET]), Bytes::from(body));
        prop_assert!(post(&source, &headers, &body, received_at()).is_err());
    }
}

fn is_stripe(kind: Kind, value: &Value) -> bool {
    kind == Kind::STRIPE && value["type"].as_str().is_some_and(|text| !text.is_empty())
}

#[test]
fn the_same_request_makes_the_same_event() {
    let (source, body) = (source(Kind::GITHUB, &[SECRET]), Bytes::from_static(b"{\"a\":1}"));
    let headers = signature(&source, &HeaderMap::new(), &body);
    let made = || post(&source, &headers, &body, received_at()).unwrap();
    assert_eq!(made(), made());
}
