//! What is answered to one request.

use axum::{body::Body, http::Request};
use bytes::Bytes;
use hookline_core::source::Kind;
use http::{HeaderValue, Method, header};

use super::{
    super::*,
    kit::{Answer, BODY, Hub, never_read},
};
use crate::store::AppendError;

#[tokio::test]
async fn a_signed_webhook_is_in_the_log_and_answered_with_its_id() {
    let hub = Hub::new();
    let answer = hub.post(BODY).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["status"], "accepted");
    let id = answer.json()["event_id"].as_str().unwrap().to_owned();
    assert!(hookline_core::event::EventId::parse(&id).is_some());
    let events = hub.log.events.lock();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].source.as_str(), "github");
    assert_eq!(events[0].event_type.as_str(), "issues.opened");
    assert_eq!(events[0].delivery_key, "d-1");
    assert_eq!(events[0].payload, BODY);
}

#[tokio::test]
async fn a_trailing_slash_makes_no_difference() {
    let hub = Hub::new();
    let answer = hub.send(hub.github("/webhooks/github/", BODY)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(hub.event_types(), ["issues.opened"]);
}

#[tokio::test]
async fn a_duplicate_is_answered_with_the_first_ones_id() {
    let hub = Hub::new();
    let first = hub.post(BODY).await.json();
    let second = hub.post(BODY).await;
    assert_eq!(second.status, 200);
    assert_eq!(second.json()["status"], "duplicate");
    assert_eq!(second.json()["event_id"], first["event_id"]);
    assert_eq!(hub.log.events.lock().len(), 1);
}

#[tokio::test]
async fn of_two_copies_at_once_one_is_kept_and_both_are_answered_with_its_id() {
    let hub = Hub::new();
    hub.log.open.send_replace(false);
    let open = async {
        hub.log.begun.subscribe().wait_for(|begun| *begun == 2).await.unwrap();
        hub.log.open.send_replace(true);
    };
    let (first, second, ()) = tokio::join!(hub.post(BODY), hub.post(BODY), open);
    let (first, second) = (first.json(), second.json());
    assert_eq!(first["event_id"], second["event_id"]);
    let mut statuses = [first["status"].as_str().unwrap(), second["status"].as_str().unwrap()];
    statuses.sort_unstable();
    assert_eq!(statuses, ["accepted", "duplicate"]);
    assert_eq!(hub.log.events.lock().len(), 1);
}

#[tokio::test]
async fn a_stripe_webhook_is_taken_within_the_tolerance_of_its_time() {
    let hub = Hub::new();
    let body = r#"{"id":"evt_1","object":"event","type":"invoice.paid","created":1763900000}"#;
    let mut request = Request::post("/webhooks/stripe").body(Body::from(body)).unwrap();
    *request.headers_mut() = hub.headers(Kind::STRIPE, body.as_bytes());
    assert_eq!(hub.send(request).await.status, 200);
    assert_eq!(hub.event_types(), ["invoice.paid"]);
}

#[tokio::test]
async fn every_bad_signature_gets_the_same_answer_and_is_counted_by_its_cause() {
    let hub = Hub::new();
    let signature = "x-hub-signature-256";
    let changed = |value: Option<&str>| {
        let mut request = hub.github("/webhooks/github", BODY);
        request.headers_mut().remove(signature);
        if let Some(value) = value {
            request.headers_mut().insert(signature, value.parse().unwrap());
        }
        request
    };
    let mut twice = hub.github("/webhooks/github", BODY);
    twice.headers_mut().append(signature, HeaderValue::from_static("sha256=00"));
    let wrong = format!("sha256={}", "0".repeat(64));

    let mut answers = Vec::new();
    for (request, cause) in [
        (changed(None), Cause::SignatureMissing),
        (changed(Some("sha256=beef")), Cause::SignatureMalformed),
        (changed(Some(&wrong)), Cause::SignatureWrong),
        (twice, Cause::SignatureAmbiguous),
    ] {
        let answer = hub.send(request).await;
        assert_eq!(hub.refused(cause), 1, "{cause:?}");
        answers.push(answer);
    }

    let mut stale = Request::post("/webhooks/stripe").body(Body::from(BODY)).unwrap();
    *stale.headers_mut() = hub.headers(Kind::STRIPE, BODY.as_bytes());
    hub.clock.advance(std::time::Duration::from_secs(301));
    answers.push(hub.send(stale).await);
    let stripe = hookline_core::event::SourceName::parse("stripe").unwrap();
    assert_eq!(hub.front.counts.refused(&stripe, Cause::SignatureStale), 1);

    for answer in answers {
        answer.assert_error(401);
        assert_eq!(answer.body, r#"{"error":"unauthorized"}"#);
    }
    assert_eq!(hub.event_types(), Vec::<String>::new());
}

#[tokio::test]
async fn an_unknown_source_is_not_found_before_anything_else_is_looked_at() {
    let hub = Hub::new();
    let long = format!("/webhooks/{}", "x".repeat(10_000));
    for path in ["/webhooks/gitlab", "/webhooks/GitHub/", "/webhooks/%ff", "/webhooks/a%2Fb", &long]
    {
        for method in [Method::POST, Method::GET] {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(header::CONTENT_LENGTH, "999999999")
                .body(never_read())
                .unwrap();
            let answer = hub.send(request).await;
            answer.assert_error(404);
        }
    }
    assert_eq!(hub.front.counts.unknown_source_count(), 10);
    for path in ["/", "/webhooks", "/webhooks/", "/webhooks/github/x"] {
        let request = Request::post(path).body(never_read()).unwrap();
        hub.send(request).await.assert_error(404);
    }
}

#[tokio::test]
async fn another_method_is_told_that_only_posts_are_taken() {
    let hub = Hub::new();
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let mut request = hub.github("/webhooks/github", BODY);
        *request.method_mut() = method.clone();
        let answer = hub.send(request).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.headers["allow"], "POST");
    }
    assert_eq!(hub.event_types(), Vec::<String>::new());
}

#[tokio::test]
async fn no_media_type_is_refused_and_none_is_needed() {
    let hub = Hub::new();
    for media_type in [None, Some("text/plain"), Some("application/json; charset=utf-8"), Some("?")]
    {
        let mut request = hub.github("/webhooks/github", BODY);
        request.headers_mut().remove(header::CONTENT_TYPE);
        if let Some(media_type) = media_type {
            request.headers_mut().insert(header::CONTENT_TYPE, media_type.parse().unwrap());
        }
        assert_eq!(hub.send(request).await.status, 200, "{media_type:?}");
    }
    assert_eq!(hub.event_types(), ["issues.opened"]);
}

#[tokio::test]
async fn a_verified_body_that_can_not_be_read_is_kept_as_it_came() {
    for body in [&b"{\"action\":\"ope"[..], b"{\"action\":\"\xff\xfe\"}", b"", b"\x00\x01"] {
        let hub = Hub::new();
        let answer = hub.post(Bytes::from_static(body)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["status"], "accepted");
        assert_eq!(hub.event_types(), ["unparsed"]);
        assert_eq!(hub.log.events.lock()[0].payload, body);
    }
}

#[tokio::test]
async fn headers_that_are_not_text_are_no_danger() {
    let hub = Hub::new();
    let bytes = HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    for name in ["x-github-event", "x-github-delivery", "content-type", "traceparent", "x-other"] {
        let mut request = hub.github("/webhooks/github", format!("{{\"header\":\"{name}\"}}"));
        request.headers_mut().insert(name, bytes.clone());
        assert_eq!(hub.send(request).await.status, 200, "{name}");
    }
    let mut request = hub.github("/webhooks/github", BODY);
    request.headers_mut().insert("x-hub-signature-256", bytes.clone());
    hub.send(request).await.assert_error(401);
}

#[tokio::test]
async fn an_incoming_trace_is_kept_with_the_event() {
    let hub = Hub::new();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut request = hub.github("/webhooks/github", BODY);
    request.headers_mut().insert("traceparent", HeaderValue::from_static(trace));
    assert_eq!(hub.send(request).await.status, 200);
    assert_eq!(hub.log.events.lock()[0].metadata["traceparent"], trace);
}

#[tokio::test]
async fn a_log_that_takes_nothing_means_try_again() {
    for error in [AppendError::Unavailable("gone".into()), AppendError::Full, AppendError::Closed] {
        let hub = Hub::new();
        *hub.log.broken.lock() = Some(error);
        let answer = hub.post(BODY).await;
        answer.assert_retry(503);
        assert!(!answer.body.contains("gone"));
        assert_eq!(hub.refused(Cause::Store), 1);

        *hub.log.broken.lock() = None;
        assert_eq!(hub.post(BODY).await.json()["status"], "accepted");
    }
}

#[tokio::test]
async fn a_large_body_is_verified_and_kept() {
    let hub = Hub::new();
    let body = format!("{{\"action\":\"opened\",\"text\":\"{}\"}}", "x".repeat(24 << 20));
    assert_eq!(hub.post(body.clone()).await.status, 200);
    assert_eq!(hub.event_types(), ["issues.opened"]);
    assert!(hub.log.events.lock()[0].payload == body);
    let mut forged = hub.github("/webhooks/github", body);
    forged.headers_mut().remove("x-hub-signature-256");
    hub.send(forged).await.assert_error(401);
}

#[tokio::test]
async fn it_is_healthy_from_the_start_and_ready_when_told() {
    let hub = Hub::new();
    let get = async |path: &str| -> Answer {
        hub.send(Request::get(path).body(Body::empty()).unwrap()).await
    };
    assert_eq!(get("/healthz").await.status, 200);
    get("/readyz").await.assert_error(503);
    hub.front.readiness.set_ready();
    assert_eq!(get("/readyz").await.status, 200);
    hub.front.draining.cancel();
    get("/readyz").await.assert_error(503);
    assert_eq!(get("/healthz").await.status, 200);

    let post = hub.send(Request::post("/healthz").body(Body::empty()).unwrap()).await;
    post.assert_error(405);
    assert!(post.headers["allow"].contains("GET"));
}
