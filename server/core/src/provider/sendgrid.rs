//! SendGrid: the event webhook, in batches.
//!
//! A body is an array, each element an event about a message, with the address it was sent to as `actor`.
//!
//! Source: sendgrid-python `eventwebhook`; docs.sendgrid.com "Event Webhook Reference".

use std::borrow::Cow;

use super::{Handshake, Provider, Read};
use crate::{
    normalize::{
        Reading, batch, json,
        paths::{self, paths},
        times,
    },
    verify::scheme::{
        Encoding, KeyForm, Part, Place, Prefix, Primitive, Proof, Scheme, SignedTime, TimePlace,
        TimeUnit,
    },
};

pub(super) const PROVIDER: Provider = Provider {
    name: "sendgrid",
    title: "SendGrid",
    schemes: &[SCHEME],
    event_header: None,
    id_headers: &[],
    handshake: Handshake::NONE,
    read: Read::Code(|post| batch::read(post, read)),
};

/// ECDSA (P-256, SHA-256; DER in base64) over `<time as written><raw body>`; a body ends with a line break. The secret is
/// the verification key that SendGrid shows: SubjectPublicKeyInfo in base64.
///
/// SendGrid's own code has no limit of age.
const SCHEME: Scheme = Scheme {
    place: Place::Header(Cow::Borrowed("x-twilio-email-event-webhook-signature")),
    proofs: Cow::Borrowed(&[Proof {
        label: Cow::Borrowed(""),
        primitive: Primitive::EcdsaP256,
        key: KeyForm { prefix: Prefix::Any, encoding: Encoding::Base64 },
    }]),
    encoding: Encoding::Base64,
    signed: Cow::Borrowed(&[Part::Time, Part::Body]),
    time: Some(SignedTime {
        place: TimePlace::Header(Cow::Borrowed("x-twilio-email-event-webhook-timestamp")),
        unit: TimeUnit::Seconds,
        past: None,
        future: true,
    }),
    ..Scheme::BASE
};

static PATHS: paths::Static = paths!["event", "sg_event_id", "sg_message_id", "email", "timestamp"];

fn read(item: &str) -> Option<Reading> {
    let fields = json::read(item, &PATHS)?;
    let message = fields.id("sg_message_id");
    Some(Reading {
        event_type: fields.text("event")?.into(),
        delivery_id: fields.id("sg_event_id"),
        timestamp: times::parse(fields.at("timestamp")),
        actor: fields.id("email").unwrap_or_default(),
        resource_type: message.as_ref().map(|_| "message".into()).unwrap_or_default(),
        resource_id: message.unwrap_or_default(),
        ..Reading::default()
    })
}
