//! GitHub's events as a public mapping sees them, which nobody who works on Hookline wrote: the adapter for GitHub of the
//! `CloudEvents` specification. Its `subject` is the nearest thing to a resource, its `time` to the time of the event.

use std::{collections::BTreeSet, fs};

use hookline_core::{event::NewEvent, source::Kind};
use serde::Deserialize;
use serde_json::Value;

use super::told::{at, micros, text};
use crate::{
    ingest_corpus::{posts, send},
    ingest_support::payloads,
};

#[derive(Deserialize)]
struct Map {
    events: std::collections::BTreeMap<String, Row>,
}

#[derive(Deserialize)]
struct Row {
    subject: String,
    time: String,
}

const SUBJECT: &str = "subject";
const TIME: &str = "time";

/// Where Hookline differs: the event, what, and why.
#[rustfmt::skip]
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("code_scanning_alert", TIME, "newer bodies have `alert.updated_at`"),
    ("commit_comment", SUBJECT, "a comment belongs to the commit it is on, so that all that happens there has one id"),
    ("create", TIME, "`repository.pushed_at` is when the ref was pushed"),
    ("delete", TIME, "`repository.pushed_at` is when the deletion was pushed"),
    ("dependabot_alert", TIME, "`alert.updated_at` is there"),
    ("deployment_review", TIME, "`workflow_run.updated_at` is there"),
    ("deployment_status", SUBJECT, "a status belongs to its deployment; the mapping has an address where all else has ids"),
    ("discussion", TIME, "`discussion.updated_at` is there; the mapping has it in the row of the schema, by mistake"),
    ("fork", SUBJECT, "what was forked is the resource; the mapping has the new repository's address"),
    ("issue_comment", SUBJECT, "a comment belongs to the issue or pull request it is on"),
    ("label", SUBJECT, "a label can be renamed, its id stays"),
    ("marketplace_purchase", SUBJECT, "an account can be renamed, its id stays"),
    ("member", SUBJECT, "a user can be renamed, the id stays"),
    ("membership", SUBJECT, "it happened to the organization; the mapping itself asks whether the login is right"),
    ("merge_group", TIME, "`merge_group.head_commit` was made by GitHub for this event, and has a time"),
    ("milestone", SUBJECT, "the id, as for all things that people do not call by number"),
    ("org_block", SUBJECT, "it happened to the organization"),
    ("organization", SUBJECT, "it happened to the organization"),
    ("page_build", SUBJECT, "the build's id, where the mapping has its address"),
    ("page_build", TIME, "the mapping names `pusher.updated_at`, which does not exist; `build.updated_at` does"),
    ("projects_v2_item", SUBJECT, "what is in no repository belongs to its organization"),
    ("pull_request_review", SUBJECT, "a review belongs to its pull request"),
    ("pull_request_review_comment", SUBJECT, "a comment belongs to its pull request"),
    ("pull_request_review_thread", SUBJECT, "the number of the pull request, as everywhere; the mapping has its id here alone"),
    ("pull_request_review_thread", TIME, "`updated_at` is there, of the thread or of its pull request"),
    ("push", SUBJECT, "the same branch or tag, without `refs/heads/` or `refs/tags/`"),
    ("push", TIME, "`head_commit.timestamp`, else `repository.pushed_at`; the mapping itself asks for a time"),
    ("sponsorship", SUBJECT, "the sponsorship's id; a sponsor may have several"),
    ("team", SUBJECT, "what is in no repository belongs to its organization"),
    ("workflow_job", SUBJECT, "the job's id; its name is the same in every run"),
    ("workflow_job", TIME, "`completed_at`, `started_at` or `created_at` is there"),
    ("workflow_run", SUBJECT, "the run's id; the workflow's name is the same for every run"),
    ("workflow_run", TIME, "`workflow_run.updated_at` is there"),
];

/// Returns the paths that an expression such as `"a.b" value, unless "null", then "a.c" value` names.
fn paths(expression: &str) -> Vec<&str> {
    let meant = expression.split('#').next().unwrap();
    meant.split('"').skip(1).step_by(2).filter(|path| *path != "null").collect()
}

/// Returns the subject; `None` if the mapping has none, or the body lacks it.
fn subject(row: &Row, body: &Value) -> Option<String> {
    paths(&row.subject).into_iter().find_map(|path| text(at(body, path)))
}

/// Returns the time; `None` for "current time", and for what the body lacks.
fn time(row: &Row, body: &Value) -> Option<i128> {
    let by_action = match body["action"].as_str().unwrap_or_default() {
        "created" => "release.created_at",
        "published" | "released" | "prereleased" => "release.published_at",
        _ => "",
    };
    let path = |path| if path == r"release.\*\_at" { by_action } else { path };
    let found = paths(&row.time).into_iter().find_map(|it| text(at(body, path(it))));
    found.and_then(|found| micros(&found))
}

/// Whether the subject is the resource's id, or stands at its end.
fn is_resource(subject: &str, event: &NewEvent) -> bool {
    let rest = event.resource_id.strip_suffix(subject);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(['/', '#']))
}

#[test]
fn the_public_mapping_of_githubs_events_agrees_or_the_difference_is_explained() {
    let Some(folder) = payloads() else { return };
    let map = fs::read_to_string(folder.join("cloudevents_github_map.json")).unwrap();
    let map: Map = serde_json::from_str(&map).unwrap();
    let (mut compared, mut differences) = (0, BTreeSet::new());
    for post in posts("github") {
        let name = post.entry.headers["x-github-event"].as_str();
        let Some((name, row)) = map.events.get_key_value(name) else { continue };
        let body: Value = serde_json::from_slice(&post.json).unwrap();
        let event = send(Kind::GITHUB, &post);
        compared += 1;
        if subject(row, &body).is_some_and(|subject| !is_resource(&subject, &event)) {
            differences.insert((name.clone(), SUBJECT));
        }
        let is_received = event.metadata.contains_key("timestamp_source");
        let ours = (!is_received).then(|| event.timestamp.as_micros().into());
        if time(row, &body) != ours {
            differences.insert((name.clone(), TIME));
        }
    }
    println!("{compared} bodies compared with the public mapping");
    let listed: BTreeSet<_> =
        DIFFERENCES.iter().map(|(name, what, _)| ((*name).to_owned(), *what)).collect();
    assert_eq!(listed.len(), DIFFERENCES.len(), "a difference is listed once");
    let unexplained: Vec<_> = differences.difference(&listed).collect();
    assert!(unexplained.is_empty(), "not explained: {unexplained:#?}");
    let gone: Vec<_> = listed.difference(&differences).collect();
    assert!(gone.is_empty(), "explained, but there is no such difference: {gone:#?}");
}
