//! What providers ask for before they post events, as each of them does it, and what they want to hear after an event.

use std::time::Duration;

use axum::{body::Body, http::Request};
use bytes::Bytes;
use hookline_core::{
    event::SourceName,
    source::{Kind, LiveSecret, Secret, Settings, Source},
    verify::{self, Draft},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::kit::{Answer, Hub};
use crate::{http::Outcome, store::memory::MemoryStore};

/// The public key of the first test vector of RFC 8032, and the seed that it belongs to.
const DISCORD: [&str; 2] = [
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
];
const SECRET: &str = "zoom_secret_token";

fn source(kind: &str, settings: Settings) -> Source {
    let secret = if kind == "discord" { DISCORD[0] } else { SECRET };
    let secrets = vec![LiveSecret::from(Secret::new(secret).unwrap())];
    let name = SourceName::parse(kind).unwrap();
    Source::new(name, Kind::parse(kind).unwrap(), secrets, settings).unwrap()
}

fn hub() -> Hub {
    let verify_token = Some(Secret::new("verify-me").unwrap());
    Hub::with(vec![
        source("slack", Settings::default()),
        source("zoom", Settings::default()),
        source("discord", Settings::default()),
        source("whatsapp", Settings { verify_token, ..Settings::default() }),
        source("microsoft-graph", Settings::default()),
        source("cloudevents", Settings::default()),
    ])
}

/// A post of this body, signed as its kind does.
fn signed(hub: &Hub, kind: &str, media_type: &'static str, body: &str) -> Request<Body> {
    let secret = Secret::new(if kind == "discord" { DISCORD[1] } else { SECRET }).unwrap();
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let draft = Draft { url: "", headers: &HeaderMap::new(), body: &bytes };
    let schemes = Kind::parse(kind).unwrap().provider().schemes;
    let signed = verify::sign(schemes, &secret, draft, hub.front.clock.wall()).unwrap();
    let mut request = Request::post(format!("/webhooks/{kind}")).body(Body::from(bytes)).unwrap();
    request.headers_mut().extend(signed);
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    request
}

async fn sent(hub: &Hub, method: Method, target: &str, pairs: &[(&'static str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
    for (name, value) in pairs {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    hub.send(request).await
}

/// The same request with one character of its signature changed.
fn forged(mut request: Request<Body>, header: &'static str) -> Request<Body> {
    let text = request.headers()[header].to_str().unwrap();
    let (rest, last) = text.split_at(text.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    let value = HeaderValue::from_str(&format!("{rest}{other}")).unwrap();
    request.headers_mut().insert(header, value);
    request
}

fn handshakes(hub: &Hub, kind: &str) -> u64 {
    hub.front.counts.taken(&SourceName::parse(kind).unwrap(), Outcome::Handshake)
}

#[tokio::test]
async fn slack_gets_its_challenge_back_if_it_is_signed() {
    let hub = hub();
    let body = r#"{"token":"t","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
    let request = || signed(&hub, "slack", "application/json", body);
    let answer = hub.send(request()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P");
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    hub.send(forged(request(), "x-slack-signature")).await.assert_error(401);
    assert_eq!((handshakes(&hub, "slack"), hub.event_types()), (1, Vec::new()));
}

#[tokio::test]
async fn slack_checks_tls_unsigned_and_gets_an_empty_answer() {
    let hub = hub();
    let form = "application/x-www-form-urlencoded";
    let check = |body: &'static str| {
        Request::post("/webhooks/slack")
            .header("content-type", form)
            .body(Body::from(body))
            .unwrap()
    };
    let answer = hub.send(check("ssl_check=1&token=x&command=%2Frun")).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""));
    for body in ["ssl_check=0", "command=%2Frun", "payload=%7B%22ssl_check%22%3A1%7D"] {
        hub.send(check(body)).await.assert_error(401);
    }
    assert_eq!(hub.event_types(), Vec::<String>::new());
}

#[tokio::test]
async fn slack_shows_nothing_to_who_pressed_a_button_or_ran_a_command() {
    let hub = hub();
    let form = "application/x-www-form-urlencoded";
    let button = "payload=%7B%22type%22%3A%22block_actions%22%2C%22trigger_id%22%3A%221%22%7D";
    for body in ["command=%2Fdeploy&trigger_id=2&user_id=U1", button] {
        let answer = hub.send(signed(&hub, "slack", form, body)).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""));
    }
    assert_eq!(hub.event_types(), ["slash_command.deploy", "block_actions"]);
}

#[tokio::test]
async fn zoom_gets_proof_of_the_secret_if_it_is_signed() {
    let hub = hub();
    let body = r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680,"event":"endpoint.url_validation"}"#;
    let answer = hub.send(signed(&hub, "zoom", "application/json", body)).await;
    assert_eq!(answer.status, 200);
    let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        told,
        serde_json::json!({
            "plainToken": "qgg8vlvZRS6UYooatFL8Aw",
            "encryptedToken": "bd48235863f4a6323ccc4963c594908b7c97f88b4a6a95278f4f093690b12726",
        })
    );
    let request = signed(&hub, "zoom", "application/json", body);
    hub.send(forged(request, "x-zm-signature")).await.assert_error(401);
    assert_eq!(hub.event_types(), Vec::<String>::new());
}

#[tokio::test]
async fn discord_gets_a_pong_and_sees_that_bad_signatures_are_refused() {
    let hub = hub();
    let json = "application/json";
    let answer = hub.send(signed(&hub, "discord", json, r#"{"type":1}"#)).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, r#"{"type":1}"#));
    assert_eq!(answer.headers["content-type"], "application/json");
    let request = signed(&hub, "discord", json, r#"{"type":1}"#);
    hub.send(forged(request, "x-signature-ed25519")).await.assert_error(401);

    let ping = r#"{"version":1,"application_id":"1","type":0}"#;
    let answer = hub.send(signed(&hub, "discord", json, ping)).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!((handshakes(&hub, "discord"), hub.event_types()), (2, Vec::new()));
}

#[tokio::test]
async fn discord_is_told_that_an_answer_follows() {
    let hub = hub();
    for (body, status, told) in [
        (r#"{"id":"1","type":2,"data":{"name":"deploy"}}"#, 200, r#"{"type":5}"#),
        (r#"{"id":"2","type":3,"data":{"custom_id":"ok"}}"#, 200, r#"{"type":6}"#),
        (r#"{"id":"3","type":4,"data":{"name":"d"}}"#, 200, r#"{"type":8,"data":{"choices":[]}}"#),
        (r#"{"type":1,"event":{"type":"APPLICATION_AUTHORIZED","data":{}}}"#, 204, ""),
    ] {
        let answer = hub.send(signed(&hub, "discord", "application/json", body)).await;
        assert_eq!((i32::from(answer.status.as_u16()), answer.body.as_str()), (status, told));
    }
    assert_eq!(hub.event_types().len(), 4);
}

#[tokio::test]
async fn trap_37_a_probe_is_answered_where_the_kind_has_one() {
    let hub = hub();
    let meta = "/webhooks/whatsapp?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=";
    let answer = sent(&hub, Method::GET, &format!("{meta}verify-me"), &[]).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "1158201444"));
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    for target in [&format!("{meta}verify-mf"), meta, "/webhooks/whatsapp?hub.mode=subscribe"] {
        let answer = sent(&hub, Method::GET, target, &[]).await;
        answer.assert_error(401);
        assert_eq!(answer.body, r#"{"error":"unauthorized"}"#);
    }
    let answer = sent(&hub, Method::GET, "/webhooks/whatsapp", &[]).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["allow"]), (405, &"POST".parse().unwrap()));

    let graph = "/webhooks/microsoft-graph?validationToken=Validation%3A+Testing%3Cb%3E";
    let answer = sent(&hub, Method::POST, graph, &[]).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "Validation: Testing<b>"));
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");

    let origin = ("webhook-request-origin", "eventgrid.example.com");
    let asked = [origin, ("webhook-request-rate", "120")];
    let answer = sent(&hub, Method::OPTIONS, "/webhooks/cloudevents", &asked).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["webhook-allowed-origin"], "eventgrid.example.com");
    assert_eq!(answer.headers["webhook-allowed-rate"], "*");
    let answer = sent(&hub, Method::OPTIONS, "/webhooks/cloudevents", &[]).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.headers["allow"], "POST");
    let answer = sent(&hub, Method::PUT, "/webhooks/cloudevents", &[]).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.headers["allow"], "POST, OPTIONS");
    for kind in ["slack", "zoom", "discord"] {
        let answer = sent(&hub, Method::GET, &format!("/webhooks/{kind}"), &[]).await;
        assert_eq!(answer.status, 405, "{kind}");
    }
    assert_eq!(hub.event_types(), Vec::<String>::new());
}

#[tokio::test]
async fn trap_15_a_captured_webhook_is_a_replay() {
    let window = Some(Duration::from_secs(600));
    let settings = Settings { replay_window: window, ..Settings::default() };
    let (mut state, _, clock) = super::kit::state();
    let name = SourceName::parse("github").unwrap();
    let secrets = vec![LiveSecret::from(Secret::new(super::kit::SECRET).unwrap())];
    let source = Source::new(name.clone(), Kind::GITHUB, secrets, settings).unwrap();
    state.sources = crate::http::Directory::new([source]);
    state.log = MemoryStore::new();
    let front = std::sync::Arc::new(crate::http::Front::new(state));
    let hub = Hub { front, log: super::kit::state().1, clock };
    let post = async |id: &'static str| {
        let mut request = hub.github("/webhooks/github", super::kit::BODY);
        request.headers_mut().insert("x-github-delivery", HeaderValue::from_static(id));
        let answer = hub.send(request).await;
        assert_eq!(answer.status, 200);
        serde_json::from_str::<serde_json::Value>(&answer.body).unwrap()
    };
    let first = post("a").await;
    let replay = post("b").await;
    assert_eq!((&first["status"], &replay["status"]), (&"accepted".into(), &"duplicate".into()));
    assert_eq!(replay["event_id"], first["event_id"]);
    assert_eq!(post("a").await["event_id"], first["event_id"]);
    hub.clock.advance(Duration::from_secs(601));
    assert_eq!(post("c").await["status"], "accepted");
    let taken = |outcome| hub.front.counts.taken(&name, outcome);
    let all = [Outcome::Accepted, Outcome::Duplicate, Outcome::Replayed].map(taken);
    assert_eq!(all, [2, 1, 1], "replays are counted apart");
}
