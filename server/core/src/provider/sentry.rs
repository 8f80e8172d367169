//! Sentry: webhooks of integrations (internal and public ones).
//!
//! A header, which is not signed, names the kind of thing; the body has the action, and the thing in `data`. Errors,
//! alerts and comments belong to their issue; what has no thing is about the installation of the integration.
//!
//! Source: getsentry/integration-platform-example; docs.sentry.io "Integration platform webhooks".

use smol_str::{SmolStr, format_smolstr};

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Metadata, Outcome, Post, Reading,
        json::{self, Fields},
        paths::{self, paths},
        times,
    },
    verify::scheme::{Encoding, Scheme},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "sentry",
    title: "Sentry",
    schemes: &[
        Scheme::bare_sha256("sentry-hook-signature", Encoding::Hex),
        Scheme::bare_sha256("sentry-app-signature", Encoding::Hex),
    ],
    event_header: Some("sentry-hook-resource"),
    id_headers: &["request-id"],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

static PATHS: paths::Static = paths![
    "action",
    "actor.id",
    "actor.name",
    "actor.type",
    "installation.uuid",
    "data.issue.id",
    "data.error.issue_id",
    "data.error.datetime",
    "data.event.issue_id",
    "data.event.datetime",
    "data.issue_id",
    "data.comment_id",
    "data.timestamp",
    "data.metric_alert.id",
    "data.installation.uuid",
];

fn read(post: &Post<'_>) -> Option<Outcome> {
    let resource = post.header("sentry-hook-resource")?;
    let fields = json::read(post.text()?, &PATHS)?;
    let (resource_type, resource_id) = thing(&fields).unwrap_or_default();
    let mut metadata = Metadata::default();
    metadata.add("actor_type", fields.text("actor.type"));
    metadata.add("actor_name", fields.text("actor.name"));
    metadata.add("comment_id", fields.id("data.comment_id"));
    metadata.add("installation", fields.id("installation.uuid"));
    let sent_at = post.header("sentry-hook-timestamp").and_then(times::parse_text);
    let times = ["data.error.datetime", "data.event.datetime", "data.timestamp"];
    Some(Outcome::Event(Reading {
        event_type: match fields.text("action") {
            Some(action) => format_smolstr!("{resource}.{action}"),
            None => resource.into(),
        },
        timestamp: sent_at.or_else(|| times::first(&fields, &times)),
        actor: fields.first_id(&["actor.id", "actor.name"]).unwrap_or_default(),
        resource_type,
        resource_id,
        metadata,
        ..Reading::default()
    }))
}

/// Returns the kind and id of what the event is about.
fn thing(fields: &Fields<'_, '_>) -> Option<(SmolStr, SmolStr)> {
    const ISSUE: &[&str] =
        &["data.issue.id", "data.error.issue_id", "data.event.issue_id", "data.issue_id"];
    let first = |kind: &str, ids: &[&str]| fields.first_id(ids).map(|id| (kind.into(), id));
    first("issue", ISSUE)
        .or_else(|| first("metric_alert", &["data.metric_alert.id"]))
        .or_else(|| first("installation", &["installation.uuid", "data.installation.uuid"]))
}
