//! Bitbucket Server and Data Center.
//!
//! The event's name is in a header and in the body (`pr:comment:added`), the delivery's id in a header; neither header is
//! signed. A comment belongs to what it is about. The first of these that is there is the resource; `<repo>` is
//! `<project key>/<slug>`, of a pull request that of the repository it goes to:
//!
//! | what is there | `resource_type` | `resource_id` |
//! |---|---|---|
//! | `pullRequest` | `pull_request` | `<repo>#<id>` |
//! | `changes` with a `ref` | `branch` or `tag`, of the first change | `<repo>/branch/<name>` |
//! | `commit`, which is a hash | `commit` | `<repo>/commit/<hash>` |
//! | nothing of these | `repository` | `<repo>`, the new name if it was changed |
//!
//! Sources: confluence.atlassian.com "Event payload" (Bitbucket Data Center), for headers; the types of
//! `@coderabbitai/bitbucket`; bodies in the tests of go-playground/webhooks.

use smol_str::{SmolStr, format_smolstr};

use super::{Handshake, Provider, Read, WEBSUB};
use crate::normalize::{
    Metadata, Outcome, Post, Reading,
    json::{self, Fields},
    paths::{self, paths},
    times,
};

pub(super) const PROVIDER: Provider = Provider {
    name: "bitbucket-server",
    title: "Bitbucket Server and Data Center",
    schemes: &[WEBSUB],
    event_header: Some("x-event-key"),
    id_headers: &["x-request-id"],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

static PATHS: paths::Static = paths![
    "eventKey",
    "date",
    "actor.name",
    "actor.slug",
    "actor.id",
    "actor.type",
    "actor.displayName",
    "pullRequest.id",
    "pullRequest.toRef.repository.project.key",
    "pullRequest.toRef.repository.slug",
    "changes.0.ref.type",
    "changes.0.ref.displayId",
    "commit",
    "comment.id",
    "repository.project.key",
    "repository.slug",
    "new.project.key",
    "new.slug",
];

/// Where the names of the repository stand.
const REPOSITORIES: [(&str, &str); 3] = [
    ("pullRequest.toRef.repository.project.key", "pullRequest.toRef.repository.slug"),
    ("repository.project.key", "repository.slug"),
    ("new.project.key", "new.slug"),
];

/// Reads a body; `None` if it is not a JSON object, or nothing says what event it is.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &PATHS)?;
    let event_type = post.header("x-event-key").map(SmolStr::new);

    let mut metadata = Metadata::default();
    metadata.add("actor_type", fields.id("actor.type"));
    metadata.add("actor_name", fields.id("actor.displayName"));
    metadata.add("comment_id", fields.id("comment.id"));

    let actor = fields.first_id(&["actor.name", "actor.slug", "actor.id"]);
    let (resource_type, resource_id) = resource(&fields).unwrap_or_default();
    Some(Outcome::Event(Reading {
        event_type: event_type.or_else(|| fields.id("eventKey"))?,
        timestamp: times::parse(fields.at("date")),
        actor: actor.unwrap_or_default(),
        resource_type: resource_type.into(),
        resource_id,
        metadata,
        ..Reading::default()
    }))
}

/// Returns the resource's type and id; `None` without a repository, since ids are unique within it only.
fn resource(fields: &Fields<'_, '_>) -> Option<(&'static str, SmolStr)> {
    let repository = REPOSITORIES.iter().find_map(|(project, slug)| {
        Some(format_smolstr!("{}/{}", fields.id(project)?, fields.id(slug)?))
    })?;
    if let Some(id) = fields.id("pullRequest.id") {
        return Some(("pull_request", format_smolstr!("{repository}#{id}")));
    }
    let kind = if fields.text("changes.0.ref.type") == Some("TAG") { "tag" } else { "branch" };
    let thing = (fields.id("changes.0.ref.displayId").map(|name| (kind, name)))
        .or_else(|| fields.id("commit").map(|hash| ("commit", hash)));
    Some(match thing {
        Some((kind, id)) => (kind, format_smolstr!("{repository}/{kind}/{id}")),
        None => ("repository", repository),
    })
}
