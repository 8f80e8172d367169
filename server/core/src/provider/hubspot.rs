//! HubSpot: webhook subscriptions of apps, in batches of up to 100.
//!
//! A body is an array, each element an event of its own. `eventId` alone is not promised to be unique, so that the key
//! is made of all that tells an event from another, but for the count of attempts. Who did it is told by `sourceId`, if
//! it was a user.
//!
//! Source: hubspot-api-nodejs `src/utils/signature.ts`; developers.hubspot.com "Webhooks API", "Validating requests".

use std::{borrow::Cow, time::Duration};

use smol_str::SmolStr;

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Metadata, Reading, batch,
        json::{self, Fields},
        paths::{self, paths},
        times,
    },
    verify::scheme::{
        Encoding, Part, Place, Primitive, Proof, Scheme, SignedTime, TEXT_KEY, TimePlace, TimeUnit,
        When,
    },
};

pub(super) const PROVIDER: Provider = Provider {
    name: "hubspot",
    title: "HubSpot",
    schemes: &[V3, V2, V1],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::NONE,
    read: Read::Code(|post| batch::read(post, read)),
};

/// `X-HubSpot-Signature-v3: <base64>`, HMAC-SHA256 over the method, the address, the raw body and the time as written.
///
/// Only the past has a limit, as in HubSpot's own code.
const V3: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("x-hubspot-signature-v3")),
    encoding: Encoding::Base64,
    signed: Cow::Borrowed(&[Part::Method, Part::Url, Part::Body, Part::Time]),
    time: Some(SignedTime {
        place: TimePlace::Header(Cow::Borrowed("x-hubspot-request-timestamp")),
        unit: TimeUnit::Millis,
        past: Some(Duration::from_secs(300)),
        future: false,
    }),
    ..Scheme::BASE
};

const V2: Scheme = hash("v2", &[Part::Secret, Part::Method, Part::Url, Part::Body]);
const V1: Scheme = hash("v1", &[Part::Secret, Part::Body]);

/// `X-HubSpot-Signature: <hex>`, plain SHA-256 of the secret and what is signed; a header says which it is.
///
/// That header is not signed. A request of v2 that is passed off as one of v1 has a body that begins with the method,
/// and what is added to a body (which a plain hash allows) stands behind zero bytes: both are no JSON, so that all that
/// can be made of them is an event that can't be read. Requests do not age, and HubSpot sends v1 beside v3, so that who
/// takes v3 away could repeat one: they count only for a source that asks for them.
const fn hash(version: &'static str, signed: &'static [Part]) -> Scheme {
    Scheme {
        place: Place::Header(Cow::Borrowed("x-hubspot-signature")),
        proofs: Cow::Borrowed(&[Proof {
            label: Cow::Borrowed(""),
            primitive: Primitive::Sha256,
            key: TEXT_KEY,
        }]),
        signed: Cow::Borrowed(signed),
        when: Some(When {
            header: Cow::Borrowed("x-hubspot-signature-version"),
            value: Cow::Borrowed(version),
        }),
        legacy: true,
        ..Scheme::BASE
    }
}

static PATHS: paths::Static = paths![
    "subscriptionId",
    "eventId",
    "objectId",
    "fromObjectId",
    "toObjectId",
    "propertyName",
    "occurredAt",
    "subscriptionType",
    "eventType",
    "sourceId",
    "portalId",
    "appId",
    "changeSource",
    "attemptNumber",
];

fn read(item: &str) -> Option<Reading> {
    let fields = json::read(item, &PATHS)?;
    let event_type = fields.first_id(&["subscriptionType", "eventType"])?;
    let user = fields.text("sourceId").and_then(|source| source.strip_prefix("userId:"));
    let mut metadata = Metadata::default();
    metadata.add("actor_type", user.map(|_| "user"));
    metadata.add("portal_id", fields.id("portalId"));
    metadata.add("app_id", fields.id("appId"));
    metadata.add("change_source", fields.id("changeSource"));
    metadata.add("attempt_number", fields.id("attemptNumber"));
    let kind = event_type.split_once('.').map_or(event_type.as_str(), |(kind, _)| kind);
    Some(Reading {
        delivery_id: key(&fields),
        timestamp: times::parse(fields.at("occurredAt")),
        actor: user.unwrap_or_default().into(),
        resource_type: kind.into(),
        // An association has two ends.
        resource_id: fields.first_id(&["objectId", "fromObjectId"]).unwrap_or_default(),
        metadata,
        event_type,
        ..Reading::default()
    })
}

/// What tells an event from another; what is not there leaves its place empty.
const KEY: [&str; 8] = [
    "portalId",
    "subscriptionId",
    "eventId",
    "objectId",
    "fromObjectId",
    "toObjectId",
    "propertyName",
    "occurredAt",
];

fn key(fields: &Fields<'_, '_>) -> Option<SmolStr> {
    fields.id("eventId")?;
    let parts = KEY.map(|path| fields.id(path).unwrap_or_default());
    Some(parts.join("-").into())
}
