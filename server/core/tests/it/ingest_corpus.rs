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
pub(crate) struct Entry {
    pub(crate) provider: String,
    pub(crate) file: String,
    pub(crate) body_format: String,
    pub(crate) headers: BTreeMap<String, String>,
}

/// A body of the corpus, as it is posted.
pub(crate) struct Post {
    pub(crate) entry: Entry,
    /// The JSON in it.
    pub(crate) json: Bytes,
    /// What is posted.
    pub(crate) body: Bytes,
}

/// Returns all bodies of the corpus; none if it is absent.
pub(crate) fn all_posts() -> Vec<Post> {
    let Some(folder) = payloads() else { return Vec::new() };
    let text = fs::read_to_string(folder.join("MANIFEST.json")).unwrap();
    let manifest: Manifest = serde_json::from_str(&text).unwrap();
    manifest.entries.into_iter().map(|entry| post(&folder, entry)).collect()
}

pub(crate) fn posts(provider: &str) -> Vec<Post> {
    let all = all_posts();
    let is_absent = all.is_empty();
    let posts: Vec<_> = all.into_iter().filter(|post| post.entry.provider == provider).collect();
    assert!(is_absent || posts.len() > 50, "only {} bodies of `{provider}`", posts.len());
    posts
}

fn post(folder: &Path, entry: Entry) -> Post {
    let json = Bytes::from(fs::read(folder.join(&entry.file)).unwrap());
    let body = match entry.body_format.as_str() {
        "json" => json.clone(),
        "form-payload" => form(&json),
        "form-fields" => {
            let fields: BTreeMap<String, String> = serde_json::from_slice(&json).unwrap();
            form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into()
        }
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

pub(crate) fn send(kind: Kind, post: &Post) -> NewEvent {
    let pairs = post.entry.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    ingest(kind, headers(pairs), post.body.clone())
}

fn check(post: &Post, event: &NewEvent, expected: Expected) {
    let found = Expected {
        event_type: event.event_type.to_string(),
        actor: event.actor.to_string(),
        resource: (event.resource_type.to_string(), event.resource_id.to_string()),
        micros: Some(i128::from(event.timestamp.as_micros())),
    };
    let is_received = expected.micros.is_none();
    let received = i128::from(received_at().as_micros());
    let expected = Expected { micros: expected.micros.or(Some(received)), ..expected };
    let file = &post.entry.file;
    assert_eq!(found, expected, "{file}");
    assert_eq!(event.payload, post.json, "{file}");
    let source = event.metadata.get("timestamp_source");
    assert_eq!(source, is_received.then_some("received"), "{file}");
    let content_type = event.metadata["content_type"].as_str();
    assert!(post.entry.headers["content-type"].starts_with(content_type), "{file}");
}

#[test]
fn every_real_github_body_is_read_right() {
    for post in posts("github") {
        let event = send(Kind::GITHUB, &post);
        let body: Value = serde_json::from_slice(&post.json).unwrap();
        let file = &post.entry.file;
        assert_eq!(event.source.as_str(), "github", "{file}");
        assert_eq!(event.delivery_key, post.entry.headers["x-github-delivery"], "{file}");
        assert!(!event.resource_id.is_empty(), "{file} has a resource");
        assert_eq!(event.metadata["github_hook_id"], post.entry.headers["x-github-hook-id"]);
        check(&post, &event, ingest_oracle::github(&post.entry.headers["x-github-event"], &body));
    }
}

/// Read from the files by eye.
#[rustfmt::skip]
const BY_EYE: [[&str; 6]; 14] = [
    ["gp.ping.json", "ping", "", "hook", "20081052", "2018-01-15T10:48:54Z"],
    ["ds.comment.json", "issue_comment.created", "lts-def", "pull_request", "abc/def-ci-webhook-test#2", "2020-12-29T05:49:14Z"],
    ["issues.milestoned.json", "issues.milestoned", "Codertocat", "pull_request", "Codertocat/Hello-World#2", "2019-05-15T15:20:35Z"],
    ["issues.opened.with-organization.json", "issues.opened", "Codertocat", "issue", "Codertocat/Hello-World#1", "2019-05-15T15:20:18Z"],
    ["pull_request_review.dismissed.json", "pull_request_review.dismissed", "Codertocat", "pull_request", "Codertocat/Hello-World#2", "2019-05-15T15:20:38Z"],
    ["push.payload.json", "push", "Codertocat", "tag", "Codertocat/Hello-World/tag/simple-tag", "2019-05-15T15:20:57Z"],
    ["push.with-no-username-committer.json", "push", "Codertocat", "branch", "Codertocat/Hello-World/branch/master", "2019-05-15T15:19:25Z"],
    ["ds.branch_create.json", "create", "bradrydzewski", "branch", "bradrydzewski/drone-test-go/branch/feature-branch", "2018-06-21T17:15:46Z"],
    ["check_suite.rerequested.with-organization.json", "check_suite.rerequested", "octocoders-linter[bot]", "check_suite", "Codertocat/Hello-World/check_suite/118578147", "2019-05-15T15:21:14Z"],
    ["ds.status.json", "status", "octocat", "commit", "octocat/Hello-World/commit/9049f1265b7d61be4a8904a9a27120d2064dab3b", "2024-05-01T11:03:00Z"],
    ["gp.workflow_job.json", "workflow_job.my_workflow_job", "baxterthehacker", "workflow_job", "baxterthehacker/public-repo/workflow_job/565676767", "2015-05-05T23:40:30Z"],
    ["installation.created.json", "installation.created", "Codertocat", "installation", "957387", "2019-05-15T15:19:51Z"],
    ["projects_v2_item.edited.json", "projects_v2_item.edited", "wolfy1339", "organization", "38302899", "2022-06-08T20:34:26Z"],
    ["branch_protection_rule.created.1.json", "branch_protection_rule.created", "wolfy1339", "branch_protection_rule", "wolfy1339/octoherd-script-replace-pika-with-esbuild/branch_protection_rule/37429269", "2023-05-14T02:09:38Z"],
];

#[test]
fn real_github_bodies_are_read_as_a_person_reads_them() {
    let posts = posts("github");
    for [file, event_type, actor, resource_type, resource_id, timestamp] in BY_EYE {
        let is_it = |post: &&Post| post.entry.file.strip_prefix("github/") == Some(file);
        let Some(post) = posts.iter().find(is_it) else {
            assert!(posts.is_empty(), "`{file}` is gone");
            continue;
        };
        let event = send(Kind::GITHUB, post);
        let time = event.timestamp.to_string();
        let read = [event.event_type.as_str(), &event.actor, &event.resource_type];
        assert_eq!(read, [event_type, actor, resource_type], "{file}");
        assert_eq!([event.resource_id.as_str(), &time], [resource_id, timestamp], "{file}");
    }
}

#[test]
fn every_real_github_body_is_read_alike_as_a_form() {
    for mut post in posts("github") {
        let as_json = send(Kind::GITHUB, &post);
        post.body = form(&post.json);
        let form_type = "Application/X-WWW-Form-URLencoded; charset=utf-8".to_owned();
        post.entry.headers.insert("content-type".to_owned(), form_type);
        let mut as_form = send(Kind::GITHUB, &post);
        let content_type = as_form.metadata.insert("content_type", "application/json");
        assert_eq!(content_type.as_deref(), Some("application/x-www-form-urlencoded"));
        assert_eq!(as_form, as_json, "{}", post.entry.file);
    }
}

#[test]
fn every_real_stripe_body_is_read_right() {
    let mut with_resource = 0;
    let posts = posts("stripe");
    for post in &posts {
        let event = send(Kind::STRIPE, post);
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
