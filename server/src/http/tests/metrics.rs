//! What `/metrics` says, and to whom.

use axum::{body::Body, http::Request};
use http::HeaderValue;

use super::{
    super::connection::Peer,
    kit::{BODY, Hub},
};

fn request(peer: Peer) -> Request<Body> {
    Request::get("/metrics").extension(peer).body(Body::empty()).unwrap()
}

async fn metrics(hub: &Hub) -> String {
    let answer = hub.send(request(Peer::Local)).await;
    assert_eq!(answer.status, 200);
    answer.body
}

#[tokio::test]
async fn metrics_count_what_came_of_requests_by_source() {
    let hub = Hub::new();
    hub.post(BODY).await;
    hub.post(BODY).await;
    let mut forged = hub.github("/webhooks/github", BODY);
    forged.headers_mut().remove("x-hub-signature-256");
    hub.send(forged).await;
    hub.send(Request::post("/webhooks/gone").body(Body::empty()).unwrap()).await;
    let text = metrics(&hub).await;
    for line in [
        "# TYPE hookline_webhook_events_total counter",
        "hookline_webhook_events_total{source=\"github\",outcome=\"accepted\"} 1",
        "hookline_webhook_events_total{source=\"github\",outcome=\"duplicate\"} 1",
        "hookline_webhook_events_total{source=\"github\",outcome=\"replayed\"} 0",
        "hookline_webhooks_refused_total{source=\"github\",cause=\"signature_missing\"} 1",
        "hookline_webhooks_refused_total{source=\"stripe\",cause=\"signature_missing\"} 0",
        "hookline_webhooks_unknown_source_total 1",
        "hookline_webhook_last_event_timestamp_seconds{source=\"github\"} 1763900000",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
    assert!(!text.contains("_seconds{source=\"stripe\"}"), "no event, no time");
}

#[tokio::test]
async fn metrics_are_not_shown_through_a_proxy() {
    let hub = Hub::new();
    for name in ["forwarded", "via", "x-forwarded-for", "x-real-ip"] {
        let mut request = request(Peer::Local);
        request.headers_mut().insert(name, HeaderValue::from_static("203.0.113.7"));
        hub.send(request).await.assert_error(404);
    }
}

#[tokio::test]
async fn metrics_are_for_this_machine_alone() {
    let hub = Hub::new();
    hub.send(request(Peer::Remote)).await.assert_error(404);
    for (address, peer) in [
        ("127.0.0.1", Peer::Local),
        ("::1", Peer::Local),
        ("::ffff:127.0.0.1", Peer::Local),
        ("192.0.2.1", Peer::Remote),
        ("::ffff:192.0.2.1", Peer::Remote),
    ] {
        assert_eq!(Peer::at(Some(address.parse().unwrap())), peer, "{address}");
    }
    assert_eq!(Peer::at(None), Peer::Remote);
}
