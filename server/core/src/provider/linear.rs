//! Linear: workspace webhooks, and those of agents.
//!
//! The thing is the member `data`, of an agent's session `agentSession`, of a notification to an app `notification`.
//! Comments and reactions belong to their issue where they tell it. Old bodies have no `actor`: there it is who made the
//! thing, as far as `data` says. The id of the delivery is in a header; `webhookId` is the webhook's.
//!
//! Source: linear `packages/sdk/src/webhooks/client.ts`; linear.app/developers "Webhooks", "Agent interaction".

use std::{borrow::Cow, time::Duration};

use smol_str::{SmolStr, ToSmolStr as _, format_smolstr};

use super::{Handshake, Provider, Read};
use crate::{
    event::EventType,
    normalize::{
        Metadata, Outcome, Post, Reading,
        json::{self, Fields},
        paths::{self, paths},
        times,
    },
    verify::{
        InBody,
        scheme::{Place, Scheme, SignedTime, TimePlace, TimeUnit},
    },
};

pub(super) const PROVIDER: Provider = Provider {
    name: "linear",
    title: "Linear",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &["linear-delivery"],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

/// `Linear-Signature: <hex>` over the raw body, in which the time is.
const SCHEME: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("linear-signature")),
    time: Some(SignedTime {
        place: TimePlace::Body {
            path: Cow::Borrowed(SIGNED_AT),
            header: Some(Cow::Borrowed("linear-timestamp")),
        },
        unit: TimeUnit::Millis,
        past: Some(Duration::from_secs(60)),
        future: true,
    }),
    ..Scheme::BASE
};

const SIGNED_AT: &str = "webhookTimestamp";

const ACTORS: &[&str] = &[
    "actor.id",
    "data.userId",
    "data.creatorId",
    "data.actorId",
    "agentActivity.userId",
    "agentSession.creatorId",
    "notification.actorId",
];

static PATHS: paths::Static = paths![
    "type",
    "action",
    "createdAt",
    SIGNED_AT,
    "webhookId",
    "organizationId",
    "actor.id",
    "actor.type",
    "actor.name",
    "data.id",
    "data.identifier",
    "data.issueId",
    "data.userId",
    "data.creatorId",
    "data.actorId",
    "agentActivity.userId",
    "agentSession.id",
    "agentSession.issueId",
    "agentSession.creatorId",
    "notification.id",
    "notification.issueId",
    "notification.actorId",
];

fn read(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &PATHS)?;
    let in_body = InBody { time: times::parse(fields.at(SIGNED_AT)), ..InBody::default() };
    let Some(kind) = fields.text("type") else {
        // The time counts, even if nothing else can be read.
        return Some(Outcome::Event(Reading { in_body, ..Reading::default() }));
    };
    let (resource_type, resource_id) = resource(kind, &fields);
    Some(Outcome::Event(Reading {
        event_type: match fields.text("action") {
            Some(action) => format_smolstr!("{kind}.{action}"),
            None => kind.into(),
        },
        timestamp: times::first(&fields, &["createdAt", SIGNED_AT]),
        actor: fields.first_id(ACTORS).unwrap_or_default(),
        resource_type,
        resource_id,
        metadata: metadata(kind, &fields),
        in_body,
        ..Reading::default()
    }))
}

fn resource(kind: &str, fields: &Fields<'_, '_>) -> (SmolStr, SmolStr) {
    let issue = match kind {
        "Comment" | "Reaction" => fields.id("data.issueId"),
        _ => fields.first_id(&["agentSession.issueId", "notification.issueId"]),
    };
    if let Some(issue) = issue {
        return ("issue".into(), issue);
    }
    let kind = EventType::normalize(kind).map(|kind| kind.to_smolstr()).unwrap_or_default();
    let id = fields.first_id(&["data.id", "agentSession.id", "notification.id"]);
    (kind, id.unwrap_or_default())
}

fn metadata(kind: &str, fields: &Fields<'_, '_>) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.add("actor_type", fields.text("actor.type"));
    metadata.add("actor_name", fields.text("actor.name"));
    metadata.add("identifier", fields.id("data.identifier"));
    metadata.add("organization_id", fields.id("organizationId"));
    metadata.add("webhook_id", fields.id("webhookId"));
    let comment = (kind == "Comment").then(|| fields.id("data.id"));
    metadata.add("comment_id", comment.flatten());
    metadata
}
