//! All real GitHub and Stripe bodies, signed and read, against what the providers' docs say of them.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use hookline_core::{event::NewEvent, source::Kind};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    ingest_oracle::{self, Expected},
    ingest_support::{headers, ingest, payloads, received_at},
};

#[derive(Deserialize)]
struct Manifest {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    provider: String,
    file: String,
    body_format: String,
    headers: BTreeMap<String, String>,
}

/// A body of the corpus, as it is posted.
struct Post {
    entry: Entry,
    /// The JSON in it.
    json: Bytes,
    /// What is posted.
    body: Bytes,
}

fn posts(provider: &str) -> Vec<Post> {
    let Some(folder) = payloads() else { return Vec::new() };
    let text = fs::read_to_string(folder.join("MANIFEST.json")).unwrap();
    let manifest: Manifest = serde_json::from_str(&text).unwrap();
    let of_provider = manifest.entries.into_iter().filter(|entry| entry.provider == provider);
    let posts: Vec<_> = of_provider.map(|entry| post(&folder, entry)).collect();
    assert!(posts.len() > 50, "only {} bodies of `{provider}`", posts.len());
    posts
}

fn post(folder: &Path, entry: Entry) -> Post {
    let json = Bytes::from(fs::read(folder.join(&entry.file)).unwrap());
    let body = match entry.body_format.as_str() {
        "json" => json.clone(),
        "form-payload" => form(&json),
        format => panic!("no test posts bodies of format `{format}`"),
    };
    Post { entry, json, body }
}

fn form(json: &[u8]) -> Bytes {
    let json = str::from_utf8(json).unwrap();
    let form =
        form_urlencoded::Serializer::new(String::new()).append_pair("payload", json).finish();
    form.into()
}

fn send(kind: Kind, post: &Post) -> NewEvent {
    let pairs = post.entry.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    ingest(kind, headers(pairs), post.body.clone())
}

fn check(post: &Post, event: &NewEvent, expected: Expected) {
    let found = Expected {
        event_type: event.event_type.to_string(),
        actor: event.actor.clone(),
        resource: (event.resource_type.clone(), event.resource_id.clone()),
        micros: Some(i128::from(event.timestamp.as_micros())),
    };
    let is_received = expected.micros.is_none();
    let received = i128::from(received_at().as_micros());
    let expected = Expected { micros: expected.micros.or(Some(received)), ..expected };
    let file = &post.entry.file;
    assert_eq!(found, expected, "{file}");
    assert_eq!(event.payload, post.json, "{file}");
    let source = event.metadata.get("timestamp_source").map(String::as_str);
    assert_eq!(source, is_received.then_some("received"), "{file}");
    let content_type = event.metadata["content_type"].as_str();
    assert!(post.entry.headers["content-type"].starts_with(content_type), "{file}");
}

#[test]
fn every_real_github_body_is_read_right() {
    for post in posts("github") {
        let event = send(Kind::GitHub, &post);
        let body: Value = serde_json::from_slice(&post.json).unwrap();
        let file = &post.entry.file;
        assert_eq!(event.source.as_str(), "github", "{file}");
        assert_eq!(event.delivery_key, post.entry.headers["x-github-delivery"], "{file}");
        assert!(!event.resource_id.is_empty(), "{file} has a resource");
        assert_eq!(event.metadata["github_hook_id"], post.entry.headers["x-github-hook-id"]);
        check(&post, &event, ingest_oracle::github(&post.entry.headers["x-github-event"], &body));
    }
}

#[test]
fn every_real_github_body_is_read_alike_as_a_form() {
    for mut post in posts("github") {
        let as_json = send(Kind::GitHub, &post);
        post.body = form(&post.json);
        let form_type = "Application/X-WWW-Form-URLencoded; charset=utf-8".to_owned();
        post.entry.headers.insert("content-type".to_owned(), form_type);
        let mut as_form = send(Kind::GitHub, &post);
        let content_type =
            as_form.metadata.insert("content_type".into(), "application/json".into());
        assert_eq!(content_type.as_deref(), Some("application/x-www-form-urlencoded"));
        assert_eq!(as_form, as_json, "{}", post.entry.file);
    }
}

#[test]
fn every_real_stripe_body_is_read_right() {
    let mut with_resource = 0;
    let posts = posts("stripe");
    for post in &posts {
        let event = send(Kind::Stripe, post);
        let body: Value = serde_json::from_slice(&post.json).unwrap();
        let file = &post.entry.file;
        assert_eq!(event.source.as_str(), "stripe", "{file}");
        assert_eq!(event.delivery_key, body["id"].as_str().unwrap(), "{file}");
        assert!(!event.resource_type.is_empty(), "{file}");
        with_resource += usize::from(!event.resource_id.is_empty());
        check(post, &event, ingest_oracle::stripe(&body));
    }
    // A balance and an old dispute have no id and name neither customer nor account.
    assert!(with_resource + 2 >= posts.len(), "only {with_resource} have a resource");
}
