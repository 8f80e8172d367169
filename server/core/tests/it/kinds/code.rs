//! Jira, GitLab, Bitbucket, Bitbucket Server, Linear, Gitea, Sentry: where software is made.
//!
//! Sources: Atlassian docs, "Webhooks" (Jira Cloud and Data Center), "Event payloads" (Bitbucket Cloud), "Event payload"
//! (Bitbucket Data Center); GitLab docs, "Webhook events", "System hooks"; Linear docs, "Webhooks"; Gitea docs, "Webhooks";
//! Sentry docs, "Integration platform: webhooks".

use serde_json::Value;

use super::told::{Expected, Sent, Told, at, first, text};
use crate::ingest_oracle;

pub(super) fn jira(sent: &Sent<'_>) -> Told {
    let delivery_key = sent.header_or_hash(&["x-atlassian-webhook-identifier"]);
    let Some(event) = sent.first(&["webhookEvent", "issue_event_type_name"]) else {
        let event_type = "unparsed".to_owned();
        return Told::one(Expected { event_type, delivery_key, ..Expected::default() });
    };
    let people = [
        "user",
        "comment.updateAuthor",
        "comment.author",
        "worklog.updateAuthor",
        "worklog.author",
        "attachment.author",
    ];
    let id = |person: &Value| first(person, &["accountId", "name", "key"]);
    let person = people.iter().map(|path| at(sent.body, path)).find(|it| id(it).is_some());
    let person = person.unwrap_or(&Value::Null);
    let things = [
        ("issue", "issue.id"),
        ("issue", "worklog.issueId"),
        ("version", "version.id"),
        ("sprint", "sprint.id"),
        ("board", "board.id"),
        ("project", "project.id"),
        ("worklog", "worklog.id"),
        ("attachment", "attachment.id"),
        ("comment", "comment.id"),
        ("issue", "issueLink.sourceIssueId"),
    ];
    let (resource_type, path) = things.iter().find(|(_, path)| sent.is_there(path)).unwrap();
    Told::one(Expected {
        event_type: event.trim_start_matches("jira:").to_owned(),
        delivery_key,
        actor: id(person).unwrap_or_default(),
        actor_type: Some(text(&person["accountType"]).unwrap_or_default()),
        resource_type: (*resource_type).to_owned(),
        resource_id: sent.text(&[path]),
        micros: sent.micros(&["timestamp"]),
    })
}

pub(super) fn gitlab(sent: &Sent<'_>) -> Told {
    let kind = sent.first(&["object_kind", "event_name", "event_type"]).unwrap();
    let action = match kind.as_str() {
        "pipeline" => sent.first(&["object_attributes.status"]),
        "build" => sent.first(&["build_status"]),
        "release" | "deployment" => sent.first(&["action", "status"]),
        _ => sent.first(&["object_attributes.action"]),
    };
    let (resource_type, resource_id) = gitlab_resource(&kind, sent);
    let times: &[&str] = match kind.as_str() {
        // When it was pushed is not said; commits may be years old.
        "push" | "tag_push" => &[],
        "build" => &["build_finished_at", "build_started_at", "build_created_at"],
        "release" => &["released_at", "created_at"],
        _ => &[
            "object_attributes.updated_at",
            "object_attributes.finished_at",
            "object_attributes.created_at",
            "updated_at",
            "created_at",
        ],
    };
    // A system hook about a user or a member tells to whom it happened, not who did it.
    let people: &[&str] = match kind.as_str() {
        _ if kind.starts_with("user_") => &[],
        _ => &["user.username", "user_username", "user.name", "user_name", "user_id"],
    };
    Told::one(Expected {
        event_type: action.map_or_else(|| kind.clone(), |action| format!("{kind}.{action}")),
        // The UUID of the event is shared by what it led to; that of the webhook is new for every attempt.
        delivery_key: sent.header_or_hash(&["webhook-id", "idempotency-key"]),
        actor: sent.text(people),
        actor_type: None,
        resource_type,
        resource_id,
        micros: sent.micros(times),
    })
}

fn gitlab_resource(kind: &str, sent: &Sent<'_>) -> (String, String) {
    let project = sent.text(&["project.path_with_namespace", "project.id", "project_id"]);
    let pair = |kind: &str, id: String| (kind.to_owned(), id);
    let in_project = |kind: &str, path: &str| {
        pair(kind, format!("{project}/{kind}/{}", sent.first(&[path]).unwrap()))
    };
    let request = |path: &str| pair("merge_request", format!("{project}!{}", sent.text(&[path])));
    let issue = |path: &str| pair("issue", format!("{project}#{}", sent.text(&[path])));
    let name = |prefix: &str| sent.text(&["ref"]).trim_start_matches(prefix).to_owned();
    match kind {
        "merge_request" => request("object_attributes.iid"),
        "issue" => issue("object_attributes.iid"),
        "note" => match sent.text(&["object_attributes.noteable_type"]).as_str() {
            "MergeRequest" => request("merge_request.iid"),
            "Issue" => issue("issue.iid"),
            "Commit" => in_project("commit", "commit.id"),
            "Snippet" => in_project("snippet", "snippet.id"),
            other => panic!("no expectation is written for a note on `{other}`"),
        },
        "push" => pair("branch", format!("{project}/branch/{}", name("refs/heads/"))),
        "tag_push" => pair("tag", format!("{project}/tag/{}", name("refs/tags/"))),
        "pipeline" => in_project("pipeline", "object_attributes.id"),
        "build" => in_project("job", "build_id"),
        "release" => in_project("release", "id"),
        "deployment" => in_project("deployment", "deployment_id"),
        "feature_flag" => in_project("feature_flag", "object_attributes.id"),
        "access_token" if project.is_empty() => {
            pair("access_token", sent.text(&["object_attributes.id"]))
        }
        "access_token" => in_project("access_token", "object_attributes.id"),
        _ if kind.ends_with("_group") => pair("group", sent.text(&["group_id"])),
        _ => match kind.split('_').next().unwrap() {
            "project" => pair("project", sent.text(&["path_with_namespace", "project_id"])),
            "user" => pair("user", sent.text(&["user_id"])),
            "group" => pair("group", sent.text(&["group_id"])),
            "key" => pair("key", sent.text(&["id"])),
            _ => panic!("no expectation is written for `{kind}`"),
        },
    }
}

pub(super) fn bitbucket(sent: &Sent<'_>) -> Told {
    let repository = sent.text(&["repository.full_name", "repository.uuid"]);
    let change = at(sent.body, "push.changes.0");
    let reference = if change["new"].is_object() { &change["new"] } else { &change["old"] };
    // The body of a commit's status names the commit by its address only.
    let by_link = sent.first(&["commit_status.links.commit.href"]);
    let by_link = by_link.and_then(|link| link.rsplit('/').next().map(str::to_owned));
    let commit = sent.first(&["commit_status.commit.hash", "commit.hash"]).or(by_link);
    let inside = |kind: &str, id: String| (kind.to_owned(), format!("{repository}/{kind}/{id}"));
    let (resource_type, resource_id) = if let Some(id) = sent.first(&["pullrequest.id"]) {
        ("pull_request".to_owned(), format!("{repository}#{id}"))
    } else if let Some(id) = sent.first(&["issue.id"]) {
        inside("issue", id)
    } else if let Some(name) = text(&reference["name"]) {
        let is_tag = reference["type"].as_str().unwrap().ends_with("tag");
        inside(if is_tag { "tag" } else { "branch" }, name)
    } else if let Some(hash) = commit {
        inside("commit", hash)
    } else {
        ("repository".to_owned(), repository)
    };
    Told::one(Expected {
        event_type: sent.header("x-event-key").unwrap(),
        // The UUID of the hook is the same for all deliveries.
        delivery_key: sent.header_or_hash(&["x-request-uuid"]),
        actor: sent.text(&["actor.account_id", "actor.uuid", "actor.nickname", "actor.username"]),
        actor_type: Some(sent.text(&["actor.type"])),
        resource_type,
        resource_id,
        micros: sent.micros(&[
            "comment.updated_on",
            "pullrequest.updated_on",
            "issue.updated_on",
            "commit_status.updated_on",
        ]),
    })
}

pub(super) fn bitbucket_server(sent: &Sent<'_>) -> Told {
    let repository = |at: &str| {
        let (project, slug) = (format!("{at}.project.key"), format!("{at}.slug"));
        Some(format!("{}/{}", sent.first(&[&project])?, sent.first(&[&slug])?))
    };
    let (resource_type, resource_id) = if let Some(id) = sent.first(&["pullRequest.id"]) {
        ("pull_request", format!("{}#{id}", repository("pullRequest.toRef.repository").unwrap()))
    } else if let Some(name) = sent.first(&["changes.0.ref.displayId"]) {
        let is_tag = sent.text(&["changes.0.ref.type"]) == "TAG";
        let kind = if is_tag { "tag" } else { "branch" };
        (kind, format!("{}/{kind}/{name}", repository("repository").unwrap()))
    } else {
        ("repository", repository("new").or_else(|| repository("repository")).unwrap())
    };
    Told::one(Expected {
        event_type: sent.header("x-event-key").unwrap(),
        delivery_key: sent.header_or_hash(&["x-request-id"]),
        actor: sent.text(&["actor.name", "actor.slug", "actor.id"]),
        actor_type: Some(sent.text(&["actor.type"])),
        resource_type: resource_type.to_owned(),
        resource_id,
        micros: sent.micros(&["date"]),
    })
}

pub(super) fn linear(sent: &Sent<'_>) -> Told {
    let kind = sent.text(&["type"]);
    let issue = sent.first(&["data.issueId"]).filter(|_| kind == "Comment" || kind == "Reaction");
    let (resource_type, resource_id) = match issue {
        Some(issue) => ("issue".to_owned(), issue),
        None => (kind.to_lowercase(), sent.text(&["data.id"])),
    };
    Told::one(Expected {
        event_type: format!("{kind}.{}", sent.text(&["action"])),
        // `webhookId` in the body is the hook's.
        delivery_key: sent.header_or_hash(&["linear-delivery"]),
        actor: sent.text(&["actor.id", "data.userId", "data.creatorId", "data.actorId"]),
        actor_type: Some(sent.text(&["actor.type"])),
        resource_type,
        resource_id,
        micros: sent.micros(&["createdAt", "webhookTimestamp"]),
    })
}

/// Gitea took GitHub's bodies over.
pub(super) fn gitea(sent: &Sent<'_>) -> Told {
    let expected = ingest_oracle::github(&sent.header("x-gitea-event").unwrap(), sent.body);
    Told::one(Expected {
        event_type: expected.event_type,
        delivery_key: sent.header("x-gitea-delivery").unwrap(),
        actor: expected.actor,
        actor_type: None,
        resource_type: expected.resource.0,
        resource_id: expected.resource.1,
        micros: expected.micros,
    })
}

pub(super) fn sentry(sent: &Sent<'_>) -> Told {
    let issue = sent.first(&["data.issue.id", "data.error.issue_id", "data.event.issue_id"]);
    let resource_type = if issue.is_some() { "issue" } else { "installation" };
    let in_body = || sent.first(&["data.error.datetime", "data.event.datetime"]);
    let time = sent.header("sentry-hook-timestamp").or_else(in_body);
    let resource = sent.header("sentry-hook-resource").unwrap();
    Told::one(Expected {
        event_type: format!("{resource}.{}", sent.text(&["action"])),
        delivery_key: sent.header_or_hash(&["request-id"]),
        actor: sent.text(&["actor.id", "actor.name"]),
        actor_type: Some(sent.text(&["actor.type"])),
        resource_type: resource_type.to_owned(),
        resource_id: issue.unwrap_or_else(|| sent.text(&["installation.uuid"])),
        micros: time.and_then(|time| super::told::micros(&time)),
    })
}
