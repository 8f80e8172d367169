//! Zendesk: webhooks of triggers, and of event subscriptions.
//!
//! The body of an event subscription has a `type` that begins with `zen:event-type:`, and the thing in `detail`. What a
//! trigger or an automation posts is written by the account's administrator, after the example in Zendesk's docs: it is
//! about a ticket if it names one, does not say what happened to it (its `type` is the ticket's), and of the people it
//! names the requester stands as actor. Bodies may be empty, and are signed then too.
//!
//! Source: developer.zendesk.com "Verifying webhook authenticity", "Webhook event types", "Ticket events".

use std::{borrow::Cow, time::Duration};

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Metadata, Outcome, Post, Reading,
        json::{self, Fields},
        paths::{self, paths},
        times,
    },
    verify::scheme::{Encoding, Part, Place, Scheme, SignedTime, TimePlace, TimeUnit},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "zendesk",
    title: "Zendesk",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &["x-zendesk-webhook-invocation-id"],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

/// The base64 of the HMAC-SHA256 of `<time as written><raw body>`.
const SCHEME: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("x-zendesk-webhook-signature")),
    encoding: Encoding::Base64,
    signed: Cow::Borrowed(&[Part::Time, Part::Body]),
    time: Some(SignedTime {
        place: TimePlace::Header(Cow::Borrowed("x-zendesk-webhook-signature-timestamp")),
        unit: TimeUnit::Iso,
        past: Some(Duration::from_secs(300)),
        future: true,
    }),
    ..Scheme::BASE
};

/// What the types of event subscriptions begin with.
const PREFIX: &str = "zen:event-type:";

static PATHS: paths::Static = paths![
    "id",
    "type",
    "time",
    "subject",
    "account_id",
    "detail.id",
    "detail.actor_id",
    "detail.requester_id",
    "event.actor.id",
    "ticket_id",
    "ticket.id",
    "ticket.updated_at",
    "requester_email",
    "requester_name",
    "updated_at",
    "created_at",
];

fn read(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &PATHS)?;
    let event_type = fields.text("type").and_then(|kind| kind.strip_prefix(PREFIX));
    let mut reading = match event_type {
        Some(event_type) => of_subscription(event_type, &fields),
        None => of_trigger(&fields)?,
    };
    reading.metadata.add("account_id", fields.id("account_id"));
    reading.metadata.add("subject", fields.id("subject"));
    Some(Outcome::Event(reading))
}

fn of_subscription(event_type: &str, fields: &Fields<'_, '_>) -> Reading {
    let kind = event_type.split_once('.').map_or(event_type, |(kind, _)| kind);
    // `zen:ticket:35436`
    let of_subject = || fields.text("subject")?.rsplit_once(':').map(|(_, id)| id.into());
    Reading {
        event_type: event_type.into(),
        event_type_raw: fields.id("type"),
        delivery_id: fields.id("id"),
        timestamp: times::first(fields, &["time"]),
        actor: fields
            .first_id(&["event.actor.id", "detail.actor_id", "detail.requester_id"])
            .unwrap_or_default(),
        resource_type: kind.into(),
        resource_id: fields.id("detail.id").or_else(of_subject).unwrap_or_default(),
        ..Reading::default()
    }
}

/// Reads what an administrator has written; `None` if it names no ticket.
fn of_trigger(fields: &Fields<'_, '_>) -> Option<Reading> {
    let ticket = fields.first_id(&["ticket_id", "ticket.id"])?;
    let requester = fields.first_id(&["requester_email", "requester_name"]);
    let mut metadata = Metadata::default();
    metadata.add("actor_type", requester.is_some().then_some("requester"));
    Some(Reading {
        event_type: "ticket".into(),
        timestamp: times::first(fields, &["updated_at", "ticket.updated_at", "created_at"]),
        actor: requester.unwrap_or_default(),
        resource_type: "ticket".into(),
        resource_id: ticket,
        metadata,
        ..Reading::default()
    })
}
