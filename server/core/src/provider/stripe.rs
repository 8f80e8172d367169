//! Stripe: snapshot events (`object: "event"`) and thin ones (`object: "v2.core.event"`).
//!
//! Stripe tells what happened to which object, but not who did it. As `actor` stands, in this order:
//! 1. the customer: `data.object` itself if it is one, else `data.object.customer` (an id, or an expanded object), of a
//!    thin event its `related_object` if that is a customer; `actor_type` = `customer`;
//! 2. the connected account in whose name the event is: `account`, of a thin event `context`; `actor_type` = `account`;
//! 3. the API request that caused it: `request` (an id in old versions, else `request.id`), of a thin event
//!    `reason.request.id`; `actor_type` = `request`;
//! 4. nobody: `actor` is empty, and there is no `actor_type`.
//!
//! The resource is `data.object` or `related_object`. Objects without an id (a balance, an upcoming invoice, a discount)
//! are named by their type and the customer or else the account they belong to; where there is neither, only the type
//! is told. An event's `object` is not insisted on: what has a `type` is an event.
//!
//! Sources: docs.stripe.com/api/events/object and /api/v2/core/events; stripe-go `v2core_event.go`.

use std::{borrow::Cow, time::Duration};

use smol_str::{SmolStr, ToSmolStr as _};

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Metadata, Outcome, Post, Reading,
        json::{self, Field, Fields},
        paths::{self, paths},
        times,
    },
    verify::scheme::{Part, Place, Proof, Scheme, SignedTime, TimePlace, TimeUnit},
};

pub(super) const PROVIDER: Provider = Provider {
    name: "stripe",
    title: "Stripe",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::NONE,
    read: Read::Code(read),
};

/// `Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>..][,v0=<hex>]` over `<t as written>.<raw body>`.
///
/// The secret is taken as text, `whsec_` included. While a secret is rolled there are two `v1`; either may match. `v0`
/// (a test scheme) and unknown labels are ignored, and so is a `v1` that is not hexadecimal.
///
/// Only the past has a limit, as in all of Stripe's SDKs: the time is signed, so that one in the future can't be
/// forged; it means that our clock is behind, and then to refuse would lose events that Stripe's own code accepts. What
/// a captured request with such a time could repeat is caught by dedupe on the event's id.
///
/// Source: stripe-node `Webhooks.ts`, stripe-go `webhook/client.go`, stripe-python `_webhook.py`.
const SCHEME: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("stripe-signature")),
    items: Some(','),
    field: Some('='),
    proofs: Cow::Borrowed(&[Proof::sha256("v1")]),
    signed: Cow::Borrowed(&[Part::Time, Part::Text(Cow::Borrowed(".")), Part::Body]),
    time: Some(SignedTime {
        place: TimePlace::Item(Cow::Borrowed("t")),
        unit: TimeUnit::Seconds,
        past: Some(Duration::from_secs(300)),
        future: false,
    }),
    ..Scheme::BASE
};

static PATHS: paths::Static = paths![
    "id",
    "type",
    "created",
    "livemode",
    "api_version",
    "account",
    "context",
    "request",
    "request.id",
    "request.idempotency_key",
    "reason.request.id",
    "reason.request.idempotency_key",
    "data.object.id",
    "data.object.object",
    "data.object.customer",
    "data.object.customer.id",
    "related_object.id",
    "related_object.type",
];

/// Reads a body; `None` if it is no event.
fn read(post: &Post<'_>) -> Option<Outcome> {
    let fields = json::read(post.text()?, &PATHS)?;
    let event_type = SmolStr::new(fields.text("type")?);
    let customer = customer(&fields);
    let account = fields.id("account").or_else(|| fields.id("context"));
    let request = fields.first_id(&["request.id", "request", "reason.request.id"]);

    let mut metadata = Metadata::default();
    let actors = [(&customer, "customer"), (&account, "account"), (&request, "request")];
    let actor = actors.into_iter().find_map(|(id, kind)| id.as_ref().map(|id| (id, kind)));
    metadata.add("actor_type", actor.map(|(_, kind)| kind));
    metadata.add("livemode", livemode(&fields));
    metadata.add("api_version", fields.id("api_version"));
    metadata.add("account", fields.id("account"));
    metadata.add("context", fields.id("context"));
    metadata.add("request_id", request.clone());
    let keys = ["request.idempotency_key", "reason.request.idempotency_key"];
    metadata.add("idempotency_key", fields.first_id(&keys));

    let resource_type = fields.first_id(&["data.object.object", "related_object.type"]);
    let resource_id = fields.first_id(&["data.object.id", "related_object.id"]);
    Some(Outcome::Event(Reading {
        delivery_id: fields.id("id"),
        timestamp: times::parse(fields.at("created")),
        actor: actor.map(|(id, _)| id.clone()).unwrap_or_default(),
        resource_type: resource_type.unwrap_or_else(|| object_of(&event_type)),
        resource_id: resource_id.or(customer).or(account).unwrap_or_default(),
        metadata,
        event_type,
        ..Reading::default()
    }))
}

fn customer(fields: &Fields<'_, '_>) -> Option<SmolStr> {
    let is_customer = |path| fields.text(path) == Some("customer");
    if is_customer("data.object.object") {
        return fields.id("data.object.id");
    }
    let thin = is_customer("related_object.type").then(|| fields.id("related_object.id"));
    fields.first_id(&["data.object.customer", "data.object.customer.id"]).or_else(|| thin.flatten())
}

fn livemode(fields: &Fields<'_, '_>) -> Option<SmolStr> {
    match fields.at("livemode") {
        Field::Bool(livemode) => Some(livemode.to_smolstr()),
        Field::Absent | Field::Object | Field::Text(_) | Field::Number(_) => None,
    }
}

/// Returns what a type speaks of, for objects that do not say what they are: `account.application.deauthorized` speaks
/// of an `account.application`.
fn object_of(event_type: &str) -> SmolStr {
    event_type.rsplit_once('.').map_or("", |(object, _)| object).into()
}
