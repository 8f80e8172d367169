//! Posts that are not what they should be: each gets its answer, and the hub goes on.

use bytes::Bytes;
use hookline_proto::v1::{Event, ListEventsRequest};

use crate::{
    agent::Agent,
    http::{SECRET, Webhook},
    hub::wall,
    tried::Tried,
};

impl Tried {
    /// Posts what must be refused, sees that the hub goes on, and returns the body of the answer.
    async fn refuses_post(&mut self, webhook: &Webhook, status: u16) -> Bytes {
        let answer = self.hub.post(webhook).await;
        assert_eq!(answer.status, status, "{answer:?} to {:?}", webhook.headers);
        self.goes_on().await;
        answer.body
    }
}

fn stripe() -> Webhook {
    Webhook::stripe(r#"{"id": "evt_1", "object": "event", "type": "x.y"}"#)
}

#[tokio::test]
async fn wrong_missing_and_stale_signatures_get_401_and_no_reason() {
    let mut tried = Tried::start().await;
    let now = wall().as_secs();
    let github = Webhook::push("a");
    let right = github.headers.last().unwrap().1.clone();
    let other_body = Webhook { body: Bytes::from_static(b"{}"), ..github.clone() };
    let bad = [
        github.clone().signed_with("another secret", now),
        github.clone().without("x-hub-signature-256"),
        github.clone().with("x-hub-signature-256", ""),
        github.clone().with("x-hub-signature-256", "sha256=00"),
        github.clone().with("x-hub-signature-256", right.trim_start_matches("sha256=")),
        other_body,
        stripe().signed_with("another secret", now),
        stripe().without("stripe-signature"),
        stripe().with("stripe-signature", "garbage"),
        stripe().signed_with(SECRET, now - 400),
    ];
    let mut bodies = Vec::new();
    for webhook in &bad {
        bodies.push(tried.refuses_post(webhook, 401).await);
    }
    bodies.dedup();
    assert_eq!(bodies, [r#"{"error":"unauthorized"}"#]);
    // Within its tolerance an older one is fine.
    tried.hub.take(&stripe().signed_with(SECRET, now - 250)).await;
}

#[tokio::test]
async fn an_unknown_source_is_404_and_another_method_405() {
    let mut tried = Tried::start().await;
    for source in ["nobody", "Github", "dead-letter", "agent", "%ff", "a/b", ""] {
        let webhook = Webhook { source: source.to_owned(), ..Webhook::push("a") };
        tried.refuses_post(&webhook, 404).await;
    }
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let webhook = Webhook { method, ..Webhook::push("a") };
        tried.refuses_post(&webhook, 405).await;
    }
    let answer = tried.hub.post(&Webhook { method: "PUT", ..Webhook::push("a") }).await;
    assert_eq!(answer.header("allow"), Some("POST"));
    // With a slash at the end it is the same source.
    tried.hub.take(&Webhook { source: "github/".to_owned(), ..Webhook::push("b") }).await;
}

#[tokio::test]
async fn a_body_above_the_limit_is_413_with_and_without_a_length() {
    let mut tried = Tried::start().await;
    let body = Bytes::from(vec![b'x'; 26 << 20]);
    let webhook = Webhook::github("push", "large", body);
    tried.refuses_post(&webhook, 413).await;

    let mut http = tried.hub.http().await;
    let head = format!("{}transfer-encoding: chunked\r\n\r\n", webhook.head());
    http.send(head.as_bytes()).await.unwrap();
    for chunk in webhook.body.chunks(1 << 20) {
        let mut bytes = format!("{:x}\r\n", chunk.len()).into_bytes();
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        http.send(&bytes).await.unwrap();
    }
    http.send(b"0\r\n\r\n").await.unwrap();
    assert_eq!(http.answer().await.unwrap().status, 413);
    tried.goes_on().await;
    // What is just below the limit is taken, of known length or not.
    let body = format!(r#"{{"text": "{}"}}"#, "x".repeat((25 << 20) - 12));
    assert_eq!(body.len(), 25 << 20);
    tried.hub.take(&Webhook::github("push", "limit", body)).await;
}

async fn newest(agent: &Agent) -> Event {
    let request = ListEventsRequest { newest_first: true, ..Default::default() };
    agent.list(request).await.remove(0)
}

#[tokio::test]
async fn what_is_signed_but_not_readable_is_kept_as_unparsed_with_its_raw_bytes() {
    let mut tried = Tried::start().await;
    let bodies: [&'static [u8]; 6] = [
        br#"{"action": "opened", "sender": {"#,
        b"{\"action\": \"\xff\xfe\"}",
        b"",
        b"not json",
        b"[1, 2",
        b"\x00\x01\x02",
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        let github = Webhook::github("push", &format!("unparsed-{number}"), body);
        let stripe = Webhook::stripe(body);
        for (webhook, source) in [(github, "github"), (stripe, "stripe")] {
            let id = tried.hub.take(&webhook).await;
            let delivery = tried.stream.ack_next(&tried.agent).await;
            let event = delivery.event.unwrap();
            assert_eq!((event.id.as_str(), event.source.as_str()), (id.as_str(), source));
            assert_eq!(event.event_type, "unparsed", "{}", body.escape_ascii());
            assert_eq!(event.payload, body);
            if source == "github" {
                assert_eq!(event.delivery_key, format!("unparsed-{number}"));
            } else {
                assert!(event.delivery_key.starts_with("sha256:"), "{}", event.delivery_key);
            }
            assert_eq!(newest(&tried.agent).await, event);
            // A second copy is a duplicate, as of any event.
            assert_eq!(tried.hub.post(&webhook).await.json()["status"], "duplicate");
        }
        tried.goes_on().await;
    }
}

#[tokio::test]
async fn a_hundred_thousand_bytes_of_headers_are_431() {
    let mut tried = Tried::start().await;
    let one = Webhook::push("a").with("x-padding", &"x".repeat(100_000));
    tried.refuses_post(&one, 431).await;
    let mut many = Webhook::push("a");
    for number in 0..100 {
        many = many.with(&format!("x-padding-{number}"), &"x".repeat(1_000));
    }
    tried.refuses_post(&many, 431).await;
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_harms_nobody_else() {
    let mut tried = Tried::start().await;
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], b"HELLO\r\n\r\n"] {
        let mut http = tried.hub.http().await;
        http.send(bytes).await.unwrap();
        assert_eq!(http.answer().await.unwrap().status, 400);
        tried.goes_on().await;
    }
    // A sender that goes away in the middle of its body.
    let webhook = Webhook::push("a");
    let mut http = tried.hub.http().await;
    let head = format!("{}content-length: 1000000\r\n\r\nhalf of it", webhook.head());
    http.send(head.as_bytes()).await.unwrap();
    drop(http);
    tried.goes_on().await;
    tried.hub.take(&webhook).await;
}
