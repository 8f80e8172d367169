//! Intercom: webhook notifications.
//!
//! The thing is `data.item`. Who did it is the author of the newest part of a conversation or ticket, which comes with
//! what is done to it, and only without one the author of what began it; a contact, user, lead or admin stands for
//! itself. A `ping` has no id.
//!
//! Source: developers.intercom.com "Webhook models", "Webhook notifications".

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Metadata, Outcome, Post, Reading,
        json::{self, Fields},
        paths::{self, Paths},
        times,
    },
    verify::scheme::{Encoding, Proof, Scheme},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "intercom",
    title: "Intercom",
    schemes: &[Scheme::over_body("x-hub-signature", Some('='), PROOFS, Encoding::Hex)],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

/// `X-Hub-Signature: sha1=<hex>` over the raw body.
const PROOFS: &[Proof] = &[Proof::sha1("sha1")];

/// Where people stand: the id and what they are.
const ACTORS: [[&str; 2]; 6] = [
    [
        "data.item.conversation_parts.conversation_parts.0.author.id",
        "data.item.conversation_parts.conversation_parts.0.author.type",
    ],
    [
        "data.item.ticket_parts.ticket_parts.0.author.id",
        "data.item.ticket_parts.ticket_parts.0.author.type",
    ],
    ["data.item.author.id", "data.item.author.type"],
    ["data.item.source.author.id", "data.item.source.author.type"],
    ["data.item.contact.id", "data.item.contact.type"],
    ["data.item.user.id", "data.item.user.type"],
];

static PATHS: paths::Static = paths::Static::new(|| {
    let own = ["topic", "id", "created_at", "app_id", "data.item.id", "data.item.type"];
    let all: Vec<_> = own.iter().chain(ACTORS.as_flattened()).copied().collect();
    Paths::new(&all)
});

fn read(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &PATHS)?;
    let actor = actor(&fields);
    let mut metadata = Metadata::default();
    metadata.add("actor_type", actor.and_then(|[_, kind]| fields.id(kind)));
    metadata.add("app_id", fields.id("app_id"));
    Some(Outcome::Event(Reading {
        event_type: fields.text("topic")?.into(),
        delivery_id: fields.id("id"),
        timestamp: times::parse(fields.at("created_at")),
        actor: actor.and_then(|[id, _]| fields.id(id)).unwrap_or_default(),
        resource_type: fields.id("data.item.type").unwrap_or_default(),
        resource_id: fields.id("data.item.id").unwrap_or_default(),
        metadata,
        ..Reading::default()
    }))
}

/// Returns where the actor stands.
fn actor(fields: &Fields<'_, '_>) -> Option<[&'static str; 2]> {
    let is_person =
        matches!(fields.text("data.item.type"), Some("contact" | "user" | "lead" | "admin"));
    let itself = is_person.then_some(["data.item.id", "data.item.type"]);
    ACTORS.into_iter().find(|[id, _]| fields.id(id).is_some()).or(itself)
}
