//! Bitbucket Cloud.
//!
//! The event's name (`pullrequest:created`) and the delivery's id are in headers, which Bitbucket does not sign. A comment
//! belongs to what it is about. The first of these that is there is the resource; `<repo>` is the repository's full
//! name, `workspace/repo`:
//!
//! | what is there | `resource_type` | `resource_id` |
//! |---|---|---|
//! | `pullrequest` | `pull_request` | `<repo>#<id>` |
//! | `issue` | `issue` | `<repo>/issue/<id>` |
//! | `push.changes` | `branch` or `tag`, of the first change | `<repo>/branch/<name>` |
//! | `commit_status.commit`, `commit` | `commit` | `<repo>/commit/<hash>` |
//! | nothing of these | `repository` | `<repo>` |
//!
//! The time is that of the comment, else of the thing. A push has none: the dates of its commits are older.
//!
//! Sources: bodies in the tests of go-scm and go-playground/webhooks, the latter from Atlassian's "Event payloads".

use smol_str::{SmolStr, format_smolstr};

use super::{Handshake, Provider, Read, WEBSUB};
use crate::normalize::{
    Metadata, Outcome, Post, Reading,
    json::{self, Fields},
    paths::{self, paths},
    times,
};

pub(super) const PROVIDER: Provider = Provider {
    name: "bitbucket",
    title: "Bitbucket Cloud",
    schemes: &[WEBSUB],
    event_header: Some("x-event-key"),
    // Not X-Hook-UUID, which is the same for all deliveries of a webhook.
    id_headers: &["x-request-uuid"],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

static PATHS: paths::Static = paths![
    "actor.account_id",
    "actor.uuid",
    "actor.nickname",
    "actor.username",
    "actor.type",
    "actor.display_name",
    "repository.full_name",
    "repository.uuid",
    "pullrequest.id",
    "pullrequest.updated_on",
    "issue.id",
    "issue.updated_on",
    "comment.id",
    "comment.updated_on",
    "push.changes.0.new.name",
    "push.changes.0.new.type",
    "push.changes.0.old.name",
    "push.changes.0.old.type",
    "commit_status.commit.hash",
    "commit_status.links.commit.href",
    "commit_status.updated_on",
    "commit.hash",
];

/// Reads a body; `None` if it is not a JSON object, or the request does not say what event it is.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let event_type = post.header("x-event-key")?.into();
    let fields = json::read(post.text()?, &PATHS)?;
    let actors = ["actor.account_id", "actor.uuid", "actor.nickname", "actor.username"];
    let times = [
        "comment.updated_on",
        "pullrequest.updated_on",
        "issue.updated_on",
        "commit_status.updated_on",
    ];

    let mut metadata = Metadata::default();
    metadata.add("actor_type", fields.id("actor.type"));
    metadata.add("actor_name", fields.id("actor.display_name"));
    metadata.add("repository_uuid", fields.id("repository.uuid"));
    metadata.add("comment_id", fields.id("comment.id"));
    metadata.add("attempt", post.header("x-attempt-number"));

    let (resource_type, resource_id) = resource(&fields).unwrap_or_default();
    Some(Outcome::Event(Reading {
        event_type,
        timestamp: times::first(&fields, &times),
        actor: fields.first_id(&actors).unwrap_or_default(),
        resource_type: resource_type.into(),
        resource_id,
        metadata,
        ..Reading::default()
    }))
}

/// Returns the resource's type and id; `None` without a repository, since ids are unique within it only.
fn resource(fields: &Fields<'_, '_>) -> Option<(&'static str, SmolStr)> {
    let repository = fields.first_id(&["repository.full_name", "repository.uuid"])?;
    if let Some(id) = fields.id("pullrequest.id") {
        return Some(("pull_request", format_smolstr!("{repository}#{id}")));
    }
    let commit = || {
        let hash = fields.first_id(&["commit_status.commit.hash", "commit.hash"]);
        // Of old, a status had its commit's address only.
        let address = fields.text("commit_status.links.commit.href");
        let last = address.and_then(|address| address.rsplit('/').next());
        hash.or_else(|| last.filter(|hash| !hash.is_empty()).map(SmolStr::new))
    };
    let thing = (fields.id("issue.id").map(|id| ("issue", id)))
        .or_else(|| pushed(fields))
        .or_else(|| commit().map(|hash| ("commit", hash)));
    Some(match thing {
        Some((kind, id)) => (kind, format_smolstr!("{repository}/{kind}/{id}")),
        None => ("repository", repository),
    })
}

/// Returns the branch or tag that was pushed, or deleted: then `new` is null.
fn pushed(fields: &Fields<'_, '_>) -> Option<(&'static str, SmolStr)> {
    let sides = [
        ("push.changes.0.new.name", "push.changes.0.new.type"),
        ("push.changes.0.old.name", "push.changes.0.old.type"),
    ];
    sides.into_iter().find_map(|(name, kind)| {
        let is_tag = matches!(fields.text(kind), Some("tag" | "annotated_tag"));
        fields.id(name).map(|name| (if is_tag { "tag" } else { "branch" }, name))
    })
}
