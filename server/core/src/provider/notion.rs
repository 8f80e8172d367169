//! Notion: webhook subscriptions of integrations.
//!
//! `entity` is the thing, `authors` are who changed it since the last event: the first stands as `actor`. A comment
//! belongs to its page.
//!
//! A subscription begins with one unsigned post that has the later signatures' secret, `verification_token`. It can be
//! taken only while the source is configured as unsigned; it becomes an event of that name, in whose payload the secret
//! is to be read.
//!
//! Source: developers.notion.com "Webhooks".

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Metadata, Outcome, Post, Reading, json,
        paths::{self, paths},
        times,
    },
    verify::scheme::{Encoding, Proof, Scheme},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "notion",
    title: "Notion",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::signed("one unsigned post with the secret, kept as an event"),
    read: Read::Code(read),
};

/// `X-Notion-Signature: sha256=<hex>` over the raw body; the secret is the `verification_token`.
const SCHEME: Scheme = Scheme::over_body("x-notion-signature", Some('='), PROOFS, Encoding::Hex);
const PROOFS: &[Proof] = &[Proof::sha256("sha256")];

const VERIFICATION: &str = "verification_token";
static PATHS: paths::Static = paths![
    "id",
    "type",
    "timestamp",
    "workspace_id",
    "subscription_id",
    "authors.0.id",
    "authors.0.type",
    "entity.id",
    "entity.type",
    "data.page_id",
    VERIFICATION,
];

/// Reads a body; `None` if it is no event.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &PATHS)?;
    let verification = || fields.id(VERIFICATION).map(|_| VERIFICATION.into());
    let event_type = fields.id("type").or_else(verification)?;
    let actor = fields.id("authors.0.id");
    let mut metadata = Metadata::default();
    metadata.add("actor_type", actor.as_ref().and_then(|_| fields.id("authors.0.type")));
    metadata.add("workspace_id", fields.id("workspace_id"));
    metadata.add("subscription_id", fields.id("subscription_id"));
    metadata.add("entity_id", fields.id("entity.id"));
    let page = fields.id("data.page_id").filter(|_| event_type.starts_with("comment."));
    let (resource_type, resource_id) = match page {
        Some(page) => (Some("page".into()), Some(page)),
        None => (fields.id("entity.type"), fields.id("entity.id")),
    };
    Some(Outcome::Event(Reading {
        delivery_id: fields.id("id"),
        timestamp: times::parse(fields.at("timestamp")),
        actor: actor.unwrap_or_default(),
        resource_type: resource_type.unwrap_or_default(),
        resource_id: resource_id.unwrap_or_default(),
        metadata,
        event_type,
        ..Reading::default()
    }))
}
