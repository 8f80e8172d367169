//! What the hub logs at DEBUG about one event on its way, and what it never logs.

use std::{collections::BTreeSet, fs};

use hookline_proto::v1::{DeliveryState, NackAction, Outcome, PublishEventRequest};
use serde_json::Value;
use tonic::{Request, metadata::MetadataValue};

use crate::{
    agent::{event_id, everything, retrying_at_once},
    http::{SECRET, Webhook},
    hub::{Hub, Settings},
};

/// Stands in bodies, and must be in no line.
const PAYLOAD: &str = "canary-of-the-payload";
/// What a client sends in the place of a token.
const TOKEN: &str = "canary-of-the-token";

fn webhook(key: &str) -> Webhook {
    let body = format!(r#"{{"action":"opened","title":"{PAYLOAD}"}}"#);
    Webhook::github("issues", key, body)
}

/// Lets an event be acked, one be given up after a nack, and one be refused; then stops, and returns the lines.
async fn lines() -> (Vec<Value>, String, [String; 2]) {
    let variables = [("LEVEL", "debug"), ("FORMAT", "json")];
    let variables =
        variables.map(|(key, value)| (format!("HOOKLINE_LOG__{key}"), value.to_owned()));
    let settings = Settings { variables: variables.into(), ..Default::default() };
    let mut hub = Hub::start_with(settings).await;
    let agent = hub.agent().await;
    let mut request = everything("work");
    request.policy = Some(retrying_at_once());
    let mut stream = agent.subscribe(request).await;

    let acked = hub.take(&webhook("a")).await;
    stream.ack_next(&agent).await;
    let rejected = hub.take(&webhook("b")).await;
    let first = stream.delivery().await;
    agent.nack(&first.lease_id, "not now", NackAction::Retry).await;
    let second = stream.delivery().await;
    assert_eq!(event_id(&second), rejected);
    let given_up = agent.nack(&second.lease_id, "never", NackAction::DeadLetter).await;
    assert_eq!(given_up, Outcome::Applied);
    agent.event_once(&rejected, DeliveryState::Dead).await;
    assert_eq!(hub.post(&webhook("c").signed_with("another secret", 0)).await.status, 401);
    let mut publish = Request::new(PublishEventRequest {
        event_type: "report.finished".to_owned(),
        payload: format!(r#"{{"text":"{PAYLOAD}"}}"#).into(),
        ..Default::default()
    });
    let token = MetadataValue::try_from(format!("Bearer {TOKEN}")).unwrap();
    publish.metadata_mut().insert("authorization", token);
    agent.events.clone().publish_event(publish).await.unwrap();

    hub.terminate();
    assert_eq!(hub.exited().await.code(), Some(0));
    let text = fs::read_to_string(hub.folder().join("log")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    (lines, text, [acked, rejected])
}

#[tokio::test]
async fn lines_about_an_event_say_which_and_none_shows_a_payload_or_a_secret() {
    let (lines, text, [acked, rejected]) = lines().await;
    for secret in [PAYLOAD, TOKEN, SECRET, "sha256="] {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} in {line:?}");
    }
    for line in &lines {
        if !line["event_id"].is_null() {
            assert!(
                line["source"].is_string()
                    && line["sequence"].is_number() | line["sequence"].is_string(),
                "{line}"
            );
        }
        if line["message"] == "deliver" || line["message"] == "settle" {
            assert!(line["event_id"].is_string() && line["subscription"] == "work", "{line}");
        }
    }
    // An event may be on its way before its webhook is answered.
    let of = |id: &str| -> BTreeSet<&str> {
        let about = lines.iter().filter(|line| line["event_id"] == id);
        about.map(|line| line["message"].as_str().unwrap()).collect()
    };
    assert_eq!(of(&acked), BTreeSet::from(["webhook taken", "deliver", "settle"]));
    let all = BTreeSet::from(["webhook taken", "deliver", "settle", "dead letter"]);
    assert_eq!(of(&rejected), all);
    let refused = lines.iter().find(|line| line["message"] == "webhook refused").unwrap();
    assert_eq!((&refused["source"], &refused["level"]), (&"github".into(), &"WARN".into()));
}
