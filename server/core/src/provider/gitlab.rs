//! GitLab: webhooks of projects and groups, and system hooks.
//!
//! The event is `object_kind`, of most system hooks `event_name`, with what was done or has become of it: the `action`,
//! of pipelines, jobs and deployments the status. People are user names, else names or ids; never addresses.
//!
//! `<project>` is the path with its namespaces, else the id. A comment or a reaction belongs to what it is about:
//!
//! | event | `resource_type` | `resource_id` |
//! |---|---|---|
//! | merge request, and a comment on one | `merge_request` | `<project>!<iid>` |
//! | issue, work item, and a comment on one | `issue`, `work_item` | `<project>#<iid>` |
//! | comment on a snippet or commit | `snippet`, `commit` | `<project>/<kind>/<id>` |
//! | push, tag push | `branch`, `tag` | `<project>/<kind>/<name>` |
//! | build | `job` | `<project>/job/<id>` |
//! | deployment, release, and what has `object_attributes` | `object_kind` | `<project>/<kind>/<id>`, without a project `<id>` |
//! | system: `group_*`, `subgroup_*`, `user_*_group` | `group` | `group_id` |
//! | system: `user_*` | `user` | `user_id` |
//! | system: `key_*` | `key` | `id` |
//! | others | `project` | `<project>` |
//!
//! A push tells no time; those of its commits are older.
//!
//! Sources: gitlab `app/services/web_hook_service.rb`, for headers; its merge request 230944, for the signing token;
//! client-go's merge request 2704, for reactions; bodies in the tests of go-gitlab, go-scm and go-playground/webhooks.

use std::borrow::Cow;

use smol_str::{SmolStr, format_smolstr};

use super::{Handshake, Provider, Read, split_ref, standard};
use crate::{
    normalize::{
        Metadata, Outcome, Post, Reading,
        json::{self, Fields},
        paths::{self, paths},
        times,
    },
    verify::scheme::{Encoding, KeyForm, Prefix, Primitive, Proof, Scheme},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "gitlab",
    title: "GitLab",
    schemes: &[SIGNATURE, TOKEN],
    event_header: Some("x-gitlab-event"),
    // They are the same, where there are both; the first is signed. Not X-Gitlab-Event-UUID, which the hooks that one
    // event sets off share, nor X-Gitlab-Webhook-UUID, which is new for each request.
    id_headers: &["webhook-id", "idempotency-key"],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

/// The signing token: Standard Webhooks, with a secret that begins with `whsec_`. A request with this header has to pass
/// here, so that whoever has seen a token can't do without the signature.
const SIGNATURE: Scheme =
    standard::scheme("webhook-signature", "webhook-id", "webhook-timestamp", SIGNATURE_PROOFS);
const SIGNATURE_PROOFS: &[Proof] = &[Proof {
    label: Cow::Borrowed("v1"),
    primitive: Primitive::HmacSha256,
    key: KeyForm { prefix: Prefix::Required(Cow::Borrowed("whsec_")), encoding: Encoding::Base64 },
}];

/// The secret token, as it is, in `X-Gitlab-Token`.
const TOKEN: Scheme = Scheme::token_of("x-gitlab-token", TOKEN_PROOFS);
const TOKEN_PROOFS: &[Proof] = &[Proof {
    label: Cow::Borrowed(""),
    primitive: Primitive::Token,
    key: KeyForm { prefix: Prefix::Not(Cow::Borrowed("whsec_")), encoding: Encoding::Raw },
}];

static PATHS: paths::Static = paths![
    "object_kind",
    "event_name",
    "event_type",
    "action",
    "status",
    "build_status",
    "object_attributes.action",
    "object_attributes.status",
    "object_attributes.id",
    "object_attributes.iid",
    "object_attributes.slug",
    "object_attributes.commit_id",
    "user.username",
    "user.name",
    "user_username",
    "user_name",
    "user_id",
    "project.path_with_namespace",
    "project.id",
    "project_id",
    "path_with_namespace",
    "group_id",
    "merge_request.iid",
    "issue.iid",
    "snippet.id",
    "project_snippet.id",
    "commit.id",
    "ref",
    "build_id",
    "deployment_id",
    "id",
    "object_attributes.updated_at",
    "object_attributes.finished_at",
    "object_attributes.created_at",
    "updated_at",
    "status_changed_at",
    "build_finished_at",
    "build_started_at",
    "build_created_at",
    "released_at",
    "created_at",
    "event_time",
];

/// Where times stand, in order: what is new stands before what is old.
const TIMES: [&str; 11] = [
    "event_time",
    "object_attributes.updated_at",
    "object_attributes.finished_at",
    "object_attributes.created_at",
    "updated_at",
    "status_changed_at",
    "build_finished_at",
    "build_started_at",
    "build_created_at",
    "released_at",
    "created_at",
];

const ACTORS: [&str; 5] = ["user.username", "user_username", "user.name", "user_name", "user_id"];

/// Returns who did it. System hooks about a user name whom it happened to, but for what only that one can have done.
///
/// Source: GitLab docs, "System hooks".
fn actor(fields: &Fields<'_, '_>) -> SmolStr {
    let hook = fields.text("event_name").filter(|_| is_system_hook(fields)).unwrap_or_default();
    let is_own = hook.starts_with("user_access_request") || hook == "user_failed_login";
    if hook.starts_with("user_") && !is_own {
        return SmolStr::default();
    }
    fields.first_id(&ACTORS).unwrap_or_default()
}

/// Reads a body; `None` if it does not say what happened: a custom webhook template can make it anything.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &PATHS)?;
    let kind = fields.first_id(&["object_kind", "event_name", "event_type"])?;
    // The name of a system hook says what was done.
    let action = fields
        .first_id(&["object_attributes.action", "action"])
        .filter(|_| !is_system_hook(&fields));
    let outcome = action.clone().or_else(|| status(&kind, &fields));
    let (resource_type, resource_id) = resource(&kind, &fields);

    let mut metadata = Metadata::default();
    metadata.add("project_id", fields.first_id(&["project.id", "project_id"]));
    metadata.add("object_id", fields.id("object_attributes.id"));
    metadata.add("action", action);

    Some(Outcome::Event(Reading {
        event_type: match outcome {
            Some(outcome) => format_smolstr!("{kind}.{outcome}"),
            None => kind,
        },
        timestamp: times::first(&fields, &TIMES),
        actor: actor(&fields),
        resource_type,
        resource_id,
        metadata,
        ..Reading::default()
    }))
}

/// Whether the event is one that only system hooks, and groups for their members, have.
fn is_system_hook(fields: &Fields<'_, '_>) -> bool {
    fields.id("object_kind").is_none()
}

/// Returns what has become of a thing that runs.
fn status(kind: &str, fields: &Fields<'_, '_>) -> Option<SmolStr> {
    fields.id(match kind {
        "pipeline" => "object_attributes.status",
        "build" => "build_status",
        "deployment" => "status",
        _ => return None,
    })
}

/// Returns the resource's type and id.
fn resource(kind: &str, fields: &Fields<'_, '_>) -> (SmolStr, SmolStr) {
    let project = fields.first_id(&[
        "project.path_with_namespace",
        "path_with_namespace",
        "project.id",
        "project_id",
    ]);
    if let Some((kind, id)) = system_thing(kind, fields) {
        return (kind.into(), id);
    }
    match (thing_of_project(kind, fields), project) {
        (Some(thing), Some(project)) => {
            let id = format_smolstr!("{project}{}{}", thing.separator(), thing.id);
            (thing.kind.into(), id)
        }
        (Some(thing), None) => (thing.kind.into(), thing.id),
        (None, Some(project)) => ("project".into(), project),
        (None, None) => <_>::default(),
    }
}

/// Returns what a system hook is about, if it is no project.
fn system_thing(event: &str, fields: &Fields<'_, '_>) -> Option<(&'static str, SmolStr)> {
    if !is_system_hook(fields) {
        return None;
    }
    let (kind, path) = match event.split('_').next()? {
        "group" | "subgroup" => ("group", "group_id"),
        "user" if event.ends_with("_group") => ("group", "group_id"),
        "user" => ("user", "user_id"),
        "key" => ("key", "id"),
        _ => return None,
    };
    fields.id(path).map(|id| (kind, id))
}

/// A thing of a project.
struct Thing<'k> {
    kind: &'k str,
    id: SmolStr,
}

impl Thing<'_> {
    /// Returns what stands between the project and the id, as GitLab writes references.
    fn separator(&self) -> SmolStr {
        match self.kind {
            "merge_request" => "!".into(),
            "issue" | "work_item" => "#".into(),
            kind => format_smolstr!("/{kind}/"),
        }
    }
}

/// Returns what an event is about, if it is something smaller than the project.
fn thing_of_project<'k>(kind: &'k str, fields: &Fields<'_, '_>) -> Option<Thing<'k>> {
    let first = |kind, paths: &[&str]| fields.first_id(paths).map(|id| Thing { kind, id });
    match kind {
        // The body has one of these, the thing that was commented on.
        "note" | "emoji" => first("merge_request", &["merge_request.iid"])
            .or_else(|| first("issue", &["issue.iid"]))
            .or_else(|| first("snippet", &["snippet.id", "project_snippet.id"]))
            .or_else(|| first("commit", &["commit.id", "object_attributes.commit_id"])),
        "push" | "tag_push" => {
            let (kind, name) = split_ref(fields.text("ref")?)?;
            Some(Thing { kind, id: name.into() })
        }
        "merge_request" | "issue" | "work_item" => first(kind, &["object_attributes.iid"]),
        "build" => first("job", &["build_id"]),
        "deployment" => first(kind, &["deployment_id"]),
        "release" => first(kind, &["id"]),
        _ => first(kind, &["object_attributes.id", "object_attributes.slug"]),
    }
}
