//! Microsoft Graph: notifications that each bring the secret, and the validation of an address.

use bytes::Bytes;
use hookline_core::{
    event::NewEvent,
    normalize::Received,
    source::{Kind, Source},
    verify::VerifyError,
};
use http::{HeaderMap, Method, StatusCode};

use crate::ingest_support::{answer, ask, events, facts, post, read, received_at, source};

const RIGHT: &str = r##"{"id":"n1","subscriptionId":"s","clientState":"state","changeType":"created","resource":"Users/1/Messages/2","tenantId":"t","resourceData":{"@odata.type":"#Microsoft.Graph.Message","id":"AAMk="}}"##;

fn graph() -> Source {
    source(Kind::parse("microsoft-graph").unwrap(), &["state", "old state"])
}

fn send(body: &str) -> Result<Received, VerifyError> {
    post(&graph(), &HeaderMap::new(), &Bytes::copy_from_slice(body.as_bytes()), received_at())
}

fn found(body: &str) -> Vec<NewEvent> {
    events(send(body).unwrap())
}

#[test]
fn each_notification_is_an_event_with_its_own_bytes() {
    let lifecycle = r#"{ "clientState":"old state","lifecycleEvent":"missed","changeType":"x"}"#;
    let events = found(&format!(r#"{{"value":[ {RIGHT} ,{lifecycle}]}}"#));
    assert_eq!(facts(&events[0]), ["created", "n1", "", "message", "AAMk=", ""]);
    assert_eq!(events[0].metadata["resource"], "Users/1/Messages/2");
    let [event_type, key, rest @ ..] = facts(&events[1]);
    assert_eq!((event_type.as_str(), rest), ("lifecycle.missed", Default::default()));
    assert_eq!(key, "", "nothing tells it from another of its kind");
    assert_eq!(events[0].payload, RIGHT);
    assert_eq!(events[1].payload, lifecycle);
}

#[test]
fn a_notification_without_an_id_is_told_by_the_state_of_its_resource() {
    let key = |rest: &str| {
        let body = format!(
            r#"{{"value":[{{"clientState":"state","subscriptionId":"s","changeType":"updated","resource":"users/1"{rest}}}]}}"#
        );
        found(&body)[0].delivery_key.clone()
    };
    assert_eq!(key(r#","resourceData":{"@odata.etag":"W/\"7\""}"#), "s:users/1:updated:W/\"7\"");
    assert_eq!(
        key(r#","resourceData":{"id":"1"}"#),
        "",
        "a drive says no more than that it changed"
    );
}

#[test]
fn a_resource_is_named_by_its_type_or_its_path() {
    for (data, want) in [
        (r##"{"@odata.type":"#microsoft.graph.driveItem","id":"1"}"##, ["driveitem", "1"]),
        (r#"{"@odata.type":"","id":"1"}"#, ["resource", "1"]),
        ("null", ["resource", "me/drive/root"]),
    ] {
        let item = format!(
            r#"{{"changeType":"updated","resource":"me/drive/root","resourceData":{data}}}"#
        );
        let body = format!(r#"{{"value":[{item}]}}"#);
        let events = read("microsoft-graph", &HeaderMap::new(), &body);
        assert_eq!([&events[0].resource_type, &events[0].resource_id], want, "{data}");
    }
}

#[test]
fn one_wrong_state_among_right_ones_refuses_all() {
    for (other, want) in [
        (r#"{"clientState":"state","changeType":"deleted"}"#, "verified"),
        (r#"{"clientState":"Xtate"}"#, "wrong"),
        (r#"{"clientState":"state "}"#, "wrong"),
        (r#"{"clientState":null}"#, "missing"),
        (r#"{"clientState":["state"]}"#, "missing"),
        ("{}", "missing"),
        ("7", "missing"),
    ] {
        for body in [
            format!(r#"{{"value":[{RIGHT},{other}]}}"#),
            format!(r#"{{"value":[{other},{RIGHT}]}}"#),
        ] {
            let verdict = send(&body).map_or_else(|error| error.cause(), |_| "verified");
            assert_eq!(verdict, want, "{body}");
        }
    }
    for body in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"value":[]}"#,
        r#"{"value":null}"#,
        r#"{"clientState":"state"}"#,
    ] {
        assert_eq!(send(body).unwrap_err().cause(), "missing", "{body}");
    }
}

#[test]
fn a_validation_token_comes_back_decoded_and_as_text() {
    let ask = |method, target: &str| ask(&graph(), (method, target), &HeaderMap::new(), "");
    let target = "/webhooks/graph?a=b&validationToken=Validation%3A+Testing%20%3Cb%3E";
    let answer = answer(ask(&Method::POST, target).unwrap());
    assert_eq!(
        (answer.status, &answer.body[..]),
        (StatusCode::OK, &b"Validation: Testing <b>"[..])
    );
    let headers: Vec<_> =
        answer.headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
    assert_eq!(headers[0], ("content-type", &"text/plain; charset=utf-8".parse().unwrap()));
    assert_eq!(headers[1], ("x-content-type-options", &"nosniff".parse().unwrap()));
    let long = format!("/?validationToken={}", "a".repeat(4_097));
    for target in ["/?validationToken=", long.as_str()] {
        assert_eq!(ask(&Method::POST, target).unwrap_err().cause(), "malformed", "{target}");
    }
}
