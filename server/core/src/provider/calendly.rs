//! Calendly: webhook subscriptions.
//!
//! `payload` is an invitee, with the address of the scheduled event, or a submission of a routing form. As `actor` stands
//! the invitee's email, of a cancellation by the host the host's name, which is all that is told; `canceler_type` (`invitee`
//! or `host`) and `canceled_by` (a name) are kept too.
//! `created_by` is who made the subscription, not who did anything. There is no id of a delivery.
//!
//! Source: developer.calendly.com "Webhook payload" and "Webhook signatures".

use std::{borrow::Cow, time::Duration};

use smol_str::SmolStr;

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Metadata, Outcome, Post, Reading,
        json::{self, Fields},
        paths::{self, paths},
        times,
    },
    verify::scheme::{Part, Place, Proof, Scheme, SignedTime, TimePlace},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "calendly",
    title: "Calendly",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

/// `Calendly-Webhook-Signature: t=<seconds>,v1=<hex>` over `<t as written>.<raw body>`.
const SCHEME: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("calendly-webhook-signature")),
    items: Some(','),
    field: Some('='),
    proofs: Cow::Borrowed(&[Proof::sha256("v1")]),
    signed: Cow::Borrowed(&[Part::Time, Part::Text(Cow::Borrowed(".")), Part::Body]),
    time: Some(SignedTime::within(TimePlace::Item(Cow::Borrowed("t")), Duration::from_secs(300))),
    ..Scheme::BASE
};

static PATHS: paths::Static = paths![
    "event",
    "created_at",
    "created_by",
    "payload.uri",
    "payload.event",
    "payload.email",
    "payload.cancellation.canceler_type",
    "payload.cancellation.canceled_by",
];

/// Reads a body; `None` if it is no event.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &PATHS)?;
    let event_type = fields.id("event")?;
    let is_by_host = fields.text("payload.cancellation.canceler_type") == Some("host");
    let (actor, actor_type) = if is_by_host {
        (fields.id("payload.cancellation.canceled_by"), "host")
    } else {
        (fields.id("payload.email"), "invitee")
    };
    let mut metadata = Metadata::default();
    metadata.add("actor_type", actor.as_ref().map(|_| actor_type));
    metadata.add("created_by", fields.id("created_by"));
    metadata.add("canceler_type", fields.id("payload.cancellation.canceler_type"));
    metadata.add("canceled_by", fields.id("payload.cancellation.canceled_by"));
    let (resource_type, resource_id) = resource(&event_type, &fields).unwrap_or_default();
    Some(Outcome::Event(Reading {
        timestamp: times::parse(fields.at("created_at")),
        actor: actor.unwrap_or_default(),
        resource_type,
        resource_id,
        metadata,
        event_type,
        ..Reading::default()
    }))
}

fn resource(event_type: &str, fields: &Fields<'_, '_>) -> Option<(SmolStr, SmolStr)> {
    // That somebody did not come is told of the invitee.
    let of_uri = match event_type.split('.').next().unwrap_or_default() {
        "invitee_no_show" => "invitee",
        kind => kind,
    };
    let resource = |kind: &str, path| fields.id(path).map(|id| (kind.into(), id));
    resource(of_uri, "payload.uri").or_else(|| resource("scheduled_event", "payload.event"))
}
