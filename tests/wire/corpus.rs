//! Real bodies of GitHub and Stripe, posted as their manifest says, against what the providers' docs say of them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use hookline_proto::v1::{Event, ListEventsRequest};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    agent::at,
    http::Webhook,
    hub::{Hub, wall},
    oracle::{self, Expected},
};

#[derive(Deserialize)]
struct Manifest {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
pub(crate) struct Entry {
    pub(crate) provider: String,
    pub(crate) file: String,
    pub(crate) body_format: String,
    pub(crate) headers: BTreeMap<String, String>,
}

/// Returns the folder of real bodies; says so and returns `None` if there is none.
pub(crate) fn payloads() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to read it")]
    let folder = std::env::var("HOOKLINE_PAYLOADS").map_or_else(
        |_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/payloads"),
        PathBuf::from,
    );
    if folder.join("MANIFEST.json").is_file() {
        return Some(folder);
    }
    println!("skipped: no payloads in `{}`; set HOOKLINE_PAYLOADS", folder.display());
    None
}

/// Returns all bodies of the corpus.
pub(crate) fn all_entries(folder: &Path) -> Vec<Entry> {
    let text = fs::read_to_string(folder.join("MANIFEST.json")).unwrap();
    serde_json::from_str::<Manifest>(&text).unwrap().entries
}

fn entries(folder: &Path, provider: &str) -> Vec<Entry> {
    let mut entries = all_entries(folder);
    entries.retain(|entry| entry.provider == provider);
    assert!(entries.len() > 50, "only {} bodies of `{provider}`", entries.len());
    entries
}

/// A body that is ready to be posted, and what is expected of its event.
struct Post {
    file: String,
    webhook: Webhook,
    /// The JSON in the body.
    json: Bytes,
    key: String,
    expected: Expected,
}

fn github(folder: &Path, entry: Entry, number: usize) -> Post {
    let json = Bytes::from(fs::read(folder.join(&entry.file)).unwrap());
    let body = match entry.body_format.as_str() {
        "json" => json.clone(),
        "form-payload" => form(&json),
        format => panic!("no test posts bodies of format `{format}`"),
    };
    let key = format!("00000000-0000-4000-8000-{number:012}");
    let value: Value = serde_json::from_slice(&json).unwrap();
    let expected = oracle::github(&entry.headers["x-github-event"], &value);
    let webhook = Webhook {
        method: "POST",
        source: "github".to_owned(),
        headers: entry.headers.into_iter().collect(),
        body,
    };
    let webhook = webhook.with("x-github-delivery", &key).signed();
    Post { file: entry.file, webhook, json, key, expected }
}

pub(crate) fn form(json: &[u8]) -> Bytes {
    let json = str::from_utf8(json).unwrap();
    let form =
        form_urlencoded::Serializer::new(String::new()).append_pair("payload", json).finish();
    form.into()
}

/// Returns all bodies of GitHub, ready to be posted.
pub(crate) fn github_webhooks(folder: &Path) -> Vec<Webhook> {
    let entries = entries(folder, "github").into_iter().zip(1..);
    entries.map(|(entry, number)| github(folder, entry, number).webhook).collect()
}

/// The body's own id is replaced as text, so that nothing else of the body changes.
fn stripe(folder: &Path, entry: Entry, number: usize) -> Post {
    assert_eq!(entry.body_format, "json");
    let text = fs::read_to_string(folder.join(&entry.file)).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let (old, key) = (format!("\"{}\"", value["id"].as_str().unwrap()), format!("evt_{number}"));
    assert!(text.contains(&old), "{}", entry.file);
    let text = text.replace(&old, &format!("\"{key}\""));
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["id"], key.as_str());
    let json = Bytes::from(text);
    let webhook = Webhook {
        method: "POST",
        source: "stripe".to_owned(),
        headers: entry.headers.into_iter().collect(),
        body: json.clone(),
    };
    Post {
        file: entry.file,
        webhook: webhook.signed(),
        json,
        key,
        expected: oracle::stripe(&value),
    }
}

/// Posts all bodies over one connection, and returns each with its event as the hub lists it.
async fn post_all(hub: &Hub, posts: Vec<Post>) -> Vec<(Post, Event)> {
    let mut http = hub.http().await;
    let mut ids = Vec::new();
    for post in &posts {
        let answer = http.post(&post.webhook).await.unwrap();
        assert_eq!(answer.status, 200, "{}: {answer:?}", post.file);
        assert_eq!(answer.json()["status"], "accepted", "{}", post.file);
        ids.push(answer.json()["event_id"].as_str().unwrap().to_owned());
    }
    let agent = hub.agent().await;
    let events = agent.list(ListEventsRequest::default()).await;
    let listed: Vec<_> = events.iter().map(|event| &event.id).collect();
    assert_eq!(listed, ids.iter().collect::<Vec<_>>());
    for event in &events {
        assert_eq!(agent.event(&event.id).await.event.as_ref(), Some(event));
    }
    posts.into_iter().zip(events).collect()
}

fn check(post: &Post, event: &Event) {
    let (file, started) = (&post.file, wall());
    let expected = &post.expected;
    assert_eq!(event.event_type, expected.event_type, "{file}");
    assert_eq!(event.actor, expected.actor, "{file}");
    let resource = (event.resource_type.clone(), event.resource_id.clone());
    assert_eq!(resource, expected.resource, "{file}");
    assert_eq!(event.delivery_key, post.key, "{file}");
    assert!(event.payload == post.json, "the payload of {file} is as it was posted");
    assert_eq!(event.payload_size, u64::try_from(post.json.len()).unwrap(), "{file}");
    let received = at(event.received_at);
    assert!(received <= started, "{file}");
    let timestamp = event.timestamp.unwrap();
    let micros = i128::from(timestamp.seconds) * 1_000_000 + i128::from(timestamp.nanos / 1_000);
    let expected = expected.micros.unwrap_or_else(|| i128::try_from(received.as_micros()).unwrap());
    assert_eq!(micros, expected, "{file}");
}

#[tokio::test]
async fn every_real_github_body_becomes_the_event_that_the_docs_describe() {
    let Some(folder) = payloads() else { return };
    let entries = entries(&folder, "github").into_iter().zip(1..);
    let posts = entries.map(|(entry, number)| github(&folder, entry, number)).collect();
    let hub = Hub::start().await;
    let mut forms = 0;
    for (post, event) in post_all(&hub, posts).await {
        assert_eq!(event.source, "github", "{}", post.file);
        assert!(!event.resource_id.is_empty(), "{} has a resource", post.file);
        forms += usize::from(post.webhook.body != post.json);
        check(&post, &event);
    }
    println!("{forms} of the bodies are forms");
}

#[tokio::test]
async fn every_real_github_body_may_also_come_as_a_form() {
    let Some(folder) = payloads() else { return };
    let entries = entries(&folder, "github").into_iter().zip(1..);
    let posts = entries.map(|(mut entry, number)| {
        let form_type = "application/x-www-form-urlencoded".to_owned();
        entry.headers.insert("content-type".to_owned(), form_type);
        entry.body_format = "form-payload".to_owned();
        github(&folder, entry, number)
    });
    let hub = Hub::start().await;
    for (post, event) in post_all(&hub, posts.collect()).await {
        assert_eq!(event.metadata["content_type"], "application/x-www-form-urlencoded");
        check(&post, &event);
    }
}

#[tokio::test]
async fn every_real_stripe_body_becomes_the_event_that_the_docs_describe() {
    let Some(folder) = payloads() else { return };
    let entries = entries(&folder, "stripe").into_iter().zip(1..);
    let posts = entries.map(|(entry, number)| stripe(&folder, entry, number)).collect();
    let hub = Hub::start().await;
    for (post, event) in post_all(&hub, posts).await {
        assert_eq!(event.source, "stripe", "{}", post.file);
        assert!(!event.resource_type.is_empty(), "{} has a resource", post.file);
        check(&post, &event);
    }
}
